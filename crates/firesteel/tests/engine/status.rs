//! What a context says about itself: jobs, stages, executors, kept RDDs, files and settings.

use crate::steps::{Signal, Told, local};
use firesteel::{
    events::{Event, JobStatus, StageStatus},
    prelude::*,
};
use std::{collections::BTreeSet, fs};

#[test]
fn the_tracker_follows_a_job() {
    static STARTED: Signal = Signal::new();
    static MAY_END: Signal = Signal::new();
    let sc = local("local[2]");
    let tracker = sc.status_tracker();
    sc.set_job_group("g", "counting", false);
    let counts = sc.range_n(0..12, 3).map(|x| (x % 4, x)).reduce_by_key_into(2, |a, b| a + b);
    let action = counts
        .map_partitions(|items| {
            STARTED.raise();
            MAY_END.wait();
            items
        })
        .count_async();
    STARTED.wait_for(2);
    assert_eq!((tracker.active_job_ids(), tracker.job_ids_for_group(Some("g"))), (vec![0], vec![0]));
    assert!(tracker.job_ids_for_group(None).is_empty() && tracker.job_ids_for_group(Some("h")).is_empty());
    let job = tracker.job_info(0).unwrap();
    assert_eq!((job.status, job.description.as_deref()), (JobStatus::Running, Some("counting")));
    assert_eq!((job.tasks, job.completed_tasks, job.active_tasks), (5, 3, 2));
    let [running] = tracker.active_stage_ids()[..] else { panic!("one stage runs") };
    let stage = tracker.stage_info(running).unwrap();
    assert_eq!((stage.status, stage.active_tasks, stage.info.tasks), (StageStatus::Active, 2, 2));
    let executor = &tracker.executor_infos()[0];
    assert_eq!((&*executor.id, executor.cores, executor.active_tasks), ("driver", 2, 2));
    MAY_END.raise();
    assert_eq!(action.get().unwrap(), 4);

    assert!(tracker.active_job_ids().is_empty() && tracker.active_stage_ids().is_empty());
    assert_eq!(tracker.job_info(0).unwrap().status, JobStatus::Succeeded);
    sc.clear_job_group();
    assert!(counts.map(|(k, v)| if k == 3 { panic!("three") } else { v }).count().is_err());
    let job = tracker.job_info(1).unwrap();
    assert_eq!((job.status, job.failed_tasks, job.skipped_stages.len()), (JobStatus::Failed, 1, 1));
    assert_eq!(tracker.job_ids_for_group(None), [1]);
    assert!(tracker.job_info(2).is_none() && tracker.stage_info(99).is_none());
}

#[test]
fn kept_rdds_are_listed_with_what_is_kept_of_them() {
    let sc = local("local[2]");
    assert!(sc.persistent_rdds().is_empty());
    let numbers = sc.range_n(0..1000, 4).map(|x| x * 2).cache().set_name("doubled");
    let on_disk = sc.range_n(0..100, 2).persist(StorageLevel::DISK_ONLY);
    let listed = sc.persistent_rdds();
    assert_eq!(
        listed.iter().map(|rdd| rdd.level).collect::<Vec<_>>(),
        [StorageLevel::MEMORY_ONLY, StorageLevel::DISK_ONLY]
    );
    assert_eq!(listed[0].name.as_deref(), Some("doubled"));
    assert!(sc.rdd_storage_info().is_empty(), "nothing has been computed");
    let (before, total) = {
        let memory = sc.executor_memory_status();
        let (max, free) = memory.values().next().unwrap();
        (*free, *max)
    };
    assert_eq!(numbers.take(1).unwrap(), [0]);
    let info = sc.rdd_storage_info();
    assert_eq!((info[0].cached_partitions, info[0].partitions), (1, 4));
    numbers.count().unwrap();
    on_disk.count().unwrap();
    let info = sc.rdd_storage_info();
    assert_eq!(info.iter().map(|rdd| rdd.cached_partitions).collect::<Vec<_>>(), [4, 2]);
    assert_eq!(&*info[0].name, "doubled");
    assert!(info[0].memory >= 8000 && info[0].disk == 0, "{:?}", info[0]);
    assert!(info[1].memory == 0 && info[1].disk > 0, "{:?}", info[1]);
    let memory = sc.executor_memory_status();
    let (max, free) = memory.values().next().unwrap();
    assert!(*max == total && *free <= before - 8000);

    drop(on_disk);
    assert_eq!(sc.persistent_rdds().len(), 1);
    numbers.unpersist(true).unwrap();
    assert!(sc.persistent_rdds().is_empty() && sc.rdd_storage_info().is_empty());
}

#[test]
fn a_context_knows_what_it_was_made_from() {
    let sc =
        Context::builder().app_name("Getters").master("local[3]").conf("spark.default.parallelism", 5).build().unwrap();
    assert_eq!((sc.app_name(), sc.master(), sc.deploy_mode()), ("Getters", "local[3]", "client"));
    assert_eq!((sc.default_parallelism(), sc.default_min_partitions()), (5, 2));
    assert_eq!(sc.range(0..10).num_partitions().unwrap(), 5);
    assert!(sc.application_id().starts_with("local-"));
    assert!(sc.start_time() > 1_700_000_000_000 && !sc.user().is_empty());
    assert_eq!(sc.version(), env!("CARGO_PKG_VERSION"));
    assert!(sc.is_local() && !sc.is_stopped());
    assert!(!sc.request_total_executors(2).unwrap(), "there is one, which is this process");
    let mut conf = sc.conf();
    conf.set("firesteel.default.parallelism", "7");
    assert_eq!(sc.conf().text("firesteel.default.parallelism"), Some("5"));
    assert_eq!(sc.checkpoint_dir(), None);
    let folder = tempfile::tempdir().unwrap();
    sc.set_checkpoint_dir(folder.path().to_str().unwrap()).unwrap();
    assert!(sc.checkpoint_dir().unwrap().starts_with(folder.path().to_str().unwrap()));
    assert_eq!(local("local[1]").default_min_partitions(), 1);
}

#[test]
fn levels_of_the_log_are_sparks() {
    let sc = local("local[1]");
    for level in ["ALL", "debug", "Error", "FATAL", "INFO", "OFF", "TRACE", "WARN"] {
        sc.set_log_level(level).unwrap();
    }
    let error = sc.set_log_level("LOUD").unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument(text) if text.contains("\"LOUD\"")), "{error}");
    let error = Context::builder().master("local").conf("firesteel.log.level", "loud").build().map(drop).unwrap_err();
    assert!(error.to_string().contains("log.level"), "{error}");
}

#[test]
fn files_that_are_added_reach_the_tasks_and_go_with_the_context() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    fs::write(path("stop.txt"), "the\na\n").unwrap();
    fs::create_dir_all(path("tree/inner")).unwrap();
    fs::write(path("tree/inner/leaf"), "green").unwrap();
    fs::create_dir(path("other")).unwrap();
    fs::write(path("other/stop.txt"), "other").unwrap();

    let sc = local("local[2]");
    let told = Told::of(&sc);
    sc.add_file(path("stop.txt")).unwrap();
    sc.add_folder(format!("file://{}", path("tree"))).unwrap();
    // Later changes are not seen, and the same path again is ignored.
    fs::write(path("stop.txt"), "changed").unwrap();
    sc.add_file(path("stop.txt")).unwrap();
    let listed: BTreeSet<String> = sc.list_files().into_iter().collect();
    assert_eq!(listed, BTreeSet::from([path("stop.txt"), format!("file://{}", path("tree"))]));
    let read = sc.range_n(0..2, 2).try_map(|_| -> Result<(String, String)> {
        let leaf = Files::root_directory()?.join("tree/inner/leaf");
        Ok((fs::read_to_string(Files::get("stop.txt")?)?, fs::read_to_string(leaf)?))
    });
    let expected = ("the\na\n".to_string(), "green".to_string());
    assert_eq!(read.collect().unwrap(), [expected.clone(), expected]);
    let copy = sc.file("stop.txt").unwrap();
    assert_eq!(fs::read_to_string(&copy).unwrap(), "the\na\n");
    // Beside the lock by which the next context tells what a killed process left.
    assert!(copy.ancestors().nth(2).unwrap().join("lock").exists(), "{}", copy.display());

    let error = |error: Result<()>| error.unwrap_err().to_string();
    assert!(error(sc.add_file(path("missing"))).contains("does not exist"));
    assert!(error(sc.add_file(path("tree"))).contains("`add_folder`"));
    assert!(error(sc.add_file(path("other/stop.txt"))).contains("a file named stop.txt was added already"));
    assert!(error(sc.add_file("hdfs://nn/x")).contains("hdfs://"));
    assert!(error(sc.file("missing").map(drop)).contains("no file missing was added"));
    assert!(error(Files::get("stop.txt").map(drop)).contains("`Context::file`"));
    let unknown = sc.range_n(0..1, 1).try_map(|_| Files::get("missing").map(|path| path.display().to_string()));
    assert!(unknown.collect().unwrap_err().to_string().contains("no file missing was added"));

    // Another context does not know them.
    assert!(local("local[1]").list_files().is_empty());
    sc.stop().unwrap();
    assert!(!copy.exists());
    let updates: Vec<usize> = told
        .rest()
        .into_iter()
        .filter_map(|event| if let Event::EnvironmentUpdate(update) = event { Some(update.code.len()) } else { None })
        .collect();
    assert_eq!(updates, [1, 2]);
}
