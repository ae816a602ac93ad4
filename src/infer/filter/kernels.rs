//! Lines of kernels: box, Gauss, its second derivative, Laws, wavelets; it convolves nothing.

use super::convolution::Line;

/// The mean of `count` voxels.
pub fn mean(count: usize) -> Line {
    Line::centred(vec![1.0 / count as f64; count])
}

/// A Gaussian of `sigma` voxels, cut off after `radius` of them, its sum 1.
pub fn gaussian(sigma: f64, radius: usize) -> Line {
    let weights: Vec<f64> = places(radius).map(|x| (-x * x / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    Line::centred(weights.into_iter().map(|weight| weight / sum).collect())
}

/// That Gaussian times `x^2 / sigma^4 - 1 / sigma^2`: its second derivative, as sampled.
pub fn gaussian_bent(sigma: f64, radius: usize) -> Line {
    let mut line = gaussian(sigma, radius);
    let squared = sigma * sigma;
    line.weights.iter_mut().zip(places(radius)).for_each(|(weight, x)| *weight *= (x * x / squared - 1.0) / squared);
    line
}

/// That second derivative, brought to give 0 of a constant and 2 of a parabola `x^2`, as recursive filters are (ITK,
/// `RecursiveGaussianImageFilter`).
pub fn gaussian_bent_exactly(sigma: f64, radius: usize) -> Line {
    let mut line = gaussian_bent(sigma, radius);
    let smooth = gaussian(sigma, radius);
    let sum: f64 = line.weights.iter().sum();
    line.weights.iter_mut().zip(&smooth.weights).for_each(|(weight, smooth)| *weight -= sum * smooth);
    let second: f64 = line.weights.iter().zip(places(radius)).map(|(weight, x)| weight * x * x).sum();
    line.weights.iter_mut().for_each(|weight| *weight *= 2.0 / second);
    line
}

fn places(radius: usize) -> impl Iterator<Item = f64> {
    (-(radius as i64)..=radius as i64).map(|x| x as f64)
}

/// The names of [`laws`].
pub const LAWS: [&str; 8] = ["L3", "E3", "S3", "L5", "E5", "S5", "R5", "W5"];

/// A kernel of Laws (level, edge, spot, ripple, wave; IBSI-2, chapter 4.3), as CERR has them; normalised to a sum of squares
/// of 1 when told.
pub fn laws(name: &str, normalised: bool) -> Option<Line> {
    let weights: &[f64] = match name {
        "L3" => &[1.0, 2.0, 1.0],
        "E3" => &[-1.0, 0.0, 1.0],
        "S3" => &[-1.0, 2.0, -1.0],
        "L5" => &[1.0, 4.0, 6.0, 4.0, 1.0],
        "E5" => &[-1.0, -2.0, 0.0, 2.0, 1.0],
        "S5" => &[-1.0, 0.0, 2.0, 0.0, -1.0],
        "R5" => &[1.0, -4.0, 6.0, -4.0, 1.0],
        "W5" => &[-1.0, 2.0, 0.0, -2.0, 1.0],
        _ => return None,
    };
    let length = if normalised { weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt() } else { 1.0 };
    Some(Line::centred(weights.iter().map(|weight| weight / length).collect()))
}

/// The names of [`wavelet`].
pub const WAVELETS: [&str; 5] = ["haar", "db2", "db3", "coif1", "db1"];

/// The low-pass decomposition filter of a wavelet (Daubechies, Ten Lectures on Wavelets, 1992, tables 6.1 and 8.1), the order
/// of its taps as in MATLAB and PyWavelets.
fn scaling(name: &str) -> Vec<f64> {
    match name {
        "db2" => {
            let root = 3.0_f64.sqrt();
            let over = 4.0 * 2.0_f64.sqrt();
            [1.0 - root, 3.0 - root, 3.0 + root, 1.0 + root].map(|tap| tap / over).to_vec()
        }
        "db3" => {
            let (a, b) = (10.0_f64.sqrt(), (5.0 + 2.0 * 10.0_f64.sqrt()).sqrt());
            let taps = [
                1.0 + a - b,
                5.0 + a - 3.0 * b,
                10.0 - 2.0 * a - 2.0 * b,
                10.0 - 2.0 * a + 2.0 * b,
                5.0 + a + 3.0 * b,
                1.0 + a + b,
            ];
            taps.map(|tap| tap / (16.0 * 2.0_f64.sqrt())).to_vec()
        }
        "coif1" => {
            let root = 7.0_f64.sqrt();
            let taps = [root - 3.0, 1.0 - root, 14.0 - 2.0 * root, 14.0 + 2.0 * root, 5.0 + root, 1.0 - root];
            taps.map(|tap| tap / (16.0 * 2.0_f64.sqrt())).to_vec()
        }
        _ => vec![0.5_f64.sqrt(); 2],
    }
}

/// The undecimated filter of a wavelet at a level (1 is the first): low-pass, or high-pass, with `2^(level - 1) - 1` zeros
/// before each of its taps (as many as MATLAB's `dyadup(x, 0)` makes).
pub fn wavelet(name: &str, high: bool, level: usize) -> Line {
    let low = scaling(name);
    let count = low.len();
    // Quadrature mirror: the taps from the end, every other one negated.
    let taps: Vec<f64> = match high {
        false => low,
        true => (0..count).map(|k| if k % 2 == 0 { -low[count - 1 - k] } else { low[count - 1 - k] }).collect(),
    };
    let apart = 1 << (level - 1);
    let mut weights = vec![0.0; count * apart];
    taps.iter().enumerate().for_each(|(k, tap)| weights[k * apart + apart - 1] = *tap);
    let centre = weights.len() / 2;
    Line { weights, centre, reversed: false }
}
