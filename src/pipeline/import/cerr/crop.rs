//! CERR's crop list as one operation `crop` with its regions; it measures no image.
//!
//! CERR counts rows and columns as DICOM, slices from the head, all from 1 and with both ends; so do the regions that
//! have numbers. Sizes are [rows, columns, slices] in CERR (of the middle of the image [columns, rows]) and
//! [slices, rows, columns] here.

use serde_json::{Value as Json, json};

use super::identifier::Identifier;
use super::reading::{Reading, is_blank, number_of, one_or_many};
use crate::document::{Fields, Node};

/// Where a crop stands: its scan among the inputs of the model, and what it may refer to.
pub(super) struct Place<'a> {
    pub scan: usize,
    /// Name and identifier of each input.
    pub inputs: &'a [(String, Identifier)],
    /// Structures that are handed to the model, with the label that stands for each.
    pub masks: &'a [(String, i64)],
}

/// The methods that make a mask, and which of them take their box for each slice on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Whole,
    Fixed,
    Label,
    Structure,
    Center,
    StructureCenter,
    CenterOfMass,
    Outline,
    Shoulders,
    SuperiorInferior,
    Chewing,
    Larynx,
    Constrictor,
    Pancreas,
}

use Method::{
    Center, CenterOfMass, Chewing, Constrictor, Fixed, Label, Larynx, Outline, Pancreas, Shoulders, Structure,
    StructureCenter, SuperiorInferior, Whole,
};

/// Every method by its name: what it is, and whether boxes are taken in each slice. CERR accepts two spellings of an
/// outline on another scan in 2-D and bounds both as a volume.
const METHODS: [(&str, (Method, bool)); 26] = [
    ("none", (Whole, false)),
    ("crop_fixed_amt", (Fixed, false)),
    ("crop_to_bounding_box", (Label, false)),
    ("crop_to_bounding_box_2d", (Label, true)),
    ("crop_to_str", (Structure, false)),
    ("crop_to_str_2d", (Structure, true)),
    ("crop_to_str_on_scan", (Structure, false)),
    ("crop_to_str_2d_on_scan", (Structure, false)),
    ("crop_to_str_on_scan_2d", (Structure, false)),
    ("crop_around_center", (Center, false)),
    ("crop_around_structure_center", (StructureCenter, false)),
    ("crop_around_structure_center_on_scan", (StructureCenter, false)),
    ("crop_around_center_of_mass", (CenterOfMass, false)),
    ("crop_around_center_of_mass_on_scan", (CenterOfMass, false)),
    ("crop_pt_outline", (Outline, false)),
    ("crop_pt_outline_2d", (Outline, true)),
    ("crop_pt_outline_on_scan", (Outline, false)),
    ("crop_pt_outline_on_scan_2d", (Outline, false)),
    ("crop_pt_outline_2d_on_scan", (Outline, false)),
    ("crop_shoulders", (Shoulders, false)),
    ("crop_sup_inf", (SuperiorInferior, false)),
    ("crop_for_chewing_structs", (Chewing, false)),
    ("crop_for_larynx", (Larynx, false)),
    ("crop_for_constrictor", (Constrictor, false)),
    ("crop_for_pancreas", (Pancreas, false)),
    ("crop_to_bounding_box_on_scan", (Label, false)),
];

/// The name under which CERR keeps the box of the pancreas.
const BOUNDING_BOX: &str = "bounding_box";

/// The crop of a scan; nothing where the list keeps the whole image. The second value is the size of the result where it
/// is the same for every image.
pub(super) fn crop(node: &Node, place: &Place<'_>, reading: &mut Reading) -> (Option<Json>, [Option<i64>; 3]) {
    let entries = one_or_many(node);
    let several = entries.len() > 1;
    // `None` is the whole image. Each entry is united with, cut with, or takes the place of what stands before it.
    let mut regions: Option<Vec<Json>> = None;
    let mut size = [None; 3];
    for (index, entry) in entries.into_iter().enumerate() {
        if is_blank(entry) {
            continue;
        }
        let Some((region, operator)) = parse_entry(entry, place, several, reading) else { continue };
        if let (Some(region), false) = (&region, several) {
            size = size_in_voxels(region);
        }
        regions = match (regions, region, operator) {
            (_, None, "union") | (None, _, "union") if index > 0 => None,
            (before, None, "intersection") => before,
            (_, None, _) => None,
            (Some(mut before), Some(mut region), "union" | "intersection") => {
                region["combine"] = json!(operator);
                before.push(region);
                Some(before)
            }
            (_, Some(region), _) => Some(vec![region]),
        };
    }
    (regions.map(|regions| json!({"op": "crop", "regions": merged(regions)})), size)
}

/// Names of structures that are united one by one are one list.
fn merged(regions: Vec<Json>) -> Vec<Json> {
    let mut list: Vec<Json> = Vec::new();
    for mut region in regions {
        let plain = |region: &Json| {
            region["region"].as_str().is_some_and(|name| name.starts_with("structure")) && region.get("size").is_none()
        };
        let last = list.last_mut().filter(|last| {
            plain(last) && plain(&region) && last["region"] == region["region"] && last.get("save_as").is_none()
        });
        match last {
            Some(last) if region["combine"] == "union" && last.get("combine").is_none_or(|c| c == "union") => {
                let more = region["names"].take();
                if let (Some(names), Json::Array(more)) = (last["names"].as_array_mut(), more) {
                    names.extend(more);
                }
            }
            _ => list.push(region),
        }
    }
    list
}

/// Slices, rows and columns of a region that tells them in voxels.
fn size_in_voxels(region: &Json) -> [Option<i64>; 3] {
    let Some(Json::Array(size)) = region.get("size").filter(|_| region.get("unit").is_none_or(|unit| unit == "voxels"))
    else {
        return [None; 3];
    };
    let of = |axis: usize| {
        let at = (axis + size.len()).checked_sub(3)?;
        size.get(at)?.as_i64().filter(|side| *side > 0)
    };
    [of(0), of(1), of(2)]
}

type Entry = (Option<Json>, &'static str);

fn parse_entry(node: &Node, place: &Place<'_>, several: bool, reading: &mut Reading) -> Option<Entry> {
    let mut fields = node.object(&mut reading.problems)?;
    let name = fields.required("method", &mut reading.problems)?;
    let (method, planar) = if is_blank(name) { (Whole, false) } else { method_of(name, reading)? };
    let operator = fields.optional("operator").map_or(Some("latest"), |node| match is_blank(node) {
        true => Some("latest"),
        // Anything that is neither takes the place of what stands before it.
        false => reading.word(
            node,
            &[("union", "union"), ("intersection", "intersection"), ("latest", "latest"), ("none", "latest")],
        ),
    });
    let params = fields.optional("params").filter(|params| !is_blank(params));
    let optional = several || operator == Some("union");
    let region = match (params, method) {
        (_, Whole) => Some(None),
        (Some(params), method) => parse_params(params, (method, planar), place, optional, reading),
        (None, SuperiorInferior) => superior_inferior(name, place, reading).map(Some),
        (None, _) => {
            reading.problems.add(
                name,
                format!("{} without \"params\"", name.describe()),
                "the parameters of this method",
            );
            None
        }
    };
    fields.finish(&mut reading.problems);
    Some((region?, operator?))
}

fn method_of(node: &Node, reading: &mut Reading) -> Option<(Method, bool)> {
    reading.word(node, &METHODS)
}

/// The slices of all masks that are handed to the model.
fn superior_inferior(at: &Node, place: &Place<'_>, reading: &mut Reading) -> Option<Json> {
    let names: Vec<&str> = place.masks.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        reading.problems.add(
            at,
            "crop_sup_inf without masks",
            "\"input.structure\" with the structures that it crops to",
        );
        return None;
    }
    Some(json!({"region": "superior_inferior", "names": names}))
}

fn parse_params(
    node: &Node,
    (method, planar): (Method, bool),
    place: &Place<'_>,
    optional: bool,
    reading: &mut Reading,
) -> Option<Option<Json>> {
    let mut fields = node.object(&mut reading.problems)?;
    // The scan on which a mask is found. Structures are placed in the patient, so that it matters for outlines only.
    let on = fields.optional("scanIdentifier").map(|node| (node, Identifier::parse(node, reading)));
    let structure = fields.optional("structureName");
    let out = fields.optional("outStrName").and_then(|node| reading.text(node));
    let region = match method {
        Whole => None,
        Fixed => fixed_box(&mut fields, reading),
        Label => label(&mut fields, planar, place, reading),
        Structure => {
            let names = required(structure, &fields, reading)?;
            let names: Vec<String> = reading.texts(names).iter().map(|name| named(name, optional, reading)).collect();
            let region = if planar { "structure_2d" } else { "structure" };
            Some(json!({"region": region, "names": names}))
        }
        Center => center(&mut fields, reading),
        StructureCenter => structure_center(structure, &mut fields, optional, reading),
        CenterOfMass => center_of_mass(structure, &mut fields, optional, reading),
        Outline => {
            let given = structure.and_then(|node| reading.text(node));
            outline(given, out.as_deref(), on.as_ref(), planar, &mut fields, place, reading)
        }
        Shoulders => {
            let node = required(structure, &fields, reading)?;
            let name = reading.text(node)?;
            let known = reading.saved.iter().find(|saved| saved.eq_ignore_ascii_case(&name)).cloned();
            Some(json!({"region": "shoulders", "structure": known.unwrap_or_else(|| reading.need_or_find(&name))}))
        }
        SuperiorInferior => superior_inferior(node, place, reading),
        Chewing => chewing(structure, &mut fields, reading),
        Larynx => larynx(required(structure, &fields, reading)?, reading),
        Constrictor => constrictor(required(structure, &fields, reading)?, reading),
        Pancreas => pancreas(&mut fields, reading),
    };
    let save = fields.optional("saveStrToPlanCFlag").is_some_and(|node| reading.flag(node));
    fields.finish(&mut reading.problems);
    let mut region = region?;
    // CERR gives the name of the method where none is told.
    let method = METHODS.iter().find(|(_, (known, _))| *known == method).map_or("", |(name, _)| name);
    if save {
        let name = out.unwrap_or_else(|| method.to_owned());
        if !reading.saved.contains(&name) && region.get("save_as").is_none() {
            region["save_as"] = json!(name);
            reading.saved.push(name);
        }
    }
    Some(Some(region))
}

fn required<'a>(structure: Option<&'a Node>, fields: &Fields<'a>, reading: &mut Reading) -> Option<&'a Node> {
    if structure.is_none() {
        reading.problems.add(fields.node(), "no \"structureName\"", "the structure that this method crops to");
    }
    structure
}

/// A structure that is saved by an operation before, or has to be handed in.
fn named(name: &str, optional: bool, reading: &mut Reading) -> String {
    match reading.saved.iter().find(|saved| saved.eq_ignore_ascii_case(name)) {
        Some(saved) => saved.clone(),
        None => reading.need(name, optional),
    }
}

/// A box that another model saved: nobody draws it.
fn saved_box(name: &str, reading: &mut Reading) -> String {
    let name = named(name, false, reading);
    if let Some(need) = reading.needs.iter_mut().find(|need| need.name == name) {
        need.made_only = true;
    }
    name
}

/// Margins [r1, r2, c1, c2, s1, s2], from 1, both ends included.
fn fixed_box(fields: &mut Fields<'_>, reading: &mut Reading) -> Option<Json> {
    let node = fields.required("margins", &mut reading.problems)?;
    let margins = reading.numbers(node, 6, 6)?;
    let pair = |first: usize| json!([number_of(margins[first]), number_of(margins[first + 1])]);
    Some(json!({"region": "box", "rows": pair(0), "columns": pair(2), "slices": pair(4)}))
}

fn label(fields: &mut Fields<'_>, planar: bool, place: &Place<'_>, reading: &mut Reading) -> Option<Json> {
    let node = fields.required("label", &mut reading.problems)?;
    let wanted = reading.number(node)?;
    let found = place.masks.iter().find(|(_, value)| *value as f64 == wanted);
    if found.is_none() {
        let known: Vec<String> = place.masks.iter().map(|(name, value)| format!("{value} ({name})")).collect();
        reading.problems.add(node, node.describe(), format!("a label of input.structure: {}", known.join(", ")));
    }
    let (name, _) = found?;
    Some(json!({"region": if planar { "structure_2d" } else { "structure" }, "names": [name]}))
}

/// Margins [columns, rows] here, other than everywhere else.
fn center(fields: &mut Fields<'_>, reading: &mut Reading) -> Option<Json> {
    let node = fields.required("margins", &mut reading.problems)?;
    let margins = reading.numbers(node, 2, 3)?;
    Some(json!({"region": "center", "size": [number_of(margins[1]), number_of(margins[0])]}))
}

/// Margins [rows, columns] or [rows, columns, slices], in voxels.
fn structure_center(
    structure: Option<&Node>,
    fields: &mut Fields<'_>,
    optional: bool,
    reading: &mut Reading,
) -> Option<Json> {
    let name = reading.text(structure?)?;
    let node = fields.required("margins", &mut reading.problems)?;
    let margins = reading.numbers(node, 2, 3)?;
    let name = named(&name, optional, reading);
    Some(json!({"region": "structure_center", "names": [name], "size": size_of(&margins)}))
}

fn center_of_mass(
    structure: Option<&Node>,
    fields: &mut Fields<'_>,
    optional: bool,
    reading: &mut Reading,
) -> Option<Json> {
    let name = reading.text(structure?)?;
    let node = fields.required("margins", &mut reading.problems)?;
    let margins = reading.numbers(node, 2, 3)?;
    let units = [("voxels", "voxels"), ("mm", "mm"), ("cm", "cm")];
    let unit = fields.optional("marginUnits").map_or(Some("voxels"), |node| reading.word(node, &units))?;
    if let Some(node) = fields.optional("assignBkgIntensity") {
        reading.keep("crop.assignBkgIntensity", node);
        reading.not_expressed.push(
            "assignBkgIntensity inside a crop: give it as imageType of the channel, where it sets what is outside"
                .to_owned(),
        );
    }
    let name = named(&name, optional, reading);
    Some(json!({"region": "center_of_mass", "names": [name], "size": size_of(&margins), "unit": unit}))
}

/// [rows, columns] or [rows, columns, slices] as [rows, columns] or [slices, rows, columns].
fn size_of(margins: &[f64]) -> Json {
    let numbers: Vec<Json> = margins.iter().map(|margin| number_of(*margin)).collect();
    match numbers.as_slice() {
        [rows, columns, slices] => json!([slices, rows, columns]),
        _ => json!(numbers),
    }
}

fn outline(
    given: Option<String>,
    out: Option<&str>,
    on: Option<&(&Node, Identifier)>,
    planar: bool,
    fields: &mut Fields<'_>,
    place: &Place<'_>,
    reading: &mut Reading,
) -> Option<Json> {
    let threshold = fields.optional("outlineThreshold").map_or(Some(-400.0), |node| reading.number(node));
    let least = fields.optional("minMaskSize").and_then(|node| reading.number(node));
    let norm = fields.optional("normFlag").is_some_and(|node| reading.flag(node));
    // An outline that an operation before has saved is taken as it is, as CERR takes an existing structure.
    if let Some(saved) = given.as_ref().and_then(|name| reading.saved.iter().find(|s| s.eq_ignore_ascii_case(name))) {
        let region = if planar { "structure_2d" } else { "structure" };
        return Some(json!({"region": region, "names": [saved]}));
    }
    let mut region = json!({"region": if planar { "patient_outline_2d" } else { "patient_outline" }});
    region["threshold"] = number_of(threshold?);
    if let Some(least) = least {
        region["minimum_pixels"] = number_of(least);
    }
    if norm {
        region["normalise"] = json!(true);
    }
    if let Some((node, identifier)) = on {
        let other = place.inputs.iter().position(|(_, known)| known.suits(identifier));
        match other {
            Some(other) if other != place.scan => region["image"] = json!(place.inputs[other].0),
            Some(_) => {}
            None => {
                let known: Vec<String> = place.inputs.iter().map(|(_, known)| known.describe()).collect();
                reading.problems.add(node, identifier.describe(), format!("an input: {}", known.join("; ")));
            }
        }
    }
    // The name under which CERR keeps its own outline is nothing that a person draws.
    if let Some(name) = given.filter(|name| out.is_none_or(|out| !out.eq_ignore_ascii_case(name))) {
        region["structure"] = json!(reading.need_or_find(&name));
    }
    Some(region)
}

fn chewing(structure: Option<&Node>, fields: &mut Fields<'_>, reading: &mut Reading) -> Option<Json> {
    let node = fields.required("headSizeLimitCm", &mut reading.problems)?;
    let limit = reading.number(node)?;
    let mut region = json!({"region": "chewing_structures", "head_size_cm": number_of(limit)});
    if let Some(name) = structure.and_then(|node| reading.text(node)) {
        region["structure"] = json!(reading.need_or_find(&name));
    }
    Some(region)
}

fn larynx(node: &Node, reading: &mut Reading) -> Option<Json> {
    let mut fields = node.object(&mut reading.problems)?;
    let muscles = fields.required("chewingStructures", &mut reading.problems);
    let cropped = fields.required("cropStructure", &mut reading.problems);
    fields.finish(&mut reading.problems);
    let names: Vec<String> = reading.texts(muscles?).iter().map(|name| named(name, false, reading)).collect();
    let cropped = reading.text(cropped?)?;
    Some(json!({"region": "larynx", "names": names, "box": saved_box(&cropped, reading)}))
}

fn constrictor(node: &Node, reading: &mut Reading) -> Option<Json> {
    let mut fields = node.object(&mut reading.problems)?;
    let larynx = fields.required("larynx", &mut reading.problems);
    let cropped = fields.required("cropStructure", &mut reading.problems);
    fields.finish(&mut reading.problems);
    let larynx = reading.text(larynx?)?;
    let larynx = named(&larynx, false, reading);
    let cropped = reading.text(cropped?)?;
    Some(json!({"region": "constrictor", "names": [larynx], "box": saved_box(&cropped, reading)}))
}

fn pancreas(fields: &mut Fields<'_>, reading: &mut Reading) -> Option<Json> {
    let scan = fields
        .optional("scan")
        .map_or(Some("fixed"), |node| reading.word(node, &[("fixed", "fixed"), ("registered", "registered")]))?;
    if scan == "registered" {
        fields.optional("threshold");
        return Some(json!({"region": "structure", "names": [saved_box(BOUNDING_BOX, reading)]}));
    }
    let node = fields.required("threshold", &mut reading.problems)?;
    let threshold = number_of(reading.number(node)?);
    // The registered image takes the same box.
    if !reading.saved.iter().any(|saved| saved == BOUNDING_BOX) {
        reading.saved.push(BOUNDING_BOX.to_owned());
    }
    Some(json!({"region": "pancreas", "threshold": threshold, "save_as": BOUNDING_BOX}))
}
