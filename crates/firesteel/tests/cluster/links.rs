//! Programs on a standalone cluster whose network is bad: what it costs them that connections are cut, held and slow.

use crate::{
    counted, executors,
    relay::{Fate, Relay, ports_of},
    standalone::{Cluster, soon},
};
use firesteel::{
    events::{
        Event,
        event::{FetchFailed, TaskEndReason},
    },
    prelude::*,
};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// So many records, of some 700 bytes that get no smaller.
const RECORDS: u64 = 10_000;
/// How long anybody may be silent.
const LIMIT: Duration = Duration::from_secs(2);

/// Two executors behind a relay, and a shuffle whose map outputs they hold.
struct Shuffled {
    sums: Rdd<(u64, u64)>,
    expected: Vec<(u64, u64)>,
    computed: LongAccumulator,
    /// Why fetches have failed, and executors are gone.
    told: Arc<Mutex<Vec<String>>>,
    /// Where executors serve what they hold.
    ports: Vec<u16>,
    sc: Context,
    cluster: Cluster,
}

impl Shuffled {
    /// Fetches are tried again so often.
    fn new(retries: u32) -> Shuffled {
        let cluster = Cluster::by_way_of(Some(Relay::start()), 1);
        let sc = cluster
            .builder()
            .conf("firesteel.network.timeout", format!("{LIMIT:?}"))
            .conf("firesteel.executor.heartbeatInterval", "200ms")
            .conf("firesteel.shuffle.io.maxRetries", retries)
            .conf("firesteel.locality.wait", "0s")
            .build()
            .unwrap();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let tell = told.clone();
        let listener = move |event: &Event| match event {
            Event::TaskEnd(end) => {
                if let TaskEndReason::FetchFailed(FetchFailed { message, .. }) = &end.reason {
                    tell.lock().unwrap().push(message.clone());
                }
            }
            Event::ExecutorRemoved(removed) => tell.lock().unwrap().push(removed.reason.to_string()),
            _ => {}
        };
        sc.add_listener(listener).unwrap();
        let ports = executors(&sc).into_iter().flat_map(ports_of).collect();
        let computed = sc.long_accumulator("computed");
        let mixed = |i: u64| (i ^ (i >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let records = sc
            .range_n(0..RECORDS, 8)
            .map_with(0, move |_, i| (mixed(i), (0..80).map(|j| mixed(i * 80 + j)).collect::<Vec<_>>()));
        let groups = counted(&records.erase(), &computed).group_by_key_into(4);
        let sums =
            groups.map_values(|all| all.into_iter().flatten().fold(0, |a: u64, b| a.wrapping_mul(31).wrapping_add(b)));
        let sums = sums.erase();
        let expected = sums.collect().unwrap();
        assert_eq!(computed.value(), RECORDS as i64);
        Shuffled { sums, expected, computed, told, ports, sc, cluster }
    }

    fn relay(&self) -> &Relay {
        self.cluster.relay.as_ref().unwrap()
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Connections to executors are slow from now on: what is fetched takes some seconds.
    fn is_slow(&self) {
        self.relay().cut_those_to(&self.ports);
        let ports = self.ports.clone();
        let slow = Duration::from_millis(25);
        self.relay()
            .fates(move |port| if ports.contains(&port) { Fate { slow, ..Fate::default() } } else { Fate::default() });
    }

    /// Reads the shuffle again, and does something in the middle of that; how long it took in all.
    fn read(&self, in_the_middle: impl FnOnce()) -> Duration {
        let begun = Instant::now();
        let before = self.relay().carried(&self.ports);
        let job = self.sums.collect_async();
        soon("map outputs are fetched", || self.relay().carried(&self.ports) > before + (300 << 10));
        in_the_middle();
        assert_eq!(job.get().unwrap(), self.expected);
        begun.elapsed()
    }
}

pub(crate) fn connections_that_are_cut_while_a_shuffle_is_read_are_made_again_and_nothing_is_computed_twice() {
    let ground = Shuffled::new(1);
    // Connections that rest are cut, too, and those that follow again and again: more often than fetches are tried.
    let (ports, before) = (ground.ports.clone(), ground.relay().cuts());
    ground.relay().fates(move |port| Fate { cut_after: ports.contains(&port).then_some(100 << 10), ..Fate::default() });
    ground.relay().cut_those_to(&ground.ports);
    ground.read(|| {});
    let cuts = ground.relay().cuts() - before;
    assert!(cuts > 8, "{cuts} cuts");
    assert_eq!(ground.told(), Vec::<String>::new());
    assert_eq!(ground.computed.value(), RECORDS as i64);
}

pub(crate) fn connections_that_ended_while_they_rested_cost_no_try() {
    let ground = Shuffled::new(0);
    let before = ground.relay().cuts();
    ground.relay().cut_those_to(&ground.ports);
    soon("those that rest are cut", || ground.relay().cuts() > before);
    ground.read(|| {});
    assert_eq!(ground.told(), Vec::<String>::new());
    assert_eq!(ground.computed.value(), RECORDS as i64);
}

pub(crate) fn a_network_that_is_slow_and_silent_for_less_than_the_limit_costs_time_only() {
    let ground = Shuffled::new(1);
    ground.is_slow();
    ground.read(|| {
        ground.relay().hold(|_| true);
        std::thread::sleep(LIMIT / 3);
        ground.relay().release();
    });
    assert_eq!(ground.told(), Vec::<String>::new());
    assert_eq!(ground.computed.value(), RECORDS as i64);
}

pub(crate) fn executors_out_of_each_others_reach_are_fetch_failures_with_the_reason() {
    let ground = Shuffled::new(1);
    ground.is_slow();
    let ports = ground.ports.clone();
    let took = ground.read(|| {
        ground.relay().hold(move |port| ports.contains(&port));
        soon("the failure is told", || !ground.told().is_empty());
        ground.relay().release();
    });
    let told = ground.told();
    // What is given up then is removed at its holder, where another task may be about to read it.
    let expected = |why: &String| why.contains("silent") || why.ends_with("is gone");
    assert!(told[0].contains("silent") && told.iter().all(expected), "{told:?}");
    assert!(took < LIMIT * 15, "{took:?}");
    assert!(ground.computed.value() <= 2 * RECORDS as i64);
}

pub(crate) fn a_network_that_is_silent_for_longer_than_the_limit_costs_executors_and_is_named() {
    let ground = Shuffled::new(1);
    ground.is_slow();
    ground.read(|| {
        ground.relay().hold(|_| true);
        soon("executors are given up", || !ground.told().is_empty());
        ground.relay().release();
    });
    let told = ground.told();
    assert!(told.iter().any(|why| why.contains("no heartbeat")), "{told:?}");
    ground.sc.stop().unwrap();
    ground.cluster.is_free_again();
}
