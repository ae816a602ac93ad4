//! Squared distance in mm from every voxel of a box to the nearest one of a kind, exactly; it knows no reach, at which one
//! could stop.
//!
//! Lower envelope of parabolas, axis by axis (Felzenszwalb and Huttenlocher, Theory of Computing 8, 2012), at uneven
//! positions as well.

use ndarray::{Array3, ArrayView3, ArrayViewMut1, Axis, Zip};

/// Squared distances to the nearest voxel that equals `value`; infinite where the box holds none. `places_mm` are the
/// positions of slices, rows and columns of the box.
pub fn squared(mask: ArrayView3<'_, bool>, value: bool, places_mm: [&[f64]; 3]) -> Array3<f64> {
    let mut field = mask.mapv(|voxel| if voxel == value { 0.0 } else { f64::INFINITY });
    for axis in (0..3).rev() {
        Zip::from(field.lanes_mut(Axis(axis))).par_for_each(|lane| envelope(lane, places_mm[axis]));
    }
    field
}

/// Replaces f(q) by the lowest (p - q)^2 + f(q) at each place p of a line.
fn envelope(mut line: ArrayViewMut1<'_, f64>, places: &[f64]) {
    // Parabolas that are lowest somewhere, each with the place from which on it is.
    let mut lowest: Vec<(f64, f64, f64)> = Vec::new();
    for (value, place) in line.iter().zip(places).filter(|(value, _)| value.is_finite()) {
        let mut from = f64::NEG_INFINITY;
        while let Some((other_value, other, begin)) = lowest.last() {
            from = ((value + place * place) - (other_value + other * other)) / (2.0 * (place - other));
            if from > *begin {
                break;
            }
            lowest.pop();
            from = f64::NEG_INFINITY;
        }
        lowest.push((*value, *place, from));
    }
    let mut at = 0;
    for (out, place) in line.iter_mut().zip(places) {
        while at + 1 < lowest.len() && lowest[at + 1].2 <= *place {
            at += 1;
        }
        if let Some((value, centre, _)) = lowest.get(at) {
            *out = value + (place - centre).powi(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_all_pairs_of_voxels_at_uneven_positions() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..40 {
            let shape = [random.usize(1..6), random.usize(1..9), random.usize(1..9)];
            let places = shape.map(|count| {
                let mut place = 0.0;
                (0..count)
                    .map(|_| {
                        place += 0.3 + 2.0 * random.f64();
                        place
                    })
                    .collect::<Vec<f64>>()
            });
            let mask = Array3::from_shape_simple_fn(shape, || random.f64() < 0.1);
            let found = squared(mask.view(), true, [&places[0], &places[1], &places[2]]);
            for ((k, j, i), distance) in found.indexed_iter() {
                let to = |(a, b, c): (usize, usize, usize)| {
                    let squares = [(0, k, a), (1, j, b), (2, i, c)]
                        .map(|(axis, p, q)| (places[axis][p] - places[axis][q]).powi(2));
                    squares.iter().sum::<f64>()
                };
                let inside = mask.indexed_iter().filter(|(_, inside)| **inside);
                let nearest = inside.map(|(at, _)| to(at)).fold(f64::INFINITY, f64::min);
                assert!(nearest == *distance || (nearest - distance).abs() < 1e-9, "{nearest} {distance}");
            }
        }
    }
}
