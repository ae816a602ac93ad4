//! Smooth the surface with a Gaussian of a width in mm; fine detail goes, large shapes keep their place.

use ndarray::{Array3, ArrayView1, Axis, Zip, parallel::prelude::*};

use super::distance::{Extent, extent_of, widened};
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;

/// How many standard deviations the Gaussian reaches, as in SciPy.
const REACH: f64 = 4.0;

pub(super) const ENTRY: Operation = Operation {
    name: "smooth",
    doc: "Blurs the mask with a Gaussian and keeps the voxels where at least `threshold` is left: edges are rounded, what is thinner than about `sigma_mm` goes, gaps of that width close. Slices weigh by their extent and position. Beyond the border of the image nothing is known: weights there are left out and the others make up for them.",
    source: "Gaussian of the mask, then one half; SciPy's gaussian_filter with truncate 4",
    parameters: &[
        Parameter {
            name: "sigma_mm",
            doc: "Standard deviation of the Gaussian.",
            unit: "mm",
            kind: Kind::Number { low: 0.0, high: 50.0 },
            default: None,
        },
        Parameter {
            name: "plane",
            doc: "Whether the `volume` is smoothed or each `slice` by itself.",
            unit: "",
            kind: Kind::Choice(&["volume", "slice"]),
            default: Some("\"volume\""),
        },
        Parameter {
            name: "threshold",
            doc: "Least value kept; below one half the mask gains.",
            unit: "fraction",
            kind: Kind::Number { low: 0.01, high: 0.99 },
            default: Some("0.5"),
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let (sigma, geometry) = (arguments.number("sigma_mm"), context.geometry);
        let Some(extent) = extent_of(mask) else { return };
        let steps = |mm: f64| (REACH * sigma / mm).ceil() as usize;
        let positions = geometry.positions_mm();
        let slices = if arguments.choice("plane") == "slice" { 0 } else { positions.len() };
        let sides = [slices, steps(geometry.row_spacing_mm()), steps(geometry.column_spacing_mm())];
        let mut extent = widened(&extent, sides, mask);
        if slices > 0 {
            extent[0] = near_slices(&extent_of(mask).unwrap_or(extent.clone()), positions, REACH * sigma);
        }
        // The Gaussian may look beyond the extent, where the mask is empty: weights are those of the whole image.
        let even = |count: usize, mm: f64| (0..count).map(|index| index as f64 * mm).collect::<Vec<f64>>();
        let extents: Vec<f64> = (0..positions.len()).map(|k| geometry.slice_extent_mm(k)).collect();
        let rows = even(geometry.rows(), geometry.row_spacing_mm());
        let columns = even(geometry.columns(), geometry.column_spacing_mm());
        let mut values = part(mask.view(), &extent).mapv(f32::from);
        blur(&mut values, 2, &weights(&columns, None, sigma, &extent[2]));
        blur(&mut values, 1, &weights(&rows, None, sigma, &extent[1]));
        if slices > 0 {
            blur(&mut values, 0, &weights(positions, Some(&extents), sigma, &extent[0]));
        }
        let threshold = arguments.number("threshold") as f32;
        let mut inside = part(mask.view_mut(), &extent);
        Zip::from(&mut inside).and(&values).par_for_each(|inside, value| *inside = *value >= threshold);
    },
};

/// The slices within a distance of those of an extent.
fn near_slices(extent: &Extent, positions: &[f64], mm: f64) -> std::ops::Range<usize> {
    let (below, above) = (positions[extent[0].start] - mm, positions[extent[0].end - 1] + mm);
    positions.partition_point(|p| *p < below)..positions.partition_point(|p| *p <= above)
}

/// For each place of a range the weights of the places of the same range, by index in it. They are scaled so that the
/// weights of all places of the image make 1.
fn weights(
    places: &[f64],
    sizes: Option<&[f64]>,
    sigma: f64,
    range: &std::ops::Range<usize>,
) -> Vec<Vec<(usize, f32)>> {
    let weight = |from: usize, to: usize| {
        let mm = places[from] - places[to];
        let size = sizes.map_or(1.0, |sizes| sizes[from]);
        // A width of 0 leaves everything as it is.
        if from == to { size } else { size * (-0.5 * (mm / sigma.max(1e-9)).powi(2)).exp() }
    };
    let of = |to: usize| {
        let reach = REACH * sigma * (1.0 + 1e-9);
        let first = places.partition_point(|place| *place < places[to] - reach);
        let end = places.partition_point(|place| *place <= places[to] + reach);
        let sum: f64 = (first..end).map(|from| weight(from, to)).sum();
        let inside = (first..end).filter(|from| range.contains(from));
        inside.map(|from| (from - range.start, (weight(from, to) / sum) as f32)).collect()
    };
    range.clone().map(of).collect()
}

/// Replaces each plane across an axis by the weighted sum of the planes.
fn blur(values: &mut Array3<f32>, axis: usize, weights: &[Vec<(usize, f32)>]) {
    let before = values.clone();
    if axis == 2 {
        let row = |mut out: ndarray::ArrayViewMut1<'_, f32>, row: ArrayView1<'_, f32>| {
            if row.iter().any(|value| *value != 0.0) {
                out.iter_mut().zip(weights).for_each(|(out, of)| *out = of.iter().map(|(i, w)| w * row[*i]).sum());
            }
        };
        Zip::from(values.lanes_mut(Axis(2))).and(before.lanes(Axis(2))).par_for_each(row);
        return;
    }
    // Along slices or rows whole rows of memory are added up.
    let across = 1 - axis;
    values.axis_iter_mut(Axis(across)).into_par_iter().zip(before.axis_iter(Axis(across)).into_par_iter()).for_each(
        |(mut out, before)| {
            for (mut lane, of) in out.outer_iter_mut().zip(weights) {
                lane.fill(0.0);
                of.iter().for_each(|(index, weight)| lane.scaled_add(*weight, &before.index_axis(Axis(0), *index)));
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::infer::post::tests::{applied, check};
    use crate::volume::{Mask, VolumeGeometry};

    #[test]
    fn rounds_corners_and_drops_specks() {
        let before = "#####..\n#####..\n#####..\n.......\n......#";
        let after = "#####..\n#####..\n####...\n.......\n.......";
        check(before, &[], r#"{"op": "smooth", "sigma_mm": 1, "plane": "slice"}"#, after);
        check(before, &[], r#"{"op": "smooth", "sigma_mm": 0}"#, before);
    }

    #[test]
    fn agrees_with_scipy_on_even_slices() {
        let origins = (0..9).map(|k| [0.0, 0.0, 2.5 * f64::from(k)]).collect();
        let geometry = VolumeGeometry::new((24, 26), [0.8, 1.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let inside = |(k, i, j): (usize, usize, usize)| {
            let part = |index: usize, middle: f64, radius: f64| ((index as f64 - middle) / radius).powi(2);
            part(k, 4.0, 3.4) + part(i, 11.0, 9.0) + part(j, 12.0, 10.0) <= 1.0 && (i * 7 + j * 5 + k * 3) % 9 > 1
        };
        let mask = Mask::new(Arc::clone(&geometry), Array3::from_shape_fn(geometry.shape(), inside));
        let place = |((k, i, j), _): ((usize, usize, usize), &bool)| (i * 31 + j * 17 + k * 7) % 1009;
        // gaussian_filter(mask, sigma / spacing, mode="constant", truncate=4), over that of ones, at least 0.5; with
        // the radius of each axis given as the whole voxels within 4 sigma.
        for (sigma, count, sum) in [(1.0, 1127, 645_771), (2.0, 829, 474_725), (3.5, 422, 238_028)] {
            let found = applied(&mask, &format!(r#"{{"op": "smooth", "sigma_mm": {sigma}}}"#));
            let places = found.voxels.indexed_iter().filter(|(_, inside)| **inside).map(place).sum::<usize>();
            assert_eq!((found.count(), places), (count, sum), "sigma {sigma} mm");
        }
    }

    #[test]
    fn a_thick_slice_weighs_more_than_a_thin_one() {
        // Slices at 0, 1, 2, 6 and 10 mm: the one at 2 mm has half of the gap beyond it, 2.5 mm in all.
        let origins = [0.0, 1.0, 2.0, 6.0, 10.0].map(|z| [0.0, 0.0, z]).to_vec();
        let geometry = VolumeGeometry::new((1, 1), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let mut voxels = Array3::from_elem((5, 1, 1), false);
        voxels[[2, 0, 0]] = true;
        let json = r#"{"op": "smooth", "sigma_mm": 1, "threshold": 0.45}"#;
        // At 1 mm: 2.5 exp(-1/2) of exp(-1/2) + 1 + 2.5 exp(-1/2) = 0.486; at 0 mm 0.17. Equal weights give 0.27.
        let found = applied(&Mask::new(geometry, voxels), json);
        assert_eq!(found.voxels.iter().copied().collect::<Vec<_>>(), [false, true, true, false, false]);
    }
}
