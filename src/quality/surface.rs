//! How far two surfaces lie apart, element by element; it does not say which distance is good.
//!
//! As DeepMind's `surface-distance` does (Nikolov et al., J. Med. Internet Res. 23(7):e26151, 2021): the surface consists of
//! the cells of eight neighbouring voxels that are partly inside. Each counts by the area that marching cubes gives it
//! and lies where the eight voxels meet. Beyond the border of the image all is outside. Slices count by their own
//! positions; a stack's lean (gantry tilt) is not counted.

use ndarray::Array3;

use super::surfels::areas;
use crate::volume::VolumeGeometry;
use crate::volume::distances::squared;

/// A distance is within a tolerance in spite of rounding.
const HAIR_MM: f64 = 1e-6;

/// Distance in mm and area in mm2 of each element of one surface, ascending.
type Elements = Vec<(f64, f64)>;

/// The distances of two surfaces, neither of them empty.
pub struct SurfaceDistances {
    both: [Elements; 2],
}

impl SurfaceDistances {
    /// Measures two masks on one grid; nothing when either is empty.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn of(a: &Array3<bool>, b: &Array3<bool>, geometry: &VolumeGeometry) -> Option<SurfaceDistances> {
        assert_eq!((a.shape(), b.shape()), (&geometry.shape()[..], &geometry.shape()[..]), "two masks on one grid");
        let start_end = box_of(a, b)?;
        let (codes_a, codes_b) = (codes(a, start_end)?, codes(b, start_end)?);
        let cells = Cells::of(geometry, start_end);
        Some(SurfaceDistances { both: [cells.elements(&codes_a, &codes_b), cells.elements(&codes_b, &codes_a)] })
    }

    /// The part of both surfaces that lies within a tolerance of the other one (surface Dice coefficient, 0 to 1).
    pub fn dice(&self, tolerance_mm: f64) -> f64 {
        let within = self.all().filter(|(mm, _)| *mm <= tolerance_mm + HAIR_MM).map(|(_, area)| area).sum::<f64>();
        within / self.all().map(|(_, area)| area).sum::<f64>()
    }

    /// The larger of the distances that `part` (0 to 1) of the one surface keeps from the other, by area: 1 is the
    /// Hausdorff distance, 0.95 the robust one.
    pub fn hausdorff_mm(&self, part: f64) -> f64 {
        let of_one = |elements: &Elements| {
            let total: f64 = elements.iter().map(|(_, area)| area).sum();
            let mut sum = 0.0;
            let reached = elements.iter().find(|(_, area)| {
                sum += area;
                sum / total >= part
            });
            // Rounding may leave the sum a hair below all of it.
            reached.or(elements.last()).map_or(0.0, |(mm, _)| *mm)
        };
        of_one(&self.both[0]).max(of_one(&self.both[1]))
    }

    /// The mean distance of all elements of both surfaces, by area.
    pub fn mean_mm(&self) -> f64 {
        let sum: f64 = self.all().map(|(mm, area)| mm * area).sum();
        sum / self.all().map(|(_, area)| area).sum::<f64>()
    }

    fn all(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.both.iter().flatten()
    }
}

/// First voxel and end of the box that holds both masks, along each axis; nothing when both are empty.
fn box_of(a: &Array3<bool>, b: &Array3<bool>) -> Option<[(usize, usize); 3]> {
    let mut found = [(usize::MAX, 0); 3];
    for ((k, j, i), inside) in a.indexed_iter() {
        if *inside || b[[k, j, i]] {
            for (ends, at) in found.iter_mut().zip([k, j, i]) {
                *ends = (ends.0.min(at), ends.1.max(at + 1));
            }
        }
    }
    (found[0].1 > 0).then_some(found)
}

/// For each point where voxels of the box meet, also at its border, which of the eight are inside: the first voxel is bit
/// 7. Nothing for an empty mask.
fn codes(mask: &Array3<bool>, start_end: [(usize, usize); 3]) -> Option<Array3<u8>> {
    let [slices, rows, columns] = start_end.map(|(start, end)| start..end);
    let mut codes = Array3::zeros([slices.len() + 1, rows.len() + 1, columns.len() + 1]);
    let mut any = false;
    for (k, slice) in slices.enumerate() {
        for (j, row) in rows.clone().enumerate() {
            for (i, column) in columns.clone().enumerate() {
                if !mask[[slice, row, column]] {
                    continue;
                }
                any = true;
                for bit in 0..8 {
                    let (ds, dr, dc) = (bit >> 2 & 1, bit >> 1 & 1, bit & 1);
                    codes[[k + 1 - ds, j + 1 - dr, i + 1 - dc]] |= 128_u8 >> bit;
                }
            }
        }
    }
    any.then_some(codes)
}

fn is_surface(code: u8) -> bool {
    code != 0 && code != u8::MAX
}

/// The cells of a box: where they lie along each axis, and the areas of the codes in those of each layer.
struct Cells {
    places_mm: [Vec<f64>; 3],
    areas: Vec<[f64; 256]>,
}

impl Cells {
    fn of(geometry: &VolumeGeometry, [slices, rows, columns]: [(usize, usize); 3]) -> Cells {
        let positions = geometry.positions_mm();
        let (first, last) = (positions[0], positions[positions.len() - 1]);
        let (below, above) = (geometry.slice_extent_mm(0), geometry.slice_extent_mm(positions.len() - 1));
        // The voxels on both sides of a corner; beyond the stack the outermost gap goes on.
        let pair = |corner: usize| {
            let low = corner.checked_sub(1).map_or(first - below, |k| positions[k]);
            (low, positions.get(corner).copied().unwrap_or(last + above))
        };
        let steps = [geometry.row_spacing_mm(), geometry.column_spacing_mm()];
        let even = |(start, end): (usize, usize), step: f64| (start..=end).map(|at| at as f64 * step).collect();
        let pairs: Vec<(f64, f64)> = (slices.0..=slices.1).map(pair).collect();
        let along_slices = pairs.iter().map(|(low, high)| (low + high) / 2.0).collect();
        let areas = pairs.iter().map(|(low, high)| areas([high - low, steps[0], steps[1]])).collect();
        Cells { places_mm: [along_slices, even(rows, steps[0]), even(columns, steps[1])], areas }
    }

    /// The elements of one surface with their distances to another.
    fn elements(&self, of: &Array3<u8>, to: &Array3<u8>) -> Elements {
        let [slices, rows, columns] = &self.places_mm;
        let distances = squared(to.mapv(is_surface).view(), true, [slices, rows, columns]);
        let surface = of.indexed_iter().zip(&distances).filter(|((_, code), _)| is_surface(**code));
        let element = |(((layer, ..), code), squared): (((usize, usize, usize), &u8), &f64)| {
            (squared.sqrt(), self.areas[layer][usize::from(*code)])
        };
        let mut elements: Elements = surface.map(element).collect();
        elements.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        elements
    }
}
