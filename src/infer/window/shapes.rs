//! Holds the tensors of a network against what `model.json` says of them, before and after it runs.

use ndarray::{Array4, ArrayD, ArrayView4, ArrayViewD, Axis, IxDyn};

use crate::infer::recipe::{Decision, Layout, Recipe, Stage};
use crate::infer::{InferError, Network, NetworkError};

/// Refuses a network whose tensors cannot be what `model.json` says. Asked before any pixel is touched.
///
/// # Errors
/// [`InferError::Shape`].
pub fn check_shapes(recipe: &Recipe, network: usize, shapes: &dyn Network) -> Result<(), InferError> {
    let stage = recipe.stage_of(network);
    let layout = stage.tensor.layout;
    let rounded =
        |axis: usize| stage.window.patch[axis].map(|side| side.next_multiple_of(stage.window.multiple_of[axis]));
    let patch = [0, 1, 2].map(|axis| rounded(axis).map_or(Side::Free, Side::Exactly));
    let expected = arranged(layout, patch, Side::Exactly(stage.channels.len()), Side::Exactly(1));
    compare("input", shapes.input_shape(), &expected, layout)?;
    let found = shapes.output_shape();
    if found.is_empty() {
        return Ok(());
    }
    let expected = arranged(layout, patch, least_channels(stage), Side::Exactly(1));
    let without_channel: Vec<Side> =
        expected.iter().enumerate().filter(|(axis, _)| *axis != channel_axis(layout)).map(|(_, side)| *side).collect();
    if stage.output.decision == Decision::LabelMap && found.len() == without_channel.len() {
        return compare("output", found, &without_channel, layout);
    }
    compare("output", found, &expected, layout)
}

fn least_channels(stage: &Stage) -> Side {
    let of_labels = stage.images.iter().filter(|image| image.output.is_none()).flat_map(|image| &image.channels);
    let images = of_labels.max().map_or(0, |channel| channel + 1);
    match &stage.output.decision {
        Decision::LabelMap if images < 2 => Side::Exactly(1),
        // One more would shift every region by one channel.
        Decision::Regions(order) if images <= order.len() => Side::Exactly(order.len()),
        _ => Side::Least(stage.output.channels_least().max(images)),
    }
}

/// What a side of a tensor has to be.
#[derive(Clone, Copy)]
enum Side {
    Exactly(usize),
    Least(usize),
    /// Known with the image only: the network must leave it free.
    Free,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Side::Exactly(side) => write!(f, "{side}"),
            Side::Least(side) => write!(f, ">={side}"),
            Side::Free => f.write_str("free"),
        }
    }
}

/// The axes of a tensor in the order of its layout.
fn arranged<T: Copy>(layout: Layout, [d, h, w]: [T; 3], c: T, n: T) -> Vec<T> {
    match layout {
        Layout::Ncdhw => vec![n, c, d, h, w],
        Layout::Ndhwc => vec![n, d, h, w, c],
        Layout::Nchw => vec![d, c, h, w],
        Layout::Nhwc => vec![d, h, w, c],
    }
}

fn channel_axis(layout: Layout) -> usize {
    match layout {
        Layout::Ncdhw | Layout::Nchw => 1,
        Layout::Ndhwc => 4,
        Layout::Nhwc => 3,
    }
}

fn compare(side: &'static str, found: &[Option<usize>], expected: &[Side], layout: Layout) -> Result<(), InferError> {
    let fits = |(found, expected): (&Option<usize>, &Side)| match (found, expected) {
        (None, _) => true,
        (Some(found), Side::Exactly(side)) => found == side,
        (Some(found), Side::Least(side)) => found >= side,
        (Some(_), Side::Free) => false,
    };
    if found.len() == expected.len() && found.iter().zip(expected).all(fits) {
        return Ok(());
    }
    let list = |sides: Vec<String>| format!("[{}]", sides.join(", "));
    Err(InferError::Shape {
        side,
        found: list(found.iter().map(|side| side.map_or("free".to_owned(), |side| side.to_string())).collect()),
        expected: format!("{} ({})", list(expected.iter().map(Side::to_string).collect()), layout.word()),
        cure:
            "correct tensor.layout, window.patch, channels or output.labels in model.json, or export the network again"
                .to_owned(),
    })
}

/// `[channel, depth, height, width]` in the axis order of the network.
pub(super) fn in_layout(values: Array4<f32>, layout: Layout) -> ArrayD<f32> {
    let arranged = match layout {
        Layout::Ncdhw => values.insert_axis(Axis(0)).into_dyn(),
        Layout::Ndhwc => values.permuted_axes([1, 2, 3, 0]).insert_axis(Axis(0)).into_dyn(),
        Layout::Nchw => values.permuted_axes([1, 0, 2, 3]).into_dyn(),
        Layout::Nhwc => values.permuted_axes([1, 2, 3, 0]).into_dyn(),
    };
    if arranged.is_standard_layout() { arranged } else { arranged.as_standard_layout().into_owned() }
}

/// The network's first output, or one of its images, as `[channel, depth, height, width]`, its true shape checked.
pub(super) fn to_channels_first<'a>(
    values: ArrayViewD<'a, f32>,
    stage: &Stage,
    patch: [usize; 3],
    is_first: bool,
) -> Result<ArrayView4<'a, f32>, InferError> {
    let layout = stage.tensor.layout;
    let axis = channel_axis(layout);
    let full = if matches!(layout, Layout::Ncdhw | Layout::Ndhwc) { 5 } else { 4 };
    let alone = !is_first || stage.output.decision == Decision::LabelMap;
    let values = if values.ndim() + 1 == full && alone { values.insert_axis(Axis(axis)) } else { values };
    let least = if is_first { least_channels(stage) } else { Side::Least(1) };
    let expected = arranged(layout, patch.map(Side::Exactly), least, Side::Exactly(1));
    let sides: Vec<Option<usize>> = values.shape().iter().copied().map(Some).collect();
    compare("output", &sides, &expected, layout)?;
    let permuted = match layout {
        Layout::Ncdhw => values.index_axis_move(Axis(0), 0),
        Layout::Ndhwc => values.index_axis_move(Axis(0), 0).permuted_axes(IxDyn(&[3, 0, 1, 2])),
        Layout::Nchw => values.permuted_axes(IxDyn(&[1, 0, 2, 3])),
        Layout::Nhwc => values.permuted_axes(IxDyn(&[3, 0, 1, 2])),
    };
    permuted.into_dimensionality().map_err(|error| NetworkError(error.to_string()).into())
}
