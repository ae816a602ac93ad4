//! The tensors of a network and the sliding window over the image, as checked from `model.json`.

use crate::document::{Node, Problems, Value};
use crate::infer::parameter::parse_triple;
use crate::limits::WINDOW_SIDE_MAX;

/// Order of the axes of the network's tensors: N batch, C channel, D slice, H row, W column. Without D, slices are
/// the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Ncdhw,
    Ndhwc,
    Nchw,
    Nhwc,
}

/// What the network's tensors look like.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub layout: Layout,
    /// Name of the input in the graph; `None` takes the only one.
    pub input: Option<String>,
    /// Name of the output in the graph; `None` takes the first.
    pub output: Option<String>,
}

/// The sliding window. Three values are in working order.
#[derive(Clone, Debug)]
pub(in crate::infer) struct Window {
    /// Depth, height, width; `None` takes the whole axis.
    pub patch: [Option<usize>; 3],
    /// Sides are rounded up to a multiple of these, for networks that halve them several times.
    pub multiple_of: [usize; 3],
    /// Fraction of the patch shared with the next one, 0 to 0.95.
    pub overlap: f64,
    pub tiling: Tiling,
    pub blend: Blend,
    /// Working axes that are mirrored, in all combinations.
    pub mirror: [bool; 3],
    /// What fills a patch that is larger than the image; `None` repeats the outermost voxel.
    pub pad_value: Option<f32>,
    pub pad_side: PadSide,
    /// Values are summed, divided and averaged over networks in half precision, as nnU-Net does.
    pub half: bool,
}

/// Where windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum Tiling {
    /// At multiples of the whole part of patch x (1 - overlap); the last one ends with the image (MONAI).
    Fixed,
    /// Evenly spread, at most patch x (1 - overlap) apart (nnU-Net).
    Spread,
}

/// How overlapping windows are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum Blend {
    Constant,
    /// MONAI's importance map: deviation an eighth of the side about the middle of the patch, at least 1e-3.
    Gaussian,
    /// nnU-Net's: deviation an eighth of the side about voxel side/2, cut at four deviations.
    GaussianNnunet,
}

/// On which side of the image a patch that is larger reaches out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum PadSide {
    End,
    /// On both; the odd voxel is at the end.
    Both,
}

/// Whether values are kept in half precision.
pub(super) const PRECISIONS: [(&str, bool); 2] = [("single", false), ("half", true)];

/// A plane in which networks see the image: an order of the working axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) enum View {
    Axial,
    Coronal,
    Sagittal,
}

impl View {
    pub const WORDS: [(&'static str, View); 3] =
        [("axial", View::Axial), ("coronal", View::Coronal), ("sagittal", View::Sagittal)];

    /// The word in `model.json`.
    pub fn word(self) -> &'static str {
        View::WORDS.iter().find(|(_, view)| *view == self).map_or("", |(word, _)| word)
    }

    /// Which working axis becomes slices, rows and columns of the view (CERR's permutations; slices are rows of the
    /// coronal and the sagittal view).
    pub fn order(self) -> [usize; 3] {
        match self {
            View::Axial => [0, 1, 2],
            View::Coronal => [1, 0, 2],
            View::Sagittal => [2, 0, 1],
        }
    }
}

impl Layout {
    const WORDS: [(&'static str, Layout); 4] =
        [("NCDHW", Layout::Ncdhw), ("NDHWC", Layout::Ndhwc), ("NCHW", Layout::Nchw), ("NHWC", Layout::Nhwc)];

    /// The word in `model.json`.
    pub fn word(self) -> &'static str {
        Layout::WORDS.iter().find(|(_, layout)| *layout == self).map_or("", |(word, _)| word)
    }
}

pub(super) fn parse_tensor(node: &Node, problems: &mut Problems) -> Option<Tensor> {
    let mut fields = node.object(problems)?;
    let layout = fields.required("layout", problems).and_then(|layout| layout.choice(&Layout::WORDS, problems));
    let mut text = |key| fields.optional(key).and_then(|node| node.text(problems)).map(str::to_owned);
    let (input, output) = (text("input"), text("output"));
    fields.finish(problems);
    Some(Tensor { layout: layout?, input, output })
}

pub(super) fn parse_window(node: &Node, problems: &mut Problems) -> Option<Window> {
    let mut fields = node.object(problems)?;
    let patch = fields.required("patch", problems).and_then(|patch| parse_patch(patch, problems));
    let multiple_of = fields
        .optional("multiple_of")
        .and_then(|node| parse_triple(node, 1.0, WINDOW_SIDE_MAX as f64, problems))
        .map_or([1; 3], |sides| sides.map(|side| side.ceil() as usize));
    let overlap = fields.optional("overlap").and_then(|node| node.number(0.0, 0.95, problems)).unwrap_or(0.0);
    let tilings = [("fixed", Tiling::Fixed), ("spread", Tiling::Spread)];
    let tiling = fields.optional("tiling").and_then(|n| n.choice(&tilings, problems)).unwrap_or(Tiling::Fixed);
    let blends =
        [("constant", Blend::Constant), ("gaussian", Blend::Gaussian), ("gaussian_nnunet", Blend::GaussianNnunet)];
    let blend = fields.optional("blend").and_then(|n| n.choice(&blends, problems)).unwrap_or(Blend::Constant);
    let mirror = fields.optional("mirror").map_or([false; 3], |node| parse_mirror(node, problems));
    let pads = [("edge", false), ("constant", true)];
    let constant = fields.optional("pad").and_then(|n| n.choice(&pads, problems)).unwrap_or(false);
    let value = fields.optional("pad_value");
    if let (Some(value), false) = (value, constant) {
        problems.add_with_cure(value, "a pad_value without pad", "pad \"constant\"", "set \"pad\": \"constant\"");
    }
    let value = value.and_then(|n| n.number(-1e9, 1e9, problems)).unwrap_or(0.0);
    let sides = [("end", PadSide::End), ("both", PadSide::Both)];
    let pad_side = fields.optional("pad_side").and_then(|n| n.choice(&sides, problems)).unwrap_or(PadSide::End);
    let half = fields.optional("precision").and_then(|n| n.choice(&PRECISIONS, problems)).unwrap_or(false);
    fields.finish(problems);
    let pad_value = constant.then_some(value as f32);
    Some(Window { patch: patch?, multiple_of, overlap, tiling, blend, mirror, pad_value, pad_side, half })
}

fn parse_mirror(node: &Node, problems: &mut Problems) -> [bool; 3] {
    let mut mirror = [false; 3];
    for item in node.array(problems).unwrap_or_default() {
        if let Some(axis) = item.integer(0, 2, problems) {
            mirror[axis as usize] = true;
        }
    }
    mirror
}

fn parse_patch(node: &Node, problems: &mut Problems) -> Option<[Option<usize>; 3]> {
    let items = node.array(problems)?;
    let side = |item: &Node, problems: &mut Problems| match &item.value {
        Value::String(word) if word == "all" => Some(None),
        Value::Number(..) => item.integer(1, WINDOW_SIDE_MAX as i64, problems).map(|side| Some(side as usize)),
        _ => {
            problems.add(item, item.describe(), "a whole number of voxels, or \"all\" for the whole axis");
            None
        }
    };
    let sides: Vec<Option<usize>> = items.iter().filter_map(|item| side(item, problems)).collect();
    if items.len() != 3 {
        problems.add(
            node,
            node.describe(),
            "three sides in the order [depth, height, width], as the network sees them",
        );
    }
    sides.try_into().ok()
}
