//! Firesteel's input and output: listings, splits, lines of text, codecs, output commit
