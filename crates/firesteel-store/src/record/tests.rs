use super::*;
use proptest::prelude::*;
use serde::{Deserialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt::Debug,
    net::IpAddr,
    num::NonZeroU16,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) -> Vec<u8> {
    let bytes = to_vec(&value).unwrap();
    assert_eq!(from_slice::<T>(&bytes).unwrap(), value);
    bytes
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Unit;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Newtype(u16);

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Pair(u16, bool);

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Skipped {
    kept: u8,
    #[serde(skip)]
    left_out: [u64; 16],
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
struct AllSkipped {
    #[serde(skip)]
    left_out: [u64; 16],
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Shape {
    Empty,
    One(Newtype),
    Two(u8, Vec<Shape>),
    Named {
        #[serde(alias = "older")]
        a: Option<Box<Shape>>,
        b: BTreeMap<String, i128>,
        c: (char, f32, f64, i8),
    },
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum List {
    End,
    Next(Box<List>),
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![Just(Shape::Empty), any::<u16>().prop_map(|n| Shape::One(Newtype(n)))];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            (any::<u8>(), prop::collection::vec(inner.clone(), 0..4)).prop_map(|(n, v)| Shape::Two(n, v)),
            (
                prop::option::of(inner.prop_map(Box::new)),
                prop::collection::btree_map(".{0,6}", any::<i128>(), 0..4),
                (any::<char>(), any::<u32>().prop_map(|n| n as f32), any::<f64>(), any::<i8>()),
            )
                .prop_map(|(a, b, c)| Shape::Named { a, b, c }),
        ]
    })
}

#[test]
fn layout_is_fixed_width_and_unframed() {
    assert_eq!(survives(0x0102_0304u32), [4, 3, 2, 1]);
    assert_eq!(survives(-2i16), [0xfe, 0xff]);
    assert_eq!(survives((1u8, true, 'a')), [1, 1, 97, 0, 0, 0]);
    assert_eq!(survives(Some(Newtype(7))), [1, 7, 0]);
    assert_eq!(survives(Pair(7, false)), [2, 7, 0, 0]);
    assert_eq!(survives(None::<u64>), [0]);
    assert_eq!(survives("é".to_string()), [2, 0, 0, 0, 0xc3, 0xa9]);
    assert_eq!(survives(vec![1u16, 2]), [2, 0, 0, 0, 1, 0, 2, 0]);
    assert_eq!(survives(Shape::One(Newtype(9))), [1, 0, 0, 0, 9, 0]);
    assert_eq!(survives([1u8; 3]), [1; 3]);
    assert!(survives(((), Unit)).is_empty());
}

#[test]
fn every_serde_type_of_std_survives() {
    survives((u128::MAX, i128::MIN, u64::MAX, i64::MIN, f64::MIN_POSITIVE, f32::INFINITY));
    survives((Arc::new(1u8), Rc::new(2u8), Box::new(3u8), std::cell::RefCell::new(4u8)));
    survives(VecDeque::from([1, 2, 3]));
    survives(BTreeSet::from(["a".to_string()]));
    survives(HashMap::from([(1u8, "x".to_string()), (2, "y".to_string())]));
    survives::<(IpAddr, Duration, PathBuf)>(("::1".parse().unwrap(), Duration::new(3, 9), "/a/b".into()));
    survives::<Result<u8, String>>(Err("no".into()));
    survives((NonZeroU16::MIN, 0..7u32, 1..=7u8));
    survives((String::new(), Vec::<u8>::new(), [0u8; 0]));
    survives::<Box<str>>("boxed".into());
    let nan = f64::from_bits(0x7ff8_0000_0000_1234);
    assert_eq!(from_slice::<f64>(&to_vec(&nan).unwrap()).unwrap().to_bits(), nan.to_bits());
}

#[test]
fn skipped_fields_come_back_as_their_default() {
    survives(vec![Skipped { kept: 1, left_out: [0; 16] }]);
}

#[test]
fn elements_without_bytes_take_one_each_in_sequences() {
    assert_eq!(survives(vec![(); 3]), [3, 0, 0, 0, 0, 0, 0]);
    survives(vec![AllSkipped::default(); 2]);
    survives(HashMap::from([((), ())]));
    survives(BTreeMap::from([((), 1u8)]));
}

#[test]
fn sequences_of_unknown_or_wrongly_announced_length_are_written() {
    struct Lazy(Option<usize>);
    impl Serialize for Lazy {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            use serde::ser::{SerializeMap, SerializeSeq};
            let mut seq = s.serialize_seq(self.0)?;
            for i in 0..5u8 {
                struct Evens(u8);
                impl Serialize for Evens {
                    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                        let mut map = s.serialize_map(None)?;
                        for i in (0..self.0).filter(|i| i % 2 == 0) {
                            map.serialize_entry(&i, "even")?;
                        }
                        map.end()
                    }
                }
                seq.serialize_element(&Evens(i))?;
            }
            seq.end()
        }
    }
    let expected: Vec<BTreeMap<u8, String>> =
        (0..5).map(|n| (0..n).filter(|i| i % 2 == 0).map(|i| (i, "even".to_string())).collect()).collect();
    for announced in [None, Some(5), Some(2), Some(u32::MAX as usize + 1)] {
        let bytes = to_vec(&Lazy(announced)).unwrap();
        assert_eq!(bytes, to_vec(&expected).unwrap());
        assert_eq!(from_slice::<Vec<BTreeMap<u8, String>>>(&bytes).unwrap(), expected);
    }
}

#[test]
fn displayed_values_are_written_as_strings() {
    struct Shown;
    impl Serialize for Shown {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.collect_str(&format_args!("{}-{}", 1, "x"))
        }
    }
    assert_eq!(from_slice::<String>(&to_vec(&Shown).unwrap()).unwrap(), "1-x");
}

#[test]
fn long_length_is_read_from_the_eight_bytes_that_follow() {
    let mut bytes = vec![0xff; 4];
    bytes.extend_from_slice(&3u64.to_le_bytes());
    bytes.extend_from_slice(b"abc");
    assert_eq!(from_slice::<String>(&bytes).unwrap(), "abc");
}

#[test]
fn failed_record_leaves_the_output_as_it_was() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("out of ink"))
        }
    }
    let mut out = vec![1, 2, 3];
    let error = extend(&mut out, &(7u64, Fails)).unwrap_err();
    assert_eq!(out, [1, 2, 3]);
    assert!(error.to_string().contains("out of ink"), "{error}");
}

#[test]
fn wrong_bytes_are_named() {
    let kind = |bytes: &[u8]| from_slice::<(bool, Option<char>)>(bytes).unwrap_err().kind().clone();
    assert_eq!(kind(&[2]), RecordErrorKind::InvalidTag(2));
    assert_eq!(kind(&[1, 9]), RecordErrorKind::InvalidTag(9));
    assert_eq!(kind(&[1, 1, 0, 0xd8, 0, 0]), RecordErrorKind::InvalidChar(0xd800));
    assert_eq!(kind(&[1, 1, 0]), RecordErrorKind::UnexpectedEnd { needed: 4, left: 1 });
    assert_eq!(kind(&[1, 0, 0]), RecordErrorKind::TrailingBytes(1));
    assert_eq!(from_slice::<String>(&[1, 0, 0, 0, 0xff]).unwrap_err().kind(), &RecordErrorKind::InvalidUtf8);
    let unknown = from_slice::<Shape>(&[9, 0, 0, 0]).unwrap_err().to_string();
    assert!(unknown.contains("variant index"), "{unknown}");
}

#[test]
fn hostile_length_is_refused_before_anything_is_allocated() {
    let mut huge = vec![0xff; 4];
    huge.extend_from_slice(&(1u64 << 60).to_le_bytes());
    huge.extend_from_slice(&[0; 8]);
    assert!(matches!(from_slice::<Vec<()>>(&huge).unwrap_err().kind(), RecordErrorKind::UnexpectedEnd { left: 8, .. }));
    from_slice::<Vec<u64>>(&huge).unwrap_err();
    from_slice::<Vec<AllSkipped>>(&huge).unwrap_err();
    from_slice::<String>(&huge).unwrap_err();
    from_slice::<HashMap<(), ()>>(&huge).unwrap_err();
}

#[test]
fn depth_is_bounded_alike_on_both_sides() {
    let list = |n: u32| (0..n).fold(List::End, |tail, _| List::Next(Box::new(tail)));
    survives(list(MAX_DEPTH));
    assert_eq!(to_vec(&list(MAX_DEPTH + 1)).unwrap_err().kind(), &RecordErrorKind::TooDeep);
    let mut bytes = [1, 0, 0, 0].repeat(1_000_000);
    bytes.extend_from_slice(&[0; 4]);
    let error = from_slice::<List>(&bytes).unwrap_err();
    assert_eq!(error.kind(), &RecordErrorKind::TooDeep);
    assert!(error.to_string().contains("List"), "{error}");
}

#[test]
fn depth_does_not_add_up_over_siblings() {
    survives(vec![Some(Shape::Two(1, vec![Shape::Empty; 3])); 1000]);
    survives(vec![Some(Pair(1, true)); 1000]);
}

#[test]
fn decoder_reads_records_one_after_another() {
    let mut bytes = Vec::new();
    extend(&mut bytes, &1u8).unwrap();
    extend(&mut bytes, "two").unwrap();
    let mut decoder = Decoder::new(&bytes);
    assert_eq!(decoder.read::<u8>().unwrap(), 1);
    assert_eq!(decoder.remaining(), 7);
    assert_eq!(decoder.read::<String>().unwrap(), "two");
    assert!(decoder.is_empty());
    assert!(decoder.read::<u8>().is_err());
}

proptest! {
    #[test]
    fn any_shape_survives(value in shape()) {
        survives(value);
    }

    #[test]
    fn any_collections_survive(value: (Vec<(String, u64)>, HashMap<String, Vec<Option<i32>>>, Vec<()>)) {
        survives(value);
    }

    #[test]
    fn hostile_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_slice::<Vec<Shape>>(&bytes);
        let _ = from_slice::<HashMap<String, (Vec<AllSkipped>, Option<List>)>>(&bytes);
    }

    #[test]
    fn changed_bytes_are_read_or_refused(value in prop::collection::vec(shape(), 0..8), at: prop::sample::Index, to: u8, cut: bool) {
        let mut bytes = to_vec(&value).unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(from_slice::<Vec<Shape>>(&bytes).is_err());
        } else {
            bytes[at] = to;
            let _ = from_slice::<Vec<Shape>>(&bytes);
        }
    }
}
