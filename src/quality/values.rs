//! What the values of an image are within a structure: mean, deviation, extremes, median; it knows no unit.
//!
//! Values are counted in ascending order, so many different ones at once, and the image is gone through again for those
//! above: a structure may be as large as its image, and a second copy of that is not made.

use crate::limits::{VALUES_HELD_MAX, VOXELS_MAX};
use crate::volume::{CompactMask, Volume};

/// Figures over all voxels of a structure, each voxel counting once, in the unit of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// How many voxels had a number.
    pub voxels: usize,
    pub mean: f64,
    /// Of the voxels themselves (divided by their count), not an estimate of a larger population.
    pub standard_deviation: f64,
    pub minimum: f64,
    pub maximum: f64,
    /// The mean of the two middle values where their count is even.
    pub median: f64,
}

const _: () = assert!(VOXELS_MAX <= u32::MAX as usize);

/// The figures of an image within a mask; none where no voxel of it holds a number.
///
/// # Panics
/// When the mask lies on another grid than the image: that is an error of the calling code.
pub fn values(image: &Volume, mask: &CompactMask) -> Option<Values> {
    assert_eq!(image.geometry.shape(), mask.geometry.shape(), "the mask lies on the grid of the image");
    Within { image, mask, most: VALUES_HELD_MAX }.figures()
}

/// The values of an image within a mask, of which at most so many different ones are held at once.
struct Within<'a> {
    image: &'a Volume,
    mask: &'a CompactMask,
    most: usize,
}

impl Within<'_> {
    fn figures(&self) -> Option<Values> {
        let lowest = self.lowest(None);
        let (mut voxels, mut sum, mut ends) = (0_usize, 0.0, None);
        self.ascending(&lowest, |value, count| {
            voxels += count as usize;
            // One by one in ascending order: a product would be rounded another way.
            (0..count).for_each(|_| sum += value);
            ends = Some((ends.map_or(value, |(minimum, _)| minimum), value));
        });
        let (minimum, maximum) = ends?;
        let mean = sum / voxels as f64;
        let middle = [(voxels - 1) / 2, voxels / 2];
        let (mut before, mut squares, mut medians) = (0_usize, 0.0, [0.0; 2]);
        self.ascending(&lowest, |value, count| {
            let square = (value - mean).powi(2);
            (0..count).for_each(|_| squares += square);
            let upto = before + count as usize;
            for (median, _) in medians.iter_mut().zip(middle).filter(|(_, place)| (before..upto).contains(place)) {
                *median = value;
            }
            before = upto;
        });
        let standard_deviation = (squares / voxels as f64).sqrt();
        Some(Values { voxels, mean, standard_deviation, minimum, maximum, median: (medians[0] + medians[1]) / 2.0 })
    }

    /// Tells each value with how often it is there, ascending. `lowest` are the first of them.
    fn ascending(&self, lowest: &Counts, mut told: impl FnMut(f64, u32)) {
        let mut further = None;
        loop {
            let counts = further.as_ref().unwrap_or(lowest);
            for (key, count) in &counts.held {
                told(f64::from(value(*key)), *count);
            }
            let (true, Some((last, _))) = (counts.more, counts.held.last()) else { return };
            further = Some(self.lowest(Some(*last)));
        }
    }

    /// The lowest values above one.
    fn lowest(&self, above: Option<i32>) -> Counts {
        let mut counts = Counts { held: Vec::new(), fresh: Vec::new(), most: self.most, more: false };
        let [slices, rows, columns] = self.mask.extent();
        for slice in slices {
            for row in rows.clone() {
                for column in columns.clone().filter(|column| self.mask.contains([slice, row, *column])) {
                    let value = self.image.pixels[[slice, row, column]];
                    let key = key(value);
                    if value.is_finite() && above.is_none_or(|above| key > above) {
                        counts.add(key);
                    }
                }
            }
        }
        counts.settle();
        counts
    }
}

/// How often each value is there, of the lowest ones.
struct Counts {
    /// Ascending.
    held: Vec<(i32, u32)>,
    /// Not yet counted, in the order in which they came.
    fresh: Vec<i32>,
    most: usize,
    /// Whether there are values above those that are held.
    more: bool,
}

impl Counts {
    fn add(&mut self, key: i32) {
        if self.more && self.held.last().is_some_and(|(last, _)| key > *last) {
            return;
        }
        self.fresh.push(key);
        if self.fresh.len() >= self.most {
            self.settle();
        }
    }

    /// Counts what came, and gives up the highest beyond what is held.
    fn settle(&mut self) {
        self.fresh.sort_unstable();
        let held = std::mem::take(&mut self.held);
        let mut merged: Vec<(i32, u32)> = Vec::with_capacity(held.len() + self.most.min(self.fresh.len()));
        let mut held = held.into_iter().peekable();
        let mut put = |key: i32, count: u32| match merged.last_mut() {
            Some((last, counted)) if *last == key => *counted += count,
            _ => merged.push((key, count)),
        };
        for key in self.fresh.drain(..) {
            while let Some((lower, count)) = held.next_if(|(lower, _)| *lower <= key) {
                put(lower, count);
            }
            put(key, 1);
        }
        held.for_each(|(key, count)| put(key, count));
        self.more |= merged.len() > self.most;
        merged.truncate(self.most);
        self.held = merged;
    }
}

/// A whole number in the order of `f32::total_cmp`, and back.
fn key(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

fn value(key: i32) -> f32 {
    f32::from_bits((key ^ (((key >> 31) as u32) >> 1) as i32) as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use crate::volume::VolumeGeometry;

    fn figures(inside: &[(usize, f32)]) -> Option<Values> {
        let geometry = VolumeGeometry::new((1, 8), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], vec![[0.0; 3]]);
        let geometry = Arc::new(geometry.expect("legal"));
        let mut voxels = Array3::from_elem(geometry.shape(), false);
        let mut pixels = Array3::from_elem(geometry.shape(), 1e6_f32);
        for (column, value) in inside {
            voxels[[0, 0, *column]] = true;
            pixels[[0, 0, *column]] = *value;
        }
        values(&Volume::new(Arc::clone(&geometry), pixels), &CompactMask::of(geometry, &voxels))
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        // Mean 5, squared differences 9 + 1 + 1 + 9 = 20 over 4; the middle values are 4 and 6.
        let found = figures(&[(0, 8.0), (2, 4.0), (5, 6.0), (7, 2.0)]).expect("some");
        let expected =
            Values { voxels: 4, mean: 5.0, standard_deviation: 5_f64.sqrt(), minimum: 2.0, maximum: 8.0, median: 5.0 };
        assert_eq!(found, expected);
        let odd = figures(&[(1, -1000.0), (2, 40.0), (3, 30.0)]).expect("some");
        assert_eq!((odd.median, odd.minimum, odd.maximum), (30.0, -1000.0, 40.0));
    }

    /// All values in one list, sorted: what the figures are, without a bound.
    fn figures_of_all(mut values: Vec<f32>) -> Values {
        values.sort_unstable_by(f32::total_cmp);
        let voxels = values.len();
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / voxels as f64;
        let squares: f64 = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
        Values {
            voxels,
            mean,
            standard_deviation: (squares / voxels as f64).sqrt(),
            minimum: values[0].into(),
            maximum: values[voxels - 1].into(),
            median: (f64::from(values[(voxels - 1) / 2]) + f64::from(values[voxels / 2])) / 2.0,
        }
    }

    #[test]
    fn figures_are_the_same_to_the_last_bit_however_few_values_are_held() {
        let origins = (0..7).map(|slice| [0.0, 0.0, f64::from(slice)]).collect();
        let geometry = VolumeGeometry::new((12, 11), [1.0; 2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        // Whole numbers, of which there are few; numbers of which hardly two are equal; both zeros, and no numbers.
        let draws: [fn(&mut fastrand::Rng) -> f32; 3] = [
            |random| random.i32(-20..20) as f32,
            |random| (random.f32() - 0.3) * 1e5,
            |random| [0.0, -0.0, 1e-40, f32::NAN, -3e38][random.usize(..5)],
        ];
        let mut random = fastrand::Rng::with_seed(7);
        for draw in draws {
            let pixels = Array3::from_shape_simple_fn(geometry.shape(), || draw(&mut random));
            let voxels = Array3::from_shape_simple_fn(geometry.shape(), || random.u8(..5) > 0);
            let inside = pixels.iter().zip(&voxels).filter(|(value, inside)| **inside && value.is_finite());
            let expected = figures_of_all(inside.map(|(value, _)| *value).collect());
            let mask = CompactMask::of(Arc::clone(&geometry), &voxels);
            let image = Volume::new(Arc::clone(&geometry), pixels);
            assert_eq!(values(&image, &mask), Some(expected));
            for most in [1, 2, 3, 40, 200] {
                let within = Within { image: &image, mask: &mask, most };
                assert!(within.lowest(None).held.len() <= most);
                let found = within.figures().expect("some");
                assert_eq!(found, expected, "{most} at once");
                assert_eq!(found.minimum.to_bits(), expected.minimum.to_bits());
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_counted() {
        let found = figures(&[(0, f32::NAN), (1, 3.0)]).expect("some");
        assert_eq!((found.voxels, found.mean, found.standard_deviation), (1, 3.0, 0.0));
        assert_eq!(figures(&[(0, f32::NAN)]), None);
        assert_eq!(figures(&[]), None);
    }
}
