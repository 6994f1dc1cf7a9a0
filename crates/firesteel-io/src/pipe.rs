//! A child program between two sequences of lines: what `pipe` runs for every partition.
//!
//! The task must go on reading what the program prints while it hands it more to read, or each would wait for the other.
//! Two threads do the blocking calls, one per pipe, with short queues; the task's own thread, where the user's closures
//! must run, waits for whichever of them can go on ([`PipedProcess::step`]).

use crate::{Lines, line_buffer::LineBuffer};
use crossbeam_channel::{Receiver, RecvTimeoutError, Select, Sender, TrySendError, bounded};
use firesteel_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// How much input is collected before it goes to the program: Spark's `bufferSize`.
const INPUT: usize = 8192;
/// How much output is read at a time.
const OUTPUT: usize = 64 << 10;
/// How many pieces wait in each queue.
const QUEUE: usize = 4;
/// How long one step waits.
const PATIENCE: Duration = Duration::from_millis(100);

/// A program to run, with its arguments. No shell looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeCommand {
    words: Vec<String>,
    env: Vec<(String, String)>,
    own_folder: bool,
    buffer: usize,
}

impl PipeCommand {
    /// A command line, split at white space; quotes mean nothing, as in Spark.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is no word in it.
    ///
    /// ```
    /// use firesteel_io::PipeCommand;
    /// assert_eq!(PipeCommand::parse(" sort  -r ")?, PipeCommand::new(["sort", "-r"])?);
    /// assert!(PipeCommand::parse(" ").is_err());
    /// # Ok::<_, firesteel_model::Error>(())
    /// ```
    pub fn parse(command: &str) -> Result<PipeCommand> {
        // Java's StringTokenizer's delimiters.
        PipeCommand::new(command.split([' ', '\t', '\n', '\r', '\x0c']).filter(|word| !word.is_empty()))
    }

    /// A program and its arguments.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is no program, or a NUL in a word.
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Result<PipeCommand> {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        if words.first().is_none_or(String::is_empty) {
            return Err(Error::InvalidArgument("pipe: the command is empty; name a program".into()));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(Error::InvalidArgument(format!("pipe: a NUL character in the command {}", words.join(" "))));
        }
        Ok(PipeCommand { words, env: Vec::new(), own_folder: false, buffer: INPUT })
    }

    /// Runs each process in a folder of its own, `firesteel-pipe-…` in the present one, in which everything of the present one is found by
    /// symbolic links: what processes write there, they do not write over each other. It goes with the process.
    pub fn separate_working_dir(self) -> PipeCommand {
        PipeCommand { own_folder: true, ..self }
    }

    /// How many bytes of input are collected before they go to the program: 8 KiB, unless said otherwise; at least 1.
    pub fn buffer_size(self, bytes: usize) -> PipeCommand {
        PipeCommand { buffer: bytes.max(1), ..self }
    }

    /// Sets an environment variable for the program, beside those it inherits.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the name is empty or has a `=` in it, or a NUL is in either.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<PipeCommand> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Error::InvalidArgument(format!(
                "pipe: no environment variable can be named or hold {name:?}={value:?}"
            )));
        }
        self.env.push((name, value));
        Ok(self)
    }
}

/// What [`PipedProcess::step`] found to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PipeStep {
    /// The program has printed something: [`PipedProcess::lines`] has it.
    Output,
    /// The program can take more input: [`PipedProcess::write_with`] until that returns false, or
    /// [`PipedProcess::close_input`].
    WantsInput,
    /// Nothing has happened for a tenth of a second: an occasion to see whether the task is still wanted.
    Waiting,
    /// The program has ended, and ended well.
    End,
}

/// A running child program. Its standard error is this process's own. Dropped, it is killed.
///
/// ```
/// # fn main() -> firesteel_model::Result<()> {
/// use firesteel_io::{PipeCommand, PipeStep, PipedProcess};
/// let mut process = PipedProcess::spawn(&PipeCommand::parse("tr a-z A-Z")?)?;
/// let mut input = ["one", "two"].into_iter();
/// let mut output = Vec::new();
/// loop {
///     match process.step()? {
///         PipeStep::Output => output.extend(process.lines().into_iter().flatten().map(str::to_string)),
///         PipeStep::Waiting => {}
///         PipeStep::End => break,
///         PipeStep::WantsInput => loop {
///             match input.next() {
///                 None => break process.close_input(),
///                 Some(line) if process.write_with(|text| text.push_str(line)) => {}
///                 Some(_) => break,
///             }
///         },
///     }
/// }
/// assert_eq!(output, ["ONE", "TWO"]);
/// # Ok(())
/// # }
/// ```
pub struct PipedProcess {
    command: String,
    child: Child,
    /// How much input is collected before it goes to the program.
    buffer: usize,
    /// Goes after the program.
    _folder: Option<OwnFolder>,
    /// To the thread that writes; none once the input is closed, or the program has stopped reading.
    input: Option<Sender<String>>,
    text: String,
    output: Receiver<io::Result<Vec<u8>>>,
    lines: LineBuffer,
    /// No more input will come, and what there is in `text` is the last.
    closing: bool,
    /// The program has closed its output.
    silent: bool,
    ended: bool,
}

impl PipedProcess {
    /// Starts the program.
    ///
    /// # Errors
    /// [`Error::Io`] names the program if it cannot be started, above all if there is none of that name.
    pub fn spawn(command: &PipeCommand) -> Result<PipedProcess> {
        let program = &command.words[0];
        let failed = |e| Error::io("run the program", program, e);
        let folder = command.own_folder.then(OwnFolder::make).transpose()?;
        let mut ready = Command::new(program);
        if let Some(OwnFolder(path)) = &folder {
            ready.current_dir(path);
        }
        let mut child = ready
            .args(&command.words[1..])
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (input, to_write) = bounded(QUEUE);
        let (read, output) = bounded(QUEUE);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let process = PipedProcess {
            command: command.words.join(" "),
            child,
            buffer: command.buffer,
            _folder: folder,
            input: Some(input),
            text: String::new(),
            output,
            lines: LineBuffer::with_capacity(OUTPUT),
            closing: false,
            silent: false,
            ended: false,
        };
        let named = |what: &str| thread::Builder::new().name(format!("pipe-{what} {program}"));
        // Neither thread is waited for: a program's own children may hold its pipes open for as long as they like.
        if let (Some(stdin), Some(stdout)) = (stdin, stdout) {
            let complain = read.clone();
            named("stdin").spawn(move || write_all(stdin, &to_write, &complain)).map_err(failed)?;
            named("stdout").spawn(move || read_all(stdout, &read)).map_err(failed)?;
        }
        Ok(process)
    }

    /// Hands the program one element, as `print` appends it, and LF. False: that is enough for now, see what
    /// [`PipedProcess::step`] says; the element is taken all the same. Never waits.
    pub fn write_with(&mut self, print: impl FnOnce(&mut String)) -> bool {
        print(&mut self.text);
        self.text.push('\n');
        if self.text.len() < self.buffer {
            return true;
        }
        let Some(input) = &self.input else {
            self.text.clear();
            return false;
        };
        match input.try_send(std::mem::take(&mut self.text)) {
            Ok(()) => true,
            Err(TrySendError::Full(text)) => {
                self.text = text;
                false
            }
            Err(TrySendError::Disconnected(_)) => {
                self.input = None;
                false
            }
        }
    }

    /// The program is to see the end of its input. What is written afterwards is not sent.
    pub fn close_input(&mut self) {
        self.closing = true;
    }

    /// What to do next; waits until there is something, but not for long.
    ///
    /// # Errors
    /// The program ended with another status than 0, in Spark's words (`Subprocess exited with status 1. Command ran: …`), or
    /// was killed by a signal (status 128 and the signal's number). [`Error::Io`] if a pipe cannot be read or written. A
    /// program that stops reading before its input's end is no error in itself: `head` does so.
    pub fn step(&mut self) -> Result<PipeStep> {
        loop {
            if self.lines.has_lines() {
                return Ok(PipeStep::Output);
            }
            if self.ended {
                return Ok(PipeStep::End);
            }
            if self.silent {
                if let Some(status) = self.child.try_wait().map_err(|e| self.failed(e))? {
                    return self.end(status);
                }
            } else if let Ok(output) = self.output.try_recv() {
                self.take_output(output)?;
                continue;
            }
            if self.closing && self.text.is_empty() {
                self.input = None;
            }
            match &self.input {
                Some(_) if !self.closing && self.text.len() < self.buffer => return Ok(PipeStep::WantsInput),
                Some(input) => {
                    // Whatever comes first: the program reads, or prints (or, once silent, a complaint of the writer).
                    let mut select = Select::new();
                    let send = select.send(input);
                    select.recv(&self.output);
                    let Ok(ready) = select.select_timeout(PATIENCE) else { return Ok(PipeStep::Waiting) };
                    if ready.index() == send {
                        if ready.send(input, std::mem::take(&mut self.text)).is_err() {
                            self.input = None;
                        }
                    } else if let Ok(output) = ready.recv(&self.output) {
                        self.take_output(output)?;
                    } else {
                        // Both threads are gone, so nobody reads the input either.
                        (self.input, self.silent) = (None, true);
                    }
                }
                None if self.silent => return self.wait_for_end(),
                None => match self.output.recv_timeout(PATIENCE) {
                    Ok(output) => self.take_output(output)?,
                    Err(RecvTimeoutError::Timeout) => return Ok(PipeStep::Waiting),
                    Err(RecvTimeoutError::Disconnected) => self.silent = true,
                },
            }
        }
    }

    /// What the program has printed, after [`PipeStep::Output`]. Lines that are left untaken are there again the next time.
    pub fn lines(&mut self) -> Option<Lines<'_>> {
        self.lines.lines()
    }

    fn take_output(&mut self, output: io::Result<Vec<u8>>) -> Result<()> {
        let bytes = output.map_err(|e| self.failed(e))?;
        if bytes.is_empty() {
            self.lines.finished();
            self.silent = true;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let room = self
                .lines
                .room(rest.len())
                .map_err(|_| Error::io("read from", &self.command, io::Error::other("a line is longer than 1 GiB")))?;
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            self.lines.filled(n);
            rest = &rest[n..];
        }
        Ok(())
    }

    /// A program that has closed its output and sees the end of its input ends soon, as a rule.
    fn wait_for_end(&mut self) -> Result<PipeStep> {
        let mut pause = Duration::from_micros(50);
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            if let Some(status) = self.child.try_wait().map_err(|e| self.failed(e))? {
                return self.end(status);
            }
            thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        Ok(PipeStep::Waiting)
    }

    fn end(&mut self, status: ExitStatus) -> Result<PipeStep> {
        self.input = None;
        if status.success() {
            self.ended = true;
            return Ok(PipeStep::End);
        }
        // A shell's way, and Java's, to put a signal into a status.
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Err(io::Error::other(format!("Subprocess exited with status {code}. Command ran: {}", self.command)).into())
    }

    fn failed(&self, e: io::Error) -> Error {
        Error::io("talk to the program", &self.command, e)
    }
}

impl Drop for PipedProcess {
    fn drop(&mut self) {
        // It may have ended by itself, or just now; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How the names of such folders begin.
const OWN_FOLDER: &str = "firesteel-pipe-";

/// A folder of one process, with links to all that its parent's has.
struct OwnFolder(PathBuf);

impl OwnFolder {
    fn make() -> Result<OwnFolder> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let here = std::env::current_dir().map_err(|e| Error::io("find the present folder", ".", e))?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = here.join(format!("{OWN_FOLDER}{}-{number}", std::process::id()));
        let failed = |e| Error::io("make a folder for the program", path.display(), e);
        fs::create_dir(&path).map_err(failed)?;
        let folder = OwnFolder(path.clone());
        for entry in fs::read_dir(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !entry.file_name().to_string_lossy().starts_with(OWN_FOLDER) {
                std::os::unix::fs::symlink(entry.path(), path.join(entry.file_name())).map_err(failed)?;
            }
        }
        Ok(folder)
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes what comes until it ends, the program does not read any more, or a write fails.
fn write_all(mut stdin: ChildStdin, from: &Receiver<String>, complain: &Sender<io::Result<Vec<u8>>>) {
    for text in from {
        match stdin.write_all(text.as_bytes()) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return,
            Err(e) => return drop(complain.send(Err(e))),
        }
    }
}

/// Reads all that the program prints; an empty piece is its end.
fn read_all(mut stdout: ChildStdout, to: &Sender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; OUTPUT];
    loop {
        let piece = match stdout.read(&mut buffer) {
            Ok(n) => Ok(buffer[..n].to_vec()),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
        let last = piece.as_ref().map_or(true, Vec::is_empty);
        if to.send(piece).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    /// Runs a program over lines, as a task does, and what came out or went wrong.
    fn run(command: &PipeCommand, input: impl IntoIterator<Item = String>) -> Result<Vec<String>> {
        let mut process = PipedProcess::spawn(command)?;
        let mut input = input.into_iter();
        let mut output = Vec::new();
        loop {
            match process.step()? {
                PipeStep::Output => output.extend(process.lines().into_iter().flatten().take(100).map(str::to_string)),
                PipeStep::Waiting => {}
                PipeStep::End => return Ok(output),
                PipeStep::WantsInput => loop {
                    match input.next() {
                        None => break process.close_input(),
                        Some(line) if process.write_with(|text| text.push_str(&line)) => {}
                        Some(_) => break,
                    }
                },
            }
        }
    }

    fn shell(script: &str) -> PipeCommand {
        PipeCommand::new(["sh", "-c", script]).unwrap()
    }

    fn numbers(n: usize) -> impl Iterator<Item = String> {
        (0..n).map(|i| i.to_string())
    }

    #[test]
    fn much_goes_through_a_program_that_answers_as_it_reads() {
        let lines: Vec<String> = (0..200_000).map(|i| format!("line {i}")).collect();
        assert_eq!(run(&PipeCommand::parse("cat").unwrap(), lines.clone()).unwrap(), lines);
    }

    #[test]
    fn much_goes_through_a_program_that_reads_all_before_it_answers() {
        let out = run(&PipeCommand::parse("sort -n -r").unwrap(), numbers(50_000)).unwrap();
        assert_eq!(out, (0..50_000).rev().map(|i| i.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_program_that_prints_more_than_it_reads_does_not_block() {
        let out = run(&PipeCommand::parse("sed p;p;p;p;p;p;p").unwrap(), numbers(20_000)).unwrap();
        assert_eq!(out.len(), 8 * 20_000);
    }

    #[test]
    fn no_input_is_an_empty_input() {
        assert_eq!(run(&PipeCommand::parse("wc -l").unwrap(), []).unwrap().join("").trim(), "0");
        assert_eq!(run(&PipeCommand::parse("true").unwrap(), []).unwrap(), [""; 0]);
    }

    #[test]
    fn a_program_may_stop_reading() {
        assert_eq!(run(&PipeCommand::parse("head -n 2").unwrap(), numbers(1_000_000)).unwrap(), ["0", "1"]);
        assert_eq!(run(&PipeCommand::parse("echo hi").unwrap(), (0..).map(|i: u64| i.to_string())).unwrap(), ["hi"]);
    }

    #[test]
    fn a_program_that_closes_its_output_still_gets_its_input() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("got");
        let script = format!("echo first; exec >&-; cat > {}", path.display());
        assert_eq!(run(&shell(&script), numbers(100_000)).unwrap(), ["first"]);
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 100_000);
    }

    #[test]
    fn any_kind_of_line_end_and_byte_may_come_out() {
        assert_eq!(run(&shell(r"printf 'a\r\nb\rc\n\nd\377'"), []).unwrap(), ["a", "b", "c", "", "d\u{fffd}"]);
    }

    #[test]
    fn a_failing_program_fails_after_its_output() {
        let mut process = PipedProcess::spawn(&shell("echo out; exit 3")).unwrap();
        process.close_input();
        let mut output = Vec::new();
        let error = loop {
            match process.step() {
                Ok(PipeStep::Output) => output.extend(process.lines().unwrap().map(str::to_string)),
                Ok(PipeStep::End) => panic!("it did not fail"),
                Ok(_) => {}
                Err(e) => break e.to_string(),
            }
        };
        assert_eq!(output, ["out"]);
        assert_eq!(error, "Subprocess exited with status 3. Command ran: sh -c echo out; exit 3");
        let killed = run(&shell("kill -9 $$"), numbers(100_000)).unwrap_err().to_string();
        assert!(killed.contains("status 137"), "{killed}");
        assert!(run(&PipeCommand::parse("false").unwrap(), numbers(100_000)).is_err());
    }

    #[test]
    fn a_missing_program_is_named() {
        let text = run(&PipeCommand::parse("no-such-program-here -x").unwrap(), []).unwrap_err().to_string();
        assert!(text.contains("no-such-program-here") && text.contains("run the program"), "{text}");
    }

    #[test]
    fn the_environment_reaches_the_program() {
        let command = shell("echo $FIRST $SECOND").env("FIRST", "a b").unwrap().env("SECOND", "c").unwrap();
        assert_eq!(run(&command, []).unwrap(), ["a b c"]);
        assert!(shell("x").env("a=b", "c").is_err());
        assert!(PipeCommand::parse("a \0").is_err());
    }

    #[test]
    fn a_folder_of_its_own_has_what_the_present_one_has_and_goes_with_the_process() {
        let command = shell("ls Cargo.toml; pwd; echo x > written").separate_working_dir();
        let out = run(&command, []).unwrap();
        assert_eq!(out[0], "Cargo.toml");
        let folder = Path::new(&out[1]);
        assert!(folder.file_name().unwrap().to_string_lossy().starts_with(OWN_FOLDER));
        assert!(!folder.exists() && !Path::new("written").exists());
    }

    #[test]
    fn input_may_go_line_by_line() {
        // The program answers each line before it is given the next one.
        let mut process =
            PipedProcess::spawn(&shell("while read line; do echo got $line; done").buffer_size(1)).unwrap();
        for line in ["a", "b"] {
            assert!(process.write_with(|text| text.push_str(line)));
            let mut answer = Vec::new();
            while answer.is_empty() {
                if process.lines.has_lines() {
                    answer.extend(process.lines().unwrap().map(str::to_string));
                } else {
                    let output = process.output.recv().unwrap();
                    process.take_output(output).unwrap();
                }
            }
            assert_eq!(answer, [format!("got {line}")]);
        }
    }

    #[test]
    fn dropping_it_kills_and_reaps_the_program() {
        let process = PipedProcess::spawn(&PipeCommand::parse("sleep 1000").unwrap()).unwrap();
        let proc = format!("/proc/{}", process.child.id());
        assert!(Path::new(&proc).exists());
        drop(process);
        assert!(!Path::new(&proc).exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn every_line_comes_back_once(lines in prop::collection::vec("[a-z é]{0,40}", 0..2000)) {
            prop_assert_eq!(run(&PipeCommand::parse("cat").unwrap(), lines.clone()).unwrap(), lines);
        }
    }
}
