//! The convex hull of the mask in each slice; slices do not see each other.

use ndarray::{ArrayViewMut2, Axis, parallel::prelude::*};

use super::{Operation, always_consistent};

pub(super) const ENTRY: Operation = Operation {
    name: "convex_hull",
    doc: "Adds, in each slice, every voxel whose centre lies in the convex hull of the centres of the mask's voxels there, all parts of the slice together. The border of the image plays no part.",
    source: "scikit-image's convex_hull_image without offset coordinates; monotone chains (Andrew, Information Processing Letters 9, 1979) in whole numbers",
    parameters: &[],
    check: always_consistent,
    apply: |_, mask, _| mask.axis_iter_mut(Axis(0)).into_par_iter().for_each(fill_hull),
};

fn fill_hull(mut plane: ArrayViewMut2<'_, bool>) {
    // The hull's sides hang on the first and last voxel of the rows.
    let (mut left, mut right): (Vec<[i64; 2]>, Vec<[i64; 2]>) = (Vec::new(), Vec::new());
    for (row, voxels) in plane.outer_iter().enumerate() {
        let Some(first) = voxels.iter().position(|inside| *inside) else { continue };
        let last = voxels.len() - 1 - voxels.iter().rev().position(|inside| *inside).unwrap_or(0);
        extend(&mut left, [row as i64, first as i64], 1);
        extend(&mut right, [row as i64, last as i64], -1);
    }
    let (Some(top), Some(bottom)) = (left.first().map(|p| p[0]), left.last().map(|p| p[0])) else { return };
    for row in top..=bottom {
        let first = crossing(&left, row, 1);
        let last = crossing(&right, row, -1);
        let mut voxels = plane.row_mut(row as usize);
        (first..=last).for_each(|column| voxels[column as usize] = true);
    }
}

/// Adds a point to a chain and drops those that lie inside; `side` is 1 for the left chain and -1 for the right one.
fn extend(chain: &mut Vec<[i64; 2]>, point: [i64; 2], side: i64) {
    while let [.., a, b] = chain[..] {
        let turn = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0]);
        if turn * side > 0 {
            break;
        }
        chain.pop();
    }
    chain.push(point);
}

/// The first column at or inside a chain in a row; for the right chain the last one.
fn crossing(chain: &[[i64; 2]], row: i64, side: i64) -> i64 {
    let after = chain.partition_point(|point| point[0] < row);
    let b = chain[after];
    if b[0] == row {
        return b[1];
    }
    let a = chain[after - 1];
    let (rise, run) = ((b[1] - a[1]) * (row - a[0]) * side, b[0] - a[0]);
    // Rounded up towards the inside, on either side.
    a[1] + side * (rise + run - 1).div_euclid(run)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::infer::post::tests::check;

    #[test]
    fn fills_what_lies_between_all_parts_of_a_slice() {
        let json = r#"{"op": "convex_hull"}"#;
        check("#...#\n.....\n.....\n..#..", &[], json, "#####\n.###.\n..#..\n..#..");
        check("#..\n...\n..#", &[], json, "#..\n.#.\n..#");
        check("#...\n\n...#", &[], json, "#...\n\n...#");
        check("....#.\n......\n#.....", &[], json, "....#.\n..#...\n#.....");
    }

    #[test]
    fn agrees_with_half_planes_through_all_pairs_of_voxels() {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..200 {
            let (rows, columns) = (random.usize(1..9), random.usize(1..9));
            let mut mask = Array3::from_shape_simple_fn((1, rows, columns), || random.f64() < 0.15);
            let points: Vec<[i64; 2]> =
                mask.indexed_iter().filter(|(_, m)| **m).map(|((_, j, i), _)| [j as i64, i as i64]).collect();
            let turn =
                |a: [i64; 2], b: [i64; 2], p: [i64; 2]| (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]);
            // Outside is what a line through two points parts from all points; on a line, what lies beyond its ends.
            let outside = |p: [i64; 2]| {
                let parted =
                    |a: &[i64; 2], b: &[i64; 2]| turn(*a, *b, p) > 0 && points.iter().all(|q| turn(*a, *b, *q) <= 0);
                let beyond = |axis: usize| {
                    let places = || points.iter().map(|q| q[axis]);
                    places().min().is_none_or(|low| p[axis] < low) || places().max().is_none_or(|high| p[axis] > high)
                };
                let apart = points.iter().any(|a| points.iter().any(|b| a != b && (parted(a, b) || parted(b, a))));
                apart || beyond(0) || beyond(1)
            };
            let expected = Array3::from_shape_fn(mask.raw_dim(), |(_, j, i)| !outside([j as i64, i as i64]));
            fill_hull(mask.index_axis_mut(Axis(0), 0));
            assert_eq!(mask, expected, "{points:?}");
        }
    }
}
