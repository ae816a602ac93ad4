//! What configurations leave to the programs that wrap each network: layout, normalisation, fusion; it knows no file.
//!
//! CERR's configurations end where the image is handed to a container. What the published containers then do is told here
//! by algorithm, with their exact numbers. For others a neutral network is assumed, and a note says what to add.

use serde_json::{Value as Json, json};

/// How a network is fed and read.
pub(super) struct Network {
    /// File of the network, and the view that it sees where each has its own.
    pub files: Vec<(&'static str, Option<&'static str>)>,
    pub orientation: &'static str,
    pub layout: &'static str,
    /// Names of tensors, where they are fixed.
    pub tensor: Vec<(&'static str, &'static str)>,
    pub patch: Json,
    /// Whether the offset of the configuration's notes is added, as CERR's sample program does.
    pub offset: bool,
    /// After what the configuration does with each input.
    pub pre: Vec<Json>,
    /// After the view was taken.
    pub view_pre: Vec<(&'static str, Vec<Json>)>,
    /// How often the only channel is repeated.
    pub repeat: usize,
    /// Channels that the program makes by itself: slice, and operations.
    pub channels: Option<Vec<(i64, Vec<Json>)>>,
    pub activation: &'static str,
    pub decision: &'static str,
    pub back: &'static str,
    /// Where the numbers come from, or what a person has to add.
    pub note: String,
}

/// The wrapper of an algorithm, known by the beginning of its name.
pub(super) fn of(algorithm: &str, planar: bool, views: &[&'static str], runs_labels: bool) -> Network {
    let starts = |start: &str| algorithm.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    let known: &[(&str, fn() -> Network)] = &[
        ("CT_ChewingStructures_DeepLab", || swallowing(5, [(0.2306, 0.2093), (0.2663, 0.2081), (0.2412, 0.1943)])),
        ("CT_Larynx_DeepLab", || swallowing(2, [(0.3416, 0.1889), (0.3233, 0.1917), (0.3157, 0.1803)])),
        ("CT_PharyngealConstrictor_DeepLab", || swallowing(2, [(0.3516, 0.2203), (0.3253, 0.1937), (0.3186, 0.1975)])),
        ("CT_ConstrictorMuscles_DeepLab", || swallowing(2, [(0.3516, 0.2203), (0.3253, 0.1937), (0.3186, 0.1975)])),
        ("CT_HeadAndNeck_SelfAttention", self_attention),
        ("CT_HeartSubStructures_DeepLab", || heart(10)),
        ("CT_HeartStructure_DeepLab", || heart(10)),
        ("CT_Heart_DeepLab", || heart(10)),
        ("CT_Atria_DeepLab", || heart(3)),
        ("CT_Ventricles_DeepLab", || heart(3)),
        ("CT_Pericardium_DeepLab", || heart(3)),
        ("CT_LungOAR_incrMRRN", lung_oar),
        ("CT_Lung_incrMRRN", lung_nodule),
        ("MR_Prostate_DeepLab", prostate),
    ];
    match known.iter().find(|(name, _)| starts(name)) {
        Some((_, make)) => make(),
        None => neutral(planar, views, runs_labels),
    }
}

/// What is assumed where nothing is known: values as they are, logits of one channel for each label and background.
fn neutral(planar: bool, views: &[&'static str], runs_labels: bool) -> Network {
    let files = match views {
        [_] => vec![("model.onnx", None)],
        _ => views.iter().map(|view| (file_of(view), Some(*view))).collect(),
    };
    let is_map = runs_labels && views.len() == 1;
    let decision = if is_map { "label_map" } else { "argmax" };
    let read =
        if is_map { "numbers of labels in one channel" } else { "one channel for background and one for each label" };
    Network {
        files,
        offset: true,
        layout: if planar { "NCHW" } else { "NCDHW" },
        patch: if planar { json!([1, "all", "all"]) } else { json!(["all", "all", "all"]) },
        activation: if views.len() > 1 { "softmax" } else { "none" },
        decision,
        note: format!(
            "nothing is known of the program around this network: it is given the values of the images (HU for CT) and is taken to give {read}; add its normalisation at the end of \"pre\", and correct \"tensor\", \"window\" and \"output\" where it differs"
        ),
        ..Network::planar()
    }
}

fn file_of(view: &str) -> &'static str {
    match view {
        "coronal" => "coronal.onnx",
        "sagittal" => "sagittal.onnx",
        _ => "axial.onnx",
    }
}

/// Values 0 to 255 as a network sees them that was trained on colour pictures: `(x/255 - mean) / std`.
fn standardise(mean: f64, std: f64) -> Json {
    let times = |x: f64| super::reading::number_of(x * 255.0);
    json!({"op": "normalise", "by": "fixed", "mean": times(mean), "std": times(std)})
}

/// Pictures of another side. The wrapper makes the first of 320 or 512 with scikit-image, which smooths by a Gaussian
/// before it shrinks, where this is MATLAB's (a wider triangle); the second, one voxel larger, with Pillow.
fn picture(side: u32) -> Json {
    json!({"op": "resize", "size": [side, side], "method": "bilinear"})
}

/// The least value to 0, and the range, cut to a whole number, to 255, over a slice and its neighbours at this distance.
fn quantise(neighbours: i32) -> Json {
    json!({"op": "quantise", "measure": "slices", "slices": [-neighbours, neighbours], "divisor": "truncated"})
}

impl Network {
    /// A network for single slices: everything that the published wrappers have in common.
    fn planar() -> Network {
        Network {
            files: vec![("model.onnx", None)],
            orientation: "acquired_reversed",
            layout: "NCHW",
            tensor: Vec::new(),
            patch: json!([1, "all", "all"]),
            offset: false,
            pre: Vec::new(),
            view_pre: Vec::new(),
            repeat: 1,
            channels: None,
            activation: "none",
            decision: "argmax",
            back: "nearest",
            note: String::new(),
        }
    }
}

/// Chewing muscles, larynx and constrictor: three slices as colours, three views, one DeepLab v3+ for each; mean of the
/// probabilities. `stats` are mean and deviation of axial, coronal and sagittal pictures.
fn swallowing(classes: usize, stats: [(f64, f64); 3]) -> Network {
    let views = ["axial", "coronal", "sagittal"];
    // The range is that of the three slices of a sample. Here it is that of the three slices about each slice: the same
    // for the middle one, nearly the same for its neighbours.
    let pre = |(mean, std)| vec![picture(320), quantise(1), picture(321), standardise(mean, std)];
    Network {
        files: views.iter().map(|view| (file_of(view), Some(*view))).collect(),
        view_pre: views.into_iter().zip(stats.map(pre)).collect(),
        activation: "softmax",
        back: "linear",
        patch: json!([1, 321, 321]),
        note: format!(
            "pictures of 321 x 321, their statistics and the mean of three views are those of the published wrapper ({classes} classes, one network for each view)"
        ),
        ..Network::planar()
    }
}

/// The heart set: one slice as three equal colours. An offset of 1024 HU cancels out in the range.
fn heart(classes: usize) -> Network {
    Network {
        pre: vec![picture(512), quantise(0), picture(513), standardise(0.316, 0.188)],
        repeat: 3,
        patch: json!([1, 513, 513]),
        note: format!(
            "pictures of 513 x 513 and their statistics are those of the published wrapper ({classes} classes)"
        ),
        ..Network::planar()
    }
}

/// HU -85 to 265 as -1 to 1.
fn self_attention() -> Network {
    Network {
        pre: vec![json!({"op": "window", "center": 90, "width": 350, "to_low": -1, "to_high": 1})],
        note: "the window of HU is that of the published wrapper (12 classes: background and labels 1 to 11)"
            .to_owned(),
        ..Network::planar()
    }
}

/// HU -1000 to 500 as -1 to 1. The wrapper turns each slice: rows of the network run to the patient's right, columns to
/// the front.
fn lung_oar() -> Network {
    Network {
        orientation: "SRA",
        pre: vec![json!({"op": "window", "center": -250, "width": 1500, "to_low": -1, "to_high": 1})],
        note: "the window of HU and the turned slices are those of the published wrapper (7 classes)".to_owned(),
        ..Network::planar()
    }
}

fn lung_nodule() -> Network {
    Network {
        pre: vec![json!({"op": "window", "center": -250, "width": 1500, "to_low": -1, "to_high": 1})],
        note: "no wrapper of this network is published; layout and window of HU are those of its sibling CT_LungOAR_incrMRRN, to be checked against the weights".to_owned(),
        ..Network::planar()
    }
}

/// Three slices, the middle one inverted, as 8-bit colours for a TensorFlow graph that gives numbers of labels.
fn prostate() -> Network {
    let clip =
        json!({"op": "histogram_clip", "range": 65535, "bins": 255, "low_fraction": 0.05, "high_fraction": 0.95});
    let smooth = || json!({"op": "curvature_flow", "time_step": 0.125, "iterations": 3, "dimension": "2d"});
    let whole = || json!({"op": "to_integer", "wrap": "uint16"});
    let inverted = json!({"op": "invert", "of": 255, "wrap": "uint16"});
    // All channels together run from 0 to 65535, but for images of a single value: 257 makes bytes of them.
    let byte =
        || [json!({"op": "normalise", "by": "fixed", "std": 257}), json!({"op": "to_integer", "rounding": "nearest"})];
    let of = |steps: Vec<Json>| steps.into_iter().chain(byte()).collect::<Vec<Json>>();
    let plain = || of(vec![smooth(), whole()]);
    Network {
        layout: "NHWC",
        tensor: vec![("input", "ImageTensor:0"), ("output", "SemanticPredictions:0")],
        pre: vec![clip],
        channels: Some(vec![(-1, plain()), (0, of(vec![smooth(), inverted])), (1, plain())]),
        decision: "label_map",
        note: "histogram, smoothing and colours are those of the published wrapper (8 classes)".to_owned(),
        ..Network::planar()
    }
}
