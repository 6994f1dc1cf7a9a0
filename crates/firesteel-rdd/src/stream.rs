//! How elements move through a stage: a source drives, sinks take what is pushed, and nobody waits inside anybody.
//!
//! A [`Stream`] is the run of a pipeline over one split. It pushes its elements, one after the other, into a [`Sink`];
//! adaptors wrap the sink on the way down, so that a whole stage becomes one loop. An element travels as a [`Lent`]: owned,
//! or a loan from whoever stores it, which is cloned only by the one who keeps it.

use crate::segment::LAST_BATCH;
use firesteel_store::{
    Chunk, Piece, RawPage,
    chunk::{are_texts, element_of, may_be_texts},
};
use serde::de::DeserializeOwned;
use std::{any::Any, marker::PhantomData, mem::ManuallyDrop, sync::Arc};

/// An element on its way through a stage: owned, or lent by whoever stores it.
pub trait Lent<T>: Sized {
    /// Whether who takes the element gets a copy of it.
    const IS_LOAN: bool = false;
    /// Looks at the element.
    fn get(&mut self) -> &T;
    /// Keeps the element: moved out if it is owned, cloned if it is a loan.
    fn take(self) -> T;
    /// Keeps a part of the element only: `part` of one that is owned, a `copy` out of one that is a loan.
    #[inline(always)]
    fn take_part<U>(self, part: impl FnOnce(T) -> U, _copy: impl FnOnce(&T) -> U) -> U {
        part(self.take())
    }
    /// Where the element lies encoded, if it does so in memory: the page, and the byte at which it begins.
    #[inline(always)]
    fn place(&self) -> Option<(&Arc<RawPage>, u32)> {
        None
    }
}

/// An element that belongs to nobody else.
pub struct Own<T>(pub T);

impl<T> Lent<T> for Own<T> {
    #[inline(always)]
    fn get(&mut self) -> &T {
        &self.0
    }
    #[inline(always)]
    fn take(self) -> T {
        self.0
    }
}

/// An element that stays where it is stored; [`Lent::take`] clones it.
pub struct Loan<'a, T>(pub &'a T);

impl<T: Clone> Lent<T> for Loan<'_, T> {
    const IS_LOAN: bool = true;
    #[inline(always)]
    fn get(&mut self) -> &T {
        self.0
    }
    #[inline(always)]
    fn take(self) -> T {
        self.0.clone()
    }
    #[inline(always)]
    fn take_part<U>(self, _: impl FnOnce(T) -> U, copy: impl FnOnce(&T) -> U) -> U {
        copy(self.0)
    }
}

/// An element that was read from a piece of a map output.
pub(crate) struct Decoded<'a, T>(pub(crate) T, pub(crate) &'a Piece<T>);

impl<T: DeserializeOwned> Lent<T> for Decoded<'_, T> {
    #[inline(always)]
    fn get(&mut self) -> &T {
        &self.0
    }
    #[inline(always)]
    fn take(self) -> T {
        self.0
    }
    #[inline(always)]
    fn place(&self) -> Option<(&Arc<RawPage>, u32)> {
        self.1.place()
    }
}

/// A loan of an element whose type is not known to be `Clone` here: the lender brought the way to clone it.
pub struct LoanBy<'a, T>(pub &'a T, pub fn(&T) -> T);

impl<T> Lent<T> for LoanBy<'_, T> {
    const IS_LOAN: bool = true;
    #[inline(always)]
    fn get(&mut self) -> &T {
        self.0
    }
    #[inline(always)]
    fn take(self) -> T {
        (self.1)(self.0)
    }
    #[inline(always)]
    fn take_part<U>(self, _: impl FnOnce(T) -> U, copy: impl FnOnce(&T) -> U) -> U {
        copy(self.0)
    }
}

/// A text lent from where it lies among others, seen as the `String` that it would be: nothing is copied until it is taken.
pub(crate) struct TextLoan<'a> {
    /// Lies in somebody else's buffer: it is never dropped, nor handed out but by reference.
    text: ManuallyDrop<String>,
    lies: PhantomData<&'a str>,
}

impl<'a> TextLoan<'a> {
    #[inline(always)]
    pub(crate) fn new(text: &'a str) -> Self {
        // SAFETY: the bytes are UTF-8, and live and unchanged for 'a. That they were not allocated as a string would matter to who drops
        // or grows it, and nobody can: it is only ever lent as `&String`.
        let text = unsafe { String::from_raw_parts(text.as_ptr().cast_mut(), text.len(), text.len()) };
        TextLoan { text: ManuallyDrop::new(text), lies: PhantomData }
    }
}

// Not by way of `ElementLoan`: what has to be folded away first keeps compilers from inlining the user's code.
impl Lent<String> for TextLoan<'_> {
    const IS_LOAN: bool = true;
    #[inline(always)]
    fn get(&mut self) -> &String {
        &self.text
    }
    #[inline(always)]
    fn take(self) -> String {
        self.text.as_str().to_owned()
    }
}

/// The same where the elements' type is not known to be `String`, and is.
pub(crate) struct ElementLoan<'a>(pub(crate) TextLoan<'a>);

impl<T: 'static> Lent<T> for ElementLoan<'_> {
    const IS_LOAN: bool = true;
    #[inline(always)]
    fn get(&mut self) -> &T {
        (&*self.0.text as &dyn Any).downcast_ref().expect("only where elements are text is one lent")
    }
    #[inline(always)]
    fn take(self) -> T {
        element_of(&self.0.text)
    }
}

/// A stretch of elements in a block that several readers share.
pub struct Shared<T> {
    /// The block.
    pub chunk: Chunk<T>,
    /// The first element not yet read.
    pub from: usize,
    /// How a reader that keeps an element copies it. Texts are copied without.
    pub clone: fn(&T) -> T,
}

/// Where a stream pushes its elements.
pub trait Sink<T> {
    /// Accepts one element, always; returns whether more are wanted. After `false` the stream stops and may be driven
    /// again later.
    fn push<L: Lent<T>>(&mut self, item: L) -> bool;

    /// Accepts elements that lie one after another, and adds to `taken` how many; returns whether more are wanted: if so, all were taken.
    #[inline(always)]
    fn push_loans(&mut self, items: &[T], taken: &mut usize) -> bool
    where
        T: Clone,
    {
        let mut go = true;
        let mut at = 0;
        while go && at < items.len() {
            go = self.push(Loan(&items[at]));
            at += 1;
        }
        *taken += at;
        go
    }

    /// Accepts all elements of a page that notes where each begins, if the sink would rather have them so; returns whether it did.
    #[inline(always)]
    fn push_page(&mut self, _page: &Arc<RawPage>) -> bool {
        false
    }

    /// Accepts elements of a shared block from `shared.from` on, advancing it; returns whether more are wanted. A sink
    /// that can keep the block itself (a batch on its way to another segment) does so instead of copying.
    #[inline(always)]
    fn push_shared(&mut self, shared: &mut Shared<T>) -> bool
    where
        T: 'static,
    {
        push_each(self, shared)
    }
}

/// Lends the elements from `shared.from` on, one after another, until `sink` has enough.
#[inline(always)]
pub(crate) fn push_each<T: 'static>(sink: &mut (impl Sink<T> + ?Sized), shared: &mut Shared<T>) -> bool {
    let (mut go, mut at) = (true, shared.from);
    match &shared.chunk {
        Chunk::Values(values) => {
            while go && at < values.len() {
                go = sink.push(LoanBy(&values[at], shared.clone));
                at += 1;
            }
        }
        Chunk::Texts(texts) => {
            assert!(are_texts::<T>(), "only elements that are text lie there as texts");
            if const { may_be_texts::<T>() } {
                while go && let Some(text) = texts.get(at) {
                    go = sink.push(ElementLoan(TextLoan::new(text)));
                    at += 1;
                }
            }
        }
    }
    shared.from = at;
    go
}

impl<T, S: Sink<T>> Sink<T> for &mut S {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        (**self).push(item)
    }
    #[inline(always)]
    fn push_loans(&mut self, items: &[T], taken: &mut usize) -> bool
    where
        T: Clone,
    {
        (**self).push_loans(items, taken)
    }
    #[inline(always)]
    fn push_page(&mut self, page: &Arc<RawPage>) -> bool {
        (**self).push_page(page)
    }
    #[inline(always)]
    fn push_shared(&mut self, shared: &mut Shared<T>) -> bool
    where
        T: 'static,
    {
        (**self).push_shared(shared)
    }
}

/// Why a stream stopped driving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// It has no more elements.
    Done,
    /// The sink has enough for now; a later call goes on where this one stopped.
    Full,
    /// The elements of another segment are needed first (see the module `segment`); a later call goes on.
    Starved(Port),
}

/// Where one segment's elements arrive at another: a number in the task's table of segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port(pub(crate) usize);

/// A pipeline's run over one split. It holds what it reads (`'static`) and resumes: every call of [`drive`](Stream::drive) goes on
/// where the last one stopped.
pub trait Stream: 'static {
    /// What it pushes.
    type Item: 'static;
    /// Pushes elements until the sink has enough, the stream ends or another segment must run first.
    fn drive<S: Sink<Self::Item>>(&mut self, sink: &mut S) -> Flow;

    /// How many elements may wait in a batch between two segments: few, where each is as large as a file.
    #[inline]
    fn batch_limit(&self) -> usize {
        LAST_BATCH
    }

    /// Adds the number of all remaining elements to `seen`, without making those whose number is known without: what
    /// `map` would compute is not computed. Never [`Flow::Full`]; after [`Flow::Starved`] a later call goes on.
    #[inline]
    fn tally(&mut self, seen: &mut u64) -> Flow {
        self.drive(&mut Tally(seen))
    }
}

/// Counts what it is pushed.
pub(crate) struct Tally<'a>(pub(crate) &'a mut u64);

impl<T> Sink<T> for Tally<'_> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, _: L) -> bool {
        *self.0 += 1;
        true
    }
    #[inline(always)]
    fn push_shared(&mut self, shared: &mut Shared<T>) -> bool
    where
        T: 'static,
    {
        *self.0 += (shared.chunk.len() - shared.from) as u64;
        shared.from = shared.chunk.len();
        true
    }
}
