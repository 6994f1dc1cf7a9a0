//! Values to bytes.

use super::{MAX_DEPTH, RecordError, RecordErrorKind as Kind};
use serde::ser::{self, Serialize};
use std::io::Write;

type Result<T = (), E = RecordError> = std::result::Result<T, E>;

/// A length below this is written as a `u32`; this value says that a `u64` follows.
pub(super) const LONG: u32 = u32::MAX;

/// Appends one value to a vector.
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    depth: u32,
}

impl<'a> Encoder<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Encoder { out, depth: 0 }
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Result {
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    #[inline]
    fn put_len(&mut self, len: usize) {
        match u32::try_from(len) {
            Ok(n) if n != LONG => self.out.extend_from_slice(&n.to_le_bytes()),
            _ => {
                self.out.extend_from_slice(&LONG.to_le_bytes());
                self.out.extend_from_slice(&(len as u64).to_le_bytes());
            }
        }
    }

    /// Writes the length again, where it turned out to be another than announced.
    #[cold]
    fn patch_len(&mut self, start: usize, announced: usize, actual: usize) {
        let width = |n: usize| if n >= LONG as usize { 12 } else { 4 };
        let mut length = Vec::new();
        Encoder::new(&mut length).put_len(actual);
        self.out.splice(start..start + width(announced), length);
    }

    #[inline]
    fn enter(&mut self) -> Result {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(RecordError::new(Kind::TooDeep)) } else { Ok(()) }
    }

    /// Writes what stands inside an `Option` or a variant.
    #[inline]
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.enter()?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident($type:ty))*) => {$(
        #[inline]
        fn $method(self, v: $type) -> Result {
            self.put(v.to_le_bytes())
        }
    )*};
}

impl<'e, 'a> ser::Serializer for &'e mut Encoder<'a> {
    type Ok = ();
    type Error = RecordError;
    type SerializeSeq = Elements<'e, 'a>;
    type SerializeTuple = Fields<'e, 'a>;
    type SerializeTupleStruct = Fields<'e, 'a>;
    type SerializeTupleVariant = Fields<'e, 'a>;
    type SerializeMap = Elements<'e, 'a>;
    type SerializeStruct = Fields<'e, 'a>;
    type SerializeStructVariant = Fields<'e, 'a>;

    numbers! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
        serialize_f32(f32) serialize_f64(f64)
    }

    #[inline]
    fn serialize_bool(self, v: bool) -> Result {
        self.put([v as u8])
    }

    #[inline]
    fn serialize_char(self, v: char) -> Result {
        self.put((v as u32).to_le_bytes())
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result {
        self.serialize_bytes(v.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result {
        self.out.reserve(v.len() + 12);
        self.put_len(v.len());
        self.out.extend_from_slice(v);
        Ok(())
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result {
        let start = self.out.len();
        self.put_len(0);
        let text = self.out.len();
        write!(self.out, "{value}").map_err(ser::Error::custom)?;
        self.patch_len(start, 0, self.out.len() - text);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result {
        self.put([0])
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        self.put([1])?;
        self.inner(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result {
        self.put(index.to_le_bytes())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result {
        self.put(index.to_le_bytes())?;
        self.inner(value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Elements<'e, 'a>> {
        self.enter()?;
        let (start, announced) = (self.out.len(), len.unwrap_or(0));
        self.put_len(announced);
        let element = self.out.len();
        Ok(Elements { encoder: self, start, announced, count: 0, element })
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Fields<'e, 'a>> {
        Ok(Fields { encoder: self, owner: ("", ""), nested: false })
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Fields<'e, 'a>> {
        self.put([len as u8])?;
        Ok(Fields { encoder: self, owner: ("", ""), nested: false })
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Fields<'e, 'a>> {
        self.enter()?;
        self.put(index.to_le_bytes())?;
        self.put([len as u8])?;
        Ok(Fields { encoder: self, owner: ("", ""), nested: true })
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Elements<'e, 'a>> {
        self.serialize_seq(len)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'e, 'a>> {
        Ok(Fields { encoder: self, owner: (name, ""), nested: false })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields<'e, 'a>> {
        self.enter()?;
        self.put(index.to_le_bytes())?;
        Ok(Fields { encoder: self, owner: (name, variant), nested: true })
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence or the entries of a map.
pub(super) struct Elements<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    /// Where the length stands.
    start: usize,
    announced: usize,
    count: usize,
    /// Where the current element begins.
    element: usize,
}

impl Elements<'_, '_> {
    #[inline]
    fn element_done(&mut self) {
        if self.encoder.out.len() == self.element {
            self.encoder.out.push(0);
        }
        self.element = self.encoder.out.len();
        self.count += 1;
    }

    #[inline]
    fn finish(self) -> Result {
        if self.count != self.announced {
            self.encoder.patch_len(self.start, self.announced, self.count);
        }
        self.encoder.depth -= 1;
        Ok(())
    }
}

impl ser::SerializeSeq for Elements<'_, '_> {
    type Ok = ();
    type Error = RecordError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(&mut *self.encoder)?;
        self.element_done();
        Ok(())
    }

    #[inline]
    fn end(self) -> Result {
        self.finish()
    }
}

impl ser::SerializeMap for Elements<'_, '_> {
    type Ok = ();
    type Error = RecordError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        key.serialize(&mut *self.encoder)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(&mut *self.encoder)?;
        self.element_done();
        Ok(())
    }

    #[inline]
    fn end(self) -> Result {
        self.finish()
    }
}

/// The fields of a tuple, a struct or a variant.
pub(super) struct Fields<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    /// Whose fields these are, for the message when one is left out: struct, or enum and variant.
    owner: (&'static str, &'static str),
    /// Whether this counts towards the depth.
    nested: bool,
}

impl Fields<'_, '_> {
    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn finish(self) -> Result {
        self.encoder.depth -= self.nested as u32;
        Ok(())
    }

    #[cold]
    fn skipped(&self, field: &'static str) -> RecordError {
        let (owner, variant) = self.owner;
        let owner = if variant.is_empty() { owner.to_string() } else { format!("{owner}::{variant}") };
        RecordError::new(Kind::SkippedField { owner, field })
    }
}

macro_rules! positional {
    ($($trait:ident::$method:ident)*) => {$(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = RecordError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
                self.field(value)
            }

            #[inline]
            fn end(self) -> Result {
                self.finish()
            }
        }
    )*};
}

positional! {
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

macro_rules! named {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = RecordError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result {
                self.field(value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result {
                Err(self.skipped(key))
            }

            #[inline]
            fn end(self) -> Result {
                self.finish()
            }
        }
    )*};
}

named! { SerializeStruct SerializeStructVariant }
