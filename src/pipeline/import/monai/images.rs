//! The transforms before the network as operations on named images, in their order; it knows no labels.
//!
//! Facts: MONAI 1.6.1, transforms/*/dictionary.py. A transform that has no exact counterpart here is a problem that names it,
//! and so is an argument that is not known.

use serde_json::{Map, Value};

use super::config::{Component, Config};
use super::expression::is_true;
use super::step::Step;
use crate::document::{Node, Problems, Value as Read};
use crate::pipeline::import::operations as op;

/// One channel of the network's input on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    /// The key of the dictionary that holds it now.
    pub key: String,
    /// The key that it was loaded under.
    pub loaded: String,
    /// What it is called.
    pub name: String,
    pub pre: Vec<Value>,
}

/// The images and how they are seen.
#[derive(Debug, Default)]
pub(super) struct Images {
    pub images: Vec<Image>,
    /// Three letters; `None` for axes as they were loaded.
    pub orientation: Option<String>,
    /// Transforms that moved voxels so far: orientation must come before them.
    moved: bool,
    /// Whether a transform measured channels together: a second one would be joined with it.
    joined: bool,
}

/// A channel of the input as `metadata.json` has it: key and name.
pub(super) struct Expected<'a> {
    pub key: &'a str,
    pub names: &'a [String],
    /// Whether the bundle is of a MONAI before 1.5.
    pub older: bool,
}

/// Transforms that change nothing that counts here.
const IGNORED: &[&str] = &[
    "CopyItemsd",
    "DeleteItemsd",
    "EnsureChannelFirstd",
    "EnsureTyped",
    "FromMetaTensord",
    "SelectItemsd",
    "ToDeviced",
    "ToMetaTensord",
    "ToTensord",
];

impl Images {
    /// Reads the transforms of `preprocessing`.
    pub fn read(config: &Config<'_>, list: &[Component], expected: &Expected<'_>, problems: &mut Problems) -> Images {
        let mut images = Images::default();
        for component in list {
            let name = component.name.strip_suffix(['d', 'D']).or_else(|| component.name.strip_suffix("Dict"));
            let known = component.of_monai.then_some(name).flatten();
            let step = Step { config, component };
            match known {
                _ if component.of_monai && IGNORED.contains(&component.name.as_str()) => {}
                Some("LoadImage") => images.load(&step, expected, problems),
                Some("ConcatItems") => images.join(&step, problems),
                Some("Orientation") => images.orient(&step, problems),
                Some(name) => images.operate(name, &step, expected, problems),
                None => step.refuse("a dictionary transform of MONAI", problems),
            }
        }
        if images.images.is_empty() {
            // Without a loader in the bundle the whole dictionary comes from outside.
            images.add(expected.key, expected);
        }
        images
    }

    fn add(&mut self, key: &str, expected: &Expected<'_>) {
        let names = if key == expected.key { expected.names.to_vec() } else { vec![key.to_owned()] };
        let image = |name| Image { key: key.to_owned(), loaded: key.to_owned(), name, pre: Vec::new() };
        self.images.extend(names.into_iter().map(image));
    }

    fn load(&mut self, step: &Step<'_, '_>, expected: &Expected<'_>, problems: &mut Problems) {
        for key in step.keys(problems) {
            if !self.images.iter().any(|image| image.key == key) {
                self.add(&key, expected);
            }
        }
    }

    fn join(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        let keys = step.keys(problems);
        let Some(name) = step.text("name", problems) else { return };
        let mut joined = Vec::new();
        for key in &keys {
            joined.extend(self.images.iter().filter(|image| image.key == *key).cloned());
        }
        self.images.retain(|image| !keys.contains(&image.key));
        joined.iter_mut().for_each(|image| image.key.clone_from(&name));
        self.images.extend(joined);
    }

    fn orient(&mut self, step: &Step<'_, '_>, problems: &mut Problems) {
        let keys = step.keys(problems);
        let axes = step.text("axcodes", problems);
        let closest = step.flag("as_closest_canonical", false, problems);
        step.only(&["axcodes", "as_closest_canonical", "labels"], problems);
        if !self.images.iter().any(|image| keys.contains(&image.key)) {
            return;
        }
        if self.moved {
            step.refuse("Orientationd before whatever resamples, crops or pads", problems);
        } else if let Some(other) = self.images.iter().find(|image| !keys.contains(&image.key)) {
            step.refuse(&format!("the same orientation for all images ({} has none)", other.name), problems);
        }
        self.orientation = if closest { Some("RAS".to_owned()) } else { axes };
    }

    /// A transform that becomes operations of its images.
    fn operate(&mut self, name: &str, step: &Step<'_, '_>, expected: &Expected<'_>, problems: &mut Problems) {
        let keys = step.keys(problems);
        if self.images.is_empty() {
            self.add(expected.key, expected);
        }
        let chosen: Vec<usize> = (0..self.images.len()).filter(|at| keys.contains(&self.images[*at].key)).collect();
        let [first, ..] = chosen.as_slice() else { return };
        let same = |key: &String| chosen.iter().filter(|at| self.images[**at].key == *key).count();
        let several = keys.iter().any(|key| same(key) > 1);
        let position = keys.iter().position(|key| *key == self.images[*first].key).unwrap_or(0);
        let transform = Transform { step, several, keys: &keys, older: expected.older, position };
        let Some(operations) = transform.operations(name, problems) else { return };
        self.moved |= transform.moves(name);
        if operations.iter().any(op::is_together) {
            if self.joined || chosen.len() < self.images.len() {
                step.refuse("one transform that measures channels together, and that of all images", problems);
            }
            self.joined = true;
        }
        for at in chosen {
            self.images[at].pre.extend(operations.iter().cloned());
        }
    }
}

/// A transform of images.
struct Transform<'a, 'b, 'c> {
    step: &'a Step<'b, 'c>,
    /// Its key holds several channels.
    several: bool,
    keys: &'a [String],
    /// Whether the bundle is of a MONAI before 1.5, where CropForeground ended with the image.
    older: bool,
    /// Which of its keys the image has, where an argument is a list with one value for each key.
    position: usize,
}

impl Transform<'_, '_, '_> {
    fn moves(&self, name: &str) -> bool {
        [
            "Spacing",
            "Resize",
            "SpatialPad",
            "DivisiblePad",
            "BorderPad",
            "ResizeWithPadOrCrop",
            "CenterSpatialCrop",
            "CropForeground",
        ]
        .contains(&name)
    }

    fn operations(&self, name: &str, problems: &mut Problems) -> Option<Vec<Value>> {
        match name {
            "Spacing" => self.spacing(problems),
            "ScaleIntensityRange" => self.scale_range(problems),
            "ScaleIntensityRangePercentiles" => self.scale_percentiles(problems),
            "ScaleIntensity" => self.scale(problems),
            "NormalizeIntensity" => self.normalise(problems),
            "ThresholdIntensity" => self.threshold(problems),
            "ClipIntensityPercentiles" => self.clip_percentiles(problems),
            "CastToType" => self.cast(problems),
            "SpatialPad" | "DivisiblePad" => self.pad(name, problems),
            "Resize" => self.resize_to(problems),
            "ResizeWithPadOrCrop" | "CenterSpatialCrop" => self.resize(name, problems),
            "CropForeground" => self.crop_foreground(problems),
            "Lambda" => {
                let func = self.step.component.argument("func").map_or(String::new(), Node::describe);
                self.step.refuse(&format!("a transform whose function is known, not {func}"), problems);
                None
            }
            _ => {
                let known = "a transform of this importer: Orientationd, Spacingd, ScaleIntensityd, ScaleIntensityRanged, \
                             ScaleIntensityRangePercentilesd, NormalizeIntensityd, ThresholdIntensityd, \
                             ClipIntensityPercentilesd, CropForegroundd, SpatialPadd, DivisiblePadd, Resized, \
                             ResizeWithPadOrCropd, CenterSpatialCropd, CastToTyped, ConcatItemsd";
                self.step.refuse(known, problems);
                None
            }
        }
    }

    /// Whether statistics are those of all channels of its key together.
    fn joins_channels(&self, problems: &mut Problems) -> bool {
        let joins = self.several && !self.step.flag("channel_wise", false, problems);
        if joins && self.keys.len() > 1 {
            self.step.refuse("one key where the channels of an image are measured together", problems);
        }
        joins
    }

    /// Percentiles over several channels together have no counterpart here.
    fn alone(&self, problems: &mut Problems) -> bool {
        let fine = !self.several || self.step.flag("channel_wise", false, problems);
        if !fine {
            self.step.refuse("channel_wise: true for an image of several channels", problems);
        }
        fine
    }

    /// An argument, or the value of this image where it is a list with one for each key.
    fn own(&self, key: &str, problems: &mut Problems) -> Option<Node> {
        let node = self.step.get(key, problems)?;
        match &node.value {
            Read::Array(items) => items.get(self.position).or(items.first()).cloned(),
            _ => Some(node),
        }
    }

    fn spacing(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(&["pixdim", "mode", "padding_mode", "diagonal"], problems);
        let spacing_mm = step.triple("pixdim", problems)?.map(|side| side.max(0.0));
        for key in ["diagonal", "scale_extent"] {
            if self.own(key, problems).is_some_and(|node| is_true(&node.value)) {
                step.refuse(&format!("{key}: false"), problems);
            }
        }
        let padding = self.own("padding_mode", problems);
        let padding = match padding.as_ref().map(|node| (node, &node.value)) {
            None => "border",
            Some((_, Read::String(word))) => word.as_str(),
            Some((node, _)) => {
                problems.add(node, node.describe(), "a word such as \"border\"");
                return None;
            }
        };
        let aligned = self.own("align_corners", problems).is_some_and(|node| is_true(&node.value));
        let mode = self.own("mode", problems);
        let method = match mode.as_ref().map(|node| &node.value) {
            Some(Read::Number(order, _)) if (2.0..=5.0).contains(order) && order.fract() == 0.0 => {
                let spline = spline_of(*order as i64, padding, aligned);
                if spline.is_none() {
                    step.refuse(
                        &format!("padding_mode \"border\", \"zeros\" or \"reflection\", not {padding:?}"),
                        problems,
                    );
                }
                return Some(vec![op::resample_spline(&spacing_mm, &spline?)]);
            }
            None => "linear",
            Some(Read::String(word)) if ["bilinear", "trilinear", "linear"].contains(&word.as_str()) => "linear",
            Some(Read::String(word)) if word == "nearest" => "nearest",
            Some(Read::Number(order, _)) if *order == 1.0 && !aligned => "linear",
            _ => {
                let expected =
                    "the mode \"bilinear\", \"nearest\", 1 (without align_corners) or the order of a spline, 2 to 5";
                problems.add(mode.as_ref()?, mode.as_ref()?.describe(), expected);
                return None;
            }
        };
        if !["border", "nearest"].contains(&padding) {
            step.refuse(&format!("padding_mode \"border\" with this mode, not {padding:?}"), problems);
        }
        Some(vec![op::resample_monai(&spacing_mm, method)])
    }

    fn resize_to(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(
            &["spatial_size", "size_mode", "mode", "align_corners", "anti_aliasing", "anti_aliasing_sigma"],
            problems,
        );
        let size = step.triple("spatial_size", problems)?.map(|side| side.max(0.0));
        let mode = step.get("mode", problems);
        let mode = match mode.as_ref().map(|node| &node.value) {
            Some(Read::Array(items)) => items.get(self.position).or(items.first()).cloned(),
            _ => mode,
        };
        let word = mode.and_then(|node| if let Read::String(word) = node.value { Some(word) } else { None });
        let word = word.unwrap_or_else(|| "area".to_owned());
        let smooths = step.flag("anti_aliasing", false, problems);
        let corners = step.flag("align_corners", false, problems);
        let by_size = step.text("size_mode", problems).is_none_or(|word| word == "all");
        if word != "trilinear" || smooths || corners || !by_size {
            step.refuse("mode \"trilinear\" of size_mode \"all\", without align_corners and anti_aliasing", problems);
            return None;
        }
        Some(vec![op::resample_to(&size, "linear")])
    }

    fn scale_range(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(&["a_min", "a_max", "b_min", "b_max", "clip"], problems);
        let mut number = |key| step.number(key, problems);
        let (a_min, a_max, b_min, b_max) = (number("a_min"), number("a_max"), number("b_min"), number("b_max"));
        let clip = step.flag("clip", false, problems);
        let (Some(a_min), Some(a_max)) = (a_min, a_max) else {
            step.refuse("the arguments a_min and a_max", problems);
            return None;
        };
        Some(vec![op::scale_range(a_min, a_max, b_min.zip(b_max), clip)])
    }

    fn scale_percentiles(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(&["lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise"], problems);
        let mut number = |key| step.number(key, problems);
        let (lower, upper, b_min, b_max) = (number("lower"), number("upper"), number("b_min"), number("b_max"));
        let (clip, relative) = (step.flag("clip", false, problems), step.flag("relative", false, problems));
        let (Some(lower), Some(upper)) = (lower, upper) else {
            step.refuse("the arguments lower and upper", problems);
            return None;
        };
        self.alone(problems).then(|| vec![op::scale_percentiles(lower, upper, b_min.zip(b_max), clip, relative)])
    }

    fn scale(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(&["minv", "maxv", "factor", "channel_wise"], problems);
        // MONAI's defaults are 0 and 1; an explicit null of both stands for the factor.
        let given = |key: &str| step.component.argument(key).is_some();
        let bound = |key: &str, default: f64, problems: &mut Problems| match given(key) {
            true => step.number(key, problems),
            false => Some(default),
        };
        let (low, high) = (bound("minv", 0.0, problems), bound("maxv", 1.0, problems));
        if let Some((low, high)) = low.zip(high) {
            let operation = op::min_max(low, high);
            return Some(vec![if self.joins_channels(problems) { op::together(operation) } else { operation }]);
        }
        match step.number("factor", problems) {
            Some(factor) => Some(vec![op::scale(1.0 + factor)]),
            None => {
                step.refuse("minv and maxv, or factor", problems);
                None
            }
        }
    }

    fn normalise(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(&["subtrahend", "divisor", "nonzero", "channel_wise"], problems);
        let on = if step.flag("nonzero", false, problems) { "nonzero" } else { "all" };
        let one = |key: &str, problems: &mut Problems| {
            let node = step.get(key, problems)?;
            match &node.value {
                // A list has one value for each channel; with one channel it is that value.
                Read::Array(items) if items.len() == 1 && !self.several => items[0].number(-1e9, 1e9, problems),
                _ => node.number(-1e9, 1e9, problems),
            }
        };
        match (one("subtrahend", problems), one("divisor", problems)) {
            (None, None) => {
                let operation = op::z_score(on);
                Some(vec![if self.joins_channels(problems) { op::together(operation) } else { operation }])
            }
            (Some(offset), Some(scale)) => Some(vec![op::shift_scale_on(offset, scale, on)]),
            _ => {
                step.refuse("both of subtrahend and divisor, or none", problems);
                None
            }
        }
    }

    fn threshold(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(&["threshold", "above", "cval"], problems);
        let threshold = step.number("threshold", problems)?;
        let (above, other) = (step.flag("above", true, problems), step.number("cval", problems).unwrap_or(0.0));
        if other != threshold {
            step.refuse("a cval that is the threshold, which clips", problems);
            return None;
        }
        Some(vec![if above { op::clip_to(Some(threshold), None) } else { op::clip_to(None, Some(threshold)) }])
    }

    fn clip_percentiles(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(&["lower", "upper", "channel_wise", "return_clipping_values"], problems);
        let (lower, upper) = (step.number("lower", problems), step.number("upper", problems));
        self.alone(problems).then(|| vec![op::clip_percentiles(lower, upper)])
    }

    fn cast(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        match self.step.get("dtype", problems).map(|node| node.value) {
            None => Some(Vec::new()),
            Some(Read::String(kind)) if kind.starts_with("float") || kind == "double" => Some(Vec::new()),
            _ => {
                self.step.refuse("a floating type: others cut values off", problems);
                None
            }
        }
    }

    fn constant(&self, problems: &mut Problems) -> Option<f64> {
        let step = self.step;
        let mode = step.text("mode", problems).unwrap_or_else(|| "constant".to_owned());
        let method = step.text("method", problems).unwrap_or_else(|| "symmetric".to_owned());
        if mode != "constant" || method != "symmetric" {
            step.refuse("mode \"constant\" and method \"symmetric\"", problems);
            return None;
        }
        let value = step.number("value", problems).or_else(|| step.number("constant_values", problems));
        Some(value.unwrap_or(0.0))
    }

    fn pad(&self, name: &str, problems: &mut Problems) -> Option<Vec<Value>> {
        let pad = name == "SpatialPad";
        let (step, key) = (self.step, if pad { "spatial_size" } else { "k" });
        step.only(&[key, "mode", "method", "value", "constant_values"], problems);
        let size = step.triple(key, problems)?;
        let value = self.constant(problems)?;
        let positive = |least: f64| size.map(|side| side.max(least));
        Some(vec![if pad { op::fit(positive(0.0), "pad", value) } else { op::fit_to_multiple(positive(1.0), value) }])
    }

    fn resize(&self, name: &str, problems: &mut Problems) -> Option<Vec<Value>> {
        let cut = name == "CenterSpatialCrop";
        let (step, key) = (self.step, if cut { "roi_size" } else { "spatial_size" });
        step.only(&[key, "mode", "method", "value", "constant_values"], problems);
        let size = step.triple(key, problems)?.map(|side| side.max(0.0));
        let value = self.constant(problems)?;
        Some(vec![op::fit(size, if cut { "cut" } else { "both" }, value)])
    }

    fn crop_foreground(&self, problems: &mut Problems) -> Option<Vec<Value>> {
        let step = self.step;
        step.only(&["select_fn", "margin", "allow_smaller", "k_divisible", "channel_indices", "mode"], problems);
        let above = match step.component.argument("select_fn") {
            None => Some(0.0),
            Some(node) => threshold_of(node),
        };
        let Some(above) = above else {
            step.refuse("a select_fn such as \"$lambda x: x > 0\"", problems);
            return None;
        };
        let margin = step.triple("margin", problems).unwrap_or([0.0; 3]);
        let divisible = step.triple("k_divisible", problems).unwrap_or([1.0; 3]);
        if step.component.argument("channel_indices").is_some() {
            step.refuse("all channels", problems);
            return None;
        }
        let stays = step.flag("allow_smaller", self.older, problems);
        if stays && margin != [0.0; 3] && divisible != [1.0; 3] {
            step.refuse("k_divisible 1 where allow_smaller is true and there is a margin", problems);
            return None;
        }
        if self.several {
            step.refuse("an image of one channel", problems);
            return None;
        }
        if let Some(source) = step.text("source_key", problems).filter(|source| !self.keys.contains(source)) {
            step.refuse(&format!("the image itself as source_key, not {source:?}"), problems);
            return None;
        }
        Some(vec![op::crop_above(above, margin, divisible, stays)])
    }
}

/// The keys of `resample` for the spline that SciPy's `map_coordinates` computes with the mode that MONAI makes of a padding.
fn spline_of(order: i64, padding: &str, aligned: bool) -> Option<Map<String, Value>> {
    let mut spline = Map::from_iter([("order".to_owned(), Value::from(order))]);
    let (key, value) = match padding {
        "border" | "nearest" => ("ends", Value::from("edge")),
        "reflection" | "reflect" | "grid-mirror" => ("ends", Value::from("reflect")),
        "zeros" | "constant" => ("outside", Value::from(0)),
        _ => return None,
    };
    spline.insert(key.to_owned(), value);
    if aligned {
        spline.insert("aligned".to_owned(), Value::from(true));
    }
    Some(spline)
}

/// The bound of `$lambda x: x > BOUND`.
fn threshold_of(node: &Node) -> Option<f64> {
    let Read::String(text) = &node.value else { return None };
    let body: String = text.strip_prefix("$lambda x:")?.split_whitespace().collect();
    body.strip_prefix("x>").or_else(|| body.strip_prefix("(x>")?.strip_suffix(')'))?.parse().ok()
}
