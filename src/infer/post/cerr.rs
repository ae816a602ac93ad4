//! The steps that CERR's post-processing of head and neck structures is made of, in voxels as there; no lengths in mm.
//!
//! CERR works on the stack of those slices that hold anything, as if they were adjacent, and scales its numbers of
//! voxels with the rows of the image: they are meant for 512.

use ndarray::{Array3, Axis, Zip};

use super::components::{Components, Neighbours, Run};
use super::distance::{dilated, eroded, extent_of, widened};
use super::element::reached;
use super::largest_component::matlab_ranks;
use crate::infer::part::part;
use crate::volume::VolumeGeometry;

/// The slices of a mask that hold anything, cut to what the steps can reach.
pub struct Stack {
    pub voxels: Array3<bool>,
    /// Voxels of 1 mm; slices run from feet to head as in the image.
    grid: VolumeGeometry,
    scale: f64,
}

impl Stack {
    /// Applies steps to the stack and puts the result back; an empty mask stays as it is.
    pub fn change(mask: &mut Array3<bool>, geometry: &VolumeGeometry, steps: impl FnOnce(&mut Stack)) {
        let Some(extent) = extent_of(mask) else { return };
        let scale = 512.0 / mask.dim().1 as f64;
        // Twice the largest radius, and half of the largest box, of all operations at this scale.
        let reach = (2.0 * 5.0 / scale).ceil() as usize + (5.0 / scale).ceil() as usize + 1;
        let [_, rows, columns] = widened(&extent, [0, reach, reach], mask);
        let used: Vec<usize> =
            extent[0].clone().filter(|k| mask.index_axis(Axis(0), *k).iter().any(|inside| *inside)).collect();
        let head_last = geometry.normal()[2] >= 0.0;
        let towards = if head_last { 1.0 } else { -1.0 };
        let origins = (0..used.len()).map(|k| [0.0, 0.0, towards * k as f64]).collect();
        let size = (rows.len(), columns.len());
        let grid = VolumeGeometry::new(size, [1.0, 1.0], [towards, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let Ok(grid) = grid else { return };
        let planes = [rows, columns];
        let mut voxels = Array3::from_elem(grid.shape(), false);
        for (mut plane, k) in voxels.axis_iter_mut(Axis(0)).zip(&used) {
            plane.assign(&part(mask.index_axis(Axis(0), *k), &planes));
        }
        let mut stack = Stack { voxels, grid, scale };
        steps(&mut stack);
        for (plane, k) in stack.voxels.axis_iter(Axis(0)).zip(&used) {
            part(mask.index_axis_mut(Axis(0), *k), &planes).assign(&plane);
        }
    }

    /// A length in voxels of a slice of 512 rows, brought to this image and rounded down.
    fn length(&self, voxels: f64) -> usize {
        (voxels / self.scale).floor() as usize
    }

    /// An area in the same way; CERR scales volumes like areas.
    fn area(&self, voxels: f64) -> f64 {
        (voxels / (self.scale * self.scale)).floor()
    }

    /// Closing with MATLAB's `strel('sphere', r)`: all voxels at a distance of at most r. What lies beyond the border
    /// counts as outside when the mask grows and as inside when it is worn away, as in `imclose`.
    pub fn close_with_sphere(&mut self, radius: f64) {
        let radius = self.length(radius) as f64;
        let grown = dilated(&self.voxels, radius, &self.grid);
        self.voxels = eroded(&grown, radius, &self.grid);
    }

    /// Closing of each slice with MATLAB's `strel('disk', r)`, with the same border.
    pub fn close_with_disk(&mut self, radius: f64) {
        let radius = self.length(radius);
        let whole = self.voxels.shape().iter().map(|side| 0..*side).collect::<Vec<_>>();
        let Ok(whole) = <[_; 3]>::try_from(whole) else { return };
        let rows = |slice: usize| (slice..slice + 1, radius as i64);
        let span = |_: usize, _: usize, rows: i64| half_width(radius, rows.unsigned_abs() as usize).map(|w| (-w, w));
        let grown = reached(&self.voxels, true, &whole, &rows, &span);
        self.voxels = reached(&grown, false, &whole, &rows, &span);
        self.voxels.par_mapv_inplace(|near| !near);
    }

    /// Keeps the largest part of each slice, or of the stack, when it has at least as many voxels; 8 neighbours in a
    /// slice, 26 in the stack. CERR first drops the parts of a slice below a smaller size, which changes nothing.
    pub fn keep_largest(&mut self, per_slice: bool, least: f64) {
        let least = self.area(least);
        let parts = Components::of(&self.voxels, true, Neighbours::Corners, per_slice);
        let (size, rank) = (parts.sum(Run::length), matlab_ranks(&parts, &self.grid));
        let mut slice_of = vec![0; parts.count];
        parts.runs.iter().zip(&parts.component).for_each(|(run, part)| slice_of[*part as usize] = run.slice as usize);
        let group = |part: usize| if per_slice { slice_of[part] } else { 0 };
        let mut best: Vec<Option<usize>> = vec![None; self.voxels.dim().0];
        for part in (0..parts.count).filter(|part| size[*part] >= least) {
            let before = best[group(part)];
            let better =
                |other: usize| size[part] > size[other] || (size[part] == size[other] && rank[part] < rank[other]);
            if before.is_none_or(better) {
                best[group(part)] = Some(part);
            }
        }
        parts.paint(&mut self.voxels, false, |part| best[group(part)] != Some(part));
    }

    /// Keeps the voxels whose mean over a cube is above a threshold, as MATLAB's `smooth3` with `box`; its border
    /// repeats the outermost voxels. The side comes from a number by CERR's rule, which gives 1 for 3.
    pub fn smooth(&mut self, side: f64, above: f64) {
        let half = (self.length(side) / 2).saturating_sub(1);
        if half == 0 {
            return;
        }
        let mut counts = self.voxels.mapv(u32::from);
        for axis in 0..3 {
            let before = counts.clone();
            Zip::from(counts.lanes_mut(Axis(axis))).and(before.lanes(Axis(axis))).par_for_each(|mut out, lane| {
                let last = lane.len() as isize - 1;
                let at = |index: isize| lane[index.clamp(0, last) as usize];
                let half = half as isize;
                let mut sum: u32 = (-half..=half).map(at).sum();
                for (index, out) in out.iter_mut().enumerate() {
                    *out = sum;
                    let index = index as isize;
                    sum = sum + at(index + half + 1) - at(index - half);
                }
            });
        }
        let cube = (2 * half + 1).pow(3) as f64;
        Zip::from(&mut self.voxels).and(&counts).par_for_each(|voxel, count| *voxel = f64::from(*count) > above * cube);
    }
}

/// Half the width of MATLAB's `strel('disk', r)` in a row off its middle. Below a radius of 3 it is the Euclidean disk;
/// above, lines in four directions (Adams, CVGIP: Graphical Models and Image Processing 55, 1993): an octagon.
fn half_width(radius: usize, row: usize) -> Option<i64> {
    if row > radius {
        return None;
    }
    if radius < 3 {
        return Some(((radius * radius - row * row) as f64).sqrt().floor() as i64);
    }
    let angle = std::f64::consts::PI / 8.0;
    let length = 2.0 * radius as f64 / (1.0 / angle.tan() + 1.0 / angle.sin());
    let (mut straight, slant) = (length.floor() as usize, (length / std::f64::consts::SQRT_2).floor() as usize);
    // Lines along rows and columns make up for what the lines lack.
    straight += (radius - (straight + 2 * slant)).saturating_sub(1);
    let half = straight + 2 * slant;
    (row <= half).then(|| (half - row.saturating_sub(straight)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::volume::Mask;

    /// A structure with holes, islands, a slice left out and a part at the border, larger in larger images.
    fn structure(rows: usize, size: usize) -> Mask {
        let origins = (0..20).map(|k| [0.0, 0.0, f64::from(k)]).collect();
        let geometry = VolumeGeometry::new((rows, 64), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let (middle, size) = (rows as i64 / 2, size as i64);
        let voxels = Array3::from_shape_fn(geometry.shape(), |(k, row, column)| {
            let (i, j, k) = (row as i64, column as i64, k as i64);
            let part = |offset: i64, radius: i64| (offset as f64 / radius as f64).powi(2);
            let noise = (i * 73 + j * 179 + k * 283 + i * j * 3 + j * k * 5) % 11;
            let blob = part(i - middle, 11 * size) + part(j - 28, 9 * size) + part(k - 9, 7) <= 1.0 && noise > 2;
            let island = (i - middle - 25 * size).pow(2) + (j - 50).pow(2) + (k - 6).pow(2) <= 9;
            let disk = (i - middle).pow(2) + (j - 12).pow(2) <= 4 * size * size && k == 15;
            let bar = (i - middle).abs() <= 1 && (40..=46).contains(&j) && (7..=11).contains(&k) && noise > 3;
            let edge = i >= rows as i64 - 3 && (20..40).contains(&j) && (3..=16).contains(&k) && noise > 4;
            k != 12 && (blob || island || disk || bar || edge)
        });
        Mask::new(geometry, voxels)
    }

    /// Voxels before, voxels after, and a sum over their places.
    fn measured(rows: usize, size: usize, operation: &str) -> [usize; 3] {
        let mask = structure(rows, size);
        let found = crate::infer::post::tests::applied(&mask, &format!(r#"{{"op": "{operation}"}}"#));
        let place = |((k, i, j), _): ((usize, usize, usize), &bool)| (i * 31 + j * 17 + k * 7) % 1009;
        [mask.count(), found.count(), found.voxels.indexed_iter().filter(|(_, inside)| **inside).map(place).sum()]
    }

    #[test]
    fn agrees_with_the_same_steps_in_scipy_at_512_and_1024_rows() {
        // From SciPy 1.17: binary_dilation, binary_erosion(border_value=1), label, uniform_filter(mode="nearest").
        for (operation, rows, size, expected) in [
            ("cerr_chewing", 512, 1, [2549, 3328, 1_360_797]),
            ("cerr_larynx", 512, 1, [2549, 2897, 1_172_932]),
            ("cerr_constrictor", 512, 1, [2549, 3112, 1_274_163]),
            ("cerr_chewing", 1024, 2, [8493, 15272, 8_246_303]),
            ("cerr_larynx", 1024, 2, [8493, 13708, 7_235_992]),
            ("cerr_constrictor", 1024, 2, [8493, 14205, 7_564_937]),
        ] {
            assert_eq!(measured(rows, size, operation), expected, "{operation} at {rows} rows");
        }
    }

    #[test]
    fn a_disk_of_matlab_has_its_size() {
        let voxels = |radius: usize| {
            let rows = (0..=radius).filter_map(|row| half_width(radius, row).map(|w| (row, 2 * w + 1)));
            rows.map(|(row, width)| if row == 0 { width } else { 2 * width }).sum::<i64>()
        };
        // strel('disk', r).Neighborhood has 5, 13, 25, 37, 69, 185 and 321 voxels for these.
        assert_eq!([1, 2, 3, 4, 5, 8, 10].map(voxels), [5, 13, 25, 37, 69, 185, 321]);
    }
}
