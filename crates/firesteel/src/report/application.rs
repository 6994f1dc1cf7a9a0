//! The application as a whole, as its first events describe it.

use firesteel_events::{
    Event,
    event::{
        ApplicationStart, BlockManagerAdded, BlockManagerId, EnvironmentUpdate, ExecutorResourceRequest,
        ResourceProfileAdded, TaskResourceRequest,
    },
};
use firesteel_model::conf::Conf;
use std::{collections::BTreeMap, sync::Arc};

/// The executor of local mode, as events name it.
pub(super) const DRIVER: &str = "driver";

/// What the first events say.
#[derive(Clone)]
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) master: String,
    /// Milliseconds since 1970.
    pub(crate) start_time: u64,
    /// How many bytes of blocks there is room for.
    pub(crate) memory: u64,
    pub(crate) conf: Conf,
}

impl Application {
    /// In Spark's order.
    pub(super) fn events(&self, manager: &BlockManagerId) -> Vec<Event> {
        let time = self.start_time;
        let memory = ExecutorResourceRequest {
            resource: "memory".into(),
            amount: self.memory >> 20,
            ..ExecutorResourceRequest::default()
        };
        let cpus = TaskResourceRequest { resource: "cpus".into(), amount: 1.0 };
        vec![
            ResourceProfileAdded {
                id: 0,
                executor: BTreeMap::from([("memory".into(), memory)]),
                task: BTreeMap::from([("cpus".into(), cpus)]),
            }
            .into(),
            BlockManagerAdded {
                manager: manager.clone(),
                max_memory: self.memory,
                time,
                max_on_heap_memory: self.memory,
                max_off_heap_memory: 0,
            }
            .into(),
            self.environment(&[]).into(),
            ApplicationStart {
                name: self.name.as_str().into(),
                id: self.id.as_str().into(),
                time,
                user: Arc::from(self.user.as_str()),
                attempt: None,
            }
            .into(),
        ]
    }

    /// The properties in force, and the files that the program has added.
    pub(crate) fn environment(&self, files: &[String]) -> EnvironmentUpdate {
        let mut properties: BTreeMap<String, String> =
            self.conf.spark_properties().map(|(key, value)| (key, value.to_string())).collect();
        properties.insert("spark.app.id".into(), self.id.clone());
        properties.insert("spark.app.name".into(), self.name.clone());
        properties.insert("spark.app.startTime".into(), self.start_time.to_string());
        properties.insert("spark.master".into(), self.master.clone());
        let text = |value: &str| value.to_string();
        EnvironmentUpdate {
            runtime: BTreeMap::from([(text("Firesteel Version"), text(env!("CARGO_PKG_VERSION")))]),
            properties,
            system: BTreeMap::from([
                (text("os.name"), text(std::env::consts::OS)),
                (text("os.arch"), text(std::env::consts::ARCH)),
                (text("user.name"), self.user.clone()),
            ]),
            code: files.iter().map(|file| (file.clone(), text("Added By User"))).collect(),
            ..EnvironmentUpdate::default()
        }
    }
}
