//! Content items of a structured report (PS3.3 C.17.3): values with a name, nested; it knows no template.

use dicom_dictionary_std::tags;

use crate::dicom::Uid;
use crate::output::object::{DataSet, coded, decimal, plain};
use crate::structure::Code;

/// What an item is to the one that holds it (PS3.3 C.17.3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    Contained,
    ConceptModifier,
    ObservationContext,
    AcquisitionContext,
    SelectedFrom,
}

impl Is {
    fn term(self) -> &'static str {
        match self {
            Is::Contained => "CONTAINS",
            Is::ConceptModifier => "HAS CONCEPT MOD",
            Is::ObservationContext => "HAS OBS CONTEXT",
            Is::AcquisitionContext => "HAS ACQ CONTEXT",
            Is::SelectedFrom => "SELECTED FROM",
        }
    }
}

/// A content item that may hold others.
pub struct Item {
    data: DataSet,
    content: Vec<DataSet>,
}

impl Item {
    fn new(is: Is, value_type: &str, name: Option<Code>) -> Item {
        let mut data = DataSet::default();
        data.text(tags::RELATIONSHIP_TYPE, is.term()).text(tags::VALUE_TYPE, value_type);
        if let Some(name) = name {
            data.code(tags::CONCEPT_NAME_CODE_SEQUENCE, name);
        }
        Item { data, content: Vec::new() }
    }

    pub fn container(name: Code, template: Option<&str>) -> Item {
        let mut item = Item::new(Is::Contained, "CONTAINER", Some(name));
        item.data.text(tags::CONTINUITY_OF_CONTENT, "SEPARATE");
        if let Some(identifier) = template {
            item.data.sequence(tags::CONTENT_TEMPLATE_SEQUENCE, [template_item(identifier)]);
        }
        item
    }

    pub fn code(is: Is, name: Code, value: Code) -> Item {
        let mut item = Item::new(is, "CODE", Some(name));
        item.data.sequence(tags::CONCEPT_CODE_SEQUENCE, [coded(value)]);
        item
    }

    /// Text that is empty says nothing: there is no such item then.
    pub fn text(is: Is, name: Code, value: &str) -> Option<Item> {
        let value = plain(value, 1024);
        let mut item = Item::new(is, "TEXT", Some(name));
        item.data.text(tags::TEXT_VALUE, &value);
        (!value.is_empty()).then_some(item)
    }

    pub fn uid(is: Is, name: Code, value: &Uid) -> Item {
        let mut item = Item::new(is, "UIDREF", Some(name));
        item.data.uid(tags::UID, value);
        item
    }

    /// A number, as decimal text of at most 16 characters and as it is (Floating Point Value).
    pub fn number(name: Code, value: f64, unit: Code) -> Item {
        let mut measured = DataSet::default();
        measured
            .text(tags::NUMERIC_VALUE, &decimal(value, 6).unwrap_or_else(|| format!("{value:.8e}")))
            .bytes(tags::FLOATING_POINT_VALUE, &value.to_le_bytes())
            .code(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, unit);
        let mut item = Item::new(Is::Contained, "NUM", Some(name));
        item.data.sequence(tags::MEASURED_VALUE_SEQUENCE, [measured]);
        item
    }

    /// `reference` is an item of Referenced SOP Sequence.
    pub fn image(is: Is, name: Option<Code>, reference: DataSet) -> Item {
        let mut item = Item::new(is, "IMAGE", name);
        item.data.sequence(tags::REFERENCED_SOP_SEQUENCE, [reference]);
        item
    }

    /// A closed polygon of points (column, row) of an image, the outer corner of its first pixel being 0, 0
    /// (PS3.3 C.18.6.1.1). The first point comes again at the end.
    pub fn polygon(name: Code, points: &[[f64; 2]], image: Item) -> Item {
        let closed = points.iter().chain(points.first());
        let graphic: Vec<u8> = closed.flatten().flat_map(|value| (*value as f32).to_le_bytes()).collect();
        let mut item = Item::new(Is::Contained, "SCOORD", Some(name));
        item.data.text(tags::GRAPHIC_TYPE, "POLYLINE").bytes(tags::GRAPHIC_DATA, &graphic);
        item.with(image)
    }

    pub fn with(mut self, inner: impl IntoIterator<Item = Item>) -> Item {
        self.content.extend(inner.into_iter().map(Item::finish));
        self
    }

    fn finish(mut self) -> DataSet {
        if !self.content.is_empty() {
            self.data.sequence(tags::CONTENT_SEQUENCE, self.content);
        }
        self.data
    }
}

impl IntoIterator for Item {
    type Item = Item;
    type IntoIter = std::iter::Once<Item>;

    /// An item is a list of one, so that lists and single items are added alike.
    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

/// Sets the root of the tree in a data set; it has no relationship.
pub fn put_root(data: &mut DataSet, name: Code, template: &str, content: impl IntoIterator<Item = Item>) {
    data.text(tags::VALUE_TYPE, "CONTAINER")
        .text(tags::CONTINUITY_OF_CONTENT, "SEPARATE")
        .code(tags::CONCEPT_NAME_CODE_SEQUENCE, name)
        .sequence(tags::CONTENT_TEMPLATE_SEQUENCE, [template_item(template)])
        .sequence(tags::CONTENT_SEQUENCE, content.into_iter().map(Item::finish));
}

fn template_item(identifier: &str) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::MAPPING_RESOURCE, "DCMR").text(tags::TEMPLATE_IDENTIFIER, identifier);
    item
}
