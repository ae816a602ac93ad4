//! The labels of a low-resolution stage as the next stage takes them: brought onto its array by the vote of their
//! neighbours. It runs no network.

use std::sync::Arc;

use ndarray::{Array3, Zip};

use super::InferError;
use super::frame::{Frame, geometry_of_box, spacing_mm};
use super::grid::{Method, Taps, resample, taps_between};
use super::part::part;
use super::recipe::Separate;
use super::restore::{Restored, separate_axis};
use crate::volume::VolumeGeometry;

/// Scores that differ by less count as equal: weights are products of single-precision numbers.
const TIE: f32 = 1e-6;

/// Label values on the array of `frame`, from labels on `source`, the image as it was handed in.
///
/// As nnU-Net does it (batchgenerators 0.25.4 `resize_segmentation`, order 1): the map is cropped as the image was; the
/// indicator of each label is resampled linearly, its outermost voxels repeated; the highest score wins; of equal ones the
/// label of the nearest voxel, else the smallest. Along an axis that is treated apart, the nearest voxel.
///
/// # Errors
/// When the axes of the grids are not parallel.
pub(super) fn labels_on(
    frame: &Frame,
    found: &Restored,
    source: &Arc<VolumeGeometry>,
    separate: Separate,
) -> Result<Array3<u16>, InferError> {
    let failed = |reason: String| InferError::Operation { name: "previous", reason };
    let apart = || failed("found grids whose axes are not parallel, expected parallel ones".to_owned());
    let values = found.values();
    // Voxels of the source that lie in the frame: the box that the image was cropped to.
    let inside = taps_between(&frame.geometry, source, Method::Nearest).ok_or_else(apart)?;
    let ends = |taps: &[Option<Taps>]| {
        let first = taps.iter().position(Option::is_some)?;
        Some(first..taps.iter().rposition(Option::is_some)? + 1)
    };
    let [Some(slices), Some(rows), Some(columns)] = [ends(&inside[0]), ends(&inside[1]), ends(&inside[2])] else {
        return Ok(Array3::zeros(frame.shape()));
    };
    let start = [slices.start as isize, rows.start as isize, columns.start as isize];
    let size = [slices.len(), rows.len(), columns.len()];
    let grid = geometry_of_box(source, start, size).map_err(failed)?;
    let values = part(values.view(), &[slices, rows, columns]).to_owned();
    let linear = taps_between(&grid, &frame.geometry, Method::Linear).ok_or_else(apart)?;
    let nearest = taps_between(&grid, &frame.geometry, Method::Nearest).ok_or_else(apart)?;
    let separate = separate_axis(separate, spacing_mm(&grid), frame.nominal_mm());
    let taps = [0, 1, 2].map(|axis: usize| if separate == Some(axis) { &nearest[axis] } else { &linear[axis] });
    let on_grid = vote(&values, taps.map(Vec::as_slice), [&nearest[0], &nearest[1], &nearest[2]]);
    Ok(match &frame.windows {
        None => on_grid,
        Some(windows) => windows.cut(&on_grid, 0),
    })
}

/// The label with the highest score at each voxel.
fn vote(values: &Array3<u16>, taps: [&[Option<Taps>]; 3], nearest: [&[Option<Taps>]; 3]) -> Array3<u16> {
    let most = values.iter().copied().max().unwrap_or(0);
    let mut present = vec![false; usize::from(most) + 1];
    values.iter().for_each(|value| present[usize::from(*value)] = true);
    let closest = resample(values.mapv(f32::from).view(), nearest, 0.0).mapv(|value| value.round() as u16);
    let mut winner = Array3::<u16>::zeros(closest.raw_dim());
    let mut best = Array3::from_elem(closest.raw_dim(), f32::NEG_INFINITY);
    for label in (0..=most).filter(|label| present[usize::from(*label)]) {
        let scores = resample(values.mapv(|value| f32::from(value == label)).view(), taps, 0.0);
        Zip::from(&mut winner).and(&mut best).and(&scores).and(&closest).par_for_each(
            |winner, best, score, closest| {
                let wins = *score > *best + TIE || ((*score - *best).abs() <= TIE && *closest == label);
                if wins {
                    (*winner, *best) = (label, *score);
                }
            },
        );
    }
    winner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_wins_and_the_nearest_label_of_equal_ones() {
        let values = Array3::from_shape_vec((1, 1, 4), vec![0, 1, 1, 2]).expect("1 x 1 x 4");
        let at = |positions: &[f64], length, method| -> Vec<Option<Taps>> {
            positions.iter().map(|position| Taps::at(*position, length, method)).collect()
        };
        let positions = [0.5, 0.25, 2.5, 2.75, 3.4];
        let (one, linear, nearest) =
            (at(&[0.0], 1, Method::Linear), at(&positions, 4, Method::Linear), at(&positions, 4, Method::Nearest));
        let found = vote(&values, [&one, &one, &linear], [&one, &one, &nearest]);
        assert_eq!(found.into_raw_vec_and_offset().0, [1, 0, 2, 2, 2]);
    }
}
