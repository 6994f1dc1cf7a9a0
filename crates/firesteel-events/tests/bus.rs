//! What the bus promises: order, no loss where none is allowed, a bound, and that a bad listener harms only itself.

use firesteel_events::{Bus, Event, Listener, Queue, event::UnpersistRdd};
use firesteel_model::RddId;
use std::sync::{Arc, Mutex, mpsc};

fn event(n: u64) -> UnpersistRdd {
    UnpersistRdd { rdd: RddId(n) }
}

fn number(event: &Event) -> u64 {
    let Event::UnpersistRdd(e) = event else { panic!("{event:?}") };
    e.rdd.0
}

/// A listener that writes down the numbers that it sees, and where it was.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u64>>>);

impl Seen {
    fn numbers(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

impl Listener for Seen {
    fn on_event(&mut self, event: &Event) {
        self.0.lock().unwrap().push(number(event));
    }
    fn on_stop(&mut self) {
        self.0.lock().unwrap().push(u64::MAX);
    }
}

#[test]
fn every_listener_sees_every_event_in_the_order_of_posting() {
    let bus = Bus::new(100_000);
    let seen = [Seen::default(), Seen::default(), Seen::default(), Seen::default()];
    let queues = [Queue::Shared, Queue::Shared, Queue::AppStatus, Queue::EventLog];
    for (listener, queue) in seen.iter().zip(queues) {
        bus.add(queue, listener.clone()).unwrap();
    }
    (0..10_000).for_each(|n| bus.post(event(n)));
    assert!(bus.flush());
    for listener in &seen {
        assert!(listener.numbers().into_iter().eq(0..10_000));
    }
}

#[test]
fn posters_on_many_threads_are_seen_in_one_order_by_all() {
    let bus = Bus::new(64);
    let seen = [Seen::default(), Seen::default()];
    bus.add(Queue::AppStatus, seen[0].clone()).unwrap();
    bus.add(Queue::EventLog, seen[1].clone()).unwrap();
    std::thread::scope(|scope| {
        for poster in 0..4 {
            let bus = &bus;
            scope.spawn(move || (0..2_000).for_each(|n| bus.post(event(poster * 10_000 + n))));
        }
    });
    assert!(bus.flush());
    let order = seen[0].numbers();
    assert_eq!(order.len(), 8_000, "a full queue makes its posters wait and loses nothing");
    assert_eq!(order, seen[1].numbers());
    for poster in 0..4 {
        assert!(order.iter().filter(|n| **n / 10_000 == poster).is_sorted());
    }
}

#[test]
fn without_listeners_events_are_not_even_made() {
    let bus = Bus::new(10);
    assert!(!bus.is_active());
    bus.post_with(|| -> UnpersistRdd { panic!("nobody listens") });
    assert!(bus.flush());
    let handle = bus.add(Queue::Shared, |_: &Event| ()).unwrap();
    assert!(bus.is_active());
    assert!(bus.remove(handle));
    assert!(!bus.remove(handle));
    assert!(!bus.is_active());
}

#[test]
fn a_listener_sees_what_is_posted_between_its_adding_and_its_removal() {
    let bus = Bus::new(10);
    let (early, late) = (Seen::default(), Seen::default());
    bus.add(Queue::Shared, early.clone()).unwrap();
    bus.post(event(0));
    let handle = bus.add(Queue::Shared, late.clone()).unwrap();
    bus.post(event(1));
    bus.flush();
    bus.remove(handle);
    bus.post(event(2));
    bus.flush();
    assert_eq!(early.numbers(), [0, 1, 2]);
    assert_eq!(late.numbers(), [1]);
}

#[test]
fn a_slow_users_listener_loses_events_and_nobody_else_does() {
    let bus = Bus::new(4);
    let (log, slow) = (Seen::default(), Seen::default());
    let (go, wait) = mpsc::channel::<()>();
    let (started, start) = mpsc::channel();
    let mut inner = slow.clone();
    bus.add(Queue::Shared, move |e: &Event| {
        started.send(()).unwrap();
        wait.recv().unwrap();
        inner.on_event(e);
    })
    .unwrap();
    bus.add(Queue::EventLog, log.clone()).unwrap();
    bus.post(event(0));
    start.recv().unwrap(); // it has the first in hand
    (1..=100).for_each(|n| bus.post(event(n)));
    assert_eq!(bus.dropped(), 96);
    assert!(bus.flush_queue(Queue::EventLog), "which waits for no user's listener");
    assert_eq!(log.numbers().len(), 101);
    (0..5).for_each(|_| go.send(()).unwrap());
    assert!(bus.flush());
    assert_eq!(slow.numbers(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_listener_that_panics_is_removed_and_the_others_go_on() {
    let bus = Bus::new(100);
    let (seen, before) = (Seen::default(), Seen::default());
    let mut written = before.clone();
    let bad = bus.add(Queue::Shared, move |e: &Event| {
        written.on_event(e);
        assert_ne!(number(e), 3, "the listener's own fault");
    });
    bus.add(Queue::Shared, seen.clone()).unwrap();
    (0..10).for_each(|n| bus.post(event(n)));
    assert!(bus.flush());
    assert_eq!(before.numbers(), [0, 1, 2, 3]);
    assert_eq!(seen.numbers().len(), 10);
    assert!(!bus.remove(bad.unwrap()), "it is gone already");
}

#[test]
fn stopping_delivers_what_was_posted_and_tells_listeners_of_the_end() {
    let bus = Bus::new(1_000);
    let seen = Seen::default();
    bus.add(Queue::EventLog, seen.clone()).unwrap();
    (0..500).for_each(|n| bus.post(event(n)));
    bus.stop();
    assert!(seen.numbers().into_iter().eq((0..500).chain([u64::MAX])));
    bus.post(event(7));
    bus.stop();
    assert_eq!(seen.numbers().len(), 501);
    assert_eq!(Arc::strong_count(&seen.0), 1, "a stopped bus keeps no listener");
    let error = bus.add(Queue::Shared, seen).unwrap_err().to_string();
    assert!(error.contains("stopped"), "{error}");
}

#[test]
fn a_listener_may_post_flush_and_stop() {
    let bus = Arc::new(Bus::new(1));
    let seen = Seen::default();
    bus.add(Queue::AppStatus, seen.clone()).unwrap();
    let (done, end) = mpsc::channel();
    let inner = Arc::downgrade(&bus);
    bus.add(Queue::EventLog, move |e: &Event| {
        let bus = inner.upgrade().unwrap();
        if number(e) == 0 {
            // More than there is room for: on this thread, waiting would be for ever.
            (1..10).for_each(|n| bus.post(event(n)));
            assert!(!bus.flush());
            bus.stop();
            done.send(()).unwrap();
        }
    })
    .unwrap();
    bus.post(event(0));
    end.recv().unwrap();
    bus.stop();
    assert!(seen.numbers().starts_with(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
}
