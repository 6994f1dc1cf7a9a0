//! A pipeline behind a number: how an RDD's code is sent, found again and run where its type is not known.

use crate::{
    action::{Action, Input},
    pipeline::{Pipeline, Plan},
    segment::{FIRST_BATCH, Mailbox, PortStream, Segment, StreamSegment, Tallied, TallySegment},
    stream::{Flow, Sink, Stream},
    task::Task,
};
use firesteel_code::{CodeRef, Named, code_ref};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use firesteel_store::record::{self, RecordError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{any::Any, fmt, marker::PhantomData, rc::Rc, sync::Arc};

/// A split as a task finds it: bytes that came along, or, for the many nodes whose split is nothing but the partition's
/// index, that index.
#[derive(Clone, Copy, Debug)]
pub enum SplitBytes<'a> {
    /// The split is the partition's own index.
    Index(PartitionIndex),
    /// The split in the record format.
    Bytes(&'a [u8]),
}

impl SplitBytes<'_> {
    fn decode<S: DeserializeOwned>(&self) -> Result<S> {
        match self {
            SplitBytes::Index(index) => record::from_slice(&index.0.to_le_bytes()),
            SplitBytes::Bytes(bytes) => record::from_slice(bytes),
        }
        .map_err(in_stage)
    }
}

/// Decodes a part of a stage.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    record::from_slice(bytes).map_err(in_stage)
}

/// What is wrong with an environment, without the names of the pipeline's types around it.
fn in_stage(e: RecordError) -> Error {
    let holder = |name: &'static str| match name.trim_start_matches('(').starts_with("firesteel_rdd::") {
        true => Some(name.strip_prefix("firesteel_rdd::func::Env<").and_then(|held| held.strip_suffix('>'))),
        false => None,
    };
    Error::Serialization(e.without_holders(holder).to_string())
}

/// The splits of one RDD, typed inside.
pub trait Splits: Send + Sync {
    /// How many partitions.
    fn count(&self) -> usize;
    /// A split in the record format, or `None` where it is just the index of its partition.
    fn encode(&self, partition: PartitionIndex) -> Result<Option<Vec<u8>>>;
    /// Names the partitions of erased RDDs that a partition reads.
    fn reads(&self, partition: PartitionIndex, visit: &mut dyn FnMut(RddId, PartitionIndex));
    /// The hosts on which a partition would best be computed.
    fn locations(&self, partition: PartitionIndex) -> Vec<String>;
}

struct TypedSplits<P: Pipeline> {
    pipeline: Arc<P>,
    splits: Vec<P::Split>,
}

impl<P: Pipeline> Splits for TypedSplits<P> {
    fn count(&self) -> usize {
        self.splits.len()
    }
    fn encode(&self, partition: PartitionIndex) -> Result<Option<Vec<u8>>> {
        let bytes = record::to_vec(&self.splits[partition.index()]).map_err(in_stage)?;
        Ok((bytes != partition.0.to_le_bytes()).then_some(bytes))
    }
    fn reads(&self, partition: PartitionIndex, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        self.pipeline.reads(&self.splits[partition.index()], visit)
    }
    fn locations(&self, partition: PartitionIndex) -> Vec<String> {
        self.pipeline.locations(&self.splits[partition.index()])
    }
}

/// A pipeline on the driver, ready to be sent: its code's name, its bytes, its splits.
pub trait Node: Send + Sync {
    /// The name of the code that decodes and runs it.
    fn code(&self) -> CodeRef;
    /// What it holds (environments, partitioners, ids), in the record format.
    fn encode(&self) -> Result<Vec<u8>>;
    /// Names the erased RDDs that it may read.
    fn refers(&self, visit: &mut dyn FnMut(RddId));
    /// Cuts it into partitions.
    fn splits(&self, plan: &dyn Plan) -> Result<Arc<dyn Splits>>;
}

/// Makes a pipeline into a [`Node`].
pub struct Piece<P>(pub Arc<P>);

impl<P: Pipeline> Node for Piece<P> {
    fn code(&self) -> CodeRef {
        code_ref::<DecodeNode<P>>()
    }
    fn encode(&self) -> Result<Vec<u8>> {
        record::to_vec(&*self.0).map_err(in_stage)
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.0.refers(visit)
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Arc<dyn Splits>> {
        let splits = self.0.splits(plan)?;
        if u32::try_from(splits.len()).is_err() {
            return Err(Error::InvalidArgument(format!("an RDD of {} partitions: at most 2^32-1", splits.len())));
        }
        Ok(Arc::new(TypedSplits { pipeline: self.0.clone(), splits }))
    }
}

/// A decoded node in a task.
pub trait NodeExec {
    /// Opens the stream of one split, which will leave its elements in `mailbox` (made by the reader, of the node's type).
    #[allow(private_interfaces, reason = "made and used by this crate's own streams only")]
    fn open(&self, split: SplitBytes<'_>, task: &Task, mailbox: Rc<dyn Any>) -> Box<dyn Segment>;
}

struct DecodedNode<P>(P);

impl<P: Pipeline> NodeExec for DecodedNode<P> {
    #[allow(private_interfaces, reason = "made and used by this crate's own streams only")]
    fn open(&self, split: SplitBytes<'_>, task: &Task, mailbox: Rc<dyn Any>) -> Box<dyn Segment> {
        let mailbox = match mailbox.downcast::<Tallied>() {
            Ok(tallied) => {
                let stream = self.0.open(task.expect(split.decode()), task);
                return Box::new(TallySegment { stream, tallied });
            }
            Err(mailbox) => mailbox,
        };
        let mailbox = mailbox.downcast::<Mailbox<P::Item>>().unwrap_or_else(|_| {
            crate::failure::TaskFailure::Engine(Error::InvalidArgument(format!(
                "an erased RDD of {} is read as one of another element type",
                std::any::type_name::<P::Item>()
            )))
            .raise()
        });
        let stream = self.0.open(task.expect(split.decode()), task);
        let limit = stream.batch_limit().min(FIRST_BATCH);
        Box::new(StreamSegment { stream, mailbox, limit, text_room: (0, 0) })
    }
}

type DecodeNodeFn = fn(&[u8]) -> Result<Rc<dyn NodeExec>>;
struct DecodeNode<P>(PhantomData<P>);

impl<P: Pipeline> Named for DecodeNode<P> {
    type Sig = DecodeNodeFn;
    const FN: DecodeNodeFn = |bytes| Ok(Rc::new(DecodedNode(decode::<P>(bytes)?)));
}

/// A stage's last pipeline together with what is done with its elements: what a task runs.
pub trait Root: Send + Sync {
    /// The name of the code that decodes and runs it.
    fn code(&self) -> CodeRef;
    /// What it holds, in the record format.
    fn encode(&self) -> Result<Vec<u8>>;
    /// Names the erased RDDs that it may read.
    fn refers(&self, visit: &mut dyn FnMut(RddId));
    /// Cuts it into partitions.
    fn splits(&self, plan: &dyn Plan) -> Result<Arc<dyn Splits>>;
}

/// A task's result. The driver's waiting action knows its type.
pub enum Output {
    /// A value of the action's type, made in this process.
    Value(Box<dyn Any + Send>),
    /// What [`RootExec::encode`] made of one, in another process.
    Bytes(Vec<u8>),
    /// Such bytes, which are kept there until they are fetched.
    Kept,
}

impl Output {
    /// The result as a value of its action's type.
    ///
    /// # Errors
    /// If it came as bytes that are not those of a `T`.
    ///
    /// # Panics
    /// If its action makes values of another type.
    pub fn into_typed<T: DeserializeOwned + 'static>(self) -> Result<T> {
        match self {
            Output::Value(value) => Ok(*value.downcast::<T>().expect("a task's result is of its action's type")),
            Output::Bytes(bytes) => decode(&bytes),
            Output::Kept => Err(not_fetched()),
        }
    }

    /// The same, where it lies; bytes are decoded first.
    ///
    /// # Errors
    /// As [`into_typed`](Output::into_typed).
    ///
    /// # Panics
    /// As [`into_typed`](Output::into_typed).
    pub fn typed<T: DeserializeOwned + Send + 'static>(&mut self) -> Result<&T> {
        if let Output::Bytes(bytes) = self {
            *self = Output::Value(Box::new(decode::<T>(bytes)?));
        }
        match self {
            Output::Value(value) => Ok(value.downcast_ref::<T>().expect("a task's result is of its action's type")),
            Output::Bytes(_) | Output::Kept => Err(not_fetched()),
        }
    }
}

fn not_fetched() -> Error {
    Error::Serialization("a task's result is looked at before it was fetched".into())
}

/// Makes a pipeline and an action into a [`Root`].
pub struct Ending<P, A>(pub Arc<P>, pub Arc<A>);

impl<P: Pipeline, A: Action<P::Item>> Root for Ending<P, A> {
    fn code(&self) -> CodeRef {
        code_ref::<DecodeRoot<P, A>>()
    }
    fn encode(&self) -> Result<Vec<u8>> {
        record::to_vec(&(&*self.0, &*self.1)).map_err(in_stage)
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.0.refers(visit)
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Arc<dyn Splits>> {
        Piece(self.0.clone()).splits(plan)
    }
}

/// A decoded root in a task.
pub trait RootExec {
    /// Computes one partition.
    fn run(&self, split: SplitBytes<'_>, task: &Task) -> Output;
    /// A result of [`run`](RootExec::run) as bytes in the record format, for another process.
    ///
    /// # Errors
    /// If it cannot be written.
    fn encode(&self, output: Output) -> Result<Vec<u8>>;
}

struct DecodedRoot<P, A>(P, A);

impl<P: Pipeline, A: Action<P::Item>> RootExec for DecodedRoot<P, A> {
    fn run(&self, split: SplitBytes<'_>, task: &Task) -> Output {
        let stream = self.0.open(task.expect(split.decode()), task);
        let output = self.1.run(Input { stream, task: task.clone() });
        let size = self.1.size(&output);
        task.measure(|m| m.result_size = size);
        Output::Value(Box::new(output))
    }
    fn encode(&self, output: Output) -> Result<Vec<u8>> {
        let output = output.into_typed::<A::Out>()?;
        record::to_vec(&output).map_err(|e| Error::Serialization(format!("a task's result: {e}")))
    }
}

type DecodeRootFn = fn(&[u8]) -> Result<Box<dyn RootExec>>;
struct DecodeRoot<P, A>(PhantomData<(P, A)>);

impl<P: Pipeline, A: Action<P::Item>> Named for DecodeRoot<P, A> {
    type Sig = DecodeRootFn;
    const FN: DecodeRootFn = |bytes| {
        let (pipeline, action) = decode::<(P, A)>(bytes)?;
        Ok(Box::new(DecodedRoot(pipeline, action)))
    };
}

/// One node as it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeBytes {
    /// Which RDD.
    pub rdd: RddId,
    /// Its code.
    pub code: CodeRef,
    /// What it holds.
    #[serde(with = "in_one_piece")]
    pub bytes: Vec<u8>,
}

/// For `#[serde(with)]`: bytes that are written and read at once, where serde alone would take them one by one.
#[doc(hidden)]
pub mod in_one_piece {
    use serde::{Deserializer, Serializer, de::Visitor};
    use std::fmt;

    /// Writes them.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    /// Reads them.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A stage as it is sent: the erased nodes in topological order, and the root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageBytes {
    /// Every erased RDD that the stage's tasks may open, parents before children.
    pub nodes: Vec<NodeBytes>,
    /// The code of the root.
    pub code: CodeRef,
    /// What the root holds.
    #[serde(with = "in_one_piece")]
    pub bytes: Vec<u8>,
}

impl StageBytes {
    /// Decodes the stage's nodes into the task, one after the other, and returns the root.
    ///
    /// # Errors
    /// If a code name or the bytes are not what this executable's code wrote.
    pub fn decode(&self, task: &Task) -> Result<Box<dyn RootExec>> {
        let unknown = |e: firesteel_code::CodeError| Error::Serialization(format!("a stage's code: {e}"));
        for node in &self.nodes {
            let make = node.code.resolve::<DecodeNodeFn>().map_err(unknown)?;
            task.add_node(node.rdd, make(&node.bytes)?);
        }
        self.code.resolve::<DecodeRootFn>().map_err(unknown)?(&self.bytes)
    }
}

/// An erased RDD's elements: the pipeline of `Rdd<T>`. Elements cross in batches.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Erased<T> {
    rdd: RddId,
    #[serde(skip)]
    item: PhantomData<fn() -> T>,
}

impl<T> Erased<T> {
    /// The elements of the RDD with that id, whose node must be known to the plan and to the task.
    pub fn of(rdd: RddId) -> Self {
        Erased { rdd, item: PhantomData }
    }
    /// Which RDD.
    pub fn rdd(&self) -> RddId {
        self.rdd
    }
}

impl<T> Clone for Erased<T> {
    fn clone(&self) -> Self {
        Erased::of(self.rdd)
    }
}

impl<T> fmt::Debug for Erased<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Erased({})", self.rdd)
    }
}

impl<T: 'static> Pipeline for Erased<T> {
    type Item = T;
    type Split = u32;
    type Stream = PortStream<T>;

    fn open(&self, split: u32, task: &Task) -> PortStream<T> {
        PortStream::open(task, self.rdd, PartitionIndex(split))
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<u32>> {
        Ok((0..plan.partitions(self.rdd)? as u32).collect())
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        visit(self.rdd)
    }
    fn reads(&self, split: &u32, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        visit(self.rdd, PartitionIndex(*split))
    }
}

macro_rules! erased_kinds {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        #[serde(bound = "")]
        pub struct $name<T>(Erased<T>);

        impl<T> $name<T> {
            /// The elements of the RDD with that id.
            pub fn of(rdd: RddId) -> Self {
                $name(Erased::of(rdd))
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                $name(self.0.clone())
            }
        }

        impl<T: 'static> Pipeline for $name<T> {
            type Item = T;
            type Split = u32;
            type Stream = PortStream<T>;

            fn open(&self, split: u32, task: &Task) -> PortStream<T> {
                self.0.open(split, task)
            }
            fn splits(&self, plan: &dyn Plan) -> Result<Vec<u32>> {
                self.0.splits(plan)
            }
            fn refers(&self, visit: &mut dyn FnMut(RddId)) {
                self.0.refers(visit)
            }
            fn reads(&self, split: &u32, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
                self.0.reads(split, visit)
            }
        }
    )*};
}

erased_kinds! {
    /// What comes out of a keyed operation, a sort or a repartition: read from a shuffle, or, where the data already lie right,
    /// computed in place.
    Shuffled;
    /// Several RDDs one after the other, or, where all are spread alike, partition by partition.
    Union;
}

/// Runs a stream to its end, or until the sink has enough. Returns whether the stream has ended.
#[inline(always)]
pub fn drive<St: Stream, S: Sink<St::Item>>(stream: &mut St, task: &Task, sink: &mut S) -> bool {
    loop {
        match stream.drive(sink) {
            Flow::Done => return true,
            Flow::Full => return false,
            Flow::Starved(port) => task.segments().fill(task, port),
        }
    }
}
