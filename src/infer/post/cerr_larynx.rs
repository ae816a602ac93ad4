//! CERR's post-processing of the larynx; its steps are in `cerr`.

use super::cerr::Stack;
use super::{Operation, always_consistent};

pub(super) const ENTRY: Operation = Operation {
    name: "cerr_larynx",
    doc: "On the stack of slices that hold anything, as if they were adjacent, closes with a sphere of radius 3 and keeps the largest part of each slice (8 neighbours) where it has 20 voxels, the largest part of the stack (26 neighbours) where it has 1000, and of its mean over a cube of side 5 (which CERR's rule makes 3 at 512 rows) what is above 0.5. All in voxels of an image of 512 rows: radii and sides scale with the rows, counts with their square, rounded down. Beyond its border the image is outside for growing, inside for wearing away, and repeats itself for the mean.",
    source: "CERR's post_process_larynx",
    parameters: &[],
    check: always_consistent,
    apply: |_, mask, context| {
        Stack::change(mask, context.geometry, |stack| {
            stack.close_with_sphere(3.0);
            stack.keep_largest(true, 20.0);
            stack.keep_largest(false, 1000.0);
            stack.smooth(5.0, 0.5);
        });
    },
};
