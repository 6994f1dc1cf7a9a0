//! Bytes to values.

use super::{MAX_DEPTH, RecordError, RecordErrorKind as Kind, SelfDescribing, encode::LONG};
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor};
use std::{any::type_name, mem::needs_drop};

type Result<T, E = RecordError> = std::result::Result<T, E>;

/// Reads records from a slice, one after another.
///
/// A record may take no bytes at all (`()`), so [`is_empty`](Decoder::is_empty) ends the reading only of records that do
/// take some; otherwise keep a count, or write a sequence.
///
/// ```
/// # use firesteel_store::record::{self, Decoder};
/// let mut bytes = Vec::new();
/// for word in ["to", "be"] {
///     record::extend(&mut bytes, word).unwrap();
/// }
/// let mut decoder = Decoder::new(&bytes);
/// let mut words = Vec::<String>::new();
/// while !decoder.is_empty() {
///     words.push(decoder.read().unwrap());
/// }
/// assert_eq!(words, ["to", "be"]);
/// ```
#[derive(Clone, Debug)]
pub struct Decoder<'de> {
    input: &'de [u8],
    depth: u32,
}

impl<'de> Decoder<'de> {
    /// A decoder at the beginning of `input`.
    #[inline]
    pub fn new(input: &'de [u8]) -> Self {
        Decoder { input, depth: 0 }
    }

    /// The next record. It may borrow from the input: text as `&str`, say.
    ///
    /// # Errors
    /// As [`from_slice`](super::from_slice). After an error the position is somewhere inside the record.
    #[inline]
    pub fn read<T: Deserialize<'de>>(&mut self) -> Result<T> {
        self.depth = 0;
        T::deserialize(self).map_err(|e| e.record::<T>())
    }

    /// Whether all bytes have been read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    /// How many bytes have not been read yet.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.input.len()
    }

    #[cold]
    fn end(&self, needed: u64) -> RecordError {
        RecordError::new(Kind::UnexpectedEnd { needed, left: self.input.len() as u64 })
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.input.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.input = tail;
                Ok(*head)
            }
            None => Err(self.end(N as u64)),
        }
    }

    /// A length, which is at most the number of bytes left.
    #[inline]
    fn take_len(&mut self) -> Result<usize> {
        let mut len = u32::from_le_bytes(self.take()?) as u64;
        if len == LONG as u64 {
            len = u64::from_le_bytes(self.take()?);
        }
        if len > self.input.len() as u64 { Err(self.end(len)) } else { Ok(len as usize) }
    }

    #[inline]
    fn take_bytes(&mut self) -> Result<&'de [u8]> {
        let len = self.take_len()?;
        let (head, tail) = self.input.split_at(len);
        self.input = tail;
        Ok(head)
    }

    #[inline]
    fn take_tag(&mut self) -> Result<bool> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [b] => Err(RecordError::new(Kind::InvalidTag(b))),
        }
    }

    /// The number of fields that a tuple struct or tuple variant was written with.
    #[inline]
    fn take_field_count(&mut self, expected: usize) -> Result<()> {
        let ([written], expected) = (self.take()?, expected as u8);
        if written == expected { Ok(()) } else { Err(RecordError::new(Kind::FieldCount { written, expected })) }
    }

    #[inline]
    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(RecordError::new(Kind::TooDeep)) } else { Ok(()) }
    }
}

/// Which attribute makes a type ask, as its visitor's name tells.
#[cold]
fn asks<V>() -> RecordError {
    let visitor = type_name::<V>();
    RecordError::new(Kind::SelfDescribing(if visitor.contains("TaggedContentVisitor") {
        SelfDescribing::Tag
    } else if visitor.contains("ContentVisitor") {
        SelfDescribing::Untagged
    } else {
        SelfDescribing::Any
    }))
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            visitor.$visit(<$type>::from_le_bytes(self.take()?))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = RecordError;

    numbers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_f32 visit_f32 f32;
        deserialize_f64 visit_f64 f64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(asks::<V>())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(asks::<V>())
    }

    /// Two kinds of derived types ask for identifiers: an enum with `tag` and `content` for its tag, and a struct with a
    /// flattened field for the names of its fields. The latter keeps the names that it does not know, so that what it reads
    /// owns something.
    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        let what = if needs_drop::<V::Value>() { SelfDescribing::Flatten } else { SelfDescribing::Tag };
        Err(RecordError::new(Kind::SelfDescribing(what)))
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bool(self.take_tag()?)
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let code = u32::from_le_bytes(self.take()?);
        match char::from_u32(code) {
            Some(c) => visitor.visit_char(c),
            None => Err(RecordError::new(Kind::InvalidChar(code))),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match simdutf8::basic::from_utf8(self.take_bytes()?) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => Err(RecordError::new(Kind::InvalidUtf8)),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_bytes(self.take_bytes()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if !self.take_tag()? {
            return visitor.visit_none();
        }
        self.enter()?;
        let value = visitor.visit_some(&mut *self)?;
        self.depth -= 1;
        Ok(value)
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.enter()?;
        let left = self.take_len()?;
        let value = visitor.visit_seq(Elements { decoder: self, left })?;
        self.depth -= 1;
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Fields { decoder: self, left: len })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, len: usize, visitor: V) -> Result<V::Value> {
        self.take_field_count(len).map_err(|e| e.within::<V::Value>())?;
        visitor.visit_seq(Fields { decoder: self, left: len })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.enter()?;
        let left = self.take_len()?;
        let value = visitor.visit_map(Entries { decoder: self, left, entry: 0 }).map_err(|e| e.within::<V::Value>())?;
        self.depth -= 1;
        Ok(value)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_seq(Fields { decoder: self, left: fields.len() }).map_err(|e| e.within::<V::Value>())
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(Variant { decoder: self })
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence.
struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = RecordError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let before = self.decoder.input.len();
        let value = seed.deserialize(&mut *self.decoder).map_err(|e| e.within::<S::Value>())?;
        if self.decoder.input.len() == before {
            self.decoder.take::<1>()?;
        }
        Ok(Some(value))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The entries of a map.
struct Entries<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
    /// How many bytes were left at the beginning of the current entry.
    entry: usize,
}

impl<'de> de::MapAccess<'de> for Entries<'_, 'de> {
    type Error = RecordError;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.entry = self.decoder.input.len();
        seed.deserialize(&mut *self.decoder).map(Some).map_err(|e| e.within::<S::Value>())
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        let value = seed.deserialize(&mut *self.decoder).map_err(|e| e.within::<S::Value>())?;
        if self.decoder.input.len() == self.entry {
            self.decoder.take::<1>()?;
        }
        Ok(value)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a tuple, a struct or a variant.
struct Fields<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Fields<'_, 'de> {
    type Error = RecordError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some).map_err(|e| e.within::<S::Value>())
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant's number and content.
struct Variant<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = RecordError;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let index = u32::from_le_bytes(self.decoder.take()?);
        let deserializer: de::value::U32Deserializer<RecordError> = index.into_deserializer();
        Ok((seed.deserialize(deserializer)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = RecordError;

    #[inline]
    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.decoder.enter()?;
        let value = seed.deserialize(&mut *self.decoder).map_err(|e| e.within::<S::Value>())?;
        self.decoder.depth -= 1;
        Ok(value)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.decoder.enter()?;
        self.decoder.take_field_count(len).map_err(|e| e.within::<V::Value>())?;
        let value = visitor.visit_seq(Fields { decoder: &mut *self.decoder, left: len })?;
        self.decoder.depth -= 1;
        Ok(value)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.decoder.enter()?;
        let value = visitor.visit_seq(Fields { decoder: &mut *self.decoder, left: fields.len() })?;
        self.decoder.depth -= 1;
        Ok(value)
    }
}
