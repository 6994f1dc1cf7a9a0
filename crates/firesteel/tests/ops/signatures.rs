//! The names and argument orders that programs are written against. Type-checked, never run.

#![allow(dead_code, reason = "what is generic and never called costs no code")]

use firesteel::{BoundedDouble, PartialResult, PartitionIter, StatCounter, prelude::*};
use std::{cmp::Ordering, collections::HashMap, time::Duration};

const T: Duration = Duration::ZERO;

fn context<P: Pipeline<Item = u64>>(sc: &Context, rdd: &Rdd<u64, P>) -> Result<()> {
    let builder = Context::builder().app_name("a").master("local").conf("a", 1).executor_setup(|| Ok(()));
    let _: Context = builder.build()?;
    let _: Context = Context::new()?;
    let _: Rdd<u64> = sc.parallelize([1u64]).erase();
    let _: Rdd<u64> = sc.parallelize_n(vec![1u64], 2).erase();
    let _: Rdd<u64> = sc.range(0..1).erase();
    let _: Rdd<u64> = sc.range_n(0..1, 2).erase();
    let _: Rdd<i64> = sc.range_step_n(0..1, -1, 2).erase();
    let _: Rdd<String> = sc.text_file("p").erase();
    let _: Rdd<String> = sc.text_file_n(String::from("p"), 2).erase();
    let _: Rdd<(String, String)> = sc.whole_text_files("p").erase();
    let _: Rdd<u64> = sc.empty_rdd();
    let _: Rdd<u64> = sc.union(&[rdd.erase()]);
    let broadcast: Broadcast<u64> = sc.broadcast(1u64);
    let _: &u64 = broadcast.value();
    broadcast.unpersist(true)?;
    broadcast.destroy()?;
    let long: LongAccumulator = sc.long_accumulator("a");
    long.add(1i64);
    let _: (i64, u64, i64, f64) = (long.value(), long.count(), long.sum(), long.avg());
    let double: DoubleAccumulator = sc.double_accumulator("a");
    double.add(1.0);
    let _: (f64, u64, f64, f64) = (double.value(), double.count(), double.sum(), double.avg());
    let own: Accumulator<u64> = sc.accumulator("a", 0u64, |a, b| *a += b);
    own.add(1);
    let _: (u64, &str) = (own.value(), own.name());
    let _: Accumulator<Vec<u64>> = sc.collection_accumulator("a");
    let _: Vec<u64> = sc.run_job(rdd, |items: PartitionIter<'_, u64>| items.sum::<u64>())?;
    let _: Vec<u64> = sc.run_job_on(rdd, |items| items.sum::<u64>(), &[0])?;
    sc.set_job_group("id", "description", false);
    sc.clear_job_group();
    sc.set_job_description("description");
    sc.cancel_job_group("id");
    sc.cancel_all_jobs();
    sc.set_local_property("key", Some("value"));
    sc.set_checkpoint_dir("p")?;
    sc.add_file("p")?;
    let _: usize = sc.default_parallelism();
    let _: [&str; 4] = [sc.app_name(), sc.application_id(), sc.master(), sc.version()];
    if let Some(task) = TaskContext::get() {
        let _: (usize, u64, u32, u64) =
            (task.partition_id(), task.stage_id(), task.attempt_number(), task.task_attempt_id());
    }
    sc.stop()
}

fn narrow<P: Pipeline<Item = u64>, Q: Pipeline<Item = u64>>(rdd: &Rdd<u64, P>, other: &Rdd<u64, Q>) {
    let _: Rdd<u32> = rdd.map(|x| x as u32).erase();
    let _: Rdd<u64> = rdd.map_with(1u64, |e, x| e + x).erase();
    let _: Rdd<u64> = rdd.map_ref(|x| *x).erase();
    let _: Rdd<u64> = rdd.map_ref_with(1u64, |e, x| e + x).erase();
    let _: Rdd<u64> = rdd.try_map(|x| if x > 0 { Ok(x) } else { Err("zero") }).erase();
    let _: Rdd<u64> = rdd.try_map_with(1u64, |e, x| x.checked_add(*e).ok_or("too large")).erase();
    let _: Rdd<u64> = rdd.flat_map(|x| 0..x).erase();
    let _: Rdd<u64> = rdd.flat_map_with(1u64, |e, x| *e..x).erase();
    let _: Rdd<u64> = rdd.flat_map_emit(|x, out| out.emit(*x)).erase();
    let _: Rdd<u64> = rdd.flat_map_emit_with(1u64, |e, x, out| out.emit(x + e)).erase();
    let _: Rdd<u64> = rdd.filter(|x| *x > 1).erase();
    let _: Rdd<u64> = rdd.filter_with(1u64, |e, x| x > e).erase();
    let _: Rdd<u64> = rdd.filter_map(|x| x.checked_sub(1)).erase();
    let _: Rdd<u64> = rdd.filter_map_with(1u64, |e, x| x.checked_sub(*e)).erase();
    let _: Rdd<u64> = rdd.map_partitions(|items| items.skip(1)).erase();
    let _: Rdd<u64> = rdd.map_partitions_with(1usize, |e, items| items.skip(*e)).erase();
    let _: Rdd<u64> = rdd.map_partitions_with_index(|i, items| items.skip(i)).erase();
    let _: Rdd<u64> = rdd.map_partitions_with_index_with(1usize, |e, i, items| items.skip(i + e)).erase();
    let _: Rdd<u64, P> = rdd.preserves_partitioning();
    let _: Rdd<Vec<u64>> = rdd.glom().erase();
    let _: Rdd<(u64, u64)> = rdd.key_by(|x| x % 2).erase();
    let _: Rdd<(u64, u64)> = rdd.key_by_with(2u64, |e, x| x % e).erase();
    let _: Rdd<u64> = rdd.sample(false, 0.5, 1).erase();
    let _: Vec<Rdd<u64>> = rdd.random_split(&[0.5, 0.5], 1).iter().map(|part| part.erase()).collect();
    let _: Rdd<(u64, u64)> = rdd.zip(other).erase();
    let _: Rdd<(u64, u64)> = rdd.zip_with_index().erase();
    let _: Rdd<(u64, u64)> = rdd.zip_with_unique_id().erase();
    let _: Rdd<(u64, u64)> = rdd.zip_partitions(other, |a, b| a.zip(b)).erase();
    let _: Rdd<u64> = rdd.zip_partitions3(other, rdd, |a, b, c| a.chain(b).chain(c)).erase();
    let _: Rdd<u64> = rdd.zip_partitions4(other, rdd, other, |a, b, c, d| a.chain(b).chain(c).chain(d)).erase();
    let _: Rdd<String> = rdd.pipe("cat").erase();
    let _: Rdd<u64> = rdd.coalesce(1).erase();
    let _: Rdd<u64> = rdd.union(other).erase();
    let _: Rdd<(u64, u64)> = rdd.cartesian(other).erase();
}

fn wide<P: Pipeline<Item = u64>, Q: Pipeline<Item = u64>>(rdd: &Rdd<u64, P>, other: &Rdd<u64, Q>) -> Result<()> {
    let _: Rdd<u64> = rdd.repartition(1).erase();
    let _: Rdd<u64> = rdd.coalesce_shuffle(1).erase();
    let _: Rdd<u64> = rdd.distinct().erase();
    let _: Rdd<u64> = rdd.distinct_into(HashPartitioner::new(2)).erase();
    let _: Rdd<u64> = rdd.intersection(other).erase();
    let _: Rdd<u64> = rdd.intersection_into(other, 2).erase();
    let _: Rdd<u64> = rdd.subtract(other).erase();
    let _: Rdd<u64> = rdd.subtract_into(other, 2).erase();
    let _: Rdd<u64> = rdd.sort_by(|x| x % 2, true).erase();
    let _: Rdd<u64> = rdd.sort_by_n(|x| x % 2, true, 2).erase();
    let _: Rdd<u64> = rdd.sort_by_with(2u64, |e, x| x % e, true).erase();
    let _: Rdd<(u64, Vec<u64>)> = rdd.group_by(|x| x % 2).erase();
    let _: Rdd<(u64, Vec<u64>)> = rdd.group_by_into(2, |x| x % 2).erase();
    let _: Rdd<(u64, Vec<u64>)> = rdd.group_by_with(2u64, |e, x| x % e).erase();
    let kept = rdd.persist(StorageLevel::MEMORY_AND_DISK);
    let _: Rdd<u64> = rdd.cache().erase();
    let _: Rdd<u64> = rdd.checkpoint().erase();
    let _: Rdd<u64> = rdd.local_checkpoint().erase();
    kept.unpersist(true)?;
    let _: StorageLevel = rdd.storage_level();
    let _: (bool, Option<String>) = (rdd.is_checkpointed(), rdd.checkpoint_file());
    let _: (u64, Option<String>, &Context) = (rdd.id(), rdd.name(), rdd.context());
    let _: Rdd<u64, P> = rdd.set_name("name");
    let _: (usize, Vec<String>, String) = (rdd.num_partitions()?, rdd.preferred_locations(0), rdd.to_debug_string());
    Ok(())
}

fn actions<P: Pipeline<Item = u64>>(rdd: &Rdd<u64, P>) -> Result<()> {
    rdd.for_each(|_| ())?;
    rdd.for_each_with(1u64, |_, _| ())?;
    rdd.for_each_ref(|_| ())?;
    rdd.for_each_ref_with(1u64, |_, _| ())?;
    rdd.for_each_partition(|items| items.for_each(drop))?;
    rdd.for_each_partition_with(1u64, |_, items| items.for_each(drop))?;
    let _: Vec<u64> = rdd.collect()?;
    let _: Option<Result<u64>> = rdd.to_local_iterator().next();
    let _: u64 = rdd.reduce(|a, b| a + b)?;
    let _: u64 = rdd.reduce_with(1u64, |e, a, b| a + b + e)?;
    let _: u64 = rdd.tree_reduce(|a, b| a + b)?;
    let _: u64 = rdd.tree_reduce_depth(|a, b| a + b, 3)?;
    let _: u64 = rdd.fold(0, |a, b| a + b)?;
    let _: u64 = rdd.fold_with(1u64, 0, |e, a, b| a + b + e)?;
    let _: usize = rdd.aggregate(0usize, |n, _| n + 1, |a, b| a + b)?;
    let _: usize = rdd.aggregate_with(1usize, 0usize, |e, n, _| n + e, |a, b| a + b)?;
    let _: u64 = rdd.aggregate_ref(0u64, |a, x| a + x, |a, b| a + b)?;
    let _: u64 = rdd.aggregate_ref_with(1u64, 0u64, |e, a, x| a + x + e, |a, b| a + b)?;
    let _: u64 = rdd.tree_aggregate(0u64, |a, x| a + x, |a, b| a + b)?;
    let _: u64 = rdd.tree_aggregate_depth(0u64, |a, x| a + x, |a, b| a + b, 3)?;
    let _: u64 = rdd.count()?;
    let counted: PartialResult<BoundedDouble> = rdd.count_approx(T, 0.95)?;
    let _: (&BoundedDouble, bool) = (counted.initial_value(), counted.is_final());
    let _: BoundedDouble = counted.final_value()?;
    let _: HashMap<u64, u64> = rdd.count_by_value()?;
    let _: PartialResult<HashMap<u64, BoundedDouble>> = rdd.count_by_value_approx(T, 0.95)?;
    let _: u64 = rdd.count_approx_distinct(0.05)?;
    let _: Vec<u64> = rdd.take(1)?;
    let _: u64 = rdd.first()?;
    let _: Vec<u64> = rdd.top(1)?;
    let _: Vec<u64> = rdd.top_by(1, |a, b| -> Ordering { a.cmp(b) })?;
    let _: Vec<u64> = rdd.take_ordered(1)?;
    let _: Vec<u64> = rdd.take_ordered_by(1, |a, b| b.cmp(a))?;
    let _: Vec<u64> = rdd.take_sample(false, 1, 1)?;
    let _: [u64; 2] = [rdd.max()?, rdd.max_by(|a, b| a.cmp(b))?];
    let _: [u64; 2] = [rdd.min()?, rdd.min_by(|a, b| a.cmp(b))?];
    let _: bool = rdd.is_empty()?;
    rdd.save_as_text_file("p")?;
    rdd.save_as_text_file_codec("p", "gzip")?;
    let counting: FutureAction<u64> = rdd.count_async();
    counting.cancel();
    let _: (bool, Vec<u64>) = (counting.is_cancelled(), counting.job_ids());
    let _: u64 = counting.get()?;
    let _: Vec<u64> = rdd.collect_async().get()?;
    let _: Vec<u64> = rdd.take_async(1).get()?;
    rdd.for_each_async(|_| ()).get()?;
    rdd.for_each_partition_async(|items| items.for_each(drop)).get()?;
    Ok(())
}

type Pair = (u64, u64);

fn keyed<P, Q>(rdd: &Rdd<Pair, P>, other: &Rdd<(u64, char), Q>) -> Result<()>
where
    P: Pipeline<Item = Pair>,
    Q: Pipeline<Item = (u64, char)>,
{
    let _: Rdd<(u64, char)> = rdd.map_values(|_| 'a').erase();
    let _: Rdd<Pair> = rdd.map_values_with(1u64, |e, v| v + e).erase();
    let _: Rdd<Pair> = rdd.flat_map_values(|v| 0..v).erase();
    let _: Rdd<Pair> = rdd.flat_map_values_with(1u64, |e, v| *e..v).erase();
    let _: (Rdd<u64>, Rdd<char>) = (rdd.keys().erase(), other.values().erase());
    let _: Rdd<Pair> = rdd.sample_by_key(false, HashMap::from([(1, 0.5)]), 1).erase();
    let _: Rdd<Pair> = rdd.sample_by_key_exact(false, HashMap::from([(1, 0.5)]), 1).erase();
    let _: Rdd<Pair> = rdd.filter_by_range(1, 2).erase();
    let _: Rdd<Pair> = rdd.partition_by(HashPartitioner::new(2)).erase();
    let _: Rdd<Pair> = rdd.partition_by(RangePartitioner::new(2, rdd)?).erase();
    let _: Rdd<Pair> = rdd.reduce_by_key(|a, b| a + b).erase();
    let _: Rdd<Pair> = rdd.reduce_by_key_into(2, |a, b| a + b).erase();
    let _: Rdd<Pair> = rdd.reduce_by_key_with(1u64, |e, a, b| a + b + e).erase();
    let _: HashMap<u64, u64> = rdd.reduce_by_key_locally(|a, b| a + b)?;
    let _: Rdd<Pair> = rdd.fold_by_key(0, |a, b| a + b).erase();
    let _: Rdd<Pair> = rdd.fold_by_key_into(2, 0, |a, b| a + b).erase();
    let _: Rdd<(u64, usize)> = rdd.aggregate_by_key(0usize, |n, _| n + 1, |a, b| a + b).erase();
    let _: Rdd<(u64, usize)> = rdd.aggregate_by_key_into(2, 0usize, |n, _| n + 1, |a, b| a + b).erase();
    let _: Rdd<(u64, usize)> = rdd.combine_by_key(|_| 1usize, |n, _| n + 1, |a, b| a + b).erase();
    let _: Rdd<(u64, usize)> = rdd.combine_by_key_into(2, |_| 1usize, |n, _| n + 1, |a, b| a + b).erase();
    let _: Rdd<(u64, Vec<u64>)> = rdd.group_by_key().erase();
    let _: Rdd<(u64, Vec<u64>)> = rdd.group_by_key_into(2).erase();
    let _: Rdd<Pair> = rdd.count_approx_distinct_by_key(0.05).erase();
    let _: Rdd<(u64, (u64, char))> = rdd.join(other).erase();
    let _: Rdd<(u64, (u64, char))> = rdd.join_into(other, 2).erase();
    let _: Rdd<(u64, (u64, Option<char>))> = rdd.left_outer_join(other).erase();
    let _: Rdd<(u64, (u64, Option<char>))> = rdd.left_outer_join_into(other, 2).erase();
    let _: Rdd<(u64, (Option<u64>, char))> = rdd.right_outer_join(other).erase();
    let _: Rdd<(u64, (Option<u64>, char))> = rdd.right_outer_join_into(other, 2).erase();
    let _: Rdd<(u64, (Option<u64>, Option<char>))> = rdd.full_outer_join(other).erase();
    let _: Rdd<(u64, (Option<u64>, Option<char>))> = rdd.full_outer_join_into(other, 2).erase();
    let _: Rdd<(u64, (Vec<u64>, Vec<char>))> = rdd.cogroup(other).erase();
    let _: Rdd<(u64, (Vec<u64>, Vec<char>))> = rdd.cogroup_into(other, 2).erase();
    let _: Rdd<(u64, (Vec<u64>, Vec<char>))> = rdd.group_with(other).erase();
    let _: Rdd<(u64, (Vec<u64>, Vec<char>, Vec<u64>))> = rdd.cogroup2(other, rdd).erase();
    let _: Rdd<(u64, (Vec<u64>, Vec<char>, Vec<u64>, Vec<char>))> = rdd.cogroup3(other, rdd, other).erase();
    let _: Rdd<Pair> = rdd.subtract_by_key(other).erase();
    let _: Rdd<Pair> = rdd.subtract_by_key_into(other, 2).erase();
    let _: Rdd<Pair> = rdd.sort_by_key(true).erase();
    let _: Rdd<Pair> = rdd.sort_by_key_n(true, 2).erase();
    let _: Rdd<Pair> = rdd.repartition_and_sort_within_partitions(2).erase();
    let _: Vec<u64> = rdd.lookup(&1)?;
    let _: HashMap<u64, u64> = rdd.count_by_key()?;
    let _: PartialResult<HashMap<u64, BoundedDouble>> = rdd.count_by_key_approx(T, 0.95)?;
    let _: HashMap<u64, u64> = rdd.collect_as_map()?;
    Ok(())
}

fn numbers<P: Pipeline<Item = f64>>(rdd: &Rdd<f64, P>) -> Result<()> {
    let _: [f64; 4] = [rdd.sum()?, rdd.mean()?, rdd.variance()?, rdd.pop_variance()?];
    let _: [f64; 4] = [rdd.stdev()?, rdd.pop_stdev()?, rdd.sample_variance()?, rdd.sample_stdev()?];
    let _: StatCounter = rdd.stats()?;
    let _: PartialResult<BoundedDouble> = rdd.mean_approx(T, 0.95)?;
    let _: PartialResult<BoundedDouble> = rdd.sum_approx(T, 0.95)?;
    let _: (Vec<f64>, Vec<u64>) = rdd.histogram(2)?;
    let _: Vec<u64> = rdd.histogram_buckets(&[0.0, 1.0])?;
    Ok(())
}
