//! What a seed stands for: settings of the scheduler, shuffles and cached RDDs, jobs, and how much goes wrong.

use crate::rng::Rng;
use firesteel_model::{ExecutorId, HostId, JobId, PartitionIndex, RddId, ShuffleId, StageId};
use firesteel_scheduler::{
    Config, Exclusion, Faults, Input, Inputs, JobKind, JobSpec, LocalityWait, PoolConfig, Preference, RackId,
    SchedulingMode, Speculation, StageOutput, StageSpec,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How much goes wrong, each in times per thousand.
#[derive(Clone, Debug, Default)]
pub struct Mischief {
    /// A task of the user's fails.
    pub user_error: u64,
    /// A message between the driver and an executor is lost.
    pub lost: u64,
    /// A message is delivered twice.
    pub repeated: u64,
    /// A message takes very long.
    pub late: u64,
    /// An attempt takes twenty times as long.
    pub slow_attempt: u64,
    /// A cached block is dropped, per task.
    pub dropped_block: u64,
    /// A fetched result is lost.
    pub lost_result: u64,
    /// A map output vanishes or an executor becomes unreachable or crashes, per task.
    pub disaster: u64,
    /// A job, a stage, a group, a tag or an attempt is cancelled, per task.
    pub cancelled: u64,
}

/// One executor.
#[derive(Clone, Debug)]
pub struct ExecutorPlan {
    /// Its host.
    pub host: HostId,
    /// Its host's rack.
    pub rack: Option<RackId>,
    /// How many tasks it runs at a time.
    pub slots: u32,
    /// How many times slower than others it is.
    pub slowness: u32,
    /// Whether most tasks fail there.
    pub broken: bool,
}

/// One job and when it is submitted.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// The time of its submission.
    pub at: Duration,
    /// The job. Stages of shuffles that are known by then may be left out on submission.
    pub spec: JobSpec,
    /// Whether its tasks commit output.
    pub commits: bool,
    /// Whether its results are too large to come with the message.
    pub large_results: bool,
}

/// All that a seed stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scheduler's settings.
    pub config: Config,
    /// The executors at the start.
    pub executors: Vec<ExecutorPlan>,
    /// The jobs.
    pub jobs: Vec<JobPlan>,
    /// Shuffles whose map tasks give other data every time.
    pub random_shuffles: BTreeSet<ShuffleId>,
    /// The persisted RDDs.
    pub rdds: Vec<RddId>,
    /// How much goes wrong.
    pub mischief: Mischief,
    /// Whether a shuffle service keeps the output of executors that crash.
    pub shuffle_service: bool,
    /// How often executors send heartbeats.
    pub heartbeat: Option<Duration>,
}

/// A cached RDD or a shuffle, as something that stages read.
#[derive(Clone, Copy)]
enum Source {
    Shuffle(usize),
    Cache(usize),
}

struct Cache {
    rdd: RddId,
    partitions: u32,
    behind: Vec<Source>,
}

struct Maker<'a> {
    rng: &'a mut Rng,
    stages: Vec<Arc<StageSpec>>,
    caches: Vec<Cache>,
    hosts: u64,
    executors: u64,
}

impl Maker<'_> {
    fn some_sources(&mut self, at_least: u64) -> Vec<Source> {
        let mut all: Vec<_> = (0..self.stages.len()).map(Source::Shuffle).collect();
        all.extend((0..self.caches.len()).map(Source::Cache));
        if all.is_empty() {
            return all;
        }
        let count = self.rng.between(at_least, 3);
        // The latest ones more often: deep lineages find more than wide ones.
        let len = all.len() as u64;
        (0..count)
            .map(|_| {
                let pick = if self.rng.per_mille(600) {
                    len - 1 - self.rng.between(0, (len - 1).min(2))
                } else {
                    self.rng.between(0, len - 1)
                };
                all[pick as usize]
            })
            .collect()
    }

    fn inputs(&self, roots: &[Source]) -> Inputs {
        let mut inputs = Inputs::default();
        let mut shuffles = BTreeMap::new();
        let mut caches = BTreeMap::new();
        let roots: BTreeSet<u32> =
            roots.iter().map(|root| self.node(*root, &mut inputs, &mut shuffles, &mut caches)).collect();
        inputs.roots = roots.into_iter().collect();
        inputs
    }

    fn node(
        &self,
        source: Source,
        inputs: &mut Inputs,
        shuffles: &mut BTreeMap<usize, u32>,
        caches: &mut BTreeMap<usize, u32>,
    ) -> u32 {
        match source {
            Source::Shuffle(index) => {
                *shuffles.entry(index).or_insert_with(|| inputs.push(Input::Shuffle(ShuffleId(index as u64))))
            }
            Source::Cache(index) => {
                if let Some(place) = caches.get(&index) {
                    return *place;
                }
                let cache = &self.caches[index];
                let behind = cache.behind.iter().map(|s| self.node(*s, inputs, shuffles, caches)).collect();
                let place = inputs.push(Input::Cache { rdd: cache.rdd, partitions: cache.partitions, behind });
                caches.insert(index, place);
                place
            }
        }
    }

    fn preferences(&mut self, tasks: u32, inputs: &Inputs) -> Option<Arc<[Vec<Preference>]>> {
        if self.rng.per_mille(400) {
            return None;
        }
        let one = |partition: u32, rng: &mut Rng| {
            let mut list = Vec::new();
            for node in &inputs.nodes {
                match node {
                    Input::Cache { rdd, partitions, .. } if *partitions > 0 && rng.per_mille(800) => {
                        list.push(Preference::Cached(*rdd, PartitionIndex(partition % partitions)));
                    }
                    Input::Shuffle(shuffle) if rng.per_mille(500) => {
                        list.push(Preference::Reduce(*shuffle, PartitionIndex(partition)));
                    }
                    _ => {}
                }
            }
            match rng.between(0, 5) {
                0 => list.push(Preference::Host(HostId(rng.between(0, self.hosts) as u32))),
                1 => list.push(Preference::Executor(ExecutorId(rng.between(0, self.executors)))),
                2 => list.push(Preference::Rack(RackId(rng.between(0, 2) as u32))),
                _ => {}
            }
            list
        };
        Some((0..tasks).map(|partition| one(partition, self.rng)).collect())
    }

    fn stage(&mut self, stage: StageId, output: StageOutput, tasks: u32) -> Arc<StageSpec> {
        let roots = self.some_sources(if output == StageOutput::Result { 1 } else { 0 });
        let inputs = self.inputs(&roots);
        let preferences = self.preferences(tasks, &inputs);
        Arc::new(StageSpec { stage, output, tasks, inputs, preferences })
    }

    /// The stages that a stage may need, in order, itself last.
    fn lineage(&self, last: &Arc<StageSpec>) -> Vec<Arc<StageSpec>> {
        let mut needed: BTreeSet<ShuffleId> = last.inputs.shuffles().collect();
        let mut stages = vec![last.clone()];
        for spec in self.stages.iter().rev() {
            if let StageOutput::Shuffle(shuffle) = spec.output
                && needed.contains(&shuffle)
                && spec.stage != last.stage
            {
                needed.extend(spec.inputs.shuffles());
                stages.push(spec.clone());
            }
        }
        stages.reverse();
        stages
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64, faults: Faults) -> Self {
        let rng = &mut Rng::new(seed);
        let hosts = rng.between(1, 4);
        let racks = rng.between(0, 2);
        let count = rng.between(1, 6);
        let executors: Vec<_> = (0..count)
            .map(|_| {
                let host = rng.between(0, hosts - 1);
                ExecutorPlan {
                    host: HostId(host as u32),
                    rack: (racks > 0).then(|| RackId((host % racks) as u32)),
                    slots: rng.between(1, 3) as u32,
                    slowness: if rng.per_mille(150) { 10 } else { 1 },
                    broken: rng.per_mille(60),
                }
            })
            .collect();
        let calm = rng.per_mille(100);
        let heartbeat = rng.per_mille(500).then(|| rng.millis(20, 200));
        let config = Self::config(rng, heartbeat, faults);
        let mut maker = Maker { rng, stages: Vec::new(), caches: Vec::new(), hosts, executors: count };
        let random = if maker.rng.per_mille(500) { 400 } else { 0 };
        let mut random_shuffles = BTreeSet::new();
        for index in 0..maker.rng.between(0, 7) {
            let shuffle = ShuffleId(index);
            if maker.rng.per_mille(random) {
                random_shuffles.insert(shuffle);
            }
            let tasks = if maker.rng.per_mille(30) { 0 } else { maker.rng.between(1, 5) as u32 };
            let spec = maker.stage(StageId(index), StageOutput::Shuffle(shuffle), tasks);
            maker.stages.push(spec);
            if maker.rng.per_mille(400) {
                let behind = maker.some_sources(1);
                let cache =
                    Cache { rdd: RddId(maker.caches.len() as u64), partitions: maker.rng.between(1, 4) as u32, behind };
                maker.caches.push(cache);
            }
        }
        let jobs = (0..maker.rng.between(1, 6)).map(|index| Self::job(&mut maker, index)).collect();
        let rdds = maker.caches.iter().map(|cache| cache.rdd).collect();
        let mut some = |most: u64| if calm || rng.per_mille(400) { 0 } else { rng.between(0, most) };
        let mischief = Mischief {
            user_error: some(120),
            lost: if heartbeat.is_some() { some(60) } else { 0 },
            repeated: some(80),
            late: some(80),
            slow_attempt: some(60),
            dropped_block: some(200),
            lost_result: some(60),
            disaster: some(120),
            cancelled: some(15),
        };
        Plan {
            config,
            executors,
            jobs,
            random_shuffles,
            rdds,
            mischief,
            shuffle_service: rng.per_mille(300),
            heartbeat,
        }
    }

    fn config(rng: &mut Rng, heartbeat: Option<Duration>, faults: Faults) -> Config {
        let mode = |rng: &mut Rng| if rng.per_mille(500) { SchedulingMode::Fair } else { SchedulingMode::Fifo };
        let pool =
            PoolConfig { mode: mode(rng), weight: rng.between(1, 3) as u32, min_share: rng.between(0, 3) as u32 };
        let wait = |rng: &mut Rng| if rng.per_mille(300) { Duration::ZERO } else { rng.millis(1, 100) };
        Config {
            max_task_failures: rng.between(2, 5) as u32,
            max_consecutive_stage_attempts: rng.between(3, 8) as u32,
            max_result_bytes: Some(1 << 30),
            locality_wait: LocalityWait { process: wait(rng), node: wait(rng), rack: wait(rng) },
            mode: mode(rng),
            pools: BTreeMap::from([("a".to_owned(), pool)]),
            speculation: rng.per_mille(500).then(|| Speculation {
                interval: rng.millis(1, 50),
                quantile: rng.between(20, 95) as f64 / 100.0,
                multiplier: rng.between(100, 300) as f64 / 100.0,
                min_task_runtime: rng.millis(0, 20),
                same_host: rng.per_mille(500),
            }),
            exclusion: rng.per_mille(500).then(|| {
                let mut few = |most| rng.between(1, most) as u32;
                Exclusion {
                    task_failures_per_executor: few(2),
                    task_failures_per_host: few(3),
                    stage_tasks_per_executor: few(3),
                    stage_executors_per_host: few(2),
                    app_tasks_per_executor: few(3),
                    app_executors_per_host: few(2),
                    timeout: rng.millis(5, 500),
                    patience: rng.millis(0, 300),
                }
            }),
            heartbeat_timeout: heartbeat.map(|interval| interval * 5),
            faults,
        }
    }

    fn job(maker: &mut Maker<'_>, index: u64) -> JobPlan {
        let job = JobId(index);
        let (last, kind) = if !maker.stages.is_empty() && maker.rng.per_mille(150) {
            (maker.rng.one_of(&maker.stages).clone(), JobKind::MapOnly)
        } else {
            let tasks = maker.rng.between(1, 6) as u32;
            let mut partitions: Vec<_> = (0..tasks).map(PartitionIndex).collect();
            partitions.retain(|_| maker.rng.per_mille(850));
            let last = maker.stage(StageId(1000 + index), StageOutput::Result, tasks);
            let kind = match maker.rng.per_mille(150) {
                true => JobKind::Approximate { partitions, timeout: maker.rng.millis(1, 200) },
                false => JobKind::Result { partitions },
            };
            (last, kind)
        };
        let rng = &mut *maker.rng;
        let spec = JobSpec {
            job,
            kind,
            pool: rng.one_of(&["default", "a", "b"]).to_string(),
            group: rng.per_mille(300).then(|| "group".to_owned()),
            tags: if rng.per_mille(300) { vec!["tag".to_owned()] } else { Vec::new() },
            stages: Vec::new(),
        };
        let at = rng.millis(0, 400);
        let (commits, large_results) = (rng.per_mille(400), rng.per_mille(300));
        let spec = JobSpec { stages: maker.lineage(&last), ..spec };
        JobPlan { at, spec, commits, large_results }
    }
}
