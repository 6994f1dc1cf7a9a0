//! What a block's elements lie in: values, or, where they are text, one buffer for all of a chunk.

use crate::{
    record::{self, RecordError},
    weigh,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, DeserializeSeed, Error, SeqAccess, Visitor},
    ser::SerializeSeq,
};
use std::{
    any::{Any, TypeId},
    fmt,
    mem::needs_drop,
    sync::Arc,
};

/// Whether elements of this type are text: a `String` each.
#[inline(always)]
pub fn are_texts<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<String>()
}

/// Whether elements of this type may be text. Unlike [`are_texts`] it is known before anything is compiled for the type, so that where it
/// says no nothing is.
pub const fn may_be_texts<T>() -> bool {
    needs_drop::<T>() && size_of::<T>() == size_of::<String>()
}

/// The text that an element is, if its type is `String`.
#[inline(always)]
pub fn text_of<T: 'static>(element: &T) -> Option<&String> {
    (element as &dyn Any).downcast_ref()
}

/// The element that is this text.
///
/// # Panics
/// If `T` is not `String`.
#[inline(always)]
pub fn element_of<T: 'static>(text: &str) -> T {
    let mut text = Some(text.to_owned());
    let element = (&mut text as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take);
    element.expect("only where elements are text is one made of it")
}

/// Texts, one after another in one buffer: no `String` for each.
///
/// In the record format they are what as many strings in a vector are.
///
/// ```
/// use firesteel_store::Texts;
/// let mut texts = Texts::default();
/// ["to", "", "be"].iter().for_each(|text| texts.push(text));
/// assert_eq!((texts.len(), texts.get(2)), (3, Some("be")));
/// assert!(texts.iter().eq(["to", "", "be"]));
/// ```
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Texts {
    all: String,
    /// Where each begins.
    starts: Vec<u32>,
}

impl Texts {
    /// How many they are.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// None yet, with room for so many bytes of text, and for so many of them.
    pub fn with_room((bytes, texts): (usize, usize)) -> Self {
        Texts { all: String::with_capacity(bytes), starts: Vec::with_capacity(texts) }
    }

    /// How many bytes of text they are.
    pub fn text_len(&self) -> usize {
        self.all.len()
    }

    /// What they take in memory, besides themselves and without what is left of their room.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.all.len() + self.starts.len() * size_of::<u32>()
    }

    /// The same with their room.
    pub fn owned(&self) -> u64 {
        (self.all.capacity() + self.starts.capacity() * size_of::<u32>()) as u64
    }

    /// Adds a text.
    ///
    /// # Panics
    /// If those before it have more than 4 GiB: whoever adds them stops long before.
    #[inline(always)]
    pub fn push(&mut self, text: &str) {
        self.starts.push(u32::try_from(self.all.len()).expect("a chunk of texts is small"));
        self.all.push_str(text);
    }

    /// One of them.
    #[inline(always)]
    pub fn get(&self, i: usize) -> Option<&str> {
        let from = *self.starts.get(i)? as usize;
        let to = self.starts.get(i + 1).map_or(self.all.len(), |next| *next as usize);
        self.all.get(from..to)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// The same, in buffers that have room for no more.
    pub fn fitted(&self) -> Texts {
        Texts { all: self.all.as_str().to_owned(), starts: self.starts.as_slice().to_vec() }
    }

    /// Forgets them; the room stays.
    pub fn clear(&mut self) {
        self.all.clear();
        self.starts.clear();
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut texts = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|text| texts.serialize_element(text))?;
        texts.end()
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Reading(Texts::default()))
    }
}

struct Reading(Texts);

impl<'de> Visitor<'de> for Reading {
    type Value = Texts;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts")
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut texts: A) -> Result<Texts, A::Error> {
        while texts.next_element_seed(Append(&mut self.0))?.is_some() {}
        Ok(self.0)
    }
}

/// Reads one text to those before it.
struct Append<'a>(&'a mut Texts);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Append<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.0.all.len() > u32::MAX as usize {
            return Err(E::custom("more than 4 GiB of text"));
        }
        self.0.push(text);
        Ok(())
    }
}

/// The elements of a chunk. Clones share them.
///
/// ```
/// use firesteel_store::Chunk;
/// let numbers: Chunk<u64> = vec![1, 2].into();
/// assert_eq!((numbers.len(), numbers.to_vec()), (2, vec![1, 2]));
/// ```
pub enum Chunk<T> {
    /// As values.
    Values(Arc<Vec<T>>),
    /// As texts; only where `T` is `String`.
    Texts(Arc<Texts>),
}

impl<T> Clone for Chunk<T> {
    fn clone(&self) -> Self {
        match self {
            Chunk::Values(values) => Chunk::Values(values.clone()),
            Chunk::Texts(texts) => Chunk::Texts(texts.clone()),
        }
    }
}

impl<T> Chunk<T> {
    /// How many elements it has.
    #[inline(always)]
    pub fn len(&self) -> usize {
        match self {
            Chunk::Values(values) => values.len(),
            Chunk::Texts(texts) => texts.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> From<Vec<T>> for Chunk<T> {
    fn from(values: Vec<T>) -> Self {
        Chunk::Values(Arc::new(values))
    }
}

impl<T> From<Arc<Vec<T>>> for Chunk<T> {
    fn from(values: Arc<Vec<T>>) -> Self {
        Chunk::Values(values)
    }
}

impl<T: Serialize> Chunk<T> {
    /// What it takes in memory. For values an estimate, made from the encoded size of some of them.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Chunk::Values(values) => size_of::<Vec<T>>() as u64 + weigh::of_vec(values),
            Chunk::Texts(texts) => size_of::<Texts>() as u64 + texts.owned(),
        }
    }
}

impl<T: Clone + 'static> Chunk<T> {
    /// Its elements, cloned.
    ///
    /// ```
    /// # use firesteel_store::{Chunk, Texts};
    /// let mut texts = Texts::default();
    /// texts.push("to be");
    /// assert_eq!(Chunk::<String>::Texts(texts.into()).to_vec(), ["to be"]);
    /// ```
    pub fn to_vec(&self) -> Vec<T> {
        match self {
            Chunk::Values(values) => values.to_vec(),
            Chunk::Texts(texts) => texts.iter().map(element_of).collect(),
        }
    }
}

impl<T: Serialize> Serialize for Chunk<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Chunk::Values(values) => values.serialize(serializer),
            Chunk::Texts(texts) => texts.serialize(serializer),
        }
    }
}

impl<T: DeserializeOwned + 'static> Chunk<T> {
    /// Reads the elements of a chunk, which are so many.
    pub(crate) fn decode(raw: &[u8], records: u64) -> Result<Self, RecordError> {
        let chunk = match are_texts::<T>() && raw.len() <= u32::MAX as usize {
            true => Chunk::Texts(Arc::new(record::from_slice(raw)?)),
            false => Chunk::Values(Arc::new(record::from_slice(raw)?)),
        };
        match chunk.len() as u64 {
            n if n == records => Ok(chunk),
            n => Err(RecordError::custom(format_args!("{n} records instead of {records}"))),
        }
    }
}

impl<T> fmt::Debug for Chunk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} elements)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_are_written_as_strings_are_and_read_back(strings: Vec<String>) {
            let mut texts = Texts::default();
            strings.iter().for_each(|text| texts.push(text));
            prop_assert_eq!(texts.len(), strings.len());
            prop_assert!(texts.iter().eq(strings.iter()));
            prop_assert_eq!(&texts.fitted(), &texts);
            let bytes = record::to_vec(&strings).unwrap();
            prop_assert_eq!(&record::to_vec(&texts).unwrap(), &bytes);
            let read = Chunk::<String>::decode(&bytes, strings.len() as u64).unwrap();
            prop_assert!(matches!(&read, Chunk::Texts(read) if **read == texts));
            prop_assert_eq!(read.to_vec(), strings);
        }

        #[test]
        fn damaged_texts_are_an_error_or_other_texts_but_no_panic(
            strings: Vec<String>, at: prop::sample::Index, byte: u8, cut: prop::sample::Index, whole: bool,
        ) {
            let mut bytes = record::to_vec(&strings).unwrap();
            *at.get_mut(&mut bytes) = byte;
            bytes.truncate(if whole { bytes.len() } else { cut.index(bytes.len()) });
            let texts = record::from_slice::<Texts>(&bytes).map(|texts| Chunk::<String>::Texts(texts.into()).to_vec());
            prop_assert_eq!(texts.ok(), record::from_slice::<Vec<String>>(&bytes).ok());
        }
    }

    #[test]
    fn another_number_of_records_is_an_error() {
        let bytes = record::to_vec(&["to", "be"][..]).unwrap();
        assert!(Chunk::<String>::decode(&bytes, 2).is_ok());
        let error = Chunk::<String>::decode(&bytes, 3).unwrap_err().to_string();
        assert!(error.contains("2 records instead of 3"), "{error}");
        let bytes = record::to_vec(&[1u64, 2][..]).unwrap();
        assert!(Chunk::<u64>::decode(&bytes, 1).is_err());
    }
}
