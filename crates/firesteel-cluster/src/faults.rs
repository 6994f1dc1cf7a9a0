//! Deliberate mistakes, so that a test can show that the simulator finds such mistakes.

/// Those of a master, its workers and its applications.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Give away what an application had before its executors have ended.
    pub give_away_early: bool,
    /// After a restart wait for nobody.
    pub wait_for_nobody: bool,
    /// After a restart wait for applications, too, before anything is given away.
    pub wait_for_applications: bool,
    /// Count the time in which the master stood still.
    pub count_all_time: bool,
    /// Do not look who waits when an executor has ended.
    pub forget_who_waits: bool,
    /// Give an application more executors than it wants.
    pub give_unwanted: bool,
    /// Do not hear that an application wants fewer executors than before.
    pub keep_wishes: bool,
    /// Start a supervised driver again that has ended well.
    pub start_again: bool,
    /// A worker that comes back does not say what has ended meanwhile.
    pub forget_ends: bool,
    /// An application that comes back does not say which executors are to end.
    pub forget_kills: bool,
}
