//! Bringing drivers to a cluster, and asking about them.

use crate::{
    blob,
    protocol::{
        self, Blob, Caller, DriverDescription, DriverId, DriverStatus, FromSubmitter, Heard, ToSubmitter, encode,
        receive,
    },
};
use firesteel_model::{Error, Result};
use firesteel_net::{Secret, connect};
use std::{path::Path, sync::Arc, time::Duration};

/// How long the master may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who submits drivers to one of several masters.
#[derive(Clone, Debug)]
pub struct Submitter {
    masters: Vec<String>,
    secret: Option<Secret>,
}

impl Submitter {
    /// Somebody who speaks with these (`host:port`), the first that answers. Nothing is sent yet.
    pub fn new(masters: Vec<String>, secret: Option<Secret>) -> Submitter {
        Submitter { masters, secret }
    }

    /// Brings a file to the master, which a driver needs.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Config`] if it cannot be brought.
    pub fn bring(&self, path: &Path) -> Result<Blob> {
        self.first(|master| blob::bring(master, self.secret.as_ref(), path))
    }

    /// Submits a driver whose files have been brought.
    ///
    /// # Errors
    /// [`Error::Config`] if no master answers, or it refuses.
    pub fn submit(&self, description: DriverDescription) -> Result<DriverId> {
        match self.ask(&FromSubmitter::Submit(Box::new(description)))? {
            ToSubmitter::Submitted(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    /// How a driver is.
    ///
    /// # Errors
    /// As [`submit`](Submitter::submit).
    pub fn status(&self, id: &DriverId) -> Result<DriverStatus> {
        match self.ask(&FromSubmitter::Status(id.clone()))? {
            ToSubmitter::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells a driver to end; it may take a moment until it has.
    ///
    /// # Errors
    /// As [`submit`](Submitter::submit); if it has ended already.
    pub fn kill(&self, id: &DriverId) -> Result<()> {
        match self.ask(&FromSubmitter::Kill(id.clone()))? {
            ToSubmitter::Killing(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&self, question: &FromSubmitter) -> Result<ToSubmitter> {
        let answer = self.first(|master| {
            let other = |e: firesteel_net::NetError| Error::Other(Arc::new(e));
            let hello = protocol::hello(Some(Caller::Submitter));
            let options = protocol::options(Some(PATIENCE));
            let (mut reader, mut writer) =
                connect(master, self.secret.as_ref(), &hello, &options).map_err(other)?.split();
            writer.send(&[&encode(question)]).and_then(|()| writer.flush()).map_err(other)?;
            let answer = match receive(&mut reader, &mut Vec::new()) {
                Heard::Message(answer) => answer,
                Heard::Unknown(why) | Heard::End(why) => return Err(Error::Config(format!("{master}: {why}"))),
            };
            let _ = writer.finish();
            Ok(answer)
        })?;
        match answer {
            ToSubmitter::Refused(why) => Err(Error::Config(format!("the master refuses: {why}"))),
            answer => Ok(answer),
        }
    }

    /// What the first master says that can be reached; else why none can.
    fn first<T>(&self, ask: impl Fn(&str) -> Result<T>) -> Result<T> {
        let mut failures = Vec::new();
        for master in &self.masters {
            match ask(master) {
                Ok(answer) => return Ok(answer),
                Err(e) => failures.push(e.to_string()),
            }
        }
        Err(Error::Config(failures.join("; ")))
    }
}

fn unexpected(answer: &ToSubmitter) -> Error {
    Error::Config(format!("the master answers {answer:?}, which is no answer to the question"))
}
