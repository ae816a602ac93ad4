//! Fill slices that were left out between contoured ones; nothing is added beyond the first and last of them.

use ndarray::{Array2, ArrayView2, Axis, parallel::prelude::*};

use super::distance::extent_of;
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;
use crate::volume::VolumeGeometry;
use crate::volume::distances::squared;

pub(super) const ENTRY: Operation = Operation {
    name: "interpolate_slices",
    doc: "Fills each slice without a voxel of the mask that lies between two with one: where the signed distances to the two shapes, weighted by the position of the slice, are not outside. Shapes that do not overlap vanish between their slices. The border of the image is no edge of a shape; slices that hold anything, and those beyond the ends, stay.",
    source: "shape-based interpolation: Raya and Udupa, IEEE Trans. Medical Imaging 9, 1990; exact Euclidean distance within each slice",
    parameters: &[Parameter {
        name: "maximum_gap_mm",
        doc: "Between slices farther apart than this nothing is filled; 0 fills any gap.",
        unit: "mm",
        kind: Kind::Number { low: 0.0, high: 1000.0 },
        default: Some("0"),
    }],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let Some([slices, rows, columns]) = extent_of(mask) else { return };
        let maximum = arguments.number("maximum_gap_mm");
        let positions = context.geometry.positions_mm();
        let holds = |k: &usize| mask.index_axis(Axis(0), *k).iter().any(|inside| *inside);
        let filled: Vec<usize> = slices.filter(holds).collect();
        let near = |pair: &[usize]| maximum == 0.0 || positions[pair[1]] - positions[pair[0]] <= maximum * (1.0 + 1e-6);
        let gaps: Vec<(usize, usize)> = filled
            .windows(2)
            .filter(|pair| pair[1] > pair[0] + 1 && near(pair))
            .map(|pair| (pair[0], pair[1]))
            .collect();
        // One voxel around the shapes is outside; farther ones are no nearer.
        let wider =
            |range: std::ops::Range<usize>, most: usize| range.start.saturating_sub(1)..(range.end + 1).min(most);
        let planes = [wider(rows, mask.dim().1), wider(columns, mask.dim().2)];
        let between: Vec<(usize, Array2<bool>)> = gaps
            .par_iter()
            .flat_map_iter(|&(a, b)| {
                let field = |k: usize| signed(part(mask.index_axis(Axis(0), k), &planes), context.geometry);
                let (before, after) = (field(a), field(b));
                (a + 1..b).map(move |k| {
                    let share = (positions[k] - positions[a]) / (positions[b] - positions[a]);
                    let inside = |(x, y): (&f64, &f64)| (1.0 - share) * x + share * y >= 0.0;
                    let voxels = before.iter().zip(&after).map(inside).collect();
                    // The voxels come in the order of the field that they are made of.
                    (k, Array2::from_shape_vec(before.dim(), voxels).unwrap_or_default())
                })
            })
            .collect();
        for (k, plane) in between {
            part(mask.index_axis_mut(Axis(0), k), &planes).assign(&plane);
        }
    },
};

/// Distance in mm to the nearest voxel of the other kind: positive inside, negative outside.
fn signed(plane: ArrayView2<'_, bool>, geometry: &VolumeGeometry) -> Array2<f64> {
    let even = |count: usize, mm: f64| (0..count).map(|index| index as f64 * mm).collect::<Vec<f64>>();
    let (rows, columns) = plane.dim();
    let places = [&[0.0][..], &even(rows, geometry.row_spacing_mm()), &even(columns, geometry.column_spacing_mm())];
    let plane = plane.insert_axis(Axis(0));
    let (inwards, outwards) = (squared(plane, false, places), squared(plane, true, places));
    // A shape without an outside is as deep as one can say: a number, so that weights of 0 stay 0.
    let signed = ndarray::Zip::from(&inwards).and(&outwards).map_collect(|i, o| i.sqrt().min(1e6) - o.sqrt());
    signed.remove_axis(Axis(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use crate::infer::post::tests::{applied, check};
    use crate::volume::{Mask, VolumeGeometry};

    #[test]
    fn fills_gaps_between_shapes_halfway() {
        let json = r#"{"op": "interpolate_slices"}"#;
        check("..#.....\n\n........\n\n..#####.", &[], json, "..#.....\n\n..###...\n\n..#####.");
        check(".......\n\n..###..\n\n.......", &[], json, ".......\n\n..###..\n\n.......");
        check("#......\n\n.......\n\n......#", &[], json, "#......\n\n.......\n\n......#");
        check("##\n\n..\n\n##", &[], json, "##\n\n##\n\n##");
    }

    #[test]
    fn leaves_gaps_wider_than_allowed() {
        let before = ".#.\n\n...\n\n.#.\n\n...\n\n...\n\n.#.";
        let after = ".#.\n\n.#.\n\n.#.\n\n...\n\n...\n\n.#.";
        check(before, &[], r#"{"op": "interpolate_slices", "maximum_gap_mm": 2}"#, after);
    }

    #[test]
    fn weighs_by_position_not_by_number() {
        // The slice in between is three quarters of the way up.
        let origins = [0.0, 3.0, 4.0].map(|z| [0.0, 0.0, z]).to_vec();
        let geometry = VolumeGeometry::new((1, 12), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let voxels = Array3::from_shape_fn((3, 1, 12), |(k, _, i)| (k == 0 && i == 1) || (k == 2 && i > 0 && i < 10));
        let found = applied(&Mask::new(geometry, voxels), r#"{"op": "interpolate_slices"}"#);
        let row: Vec<usize> = (0..12).filter(|i| found.voxels[[1, 0, *i]]).collect();
        // At 5: 1/4 * -4 + 3/4 * 5 = 2.75; at 7: 1/4 * -6 + 3/4 * 3 = 0.75; at 8: 1/4 * -7 + 3/4 * 2 = -0.25.
        assert_eq!(row, [1, 2, 3, 4, 5, 6, 7]);
    }
}
