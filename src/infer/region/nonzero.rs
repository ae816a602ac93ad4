//! The region where any image of the model is not zero; it looks at no structure.

use ndarray::{Array3, Zip};

use super::{Entry, always_consistent};
use crate::infer::grid::{Method, bring_onto};
use crate::infer::post::components::{Components, Neighbours};

pub(super) const ENTRY: Entry = Entry {
    name: "nonzero",
    doc: "Voxels at which any image of the model is not 0, with what they enclose in the volume (face neighbours).",
    source: "nnU-Net's crop_to_nonzero",
    parameters: &[],
    per_slice: false,
    reuses: false,
    check: always_consistent,
    mask: |_, prepared, given| {
        prepared.need_grid()?;
        let mut mask = Array3::from_elem(prepared.frame.shape(), false);
        for image in given.surroundings.images.values() {
            let geometry = &prepared.frame.geometry;
            if image.geometry == *geometry {
                Zip::from(&mut mask).and(&image.pixels).par_for_each(|m, value| *m |= *value != 0.0);
            } else {
                let brought = bring_onto(image, geometry, Method::Nearest, 0.0);
                Zip::from(&mut mask).and(&brought.pixels).par_for_each(|m, value| *m |= *value != 0.0);
            }
        }
        fill_enclosed(&mut mask);
        Ok(mask)
    },
};

/// Adds the background that does not reach the edge of the image through face neighbours (`binary_fill_holes`).
fn fill_enclosed(mask: &mut Array3<bool>) {
    let (slices, rows, columns) = mask.dim();
    let parts = Components::of(mask, false, Neighbours::Faces, false);
    let mut enclosed = vec![true; parts.count];
    for (run, part) in parts.runs.iter().zip(&parts.component) {
        let at_edge = [run.slice as usize + 1 == slices, run.row as usize + 1 == rows, run.end as usize == columns];
        if run.slice == 0 || run.row == 0 || run.start == 0 || at_edge.contains(&true) {
            enclosed[*part as usize] = false;
        }
    }
    parts.paint(mask, true, |part| enclosed[part]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enclosed_is_filled_and_what_is_open_is_not() {
        let mut mask = Array3::from_elem((3, 5, 5), false);
        mask.slice_each_axis_mut(|axis| {
            if axis.axis.index() == 0 { ndarray::Slice::from(..) } else { ndarray::Slice::from(1..4) }
        })
        .fill(true);
        mask[[1, 2, 2]] = false;
        let mut open = mask.clone();
        open[[0, 2, 2]] = false;
        fill_enclosed(&mut mask);
        assert!(mask[[1, 2, 2]]);
        fill_enclosed(&mut open);
        assert!(!open[[1, 2, 2]]);
    }
}
