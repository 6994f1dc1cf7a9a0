//! Firesteel's scheduler: a pure state machine from events to commands
