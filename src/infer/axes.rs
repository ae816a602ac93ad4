//! The order and direction in which a network sees the axes of an image; it moves no pixels but on request.
//!
//! Images stay as they were acquired (`[slice, row, column]`, slices ascending along the normal) from the first operation
//! to the last. What a network was trained to see is kept beside them as [`Axes`] and applied when a window is cut, so
//! that nothing has to be turned back afterwards.

use std::fmt;

use ndarray::{ArrayBase, ArrayView, Axis, Data, Dimension, RemoveAxis};

use crate::volume::{VolumeGeometry, dot};

/// How working axes (those of the network: depth, height, width) lie on the axes of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes {
    /// The array axis of each working axis.
    order: [usize; 3],
    /// Whether a working axis runs against its array axis.
    reversed: [bool; 3],
}

/// What a position of a reversed axis is lowered by before the nearest voxel is taken, in voxels: halves go to the voxel that
/// the network sees later, which is the earlier one of the array. More than rounding, less than any distance that counts.
pub const REVERSED_HAIR: f64 = 4e-6;

/// What `"orientation"` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// As acquired: slices ascending along row direction x column direction, then rows, then columns.
    Acquired,
    /// As acquired, but slices descending: from the head for an ordinary axial series, as CERR orders them.
    AcquiredReversed,
    /// Toward which patient side each working axis grows, such as `RAS` or `SPL`: the nearest axes of the image are taken.
    Patient([Side; 3]),
}

/// A side of the patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
    Anterior,
    Posterior,
    Superior,
    Inferior,
}

impl Side {
    fn of(letter: char) -> Option<Side> {
        Some(match letter {
            'L' => Side::Left,
            'R' => Side::Right,
            'A' => Side::Anterior,
            'P' => Side::Posterior,
            'S' => Side::Superior,
            'I' => Side::Inferior,
            _ => return None,
        })
    }

    fn letter(self) -> char {
        match self {
            Side::Left => 'L',
            Side::Right => 'R',
            Side::Anterior => 'A',
            Side::Posterior => 'P',
            Side::Superior => 'S',
            Side::Inferior => 'I',
        }
    }

    /// Unit vector toward this side in patient LPS.
    pub fn direction(self) -> [f64; 3] {
        match self {
            Side::Left => [1.0, 0.0, 0.0],
            Side::Right => [-1.0, 0.0, 0.0],
            Side::Posterior => [0.0, 1.0, 0.0],
            Side::Anterior => [0.0, -1.0, 0.0],
            Side::Superior => [0.0, 0.0, 1.0],
            Side::Inferior => [0.0, 0.0, -1.0],
        }
    }
}

impl Orientation {
    /// Reads the word of `"orientation"`: `acquired`, `acquired_reversed`, or three letters, one of each of L/R, A/P, S/I.
    pub fn parse(word: &str) -> Option<Orientation> {
        match word {
            "acquired" => return Some(Orientation::Acquired),
            "acquired_reversed" => return Some(Orientation::AcquiredReversed),
            _ => {}
        }
        let sides: Vec<Side> = word.chars().map(Side::of).collect::<Option<_>>()?;
        let sides: [Side; 3] = sides.try_into().ok()?;
        let axis = |side: Side| side.direction().iter().position(|x| *x != 0.0);
        let different = (0..3).all(|a| (0..a).all(|b| axis(sides[a]) != axis(sides[b])));
        different.then_some(Orientation::Patient(sides))
    }

    /// The axes of an image of this geometry that fit best.
    pub fn axes(self, geometry: &VolumeGeometry) -> Axes {
        match self {
            Orientation::Acquired => Axes::ACQUIRED,
            Orientation::AcquiredReversed => Axes { reversed: [true, false, false], ..Axes::ACQUIRED },
            Orientation::Patient(sides) => nearest(sides, geometry),
        }
    }
}

impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Orientation::Acquired => f.write_str("acquired"),
            Orientation::AcquiredReversed => f.write_str("acquired_reversed"),
            Orientation::Patient(sides) => sides.iter().try_for_each(|side| write!(f, "{}", side.letter())),
        }
    }
}

/// The assignment of array axes to sides with the largest sum of direction cosines. Six are possible, so all are tried.
fn nearest(sides: [Side; 3], geometry: &VolumeGeometry) -> Axes {
    let directions = [geometry.normal(), geometry.column_direction(), geometry.row_direction()];
    let cosine = |working: usize, axis: usize| dot(directions[axis], sides[working].direction());
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let fit = |order: &[usize; 3]| (0..3).map(|working| cosine(working, order[working]).abs()).sum::<f64>();
    let mut best = orders[0];
    for order in orders {
        if fit(&order) > fit(&best) + 1e-9 {
            best = order;
        }
    }
    Axes { order: best, reversed: [0, 1, 2].map(|working| cosine(working, best[working]) < 0.0) }
}

impl Axes {
    /// Slices, rows and columns as acquired.
    pub const ACQUIRED: Axes = Axes { order: [0, 1, 2], reversed: [false; 3] };

    /// The same directions in another order: working axis `a` becomes the former working axis `order[a]`, as
    /// `numpy.transpose(array, order)` does. `order` holds 0, 1 and 2.
    pub fn transposed(self, order: [usize; 3]) -> Axes {
        Axes { order: order.map(|a| self.order[a]), reversed: order.map(|a| self.reversed[a]) }
    }

    /// The array axis of a working axis.
    pub fn array_axis(self, working: usize) -> usize {
        self.order[working]
    }

    /// For each axis of the array, whether the network sees it reversed.
    pub fn reversed_on_array(self) -> [bool; 3] {
        self.to_array(self.reversed)
    }

    /// Whether a working axis runs against its array axis.
    pub fn is_reversed(self, working: usize) -> bool {
        self.reversed[working]
    }

    /// Values of working axes, in the order of the array: `[depth, height, width]` to `[slice, row, column]`.
    pub fn to_array<T: Copy>(self, working: [T; 3]) -> [T; 3] {
        let mut array = working;
        for (value, axis) in working.into_iter().zip(self.order) {
            array[axis] = value;
        }
        array
    }

    /// Values of array axes, in the order of the working axes.
    pub fn to_working<T: Copy>(self, array: [T; 3]) -> [T; 3] {
        self.order.map(|axis| array[axis])
    }

    /// Values for both ends of working axes (`(first, last)`), at both ends of the array axes: a reversed axis swaps them.
    pub fn ends_to_array<T: Copy>(self, working: [(T, T); 3]) -> [(T, T); 3] {
        let turned = [0, 1, 2].map(|a| if self.reversed[a] { (working[a].1, working[a].0) } else { working[a] });
        self.to_array(turned)
    }

    /// Where along an array axis of `length` a stretch of `extent` lies whose working start is `start`.
    pub fn start_in_array(self, working: usize, start: isize, extent: usize, length: usize) -> isize {
        if self.reversed[working] { length as isize - extent as isize - start } else { start }
    }

    /// A view of an array whose last three axes are `[slice, row, column]`, with those axes as working axes.
    pub fn view<'a, S, D>(self, array: &'a ArrayBase<S, D>) -> ArrayView<'a, S::Elem, D>
    where
        S: Data,
        D: Dimension + RemoveAxis,
    {
        let lead = array.ndim() - 3;
        let mut order = D::zeros(array.ndim());
        for axis in 0..lead {
            order[axis] = axis;
        }
        for (working, axis) in self.order.into_iter().enumerate() {
            order[lead + working] = lead + axis;
        }
        let mut view = array.view().permuted_axes(order);
        for working in 0..3 {
            if self.reversed[working] {
                view.invert_axis(Axis(lead + working));
            }
        }
        view
    }

    /// The inverse of [`Self::view`]: a view of an array in working axes, as `[slice, row, column]`.
    pub fn view_back<'a, S, D>(self, array: &'a ArrayBase<S, D>) -> ArrayView<'a, S::Elem, D>
    where
        S: Data,
        D: Dimension + RemoveAxis,
    {
        let mut order = [0; 3];
        let mut reversed = [false; 3];
        for working in 0..3 {
            order[self.order[working]] = working;
            reversed[self.order[working]] = self.reversed[working];
        }
        Axes { order, reversed }.view(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn axial() -> VolumeGeometry {
        let origins = (0..4).map(|k| [0.0, 0.0, 2.0 * k as f64]).collect();
        VolumeGeometry::new((3, 2), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal")
    }

    fn coronal() -> VolumeGeometry {
        // Columns to the left, rows to the feet: the normal points to anterior's opposite, +y.
        let origins = (0..4).map(|k| [0.0, 2.0 * k as f64, 0.0]).collect();
        VolumeGeometry::new((3, 2), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0], origins).expect("legal")
    }

    #[test]
    fn reads_words_and_refuses_two_letters_of_one_axis() {
        for word in ["acquired", "acquired_reversed", "RAS", "SPL", "IPL"] {
            assert_eq!(Orientation::parse(word).map(|o| o.to_string()).as_deref(), Some(word));
        }
        for word in ["RLS", "RA", "ras", "RASL", ""] {
            assert_eq!(Orientation::parse(word), None, "{word}");
        }
    }

    #[test]
    fn ras_of_an_axial_image_is_columns_and_rows_reversed() {
        let axes = Orientation::parse("RAS").expect("a word").axes(&axial());
        assert_eq!(axes, Axes { order: [2, 1, 0], reversed: [true, true, false] });
        let array = Array3::from_shape_fn((4, 3, 2), |(k, j, i)| 100 * k + 10 * j + i);
        let seen = axes.view(&array);
        assert_eq!(seen.shape(), [2, 3, 4]);
        assert_eq!(seen[[0, 0, 1]], 121);
        assert_eq!(axes.view_back(&seen), array);
    }

    #[test]
    fn spl_of_a_coronal_image_takes_rows_as_slices() {
        let axes = Orientation::parse("SPL").expect("a word").axes(&coronal());
        assert_eq!(axes, Axes { order: [1, 0, 2], reversed: [true, false, false] });
        assert_eq!(axes.to_array(["S", "P", "L"]), ["P", "S", "L"]);
        assert_eq!(axes.to_working([4, 3, 2]), [3, 4, 2]);
    }

    #[test]
    fn transposing_is_that_of_numpy() {
        let array = Array3::from_shape_fn((4, 3, 2), |(k, j, i)| 100 * k + 10 * j + i);
        let axes = Axes::ACQUIRED.transposed([2, 0, 1]);
        let seen = axes.view(&array);
        assert_eq!(seen.shape(), [2, 4, 3]);
        assert_eq!(seen[[1, 3, 2]], 321);
        assert_eq!(axes.view_back(&seen), array);
        let reversed = Orientation::AcquiredReversed.axes(&axial());
        assert_eq!(reversed.ends_to_array([(1, 2), (3, 4), (5, 6)]), [(2, 1), (3, 4), (5, 6)]);
        assert_eq!(reversed.start_in_array(0, 1, 2, 4), 1);
        assert_eq!(reversed.start_in_array(0, 0, 3, 4), 1);
    }
}
