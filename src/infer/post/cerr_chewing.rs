//! CERR's post-processing of chewing structures; its steps are in `cerr`.

use super::cerr::Stack;
use super::{Operation, always_consistent};

pub(super) const ENTRY: Operation = Operation {
    name: "cerr_chewing",
    doc: "On the stack of slices that hold anything, as if they were adjacent, closes with a sphere of radius 5 and keeps the largest part of each slice (8 neighbours) where it has 10 voxels, the largest part of the stack (26 neighbours) where it has 1000, and of its mean over a cube of side 3 (which CERR's rule makes 1 at 512 rows) what is above 0.4. All in voxels of an image of 512 rows: radii and sides scale with the rows, counts with their square, rounded down. Beyond its border the image is outside for growing, inside for wearing away, and repeats itself for the mean.",
    source: "CERR's post_process_chewing_structs",
    parameters: &[],
    check: always_consistent,
    apply: |_, mask, context| {
        Stack::change(mask, context.geometry, |stack| {
            stack.close_with_sphere(5.0);
            stack.keep_largest(true, 10.0);
            stack.keep_largest(false, 1000.0);
            stack.smooth(3.0, 0.4);
        });
    },
};
