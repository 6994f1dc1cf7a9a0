//! Firesteel's storage: the record format, cached blocks, shuffle runs
