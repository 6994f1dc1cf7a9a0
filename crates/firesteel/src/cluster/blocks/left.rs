//! Map outputs that executors left when they died, read out of their files, which the shuffle service of their worker serves.
//!
//! The service knows nothing of what is in the files. A reader has it send the catalogue of the shuffle, by that the indices of the map
//! outputs that it wants, and by those their pages.

use super::{
    Failed,
    ask::Client,
    fetch::{Header, Wish},
    resting::Resting,
};
use crate::graph::lock;
use firesteel_cluster::shuffle_service::{Bytes, ShuffleReader, Unserved};
use firesteel_model::{AttemptId, ExecutorId, PartitionIndex, ShuffleId};
use firesteel_net::NetErrorKind;
use firesteel_rdd::Holder;
use firesteel_store::{Catalogue, FileRange, Located, OutputPlace};
use std::{
    collections::{HashMap, VecDeque},
    io::ErrorKind,
    sync::{Arc, Mutex},
};

/// So many map outputs are looked up at a time.
const MOST_MAPS: usize = 1000;
/// So many ranges are asked for at a time.
const MOST_RANGES: usize = 1000;
/// No catalogue is longer.
const MOST_CATALOGUE: u64 = 256 << 20;

/// What this process knows of executors that have died.
#[derive(Default)]
pub(super) struct Left {
    /// Nothing is added to them any more.
    catalogues: Mutex<HashMap<ShuffleId, HashMap<ExecutorId, Arc<Catalogue>>>>,
    /// Connections to services.
    resting: Resting<ShuffleReader>,
}

impl Client {
    /// The shuffle has been released.
    pub(in crate::cluster) fn forget(&self, shuffle: ShuffleId) {
        let forgotten = lock(&self.0.left.catalogues).remove(&shuffle);
        drop(forgotten);
    }

    /// Has the map outputs of an executor removed that has died; if that fails, they stay until the application ends.
    pub(in crate::cluster) fn remove_outputs(&self, holder: &Holder) {
        let removed = self.service(&holder.address).and_then(|mut reader| Ok(reader.remove(holder.executor)?));
        if let Err(failed) = removed {
            tracing::debug!("{holder} is not removed: {failed}");
        }
    }

    fn service(&self, address: &str) -> Result<ShuffleReader, Failed> {
        ShuffleReader::connect(address, &self.0.secret, self.0.silence).map_err(|e| match e.kind() {
            // Its worker has ended, and with it all that it served.
            NetErrorKind::Connect(why) if why.kind() == ErrorKind::ConnectionRefused => Failed::Lost(e.to_string()),
            _ => Failed::Reach(e.to_string()),
        })
    }
}

impl From<Unserved> for Failed {
    fn from(unserved: Unserved) -> Self {
        match unserved {
            Unserved::Missing(what) => Failed::Data(what),
            Unserved::Silent(what) => Failed::Reach(what),
        }
    }
}

/// Map outputs that are arriving from a service.
pub(super) struct FromService {
    reader: ShuffleReader,
    address: String,
    executor: ExecutorId,
    catalogue: Arc<Catalogue>,
    /// Those that were looked up and have not been begun.
    located: VecDeque<Result<Located, String>>,
    /// Their pages that have not been asked for.
    unasked: VecDeque<FileRange>,
    /// The lengths of those that were and have not come.
    asked: VecDeque<u64>,
    /// How many bytes of the one before these have not come.
    left: u64,
}

impl FromService {
    /// Looks up the first of these map outputs; the first of all without so many bytes.
    pub(super) fn open(
        client: &Client,
        holder: &Holder,
        wish: Wish,
        maps: &VecDeque<(PartitionIndex, AttemptId)>,
        skip: u64,
    ) -> Result<Self, Failed> {
        loop {
            let rested = client.0.left.resting.take(&holder.address);
            // One that rested may have ended meanwhile.
            let is_rested = rested.is_some();
            let reader = rested.map_or_else(|| client.service(&holder.address), Ok)?;
            match Self::begin(client, holder, reader, wish, maps, skip) {
                Err(Failed::Reach(_)) if is_rested => client.0.left.resting.end(&holder.address),
                begun => return begun,
            }
        }
    }

    fn begin(
        client: &Client,
        holder: &Holder,
        mut reader: ShuffleReader,
        wish: Wish,
        maps: &VecDeque<(PartitionIndex, AttemptId)>,
        skip: u64,
    ) -> Result<Self, Failed> {
        let catalogue = catalogue(client, holder.executor, wish.shuffle, &mut reader)?;
        let mut service = FromService {
            reader,
            address: holder.address.clone(),
            executor: holder.executor,
            catalogue,
            located: VecDeque::new(),
            unasked: VecDeque::new(),
            asked: VecDeque::new(),
            left: 0,
        };
        service.locate(wish, maps, skip)?;
        Ok(service)
    }

    /// Looks up the next map outputs, and asks for their pages.
    fn locate(
        &mut self,
        wish: Wish,
        maps: &VecDeque<(PartitionIndex, AttemptId)>,
        mut skip: u64,
    ) -> Result<(), Failed> {
        let (partition, wanted) = (wish.partition as usize, wish.wanted);
        let place = |(map, attempt): &(PartitionIndex, AttemptId)| {
            let place = self.catalogue.find(*map, *attempt).ok_or("its executor has not noted it")?;
            Ok((place.clone(), place.index(partition, wanted)?))
        };
        let places: Vec<Result<(OutputPlace, Vec<FileRange>), &str>> = maps.iter().take(MOST_MAPS).map(place).collect();
        let found = places.iter().flatten();
        let mut indices = self.all(found.flat_map(|(_, index)| index.iter().cloned()).collect())?.into_iter();
        for place in places {
            let located = place.map_err(String::from).and_then(|(place, index)| {
                // All that belong to this one are taken, also where one is missing.
                let indices: Vec<_> = indices.by_ref().take(index.len()).collect();
                let indices = indices.into_iter().collect::<Result<Vec<_>, String>>()?;
                Ok(place.locate(partition, wanted, &indices)?)
            });
            let located = located.map(|mut located| {
                located.skip(std::mem::take(&mut skip));
                located
            });
            let is_lost = located.is_err();
            self.unasked.extend(located.iter().flat_map(|located| located.ranges.iter().cloned()));
            self.located.push_back(located);
            if is_lost {
                // Nobody reads on after it.
                break;
            }
        }
        self.ask_more()
    }

    /// The bytes of many ranges, or why one is missing.
    fn all(&mut self, ranges: Vec<FileRange>) -> Result<Vec<Result<Vec<u8>, String>>, Failed> {
        let mut all = Vec::with_capacity(ranges.len());
        for ranges in ranges.chunks(MOST_RANGES) {
            self.reader.ask(self.executor, ranges.iter().cloned().map(bytes).collect())?;
            for range in ranges {
                match self.reader.whole(range.bytes.end - range.bytes.start) {
                    Ok(bytes) => all.push(Ok(bytes)),
                    Err(Unserved::Missing(why)) => all.push(Err(why)),
                    Err(silent) => return Err(silent.into()),
                }
            }
        }
        Ok(all)
    }

    fn ask_more(&mut self) -> Result<(), Failed> {
        if self.asked.is_empty() && !self.unasked.is_empty() {
            let ranges = self.unasked.drain(..self.unasked.len().min(MOST_RANGES));
            let ranges: Vec<_> = ranges.collect();
            self.asked.extend(ranges.iter().map(|range| range.bytes.end - range.bytes.start));
            self.reader.ask(self.executor, ranges.into_iter().map(bytes).collect())?;
        }
        Ok(())
    }

    /// What is said of the first of these map outputs.
    pub(super) fn header(
        &mut self,
        wish: Wish,
        maps: &VecDeque<(PartitionIndex, AttemptId)>,
    ) -> Result<Header, Failed> {
        if self.located.is_empty() {
            self.locate(wish, maps, 0)?;
        }
        match self.located.pop_front() {
            Some(Ok(Located { records, bytes, among_others, .. })) => Ok(Header { records, bytes, among_others }),
            Some(Err(what)) => Err(Failed::Data(what)),
            None => Err(Failed::Data("nobody asked for it".into())),
        }
    }

    /// Its next bytes.
    pub(super) fn frame(&mut self, frame: &mut Vec<u8>) -> Result<(), Failed> {
        if self.left == 0 {
            self.ask_more()?;
            let nothing = || Failed::Reach("nothing more was asked for".into());
            let expected = self.asked.pop_front().ok_or_else(nothing)?;
            self.left = self.reader.answer()?;
            if self.left != expected {
                return Err(Failed::Reach("it sent another number of bytes than was asked for".into()));
            }
        }
        self.reader.frame(frame, self.left)?;
        self.left -= frame.len() as u64;
        Ok(())
    }

    /// All has come that was asked for.
    pub(super) fn rest(self, client: &Client) {
        if self.left == 0 && self.asked.is_empty() {
            client.0.left.resting.put(&self.address, self.reader);
        }
    }
}

fn bytes(FileRange { folder, file, bytes }: FileRange) -> Bytes {
    Bytes { folder, file, from: bytes.start, to: Some(bytes.end) }
}

/// What an executor left of a shuffle. Without that nothing of it can be found.
fn catalogue(
    client: &Client,
    executor: ExecutorId,
    shuffle: ShuffleId,
    reader: &mut ShuffleReader,
) -> Result<Arc<Catalogue>, Failed> {
    let catalogues = &client.0.left.catalogues;
    if let Some(known) = lock(catalogues).get(&shuffle).and_then(|known| known.get(&executor)) {
        return Ok(known.clone());
    }
    reader.ask(executor, vec![Bytes { folder: 0, file: Catalogue::file_of(shuffle), from: 0, to: None }])?;
    let catalogue = match reader.whole(MOST_CATALOGUE) {
        Ok(bytes) => Arc::new(Catalogue::of(&bytes)),
        Err(Unserved::Missing(why)) => return Err(Failed::Lost(why)),
        Err(silent) => return Err(silent.into()),
    };
    lock(catalogues).entry(shuffle).or_default().insert(executor, catalogue.clone());
    Ok(catalogue)
}
