//! Draws the progress bar while jobs run, and takes it away before their results are printed.

use super::{StageProgress, progress_bar};
use crate::AppState;
use firesteel_model::{Error, Result, StageAttempt, StageId};
use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write, stderr},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A stage shows up when it has run for so long; and after a job's end nothing is drawn for as long, as Spark has it.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// How often the bar is drawn.
const PERIOD: Duration = Duration::from_millis(200);
/// How long the thread goes on ticking without a job, so that many short jobs do not wake it each.
const LINGER: Duration = Duration::from_secs(10);
/// An unchanged bar is drawn again after so long, so that a connection is not closed as idle.
const REDRAW: Duration = Duration::from_secs(60);
/// How many stages are shown at once.
const STAGES: usize = 3;

/// The progress bar of one application, on standard error.
///
/// It is drawn by a thread of its own, from what the application's [`AppState`] knows, while a [`RunningJob`] lives: running a job
/// costs a lock, and nothing per task.
///
/// ```
/// use firesteel_events::{AppState, ConsoleProgress};
///
/// let state = AppState::default();
/// // None when nobody looks: standard error is a file or a pipe.
/// if let Some(progress) = ConsoleProgress::on_terminal(state)? {
///     let running = progress.job();
///     // … the job runs …
///     drop(running); // the bar is gone: print the result
/// }
/// # Ok::<(), firesteel_model::Error>(())
/// ```
pub struct ConsoleProgress {
    shared: Arc<Shared>,
}

/// A job that runs: while one does, the bar is drawn. When it is dropped, the bar is gone before `drop` returns.
#[must_use = "the bar is shown while this lives"]
pub struct RunningJob {
    shared: Arc<Shared>,
}

struct Shared {
    console: Mutex<Console>,
    wake: Condvar,
}

struct Console {
    out: Box<dyn Write + Send>,
    screen: Screen,
    jobs: usize,
    /// The thread waits without a time limit: a job has to wake it.
    asleep: bool,
    stopped: bool,
}

impl ConsoleProgress {
    /// A progress bar on standard error if that is a terminal, else none.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn on_terminal(state: AppState) -> Result<Option<Self>> {
        if !stderr().is_terminal() {
            return Ok(None);
        }
        // A full line makes some terminals break it.
        let width =
            || terminal_size::terminal_size_of(stderr()).map_or(80, |(w, _)| usize::from(w.0)).saturating_sub(1);
        Self::start(state, Box::new(stderr()), width).map(Some)
    }

    fn start(state: AppState, out: Box<dyn Write + Send>, width: impl Fn() -> usize + Send + 'static) -> Result<Self> {
        let console = Console { out, screen: Screen::default(), jobs: 0, asleep: false, stopped: false };
        let shared = Arc::new(Shared { console: Mutex::new(console), wake: Condvar::new() });
        let ticker = shared.clone();
        std::thread::Builder::new()
            .name("firesteel-progress".into())
            .spawn(move || ticker.tick(&state, width))
            .map_err(|e| Error::io("start the thread of", "the progress bar", e))?;
        Ok(Self { shared })
    }

    /// A job begins.
    pub fn job(&self) -> RunningJob {
        let mut console = self.shared.lock();
        console.jobs += 1;
        if console.asleep {
            console.asleep = false;
            self.shared.wake.notify_one();
        }
        RunningJob { shared: self.shared.clone() }
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        let mut console = self.shared.lock();
        console.jobs -= 1;
        console.erase(Instant::now());
    }
}

impl Drop for ConsoleProgress {
    fn drop(&mut self) {
        let mut console = self.shared.lock();
        console.stopped = true;
        console.erase(Instant::now());
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Console> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, state: &AppState, width: impl Fn() -> usize) {
        let mut console = self.lock();
        let mut last_job = Instant::now();
        while !console.stopped {
            if console.jobs > 0 {
                last_job = Instant::now();
            } else if last_job.elapsed() > LINGER {
                console.asleep = true;
                let idle = |c: &mut Console| c.jobs == 0 && !c.stopped;
                console = self.wake.wait_while(console, idle).unwrap_or_else(PoisonError::into_inner);
                console.asleep = false;
                continue;
            }
            console =
                self.wake.wait_timeout_while(console, PERIOD, |c| !c.stopped).unwrap_or_else(PoisonError::into_inner).0;
            if console.jobs > 0 && !console.stopped {
                let active = state.active_stages();
                let stages = active.iter().map(|s| (s.info.attempt, s.into()));
                let text = console.screen.draw(Instant::now(), stages, width());
                console.write(text);
            }
        }
    }
}

impl Console {
    fn erase(&mut self, now: Instant) {
        let text = self.screen.erase(now);
        self.write(text);
    }

    fn write(&mut self, text: Option<String>) {
        if let Some(text) = text {
            // A terminal that went away is no reason to disturb a job.
            let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}

/// What is on the terminal's line, and since when; says what to write to change it.
#[derive(Default)]
struct Screen {
    line: String,
    drawn: Option<Instant>,
    job_ended: Option<Instant>,
    first_seen: BTreeMap<(StageId, StageAttempt), Instant>,
}

impl Screen {
    /// What to write so that the line shows these running stages at that time.
    fn draw(
        &mut self,
        now: Instant,
        stages: impl Iterator<Item = (StageAttempt, StageProgress)>,
        width: usize,
    ) -> Option<String> {
        let mut seen = BTreeMap::new();
        let mut shown = Vec::new();
        for (attempt, stage) in stages {
            let since = *self.first_seen.get(&(stage.stage, attempt)).unwrap_or(&now);
            seen.insert((stage.stage, attempt), since);
            if now.duration_since(since) >= FIRST_DELAY && shown.len() < STAGES {
                shown.push(stage);
            }
        }
        self.first_seen = seen;
        if shown.is_empty() || self.job_ended.is_some_and(|t| now.duration_since(t) < FIRST_DELAY) {
            return None;
        }
        let line = progress_bar(&shown, width);
        let is_old = self.drawn.is_none_or(|t| now.duration_since(t) >= REDRAW);
        if line == self.line && !is_old {
            return None;
        }
        // What the line before had more of is written over.
        let text = format!("\r{line}{:1$}", "", self.line.len().saturating_sub(line.len()));
        self.line = line;
        self.drawn = Some(now);
        Some(text)
    }

    /// What to write so that the line is empty.
    fn erase(&mut self, now: Instant) -> Option<String> {
        self.job_ended = Some(now);
        let line = std::mem::take(&mut self.line);
        (!line.is_empty()).then(|| format!("\r{:1$}\r", "", line.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(completed: &[u32]) -> impl Iterator<Item = (StageAttempt, StageProgress)> {
        (0..).zip(completed.to_vec()).map(|(id, completed)| {
            (StageAttempt(0), StageProgress { stage: StageId(id), completed, active: 1, total: 10 })
        })
    }

    #[test]
    fn a_stage_shows_up_after_half_a_second_and_only_changes_are_drawn() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut screen = Screen::default();
        assert_eq!(screen.draw(at(0), stages(&[0]), 30), None);
        assert_eq!(screen.draw(at(400), stages(&[3]), 30), None);
        assert_eq!(screen.draw(at(500), stages(&[5]), 30).unwrap(), "\r[Stage 0:====>   (5 + 1) / 10]");
        assert_eq!(screen.draw(at(700), stages(&[5]), 30), None);
        assert_eq!(screen.draw(at(900), stages(&[6]), 30).unwrap(), "\r[Stage 0:====>   (6 + 1) / 10]");
        assert!(screen.draw(at(61_000), stages(&[6]), 30).is_some(), "drawn again, so that the connection is not idle");
    }

    #[test]
    fn a_shorter_line_leaves_nothing_of_the_longer_one() {
        let start = Instant::now();
        let mut screen = Screen::default();
        screen.draw(start, stages(&[5]), 30);
        let long = screen.draw(start + FIRST_DELAY, stages(&[5]), 40).unwrap();
        let short = screen.draw(start + FIRST_DELAY, stages(&[5]), 30).unwrap();
        assert_eq!(long.len(), short.len());
        assert_eq!(screen.erase(start).unwrap(), format!("\r{}\r", " ".repeat(30)));
        assert_eq!(screen.erase(start), None);
    }

    #[test]
    fn after_a_jobs_end_the_bar_stays_away_for_half_a_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut screen = Screen::default();
        screen.draw(at(0), stages(&[1]), 30);
        assert!(screen.draw(at(600), stages(&[1]), 30).is_some());
        assert!(screen.erase(at(700)).is_some());
        assert_eq!(screen.draw(at(800), stages(&[2]), 30), None);
        assert!(screen.draw(at(1_200), stages(&[2]), 30).is_some());
    }

    #[test]
    fn three_stages_at_most_are_shown() {
        let start = Instant::now();
        let mut screen = Screen::default();
        screen.draw(start, stages(&[1, 2, 3, 4]), 90);
        let line = screen.draw(start + FIRST_DELAY, stages(&[1, 2, 3, 4]), 90).unwrap();
        assert!(line.contains("[Stage 2:") && !line.contains("[Stage 3:"), "{line}");
    }

    #[test]
    fn the_bar_is_drawn_while_a_job_runs_and_gone_when_it_ends() {
        use crate::{Listener, event::*};
        struct Terminal(std::sync::mpsc::Sender<String>);
        impl Write for Terminal {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.send(String::from_utf8_lossy(buf).into_owned());
                Ok(buf.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut state = AppState::default();
        let stage = StageInfo { id: StageId(7), tasks: 10, submitted: Some(1), ..Default::default() };
        state.on_event(&StageSubmitted { stage, properties: Default::default() }.into());
        let (out, written) = std::sync::mpsc::channel();
        let progress = ConsoleProgress::start(state, Box::new(Terminal(out)), || 30).unwrap();
        let job = progress.job();
        assert_eq!(written.recv().unwrap(), "\r[Stage 7:>       (0 + 0) / 10]");
        drop(job);
        assert_eq!(written.recv().unwrap(), format!("\r{}\r", " ".repeat(30)));
        drop(progress);
        assert!(written.recv().is_err(), "the thread ends with the application");
    }
}
