//! What the tests submit.

use firesteel::prelude::*;
use std::{fs, path::PathBuf, time::Duration};

/// The argument that makes this binary the program.
pub(crate) const FLAG: &str = "--program";

pub(crate) fn run(args: &[String]) -> Result<()> {
    match &args.iter().map(|arg| &**arg).collect::<Vec<_>>()[..] {
        ["answers"] => answers(),
        ["settings"] => settings(),
        ["files"] => files(),
        ["waits", dir, tasks] => waits(dir.into(), tasks.parse().unwrap()),
        _ => panic!("no such program: {args:?}"),
    }
}

/// Answers that are the same everywhere.
fn answers() -> Result<()> {
    let sc = Context::new()?;
    let numbers = sc.range_n(0..10_000, 8).map(|i| (i % 97, i)).erase();
    println!("{:?}", numbers.reduce_by_key_into(5, |a, b| a + b).collect()?);
    println!("{:?}", numbers.group_by_key_into(3).map_values(|all| all.len()).glom().collect()?);
    sc.range_n(0..2, 2).for_each(|_| println!("printed by a task"))?;
    sc.stop()
}

fn settings() -> Result<()> {
    let sc = Context::builder().conf("firesteel.my.fourth", "code").build()?;
    for name in ["first", "second", "third", "fourth"] {
        println!("{name}={}", sc.conf().text(format!("spark.my.{name}")).unwrap_or("nothing"));
    }
    Ok(())
}

fn files() -> Result<()> {
    let sc = Context::new()?;
    let lines = sc.range_n(0..1, 1).try_map(|_| fs::read_to_string(Files::get("words.txt")?).map_err(Error::from));
    print!("{}", lines.first()?);
    Ok(())
}

/// Tasks that each say that they have begun, and wait until they may go on.
fn waits(dir: PathBuf, tasks: usize) -> Result<()> {
    fs::write(dir.join("driver"), format!("{}\n", std::process::id()))?;
    let sc = Context::new()?;
    let numbers = sc.range_n(1..tasks as u64 + 1, tasks).map_with(dir, |dir, i| {
        fs::write(dir.join(format!("task-{i}")), format!("{}\n", std::process::id())).unwrap();
        while !dir.join("go").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        i
    });
    println!("the sum is {}", numbers.reduce(|a, b| a + b)?);
    sc.stop()
}
