//! Authenticated, length-bounded frames over TCP, for processes of one application or cluster.
//!
//! A [`Listener`] on one side, [`connect`] on the other; both know a [`Secret`] and say [`Hello`]. What comes out is a
//! [`Connection`], which splits into a [`FrameReader`] and a [`FrameWriter`] for a thread each, or a writer behind an
//! [`Outbox`]. A frame is bytes: what they mean is the caller's. Everything blocks, everything has a time limit, and
//! nothing that comes from the network is trusted, or given memory, before it has proved to know the secret.
//!
//! ```
//! use firesteel_net::{Hello, Listener, Options, Outbox, Secret, connect};
//! use std::sync::mpsc;
//!
//! let secret = Secret::random()?;
//! let options = Options::default();
//! let (arrived, connections) = mpsc::channel();
//! let driver = Hello::new("example", 1).details(b"driver");
//! let listener = Listener::bind("127.0.0.1:0", Some(&secret), &driver, &options, move |connection| {
//!     let _ = arrived.send(connection);
//! })?;
//!
//! // In another process, another thread here.
//! let address = listener.local_addr();
//! let executor = std::thread::spawn(move || {
//!     let hello = Hello::new("example", 1).details(b"executor 7");
//!     let connection = connect(address, Some(&secret), &hello, &options)?;
//!     assert_eq!(connection.hello().details, b"driver");
//!     let (mut reader, writer) = connection.split();
//!     let outbox = Outbox::new(writer, 1 << 20)?;
//!     let mut frame = Vec::new();
//!     while reader.recv(&mut frame)? {
//!         frame.make_ascii_uppercase();
//!         outbox.try_send(frame.clone())?;
//!     }
//!     outbox.finish()
//! });
//!
//! let connection = connections.recv()?;
//! assert_eq!(connection.hello().details, b"executor 7");
//! let (mut reader, mut writer) = connection.split();
//! writer.send(&[b"run ", b"this"])?;
//! writer.flush()?;
//! let mut frame = Vec::new();
//! assert!(reader.recv(&mut frame)?);
//! assert_eq!(frame, b"RUN THIS");
//! writer.finish()?;
//! assert!(!reader.recv(&mut frame)?); // the executor finished, too
//! executor.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod connection;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod hello;
mod keys;
mod listener;
mod options;
mod outbox;
mod reader;
mod secret;
mod writer;

pub use connection::{Closer, Connection, connect};
pub use error::{NetError, NetErrorKind, Result};
pub use hello::Hello;
pub use listener::Listener;
pub use options::Options;
pub use outbox::Outbox;
pub use reader::FrameReader;
pub use secret::Secret;
pub use writer::FrameWriter;
