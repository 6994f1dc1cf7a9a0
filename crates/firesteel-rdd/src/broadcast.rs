//! Broadcast values: read by many tasks, sent to each executor once.

use crate::{
    Data, current,
    encoding::{ContextMark, check_home},
    failure::TaskFailure,
    task::Executor,
};
use firesteel_model::{BlockId, BroadcastId, Error, Result};
use firesteel_store::BlockStore;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// Which of a broadcast's values are to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    /// All, for good.
    All,
    /// The copies in other processes.
    Copies {
        /// Whether to wait until they have been told.
        blocking: bool,
    },
}

/// Lets go of a broadcast's values. Its handles on the driver call it, the last one at its end.
pub type OnRelease = Box<dyn Fn(BroadcastId, Release) + Send + Sync>;

struct Owner {
    id: BroadcastId,
    context: ContextMark,
    destroyed: AtomicBool,
    /// Why the value cannot go to executors, if it cannot.
    unfit: Option<String>,
    release: OnRelease,
}

impl Drop for Owner {
    fn drop(&mut self) {
        (self.release)(self.id, Release::All);
    }
}

/// A value that every executor gets once and tasks read in place. Made by `Context::broadcast`; hand it to tasks in an environment
/// (`map_with(broadcast, |b, x| .. b.value() ..)`).
pub struct Broadcast<T> {
    id: BroadcastId,
    owner: Option<Arc<Owner>>,
    home: Home,
    fetched: OnceLock<Arc<T>>,
}

/// Where the value is looked for.
#[derive(Clone)]
enum Home {
    Driver(Arc<BlockStore>),
    Executor(Arc<Executor>),
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Broadcast { id: self.id, owner: self.owner.clone(), home: self.home.clone(), fetched: self.fetched.clone() }
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broadcast({})", self.id)
    }
}

impl<T: Data> Broadcast<T> {
    /// Stores the value on the driver. `Context::broadcast` calls it. A value that does not survive the record format fails the
    /// first job that would send it; so does a job of another context.
    pub fn make(context: ContextMark, id: BroadcastId, value: T, blocks: Arc<BlockStore>, release: OnRelease) -> Self {
        let unfit = firesteel_store::boundary::check(&value).err().map(|e| e.to_string());
        let value = Arc::new(value);
        blocks.put_value::<T>(BlockId::Broadcast(id), value.clone());
        let owner = Arc::new(Owner { id, context, destroyed: AtomicBool::new(false), unfit, release });
        Broadcast { id, owner: Some(owner), home: Home::Driver(blocks), fetched: OnceLock::from(value) }
    }

    /// The value. In a task it is fetched at the first call.
    ///
    /// # Panics
    /// After [`destroy`](Broadcast::destroy): on the driver with a message; a task fails with it.
    pub fn value(&self) -> &T {
        if self.owner.as_ref().is_some_and(|owner| owner.destroyed.load(Ordering::Acquire)) {
            panic!("broadcast {} is used after it was destroyed", self.id);
        }
        self.fetched.get_or_init(|| {
            let found = match &self.home {
                Home::Driver(blocks) => Ok(blocks.get_value::<T>(BlockId::Broadcast(self.id))),
                Home::Executor(executor) => executor.broadcast::<T>(self.id),
            };
            match found {
                Ok(Some(value)) => value,
                Ok(None) => TaskFailure::User(format!("broadcast {} is used after it was destroyed", self.id)).raise(),
                Err(e) => TaskFailure::Engine(e.into()).raise(),
            }
        })
    }

    /// Drops the copies on executors in other processes; a later use fetches the value again. With `blocking` it returns when all
    /// have been told. Executors on threads of this process share the driver's value, and keep it.
    ///
    /// # Errors
    /// In a task.
    pub fn unpersist(&self, blocking: bool) -> Result<()> {
        let Some(owner) = &self.owner else { return Err(Error::InsideTask("Broadcast::unpersist")) };
        (owner.release)(self.id, Release::Copies { blocking });
        Ok(())
    }

    /// Drops the value everywhere for good.
    ///
    /// # Errors
    /// In a task.
    pub fn destroy(&self) -> Result<()> {
        let Some(owner) = &self.owner else { return Err(Error::InsideTask("Broadcast::destroy")) };
        owner.destroyed.store(true, Ordering::Release);
        (owner.release)(self.id, Release::All);
        Ok(())
    }

    /// Its number.
    pub fn id(&self) -> BroadcastId {
        self.id
    }
}

impl<T> Serialize for Broadcast<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(owner) = &self.owner {
            check_home(&owner.context, format_args!("broadcast {}", self.id))?;
            if owner.destroyed.load(Ordering::Acquire) {
                return Err(serde::ser::Error::custom(format!("broadcast {} is used after it was destroyed", self.id)));
            }
            if let Some(unfit) = &owner.unfit {
                return Err(serde::ser::Error::custom(format!("broadcast {}: {unfit}", self.id)));
            }
        }
        self.id.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Broadcast<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = BroadcastId::deserialize(deserializer)?;
        let Some(executor) = current::executor() else {
            return Err(serde::de::Error::custom(format!("broadcast {id} can be read in tasks only")));
        };
        Ok(Broadcast { id, owner: None, home: Home::Executor(executor), fetched: OnceLock::new() })
    }
}
