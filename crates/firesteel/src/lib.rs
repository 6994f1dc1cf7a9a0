//! Apache Spark's RDD engine in Rust: resilient distributed datasets on threads, processes and clusters
