//! What frames cost over loopback, plain and encrypted, and how long a connection takes.
//!
//! Throughput is per second of processor time, of both ends and the system together, so that it means something on a
//! machine that does other things too. It is read from `/proc`, so this needs Linux.
//!
//! `cargo run --release -p firesteel-net --example throughput`

use firesteel_net::{Connection, Hello, Listener, Options, Outbox, Result, Secret, connect};
use std::{
    sync::mpsc::{self, Receiver},
    thread,
    time::Instant,
};

/// The unit of processor time in `/proc`, on every Linux.
const TICKS: f64 = 100.0;
/// How many bytes each measurement of large frames sends.
const BYTES: usize = 4 << 30;
/// How many small frames.
const FRAMES: usize = 4_000_000;
/// What a task's message is like.
const SMALL: usize = 200;
/// How many connections are made, and how many questions asked, one after the other.
const TURNS: u32 = 2_000;

fn main() -> Result<()> {
    println!("{:<50} {:>12} {:>12}", "", "plain", "encrypted");
    let both = |measure: fn(&Ends) -> Result<String>| -> Result<[String; 2]> {
        Ok([measure(&Ends::new(false)?)?, measure(&Ends::new(true)?)?])
    };
    let print = |what: &str, [plain, encrypted]: [String; 2]| println!("{what:<50} {plain:>12} {encrypted:>12}");
    print("frames of 8 MiB", both(|ends| large(ends, 8 << 20))?);
    print("frames of 1 MiB", both(|ends| large(ends, 1 << 20))?);
    print("frames of 64 KiB", both(|ends| large(ends, 64 << 10))?);
    print(&format!("frames of {SMALL} B, flushed now and then"), both(small)?);
    print(&format!("frames of {SMALL} B through an outbox, 100 together"), both(|ends| outbox(ends, 100))?);
    print(&format!("frames of {SMALL} B through an outbox, one by one"), both(|ends| outbox(ends, 1))?);
    print(&format!("a frame of {SMALL} B, there and back"), both(there_and_back)?);
    print("connecting", both(connecting)?);
    Ok(())
}

/// What makes connections to itself.
struct Ends {
    secret: Secret,
    hello: Hello,
    options: Options,
    listener: Listener,
    accepted: Receiver<Connection>,
}

impl Ends {
    fn new(encrypt: bool) -> Result<Ends> {
        let (arrived, accepted) = mpsc::channel();
        let (secret, hello) = (Secret::random()?, Hello::new("throughput", 1));
        let options = Options { encrypt, ..Options::default() };
        let on_connection = move |connection| drop(arrived.send(connection));
        let listener = Listener::bind("127.0.0.1:0", Some(&secret), &hello, &options, on_connection)?;
        Ok(Ends { secret, hello, options, listener, accepted })
    }

    fn connect(&self) -> Result<(Connection, Connection)> {
        let here = connect(self.listener.local_addr(), Some(&self.secret), &self.hello, &self.options)?;
        Ok((here, self.accepted.recv().expect("the listener lives")))
    }

    /// The seconds of processor time that it takes to send what `send` sends, and to receive it.
    fn cost(&self, send: impl FnOnce(Connection) -> Result<()>) -> Result<f64> {
        let (here, there) = self.connect()?;
        let start = processor_time();
        let receiver = thread::spawn(move || {
            let (mut reader, _writer) = there.split();
            let mut frame = Vec::new();
            while reader.recv(&mut frame)? {}
            Ok(())
        });
        send(here)?;
        receiver.join().expect("the receiver does not panic")?;
        Ok(processor_time() - start)
    }
}

/// The seconds of processor time that this process has used, in the system too.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks: f64 =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / TICKS
}

fn large(ends: &Ends, length: usize) -> Result<String> {
    let frame = vec![1; length];
    let cost = ends.cost(|connection| {
        let (_reader, mut writer) = connection.split();
        for _ in 0..BYTES / length {
            writer.send(&[&frame])?;
        }
        writer.finish()
    })?;
    Ok(format!("{:.2} GB/s", BYTES as f64 / 1e9 / cost))
}

fn small(ends: &Ends) -> Result<String> {
    let cost = ends.cost(|connection| {
        let (_reader, mut writer) = connection.split();
        for i in 0..FRAMES {
            writer.send(&[&[1; SMALL]])?;
            if i % 100 == 0 {
                writer.flush()?;
            }
        }
        writer.finish()
    })?;
    Ok(per_second(cost))
}

/// Through an outbox, so many at a time.
fn outbox(ends: &Ends, together: usize) -> Result<String> {
    let cost = ends.cost(|connection| {
        let (_reader, writer) = connection.split();
        let outbox = Outbox::new(writer, usize::MAX)?;
        for i in 1..=FRAMES {
            outbox.try_queue(vec![1; SMALL])?;
            if i % together == 0 {
                outbox.go()?;
            }
        }
        outbox.finish()
    })?;
    Ok(per_second(cost))
}

fn per_second(cost: f64) -> String {
    format!("{:.2} M/s", FRAMES as f64 / 1e6 / cost)
}

fn there_and_back(ends: &Ends) -> Result<String> {
    let (here, there) = ends.connect()?;
    let answering = thread::spawn(move || {
        let (mut reader, mut writer) = there.split();
        let mut frame = Vec::new();
        while reader.recv(&mut frame)? {
            writer.send(&[&frame])?;
            writer.flush()?;
        }
        Ok(())
    });
    let (mut reader, mut writer) = here.split();
    let mut frame = Vec::new();
    let start = Instant::now();
    for _ in 0..TURNS {
        writer.send(&[&[1; SMALL]])?;
        writer.flush()?;
        reader.recv(&mut frame)?;
    }
    let time = start.elapsed() / TURNS;
    writer.finish()?;
    answering.join().expect("the answering thread does not panic")?;
    Ok(format!("{} µs", time.as_micros()))
}

fn connecting(ends: &Ends) -> Result<String> {
    let start = Instant::now();
    for _ in 0..TURNS {
        ends.connect()?;
    }
    Ok(format!("{} µs", (start.elapsed() / TURNS).as_micros()))
}
