//! A simulator that drives Firesteel's scheduler through seeded histories of failure
