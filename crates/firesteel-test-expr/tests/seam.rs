//! What a pipeline from outside goes through: map, shuffle, cache, retry, and a check of its bytes wherever they arrive.

use firesteel::prelude::*;
use firesteel_test_expr::{Interpret, Program, Row};
use proptest::prelude::*;

fn program(text: &str) -> Program {
    Program::compile(text).unwrap()
}

fn rows(sc: &Context) -> Rdd<Row> {
    sc.range_n(0..100, 4).map(|i| vec![i as i64 % 10, i as i64]).erase()
}

#[test]
fn interpreted_code_goes_through_map_shuffle_cache_and_collect() {
    for master in ["local[1]", "local[4]", "local[4,2]"] {
        let sc = Context::builder().master(master).build().unwrap();
        // key: the remainder by 3; value: twice the number
        let mapped = rows(&sc).interpret(program("$1 3 % $1 2 *")).keep(program("$1 100 <"));
        let sums = mapped
            .map(|row| (row[0], row))
            .reduce_by_key_with(program("$0 $1 $3 +"), |program, mut a, b| {
                a.extend(b);
                program.run(&a)
            })
            .values()
            .cache();
        let sorted = sums.interpret(program("$1 $0")).sort_by(|row| row[1], true);
        let expected: Vec<Row> =
            (0..3).map(|key| vec![(0..50).filter(|i| i % 3 == key).map(|i| 2 * i).sum(), key]).collect();
        assert_eq!(sorted.collect().unwrap(), expected);
        assert_eq!(sums.count().unwrap(), 3);
        assert_eq!(sorted.take(1).unwrap(), expected[..1]);
        assert_eq!(sums.storage_level(), StorageLevel::MEMORY_ONLY);
    }
}

#[test]
fn two_parents_are_read_side_by_side() {
    let sc = Context::builder().master("local[2]").build().unwrap();
    let (a, b) = (rows(&sc), rows(&sc).interpret(program("$1 1000 +")));
    let both = a.with_pipelines(&b, pair::Pairs);
    assert_eq!(both.count().unwrap(), 200);
    assert_eq!(both.take(26).unwrap()[24..], [vec![4, 24], vec![1000]]);
}

/// One after the other, in each partition.
mod pair {
    use super::Row;
    use firesteel::{
        Pipeline, Result,
        pipeline::{Flow, PartitionIndex, Plan, RddId, Sink, Stream, Task},
    };
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Serialize, Deserialize)]
    pub(super) struct Pairs<A, B>(pub(super) A, pub(super) B);

    pub(super) struct PairStream<A, B>(Option<A>, B);

    impl<A: Pipeline<Item = Row>, B: Pipeline<Item = Row>> Pipeline for Pairs<A, B> {
        type Item = Row;
        type Split = (A::Split, B::Split);
        type Stream = PairStream<A::Stream, B::Stream>;

        fn open(&self, (a, b): Self::Split, task: &Task) -> Self::Stream {
            PairStream(Some(self.0.open(a, task)), self.1.open(b, task))
        }
        fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
            Ok(self.0.splits(plan)?.into_iter().zip(self.1.splits(plan)?).collect())
        }
        fn refers(&self, visit: &mut dyn FnMut(RddId)) {
            self.0.refers(visit);
            self.1.refers(visit);
        }
        fn reads(&self, (a, b): &Self::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
            self.0.reads(a, visit);
            self.1.reads(b, visit);
        }
    }

    impl<A: Stream<Item = Row>, B: Stream<Item = Row>> Stream for PairStream<A, B> {
        type Item = Row;
        fn drive<S: Sink<Row>>(&mut self, sink: &mut S) -> Flow {
            if let Some(first) = &mut self.0 {
                match first.drive(sink) {
                    Flow::Done => self.0 = None,
                    other => return other,
                }
            }
            self.1.drive(sink)
        }
    }
}

#[test]
fn a_damaged_program_is_a_clean_error_in_the_task() {
    let sc = Context::builder().master("local[2]").build().unwrap();
    let damaged = program("$1 3 %").damaged(0, 0xee);
    let error = rows(&sc).interpret(damaged).count().unwrap_err().to_string();
    assert!(error.contains("0xee is no instruction of the language"), "{error}");
    // A program that is cut off, erased, and read through a shuffle.
    let cut = program("$1 3 %").damaged(11, 1);
    let error = rows(&sc).interpret(cut).erase().repartition(2).count().unwrap_err().to_string();
    assert!(error.contains("the program ends inside an instruction"), "{error}");
    assert_eq!(rows(&sc).count().unwrap(), 100, "the context is as good as new");
}

#[test]
fn a_failing_program_fails_its_job_with_its_message() {
    let sc = Context::builder().master("local[2]").build().unwrap();
    let error = rows(&sc).interpret(program("$1 $0 %")).count().unwrap_err().to_string();
    assert!(error.contains("divisor of zero"), "{error}");
    let error = rows(&sc).interpret(program("$7")).count().unwrap_err().to_string();
    assert!(error.contains("index out of bounds"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_program_or_an_error(code in prop::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..40)) {
        // A struct of one field is written as that field.
        let sent = postcard::to_stdvec(&code).unwrap();
        if let Ok(program) = postcard::from_bytes::<Program>(&sent) {
            prop_assert_eq!(postcard::to_stdvec(&program).unwrap(), sent);
        }
        let _ = postcard::from_bytes::<Program>(&code);
    }
}
