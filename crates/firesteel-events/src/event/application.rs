//! Events of the application as a whole.

use super::Properties;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The first line of every event log: which version of Spark's format follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogStart {
    /// The version of Spark whose format this is.
    #[serde(rename = "Spark Version")]
    pub spark_version: String,
    /// The version of Firesteel that wrote the log; Spark's own logs have none, and Spark's readers pass over it.
    #[serde(rename = "Firesteel Version", default, skip_serializing_if = "Option::is_none")]
    pub firesteel_version: Option<String>,
}

/// A context started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationStart {
    /// The application's name, as its user gave it.
    #[serde(rename = "App Name")]
    pub name: Arc<str>,
    /// Its id (`local-1795232036363`, `app-20261121033358-0000`).
    #[serde(rename = "App ID", default)]
    pub id: Arc<str>,
    /// When.
    #[serde(rename = "Timestamp")]
    pub time: u64,
    /// Who runs it.
    #[serde(rename = "User")]
    pub user: Arc<str>,
    /// Which attempt of the application this is, where a cluster manager tries more than once.
    #[serde(rename = "App Attempt ID", default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Arc<str>>,
}

/// A context stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationEnd {
    /// When.
    #[serde(rename = "Timestamp")]
    pub time: u64,
    /// The exit code given to the context's stop, 0 by default.
    #[serde(rename = "ExitCode", default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// The properties in force. They may hold secrets, which the event log redacts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentUpdate {
    /// What runs the program: versions of language and runtime. (Spark's: of the JVM.)
    #[serde(rename = "JVM Information", default)]
    pub runtime: Properties,
    /// The configuration that was set.
    #[serde(rename = "Spark Properties", default)]
    pub properties: Properties,
    /// Properties of the file systems.
    #[serde(rename = "Hadoop Properties", default)]
    pub file_systems: Properties,
    /// Properties of the process and its machine.
    #[serde(rename = "System Properties", default)]
    pub system: Properties,
    /// Properties of the metrics system.
    #[serde(rename = "Metrics Properties", default)]
    pub metrics: Properties,
    /// Where code came from: a path, and why it is there.
    #[serde(rename = "Classpath Entries", default)]
    pub code: Properties,
}

/// What executors and tasks ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourceProfileAdded {
    /// The profile's number; 0 is the default one.
    #[serde(rename = "Resource Profile Id")]
    pub id: u32,
    /// Per executor, by resource.
    #[serde(rename = "Executor Resource Requests", default)]
    pub executor: BTreeMap<String, ExecutorResourceRequest>,
    /// Per task, by resource.
    #[serde(rename = "Task Resource Requests", default)]
    pub task: BTreeMap<String, TaskResourceRequest>,
}

/// How much of a resource each executor has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecutorResourceRequest {
    /// `cores`, `memory` (in MiB), `offHeap`, or a resource of the user's own.
    #[serde(rename = "Resource Name")]
    pub resource: String,
    /// How much.
    #[serde(rename = "Amount")]
    pub amount: u64,
    /// The program that finds the resource on a host.
    #[serde(rename = "Discovery Script", default)]
    pub discovery_script: String,
    /// Who makes it.
    #[serde(rename = "Vendor", default)]
    pub vendor: String,
}

/// How much of a resource each task needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskResourceRequest {
    /// `cpus`, or a resource of the user's own.
    #[serde(rename = "Resource Name")]
    pub resource: String,
    /// How much; half a resource is 0.5.
    #[serde(rename = "Amount")]
    pub amount: f64,
}
