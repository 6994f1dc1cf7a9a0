//! Programs of other languages as operations.

use super::{Rdd, site};
use crate::graph::{CallSite, NewNode};
use firesteel_io::PipeCommand;
use firesteel_model::Result;
use firesteel_rdd::{AsLine, Captureless, Data, Emit, Piped, Pipeline, Plain, Printer, Printing, TextLine, With};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// What a program prints, line by line, that reads the elements as lines: one process for each partition, empty ones included.
    /// Elements are written as [`save_as_text_file`](Rdd::save_as_text_file) writes them. Narrow; drops the partitioner; the order is
    /// the program's.
    ///
    /// The command is split at white space; no shell looks at it, and quotes mean nothing: [`pipe_command`](Rdd::pipe_command) takes
    /// words as they are. The program is found by `PATH`, its standard error is this process's own. If the task ends first (a
    /// `take`, a failure, a cancelled job) it is killed.
    ///
    /// # Errors
    /// Of the first action: an empty command; or, by failing the task, the program does not exist or ends with another status than 0.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let words = sc.parallelize_n(["fig", "pear"].map(String::from), 2);
    /// assert_eq!(words.pipe("tr a-z A-Z").collect()?, ["FIG", "PEAR"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn pipe(&self, command: &str) -> Rdd<String, Piped<P, AsLine>>
    where
        T: TextLine,
    {
        self.piped(PipeCommand::parse(command), AsLine, site("pipe"))
    }

    /// [`pipe`](Rdd::pipe) to a program whose words are given one by one, and whose environment has some variables more.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let greet = ["sh", "-c", "sed \"s/^/$GREETING, /\""];
    /// let names = sc.parallelize_n(["Ana", "Bo"].map(String::from), 1);
    /// assert_eq!(names.pipe_command(&greet, &[("GREETING", "Grüezi")]).collect()?, ["Grüezi, Ana", "Grüezi, Bo"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn pipe_command(&self, words: &[&str], environment: &[(&str, &str)]) -> Rdd<String, Piped<P, AsLine>>
    where
        T: TextLine,
    {
        let command = PipeCommand::new(words.iter().copied());
        let set = |command: Result<PipeCommand>, (name, value): &(&str, &str)| command?.env(*name, *value);
        self.piped(environment.iter().fold(command, set), AsLine, site("pipe_command"))
    }

    /// [`pipe`](Rdd::pipe) to a command, by functions that emit the lines that the program reads: `head` before the elements of each
    /// partition, `each` for each element, any number of lines. (Spark's `printPipeContext` and `printRDDElement`.)
    ///
    /// ```
    /// use firesteel::{PipeCommand, prelude::*};
    ///
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let pairs = sc.parallelize_n([("b", 2), ("a", 1)].map(|(name, n)| (name.to_string(), n)), 1);
    /// let command = PipeCommand::parse("sort")?.separate_working_dir();
    /// let lines = pairs.pipe_emit(command, |out| out.emit("0 names".into()), |(name, n), out| out.emit(format!("{n} {name}")));
    /// assert_eq!(lines.collect()?, ["0 names", "1 a", "2 b"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn pipe_emit<H, F>(
        &self,
        command: PipeCommand,
        head: H,
        each: F,
    ) -> Rdd<String, Piped<P, Printing<Plain<H>, Plain<F>>>>
    where
        H: Fn(&mut Emit<'_, String>) + Captureless,
        F: Fn(&T, &mut Emit<'_, String>) + Captureless,
    {
        self.piped(Ok(command), Printing(Plain::new(head), Plain::new(each)), site("pipe_emit"))
    }

    /// [`pipe_emit`](Rdd::pipe_emit) with an environment, which both functions see first.
    #[track_caller]
    pub fn pipe_emit_with<E, H, F>(
        &self,
        env: E,
        command: PipeCommand,
        head: H,
        each: F,
    ) -> Rdd<String, Piped<P, Printing<With<E, H>, With<E, F>>>>
    where
        E: Data,
        H: Fn(&E, &mut Emit<'_, String>) + Captureless,
        F: Fn(&E, &T, &mut Emit<'_, String>) + Captureless,
    {
        let head = With::new(env, head);
        let each = head.beside(each);
        self.piped(Ok(command), Printing(head, each), site("pipe_emit_with"))
    }

    fn piped<C: Printer<T>>(
        &self,
        command: Result<PipeCommand>,
        printer: C,
        site: CallSite,
    ) -> Rdd<String, Piped<P, C>> {
        let new = NewNode::narrow("PipedRDD", site, vec![self.node().clone()]);
        Rdd::of(self.context(), Piped::new(self.parent(), command, printer), new)
    }
}
