//! One line that shows running stages side by side.

use crate::StageData;
use firesteel_model::StageId;

/// How far a running stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageProgress {
    /// Which.
    pub stage: StageId,
    /// Tasks that are done.
    pub completed: u32,
    /// Attempts that run.
    pub active: u32,
    /// Tasks in all.
    pub total: u32,
}

impl From<&StageData> for StageProgress {
    fn from(s: &StageData) -> Self {
        Self { stage: s.info.id, completed: s.completed_indices, active: s.active_tasks, total: s.info.tasks }
    }
}

/// The stages side by side, each with an equal share of `width` columns, as Spark shows them: stage, bar, (done + running) / total.
/// Empty without stages; never longer than `width`, since a line that a terminal breaks cannot be drawn over.
///
/// ```
/// use firesteel_events::{StageProgress, progress_bar};
/// use firesteel_model::StageId;
///
/// let stage = StageProgress { stage: StageId(3), completed: 12, active: 4, total: 48 };
/// assert_eq!(progress_bar(&[stage], 40), "[Stage 3:====>            (12 + 4) / 48]");
/// ```
pub fn progress_bar(stages: &[StageProgress], width: usize) -> String {
    let mut line = String::new();
    let share = width / stages.len().max(1);
    for s in stages {
        let head = format!("[Stage {}:", s.stage);
        let tail = format!("({} + {}) / {}]", s.completed, s.active, s.total);
        let room = share.saturating_sub(head.len() + tail.len());
        let done = (room as u64).saturating_mul(s.completed.into()).checked_div(s.total.into()).unwrap_or(0);
        let done = usize::try_from(done).unwrap_or(room).min(room);
        line.push_str(&head);
        line.extend(std::iter::repeat_n('=', done));
        if done < room {
            line.push('>');
            line.extend(std::iter::repeat_n(' ', room - done - 1));
        }
        line.push_str(&tail);
    }
    line.truncate(width);
    line
}
