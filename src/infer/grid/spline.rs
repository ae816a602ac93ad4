//! Interpolating cubic B-splines: coefficients by recursive filters, with three kinds of ends; it knows no images.
//!
//! Unser, Aldroubi, Eden, IEEE Trans. Signal Processing 41, 1993. The coefficients solve
//! `(c[k-1] + 4 c[k] + c[k+1]) / 6 = f[k]`; the filter's pole is `sqrt(3) - 2`.

/// Coefficients kept beyond each end of a line.
pub const GUARD: usize = 3;

/// The pole of the cubic B-spline.
const POLE: f64 = -0.267_949_192_431_122_7;

/// How the signal goes on beyond its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Mirrored at the outermost voxels, which are not repeated: `c b | a b c`.
    Mirror,
    /// The outermost values for ever.
    Edge,
    /// No matter: the two cubics next to each end are one. Three voxels make a parabola, two a line.
    NotAKnot,
}

/// Indices (from the start of the guarded line) and weights of the spline at a position of the signal.
pub fn taps(position: f64) -> Vec<(usize, f64)> {
    let below = position.floor();
    let first = (below as i64 + GUARD as i64 - 1).max(0) as usize;
    weights(position - below).into_iter().enumerate().map(|(offset, weight)| (first + offset, weight)).collect()
}

/// The four weights of a cubic B-spline at a part of the way between two voxels, of the earliest coefficient first.
pub fn weights(part: f64) -> [f64; 4] {
    let rest = 1.0 - part;
    [
        rest * rest * rest / 6.0,
        (4.0 - 3.0 * part * part * (2.0 - part)) / 6.0,
        (4.0 - 3.0 * rest * rest * (2.0 - rest)) / 6.0,
        part * part * part / 6.0,
    ]
}

/// Turns the `length` values that begin at index [`GUARD`] of `lanes` lines into coefficients, those of the guards included.
pub fn prefilter(line: &mut [f64], length: usize, lanes: usize, ends: Ends) {
    if length == 1 {
        let value: Vec<f64> = line[GUARD * lanes..(GUARD + 1) * lanes].to_vec();
        line.chunks_exact_mut(lanes).for_each(|index| index.copy_from_slice(&value));
        return;
    }
    let mut one = vec![0.0; length + 2 * GUARD];
    for lane in 0..lanes {
        one.iter_mut().enumerate().for_each(|(index, value)| *value = line[index * lanes + lane]);
        match ends {
            Ends::Mirror => mirrored(&mut one, length),
            Ends::Edge => edged(&mut one, length),
            Ends::NotAKnot => not_a_knot(&mut one, length),
        }
        one.iter().enumerate().for_each(|(index, value)| line[index * lanes + lane] = *value);
    }
}

/// Gain of the two filters: `(1 - z) (1 - 1/z)`.
const GAIN: f64 = 6.0;

fn mirrored(line: &mut [f64], length: usize) {
    let signal = &mut line[GUARD..GUARD + length];
    let last = length - 1;
    // The periodic sum over one mirrored period, exact for any length.
    let mut power = POLE;
    let far = POLE.powi(last as i32);
    let mut sum = signal[0] + far * signal[last];
    let mut mirrored = far * far / POLE;
    for value in &signal[1..last] {
        sum += (power + mirrored) * value;
        power *= POLE;
        mirrored /= POLE;
        // Powers that have gone below the smallest number stay there: their part of the sum is nothing.
        if power == 0.0 {
            break;
        }
    }
    signal[0] = sum / (1.0 - far * far);
    for index in 1..length {
        signal[index] += POLE * signal[index - 1];
    }
    signal[last] = POLE / (POLE * POLE - 1.0) * (signal[last] + POLE * signal[last - 1]);
    for index in (0..last).rev() {
        signal[index] = POLE * (signal[index + 1] - signal[index]);
    }
    signal.iter_mut().for_each(|value| *value *= GAIN);
    let period = 2 * last as i64;
    for offset in 1..=GUARD as i64 {
        let place = |index: i64| {
            let within = index.rem_euclid(period);
            GUARD + within.min(period - within) as usize
        };
        line[GUARD - offset as usize] = line[place(-offset)];
        line[GUARD + last + offset as usize] = line[place(last as i64 + offset)];
    }
}

fn edged(line: &mut [f64], length: usize) {
    let (first, last) = (line[GUARD], line[GUARD + length - 1]);
    // Causal filter: before the line it has settled at its answer to a constant.
    let settled = first / (1.0 - POLE);
    line[GUARD] = settled;
    for index in GUARD + 1..GUARD + length {
        line[index] += POLE * line[index - 1];
    }
    // After the line it settles again, at L; its distance from there shrinks by the pole at each step.
    let settles = last / (1.0 - POLE);
    let mut distance = line[GUARD + length - 1] - settles;
    for index in GUARD + length..line.len() {
        distance *= POLE;
        line[index] = settles + distance;
    }
    line[..GUARD].fill(settled);
    // Anti-causal filter, from the closed sum over all that is still to come.
    let end = line.len() - 1;
    line[end] = -POLE * (settles / (1.0 - POLE) + distance / (1.0 - POLE * POLE));
    for index in (0..end).rev() {
        line[index] = POLE * (line[index + 1] - line[index]);
    }
    line.iter_mut().for_each(|value| *value *= GAIN);
}

fn not_a_knot(line: &mut [f64], length: usize) {
    let end = GUARD + length - 1;
    if length <= 3 {
        // The parabola (or line) through the voxels: its coefficients are its values less a sixth of its second difference.
        let (a, b) = (line[GUARD], line[GUARD + 1]);
        let second = if length == 3 { line[end] - 2.0 * b + a } else { 0.0 };
        for (index, value) in line.iter_mut().enumerate() {
            let x = index as f64 - GUARD as f64;
            *value = a + x * (b - a) + second * x * (x - 1.0) / 2.0 - second / 6.0;
        }
        return;
    }
    mirrored(line, length);
    // Powers of the pole from either end solve the equations of a signal of zeros, so that they may be added. Not-a-knot:
    // the fourth difference of the coefficients about the second voxel from each end is nothing.
    let fourth = |line: &[f64], at: usize| {
        line[at - 2] - 4.0 * line[at - 1] + 6.0 * line[at] - 4.0 * line[at + 1] + line[at + 2]
    };
    let from_start = |index: usize| POLE.powi(index as i32 - GUARD as i32);
    let from_end = |index: usize| POLE.powi(end as i32 - index as i32);
    let powers = |of: &dyn Fn(usize) -> f64| (0..line.len()).map(of).collect::<Vec<f64>>();
    let (rising, falling) = (powers(&from_start), powers(&from_end));
    let (low, high) = (GUARD + 1, end - 1);
    let [a, b] = [fourth(&rising, low), fourth(&falling, low)];
    let [c, d] = [fourth(&rising, high), fourth(&falling, high)];
    let (p, q) = (-fourth(line, low), -fourth(line, high));
    let determinant = a * d - b * c;
    let (of_rising, of_falling) = ((p * d - b * q) / determinant, (a * q - p * c) / determinant);
    for (index, value) in line.iter_mut().enumerate() {
        *value += of_rising * rising[index] + of_falling * falling[index];
    }
}
