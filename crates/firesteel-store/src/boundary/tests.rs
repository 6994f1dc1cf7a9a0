use super::*;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

fn refusal<T: Serialize + DeserializeOwned>(value: &T) -> String {
    check(value).expect_err("must be refused").to_string()
}

fn assert_mentions(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Inner {
    a: u32,
    b: String,
}

fn inner() -> Inner {
    Inner { a: 1, b: "x".into() }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Name(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    A(Inner),
    B { x: u8 },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
enum Adjacent {
    A(Inner),
    B { x: u8 },
    Nothing,
}

#[derive(Serialize, Deserialize)]
struct Flattened {
    id: u8,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Serialize, Deserialize)]
struct Skipping {
    id: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum SkippingVariant {
    V {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        list: Vec<u8>,
    },
}

#[derive(Serialize, Deserialize)]
struct SkippingTuple(Vec<u8>, #[serde(default, skip_serializing_if = "Option::is_none")] Option<u8>);

#[derive(Serialize, Deserialize)]
#[allow(dead_code)]
struct OneSided {
    #[serde(skip_serializing)]
    lost: u8,
    kept: u8,
}

#[derive(Serialize, Deserialize)]
enum SkippedVariant {
    A,
    #[serde(skip)]
    #[allow(dead_code)]
    Hidden,
    B,
    C,
}

#[test]
fn untagged_enum_is_refused_by_name() {
    assert_mentions(&refusal(&Untagged::Number(1)), &["Untagged", "#[serde(untagged)]", "remove the attribute"]);
    assert_mentions(&refusal(&vec![(1u8, Untagged::Name("n".into()))]), &["Vec<", "Untagged` uses #[serde(untagged)]"]);
}

#[test]
fn internally_tagged_enum_is_refused_by_name() {
    assert_mentions(&refusal(&Tagged::A(inner())), &["Tagged", "#[serde(tag = ..)]", "remove the attribute"]);
    assert_mentions(&refusal(&Some(Tagged::B { x: 1 })), &["Tagged", "#[serde(tag = ..)]"]);
}

#[test]
fn adjacently_tagged_enum_is_refused_by_name() {
    for value in [Adjacent::A(inner()), Adjacent::B { x: 1 }, Adjacent::Nothing] {
        assert_mentions(&refusal(&vec![(1, value)]), &["::Adjacent` uses #[serde(tag = ..)]", "remove the attribute"]);
    }
}

#[test]
fn flattened_struct_is_refused_by_name() {
    let text = refusal(&(1u8, Flattened { id: 1, inner: inner() }));
    assert_mentions(&text, &["Flattened` uses #[serde(flatten)]", "ordinary field"]);
}

#[test]
fn field_left_out_is_refused_by_name() {
    check(&Skipping { id: 1, note: Some("n".into()) }).unwrap();
    let text = refusal(&Skipping { id: 1, note: None });
    assert_mentions(&text, &["`Skipping` left out its field `note`", "skip_serializing_if", "remove the attribute"]);
    let text = refusal(&vec![SkippingVariant::V { list: vec![] }]);
    assert_mentions(&text, &["`SkippingVariant::V` left out its field `list`"]);
    let text = refusal(&SkippingTuple(vec![1], None));
    assert_mentions(&text, &["SkippingTuple` was written with 1 fields and is read with 2", "skip_serializing_if"]);
}

#[test]
fn one_sided_attributes_are_refused() {
    assert_mentions(&refusal(&OneSided { lost: 1, kept: 2 }), &["OneSided", "skip_serializing"]);
}

#[test]
fn skipped_variant_that_shifts_the_others_is_refused() {
    check(&SkippedVariant::A).unwrap();
    assert_mentions(&refusal(&vec![SkippedVariant::B]), &["SkippedVariant", "enum variant"]);
    assert_mentions(&refusal(&SkippedVariant::C), &["SkippedVariant", "enum variant"]);
}

#[test]
fn self_describing_value_is_refused_by_name() {
    assert_mentions(&refusal(&vec![serde_json::json!({"a": 1})]), &["serde_json", "deserialize_any", "fixed shape"]);
}

#[test]
fn maps_in_any_order_pass() {
    check(&(0..1000).map(|i| (i, i.to_string())).collect::<HashMap<_, _>>()).unwrap();
    check(&(0..1000).map(|i| (i, vec![i])).collect::<BTreeMap<_, _>>()).unwrap();
}

#[test]
fn a_sample_looks_at_records_ever_further_apart() {
    let skipping =
        |at: usize| (0..100).map(|i| Skipping { id: 1, note: (i != at).then(String::new) }).collect::<Vec<_>>();
    for at in [0, 1, 3, 7, 15, 31, 63] {
        Sample::default().check(&skipping(at)).unwrap_err();
    }
    // What was looked at before makes no difference.
    Sample::default().check(&skipping(64)).unwrap();
    Sample::default().check(&skipping(0)).unwrap_err();
}

#[test]
fn a_sample_ends_after_some_records_or_a_large_one() {
    let mut sample = Sample::default();
    for _ in 0..32 {
        assert!(!sample.is_full());
        sample.check(&[1u8]).unwrap();
    }
    assert!(sample.is_full());
    let mut sample = Sample::default();
    sample.check(&["x".repeat(100_000)]).unwrap();
    assert!(sample.is_full());
    sample.check(&[Skipping { id: 1, note: None }]).unwrap();
}
