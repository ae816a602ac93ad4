//! Values of an attribute in a header, along a path through sequences; it compares nothing.

use dicom_core::value::{PrimitiveValue, Value as DicomValue};
use dicom_core::{Tag, VR};
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use crate::limits::{SEQUENCE_VALUES_MAX, TRACE_VALUE_LENGTH_MAX};
use crate::pipeline::{Comparison, PathTag, TagPath, ValueKind, Which};

/// One value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Text(String),
    /// A sequence with items, or bulk data: it is there, and no more is asked.
    Present,
}

/// The values of the attribute, one list for each data set that the path reaches (several inside sequences). A data
/// set without the attribute, or with an empty one, gives an empty list.
pub fn values(header: &InMemDicomObject, path: &TagPath) -> Vec<Vec<Value>> {
    let Some((last, sequences)) = path.tags().split_last() else { return Vec::new() };
    let mut reached = vec![header];
    for tag in sequences {
        let items = reached.iter().filter_map(|data_set| find(data_set, tag)).flat_map(|element| element.items());
        reached = items.flatten().take(SEQUENCE_VALUES_MAX).collect();
    }
    let mut left = SEQUENCE_VALUES_MAX;
    let lists = reached.into_iter().map(|data_set| {
        let mut list = find(data_set, last).map(read).unwrap_or_default();
        list.truncate(left);
        left -= list.len();
        list
    });
    lists.collect()
}

fn find<'a>(data_set: &'a InMemDicomObject, tag: &PathTag) -> Option<&'a InMemElement> {
    match tag {
        PathTag::Standard(tag) => data_set.get(*tag),
        PathTag::Private { group, element, creator } => private(data_set, *group, *element, creator),
    }
}

/// The private element in the block that its creator reserved (PS3.5 7.8.1).
fn private<'a>(data_set: &'a InMemDicomObject, group: u16, element: u8, creator: &str) -> Option<&'a InMemElement> {
    let block = (0x0010_u16..=0x00ff).find(|&block| {
        let reserved = data_set.get(Tag(group, block)).and_then(|element| element.to_str().ok());
        reserved.is_some_and(|name| name.trim_matches([' ', '\0']) == creator)
    })?;
    data_set.get(Tag(group, block << 8 | u16::from(element)))
}

fn read(element: &InMemElement) -> Vec<Value> {
    match element.value() {
        DicomValue::Primitive(primitive) if element.header().vr == VR::UN => unknown(primitive),
        DicomValue::Primitive(primitive) => read_primitive(primitive),
        DicomValue::Sequence(sequence) if sequence.items().is_empty() => Vec::new(),
        DicomValue::Sequence(_) | DicomValue::PixelSequence(_) => vec![Value::Present],
    }
}

/// Implicit VR tells nothing of private attributes; most hold text.
fn unknown(primitive: &PrimitiveValue) -> Vec<Value> {
    let bytes = primitive.to_bytes();
    match std::str::from_utf8(&bytes) {
        Ok("") => Vec::new(),
        Ok(text) => texts(text.split('\\')),
        Err(_) => vec![Value::Present],
    }
}

fn read_primitive(primitive: &PrimitiveValue) -> Vec<Value> {
    match primitive {
        PrimitiveValue::Empty => Vec::new(),
        PrimitiveValue::Tags(_) | PrimitiveValue::U8(_) => vec![Value::Present],
        PrimitiveValue::Str(_)
        | PrimitiveValue::Strs(_)
        | PrimitiveValue::Date(_)
        | PrimitiveValue::Time(_)
        | PrimitiveValue::DateTime(_) => {
            let parts = primitive.to_multi_str();
            texts(parts.iter().flat_map(|part| part.split('\\')))
        }
        numbers => numbers.to_multi_float64().unwrap_or_default().into_iter().map(Value::Number).collect(),
    }
}

/// Values of text; an attribute whose values are all empty has none (PS3.5 7.4.5). Empty ones between others stay,
/// because they have an index.
fn texts<'a>(parts: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let parts: Vec<&str> = parts.map(|part| part.trim_matches([' ', '\0'])).collect();
    if parts.iter().all(|part| part.is_empty()) {
        return Vec::new();
    }
    parts.into_iter().map(|part| Value::Text(part.to_owned())).collect()
}

/// Whether the values that were found satisfy a comparison. What is not there satisfies `absent` alone.
pub fn holds(lists: &[Vec<Value>], kind: ValueKind, comparison: &Comparison, which: Which) -> bool {
    let one = |value: &Value| match value {
        Value::Number(number) => comparison.holds_for_number(*number),
        Value::Text(text) => comparison.holds_for_text(kind, text),
        Value::Present => matches!(comparison, Comparison::Exists),
    };
    let there = !lists.is_empty() && lists.iter().all(|list| !list.is_empty());
    match (comparison, which) {
        (Comparison::Absent, _) => lists.iter().all(Vec::is_empty),
        _ if !there => false,
        (_, Which::Any) => lists.iter().flatten().any(one),
        (_, Which::All) => lists.iter().flatten().all(one),
        (_, Which::Index(index)) => lists.iter().all(|list| list.get(index).is_some_and(one)),
    }
}

/// The values as they stand in a trace: shortened, and hidden where they may tell who the patient is.
pub fn describe(lists: &[Vec<Value>], path: &TagPath) -> String {
    let mut values = lists.iter().flatten().peekable();
    if values.peek().is_none() {
        return "nothing".to_owned();
    }
    if path.is_confidential() {
        return "a value".to_owned();
    }
    let mut text = String::new();
    for (index, value) in values.enumerate() {
        if text.chars().count() > TRACE_VALUE_LENGTH_MAX {
            break;
        }
        let separator = if index > 0 { "\\" } else { "" };
        text += separator;
        match value {
            Value::Number(number) => text += &number.to_string(),
            Value::Text(part) => text += part,
            Value::Present => text += "data",
        }
    }
    if text.chars().count() > TRACE_VALUE_LENGTH_MAX {
        text = text.chars().take(TRACE_VALUE_LENGTH_MAX).chain(['…']).collect();
    }
    format!("{text:?}")
}
