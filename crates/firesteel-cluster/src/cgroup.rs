//! A limit of memory for an executor and all that it starts, which the system keeps: a cgroup (version 2) of its own.
//!
//! An executor makes its group beside the one that it was started in, and enters it; who started it removes it when it has ended. That is
//! possible where groups with a limit of memory can be made there: with the rights of root, or in a folder that was given to this user, as
//! systemd does by `Delegate=memory` and `DelegateSubgroup=`. Elsewhere there is none, and what the executor sees of itself is the limit.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

/// What is said of a process that was ended because it took too much.
pub const TOOK_TOO_MUCH: &str = "; the system has ended it, since it and what it started took more memory than its cgroup may: give executors more \
                                 (firesteel.executor.memoryOverhead)";

/// Where the system shows groups.
const ROOT: &str = "/sys/fs/cgroup";
/// What the name of a group of ours begins with; its process's number follows.
const PREFIX: &str = "firesteel-";

/// The folder in which groups of executors are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cgroups(PathBuf);

impl Cgroups {
    /// The folder for processes that this one starts, or for this one. Nothing is changed there before one [enters](Cgroups::enter).
    ///
    /// # Errors
    /// Why there can be no groups with a limit of memory.
    pub fn here() -> Result<Cgroups, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| format!("/proc/self/cgroup: {e}"))?;
        Self::beside(Path::new(ROOT), &own)
    }

    /// The folder for executors that this process starts, tidied up; none if there can be no groups.
    pub fn for_executors() -> Option<Cgroups> {
        match Self::here() {
            Ok(groups) => {
                groups.tidy();
                Some(groups)
            }
            Err(why) => {
                tracing::debug!("executors have no cgroups of their own: {why}");
                None
            }
        }
    }

    /// Beside the group of a process of which the system says this.
    fn beside(root: &Path, own: &str) -> Result<Cgroups, String> {
        let of_version_2 = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("cgroups are of version 1")?;
        let path = root.join(of_version_2);
        // The topmost group may have others inside itself.
        let beside = if of_version_2.is_empty() { root } else { path.parent().unwrap_or(root) };
        match has_memory(beside, "cgroup.controllers")? {
            true => Ok(Cgroups(beside.into())),
            false => Err(format!("{} has no limits of memory", beside.display())),
        }
    }

    fn group(&self, pid: u32) -> PathBuf {
        self.0.join(format!("{PREFIX}{pid}"))
    }

    /// Puts this process into a group that may take so many bytes of memory. A process of the group that takes more ends all of them.
    ///
    /// # Errors
    /// Why that cannot be; then it has no group.
    pub fn enter(&self, limit: u64) -> Result<(), String> {
        if !has_memory(&self.0, "cgroup.subtree_control")? {
            write(&self.0, "cgroup.subtree_control", "+memory")?;
        }
        let group = self.group(process::id());
        // One of the same name is of a process that has ended.
        let _ = fs::remove_dir(&group);
        fs::create_dir(&group).map_err(|e| format!("{}: {e}", group.display()))?;
        let entered = write(&group, "memory.max", &limit.to_string()).and_then(|()| {
            // Where the system has neither, the limit holds all the same, but for what is swapped.
            let _ = write(&group, "memory.swap.max", "0");
            let _ = write(&group, "memory.oom.group", "1");
            write(&group, "cgroup.procs", "0")
        });
        entered.inspect_err(|_| drop(fs::remove_dir(&group)))
    }

    /// Removes the group of a process that has ended, if it had one; whether the system has ended it because it took too much memory.
    pub fn leave(&self, pid: u32) -> bool {
        let group = self.group(pid);
        let killed = fs::read_to_string(group.join("memory.events")).is_ok_and(|events| has_killed(&events));
        remove(&group);
        killed
    }

    /// Removes the groups of processes that ended when nobody was there to do it.
    pub fn tidy(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                // Those in which something lives stay.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Whether limits of memory are among the controllers that a file of a group's folder names.
fn has_memory(folder: &Path, name: &str) -> Result<bool, String> {
    let path = folder.join(name);
    let controllers = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(controllers.split_whitespace().any(|name| name == "memory"))
}

/// Whether processes of the group have been killed since it has taken more than it may. Those that are killed since the machine's memory is
/// full are counted as well, in a group that has not reached its limit.
fn has_killed(events: &str) -> bool {
    let some = |of: &str| events.lines().filter_map(|line| line.strip_prefix(of)).any(|count| count.trim() != "0");
    some("oom ") && some("oom_kill ")
}

fn remove(group: &Path) {
    if let Err(e) = fs::remove_dir(group)
        && e.kind() != io::ErrorKind::NotFound
    {
        // What the process left behind may still be ending; who starts next tidies up.
        tracing::debug!("the cgroup {} stays for now: {e}", group.display());
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::ExitStatusExt, process::Command};
    use tempfile::TempDir;

    /// What the system would show: a group `a`, in it `worker`.
    fn tree(controllers: &str, passed_on: &str) -> TempDir {
        let root = TempDir::new().unwrap();
        for (folder, passed_on) in [("", "cpu memory"), ("a", passed_on), ("a/worker", "")] {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup.controllers"), controllers).unwrap();
            fs::write(folder.join("cgroup.subtree_control"), passed_on).unwrap();
        }
        root
    }

    #[test]
    fn groups_are_made_beside_ones_own_where_memory_can_be_limited() {
        let root = tree("cpu memory\n", "cpu\n");
        let groups = Cgroups::beside(root.path(), "0::/a/worker\n").unwrap();
        assert_eq!(groups, Cgroups(root.path().join("a")));
        let passed_on = || fs::read_to_string(root.path().join("a/cgroup.subtree_control")).unwrap();
        assert_eq!(passed_on(), "cpu\n", "nothing is changed before a process enters");
        groups.enter(64 << 20).unwrap();
        assert_eq!(passed_on(), "+memory");
        let group = groups.group(process::id());
        let has = |name: &str| fs::read_to_string(group.join(name)).unwrap();
        assert_eq!((has("memory.max"), has("cgroup.procs")), ((64 << 20).to_string(), "0".into()));
        assert!(groups.enter(1).unwrap_err().contains("exists"), "one for each process");
        fs::write(group.join("memory.events"), "max 7\noom 1\noom_kill 1\n").unwrap();
        assert!(groups.leave(process::id()));
        assert!(!has_killed("max 0\noom 0\noom_kill 1\n"), "the machine's memory was full, not the group's");
        assert!(!groups.leave(1), "it had none");
    }

    #[test]
    fn the_topmost_group_has_others_inside() {
        let root = tree("memory", "memory");
        assert_eq!(Cgroups::beside(root.path(), "12:memory:/x\n0::/\n"), Ok(Cgroups(root.path().into())));
    }

    #[test]
    fn where_memory_cannot_be_limited_the_reason_is_told() {
        let of = |root: &TempDir, own| Cgroups::beside(root.path(), own).unwrap_err();
        assert!(of(&tree("cpu", "cpu"), "0::/a/worker").contains("no limits of memory"));
        assert!(of(&tree("memory", "memory"), "4:memory:/a").contains("version 1"));
        assert!(of(&tree("memory", "memory"), "0::/b/worker").contains("b/cgroup.controllers"));
    }

    #[test]
    fn groups_without_processes_are_tidied_up() {
        let root = tree("memory", "memory");
        let groups = Cgroups::beside(root.path(), "0::/a/worker").unwrap();
        fs::create_dir(groups.group(7)).unwrap();
        // What has something in it cannot be removed, here as there.
        fs::create_dir_all(groups.group(8).join("process")).unwrap();
        groups.tidy();
        assert!(!groups.group(7).exists() && groups.group(8).exists() && root.path().join("a/worker").exists());
    }

    #[test]
    fn a_process_that_takes_more_than_its_group_may_is_ended() {
        const GROUPED: &str = "FIRESTEEL_TEST_GROUPED";
        const NOT_HERE: i32 = 77;
        let groups = match Cgroups::here() {
            Ok(groups) => groups,
            Err(why) => return eprintln!("not tried here, where there are no groups: {why}"),
        };
        if std::env::var_os(GROUPED).is_some() {
            if let Err(why) = groups.enter(32 << 20) {
                eprintln!("not tried here, where groups are somebody else's: {why}");
                process::exit(NOT_HERE);
            }
            std::hint::black_box(vec![1u8; 256 << 20]);
            return;
        }
        let test = ["--exact", "cgroup::tests::a_process_that_takes_more_than_its_group_may_is_ended", "--nocapture"];
        let mut child = Command::new(std::env::current_exe().unwrap()).args(test).env(GROUPED, "1").spawn().unwrap();
        let ended = child.wait().unwrap();
        if ended.code() == Some(NOT_HERE) {
            return;
        }
        assert_eq!(ended.signal(), Some(9));
        assert!(groups.leave(child.id()), "not because of its memory");
    }
}
