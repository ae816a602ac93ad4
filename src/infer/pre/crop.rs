//! Keep the box around regions, of the volume or of each slice; it does not change values.

use ndarray::{Array3, Axis};

use super::{Operation, failed};
use crate::infer::InferError;
use crate::infer::frame::{Line, Prepared, SliceBox, SliceWindow};
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::infer::part::part;
use crate::infer::region::{self, extent};

pub(super) const ENTRY: Operation = Operation {
    name: "crop",
    doc: "Keeps the smallest box of rows and columns that holds the joined regions and a margin, in the slices that the regions mark. When a region is taken slice by slice (`_2d`), slices without it are left out, rows and columns all stay, and each slice remembers its own box for `window_2d` or `resize`.",
    source: "CERR's crop list: its methods are regions, its operator is `combine`; getCropLimits",
    parameters: &[
        Parameter {
            name: "regions",
            doc: "What to keep: regions, joined from left to right.",
            unit: "",
            kind: Kind::Regions,
            default: None,
        },
        Parameter {
            name: "margin_mm",
            doc: "Margin on both sides of each axis; it ends with the image.",
            unit: "mm",
            kind: Kind::Triple { low: 0.0, high: 1000.0 },
            default: Some("[0, 0, 0]"),
        },
        Parameter {
            name: "margin_voxels",
            doc: "The same in voxels, beside the one in mm.",
            unit: "voxels",
            kind: Kind::Triple { low: 0.0, high: 1000.0 },
            default: Some("[0, 0, 0]"),
        },
        Parameter {
            name: "divisible_by",
            doc: "Sides of the box grow to multiples of these; the odd voxel is added at the end of the axis as the network sees it.",
            unit: "voxels",
            kind: Kind::Triple { low: 1.0, high: 1024.0 },
            default: Some("[1, 1, 1]"),
        },
        Parameter {
            name: "at_edge",
            doc: "Where margin or growth would leave the image: the box ends with it (`stop`), or is filled with 0 (`pad`).",
            unit: "",
            kind: Kind::Choice(&["stop", "pad"]),
            default: Some("\"stop\""),
        },
        Parameter {
            name: "slices",
            doc: "Whether only slices that hold a voxel of the regions are kept (`marked`, as in CERR) or all between the first and the last of them (`range`).",
            unit: "",
            kind: Kind::Choice(&["marked", "range"]),
            default: Some("\"marked\""),
        },
        Parameter {
            name: "on_empty",
            doc: "What to do when the regions hold no voxel: an `error`, or keep the `whole` image.",
            unit: "",
            kind: Kind::Choice(&["error", "whole"]),
            default: Some("\"error\""),
        },
    ],
    check: |arguments| {
        let grows = arguments.triple("divisible_by") != [1.0; 3];
        (grows && arguments.choice("at_edge") == "stop").then(|| {
            let cure = "set at_edge to \"pad\"";
            ["divisible_by with at_edge \"stop\"", "a box that may leave the image", cure].map(str::to_owned)
        })
    },
    apply: |arguments, mut image, surroundings| {
        let mut saved = std::mem::take(&mut image.saved);
        let (mask, per_slice) = region::joined(arguments.regions("regions"), &image, surroundings, &mut saved)?;
        image.saved = saved;
        let Some(sides) = extent::bounds(&mask) else {
            return match arguments.choice("on_empty") {
                "whole" => Ok(image),
                _ => Err(nothing_found()),
            };
        };
        let margin = margin(arguments, &image);
        if arguments.choice("at_edge") == "pad" {
            image.mask = Some(mask);
            return padded_box(arguments, image, sides, margin).map_err(failed("crop"));
        }
        let along = [arguments.triple("margin_mm"), arguments.triple("margin_voxels")];
        let [mm, more] = along.map(|margin| image.frame.axes.to_array(margin)[0]);
        let spacing = image.frame.spacing_mm()[0];
        // Slices that were cut each in its own way are neighbours in the array alone.
        let counted: Vec<f64> = (0..mask.dim().0).map(|slice| slice as f64 * spacing).collect();
        let positions = if image.frame.windows.is_some() { &counted } else { image.frame.geometry.positions_mm() };
        let is_near = Near { positions, mm, tolerance_mm: (0.05 * spacing).min(0.5 * mm), more: more as usize };
        let kept = kept_slices(&mask, &is_near, arguments.choice("slices") == "range");
        let widened = [1, 2].map(|axis| widened(sides[axis], margin[axis], image.frame.shape()[axis]));
        let boxes = per_slice.then(|| boxes_of(&mask, &kept, [sides[1], sides[2]], margin));
        image.mask = Some(mask);
        let [rows, columns] = if per_slice { whole(&image) } else { widened };
        let mut image = kept_box(image, &kept, rows, columns).map_err(failed("crop"))?;
        image.boxes = boxes;
        Ok(image)
    },
};

fn nothing_found() -> InferError {
    failed("crop")(
        "found nothing of the regions in the image, expected at least one voxel; look whether its structures exist and \
         lie in this image, or set \"on_empty\" to \"whole\""
            .to_owned(),
    )
}

/// The margin along array axes in whole voxels.
fn margin(arguments: &Arguments, image: &Prepared<'_>) -> [usize; 3] {
    let (mm, spacing) = (image.frame.axes.to_array(arguments.triple("margin_mm")), image.frame.spacing_mm());
    let voxels = image.frame.axes.to_array(arguments.triple("margin_voxels"));
    [0, 1, 2].map(|axis| (mm[axis] / spacing[axis] - 1e-6).ceil().max(0.0) as usize + voxels[axis] as usize)
}

/// The box with its margin, grown to multiples, whether it leaves the image or not (MONAI's CropForeground).
fn padded_box<'a>(
    arguments: &Arguments,
    image: Prepared<'a>,
    sides: [(usize, usize); 3],
    margin: [usize; 3],
) -> Result<Prepared<'a>, String> {
    let axes = image.frame.axes;
    let multiple = axes.to_array(arguments.triple("divisible_by"));
    let reversed = axes.reversed_on_array();
    let mut start = [0_isize; 3];
    let mut size = [0_usize; 3];
    for axis in 0..3 {
        let length = sides[axis].1 - sides[axis].0 + 1 + 2 * margin[axis];
        size[axis] = length.div_ceil(multiple[axis] as usize) * multiple[axis] as usize;
        let extra = size[axis] - length;
        let before = if reversed[axis] { extra - extra / 2 } else { extra / 2 };
        start[axis] = sides[axis].0 as isize - margin[axis] as isize - before as isize;
    }
    image.boxed(start, size, 0.0)
}

fn widened((first, last): (usize, usize), margin: usize, length: usize) -> (usize, usize) {
    (first.saturating_sub(margin), (last + margin).min(length - 1))
}

fn whole(image: &Prepared<'_>) -> [(usize, usize); 2] {
    let [_, rows, columns] = image.frame.shape();
    [(0, rows - 1), (0, columns - 1)]
}

/// Slices that hold a voxel, or lie within the margin of one that does, by their own positions; with `range` all between
/// the outermost.
fn kept_slices(mask: &Array3<bool>, near: &Near<'_>, range: bool) -> Vec<usize> {
    let mut kept = vec![false; near.positions.len()];
    for (slice, plane) in mask.axis_iter(Axis(0)).enumerate() {
        if plane.iter().any(|inside| *inside) {
            let (first, last) = near.reach(slice);
            kept[first..=last].fill(true);
        }
    }
    let kept: Vec<usize> = (0..kept.len()).filter(|slice| kept[*slice]).collect();
    match (kept.first(), kept.last()) {
        (Some(first), Some(last)) if range => (*first..=*last).collect(),
        _ => kept,
    }
}

/// A margin along the slices.
struct Near<'a> {
    positions: &'a [f64],
    mm: f64,
    /// What files round away.
    tolerance_mm: f64,
    more: usize,
}

impl Near<'_> {
    /// The outermost slices within the margin of one: on each side the first at least `mm` away, and `more` beyond it.
    fn reach(&self, slice: usize) -> (usize, usize) {
        let mm = self.mm - self.tolerance_mm;
        let is_nearer = |other: &usize| (self.positions[*other] - self.positions[slice]).abs() < mm;
        let below = (0..=slice).rev().take_while(is_nearer).count();
        let above = (slice..self.positions.len()).take_while(is_nearer).count();
        widened((slice.saturating_sub(below), slice + above), self.more, self.positions.len())
    }
}

/// The box of each kept slice, with the margin; that of all slices where a slice is kept for its neighbours.
fn boxes_of(mask: &Array3<bool>, kept: &[usize], all: [(usize, usize); 2], margin: [usize; 3]) -> Vec<SliceBox> {
    let (_, rows, columns) = mask.dim();
    let common = SliceBox { rows: all[0], columns: all[1] };
    let of = |slice: &usize| {
        let found = extent::plane_bounds(mask.index_axis(Axis(0), *slice)).unwrap_or(common);
        SliceBox { rows: widened(found.rows, margin[1], rows), columns: widened(found.columns, margin[2], columns) }
    };
    kept.iter().map(of).collect()
}

/// Some slices, and a box of their rows and columns: a grid where they follow one another.
fn kept_box<'a>(
    image: Prepared<'a>,
    kept: &[usize],
    rows: (usize, usize),
    columns: (usize, usize),
) -> Result<Prepared<'a>, String> {
    let (first, count) = (kept[0], kept.len());
    if kept[count - 1] - first + 1 == count {
        let start = [first, rows.0, columns.0].map(|index| index as isize);
        return image.boxed(start, [count, rows.1 - rows.0 + 1, columns.1 - columns.0 + 1], 0.0);
    }
    let line = |first: usize| Line { first: first as f64, step: 1.0 };
    let cut = |slice: &usize| Some(SliceWindow { slice: *slice, row: line(rows.0), column: line(columns.0) });
    let cuts: Vec<Option<SliceWindow>> = kept.iter().map(cut).collect();
    let ranges = [0..count, rows.0..rows.1 + 1, columns.0..columns.1 + 1];
    let pixels = part(image.pixels.select(Axis(0), kept).view(), &ranges).to_owned();
    let mask = image.mask.as_ref().map(|mask| part(mask.select(Axis(0), kept).view(), &ranges).to_owned());
    Ok(image.rewindowed(&cuts, pixels, mask))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use std::sync::Arc;

    use ndarray::{Array3, Axis};

    use crate::infer::pre::tests::{check, counted};
    use crate::volume::{Mask, Volume, VolumeGeometry};

    #[test]
    fn keeps_the_box_and_its_place_in_the_patient() {
        let source = counted();
        let mut mask = Mask::empty(source.geometry.clone());
        mask.voxels[[1, 2, 3]] = true;
        mask.voxels[[2, 4, 3]] = true;
        let structures = BTreeMap::from([("S".to_owned(), mask)]);
        let json =
            r#"{"op": "crop", "regions": [{"region": "structure", "names": ["S"]}], "margin_mm": [0, 1.5, 0.5]}"#;
        let found = check(json, source.clone(), &structures).expect("cropped");
        assert_eq!(found.geometry.shape(), [2, 5, 3]);
        assert_eq!(found.pixels[[0, 0, 0]], source.pixels[[1, 1, 2]]);
        assert_eq!(found.geometry.index_to_patient([1.0, 2.0, 1.0]), source.geometry.index_to_patient([2.0, 3.0, 3.0]));
    }

    #[test]
    fn a_margin_in_mm_goes_by_the_position_of_each_slice() {
        // Slices at 0, 1, 2, 5, 8 and 11 mm, one of them rounded.
        let origins = [0.0, 1.0, 2.0, 5.0, 7.95, 11.0].map(|z| [0.0, 0.0, z]).to_vec();
        let geometry = VolumeGeometry::new((2, 2), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let pixels = Array3::from_shape_fn((6, 2, 2), |(slice, ..)| slice as f32);
        let source = Volume::new(Arc::clone(&geometry), pixels);
        let mut mask = Mask::empty(geometry);
        mask.voxels[[3, 0, 0]] = true;
        let structures = BTreeMap::from([("S".to_owned(), mask)]);
        let slices = |margin: &str| {
            let json = format!(r#"{{"op": "crop", "regions": [{{"region": "structure", "names": ["S"]}}], {margin}}}"#);
            let found = check(&json, source.clone(), &structures).expect("cropped");
            found.pixels.axis_iter(Axis(0)).map(|plane| plane[[0, 0]]).collect::<Vec<f32>>()
        };
        assert_eq!(slices(r#""margin_mm": [0, 0, 0]"#), [3.0]);
        assert_eq!(slices(r#""margin_mm": [3, 0, 0]"#), [2.0, 3.0, 4.0]);
        assert_eq!(slices(r#""margin_mm": [3.5, 0, 0]"#), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(slices(r#""margin_mm": [5, 0, 0]"#), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(slices(r#""margin_mm": [3, 0, 0], "margin_voxels": [1, 0, 0]"#), [1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn a_box_that_may_leave_the_image_grows_to_multiples_with_the_odd_voxel_at_the_end() {
        let json = r#"{"op": "crop", "regions": [{"region": "threshold", "above": 190.5}], "margin_voxels": [0, 1, 0],
                       "divisible_by": [1, 4, 4], "at_edge": "pad"}"#;
        // Only the last voxel, 191 at [3, 5, 7], is above: rows 4 to 6 grow to 4 to 7, columns 7 to 6..10.
        let found = check(json, counted(), &BTreeMap::new()).expect("cropped");
        assert_eq!(found.geometry.shape(), [1, 4, 4]);
        assert_eq!(found.pixels[[0, 1, 1]], 191.0);
        assert_eq!(found.pixels.iter().filter(|value| **value != 0.0).count(), 4);
    }

    #[test]
    fn tells_that_there_is_nothing_to_crop_to() {
        let structures = BTreeMap::from([("S".to_owned(), Mask::empty(counted().geometry))]);
        let told =
            check(r#"{"op": "crop", "regions": [{"region": "structure", "names": ["S"]}]}"#, counted(), &structures)
                .err()
                .unwrap_or_default();
        assert!(told.contains("found nothing of the regions"), "{told}");
    }
}
