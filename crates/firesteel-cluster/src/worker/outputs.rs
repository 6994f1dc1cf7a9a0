//! The map outputs of one application's executors on this worker, which outlive them.

use super::scratch::{ProcessScratch, ScratchFolders};
use crate::{
    protocol::{ApplicationDescription, ApplicationId},
    role::ShuffleFolders,
    route::towards,
    shuffle_service::{ShuffleService, folder_of},
};
use firesteel_model::{Error, ExecutorId, Result};
use std::{fs, os::unix::fs::DirBuilderExt, slice, sync::OnceLock};

/// What a worker keeps of an application until that has ended, and its last executor here.
#[derive(Debug, Default)]
pub(super) struct Kept(OnceLock<Option<Outputs>>);

impl Kept {
    /// Where its map outputs are; none if they do not outlive their executors: they are `wanted` not to, or nobody can serve them.
    pub(super) fn outputs(
        &self,
        id: &ApplicationId,
        application: &ApplicationDescription,
        scratch: &ScratchFolders,
        wanted: bool,
    ) -> Option<&Outputs> {
        let start = || {
            let started = wanted.then(|| Outputs::start(id, application, scratch))?;
            started.map_err(|e| tracing::warn!("map outputs of {id} will not outlive their executors here: {e}")).ok()
        };
        self.0.get_or_init(start).as_ref()
    }
}

/// Folders, and who serves to the application what is in them. Both go when it is dropped.
#[derive(Debug)]
pub(super) struct Outputs {
    service: ShuffleService,
    scratch: ProcessScratch,
}

impl Outputs {
    /// Listens where the application's executors will be reached: at the address from which this machine reaches the driver.
    pub(super) fn start(
        id: &ApplicationId,
        application: &ApplicationDescription,
        scratch: &ScratchFolders,
    ) -> Result<Outputs> {
        let scratch = scratch.process(&id.to_string())?;
        let ip = towards(slice::from_ref(&application.driver)).map_err(Error::Config)?;
        let service = ShuffleService::start((ip, 0).into(), &application.secret, scratch.folders().to_vec())?;
        Ok(Outputs { service, scratch })
    }

    /// What an executor is told.
    pub(super) fn folders(&self, executor: ExecutorId) -> Result<ShuffleFolders> {
        let mut folders = Vec::new();
        for folder in self.scratch.folders() {
            let folder = folder_of(folder, executor);
            // Other users of the machine have no business with what will be here.
            let made = fs::DirBuilder::new().mode(0o700).create(&folder);
            made.map_err(|e| Error::io("make the scratch folder", folder.display(), e))?;
            folders.push(folder.display().to_string());
        }
        Ok(ShuffleFolders { folders, port: self.service.port() })
    }
}
