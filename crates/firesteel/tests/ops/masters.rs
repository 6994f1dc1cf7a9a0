//! Contexts that tests share, and how they cut data.

use firesteel::{Context, Data, Rdd};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, OnceLock},
};

/// The masters that semantics must not depend on.
const MASTERS: [&str; 3] = ["local[1]", "local[4]", "local[4,2]"];

/// A context on each of [`MASTERS`], made once.
pub(crate) fn contexts() -> &'static [Context; 3] {
    static CONTEXTS: OnceLock<[Context; 3]> = OnceLock::new();
    CONTEXTS.get_or_init(|| MASTERS.map(|master| Context::builder().master(master).build().expect("a context")))
}

/// A context on four threads.
pub(crate) fn local4() -> &'static Context {
    &contexts()[1]
}

/// One of the shared contexts; prints its master where a test fails.
#[derive(Clone, Copy)]
pub(crate) struct On(usize);

impl Deref for On {
    type Target = Context;
    fn deref(&self) -> &Context {
        &contexts()[self.0]
    }
}

impl fmt::Debug for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASTERS[self.0])
    }
}

/// One of the shared contexts.
pub(crate) fn any_context() -> impl Strategy<Value = On> {
    (0..MASTERS.len()).prop_map(On)
}

/// Numbers of partitions: none, one, few, more than there are threads.
pub(crate) fn any_partitions() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0usize), Just(1), Just(2), Just(7)]
}

/// How property tests run: enough cases, each of which runs jobs.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

/// The items in so many partitions; in none of them nothing is left.
pub(crate) fn spread<T: Data>(sc: &Context, items: &[T], partitions: usize) -> Rdd<T> {
    match partitions {
        0 => sc.empty_rdd(),
        n => sc.parallelize_n(items.to_vec(), n).erase(),
    }
}

/// The items as [`spread`] cuts them; of none partitions nothing is left.
pub(crate) fn slices<T: Clone>(items: &[T], partitions: usize) -> Vec<Vec<T>> {
    (0..partitions).map(|i| items[i * items.len() / partitions..(i + 1) * items.len() / partitions].to_vec()).collect()
}

/// The items that are left when they lie in so many partitions.
pub(crate) fn kept<T: Clone>(items: &[T], partitions: usize) -> Vec<T> {
    if partitions == 0 { Vec::new() } else { items.to_vec() }
}

/// A context that notes its tasks.
pub(crate) struct Watched {
    pub(crate) context: Context,
    tasks: Arc<Mutex<Vec<(u64, u64, usize)>>>,
}

impl Watched {
    /// On a master, with settings.
    pub(crate) fn new(master: &str, conf: &[(&str, &str)]) -> Self {
        let tasks = Arc::new(Mutex::new(Vec::new()));
        let noted = tasks.clone();
        let builder = Context::builder().master(master).tamper(move |info, _, moment| {
            if matches!(moment, firesteel::__private::Moment::Before) {
                noted.lock().unwrap().push((info.job.0, info.stage.0, info.partition.index()));
            }
        });
        let builder = conf.iter().fold(builder, |builder, (key, value)| builder.conf(*key, value));
        Watched { context: builder.build().expect("a context"), tasks }
    }

    /// How many tasks each stage had that ran since the last call, grouped by job, in order of submission.
    pub(crate) fn ran(&self) -> Vec<Vec<usize>> {
        let mut jobs: BTreeMap<u64, BTreeMap<u64, usize>> = BTreeMap::new();
        let mut order: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (job, stage, _) in std::mem::take(&mut *self.tasks.lock().unwrap()) {
            *jobs.entry(job).or_default().entry(stage).or_default() += 1;
            let stages = order.entry(job).or_default();
            if !stages.contains(&stage) {
                stages.push(stage);
            }
        }
        jobs.into_iter().map(|(job, stages)| order[&job].iter().map(|stage| stages[stage]).collect()).collect()
    }
}
