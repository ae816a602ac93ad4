//! N4: a smooth factor on the values of an MR image, estimated from the sharpness of its histogram; it picks no mask.
//!
//! Tustison, Avants, Cook and others, IEEE Trans. Medical Imaging 29, 2010, with the arithmetic of ITK's
//! `N4BiasFieldCorrectionImageFilter`. Sums are f64 where ITK's are float.

use ndarray::{Array3, ArrayView3, Zip};

use super::lattice::Lattice;

/// How the factor is estimated.
pub struct N4<'a> {
    /// Most iterations of each level; each level has twice the spans of the one before.
    pub iterations: &'a [usize],
    /// Iterations of a level end when the factor's relative change is below this.
    pub threshold: f64,
    pub bins: usize,
    /// Noise of Wiener's filter.
    pub noise: f64,
    /// Full width at half maximum of the factor's logarithm.
    pub width: f64,
    /// Control points along each axis at the first level.
    pub points: [usize; 3],
}

impl N4<'_> {
    /// The logarithm of the factor as a lattice, from the chosen voxels.
    pub fn estimate(&self, pixels: ArrayView3<'_, f32>, chosen: ArrayView3<'_, bool>) -> Lattice {
        let shape = [pixels.shape()[0], pixels.shape()[1], pixels.shape()[2]];
        // Values that have no logarithm stay as they are, as in ITK: choose voxels so that there are none.
        let mut log = pixels.to_owned();
        Zip::from(&mut log).and(chosen).par_for_each(|value, chosen| {
            if *chosen && *value > 0.0 {
                *value = value.ln();
            }
        });
        let mut lattice: Option<Lattice> = None;
        let mut field = Array3::<f32>::zeros(shape);
        let mut uncorrected = log.clone();
        for (level, &most) in self.iterations.iter().enumerate() {
            for _ in 0..most {
                let mut residual = uncorrected.clone();
                let Some(sharpen) = Sharpening::of(self, &uncorrected, chosen) else { break };
                Zip::from(&mut residual).and(chosen).par_for_each(|value, chosen| {
                    if *chosen {
                        *value -= sharpen.value(f64::from(*value)) as f32;
                    }
                });
                let points = lattice.as_ref().map_or(self.points, |lattice| {
                    let shape = lattice.0.shape();
                    [shape[0], shape[1], shape[2]]
                });
                let update = Lattice::fitted(residual.view(), chosen, points);
                let sum = match lattice.take() {
                    None => update,
                    Some(before) => Lattice(before.0 + update.0),
                };
                let new = sum.field(shape);
                lattice = Some(sum);
                let change = change(&field, &new, chosen);
                field = new;
                Zip::from(&mut uncorrected)
                    .and(&log)
                    .and(&field)
                    .par_for_each(|value, log, field| *value = log - field);
                if change <= self.threshold {
                    break;
                }
            }
            if level + 1 < self.iterations.len() {
                lattice = lattice.map(|lattice| lattice.refined());
            }
        }
        lattice.unwrap_or_else(|| Lattice(Array3::zeros(self.points)))
    }
}

/// Coefficient of variation of the quotient of two factors.
fn change(before: &Array3<f32>, after: &Array3<f32>, chosen: ArrayView3<'_, bool>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    Zip::from(before).and(after).and(chosen).for_each(|before, after, chosen| {
        if *chosen {
            let value = f64::from(before - after).exp();
            count += 1.0;
            squares += (value - mean) * (value - mean) * (count - 1.0) / count;
            mean += (value - mean) / count;
        }
    });
    (squares / (count - 1.0_f64).max(1.0)).sqrt() / mean
}

/// The map from a logarithm to its expected value without the factor's blur.
struct Sharpening {
    low: f64,
    slope: f64,
    expected: Vec<f64>,
}

impl Sharpening {
    /// `None` where there is nothing to sharpen: no chosen voxel, or one value only.
    fn of(n4: &N4<'_>, values: &Array3<f32>, chosen: ArrayView3<'_, bool>) -> Option<Sharpening> {
        let held =
            || values.iter().zip(chosen.iter()).filter(|(_, chosen)| **chosen).map(|(value, _)| f64::from(*value));
        let (low, high) = held().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        if low.partial_cmp(&high) != Some(std::cmp::Ordering::Less) {
            return None;
        }
        let slope = (high - low) / (n4.bins as f64 - 1.0);
        let mut histogram = vec![0.0; n4.bins];
        for value in held() {
            let place = (value - low) / slope;
            let (bin, part) = ((place.floor() as usize).min(n4.bins - 1), place - place.floor());
            histogram[bin] += 1.0 - part;
            if bin + 1 < n4.bins {
                histogram[bin + 1] += part;
            }
        }
        Some(Sharpening { low, slope, expected: expected(n4, &histogram, low, slope) })
    }

    fn value(&self, value: f64) -> f64 {
        let place = (value - self.low) / self.slope;
        let bin = place.floor().max(0.0) as usize;
        match self.expected.get(bin..bin + 2) {
            Some([a, b]) => a + (b - a) * (place - bin as f64),
            _ => self.expected[self.expected.len() - 1],
        }
    }
}

/// The expected true value for each bin: the histogram is deconvolved with the factor's Gaussian by Wiener's filter, and the
/// mean of true values under that Gaussian is taken.
fn expected(n4: &N4<'_>, histogram: &[f64], low: f64, slope: f64) -> Vec<f64> {
    let size = 2 * n4.bins.next_power_of_two();
    let offset = (size - n4.bins) / 2;
    let mut of_observed = vec![(0.0, 0.0); size];
    histogram.iter().enumerate().for_each(|(bin, count)| of_observed[bin + offset].0 = *count);
    let width = n4.width / slope;
    let factor = 4.0 * std::f64::consts::LN_2 / (width * width);
    let scale = 2.0 * (std::f64::consts::LN_2 / std::f64::consts::PI).sqrt() / width;
    let mut gauss: Vec<(f64, f64)> = (0..size)
        .map(|n| {
            let n = n.min(size - n) as f64;
            (scale * (-n * n * factor).exp(), 0.0)
        })
        .collect();
    fourier(&mut gauss, false);
    fourier(&mut of_observed, false);
    let mut true_values = of_observed;
    for (value, (re, im)) in true_values.iter_mut().zip(&gauss) {
        // Only the real part of Wiener's filter counts.
        let filter = re / (re * re + im * im + n4.noise);
        *value = (value.0 * filter, value.1 * filter);
    }
    fourier(&mut true_values, true);
    let mut numerator: Vec<(f64, f64)> = Vec::with_capacity(size);
    let mut denominator: Vec<(f64, f64)> = Vec::with_capacity(size);
    for (n, (re, _)) in true_values.iter().enumerate() {
        let count = re.max(0.0);
        denominator.push((count, 0.0));
        numerator.push(((low + (n as f64 - offset as f64) * slope) * count, 0.0));
    }
    for values in [&mut numerator, &mut denominator] {
        fourier(values, false);
        values.iter_mut().zip(&gauss).for_each(|(value, (re, im))| {
            *value = (value.0 * re - value.1 * im, value.0 * im + value.1 * re);
        });
        fourier(values, true);
    }
    let mean = |bin: usize| match denominator[bin].0 {
        0.0 => 0.0,
        count => numerator[bin].0 / count,
    };
    (offset..offset + n4.bins).map(mean).collect()
}

/// The discrete Fourier transform of `2^n` complex numbers, in place, without a factor; backwards when told.
fn fourier(values: &mut [(f64, f64)], backwards: bool) {
    let size = values.len();
    let bits = size.trailing_zeros();
    for index in 0..size {
        let other = index.reverse_bits() >> (usize::BITS - bits);
        if index < other {
            values.swap(index, other);
        }
    }
    let mut length = 2;
    while length <= size {
        let angle = std::f64::consts::TAU / length as f64 * if backwards { 1.0 } else { -1.0 };
        for start in (0..size).step_by(length) {
            for k in 0..length / 2 {
                let (sin, cos) = (angle * k as f64).sin_cos();
                let (a, b) = (values[start + k], values[start + k + length / 2]);
                let turned = (b.0 * cos - b.1 * sin, b.0 * sin + b.1 * cos);
                values[start + k] = (a.0 + turned.0, a.1 + turned.1);
                values[start + k + length / 2] = (a.0 - turned.0, a.1 - turned.1);
            }
        }
        length *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_that_of_numpy_and_comes_back() {
        // numpy.fft.fft([1, 2, 0, 4]) is [7, 1 + 2i, -5, 1 - 2i].
        let mut values = [(1.0, 0.0), (2.0, 0.0), (0.0, 0.0), (4.0, 0.0)];
        fourier(&mut values, false);
        let expected = [(7.0, 0.0), (1.0, 2.0), (-5.0, 0.0), (1.0, -2.0)];
        assert!(values.iter().zip(expected).all(|(a, b)| (a.0 - b.0).abs() + (a.1 - b.1).abs() < 1e-12));
        fourier(&mut values, true);
        assert!((values[3].0 - 16.0).abs() < 1e-12 && values[2].0.abs() < 1e-12);
    }
}
