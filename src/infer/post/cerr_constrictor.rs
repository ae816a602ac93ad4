//! CERR's post-processing of the pharyngeal constrictor; its steps are in `cerr`.

use super::cerr::Stack;
use super::{Operation, always_consistent};

pub(super) const ENTRY: Operation = Operation {
    name: "cerr_constrictor",
    doc: "On the stack of slices that hold anything, as if they were adjacent, closes with a sphere of radius 4 and keeps the largest part of the stack (26 neighbours) where it has 50 voxels; closes each slice with a disk of radius 2 and keeps its largest part (8 neighbours) where it has 20; and of the mean over a cube of side 3 (which CERR's rule makes 1 at 512 rows) what is above 0.5. All in voxels of an image of 512 rows: radii and sides scale with the rows, counts with their square, rounded down. Beyond its border the image is outside for growing, inside for wearing away, and repeats itself for the mean.",
    source: "CERR's post_process_constrictor",
    parameters: &[],
    check: always_consistent,
    apply: |_, mask, context| {
        Stack::change(mask, context.geometry, |stack| {
            stack.close_with_sphere(4.0);
            stack.keep_largest(false, 50.0);
            stack.close_with_disk(2.0);
            stack.keep_largest(true, 20.0);
            stack.smooth(3.0, 0.5);
        });
    },
};
