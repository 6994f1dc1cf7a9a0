//! Keeps docs/configuration.md equal to the keys' definitions.

use firesteel_model::conf::{Fallback, KeyInfo, keys};
use std::{env, fs, path::Path};

const REFRESH: &str = "FIRESTEEL_REFRESH_DOCS=1 cargo test -p firesteel-model --test configuration_reference";

fn row(info: &KeyInfo) -> String {
    let default = match info.fallback {
        Fallback::Text(text) => format!("`{text}`"),
        Fallback::SameAs(other) => format!("as `{}`", other.key()),
        Fallback::Unset(what) => format!("unset: {what}"),
    };
    let kind = info.range.map_or(info.kind.to_owned(), |range| format!("{}, {range}", info.kind));
    format!("| `{}` | {kind} | {default} | {} |\n", info.key(), info.doc.trim())
}

fn page() -> String {
    let mut page = format!(
        "# Configuration\n\n\
         <!-- Made from the definitions in crates/firesteel-model/src/conf/known.rs by\n     {REFRESH} -->\n\n\
         Every key that this version reads. Each is also accepted with the prefix `spark.` instead of `firesteel.`, so that an\n\
         existing spark-defaults.conf works. An unknown key is a warning with the nearest known one; a key of Spark's that\n\
         is not supported yet is a warning of its own.\n\n\
         Where settings come from, strongest first:\n\n\
         1. the program: `Context::builder().conf(key, value)`;\n\
         2. the flags of whoever submitted it;\n\
         3. the environment: `FIRESTEEL_MASTER`, and `FIRESTEEL_CONF` with lines of `key=value`;\n\
         4. a file in the folder `FIRESTEEL_CONF_DIR`: firesteel-defaults.conf, or else spark-defaults.conf.\n\n\
         `FIRESTEEL_LOCAL_DIRS`, or else `SPARK_LOCAL_DIRS`, names the folders for scratch files and wins over all of these.\n\n\
         A *size* is a whole number with b, k, m, g, t or p (powers of 1024), such as `512m`; a bare number is bytes. A *time* is a whole\n\
         number with us, ms, s, m (or min), h or d, such as `30s`; a bare number is milliseconds. A *list* has commas between.\n\n\
         | key | type | default | meaning |\n|---|---|---|---|\n"
    );
    keys::ALL.iter().for_each(|info| page.push_str(&row(info)));
    page
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if env::var_os("FIRESTEEL_REFRESH_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/configuration.md is out of date; refresh it with\n    {REFRESH}");
}
