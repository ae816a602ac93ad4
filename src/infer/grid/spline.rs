//! Interpolating B-splines of order 2 to 5: coefficients by recursive filters, with four kinds of ends; it knows no images.
//!
//! Unser, Aldroubi, Eden, IEEE Trans. Signal Processing 41, 1993. The coefficients of the cubic one solve
//! `(c[k-1] + 4 c[k] + c[k+1]) / 6 = f[k]`; its filter has one pole, `sqrt(3) - 2`, those of order 4 and 5 have two.

/// Coefficients kept beyond each end of what is filtered: as many as the widest spline reaches.
const REACH: usize = 3;

/// How far the outermost value is repeated before it is filtered, as in SciPy. After 24 (12, and their mirror image) the
/// slowest pole, 0.43 of order 5, has left 2e-9.
const REPEATED: usize = 12;

/// The pole of the cubic B-spline.
const POLE: f64 = -0.267_949_192_431_122_7;

/// The order of a spline, 2 to 5: of its polynomials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order(usize);

impl Order {
    pub const CUBIC: Order = Order(3);

    /// `None` where there is no such spline here.
    pub fn of(order: i64) -> Option<Order> {
        (2..=5).contains(&order).then_some(Order(order as usize))
    }

    /// The poles of its filter (Unser, Aldroubi, Eden, part II, table I).
    fn poles(self) -> Vec<f64> {
        let two_poles = |inner: [f64; 2], outer: f64, less: f64| {
            [-1.0, 1.0].map(|sign| (inner[0] + sign * inner[1].sqrt()).sqrt() - sign * outer.sqrt() - less).to_vec()
        };
        match self.0 {
            2 => vec![8.0_f64.sqrt() - 3.0],
            4 => two_poles([664.0, 438_976.0], 304.0, 19.0),
            5 => two_poles([67.5, 4_436.25], 26.25, 6.5),
            _ => vec![POLE],
        }
    }
}

/// How the signal goes on beyond its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Mirrored at the outermost voxels, which are not repeated: `c b | a b c` (SciPy `mirror`).
    Mirror,
    /// Mirrored at the outer edges: `b a | a b c` (SciPy `reflect`).
    Reflect,
    /// The outermost values for ever (SciPy `nearest`).
    Edge,
    /// No matter: the two cubics next to each end are one. Three voxels make a parabola, two a line.
    NotAKnot,
}

impl Ends {
    /// The words for configuration, in the order of [`Ends::of`].
    pub const WORDS: [&'static str; 3] = ["mirror", "edge", "reflect"];

    /// The ends that a word of [`Ends::WORDS`] stands for.
    pub fn of(word: &str) -> Ends {
        match word {
            "edge" => Ends::Edge,
            "reflect" => Ends::Reflect,
            _ => Ends::Mirror,
        }
    }

    /// Places that a line has before the signal, and after it.
    pub fn guard(self) -> usize {
        REACH + if self == Ends::Edge { REPEATED } else { 0 }
    }
}

/// Indices (from the start of the guarded line) and weights of the spline at a position of a signal of `length`. Beyond the
/// ends it is as [`Ends::Edge`] and [`Ends::Reflect`] say; the other two know it to the outermost centres.
pub fn taps(position: f64, length: usize, order: Order, ends: Ends) -> Vec<(usize, f64)> {
    let far = REPEATED as f64;
    let position = match ends {
        Ends::Edge => position.clamp(-far, length as f64 - 1.0 + far),
        Ends::Reflect => {
            let from_edge = (position + 0.5).rem_euclid(2.0 * length as f64);
            from_edge.min(2.0 * length as f64 - from_edge) - 0.5
        }
        Ends::Mirror | Ends::NotAKnot => position.clamp(0.0, length as f64 - 1.0),
    };
    // An even order has its knots between the voxels.
    let shifted = if order.0.is_multiple_of(2) { position + 0.5 } else { position };
    let below = shifted.floor();
    let first = below as i64 - (order.0 / 2) as i64 + ends.guard() as i64;
    let weights = basis(shifted - below, order);
    weights.into_iter().enumerate().map(|(offset, weight)| ((first + offset as i64) as usize, weight)).collect()
}

/// The weights of the B-splines that reach a part of the way between two knots, of the earliest first (de Boor, Journal of
/// Approximation Theory 6, 1972).
fn basis(part: f64, Order(order): Order) -> Vec<f64> {
    let mut weights = vec![1.0];
    for degree in 1..=order {
        let scaled: Vec<f64> = weights.iter().map(|weight| weight / degree as f64).collect();
        weights = vec![0.0; degree + 1];
        for (index, scaled) in scaled.into_iter().enumerate() {
            weights[index] += (index as f64 + 1.0 - part) * scaled;
            weights[index + 1] += (part + (degree - 1 - index) as f64) * scaled;
        }
    }
    // As SciPy has it: what the others leave of one, on a voxel 8e-17 instead of 0. So a voxel of 0 becomes 1e-20 next to
    // others, and counts as non-zero where it does in MONAI.
    weights[order] = weights[..order].iter().fold(1.0, |rest, weight| rest - weight);
    weights
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

/// Turns the `length` values that begin at index [`Ends::guard`] of `lanes` lines into coefficients, those of the guards
/// included.
pub fn prefilter(line: &mut [f64], length: usize, lanes: usize, order: Order, ends: Ends) {
    let guard = ends.guard();
    if length == 0 {
        return;
    }
    if length == 1 {
        let value: Vec<f64> = line[guard * lanes..(guard + 1) * lanes].to_vec();
        line.chunks_exact_mut(lanes).for_each(|index| index.copy_from_slice(&value));
        return;
    }
    let poles = order.poles();
    let mut one = vec![0.0; length + 2 * guard];
    for lane in 0..lanes {
        one.iter_mut().enumerate().for_each(|(index, value)| *value = line[index * lanes + lane]);
        match ends {
            Ends::Mirror => mirrored(&mut one, &poles),
            Ends::Reflect => reflected(&mut one, &poles),
            Ends::Edge => edged(&mut one, length, &poles),
            Ends::NotAKnot => not_a_knot(&mut one, length),
        }
        one.iter().enumerate().for_each(|(index, value)| line[index * lanes + lane] = *value);
    }
}

/// Both filters of each pole over the signal between the guards. `before` tells the first value of the causal filter from the
/// signal, `after` the factors with which the last two values of it make the last coefficient.
fn filtered(line: &mut [f64], poles: &[f64], before: impl Fn(&[f64], f64) -> f64, after: impl Fn(f64) -> [f64; 2]) {
    let length = line.len() - 2 * REACH;
    let (signal, last) = (&mut line[REACH..REACH + length], length - 1);
    for &pole in poles {
        signal[0] = before(signal, pole);
        for index in 1..length {
            signal[index] += pole * signal[index - 1];
        }
        let [of_last, of_one_before] = after(pole);
        signal[last] = of_last * signal[last] + of_one_before * signal[last - 1];
        for index in (0..last).rev() {
            signal[index] = pole * (signal[index + 1] - signal[index]);
        }
        let gain = (1.0 - pole) * (1.0 - 1.0 / pole);
        signal.iter_mut().for_each(|value| *value *= gain);
    }
}

/// Copies coefficients into the guards; `place` gives the index in the signal of one beyond its ends.
fn fill_guards(line: &mut [f64], place: impl Fn(i64) -> i64) {
    let length = (line.len() - 2 * REACH) as i64;
    for offset in 1..=REACH as i64 {
        line[REACH - offset as usize] = line[REACH + place(-offset) as usize];
        line[REACH + (length - 1 + offset) as usize] = line[REACH + place(length - 1 + offset) as usize];
    }
}

fn mirrored(line: &mut [f64], poles: &[f64]) {
    // The periodic sum over one mirrored period, exact for any length.
    let before = |signal: &[f64], pole: f64| {
        let last = signal.len() - 1;
        let far = pole.powi(last as i32);
        let mut sum = signal[0] + far * signal[last];
        let (mut power, mut mirrored) = (pole, far * far / pole);
        for value in &signal[1..last] {
            sum += (power + mirrored) * value;
            power *= pole;
            mirrored /= pole;
            // Powers that have gone below the smallest number stay there: their part of the sum is nothing.
            if power == 0.0 {
                break;
            }
        }
        sum / (1.0 - far * far)
    };
    filtered(line, poles, before, |pole| [pole / (pole * pole - 1.0), pole * pole / (pole * pole - 1.0)]);
    let last = (line.len() - 2 * REACH - 1) as i64;
    fill_guards(line, |index| {
        let within = index.rem_euclid(2 * last);
        within.min(2 * last - within)
    });
}

fn reflected(line: &mut [f64], poles: &[f64]) {
    let before = |signal: &[f64], pole: f64| {
        let far = pole.powi(signal.len() as i32);
        let (mut sum, mut power, mut mirrored) = (0.0, 1.0, far * far / pole);
        for value in signal {
            sum += (power + mirrored) * value;
            power *= pole;
            mirrored /= pole;
            if power == 0.0 {
                break;
            }
        }
        signal[0] + pole * sum / (1.0 - far * far)
    };
    filtered(line, poles, before, |pole| [pole / (pole - 1.0), 0.0]);
    let length = (line.len() - 2 * REACH) as i64;
    fill_guards(line, |index| {
        let within = index.rem_euclid(2 * length);
        within.min(2 * length - 1 - within)
    });
}

fn edged(line: &mut [f64], length: usize, poles: &[f64]) {
    let first = Ends::Edge.guard();
    let (low, high) = (line[first], line[first + length - 1]);
    line[..first].fill(low);
    line[first + length..].fill(high);
    reflected(line, poles);
}

fn not_a_knot(line: &mut [f64], length: usize) {
    let end = REACH + length - 1;
    if length <= 3 {
        // The parabola (or line) through the voxels: its coefficients are its values less a sixth of its second difference.
        let (a, b) = (line[REACH], line[REACH + 1]);
        let second = if length == 3 { line[end] - 2.0 * b + a } else { 0.0 };
        for (index, value) in line.iter_mut().enumerate() {
            let x = index as f64 - REACH as f64;
            *value = a + x * (b - a) + second * x * (x - 1.0) / 2.0 - second / 6.0;
        }
        return;
    }
    mirrored(line, &[POLE]);
    // Powers of the pole from either end solve the equations of a signal of zeros, so that they may be added. Not-a-knot:
    // the fourth difference of the coefficients about the second voxel from each end is nothing.
    let fourth = |line: &[f64], at: usize| {
        line[at - 2] - 4.0 * line[at - 1] + 6.0 * line[at] - 4.0 * line[at + 1] + line[at + 2]
    };
    let from_start = |index: usize| POLE.powi(index as i32 - REACH as i32);
    let from_end = |index: usize| POLE.powi(end as i32 - index as i32);
    let powers = |of: &dyn Fn(usize) -> f64| (0..line.len()).map(of).collect::<Vec<f64>>();
    let (rising, falling) = (powers(&from_start), powers(&from_end));
    let (low, high) = (REACH + 1, end - 1);
    let [a, b] = [fourth(&rising, low), fourth(&falling, low)];
    let [c, d] = [fourth(&rising, high), fourth(&falling, high)];
    let (p, q) = (-fourth(line, low), -fourth(line, high));
    let determinant = a * d - b * c;
    let (of_rising, of_falling) = ((p * d - b * q) / determinant, (a * q - p * c) / determinant);
    for (index, value) in line.iter_mut().enumerate() {
        *value += of_rising * rising[index] + of_falling * falling[index];
    }
}
