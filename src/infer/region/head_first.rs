//! Slices counted from the head, as CERR counts them, and as the array holds them; it turns no pixels.
//!
//! Arrays hold slices ascending along the normal (row direction x column direction). CERR's first slice is the one
//! nearest the head: that of the largest z in an axial stack, and the last one as acquired in any other. MATLAB counts
//! from 1 and includes ends; everything here counts from 0 and includes ends.

use crate::infer::frame::Frame;

/// Turns slices of one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::infer) struct HeadFirst {
    slices: usize,
    head_is_last: bool,
}

impl HeadFirst {
    /// For the array of a frame.
    pub fn of(frame: &Frame) -> HeadFirst {
        let [x, y, z] = frame.geometry.normal();
        let axial = z.abs() >= x.abs().max(y.abs());
        HeadFirst { slices: frame.shape()[0], head_is_last: !axial || z > 0.0 }
    }

    /// The slice of the array that is this one from the head, or the other way round.
    pub fn turned(self, slice: usize) -> usize {
        if self.head_is_last { self.slices - 1 - slice } else { slice }
    }

    /// First and last slice of the array of a stretch counted from the head, or the other way round.
    pub fn turned_ends(self, (first, last): (usize, usize)) -> (usize, usize) {
        if self.head_is_last { (self.turned(last), self.turned(first)) } else { (first, last) }
    }

    /// Where in the array a stack of `count` slices starts that begins with this array's head. A stack that is longer
    /// goes on beyond the feet, with a negative start where the feet come first.
    pub fn start_of_stack(self, count: usize) -> isize {
        if self.head_is_last { self.slices as isize - count as isize } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::axes::Axes;
    use crate::volume::VolumeGeometry;

    fn head_first(row: [f64; 3], column: [f64; 3], step: [f64; 3]) -> HeadFirst {
        let origins = (0..5).map(|k| step.map(|mm| mm * f64::from(k))).collect();
        let geometry = VolumeGeometry::new((2, 2), [1.0, 1.0], row, column, origins).expect("legal");
        HeadFirst::of(&Frame { geometry: geometry.into(), axes: Axes::ACQUIRED, windows: None })
    }

    #[test]
    fn the_head_is_up_in_axial_stacks_and_last_in_others() {
        // Supine, head first: the normal points up, so that the last slice is the first from the head.
        let up = head_first([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]);
        assert_eq!((up.turned(0), up.turned(3), up.turned_ends((0, 1))), (4, 1, (3, 4)));
        assert_eq!((up.start_of_stack(3), up.start_of_stack(7)), (2, -2));
        // Rows toward the front: the normal points down.
        let down = head_first([1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -2.0]);
        assert_eq!((down.turned(0), down.turned_ends((0, 1)), down.start_of_stack(7)), (0, (0, 1), 0));
        let coronal = head_first([1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 2.0, 0.0]);
        assert_eq!(coronal.turned(0), 4);
    }
}
