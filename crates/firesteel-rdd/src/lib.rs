//! Firesteel's pipelines: streams, adaptors, partitioners, the typed side of shuffle and cache
