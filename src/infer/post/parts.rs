//! The connected parts of a mask as masks of their own, for structures whose number a network alone knows, such as
//! metastases.

use std::sync::Arc;

use ndarray::Array3;

use super::components::{Components, Neighbours};
use crate::volume::CompactMask;

/// The parts of a mask, the largest first (by mm³; of equal ones that with the lowest slice, row, column). Voxels that share
/// a corner belong together.
///
/// # Errors
/// How many there are, when they are more than `most`.
pub fn parts(mask: &CompactMask, most: usize) -> Result<Vec<CompactMask>, usize> {
    let (corner, voxels) = mask.boxed();
    let found = Components::of(&voxels, true, Neighbours::Corners, false);
    if found.count > most {
        return Err(found.count);
    }
    let geometry = &mask.geometry;
    let size = found.sum(|run| run.length() * geometry.slice_extent_mm(corner[0] + run.slice as usize));
    let mut order: Vec<usize> = (0..found.count).collect();
    // A stable sort: parts are numbered by their first voxels.
    order.sort_by(|a, b| size[*b].total_cmp(&size[*a]));
    let one = |part: usize| {
        let runs =
            || found.runs.iter().zip(&found.component).filter(|(_, of)| **of as usize == part).map(|(run, _)| run);
        let mut low = [usize::MAX; 3];
        let mut high = [0; 3];
        for range in runs().map(|run| run.ranges()) {
            for axis in 0..3 {
                low[axis] = low[axis].min(range[axis].start);
                high[axis] = high[axis].max(range[axis].end);
            }
        }
        let mut own = Array3::from_elem([0, 1, 2].map(|axis| high[axis] - low[axis]), false);
        for [slice, row, columns] in runs().map(|run| run.ranges()) {
            for column in columns {
                own[[slice.start - low[0], row.start - low[1], column - low[2]]] = true;
            }
        }
        CompactMask::within(Arc::clone(geometry), [0, 1, 2].map(|axis| corner[axis] + low[axis]), &own)
    };
    Ok(order.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::VolumeGeometry;

    /// Two slices 3 mm, then one 9 mm further; rows and columns of 1 mm.
    fn geometry() -> Arc<VolumeGeometry> {
        let origins = [0.0, 3.0, 12.0].map(|z| [0.0, 0.0, z]).to_vec();
        let made = VolumeGeometry::new((4, 6), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        Arc::new(made.expect("legal"))
    }

    fn mask(inside: &[[usize; 3]]) -> CompactMask {
        let mut voxels = Array3::from_elem((3, 4, 6), false);
        inside.iter().for_each(|place| voxels[*place] = true);
        CompactMask::of(geometry(), &voxels)
    }

    #[test]
    fn the_largest_comes_first_and_every_voxel_is_in_one_part() {
        // Two voxels that share a corner in the first slices; two of the last slice, which is thicker; one more.
        let (pair, thick, single) = ([[0, 1, 1], [1, 2, 2]], [[2, 0, 4], [2, 0, 5]], [[0, 3, 4]]);
        let whole = mask(&[pair.as_slice(), &thick, &single].concat());
        let voxels = |mask: CompactMask| (mask.extent(), mask.to_mask().voxels);
        let found = parts(&whole, 3).unwrap_or_default().into_iter().map(voxels);
        assert!(found.eq([mask(&thick), mask(&pair), mask(&single)].map(voxels)));
        assert_eq!(parts(&whole, 2).err(), Some(3));
        assert!(parts(&mask(&[]), 2).is_ok_and(|parts| parts.is_empty()));
    }
}
