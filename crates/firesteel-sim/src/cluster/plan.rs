//! What a seed of a cluster stands for: its rules, workers, applications and drivers, and what happens to them.

use crate::rng::Rng;
use firesteel_cluster::{
    content::ContentHash,
    faults::Faults,
    master::state::Rules,
    protocol::{ApplicationDescription, Blob, DriverDescription},
};
use firesteel_net::Secret;
use std::time::Duration;

/// A worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerPlan {
    pub(super) at: Duration,
    pub(super) cores: u32,
    pub(super) memory_mib: u64,
    pub(super) slowness: u32,
}

/// An application.
#[derive(Clone, Debug)]
pub(super) struct ApplicationPlan {
    pub(super) at: Duration,
    pub(super) wants: ApplicationDescription,
    /// How many executors it wants when it has been there for so long.
    pub(super) executors: Vec<(Duration, u32)>,
    /// Its jobs are those of this seed; without one it has its executors for so long, and nothing for them to do.
    pub(super) work: Work,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Jobs(u64),
    Nothing(Duration),
}

/// A driver that is submitted.
#[derive(Clone, Debug)]
pub(super) struct DriverPlan {
    pub(super) at: Duration,
    pub(super) wants: DriverDescription,
    /// How long it runs each time.
    pub(super) runs: Duration,
    /// How many times it fails.
    pub(super) failures: u32,
    /// When somebody wants it killed.
    pub(super) killed: Option<Duration>,
}

/// Something that goes wrong. Numbers are taken modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// The master is killed, perhaps in the middle of what it does, and another begins after a while.
    MasterDies { midway: bool, until: Duration },
    /// The master stands still.
    MasterStops { until: Duration },
    /// Nothing goes between somebody and the master for a while.
    Cut { whom: usize, until: Duration },
    /// Somebody's connection ends; it makes another.
    HangUp { whom: usize },
    /// A worker dies with all that it runs; another begins on its machine.
    WorkerDies { which: usize, until: Duration },
    /// A worker stands still; what it runs does not.
    WorkerStops { which: usize, until: Duration },
    /// An executor is killed.
    ExecutorDies { which: usize },
    /// An application's driver is killed.
    ApplicationDies { which: usize },
}

/// All that a seed stands for.
#[derive(Clone, Debug)]
pub(super) struct ClusterPlan {
    pub(super) rules: Rules,
    pub(super) workers: Vec<WorkerPlan>,
    pub(super) applications: Vec<ApplicationPlan>,
    pub(super) drivers: Vec<DriverPlan>,
    pub(super) troubles: Vec<(Duration, Trouble)>,
    /// Nothing but the master dies or stands still, and tasks do not fail: then no executor is lost.
    pub(super) restarts_only: bool,
    /// Messages take up to so many milliseconds.
    pub(super) slowest: u64,
    /// From then on nothing goes wrong in the cluster.
    pub(super) calm: Duration,
}

/// Nobody looks into it.
fn blob() -> Blob {
    Blob { hash: ContentHash::parse(&"0".repeat(64)).expect("64 digits"), length: 1 }
}

/// What the last application of every history wants: all that there is.
pub(super) fn wants_all(index: usize) -> ApplicationDescription {
    wants(&index.to_string(), Some(u32::MAX), None, 1)
}

/// Often as many as there can be; other numbers come sooner or later. Drawn apart, so that the rest of a seed is what it would be without.
fn numbers_of_executors(seed: u64, index: usize) -> Vec<(Duration, u32)> {
    let rng = &mut Rng::new(seed.rotate_left(17) ^ index as u64);
    let mut number = || if rng.per_mille(500) { u32::MAX } else { rng.between(1, 4) as u32 };
    let (first, second) = (number(), number());
    vec![(Duration::ZERO, first), (rng.millis(0, 1500), second)]
}

fn wants(
    name: &str,
    cores_max: Option<u32>,
    executor_cores: Option<u32>,
    executor_memory_mib: u64,
) -> ApplicationDescription {
    ApplicationDescription {
        name: name.into(),
        cores_max,
        executor_cores,
        executor_memory_mib,
        driver: "driver:1".into(),
        secret: Secret::from_bytes(&[7; 16]).expect("16 bytes are enough"),
        files_at: "driver:2".into(),
        executable: blob(),
    }
}

impl ClusterPlan {
    pub(super) fn of(seed: u64, faults: Faults) -> Self {
        let rng = &mut Rng::new(seed ^ 0x636c_7573_7465_7221);
        let restarts_only = rng.per_mille(200);
        let timeout = rng.millis(200, 1500);
        let rules = Rules {
            stamp: "t".into(),
            default_cores: if rng.per_mille(300) { rng.between(1, 4) as u32 } else { u32::MAX },
            spread_out: rng.per_mille(500),
            max_executor_retries: rng.between(3, 10) as u32,
            worker_timeout: timeout,
            faults,
        };
        let workers: Vec<_> = (0..rng.between(1, 4))
            .map(|_| WorkerPlan {
                at: rng.millis(0, 50),
                cores: rng.between(1, 4) as u32,
                memory_mib: rng.between(1, 4) * 512,
                slowness: if rng.per_mille(100) { 10 } else { 1 },
            })
            .collect();
        let most = rng.between(1, 4) as usize;
        // So that everybody can be served, by one worker at least.
        let roomy = rng.one_of(&workers).clone();
        let applications = (0..most)
            .map(|index| {
                let executor_cores = rng.per_mille(500).then(|| rng.between(1, u64::from(roomy.cores)) as u32);
                let least = u64::from(executor_cores.unwrap_or(1));
                let cores_max = rng.per_mille(600).then(|| rng.between(least, least + 5) as u32);
                let too_few = cores_max.is_none() && rules.default_cores < executor_cores.unwrap_or(1);
                let executor_cores = executor_cores.filter(|_| !too_few);
                let memory_mib = rng.between(1, roomy.memory_mib / 512) * 512;
                let work = match rng.per_mille(600) {
                    true => Work::Jobs(seed.wrapping_mul(8).wrapping_add(index as u64)),
                    false => Work::Nothing(rng.millis(20, 3000)),
                };
                let at = rng.millis(0, 800);
                let wants = wants(&index.to_string(), cores_max, executor_cores, memory_mib);
                ApplicationPlan { at, wants, executors: numbers_of_executors(seed, index), work }
            })
            .collect();
        let drivers = (0..rng.between(0, 3))
            .map(|index| DriverPlan {
                at: rng.millis(0, 800),
                wants: DriverDescription {
                    name: index.to_string(),
                    executable: blob(),
                    args: Vec::new(),
                    settings: Vec::new(),
                    cores: 1,
                    memory_mib: 512,
                    supervise: rng.per_mille(600),
                    files: Vec::new(),
                },
                runs: rng.millis(1, 800),
                failures: if rng.per_mille(600) { 0 } else { rng.between(1, 3) as u32 },
                killed: rng.per_mille(200).then(|| rng.millis(0, 2000)),
            })
            .collect();
        let longest = timeout * 3;
        let mut calm = Duration::ZERO;
        let troubles = (0..rng.between(0, 8))
            .map(|_| {
                let at = rng.millis(0, 2500);
                let mut until = || at + Duration::from_micros(rng.between(1000, longest.as_micros() as u64));
                let until = until();
                calm = calm.max(until);
                let which = rng.between(0, 100) as usize;
                let trouble = match rng.between(0, if restarts_only { 2 } else { 10 }) {
                    0 | 1 => Trouble::MasterDies { midway: rng.per_mille(600), until },
                    2 => Trouble::MasterStops { until },
                    3 | 4 => Trouble::Cut { whom: which, until },
                    5 => Trouble::HangUp { whom: which },
                    6 => Trouble::WorkerDies { which, until },
                    7 => Trouble::WorkerStops { which, until },
                    8 | 9 => Trouble::ExecutorDies { which },
                    _ => Trouble::ApplicationDies { which },
                };
                (at, trouble)
            })
            .collect();
        let slowest = if rng.per_mille(300) { 40 } else { 3 };
        ClusterPlan { rules, workers, applications, drivers, troubles, restarts_only, slowest, calm }
    }
}
