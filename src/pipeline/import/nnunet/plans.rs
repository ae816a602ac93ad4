//! The `plans.json` of nnU-Net v2: axes, and what one configuration does to images; it knows no labels and no files.
//!
//! Facts: nnunetv2 2.0 to 2.8.1, utilities/plans_handling/plans_handler.py. A configuration takes whole values from the one
//! that it inherits from. Plans before 2.3 describe the network by `UNet_class_name` and others beside it, later ones by
//! `architecture`; neither matters once the network is an ONNX file.

use serde_json::{Map, Value};

use crate::document::{Node, Problems, Value as Read};
use crate::pipeline::import::pretty::value_of;

/// What holds for all configurations.
pub(super) struct Plans {
    pub dataset_name: String,
    pub plans_name: String,
    /// New axis i is old axis `transpose[i]`, as numpy counts.
    pub transpose: [usize; 3],
    pub reader: String,
    /// Everything but the configurations, as it was.
    pub rest: Value,
}

/// One configuration, with what it inherits.
pub(super) struct Configuration {
    pub name: String,
    /// Two for slices, three for volumes; transposed already.
    pub patch: Vec<usize>,
    pub spacing_mm: Vec<f64>,
    /// One for each channel.
    pub channels: Vec<Normalisation>,
    pub data: Resampling,
    pub probabilities: Resampling,
    /// Whether labels of the previous stage are brought onto this grid as this program does it.
    pub usual_labels: bool,
    pub previous: Option<String>,
    /// All of it, as it was.
    pub all: Value,
    /// Keys that nnU-Net 2.8.1 does not know.
    pub unknown: Vec<String>,
}

/// nnunetv2 2.8.1, preprocessing/normalization/default_normalization_schemes.py.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Normalisation {
    Ct {
        low: f64,
        high: f64,
        mean: f64,
        std: f64,
    },
    /// `masked`: over the voxels that the crop to non-zero found, and only those are changed.
    ZScore {
        masked: bool,
    },
    RescaleTo01,
    RgbTo01,
    None,
}

/// How an array is brought to another number of voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resampling {
    /// `resample_data_or_seg_to_shape` of the planner: cubic splines for images, linear for logits; along an axis that is
    /// treated apart the nearest voxel, or linear (`order_z` 1).
    Usual { separate: &'static str, linear_z: bool },
    /// `resample_torch_fornnunet`: linear.
    Torch { separate: &'static str },
    /// `no_resampling_hack`.
    None,
}

impl Resampling {
    /// The word for the way back.
    pub fn separate(self) -> &'static str {
        match self {
            // Linear in planes and then linear across them is linear in space.
            Resampling::Usual { linear_z: true, .. } | Resampling::None => "never",
            Resampling::Usual { separate, .. } | Resampling::Torch { separate } => separate,
        }
    }
}

const KEYS: &[&str] = &[
    "architecture",
    "batch_dice",
    "batch_size",
    "conv_kernel_sizes",
    "data_identifier",
    "inherits_from",
    "median_image_size_in_voxels",
    "n_conv_per_stage_decoder",
    "n_conv_per_stage_encoder",
    "next_stage",
    "normalization_schemes",
    "num_pool_per_axis",
    "patch_size",
    "pool_op_kernel_sizes",
    "preprocessor_name",
    "previous_stage",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_probabilities",
    "resampling_fn_probabilities_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
    "spacing",
    "unet_max_num_features",
    "UNet_base_num_features",
    "UNet_class_name",
    "use_mask_for_norm",
];

impl Plans {
    /// Reads what holds for all configurations.
    pub fn parse(root: &Node, problems: &mut Problems) -> Option<Plans> {
        let mut fields = root.object(problems)?;
        let mut text = |key, problems: &mut Problems| {
            fields.required(key, problems).and_then(|node| node.text(problems)).map(str::to_owned)
        };
        let (dataset_name, reader) = (text("dataset_name", problems), text("image_reader_writer", problems));
        let plans_name = text("plans_name", problems);
        let transpose = fields.required("transpose_forward", problems).and_then(|node| parse_axes(node, problems));
        if let Some(manager) = fields.optional("label_manager").filter(|node| !is_text(node, "LabelManager")) {
            problems.add(manager, manager.describe(), "\"LabelManager\": what another class does is not known");
        }
        let Read::Object(list) = &root.value else { return None };
        let rest = list.iter().filter(|(key, _)| key != "configurations");
        let rest = Value::Object(rest.map(|(key, node)| (key.clone(), value_of(node))).collect());
        Some(Plans {
            dataset_name: dataset_name?,
            plans_name: plans_name?,
            transpose: transpose?,
            reader: reader?,
            rest,
        })
    }
}

/// The names of the configurations of a file.
pub(super) fn names(root: &Node) -> Vec<&str> {
    match find(root, "configurations").map(|node| &node.value) {
        Some(Read::Object(list)) => list.iter().map(|(name, _)| name.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// The configuration before this one, in a cascade.
pub(super) fn previous_stage(root: &Node, name: &str) -> Option<String> {
    let fields = inherited(find(root, "configurations")?, name, &mut Problems::of("plans.json"))?;
    match fields.iter().find(|(key, _)| *key == "previous_stage").map(|(_, node)| &node.value) {
        Some(Read::String(name)) if !name.is_empty() => Some(name.clone()),
        _ => None,
    }
}

impl Configuration {
    /// Reads one configuration, for so many channels of the image.
    pub fn parse(root: &Node, name: &str, channels: usize, problems: &mut Problems) -> Option<Configuration> {
        let before = problems.count();
        let Some(list) = find(root, "configurations") else {
            problems.add(root, "no \"configurations\"", "the key \"configurations\"");
            return None;
        };
        let fields = inherited(list, name, problems)?;
        let get = |key: &str| fields.iter().find(|(known, _)| *known == key).map(|(_, node)| *node);
        let at = find(list, name)?;
        let need = |key: &str, problems: &mut Problems| {
            let found = get(key);
            if found.is_none() {
                problems.add(at, format!("no {key:?}"), format!("the key {key:?}, here or inherited"));
            }
            found
        };
        if let Some(node) = need("preprocessor_name", problems).filter(|node| !is_text(node, "DefaultPreprocessor")) {
            problems.add(node, node.describe(), "\"DefaultPreprocessor\": what another class does is not known");
        }
        let patch = need("patch_size", problems).map(|node| numbers(node, problems)).unwrap_or_default();
        let spacing_mm = need("spacing", problems).map(|node| numbers(node, problems)).unwrap_or_default();
        if problems.count() == before && (patch.len() != spacing_mm.len() || !(2..=3).contains(&patch.len())) {
            let found = format!("a patch of {} and a spacing of {} axes", patch.len(), spacing_mm.len());
            problems.add(at, found, "2 or 3 of both");
        }
        let schemes = need("normalization_schemes", problems);
        let masks = need("use_mask_for_norm", problems);
        let channels = schemes.map(|node| normalisations(root, node, masks, channels, problems)).unwrap_or_default();
        let function = |what: &str, order: f64, problems: &mut Problems| {
            let node = need(&format!("resampling_fn_{what}"), problems)?;
            resampling(node, get(&format!("resampling_fn_{what}_kwargs")), (order, what == "seg"), problems)
        };
        let (data, probabilities) = (function("data", 3.0, problems), function("probabilities", 1.0, problems));
        let mut quiet = Problems::of("");
        let usual_labels = function("seg", 1.0, &mut quiet).is_some_and(|how| matches!(how, Resampling::Usual { .. }));
        if problems.count() > before {
            return None;
        }
        let previous = previous_stage(root, name);
        let all: Map<String, Value> = fields.iter().map(|(key, node)| ((*key).to_owned(), value_of(node))).collect();
        let unknown = all.keys().filter(|key| !KEYS.contains(&key.as_str())).cloned().collect();
        Some(Configuration {
            name: name.to_owned(),
            patch: patch.iter().map(|side| *side as usize).collect(),
            spacing_mm,
            channels,
            data: data?,
            probabilities: probabilities?,
            usual_labels,
            previous,
            all: Value::Object(all),
            unknown,
        })
    }

    /// Whether slices are seen one by one.
    pub fn is_flat(&self) -> bool {
        self.patch.len() == 2
    }
}

fn find<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    match &node.value {
        Read::Object(list) => list.iter().find(|(name, _)| name == key).map(|(_, node)| node),
        _ => None,
    }
}

fn is_text(node: &Node, text: &str) -> bool {
    matches!(&node.value, Read::String(found) if found == text)
}

/// The fields of a configuration over those that it inherits.
fn inherited<'a>(list: &'a Node, name: &str, problems: &mut Problems) -> Option<Vec<(&'a str, &'a Node)>> {
    let mut chain: Vec<&Node> = Vec::new();
    let mut next = name.to_owned();
    loop {
        let Some(node) = find(list, &next) else {
            let Read::Object(known) = &list.value else { return None };
            let known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            problems.add(list, format!("no configuration {next:?}"), format!("one of {}", known.join(", ")));
            return None;
        };
        if chain.iter().any(|seen| std::ptr::eq(*seen, node)) {
            problems.add(node, "a configuration that inherits from itself", "a chain that ends");
            return None;
        }
        chain.push(node);
        match find(node, "inherits_from").map(|parent| &parent.value) {
            Some(Read::String(parent)) => next.clone_from(parent),
            _ => break,
        }
    }
    let mut fields: Vec<(&str, &Node)> = Vec::new();
    for node in chain.into_iter().rev() {
        let Read::Object(own) = &node.value else { continue };
        for (key, value) in own {
            match fields.iter_mut().find(|(known, _)| known == key) {
                Some(slot) => slot.1 = value,
                None => fields.push((key, value)),
            }
        }
    }
    Some(fields)
}

fn parse_axes(node: &Node, problems: &mut Problems) -> Option<[usize; 3]> {
    let axes: Vec<usize> = numbers(node, problems).iter().map(|axis| *axis as usize).collect();
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted != [0, 1, 2] {
        problems.add(node, format!("the axes {axes:?}"), "an order of 0, 1, 2");
    }
    axes.try_into().ok()
}

fn numbers(node: &Node, problems: &mut Problems) -> Vec<f64> {
    let items = node.array(problems).unwrap_or_default();
    items.iter().filter_map(|item| item.number(0.0, 1e6, problems)).collect()
}

fn normalisations(
    root: &Node,
    schemes: &Node,
    masks: Option<&Node>,
    channels: usize,
    problems: &mut Problems,
) -> Vec<Normalisation> {
    let items = schemes.array(problems).unwrap_or_default();
    let masks = masks.and_then(|node| node.array(problems)).unwrap_or_default();
    if items.len() != channels || masks.len() != channels {
        let found = format!("{} schemes and {} masks", items.len(), masks.len());
        problems.add(schemes, found, format!("{channels} of each, one for each channel of dataset.json"));
        return Vec::new();
    }
    let properties = find(root, "foreground_intensity_properties_per_channel")
        .or_else(|| find(root, "foreground_intensity_properties_by_modality"));
    let one = |(index, (item, mask)): (usize, (&Node, &Node)), problems: &mut Problems| {
        let name = item.text(problems)?;
        match name {
            "CTNormalization" => {
                let Some(of_channel) = properties.and_then(|node| find(node, &index.to_string())) else {
                    let expected = "\"foreground_intensity_properties_per_channel\" with this channel";
                    problems.add(item, format!("no intensities of channel {index}"), expected);
                    return None;
                };
                let mut fields = of_channel.object(problems)?;
                let mut number = |key| fields.required(key, problems).and_then(|node| node.number(-1e9, 1e9, problems));
                let (low, high) = (number("percentile_00_5"), number("percentile_99_5"));
                let (mean, std) = (number("mean"), number("std"));
                Some(Normalisation::Ct { low: low?, high: high?, mean: mean?, std: std?.max(1e-8) })
            }
            "ZScoreNormalization" => Some(Normalisation::ZScore { masked: mask.bool(problems)? }),
            "RescaleTo01Normalization" => Some(Normalisation::RescaleTo01),
            "RGBTo01Normalization" => Some(Normalisation::RgbTo01),
            "NoNormalization" => Some(Normalisation::None),
            _ => {
                let known = "CTNormalization, ZScoreNormalization, RescaleTo01Normalization, RGBTo01Normalization, \
                             NoNormalization";
                problems.add(item, format!("{name:?}"), format!("one of {known}: what others do is not known"));
                None
            }
        }
    };
    items.iter().zip(masks).enumerate().filter_map(|entry| one(entry, problems)).collect()
}

/// A function with its arguments. `order` is that of the planner's: another one is another method.
fn resampling(
    node: &Node,
    arguments: Option<&Node>,
    (order, is_labels): (f64, bool),
    problems: &mut Problems,
) -> Option<Resampling> {
    let name = node.text(problems)?;
    let mut fields = match arguments {
        Some(arguments) => Some(arguments.object(problems)?),
        None => None,
    };
    let mut get = |key| fields.as_mut().and_then(|fields| fields.optional(key));
    let separate = match get("force_separate_z").map(|node| &node.value) {
        None | Some(Read::Null) => "auto",
        Some(Read::Bool(true)) => "always",
        Some(_) => "never",
    };
    let threshold = get("separate_z_anisotropy_threshold");
    if let Some(node) = threshold.filter(|node| !matches!(node.value, Read::Number(3.0, _))) {
        problems.add(node, node.describe(), "3, the threshold of this program");
        return None;
    }
    match name {
        "resample_data_or_seg_to_shape" => {
            if let Some(node) = get("order").filter(|node| !matches!(node.value, Read::Number(v, _) if v == order)) {
                problems.add(node, node.describe(), format!("{order}, as the planner of nnU-Net writes it"));
                return None;
            }
            let across = get("order_z");
            let linear_z = match across.map(|node| &node.value) {
                None => false,
                Some(Read::Number(across, _)) if *across == 0.0 => false,
                Some(Read::Number(across, _)) if *across == 1.0 && !is_labels => true,
                _ => {
                    let node = across.unwrap_or(node);
                    let expected = if is_labels { "0 for segmentations" } else { "0 or 1" };
                    problems.add(node, node.describe(), expected);
                    return None;
                }
            };
            Some(Resampling::Usual { separate, linear_z })
        }
        "resample_torch_fornnunet" => Some(Resampling::Torch { separate }),
        "no_resampling_hack" => Some(Resampling::None),
        _ => {
            let known = "resample_data_or_seg_to_shape, resample_torch_fornnunet, no_resampling_hack";
            problems.add(node, format!("{name:?}"), format!("one of {known}: what others do is not known"));
            None
        }
    }
}
