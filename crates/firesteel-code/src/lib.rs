//! Names for compiled code that travel between processes running the same executable
