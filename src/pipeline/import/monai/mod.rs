//! A MONAI bundle as a model and a pipeline: its inference configuration, its metadata. It takes texts and runs no Python;
//! what is not a literal, and every transform without an exact counterpart, is refused with its name.

mod config;
mod expression;
mod images;
mod inferer;
mod segments;
mod step;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use self::config::Config;
use self::images::{Expected, Images};
use self::inferer::Inference;
use self::segments::Segments;
use super::Imported;
use super::draft::{self, Slot};
use super::naming::{distinct_ids, id_of};
use super::pretty::{text, value_of};
use crate::document::{self, Node, Problem, Problems, Value as Read};

/// The texts of a bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bundle<'a> {
    /// The name of its folder.
    pub folder: &'a str,
    /// `configs/inference.json`.
    pub inference: &'a str,
    /// `configs/metadata.json`.
    pub metadata: &'a str,
    /// What `scripts/export/monai_bundle.py` wrote: names of tensors, digest.
    pub export: Option<&'a str>,
    /// The ONNX file below the folder, with its digest, if there is one.
    pub network: Option<(&'a str, &'a str)>,
}

/// What the person who imports decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the model; by default that of the folder.
    pub id: Option<String>,
    /// How the network sees the image, for bundles without Orientationd.
    pub orientation: Option<String>,
}

/// Imports a bundle.
///
/// # Errors
/// All problems: what is not of a bundle, and what this program cannot do exactly.
pub fn import(bundle: &Bundle<'_>, options: &Options) -> Result<Imported, Vec<Problem>> {
    let mut of_inference = Problems::of("configs/inference.json");
    let mut of_metadata = Problems::of("configs/metadata.json");
    let mut of_export = Problems::of("models/export.json");
    let inference = document::parse(bundle.inference, &mut of_inference);
    let metadata = document::parse(bundle.metadata, &mut of_metadata);
    let export = bundle.export.and_then(|text| document::parse(text, &mut of_export));
    let parts = inference.zip(metadata).and_then(|(inference, metadata)| {
        let data = DataFormat::parse(&metadata, &mut of_metadata)?;
        let parts = Parts::read(&inference, &data, &mut of_inference)?;
        Some((parts, data, value_of(&inference), value_of(&metadata)))
    });
    let problems = [of_inference.into_vec(), of_metadata.into_vec(), of_export.into_vec()].concat();
    match parts {
        Some((parts, data, inference, metadata)) if problems.is_empty() => {
            let export = export.as_ref().map(value_of);
            Ok(write(bundle, options, &Found { parts, data, inference, metadata, export }))
        }
        _ => Err(problems),
    }
}

/// Everything read.
struct Found {
    parts: Parts,
    data: DataFormat,
    inference: Value,
    metadata: Value,
    export: Option<Value>,
}

/// What `network_data_format` of `metadata.json` says.
struct DataFormat {
    /// The key of the image and the names of its channels.
    input: String,
    channels: Vec<String>,
    modality: Option<String>,
    /// Whether it is of a MONAI before 1.5.
    older: bool,
    /// 2 or 3.
    dimensions: usize,
    /// Channels of the output, and their names.
    outputs: usize,
    names: Vec<(usize, String)>,
}

/// The three parts of an inference configuration.
struct Parts {
    images: Images,
    inference: Inference,
    segments: Segments,
}

impl DataFormat {
    fn parse(metadata: &Node, problems: &mut Problems) -> Option<DataFormat> {
        let mut root = metadata.object(problems)?;
        let version = root.optional("monai_version").and_then(|node| node.text(problems)).unwrap_or("1.5");
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let older = (numbers.next(), numbers.next()) < (Some(1), Some(5));
        let mut format = root.required("network_data_format", problems)?.object(problems)?;
        let inputs = format.required("inputs", problems)?;
        let outputs = format.required("outputs", problems)?;
        let (input, image) = only(inputs, "one input, an image", problems)?;
        let (_, output) = only(outputs, "one output", problems)?;
        let mut image = image.object(problems)?;
        let count = image.required("num_channels", problems).and_then(|node| node.integer(1, 64, problems))? as usize;
        let shape = image.required("spatial_shape", problems).and_then(|node| node.array(problems))?.len();
        if !(2..=3).contains(&shape) {
            problems.add(inputs, format!("a shape of {shape} axes"), "2 or 3");
            return None;
        }
        let said = image.optional("channel_def").map(definitions).unwrap_or_default();
        let name = |index: usize| said.iter().find(|(at, _)| *at == index).map(|(_, name)| name.clone());
        let channels = if count == 1 {
            vec![input.to_owned()]
        } else {
            (0..count).map(|index| name(index).unwrap_or_else(|| format!("{input}{index}"))).collect()
        };
        let modality = image.optional("modality").and_then(|node| node.text(problems)).map(str::to_owned);
        let mut output = output.object(problems)?;
        let outputs = output.required("num_channels", problems).and_then(|n| n.integer(1, 65_535, problems))? as usize;
        let names = output.optional("channel_def").map(definitions).unwrap_or_default();
        Some(DataFormat { input: input.to_owned(), channels, modality, older, dimensions: shape, outputs, names })
    }

    /// Structures with their channel: without a background, and for one channel the name that is none.
    fn structures(&self, notes: &mut Vec<String>) -> Vec<(String, usize)> {
        let background = |name: &str| {
            let folded = name.to_ascii_lowercase();
            folded.contains("background") || folded == "everything else" || folded == "outside"
        };
        let mut named: Vec<(usize, String)> =
            self.names.iter().filter(|(_, name)| !background(name)).cloned().collect();
        if self.outputs == 1 {
            named.truncate(1);
            named.iter_mut().for_each(|(index, _)| *index = 0);
        }
        named.retain(|(index, _)| *index < self.outputs);
        if named.is_empty() {
            let first = usize::from(self.outputs > 1);
            notes.push(
                "metadata.json names no channels of the output: labels are called label_1, label_2, ...".to_owned(),
            );
            named = (first..self.outputs).map(|index| (index, format!("label_{}", index + 1 - first))).collect();
        }
        named.sort();
        named.into_iter().map(|(index, name)| (name, index)).collect()
    }
}

/// The only entry of an object.
fn only<'a>(node: &'a Node, expected: &str, problems: &mut Problems) -> Option<(&'a str, &'a Node)> {
    match &node.value {
        Read::Object(list) if list.len() == 1 => list.first().map(|(key, node)| (key.as_str(), node)),
        _ => {
            problems.add(node, node.describe(), expected);
            None
        }
    }
}

/// `channel_def`: index and name.
fn definitions(node: &Node) -> Vec<(usize, String)> {
    let Read::Object(list) = &node.value else { return Vec::new() };
    let one = |(key, item): &(String, Node)| match &item.value {
        Read::String(name) => Some((key.trim().parse().ok()?, name.trim().to_owned())),
        _ => None,
    };
    list.iter().filter_map(one).collect()
}

impl Parts {
    fn read(inference: &Node, data: &DataFormat, problems: &mut Problems) -> Option<Parts> {
        let config = Config::new(inference);
        let mut entry = |id: &str| {
            let found = config.entry(id);
            if found.is_none() {
                let expected = format!("the entry {id:?}, as monai.bundle knows it");
                problems.add(inference, format!("no {id:?}"), expected);
            }
            found
        };
        let (pre, how, post) = (entry("preprocessing"), entry("inferer"), entry("postprocessing"));
        let (pre, how, post) = (pre?, how?, post?);
        let expected = Expected { key: &data.input, names: &data.channels, older: data.older };
        let list = config.transforms(pre, problems);
        let images = Images::read(&config, &list, &expected, problems);
        let (found, wanted) =
            (images.images.iter().filter(|image| image.key == data.input).count(), data.channels.len());
        if found != wanted {
            problems.add(
                pre,
                format!("{found} channels of {:?}", data.input),
                format!("{wanted}, as metadata.json says"),
            );
        }
        let how =
            config.component(how, problems).and_then(|how| Inference::read(&config, &how, data.dimensions, problems));
        let list = config.transforms(post, problems);
        let mut notes = Vec::new();
        let names = data.structures(&mut notes);
        let chosen: Vec<&images::Image> = images.images.iter().filter(|image| image.key == data.input).collect();
        let mut segments = segments::read(&config, &list, post, (&names, data.outputs), &chosen, problems)?;
        segments.notes.splice(0..0, notes);
        Some(Parts { images, inference: how?, segments })
    }
}

fn write(bundle: &Bundle<'_>, options: &Options, read: &Found) -> Imported {
    let Parts { images, inference, segments } = &read.parts;
    let mut imported = Imported { not_expressed: segments.not_expressed.clone(), ..Imported::default() };
    imported.notes.clone_from(&segments.notes);
    let id = options.id.as_deref().map_or_else(|| id_of(bundle.folder), id_of);
    let chosen: Vec<&images::Image> = images.images.iter().filter(|image| image.key == read.data.input).collect();
    let alone = chosen.len() == 1;
    // A single image is called by what it is.
    let called = |image: &images::Image| match (&read.data.modality, alone) {
        (Some(modality), true) => modality.clone(),
        _ => image.name.clone(),
    };
    let names: Vec<String> = chosen.iter().map(|image| called(image)).collect();
    let inputs = distinct_ids(names.iter().map(String::as_str));
    let mut model = heading(&id, bundle, read);
    network(&mut model, bundle, read, &id, &mut imported);
    let (orientation, loaded) = orientation(images, options, &mut imported.notes);
    model.insert("orientation".to_owned(), Value::from(orientation));
    if let Some(transpose) = inference.transpose(loaded) {
        model.insert("transpose".to_owned(), json!(transpose));
    }
    let order = inference.order();
    let described: Map<String, Value> = inputs
        .iter()
        .zip(&chosen)
        .map(|(name, image)| {
            let pre: Vec<Value> = image.pre.iter().map(|operation| permuted(operation, order)).collect();
            (name.clone(), json!({ "pre": pre }))
        })
        .collect();
    model.insert("inputs".to_owned(), Value::Object(described));
    let mut tensor = json!({ "layout": inference.layout() });
    for (key, list) in [("input", "inputs"), ("output", "output")] {
        let name = read.export.as_ref().and_then(|export| export[list].as_object()?.keys().next().cloned());
        if let Some(name) = name {
            tensor[key] = Value::from(name);
        }
    }
    model.insert("tensor".to_owned(), tensor);
    model.insert("window".to_owned(), inference.window());
    model.insert("output".to_owned(), segments.output.clone());
    if let Some(post) = &segments.post {
        model.insert("post".to_owned(), post.clone());
    }
    model.insert("structures".to_owned(), json!(segments.delivered));
    let mut origin = json!({ "program": "MONAI bundle", "folder": bundle.folder, "inference": read.inference,
                             "metadata": read.metadata });
    if let Some(export) = &read.export {
        origin["export"] = export.clone();
    }
    model.insert("origin".to_owned(), origin);
    let channel = |name: &String| match (&read.data.modality, alone) {
        (Some(modality), true) => Slot::of_channel(name, modality, true),
        (Some(modality), false) => Slot::of_channel(name, modality, false).described_by(name),
        (None, _) => Slot::of_channel(name, name, alone),
    };
    let slots: Vec<Slot> = inputs.iter().map(channel).collect();
    let said = read.metadata["description"].as_str().unwrap_or("a MONAI bundle");
    let pipeline = draft::pipeline(&id, said, &slots, &segments.delivered, &mut imported.notes);
    imported.files.push((Path::new("models").join(&id).join("model.json"), text(&Value::Object(model))));
    imported.files.push((Path::new("pipelines").join(format!("{id}.json")), text(&pipeline)));
    imported
}

fn heading(id: &str, bundle: &Bundle<'_>, read: &Found) -> Map<String, Value> {
    let said = |key: &str| read.metadata[key].as_str().filter(|text| !text.is_empty());
    let first = read.metadata["references"][0].as_str().unwrap_or("no reference given");
    let heading = json!({
        "id": id,
        "name": format!("MONAI {}", said("name").unwrap_or(bundle.folder)),
        "version": said("version").unwrap_or("1"),
        "licence": format!("not stated in metadata.json ({}): see LICENSE and docs of the bundle",
                           said("copyright").unwrap_or("no copyright given")),
        "reference": first,
        "intended_use": said("intended_use").unwrap_or("Not stated by the bundle: for research only."),
        "algorithm": "artificial_intelligence",
    });
    match heading {
        Value::Object(heading) => heading,
        _ => Map::new(),
    }
}

fn network(model: &mut Map<String, Value>, bundle: &Bundle<'_>, read: &Found, id: &str, imported: &mut Imported) {
    model.insert("file".to_owned(), Value::from("model.onnx"));
    let digest = bundle.network.map(|(_, digest)| digest.to_owned());
    let exported = read.export.as_ref().and_then(|export| export["sha256"].as_str().map(str::to_owned));
    if let (Some(digest), Some(exported)) = (&digest, &exported)
        && digest != exported
    {
        imported
            .notes
            .push("models/export.json tells another digest than that of the ONNX file: was it replaced?".to_owned());
    }
    model.insert("sha256".to_owned(), json!(digest));
    match bundle.network {
        Some((file, _)) => {
            let to: PathBuf = Path::new("models").join(id).join("model.onnx");
            imported.networks.push((Path::new(bundle.folder).join(file), to));
        }
        None => imported.notes.push(
            "no ONNX file in models/: write it with scripts/export/monai_bundle.py and import again, or install it with \
             `contourd model install`"
                .to_owned(),
        ),
    }
}

/// The word, and whether axes are as they were loaded ([column, row, slice] of a DICOM series).
fn orientation(images: &Images, options: &Options, notes: &mut Vec<String>) -> (String, bool) {
    if let Some(axes) = &images.orientation {
        return (axes.clone(), false);
    }
    if let Some(orientation) = &options.orientation {
        return (orientation.clone(), false);
    }
    notes.push(
        "there is no Orientationd: axes are taken as a reader gives those of a DICOM series, [column, row, slice]; for \
         training files stored otherwise give --orientation, such as RAS"
            .to_owned(),
    );
    ("acquired".to_owned(), true)
}

/// An operation with its values for axes in another order.
fn permuted(operation: &Value, order: [usize; 3]) -> Value {
    let mut operation = operation.clone();
    let Some(fields) = operation.as_object_mut() else { return operation };
    for (_, value) in fields.iter_mut() {
        if let Value::Array(items) = value
            && items.len() == 3
            && items.iter().all(Value::is_number)
        {
            *items = order.map(|axis| items[axis].clone()).to_vec();
        }
    }
    operation
}
