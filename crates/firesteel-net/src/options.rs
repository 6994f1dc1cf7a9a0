//! Limits of a connection.

use std::time::Duration;

/// Limits of connections, and whether they are encrypted where they need not be.
///
/// ```
/// use firesteel_net::Options;
///
/// let options = Options { max_frame: 1 << 20, ..Options::default() };
/// assert!(!options.encrypt);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Encrypt frames on loopback too. Frames from and to other machines always are, and one side that wants it is enough.
    pub encrypt: bool,
    /// The longest frame, sent or received, in bytes. Must be the same on both sides.
    pub max_frame: usize,
    /// How long connecting may take, all addresses of a name together.
    pub connect_timeout: Duration,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// How long the peer may send nothing while a frame is waited for; `None` for as long as it likes.
    pub read_timeout: Option<Duration>,
    /// How long the peer may take nothing while there is something to send. Noticed after twice that at the latest: a write
    /// that could send a part is tried once more.
    pub write_timeout: Duration,
    /// How many handshakes a listener has at a time, a thread each.
    pub max_handshakes: usize,
}

impl Options {
    /// The limit of a frame unless another is given.
    pub const DEFAULT_MAX_FRAME: usize = 128 << 20;

    /// The same, with nobody waited for longer than `silence`: a frame, to be connected, or for room to send.
    ///
    /// ```
    /// use {firesteel_net::Options, std::time::Duration};
    ///
    /// let options = Options::default().within(Duration::from_secs(20));
    /// assert_eq!(options.read_timeout, Some(Duration::from_secs(20)));
    /// assert_eq!(options.connect_timeout, Options::default().connect_timeout);
    /// ```
    pub fn within(self, silence: Duration) -> Options {
        Options {
            connect_timeout: self.connect_timeout.min(silence),
            handshake_timeout: self.handshake_timeout.min(silence),
            read_timeout: Some(silence),
            write_timeout: self.write_timeout.min(silence),
            ..self
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            encrypt: false,
            max_frame: Self::DEFAULT_MAX_FRAME,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            read_timeout: None,
            write_timeout: Duration::from_secs(60),
            max_handshakes: 64,
        }
    }
}
