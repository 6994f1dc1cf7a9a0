//! Programs of other languages as operations.

use super::{Rdd, site};
use crate::graph::{CallSite, NewNode};
use firesteel_io::PipeCommand;
use firesteel_model::Result;
use firesteel_rdd::{Piped, Pipeline, TextLine};

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
    pub fn pipe(&self, command: &str) -> Rdd<String, Piped<P>>
    where
        T: TextLine,
    {
        self.piped(PipeCommand::parse(command), site("pipe"))
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
    pub fn pipe_command(&self, words: &[&str], environment: &[(&str, &str)]) -> Rdd<String, Piped<P>>
    where
        T: TextLine,
    {
        let command = PipeCommand::new(words.iter().copied());
        let set = |command: Result<PipeCommand>, (name, value): &(&str, &str)| command?.env(*name, *value);
        self.piped(environment.iter().fold(command, set), site("pipe_command"))
    }

    fn piped(&self, command: Result<PipeCommand>, site: CallSite) -> Rdd<String, Piped<P>>
    where
        T: TextLine,
    {
        let new = NewNode::narrow("PipedRDD", site, vec![self.node().clone()]);
        Rdd::of(self.context(), Piped::new(self.parent(), command), new)
    }
}
