//! Compression of whole files, told by the name's ending alone, as in Hadoop.

use firesteel_model::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
    str::FromStr,
};

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip: `.gz`.
    Gzip,
}

impl Codec {
    /// What a file's name ends with: nothing, or `.gz`.
    pub fn extension(self) -> &'static str {
        match self {
            Codec::None => "",
            Codec::Gzip => ".gz",
        }
    }
}

impl FromStr for Codec {
    type Err = Error;

    /// From a codec's name as `save_as_text_file_codec` takes it: `gz` or `gzip`, Hadoop's class name, or `none`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] says which names are known.
    ///
    /// ```
    /// use firesteel_io::Codec;
    /// assert_eq!("org.apache.hadoop.io.compress.GzipCodec".parse::<Codec>()?, Codec::Gzip);
    /// assert!("bzip2".parse::<Codec>().unwrap_err().to_string().contains("supported: gz"));
    /// # Ok::<_, firesteel_model::Error>(())
    /// ```
    fn from_str(name: &str) -> Result<Codec> {
        match name {
            "none" => Ok(Codec::None),
            "gz" | "gzip" | "GzipCodec" | "org.apache.hadoop.io.compress.GzipCodec" => Ok(Codec::Gzip),
            other => Err(Error::InvalidArgument(format!(
                "compression codec {other:?} is not known; supported: gz (also gzip, or \
                 org.apache.hadoop.io.compress.GzipCodec), none"
            ))),
        }
    }
}

/// Endings that Hadoop would decompress and we cannot yet; read as text they would be noise, so they are refused.
const UNSUPPORTED: [&str; 6] = ["bz2", "deflate", "lz4", "snappy", "zst", "lzo_deflate"];

/// The codec that a file's name tells.
pub(crate) fn of_file(path: &Path) -> Result<Codec> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => Ok(Codec::Gzip),
        Some(ending) if UNSUPPORTED.contains(&ending) => Err(Error::Path(format!(
            "{}: .{ending} files cannot be read; decompress it, or compress it as .gz",
            path.display()
        ))),
        _ => Ok(Codec::None),
    }
}

/// The decompressed content of a `.gz` file, all its members, streamed.
pub(crate) struct GzipReader {
    decoder: MultiGzDecoder<BufReader<Counted>>,
    /// Whether the file had a first byte. One without any counts as empty rather than as cut short.
    started: bool,
}

struct Counted {
    file: File,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }
}

impl GzipReader {
    pub(crate) fn new(file: File) -> Self {
        let input = BufReader::with_capacity(64 << 10, Counted { file, bytes: 0 });
        GzipReader { decoder: MultiGzDecoder::new(input), started: false }
    }

    /// Compressed bytes read from the file.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.decoder.get_ref().get_ref().bytes
    }
}

impl Read for GzipReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.decoder.read(buf) {
            Ok(n) => {
                self.started |= n > 0;
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && !self.started && self.bytes_read() == 0 => Ok(0),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => Err(io::Error::new(e.kind(), format!("{e} (the .gz file is damaged or cut short)"))),
        }
    }
}
