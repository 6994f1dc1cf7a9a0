//! What one process holds and another reads: map outputs, cached partitions, broadcast values, the driver's items and files.
//!
//! Each process serves its own, a thread for each connection; whoever asks has a connection to itself until it has read the
//! answer, so what the reader does not take waits in the sockets' buffers, and then at its holder. That bounds the bytes in flight.

mod ask;
mod fetch;
mod left;
mod resting;
mod serve;

pub(super) use ask::{Client, Directory, DriversFiles, Patience};
pub(super) use serve::{Holdings, Server};

use crate::executor::{decode, encode};
use firesteel_model::{AttemptId, BlockId, BroadcastId, PartitionIndex, ShuffleId, StorageLevel};
use firesteel_net::{FrameReader, FrameWriter, NetError};
use firesteel_store::{EncodedBlock, StoreError, Wanted};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

const PROTOCOL: (&str, u32) = ("firesteel-blocks", 1);
/// Bytes are sent in frames of so many.
const FRAME: usize = 256 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// One partition of map outputs, in this order; the first without so many bytes.
    Outputs {
        shuffle: ShuffleId,
        partition: u32,
        wanted: Wanted,
        maps: Vec<(PartitionIndex, AttemptId)>,
        skip: u64,
    },
    Block(BlockId),
    /// How many pieces has a broadcast value?
    Pieces(BroadcastId),
    /// Keep a copy of a block, of elements that are called so. Its chunks follow, as in an answer.
    Keep {
        id: BlockId,
        level: StorageLevel,
        type_name: String,
        chunks: u64,
    },
    /// The names of all files.
    Files,
    /// A file or a folder, by its name.
    File(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// So many bytes follow, which are so many records (without what was skipped), maybe with those of other parts.
    Part {
        records: u64,
        bytes: u64,
        among_others: bool,
    },
    /// Chunks follow, each after its own `Chunk`.
    Block {
        chunks: u64,
        records: u64,
    },
    Chunk {
        records: u64,
        bytes: u64,
    },
    Pieces(u32),
    /// The copy is kept.
    Kept,
    Files(Vec<String>),
    /// So many entries follow.
    File {
        entries: u64,
    },
    /// A folder, or a file with this mode whose bytes follow.
    Entry {
        path: PathBuf,
        file: Option<(u32, u64)>,
    },
    /// It is not here.
    Nothing,
    /// It cannot be given; why.
    Failed(String),
}
/// Sends a block's chunks, each after its `Chunk`; why it has stopped, if one cannot be read.
fn send_chunks(out: &mut FrameWriter, block: &EncodedBlock) -> Result<Option<StoreError>, NetError> {
    for i in 0..block.chunks() {
        match block.chunk(i) {
            Ok((bytes, records)) => {
                say(out, &Answer::Chunk { records, bytes: bytes.len() as u64 })?;
                for frame in bytes.chunks(FRAME) {
                    out.send(&[frame])?;
                }
            }
            Err(e) => return Ok(Some(e)),
        }
    }
    Ok(None)
}

/// Why a step of reading from another process did not succeed.
enum Failed {
    /// What is asked for is not there, or damaged.
    Data(String),
    /// The holder did not answer.
    Reach(String),
    /// Nothing that the holder had is there.
    Lost(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failed::Data(what) | Failed::Reach(what) | Failed::Lost(what)) = self;
        f.write_str(what)
    }
}

/// A chunk that is sent so.
fn receive_chunk(reader: &mut FrameReader, frame: &mut Vec<u8>) -> Result<(Vec<u8>, u64), Failed> {
    let mut frame_of = |frame: &mut Vec<u8>| match reader.recv(frame) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failed::Reach("it ended the connection".into())),
        Err(e) => Err(Failed::Reach(e.to_string())),
    };
    frame_of(frame)?;
    let (records, length) = match decode(frame).map_err(|e| Failed::Reach(e.to_string()))? {
        Answer::Chunk { records, bytes } => (records, bytes),
        Answer::Failed(what) => return Err(Failed::Data(what)),
        other => return Err(Failed::Reach(format!("it answered {other:?}"))),
    };
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        frame_of(frame)?;
        if frame.is_empty() || (bytes.len() + frame.len()) as u64 > length {
            return Err(Failed::Reach("it sent another number of bytes than it said".into()));
        }
        bytes.extend_from_slice(frame);
    }
    Ok((bytes, records))
}

fn say(out: &mut FrameWriter, answer: &Answer) -> Result<(), NetError> {
    let bytes = encode(answer).unwrap_or_default();
    out.send(&[&bytes])
}
