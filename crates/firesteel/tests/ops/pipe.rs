//! Programs between two RDDs.

use crate::masters::{any_context, any_partitions, config, kept, local4, spread};
use firesteel::{PipeCommand, prelude::*};
use proptest::prelude::*;
use std::{
    path::Path,
    sync::{Mutex, mpsc},
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..config() })]

    #[test]
    fn what_cat_reads_it_prints(
        sc in any_context(), words in prop::collection::vec("[a-zé ]{0,5}", 0..40), n in any_partitions(), most in 0usize..50,
    ) {
        let piped = spread(&sc, &words, n).pipe("cat");
        prop_assert_eq!(piped.num_partitions()?, n);
        prop_assert_eq!(piped.collect()?, kept(&words, n));
        prop_assert_eq!(piped.erase().take(most)?, kept(&words, n).into_iter().take(most).collect::<Vec<_>>());
    }
}

#[test]
fn more_than_any_pipe_holds_goes_through() {
    let numbers = local4().range_n(0..200_000, 2);
    let expected: Vec<String> = (0..200_000).map(|i| i.to_string()).collect();
    assert_eq!(numbers.pipe("cat").collect().unwrap(), expected);
    assert_eq!(numbers.erase().pipe("cat").erase().pipe("cat").collect().unwrap(), expected);
    // A program that prints nothing before it has read everything.
    assert_eq!(numbers.pipe("wc -l").map(|count| count.trim().to_string()).collect().unwrap(), ["100000", "100000"]);
}

#[test]
fn elements_are_written_as_text_files_have_them() {
    let pairs = local4().parallelize_n([("a".to_string(), Some(1.0)), ("b".to_string(), None)], 1);
    assert_eq!(pairs.pipe("cat").collect().unwrap(), ["(a,Some(1.0))", "(b,None)"]);
}

#[test]
fn there_is_a_process_for_each_partition_also_an_empty_one() {
    let numbers = local4().range_n(0..2, 4).filter(|i| *i == 1);
    let started = numbers.pipe_command(&["sh", "-c", "echo started; cat"], &[]);
    assert_eq!(started.collect().unwrap(), ["started", "started", "started", "started", "1"]);
    assert_eq!(local4().empty_rdd::<u64>().pipe("cat").count().unwrap(), 0);
}

#[test]
fn a_failing_program_fails_the_task_with_its_status_and_its_name() {
    let numbers = local4().range_n(0..3, 2);
    for (words, status) in [(&["false"][..], 1), (&["sh", "-c", "cat; exit 3"], 3), (&["sh", "-c", "kill -9 $$"], 137)]
    {
        let e = numbers.pipe_command(words, &[]).count().unwrap_err();
        let expected = format!("Subprocess exited with status {status}. Command ran: {}", words.join(" "));
        assert!(matches!(e, Error::Job(_)) && e.to_string().contains(&expected), "{e}");
    }
    let e = numbers.pipe("no-such-program --at-all").count().unwrap_err().to_string();
    assert!(e.contains("no-such-program"), "{e}");
}

#[test]
fn an_impossible_command_is_an_error_of_the_action() {
    let numbers = local4().range_n(0..3, 2);
    for piped in [numbers.pipe("  "), numbers.pipe_command(&[], &[]), numbers.pipe_command(&["cat"], &[("A=B", "c")])] {
        assert!(matches!(piped.count(), Err(Error::InvalidArgument(_))));
    }
}

#[test]
fn a_program_that_stops_reading_is_no_error() {
    let first = local4().range_n(0..400_000, 2).pipe("head -n 1");
    assert_eq!(first.collect().unwrap(), ["0", "200000"]);
}

#[test]
fn output_that_is_no_utf8_is_replaced() {
    let piped = local4().range_n(0..1, 1).pipe_command(&["sh", "-c", r"printf 'a\377b\r\nc'"], &[]);
    assert_eq!(piped.collect().unwrap(), ["a\u{fffd}b", "c"]);
}

fn is_running(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[test]
fn a_program_whose_output_is_not_wanted_any_more_is_killed() {
    assert_eq!(local4().range_n(0..1, 1).pipe("yes").take(3).unwrap(), ["y", "y", "y"]);
    let endless = local4().range_n(0..1, 1).pipe_command(&["sh", "-c", "echo $$; exec sleep 1000"], &[]);
    let pid = endless.take(1).unwrap().remove(0);
    assert!(!is_running(&pid), "{pid}");
}

#[test]
fn a_cancelled_job_kills_the_program() {
    static STARTED: Mutex<Option<mpsc::Sender<String>>> = Mutex::new(None);
    let (send, started) = mpsc::channel();
    *STARTED.lock().unwrap() = Some(send);
    let sc = Context::builder().master("local[1]").build().unwrap();
    let silent = sc.range_n(0..1, 1).pipe_command(&["sh", "-c", "echo $$; exec sleep 1000"], &[]).map(|pid| {
        STARTED.lock().unwrap().take().expect("one line").send(pid).expect("a test that waits");
    });
    let job = silent.collect_async();
    let pid = started.recv().unwrap();
    assert!(is_running(&pid));
    job.cancel();
    assert!(matches!(job.get(), Err(Error::Cancelled { .. })));
    // There is one thread: what runs now runs after the cancelled task has ended.
    assert_eq!(sc.range_n(0..1, 1).count().unwrap(), 1);
    assert!(!is_running(&pid), "{pid}");
}

#[test]
fn functions_of_ones_own_write_what_the_program_reads() {
    let command = PipeCommand::parse("cat").unwrap().buffer_size(1);
    let named = local4().range_n(0..4, 2).pipe_emit_with(
        "n".to_string(),
        command,
        |name, out| out.emit(format!("{name}:")),
        |name, i, out| {
            // None, or as many lines as it likes.
            for _ in 0..*i {
                out.emit(format!("{name}{i}"));
            }
        },
    );
    assert_eq!(named.collect().unwrap(), ["n:", "n1", "n:", "n2", "n2", "n3", "n3", "n3"]);
}
