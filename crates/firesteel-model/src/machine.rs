//! The machine and the user that run this process.

use std::fs;

/// The host's name.
pub fn host() -> String {
    let told = fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_string());
    told.or_else(|| std::env::var("HOSTNAME").ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

/// The user's name.
pub fn user() -> String {
    ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "unknown".into())
}

/// Bytes of memory that this process may use: the machine's, or its control group's if that is less. 1 GiB where the system
/// does not say.
pub fn memory() -> u64 {
    let number = |path| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    groups.into_iter().filter_map(number).chain(of_machine()).filter(|bytes| *bytes > 0).min().unwrap_or(1 << 30)
}

/// Bytes of memory that this process holds, as far as the system says.
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&status, "VmRSS:")
}

fn of_machine() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kilobytes(&told, "MemTotal:")
}

/// The bytes of a line of kilobytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}
