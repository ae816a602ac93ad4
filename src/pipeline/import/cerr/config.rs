//! A whole configuration of any generation, read with every key accounted for; it writes nothing.
//!
//! Three generations exist: `input` and `output` (since August 2022), top-level `scan` and `strNameToLabelMap` before it,
//! and one flat file whose `crop` and `intensityOffset` stand at the top. Keys of one are accepted in another where they
//! mean the same; a meaning that is given twice is a problem.

use serde_json::{Map, Value as Json, json};

use super::crop::Place;
use super::identifier::Identifier;
use super::labels::{label_list, label_of, read_labels};
use super::reading::{Reading, child, is_blank, number_of, one_or_many};
use super::scan::{self, Scan};
use super::{names, post};
use crate::document::{Fields, Node, Problem, Value};

/// What one configuration says.
pub(super) struct Config {
    pub algorithm: String,
    pub id: String,
    /// Which generation it is: `v2`, `v1` or `flat`.
    pub schema: &'static str,
    /// The scan to which results belong comes first.
    pub scans: Vec<Scan>,
    /// Names of scans in the order of the file, which is that of the channels.
    pub channel_order: Vec<String>,
    /// Masks that the network gets as channels, by value.
    pub masks: Vec<(String, i64)>,
    /// Name, first and last value.
    pub labels: Vec<(String, i64, i64)>,
    pub post: Map<String, Json>,
    pub images: Map<String, Json>,
    pub description: Option<String>,
    pub version: Option<String>,
    pub reference: Option<String>,
    /// What a program around the network adds to the values, by the notes.
    pub image_offset: Option<f64>,
    /// Slices are handed over one by one.
    pub planar: bool,
    /// Which structure set is meant of several, and by which date.
    pub drawn: Option<(&'static str, &'static str)>,
    pub reading: Reading,
}

/// Reads a configuration; what is wrong is in the problems of its reading.
pub(super) fn parse(file: &str, root: &Node, mut reading: Reading) -> Result<Config, Vec<Problem>> {
    let algorithm = names::algorithm(file);
    let Some(mut fields) = root.object(&mut reading.problems) else { return Err(reading.problems.into_vec()) };
    let mut input = fields.optional("input").and_then(|node| node.object(&mut reading.problems));
    let (v1, inner) = (fields.optional("scan"), input.as_mut().and_then(|input| input.optional("scan")));
    let schema = if input.is_some() {
        "v2"
    } else if v1.is_some() {
        "v1"
    } else {
        "flat"
    };
    let scan_node = once(inner, v1, "scan", &mut reading);
    let nodes: Vec<&Node> = scan_node.map_or_else(|| vec![root], one_or_many);

    let mut config = Config {
        id: names::id(&algorithm),
        schema,
        scans: Vec::new(),
        channel_order: Vec::new(),
        masks: Vec::new(),
        labels: Vec::new(),
        post: Map::new(),
        images: Map::new(),
        description: None,
        version: None,
        reference: None,
        image_offset: None,
        planar: false,
        drawn: None,
        reading,
        algorithm,
    };
    let structure = input.as_mut().and_then(|input| input.optional("structure"));
    config.read_masks(structure, fields.optional("inputStrNameToLabelMap"));
    if let Some(mut input) = input {
        config.reading.keep_all(&mut input, &["format"], "input.");
        input.finish(&mut config.reading.problems);
    }
    let filter = config.whole_scan_filter(&mut fields);
    config.read_scans(&nodes, scan_node.is_none().then_some(&mut fields), filter, root);
    config.read_output(&mut fields);
    let assoc = [fields.optional("outputAssocScan"), fields.optional("structAssocScan")];
    let assoc = once(assoc[0], assoc[1], "outputAssocScan", &mut config.reading);
    config.put_associated_first(assoc);
    for node in fields.optional("register").map_or(Vec::new(), one_or_many) {
        config.read_register(node);
    }
    config.read_rest(&mut fields);
    fields.finish(&mut config.reading.problems);
    config.tell_masks_from_labels();
    Ok(config)
}

/// Replaces a text wherever it stands as a value.
fn respell(value: &mut Json, from: &str, to: &str) {
    match value {
        Json::String(text) if text == from => *value = json!(to),
        Json::Array(items) => items.iter_mut().for_each(|item| respell(item, from, to)),
        Json::Object(fields) => fields.values_mut().for_each(|item| respell(item, from, to)),
        _ => {}
    }
}

/// A meaning that may stand at two places, and must stand at one only.
fn once<'a>(first: Option<&'a Node>, second: Option<&'a Node>, key: &str, reading: &mut Reading) -> Option<&'a Node> {
    if let (Some(_), Some(second)) = (first, second) {
        reading.problems.add(second, format!("{key:?} a second time, in the older place"), "one of the two");
    }
    first.or(second)
}

impl Config {
    /// A structure that is handed in and one that the network finds may have one name in CERR. Here each has its own: the
    /// one that is handed in is told apart, and is still drawn under its name.
    fn tell_masks_from_labels(&mut self) {
        let shared: Vec<String> = self.labels.iter().map(|(name, ..)| name.clone()).collect();
        for label in shared {
            let Some(need) = self.reading.needs.iter_mut().find(|need| need.name.eq_ignore_ascii_case(&label)) else {
                continue;
            };
            let (from, to) = (need.name.clone(), format!("{}_in", need.name));
            need.aliases.insert(0, from.clone());
            need.told_apart = true;
            // After the network a name means what the network found.
            let post = std::mem::take(&mut self.post);
            self.rename(&from, &to);
            self.post = post;
        }
    }

    /// Structures of the result. A model of images alone hands back the masks it was given: a result has a structure.
    pub fn delivered(&self) -> impl Iterator<Item = &String> {
        let masks = self.masks.iter().filter(|_| self.labels.is_empty());
        self.labels.iter().map(|(name, ..)| name).chain(masks.map(|(name, _)| name))
    }

    /// Gives a structure that is handed in another name, wherever it is referred to.
    pub fn rename(&mut self, from: &str, to: &str) {
        let needs = self.reading.needs.iter_mut().filter(|need| need.name == from);
        needs.for_each(|need| need.name = to.to_owned());
        let masks = self.masks.iter_mut().filter(|(name, _)| name == from);
        masks.for_each(|(name, _)| *name = to.to_owned());
        for scan in &mut self.scans {
            let channels = scan.channels.iter_mut().flat_map(|channel| &mut channel.pre);
            scan.pre.iter_mut().chain(channels).for_each(|step| respell(step, from, to));
        }
        self.post.values_mut().for_each(|steps| respell(steps, from, to));
    }

    fn whole_scan_filter<'a>(&mut self, fields: &mut Fields<'a>) -> Option<&'a Node> {
        let node = fields.optional("filter").filter(|node| !is_blank(node))?;
        let mut inner = node.object(&mut self.reading.problems)?;
        let found = inner.required("imageType", &mut self.reading.problems);
        inner.finish(&mut self.reading.problems);
        found
    }

    /// The first scan that fits an identifier.
    fn scan_of(&self, asked: &Identifier, inputs: &[(String, Identifier)]) -> Option<usize> {
        inputs.iter().position(|(_, known)| known.suits(asked))
    }

    /// Reads all scans, the one that results belong to first: what it saves is known to the others.
    fn read_scans<'a>(
        &mut self,
        nodes: &[&'a Node],
        flat: Option<&mut Fields<'a>>,
        filter: Option<&Node>,
        root: &Node,
    ) {
        let fallback = modality_of(&self.algorithm);
        let mut inputs = scan::identifiers(nodes, fallback, &mut self.reading);
        if let Some(modality) = fallback
            && inputs
                .iter()
                .zip(nodes)
                .any(|((_, id), node)| id.modality.is_none() || child(node, "identifier").is_none())
        {
            self.reading.note(format!("no imageType: Modality {modality} is taken from the name of the file"));
        }
        self.channel_order = inputs.iter().map(|(name, _)| name.clone()).collect();
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        let first = associated(root).and_then(|node| {
            // Problems of this identifier are told where it is read for good.
            let asked = Identifier::parse(node, &mut Reading::of(""));
            self.scan_of(&asked, &inputs)
        });
        if let Some(first) = first {
            order.remove(first);
            order.insert(0, first);
        }
        inputs = order.iter().map(|index| inputs[*index].clone()).collect();
        let masks = self.masks.clone();
        let mut flat = flat;
        for (scan, index) in order.iter().enumerate() {
            let place = Place { scan, inputs: &inputs, masks: &masks };
            let parsed = match flat.as_mut() {
                Some(fields) => scan::parse(fields, &place, filter, &mut self.reading),
                None => {
                    let Some(mut fields) = nodes[*index].object(&mut self.reading.problems) else { continue };
                    let parsed = scan::parse(&mut fields, &place, filter, &mut self.reading);
                    fields.finish(&mut self.reading.problems);
                    parsed
                }
            };
            for name in &parsed.identifier.structures {
                self.reading.need(name, false);
            }
            self.scans.push(parsed);
        }
    }

    fn put_associated_first(&mut self, node: Option<&Node>) {
        if let Some(node) = node
            && let Some(mut fields) = node.object(&mut self.reading.problems)
        {
            let found = fields.optional("identifier").map(|node| (node, Identifier::parse(node, &mut self.reading)));
            fields.finish(&mut self.reading.problems);
            if let Some((node, asked)) = found
                && !self.scans.iter().any(|scan| scan.identifier.suits(&asked))
            {
                let known: Vec<String> = self.scans.iter().map(|scan| scan.identifier.describe()).collect();
                self.reading.problems.add(node, asked.describe(), format!("an input scan: {}", known.join("; ")));
            }
        }
        if let Some(first) = self.scans.first_mut()
            && !first.required
        {
            first.required = true;
            self.reading.note(format!(
                "the input {:?} is not required by the configuration, but results belong to it: without it nothing can run",
                first.name
            ));
        }
    }

    /// Masks that go to the network: by `name`, numbered from 1, or with their values.
    fn read_masks(&mut self, structure: Option<&Node>, older: Option<&Node>) {
        let reading = &mut self.reading;
        if let Some(node) = structure.filter(|node| !is_blank(node))
            && let Some(mut fields) = node.object(&mut reading.problems)
        {
            if let Some(names) = fields.optional("name") {
                self.masks = (1..).zip(reading.texts(names)).map(|(value, name)| (name, value)).collect();
            }
            if let Some(list) = fields.optional("strNameToLabelMap") {
                let map = label_list(list, reading);
                self.masks.extend(map.into_iter().map(|(name, value, _)| (name, value)));
            }
            if let Some(node) = fields.optional("assocScan")
                && let Some(mut inner) = node.object(&mut reading.problems)
            {
                let identifier = inner.optional("identifier").map(|node| Identifier::parse(node, reading));
                inner.finish(&mut reading.problems);
                self.drawn = identifier.and_then(|identifier| identifier.pick);
            }
            fields.finish(&mut reading.problems);
        }
        for node in older.map_or(Vec::new(), one_or_many) {
            let Some(mut fields) = node.object(&mut reading.problems) else { continue };
            let label = label_of(&mut fields, reading);
            if let Some(node) = fields.optional("assocScanIdentifier") {
                self.drawn = Identifier::parse(node, reading).pick;
            }
            fields.finish(&mut reading.problems);
            self.masks.extend(label.map(|(name, value, _)| (name, value)));
        }
        self.masks.sort_by_key(|(_, value)| *value);
        for (name, _) in &self.masks {
            reading.need(name, false);
        }
        if self.masks.iter().zip(1..).any(|((_, value), expected)| *value != expected) {
            let values: Vec<i64> = self.masks.iter().map(|(_, value)| *value).collect();
            reading.not_expressed.push(format!(
                "values {values:?} of input structures: the channels of the masks follow each other without the gaps"
            ));
        }
    }

    fn read_output(&mut self, fields: &mut Fields<'_>) {
        let output = fields.optional("output");
        let mut inner = output.and_then(|node| node.object(&mut self.reading.problems));
        let map_node = inner.as_mut().and_then(|inner| inner.optional("labelMap"));
        let mut map = map_node.and_then(|node| node.object(&mut self.reading.problems));
        let mut of = |key: &'static str, fields: &mut Fields<'_>, reading: &mut Reading| {
            let (new, old) = (map.as_mut().and_then(|map| map.optional(key)), fields.optional(key));
            once(new, old, key, reading).cloned()
        };
        let labels = of("strNameToLabelMap", fields, &mut self.reading);
        let methods = of("postProc", fields, &mut self.reading);
        let described = of("roiGenerationDescription", fields, &mut self.reading);
        let dicom = of("dicomExportOptS", fields, &mut self.reading);
        if let Some(map) = map {
            map.finish(&mut self.reading.problems);
        }
        if let Some(node) = labels {
            self.labels = read_labels(&node, &mut self.reading);
        }
        let known: Vec<String> = self.labels.iter().map(|(name, ..)| name.clone()).collect();
        if let Some(node) = methods.filter(|node| !is_blank(node)) {
            self.post = post::post(&node, &known, &mut self.reading);
        }
        self.description = described.and_then(|node| self.reading.text(&node));
        if let Some(node) = dicom {
            self.read_dicom_options(&node);
        }
        if let Some(mut inner) = inner {
            self.read_images(&mut inner);
            inner.finish(&mut self.reading.problems);
        }
        if self.labels.is_empty() && self.images.is_empty() {
            let at = output.unwrap_or(fields.node());
            self.reading.problems.add(at, "no output", "\"strNameToLabelMap\", \"DVF\" or \"derivedImage\"");
        }
    }

    /// Images besides labels. The networks give a deformation along columns, rows and slices, in voxels.
    fn read_images(&mut self, output: &mut Fields<'_>) {
        for key in ["DVF", "derivedImage"] {
            let Some(node) = output.optional(key) else { continue };
            let Some(mut fields) = node.object(&mut self.reading.problems) else { continue };
            let under = format!("output.{key}.");
            self.reading.keep_all(
                &mut fields,
                &["outputFormat", "outputDir", "saveToPlanC", "dicomExportOptS"],
                &under,
            );
            let name = fields.optional("imageType").and_then(|node| self.reading.text(node));
            fields.finish(&mut self.reading.problems);
            let several = !self.labels.is_empty();
            let name = name.unwrap_or_else(|| key.to_owned());
            let mut image = match key {
                "DVF" => json!({"kind": "deformation", "channels": [0, 1, 2]}),
                _ => json!({"kind": "image", "channels": [0]}),
            };
            // The labels have the graph's first output; another one needs a name.
            if several {
                let tensor = name.to_ascii_lowercase();
                self.reading.note(format!(
                    "the network gives {name} as the output {tensor:?}; rename it there or in \"images\""
                ));
                image["output"] = json!(tensor);
            }
            self.images.insert(name, image);
        }
    }

    fn read_dicom_options(&mut self, node: &Node) {
        let Some(mut fields) = node.object(&mut self.reading.problems) else { return };
        let inner = fields.optional("rt_struct").and_then(|node| node.object(&mut self.reading.problems));
        fields.finish(&mut self.reading.problems);
        let Some(mut inner) = inner else { return };
        let frame =
            inner.optional("referencedFrameOfReference").and_then(|node| node.object(&mut self.reading.problems));
        inner.finish(&mut self.reading.problems);
        let Some(mut frame) = frame else { return };
        let from = frame.optional("fromStructureName").and_then(|node| self.reading.text(node));
        frame.optional("toStructureName");
        frame.finish(&mut self.reading.problems);
        self.reading.keep("dicomExportOptS", node);
        if let Some(from) = from {
            self.reading.note(format!(
                "the structure set refers to the series it was made on; its frame of reference is that of {from:?}, because a pipeline takes structures of the same frame only"
            ));
        }
    }

    fn read_register(&mut self, node: &Node) {
        let reading = &mut self.reading;
        let Some(mut fields) = node.object(&mut reading.problems) else { return };
        for key in ["baseScan", "movingScan"] {
            let inner = fields.optional(key).and_then(|node| node.object(&mut reading.problems));
            if let Some(mut inner) = inner {
                let found = inner.optional("identifier").map(|node| Identifier::parse(node, reading));
                inner.finish(&mut reading.problems);
                let is_input = found.as_ref().is_some_and(|f| self.scans.iter().any(|scan| scan.identifier.suits(f)));
                if let (Some(found), false) = (&found, is_input) {
                    let told = found.describe();
                    reading.note(format!("structures may be drawn on a series ({told}) that is no input of the model; it must share the frame of reference"));
                }
            }
        }
        let copied = fields.optional("copyStr").map_or(Vec::new(), |node| reading.texts(node));
        let renamed = fields.optional("renameStr").map_or(Vec::new(), |node| reading.texts(node));
        let method = fields.optional("method").and_then(|node| reading.text(node));
        let tool = fields.optional("tool").and_then(|node| reading.text(node));
        let plumbing = ["baseMask", "movMask", "boneThreshold", "inputCmdFile", "inBspFile", "outBspFile"];
        reading.keep_all(&mut fields, &plumbing, "register.");
        fields.finish(&mut reading.problems);
        // A structure that was copied under another name is the same voxels of the patient.
        for (from, to) in copied.iter().zip(&renamed).filter(|(from, to)| !from.eq_ignore_ascii_case(to)) {
            if let Some(need) = reading.needs.iter_mut().find(|need| need.name.eq_ignore_ascii_case(to)) {
                need.aliases.push(from.clone());
            }
        }
        let method = method.unwrap_or_else(|| "none".to_owned());
        if !method.eq_ignore_ascii_case("none") {
            let by = tool.map_or(String::new(), |tool| format!(" by {tool}"));
            reading.keep("register", node);
            reading.not_expressed.push(format!(
                "registration ({method}{by}): nothing is registered here; send the moving series registered to the other"
            ));
        }
    }

    /// What only documents, and what is plumbing between MATLAB and containers.
    fn read_rest(&mut self, fields: &mut Fields<'_>) {
        let reading = &mut self.reading;
        if let Some(node) = fields.optional("passedScanDim") {
            self.planar = reading.word(node, &[("2D", true), ("3D", false)]).unwrap_or(false);
            reading.keep("passedScanDim", node);
        }
        if let Some(node) = fields.optional("intensityOffset")
            && let Some(offset) = reading.number(node)
        {
            for scan in &mut self.scans {
                scan.pre.insert(0, json!({"op": "offset", "add": number_of(offset)}));
            }
        }
        if let Some(node) = fields.optional("reference") {
            self.reference = reading.text(node);
        }
        if let Some(node) = fields.optional("notes") {
            self.version = version(node);
            let steps = child(node, "preprocessing").map_or(Vec::new(), one_or_many);
            let offset = steps.iter().find_map(|step| child(step, "imageOffset"));
            self.image_offset = offset.and_then(|node| reading.number(node)).filter(|offset| *offset != 0.0);
            reading.keep("notes", node);
        }
        let plumbing = [
            "batchSize",
            "modelInputFormat",
            "modelOutputFormat",
            "exportedFilePrefix",
            "dataFormat",
            "dataSplit",
            "inputFileType",
        ];
        reading.keep_all(fields, &plumbing, "");
    }
}

/// The identifier of the scan that results belong to, wherever it stands.
fn associated(root: &Node) -> Option<&Node> {
    child(child(root, "outputAssocScan").or_else(|| child(root, "structAssocScan"))?, "identifier")
}

/// `notes.algorithm.version`, where it is.
fn version(node: &Node) -> Option<String> {
    match &child(child(node, "algorithm")?, "version")?.value {
        Value::String(text) | Value::Number(_, text) => Some(text.clone()),
        _ => None,
    }
}

/// The kind of image that the name of an algorithm begins with, by CERR's rule of naming.
fn modality_of(algorithm: &str) -> Option<&'static str> {
    let upper = algorithm.to_ascii_uppercase();
    let of = |start: &str| upper.starts_with(start);
    if of("CT") || of("CBCT") {
        Some("CT")
    } else if of("MR") || of("2DMR") || of("3DMR") || of("ADC") {
        Some("MR")
    } else if of("PT") || of("PET") || of("FDGPET") {
        Some("PT")
    } else {
        None
    }
}
