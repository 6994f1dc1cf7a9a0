//! The machine and the user that run the program.

use std::fs;

/// The host's name.
pub(crate) fn host() -> String {
    let told = fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_string());
    told.or_else(|| std::env::var("HOSTNAME").ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

/// The user's name.
pub(crate) fn user() -> String {
    ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "unknown".into())
}

/// Bytes of memory that this process may use: the machine's, or its control group's if that is less. 1 GiB where the system
/// does not say.
pub(crate) fn memory() -> u64 {
    let number = |path| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    groups.into_iter().filter_map(number).chain(of_machine()).filter(|bytes| *bytes > 0).min().unwrap_or(1 << 30)
}

fn of_machine() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes << 10)
}
