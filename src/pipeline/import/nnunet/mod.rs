//! A trained nnU-Net v2 as a model and a pipeline: plans, dataset, post-processing, folds, cascade. It takes texts, and it
//! knows nnunetv2 2.0 to 2.8; plans of nnU-Net 1 are another format.
//!
//! What is exact and what is not, read in nnunetv2 2.8.1: see the files of this folder.

mod checkpoint;
mod labels;
mod plans;
mod postprocessing;
mod stage;

pub(super) use postprocessing::largest_component;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use self::checkpoint::{Export, mirrored, trainer_of};
use self::labels::Labels;
use self::plans::{Configuration, Plans};
use self::stage::{Parts, network_file, stage};
use super::Imported;
use super::draft::{self, Slot};
use super::naming::{distinct_ids, id_of};
use super::post_chain::Chain;
use super::pretty::{text, value_of};
use crate::document::{self, Node, Problem, Problems, Value as Read};

/// The texts of one trained configuration, a folder such as `nnUNetTrainer__nnUNetPlans__3d_fullres`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The name of the folder: trainer, plans and configuration with `__` between them.
    pub folder: &'a str,
    pub plans: &'a str,
    pub dataset: &'a str,
    pub fingerprint: Option<&'a str>,
    pub postprocessing: Option<&'a str>,
    /// What `scripts/export/nnunet.py` wrote: what only the checkpoint knows.
    pub export: Option<&'a str>,
    /// The folds that were trained.
    pub folds: &'a [Fold],
}

/// One fold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// `0` to `4`, or `all`.
    pub name: String,
    /// Its ONNX file below the folder, if there is one.
    pub onnx: Option<PathBuf>,
    /// The digest of that file.
    pub sha256: Option<String>,
}

/// What the person who imports decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the model; by default that of the data set and the configuration.
    pub id: Option<String>,
    /// The configuration, where the name of the folder does not tell it.
    pub configuration: Option<String>,
    /// How the network sees the image, instead of what the reader of the plans suggests.
    pub orientation: Option<String>,
    /// How the axis of lowest resolution is treated (`never`, `auto`, `always`), instead of what the plans say: for
    /// programs that resample before nnU-Net does.
    pub separate: Option<String>,
    /// Whether axes are mirrored at all.
    pub mirroring: bool,
    /// The step between windows as a part of the patch, above 0 and up to 1.
    pub step_size: f64,
}

impl Default for Options {
    fn default() -> Options {
        let none = || None;
        Options {
            id: none(),
            configuration: none(),
            orientation: none(),
            separate: none(),
            mirroring: true,
            step_size: 0.5,
        }
    }
}

/// The configuration whose labels are channels of this one, if there is one: its folder is needed too.
pub fn previous_stage(plans: &str, configuration: &str) -> Option<String> {
    // Whatever is wrong here is told by the import.
    let root = document::parse(&plain(plans), &mut Problems::of("plans.json"))?;
    plans::previous_stage(&root, configuration)
}

/// The configuration that the name of a folder ends with.
pub fn configuration_of(folder: &str) -> Option<&str> {
    let mut parts = folder.split("__");
    let last = parts.nth(2)?;
    (parts.next().is_none() && !last.is_empty()).then_some(last)
}

/// Imports one configuration. `previous`: the folder of the stage before, for a cascade; without it the names of its
/// networks are guessed.
///
/// # Errors
/// All problems: what nnU-Net itself would refuse, and what this program cannot do exactly.
pub fn import(source: &Source<'_>, previous: Option<&Source<'_>>, options: &Options) -> Result<Imported, Vec<Problem>> {
    let mut of_plans = Problems::of("plans.json");
    let mut of_dataset = Problems::of("dataset.json");
    let mut others = Vec::new();
    let result = Import::read(source, previous, options, &mut of_plans, &mut of_dataset, &mut others);
    let problems = [of_plans.into_vec(), of_dataset.into_vec(), others].concat();
    match result {
        Some(import) if problems.is_empty() => Ok(import.write(source, previous, options)),
        _ => Err(problems),
    }
}

/// Everything read and checked.
struct Import {
    plans: Plans,
    configuration: Configuration,
    previous: Option<Configuration>,
    dataset: Value,
    channels: Vec<String>,
    labels: Labels,
    post: Option<Value>,
    postprocessing: Option<Value>,
    fingerprint: Option<Value>,
    export: Export,
    export_of_previous: Export,
}

impl Import {
    fn read(
        source: &Source<'_>,
        previous: Option<&Source<'_>>,
        options: &Options,
        of_plans: &mut Problems,
        of_dataset: &mut Problems,
        others: &mut Vec<Problem>,
    ) -> Option<Import> {
        let root = document::parse(&plain(source.plans), of_plans);
        let dataset = document::parse(&plain(source.dataset), of_dataset);
        let (root, dataset) = (root?, dataset?);
        check_options(options, &root, of_plans);
        let channels = channel_names(&dataset, of_dataset);
        let labels = Labels::parse(&dataset, of_dataset);
        let plans = Plans::parse(&root, of_plans);
        let name = configuration_name(source, options, &root, of_plans)?;
        let configuration = Configuration::parse(&root, &name, channels.len(), of_plans)?;
        let before = match &configuration.previous {
            Some(name) => Some(Configuration::parse(&root, name, channels.len(), of_plans)?),
            None => None,
        };
        let (labels, plans) = (labels?, plans?);
        let mut chain = Chain::new(&labels.names());
        let postprocessing = optional("postprocessing.json", source.postprocessing, others);
        if let Some(node) = &postprocessing {
            let mut problems = Problems::of("postprocessing.json");
            postprocessing::add(node, &labels, &mut chain, &mut problems);
            others.extend(problems.into_vec());
        }
        for (name, values) in &labels.regions {
            chain.union(name, &labels.names_of(values));
        }
        let fingerprint = optional("dataset_fingerprint.json", source.fingerprint, others);
        let export = Export::parse(source.export, others);
        let export_of_previous = Export::parse(previous.and_then(|previous| previous.export), others);
        Some(Import {
            plans,
            configuration,
            previous: before,
            dataset: value_of(&dataset),
            channels,
            labels,
            post: chain.into_post(),
            postprocessing: postprocessing.as_ref().map(value_of),
            fingerprint: fingerprint.as_ref().map(value_of),
            export,
            export_of_previous,
        })
    }

    fn write(&self, source: &Source<'_>, previous: Option<&Source<'_>>, options: &Options) -> Imported {
        let mut imported = Imported::default();
        let id = options.id.as_deref().map_or_else(|| self.default_id(), id_of);
        let inputs = distinct_ids(self.channels.iter().map(String::as_str));
        let orientation = self.orientation(options, &mut imported.notes);
        let guessed = [Fold { name: "0".to_owned(), ..Fold::default() }];
        let folds = |source: Option<&Source<'_>>| match source {
            Some(source) if !source.folds.is_empty() => source.folds.to_vec(),
            _ => guessed.to_vec(),
        };
        let prefix = self.previous.as_ref().map_or(String::new(), |before| format!("{}_", id_of(&before.name)));
        let (own, earlier) = (folds(Some(source)), folds(previous));
        let trainer = trainer_of(source.folder);
        let mirror = mirrored(&self.configuration, &self.export, trainer, options, &mut imported.notes);
        let parts = Parts {
            plans: &self.plans,
            labels: &self.labels,
            inputs: &inputs,
            folds: &own,
            export: &self.export,
            prefix: "",
            orientation: &orientation,
            mirror: &mirror,
            step_size: options.step_size,
            separate: options.separate.as_deref(),
        };
        let mut model = self.heading(&id, source);
        model.extend(stage(&self.configuration, &parts, self.previous.as_ref().map(|_| &self.labels)));
        if let Some(before) = &self.previous {
            let trainer = previous.and_then(|previous| trainer_of(previous.folder)).or(trainer);
            let mirror = mirrored(before, &self.export_of_previous, trainer, options, &mut imported.notes);
            let parts =
                Parts { folds: &earlier, export: &self.export_of_previous, prefix: &prefix, mirror: &mirror, ..parts };
            model.insert("previous".to_owned(), Value::Object(stage(before, &parts, None)));
        }
        if let Some(post) = &self.post {
            model.insert("post".to_owned(), post.clone());
        }
        model.insert("structures".to_owned(), json!(self.labels.structures()));
        model.insert("origin".to_owned(), self.origin(source));
        let folder = Path::new("models").join(&id);
        self.tell(&mut imported);
        networks(Some(source), &own, "", &folder, &mut imported);
        if self.previous.is_some() {
            networks(previous, &earlier, &prefix, &folder, &mut imported);
        }
        let alone = self.channels.len() == 1;
        let slots: Vec<Slot> =
            inputs.iter().zip(&self.channels).map(|(name, channel)| Slot::of_channel(name, channel, alone)).collect();
        let described = format!("{} of nnU-Net, {}", self.plans.dataset_name, self.configuration.name);
        let pipeline = draft::pipeline(&id, &described, &slots, &self.labels.shown(), &mut imported.notes);
        imported.files.push((folder.join("model.json"), text(&Value::Object(model))));
        imported.files.push((Path::new("pipelines").join(format!("{id}.json")), text(&pipeline)));
        imported
    }

    fn default_id(&self) -> String {
        let name = &self.plans.dataset_name;
        let short = match name.split_once('_') {
            Some((number, rest)) if number.starts_with("Dataset") && !rest.is_empty() => rest,
            _ => name,
        };
        id_of(&format!("{short}-{}", self.configuration.name))
    }

    fn heading(&self, id: &str, source: &Source<'_>) -> Map<String, Value> {
        let said = |key: &str| self.dataset.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = format!("nnU-Net {} {}", self.plans.dataset_name, self.configuration.name);
        let reference = said("reference").map(|text| format!("; data: {text}")).unwrap_or_default();
        let trained = trainer_of(source.folder).unwrap_or("nnU-Net");
        let heading = json!({
            "id": id,
            "name": name,
            "version": "1",
            "licence": "not stated: ask who trained it",
            "reference": format!("Isensee et al., nnU-Net, Nature Methods 18, 2021, doi 10.1038/s41592-020-01008-z; {trained}, \
                                  {}{reference}", self.plans.plans_name),
            "intended_use": "Not stated by nnU-Net: to be written by who is responsible for the model. Until then for research only.",
            "algorithm": "artificial_intelligence",
        });
        match heading {
            Value::Object(heading) => heading,
            _ => Map::new(),
        }
    }

    /// The reader decides in which order nnU-Net saw the axes; DICOM is stacked along the normal of its slices.
    fn orientation(&self, options: &Options, notes: &mut Vec<String>) -> String {
        if let Some(orientation) = &options.orientation {
            return orientation.clone();
        }
        let reader = self.plans.reader.as_str();
        if reader.ends_with("WithReorient") {
            // Index x to the right, y to the front, z to the head, and the array is [z, y, x].
            return "SAR".to_owned();
        }
        notes.push(format!(
            "orientation \"acquired\": {reader} takes axes as they are stored, which for axial DICOM and files made of it is \
             this; for training files stored otherwise (RAS, say) give --orientation, such as SAR"
        ));
        "acquired".to_owned()
    }

    fn origin(&self, source: &Source<'_>) -> Value {
        let mut origin = json!({
            "program": "nnU-Net v2",
            "folder": source.folder,
            "configuration": self.configuration.all,
            "plans": self.plans.rest,
            "dataset": self.dataset,
        });
        for (key, value) in [
            ("previous_configuration", self.previous.as_ref().map(|before| &before.all)),
            ("fingerprint", self.fingerprint.as_ref()),
            ("postprocessing", self.postprocessing.as_ref()),
            ("export", self.export.all.as_ref()),
            ("previous_export", self.export_of_previous.all.as_ref()),
        ] {
            if let Some(value) = value {
                origin[key] = value.clone();
            }
        }
        origin
    }

    /// What a person should know of these plans.
    fn tell(&self, imported: &mut Imported) {
        for configuration in std::iter::once(&self.configuration).chain(&self.previous) {
            if !configuration.unknown.is_empty() {
                let keys = configuration.unknown.join(", ");
                imported.notes.push(format!(
                    "plans.json, {}: keys that nnU-Net 2.8 does not know, kept in origin: {keys}",
                    configuration.name
                ));
            }
        }
        if self.previous.is_some() && !self.configuration.usual_labels {
            imported.not_expressed.push(format!(
                "plans.json, {}: resampling_fn_seg is not the planner's; labels of the previous stage are brought to this \
                 stage as the planner's does it",
                self.configuration.name
            ));
        }
        if self.labels.has_regions() {
            let names: Vec<&str> = self.labels.values.iter().map(|(name, _)| name.as_str()).collect();
            imported.notes.push(format!(
                "regions overlap as structures; the exclusive labels of nnU-Net's label map are structures of the model too: {}",
                names.join(", ")
            ));
        }
    }
}

fn networks(source: Option<&Source<'_>>, folds: &[Fold], prefix: &str, folder: &Path, imported: &mut Imported) {
    for fold in folds {
        let file = network_file(prefix, &fold.name);
        match &fold.onnx {
            Some(onnx) => {
                let from = Path::new(source.map_or("", |source| source.folder)).join(onnx);
                imported.networks.push((from, folder.join(file)));
            }
            None => imported.notes.push(format!(
                "no ONNX file for {file}: write it with scripts/export/nnunet.py and import again, or install it with \
                 `contourd model install`"
            )),
        }
    }
}

fn check_options(options: &Options, root: &Node, problems: &mut Problems) {
    let step = options.step_size;
    if !(0.05..=1.0).contains(&step) {
        problems.add(root, format!("--step-size {step}"), "0.05 to 1");
    }
    if let Some(separate) = options.separate.as_deref().filter(|word| !["never", "auto", "always"].contains(word)) {
        problems.add(root, format!("--separate {separate}"), "never, auto or always");
    }
}

fn configuration_name(source: &Source<'_>, options: &Options, root: &Node, problems: &mut Problems) -> Option<String> {
    let known = plans::names(root);
    let named = options.configuration.as_deref().or_else(|| configuration_of(source.folder));
    match (named, known.as_slice()) {
        (Some(name), _) => Some(name.to_owned()),
        (None, [only]) => Some((*only).to_owned()),
        (None, _) => {
            let found = format!("the folder {:?}, which names no configuration", source.folder);
            let expected = format!("--configuration with one of {}", known.join(", "));
            problems.add(root, found, expected);
            None
        }
    }
}

/// The channels in the order of their numbers; `modality` is the older word.
fn channel_names(dataset: &Node, problems: &mut Problems) -> Vec<String> {
    let Some(mut fields) = dataset.object(problems) else { return Vec::new() };
    let Some(node) = fields.optional("channel_names").or_else(|| fields.optional("modality")) else {
        problems.add(dataset, "no \"channel_names\"", "the key \"channel_names\"");
        return Vec::new();
    };
    let Read::Object(list) = &node.value else {
        problems.add(node, node.describe(), "an object from number to name, such as {\"0\": \"CT\"}");
        return Vec::new();
    };
    let mut named: Vec<(usize, String)> = Vec::new();
    for (key, item) in list {
        match (key.trim().parse(), item.text(problems)) {
            (Ok(number), Some(name)) => named.push((number, name.to_owned())),
            (Err(_), _) => problems.add(item, format!("the channel {key:?}"), "a number"),
            _ => {}
        }
    }
    named.sort();
    if named.is_empty() || !named.iter().map(|(number, _)| *number).eq(0..named.len()) {
        problems.add(node, format!("{} channels", named.len()), "0, 1, 2, ... without a gap, at least one");
    }
    named.into_iter().map(|(_, name)| name).collect()
}

fn optional(file: &str, text: Option<&str>, others: &mut Vec<Problem>) -> Option<Node> {
    let mut problems = Problems::of(file);
    let node = document::parse(&plain(text?), &mut problems);
    others.extend(problems.into_vec());
    node
}

/// Python writes `NaN` and `Infinity` where JSON has no number (a Dice without voxels): they become null.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped, mut rest) = (false, false, text);
    while let Some(letter) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| !quoted && rest.starts_with(word));
        if let Some(word) = word {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        quoted ^= letter == '"' && !escaped;
        escaped = quoted && letter == '\\' && !escaped;
        out.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_become_null() {
        assert_eq!(plain(r#"{"NaN \" NaN": [NaN, -Infinity, 1]}"#), r#"{"NaN \" NaN": [null, null, 1]}"#);
    }

    #[test]
    fn the_folder_names_the_configuration() {
        assert_eq!(configuration_of("nnUNetTrainer__nnUNetPlans__3d_fullres"), Some("3d_fullres"));
        assert_eq!(configuration_of("somewhere"), None);
    }
}
