//! One input scan of a configuration: its identifier, what is done to it, its views and channels; it reads no image.

use serde_json::{Value as Json, json};

use super::crop::{self, Place};
use super::filter;
use super::identifier::Identifier;
use super::reading::{Reading, child, is_blank, one_or_many};
use super::resize;
use crate::document::{Fields, Node};

/// An input of the model.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// The name of the input in the model and of the slot in the pipeline.
    pub name: String,
    pub identifier: Identifier,
    pub required: bool,
    pub views: Vec<&'static str>,
    pub pre: Vec<Json>,
    pub channels: Vec<Channel>,
    /// Slices, rows and columns with which every image of this input ends, where the configuration fixes them.
    pub size: [Option<i64>; 3],
    /// PET in standardised uptake values.
    pub suv: bool,
}

/// One channel that an input gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Channel {
    /// Slices farther from the head.
    pub slice: i64,
    pub pre: Vec<Json>,
}

const VIEWS: [(&str, &str); 3] = [("axial", "axial"), ("coronal", "coronal"), ("sagittal", "sagittal")];

/// Reads all of a scan but its identifier, which the caller has read before.
pub(super) fn parse(
    fields: &mut Fields<'_>,
    place: &Place<'_>,
    whole_scan_filter: Option<&Node>,
    reading: &mut Reading,
) -> Scan {
    let (name, identifier) = place.inputs[place.scan].clone();
    fields.optional("identifier");
    let required = fields.optional("required").is_none_or(|node| reading.flag(node));
    let mut pre = Vec::new();
    if let Some(node) = fields.optional("scanUnits") {
        pre.extend(units(node, reading));
    }
    if identifier.filtered {
        match whole_scan_filter {
            Some(node) => pre.extend(filter::image_type(node, &name, reading)),
            None => reading.not_expressed.push("an input with \"filtered\" without a top-level \"filter\"".to_owned()),
        }
    }
    pre.extend(fields.optional("resample").and_then(|node| resize::resample(node, reading)));
    let (cropped, mut size) = match fields.optional("crop") {
        Some(node) if !is_blank(node) => crop::crop(node, place, reading),
        _ => (None, [None; 3]),
    };
    pre.extend(cropped);
    if let Some(node) = fields.optional("resize")
        && !is_blank(node)
    {
        pre.extend(resize::resize(node, &mut size, reading));
    }
    let views = fields.optional("view").map_or(Vec::new(), |node| {
        one_or_many(node).into_iter().filter_map(|view| reading.word(view, &VIEWS)).collect()
    });
    let channels = fields.optional("channels").map_or(Vec::new(), |node| {
        one_or_many(node).into_iter().filter_map(|channel| parse_channel(channel, &name, reading)).collect()
    });
    let suv = std::mem::take(&mut reading.suv);
    let views = if views.is_empty() { vec!["axial"] } else { views };
    let channels = if channels.is_empty() { vec![Channel { slice: 0, pre: Vec::new() }] } else { channels };
    Scan { name, identifier, required, views, pre, channels, size, suv }
}

fn parse_channel(node: &Node, scan: &str, reading: &mut Reading) -> Option<Channel> {
    if is_blank(node) {
        return None;
    }
    let mut fields = node.object(&mut reading.problems)?;
    let pre = fields.optional("imageType").map_or(Vec::new(), |node| filter::image_type(node, scan, reading));
    let slice = match fields.optional("slice") {
        Some(node) if !is_blank(node) => parse_slice(node, reading),
        _ => Some(0),
    };
    fields.finish(&mut reading.problems);
    Some(Channel { slice: slice?, pre })
}

/// `current`, `current-2`, `current+1`.
fn parse_slice(node: &Node, reading: &mut Reading) -> Option<i64> {
    let text = node.text(&mut reading.problems)?.to_ascii_lowercase().replace(' ', "");
    let offset = match text.strip_prefix("current") {
        Some("") => Some(0),
        Some(rest) if rest.starts_with(['+', '-']) => rest.parse::<i64>().ok(),
        _ => None,
    };
    if offset.is_none() {
        reading.problems.add(node, node.describe(), "\"current\", \"current-1\", \"current+1\" or another distance");
    }
    offset
}

/// `10^-6mm^2/s`: the unit that the network was trained with. Images without a word of their unit are taken to be in
/// 10^-6 mm2/s, in which ADC maps are stored by most scanners.
fn units(node: &Node, reading: &mut Reading) -> Option<Json> {
    let text = reading.text(node)?.replace(' ', "");
    let lower = text.to_ascii_lowercase();
    let exponent = match lower.strip_suffix("mm^2/s") {
        Some("") => Some(0),
        Some(factor) => factor.trim_end_matches('*').strip_prefix("10^").and_then(|power| power.parse::<i32>().ok()),
        None => None,
    };
    let Some(exponent) = exponent.filter(|exponent| (-12..=0).contains(exponent)) else {
        reading.problems.add(node, node.describe(), "a unit of diffusion such as \"10^-6mm^2/s\"");
        return None;
    };
    reading.note(format!(
        "scanUnits {text}: ADC maps are taken to be in 10^-6 mm^2/s; where a scanner stores another unit, change \"from\" of the first operation"
    ));
    let unit = if exponent == 0 { "mm^2/s".to_owned() } else { format!("10^{exponent}mm^2/s") };
    Some(json!({"op": "unit_scale", "from": "10^-6mm^2/s", "to": unit}))
}

/// The identifiers of all scans with a name for each, in the order of the configuration.
pub(super) fn identifiers(
    nodes: &[&Node],
    fallback: Option<&'static str>,
    reading: &mut Reading,
) -> Vec<(String, Identifier)> {
    let mut list: Vec<(String, Identifier)> = Vec::new();
    for node in nodes {
        let mut identifier = child(node, "identifier").map_or_else(
            || Identifier { modality: fallback, ..Identifier::default() },
            |found| Identifier::parse(found, reading),
        );
        identifier.fallback = fallback;
        let stem = identifier.name();
        let number =
            list.iter().filter(|(name, _)| name.trim_end_matches(|c: char| c.is_ascii_digit()) == stem).count();
        let name = if number == 0 { stem } else { format!("{stem}{}", number + 1) };
        list.push((name, identifier));
    }
    list
}
