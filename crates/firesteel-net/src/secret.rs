//! The secret that the processes of an application or a cluster share.

use crate::{NetError, NetErrorKind, Result};
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    fmt,
    fs::File,
    hint::black_box,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

/// A secret that both ends of a connection know, and prove to know without sending it.
///
/// It is never printed, and must not be put into arguments or the environment, where others can read it: hand it to a
/// child over a pipe or an inherited file descriptor. An attacker who can connect may test guesses at leisure
/// afterwards, so a secret is random bytes, not a word: [`Secret::random`], or `openssl rand -hex 32`.
///
/// ```
/// use firesteel_net::Secret;
///
/// let secret = Secret::random()?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::from_bytes(b"password").is_err()); // too short
/// # Ok::<(), firesteel_net::NetError>(())
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Bytes>);

struct Bytes(Vec<u8>);

impl Secret {
    /// The shortest secret that is accepted.
    pub const MIN_LENGTH: usize = 16;
    /// The longest secret that is accepted.
    pub const MAX_LENGTH: usize = 1024;

    /// A secret from bytes that both sides have, of [`MIN_LENGTH`](Secret::MIN_LENGTH) to
    /// [`MAX_LENGTH`](Secret::MAX_LENGTH).
    ///
    /// # Errors
    /// When there are fewer or more.
    pub fn from_bytes(bytes: &[u8]) -> Result<Secret> {
        let (min, max) = (Self::MIN_LENGTH, Self::MAX_LENGTH);
        if !(min..=max).contains(&bytes.len()) {
            let what = format!(
                "it has {} bytes, and must have {min} to {max}; make one with `openssl rand -hex 32`",
                bytes.len()
            );
            return Err(NetError::new(&"firesteel.authenticate.secret".into(), NetErrorKind::BadSecret(what)));
        }
        Ok(Secret(Arc::new(Bytes(bytes.to_vec()))))
    }

    /// The secret that a file holds: its bytes, without line ends after them.
    ///
    /// # Errors
    /// When the file cannot be read, when every user of the machine can read it, and when what it holds is
    /// [no secret](Secret::from_bytes).
    pub fn from_file(path: &Path) -> Result<Secret> {
        let failed = |what| NetError::new(&path.display().to_string().into(), NetErrorKind::BadSecret(what));
        let read = || {
            let file = File::open(path)?;
            let mode = file.metadata()?.permissions().mode();
            let mut bytes = Vec::new();
            // Two more for the line's end, and one to see that there are too many.
            file.take(Self::MAX_LENGTH as u64 + 3).read_to_end(&mut bytes)?;
            Ok((mode, bytes))
        };
        let (mode, bytes) = read().map_err(|e: io::Error| failed(e.to_string()))?;
        if mode & 0o007 != 0 {
            let what =
                "every user of this machine can use the file; `chmod 600` it, and make a new secret if they may have";
            return Err(failed(what.into()));
        }
        let end = bytes.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
        Secret::from_bytes(&bytes[..end])
            .map_err(|e| NetError::new(&path.display().to_string().into(), e.kind().clone()))
    }

    /// A new secret of 32 bytes of the system's randomness.
    ///
    /// # Errors
    /// When the system has none.
    pub fn random() -> Result<Secret> {
        let mut bytes = vec![0; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| NetError::new(&"this machine".into(), NetErrorKind::NoRandomness))?;
        Ok(Secret(Arc::new(Bytes(bytes))))
    }

    /// The secret's bytes, to be handed to a child process over a pipe.
    pub fn expose(&self) -> &[u8] {
        &self.0.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Bytes {
    /// The memory that is given back holds no secret.
    fn drop(&mut self) {
        self.0.fill(0);
        black_box(&self.0);
    }
}
