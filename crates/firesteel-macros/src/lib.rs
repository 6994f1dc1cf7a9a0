//! Attribute macros of Firesteel: the main function of a program
