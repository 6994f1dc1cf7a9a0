//! Settings as programs, files and environments make them.

use firesteel_model::{
    Result,
    conf::{Conf, Master, Origin, PoolConfig, REDACTED, SchedulingMode, keys},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, ffi::OsString, fs, path::Path, time::Duration};

fn load(variables: &[(&str, &str)]) -> Result<Conf> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Conf::load_from(|name| variables.get(name).map(OsString::from))
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn both_prefixes_name_one_key() {
    let mut conf = Conf::new();
    conf.set("spark.task.maxFailures", 7);
    assert_eq!(conf.get(keys::TASK_MAX_FAILURES).unwrap(), 7);
    assert_eq!(conf.text("firesteel.task.maxFailures"), Some("7"));
    assert_eq!(conf.get_all().collect::<Vec<_>>(), [("firesteel.task.maxFailures", "7")]);
    assert_eq!(conf.spark_properties().next(), Some(("spark.task.maxFailures".into(), "7")));
    conf.set("firesteel.task.maxFailures", 8);
    assert_eq!(conf.remove("spark.task.maxFailures").as_deref(), Some("8"));
    assert!(!conf.contains("firesteel.task.maxFailures"));
    assert_eq!(conf.get(keys::TASK_MAX_FAILURES).unwrap(), 4);
    conf.set_if_missing("my.key", 1).set_if_missing("my.key", 2);
    assert_eq!(conf.get_as::<u64>("my.key").unwrap(), Some(1));
}

#[test]
fn code_wins_over_flags_over_environment_over_file_whatever_the_order() {
    let origins = [Origin::File, Origin::Environment, Origin::Flags, Origin::Code];
    for rotation in 0..origins.len() {
        let mut conf = Conf::new();
        for i in 0..origins.len() {
            let origin = origins[(i + rotation) % origins.len()];
            conf.set_from(origin, "firesteel.app.name", origin);
            conf.set_from(origin, if origin == Origin::Code { "mine" } else { "spark.master" }, origin);
        }
        assert_eq!(conf.text("firesteel.app.name"), Some("the program"));
        assert_eq!(conf.origin("firesteel.master"), Some(Origin::Flags));
    }
    let mut conf = Conf::new();
    conf.set("spark.app.name", "first").set("spark.app.name", "second");
    assert_eq!(conf.text("spark.app.name"), Some("second"));
}

#[test]
fn defaults_come_from_the_folder_and_the_environment_wins() {
    let defaults = "# defaults\nspark.app.name  from file\nspark.master local[3]\nfiresteel.locality.wait=1s\nspark.locality.wait 9s\n";
    let dir = folder(&[("spark-defaults.conf", defaults)]);
    let conf_dir = ("FIRESTEEL_CONF_DIR", text(dir.path()));
    let conf = load(&[conf_dir]).unwrap();
    assert_eq!(conf.get(keys::APP_NAME).unwrap().as_deref(), Some("from file"));
    assert_eq!(conf.get(keys::LOCALITY_WAIT).unwrap(), Duration::from_secs(1));
    assert_eq!(conf.master().unwrap().threads().get(), 3);

    let conf = load(&[
        conf_dir,
        ("FIRESTEEL_CONF", "\n# more\nspark.app.name = from=lines \nspark.master=local[1]\n"),
        ("FIRESTEEL_MASTER", "local[2]"),
    ])
    .unwrap();
    assert_eq!(conf.get(keys::APP_NAME).unwrap().as_deref(), Some("from=lines"));
    assert_eq!(conf.master().unwrap().threads().get(), 2);

    fs::write(dir.path().join("firesteel-defaults.conf"), "firesteel.app.name ours\n").unwrap();
    let conf = load(&[conf_dir, ("FIRESTEEL_MASTER", " ")]).unwrap();
    assert_eq!(conf.to_debug_string(), "firesteel.app.name=ours");
    assert_eq!(conf.master().unwrap(), Master::ALL_CORES);
}

#[test]
fn mistakes_outside_the_program_name_their_place() {
    let error = |variables: &[(&str, &str)]| load(variables).unwrap_err().to_string();
    assert!(error(&[("FIRESTEEL_CONF_DIR", "/no/such/folder")]).contains("FIRESTEEL_CONF_DIR is /no/such/folder"));
    assert!(error(&[("FIRESTEEL_CONF", "spark.app.name")]).contains("the line \"spark.app.name\""));
    let dir = folder(&[("spark-defaults.conf", "a=\\u1\n")]);
    let message = error(&[("FIRESTEEL_CONF_DIR", text(dir.path()))]);
    assert!(message.contains("spark-defaults.conf, line 1"), "{message}");
    let dir = folder(&[("spark-defaults.conf", &"#".repeat(2 << 20))]);
    let message = error(&[("FIRESTEEL_CONF_DIR", text(dir.path()))]);
    assert!(message.contains("spark-defaults.conf") && message.contains("1 MiB"), "{message}");
}

#[test]
fn values_out_of_type_or_range_name_key_text_origin_and_what_is_accepted() {
    let mut conf = load(&[("FIRESTEEL_CONF", "spark.task.maxFailures=0\nspark.locality.wait=1.5s")]).unwrap();
    assert_eq!(
        conf.get(keys::TASK_MAX_FAILURES).unwrap_err().to_string(),
        "configuration: spark.task.maxFailures = \"0\" (set by the environment) is not at least 1 (a whole number)"
    );
    // Through the key that it falls back to, too.
    let error = conf.get(keys::LOCALITY_WAIT_RACK).unwrap_err().to_string();
    assert!(error.contains("spark.locality.wait = \"1.5s\"") && error.contains("such as 30s"), "{error}");
    conf.set("firesteel.speculation.quantile", 1.5).set("my.flag", "yes");
    assert!(conf.get(keys::SPECULATION_QUANTILE).unwrap_err().to_string().contains("from 0 to 1"));
    assert!(conf.get_as::<bool>("my.flag").unwrap_err().to_string().contains("my.flag = \"yes\" (set by the program)"));
}

#[test]
fn scratch_folders_are_the_machines_choice() {
    let mut conf = Conf::new();
    assert_eq!(conf.local_dirs().unwrap(), [std::env::temp_dir()]);
    conf.set("spark.local.dir", "/a, /b");
    assert_eq!(conf.local_dirs().unwrap(), [Path::new("/a"), Path::new("/b")]);
    let both = [("FIRESTEEL_LOCAL_DIRS", "/x,/y"), ("SPARK_LOCAL_DIRS", "/z")];
    for (variables, expected) in [(&both[..], &["/x", "/y"][..]), (&both[1..], &["/z"])] {
        let mut conf = load(variables).unwrap();
        conf.set("spark.local.dir", "/a");
        assert_eq!(conf.local_dirs().unwrap(), expected.iter().map(Path::new).collect::<Vec<_>>());
    }
}

#[test]
fn pools_are_read_from_the_named_file_or_the_folders() {
    let pools =
        |name| format!("<allocations><pool name='{name}'><schedulingMode>fair</schedulingMode></pool></allocations>");
    let dir = folder(&[("fairscheduler.xml", &pools("folder")), ("mine.xml", &pools("mine")), ("bad.xml", "<pools/>")]);
    assert_eq!(Conf::new().pools().unwrap(), BTreeMap::new());

    let mut conf = load(&[("FIRESTEEL_CONF_DIR", text(dir.path()))]).unwrap();
    let fair = PoolConfig { mode: SchedulingMode::Fair, ..PoolConfig::default() };
    assert_eq!(conf.pools().unwrap(), [("folder".to_owned(), fair)].into());
    conf.set("spark.scheduler.allocation.file", format!("file://{}", dir.path().join("mine.xml").display()));
    assert!(conf.pools().unwrap().contains_key("mine"));
    for (file, expected) in [("bad.xml", "not <allocations>"), ("none.xml", "read settings in")] {
        conf.set("spark.scheduler.allocation.file", dir.path().join(file).display());
        let error = conf.pools().unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(expected), "{error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut conf = Conf::new();
    conf.set("spark.app.name", "words").set("my.Password", "hunter2").set("options", "--token=hunter2");
    for shown in [conf.to_debug_string(), format!("{conf:?}")] {
        assert!(!shown.contains("hunter2") && shown.contains(REDACTED) && shown.contains("words"), "{shown}");
    }
    assert_eq!(conf.text("my.Password"), Some("hunter2"));
}

#[test]
fn keys_that_nobody_reads_are_told() {
    let mut conf = Conf::new();
    conf.set("spark.task.maxFailure", 1).set("spark.rpc.askTimeout", 2).set("mine", 1).set("spark.app.name", "x");
    let warnings = conf.check();
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("spark.rpc.askTimeout is not supported"), "{}", warnings[0]);
    assert!(warnings[1].contains("Did you mean firesteel.task.maxFailures?"), "{}", warnings[1]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_value_or_an_error_that_names_it(text in prop_oneof![
        r"-?[0-9]{0,25}(\.[0-9]{0,3})?(e[0-9]{0,4})?[bkmgtpsuhd]{0,3}",
        r"\PC{0,24}",
    ]) {
        let mut conf = Conf::new();
        for key in keys::ALL {
            conf.set(key.key(), &text);
        }
        conf.check();
        macro_rules! read {
            ($($key:ident)*) => {$(
                if let Err(e) = conf.get(keys::$key) {
                    prop_assert!(e.to_string().contains(&keys::$key.info.key()), "{}", e);
                }
            )*};
        }
        read!(TASK_MAX_FAILURES DRIVER_MAX_RESULT_SIZE LOCALITY_WAIT SPECULATION_QUANTILE SPECULATION_INTERVAL SCHEDULER_MODE
            EVENT_LOG_ENABLED DEFAULT_PARALLELISM);
        let _ = conf.master();
        let _ = conf.local_dirs();
    }

    #[test]
    fn any_text_is_a_master_or_an_error(inside in r"[0-9*,.+ -]{0,12}", text in r"\PC{0,24}") {
        for url in [format!("local[{inside}]"), format!("local-cluster[{inside}]"), text] {
            match Master::parse(&url) {
                Ok(master) => prop_assert_eq!(Master::parse(&master.to_string()).unwrap(), master),
                Err(e) => prop_assert!(e.to_string().contains(url.trim()), "{}", e),
            }
        }
    }

    #[test]
    fn any_environment_is_read_or_refused(lines in r"([a-z.=#:\\ \n]|\PC){0,60}") {
        let _ = load(&[("FIRESTEEL_CONF", &lines), ("FIRESTEEL_MASTER", &lines), ("FIRESTEEL_LOCAL_DIRS", &lines)]);
    }
}
