//! How values between voxels are made along one axis: weights of voxels, spline coefficients, slopes; it moves no volumes.
//!
//! Lines are handed over as `[index][lane]`, several lines side by side, in f64.

use super::spline::{self, Ends, Order};

/// How values between voxels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Halves go to the voxel that comes later.
    Nearest,
    Linear,
    /// Keys' cubic convolution, a = -0.5, with his voxel beyond the ends, `3 f0 - 3 f1 + f2` (IEEE Trans. ASSP 29, 1981,
    /// equations 15 and 19), as in MATLAB.
    Cubic,
    /// The interpolating cubic spline, not-a-knot at the ends: MATLAB's `spline`.
    Spline,
    /// The interpolating B-spline of an order; cubic and of the signal mirrored at the outermost centres it is ITK's, and
    /// SciPy's `mirror`.
    BSpline(Order, Ends),
    /// The interpolating cubic B-spline of the signal whose outermost values go on for ever: scikit-image's `resize` of
    /// order 3 with `mode="edge"`, as nnU-Net calls it.
    EdgeSpline,
    /// Lanczos' kernel of three lobes, wider where the grid becomes coarser, its sum brought to 1, of the signal mirrored at
    /// the outer edges: MATLAB's `imresize` with `lanczos3`.
    Sinc,
    /// Piecewise cubics through modified Akima slopes: MATLAB's `makima`.
    Makima,
}

impl Kernel {
    /// The words for configuration, in the order of [`Kernel::of`].
    pub const WORDS: [&'static str; 8] =
        ["nearest", "linear", "cubic", "spline", "bspline", "nnunet", "sinc", "makima"];

    /// The kernel that a word of [`Kernel::WORDS`] stands for.
    pub fn of(word: &str) -> Kernel {
        match word {
            "nearest" => Kernel::Nearest,
            "cubic" => Kernel::Cubic,
            "spline" => Kernel::Spline,
            "bspline" => Kernel::BSpline(Order::CUBIC, Ends::Mirror),
            "nnunet" => Kernel::EdgeSpline,
            "sinc" => Kernel::Sinc,
            "makima" => Kernel::Makima,
            _ => Kernel::Linear,
        }
    }

    /// The order and the ends of the spline that it is.
    fn spline(self) -> Option<(Order, Ends)> {
        match self {
            Kernel::Spline => Some((Order::CUBIC, Ends::NotAKnot)),
            Kernel::BSpline(order, ends) => Some((order, ends)),
            Kernel::EdgeSpline => Some((Order::CUBIC, Ends::Edge)),
            _ => None,
        }
    }

    /// Whether positions between unevenly spaced voxels have a meaning for it; the cubic's is that of the gap that the
    /// position lies in.
    pub fn bears_uneven_slices(self) -> bool {
        matches!(self, Kernel::Nearest | Kernel::Linear | Kernel::Cubic)
    }
}

/// What happens along one axis.
pub struct Along {
    length: usize,
    spline: Option<(Order, Ends)>,
    points: Points,
}

/// Where the new values come from.
enum Points {
    /// For each of them indices and weights; `None` outside.
    Weighted(Vec<Option<Vec<(usize, f64)>>>),
    /// Positions of cubics with Akima's slopes.
    Sloped(Vec<Option<f64>>),
}

/// Positions this near to a voxel centre, or to the hull of the centres, are on it: they come out of divisions.
const HAIR: f64 = 1e-6;

impl Along {
    /// `positions` are fractional indices of an axis of `length`. Beyond the outermost centres the outermost value is
    /// taken when `clamp` is set, none else; splines that know how their signal goes on do so by themselves.
    pub fn new(kernel: Kernel, positions: &[f64], length: usize, clamp: bool) -> Along {
        let last = length as f64 - 1.0;
        let spline = kernel.spline();
        let goes_on = matches!(spline, Some((_, Ends::Edge | Ends::Reflect)));
        let inside = |position: f64| match (-HAIR..=last + HAIR).contains(&position) {
            true => Some(position.clamp(0.0, last)),
            false if goes_on => Some(position),
            false => clamp.then(|| position.clamp(0.0, last)),
        };
        let held = positions.iter().map(|position| inside(*position));
        if kernel == Kernel::Makima && length > 2 {
            return Along { length, spline, points: Points::Sloped(held.collect()) };
        }
        let step = match positions {
            [first, .., last] => (last - first) / (positions.len() as f64 - 1.0),
            _ => 1.0,
        };
        let weights = |position: f64| match kernel {
            _ if let Some((order, ends)) = spline => spline::taps(position, length, order, ends),
            Kernel::Nearest => vec![(((position + 0.5 + HAIR).floor()).clamp(0.0, last) as usize, 1.0)],
            Kernel::Cubic if length > 2 => keys(position, length),
            Kernel::Sinc => lanczos(position, length, step.abs().max(1.0)),
            _ => linear(position, length),
        };
        Along { length, spline, points: Points::Weighted(held.map(|position| position.map(weights)).collect()) }
    }

    /// The given indices and weights for each new value.
    pub fn weighted(length: usize, taps: Vec<Vec<(usize, f64)>>) -> Along {
        Along { length, spline: None, points: Points::Weighted(taps.into_iter().map(Some).collect()) }
    }

    /// How many values come out.
    pub fn count(&self) -> usize {
        match &self.points {
            Points::Weighted(points) => points.len(),
            Points::Sloped(points) => points.len(),
        }
    }

    /// How many indices the line handed to [`Along::run`] has, and at which of them the signal begins.
    pub fn room(&self) -> (usize, usize) {
        let guard = self.spline.map_or(0, |(_, ends)| ends.guard());
        (self.length + 2 * guard, guard)
    }

    /// Makes the new values of `lanes` lines. `line` is used up.
    pub fn run(&self, line: &mut [f64], lanes: usize, outside: f64, out: &mut [f64]) {
        if let Some((order, ends)) = self.spline {
            spline::prefilter(line, self.length, lanes, order, ends);
        }
        match &self.points {
            Points::Weighted(points) => {
                for (point, out) in points.iter().zip(out.chunks_exact_mut(lanes)) {
                    let Some(taps) = point else {
                        out.fill(outside);
                        continue;
                    };
                    out.fill(0.0);
                    for (index, weight) in taps {
                        let from = &line[index * lanes..(index + 1) * lanes];
                        out.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
                    }
                }
            }
            Points::Sloped(points) => {
                let slopes: Vec<Vec<f64>> = (0..lanes).map(|lane| slopes(line, lane, lanes, self.length)).collect();
                for (point, out) in points.iter().zip(out.chunks_exact_mut(lanes)) {
                    for (lane, out) in out.iter_mut().enumerate() {
                        *out = point.map_or(outside, |position| hermite(line, lane, lanes, &slopes[lane], position));
                    }
                }
            }
        }
    }
}

fn linear(position: f64, length: usize) -> Vec<(usize, f64)> {
    let below = (position.floor() as usize).min(length.saturating_sub(2));
    let part = position - below as f64;
    if part < 1e-9 || length == 1 {
        return vec![(below, 1.0)];
    }
    vec![(below, 1.0 - part), (below + 1, part)]
}

/// Keys' weights; those of the voxels beyond the ends are spread over the three outermost ones.
fn keys(position: f64, length: usize) -> Vec<(usize, f64)> {
    let below = (position.floor() as usize).min(length - 2);
    let t = position - below as f64;
    let weights = [
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ];
    let mut taps = Vec::with_capacity(6);
    for (offset, weight) in weights.into_iter().enumerate() {
        match (below + offset).checked_sub(1) {
            None => taps.extend([(0, 3.0 * weight), (1, -3.0 * weight), (2, weight)]),
            Some(index) if index < length => taps.push((index, weight)),
            Some(_) => taps.extend([(length - 1, 3.0 * weight), (length - 2, -3.0 * weight), (length - 3, weight)]),
        }
    }
    taps
}

/// Lanczos' weights, the kernel `wider` times as wide.
fn lanczos(position: f64, length: usize, wider: f64) -> Vec<(usize, f64)> {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    let reach = 3.0 * wider;
    let (first, last) = ((position - reach).ceil() as i64, (position + reach).floor() as i64);
    let period = 2 * length as i64;
    let mut taps: Vec<(usize, f64)> = (first..=last)
        .map(|index| {
            let x = (position - index as f64) / wider;
            let place = index.rem_euclid(period).min(period - 1 - index.rem_euclid(period));
            (place as usize, if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 })
        })
        .filter(|(_, weight)| *weight != 0.0)
        .collect();
    let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
    taps.iter_mut().for_each(|(_, weight)| *weight /= sum);
    taps
}

/// The modified Akima slope at each voxel (MATLAB's documentation of `makima`): the two neighbouring differences, weighted
/// by how little the differences beyond them change; two differences are continued beyond each end.
fn slopes(line: &[f64], lane: usize, lanes: usize, length: usize) -> Vec<f64> {
    let value = |index: usize| line[index * lanes + lane];
    let mut delta = vec![0.0; length + 3];
    for index in 0..length - 1 {
        delta[index + 2] = value(index + 1) - value(index);
    }
    delta[1] = 2.0 * delta[2] - delta[3];
    delta[0] = 2.0 * delta[1] - delta[2];
    delta[length + 1] = 2.0 * delta[length] - delta[length - 1];
    delta[length + 2] = 2.0 * delta[length + 1] - delta[length];
    let change = |a: f64, b: f64| (a - b).abs() + (a + b).abs() / 2.0;
    let slope = |index: usize| {
        let [before, left, right, after] = [0, 1, 2, 3].map(|offset| delta[index + offset]);
        let (of_left, of_right) = (change(after, right), change(left, before));
        if of_left + of_right == 0.0 { 0.0 } else { (of_left * left + of_right * right) / (of_left + of_right) }
    };
    (0..length).map(slope).collect()
}

/// The cubic between two voxels with given values and slopes.
fn hermite(line: &[f64], lane: usize, lanes: usize, slopes: &[f64], position: f64) -> f64 {
    let below = (position.floor() as usize).min(slopes.len() - 2);
    let t = position - below as f64;
    let [a, b] = [below, below + 1].map(|index| line[index * lanes + lane]);
    let (da, db) = (slopes[below], slopes[below + 1]);
    let difference = b - a;
    a + t * (da + t * (3.0 * difference - 2.0 * da - db + t * (da + db - 2.0 * difference)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line, and where it is asked: the same numbers were given to the programs that the expected values come from.
    const LINE: [f64; 9] = [3.0, 5.0, -2.0, 7.0, 7.0, 7.0, 1.0, 0.5, 4.0];
    const AT: [f64; 6] = [0.0, 0.3, 2.5, 4.25, 6.9, 7.75];

    fn check(kernel: Kernel, positions: &[f64]) -> Vec<f64> {
        let along = Along::new(kernel, positions, LINE.len(), false);
        let (room, first) = along.room();
        // Two lanes, the second negated: what is done to one must not reach the other.
        let mut line = vec![0.0; room * 2];
        for (index, value) in LINE.iter().enumerate() {
            line[(index + first) * 2] = *value;
            line[(index + first) * 2 + 1] = -value;
        }
        let mut out = vec![0.0; positions.len() * 2];
        along.run(&mut line, 2, f64::NAN, &mut out);
        assert!(out.chunks(2).all(|pair| pair[0] == -pair[1] || pair[0].is_nan()));
        out.chunks(2).map(|pair| pair[0]).collect()
    }

    fn near(found: &[f64], expected: &[f64]) {
        within(1e-9, found, expected);
    }

    fn within(most: f64, found: &[f64], expected: &[f64]) {
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(found.len() == expected.len() && worst < most, "{found:?}, expected {expected:?}");
    }

    #[test]
    fn splines_are_those_of_scipy() {
        // SciPy 1.17: CubicSpline(bc_type="not-a-knot"), map_coordinates(order=3, mode="mirror").
        near(&check(Kernel::Spline, &AT), &[3.0, 6.998383333333, 1.98125, 7.029947916667, 0.25835, 3.120052083333]);
        near(
            &check(Kernel::of("bspline"), &AT),
            &[3.0, 3.68068878866, 1.75017258837, 7.00868550948, 0.185618464654, 3.6171400382],
        );
    }

    #[test]
    fn splines_of_every_order_are_those_of_scipy_beyond_the_ends_too() {
        // SciPy 1.17: map_coordinates(order, mode) of nearest (Edge), reflect (Reflect) and mirror (Mirror, to the centres).
        const AT: [f64; 7] = [-2.25, -0.3, 0.3, 2.5, 6.9, 8.4, 10.75];
        let spline = |order, ends| Kernel::BSpline(Order::of(order).expect("an order"), ends);
        let edge = [
            [2.9903386191, 2.64923692857, 3.86772287802, 1.88473276443, 0.287975518705, 4.34678244116, 4.00341156768],
            [2.96841721993, 2.52939455515, 4.15130595333, 1.78329166784, 0.230820965194, 4.3430264751, 4.01226966346],
            [2.92392701194, 2.35396137743, 4.29053726112, 1.70150111385, 0.190725721032, 4.34582601608, 4.02215179762],
            [2.87895341934, 2.25277358857, 4.40852052903, 1.67023955035, 0.159638829396, 4.31836256482, 4.02861127619],
        ];
        let reflect = [
            [3.48502893365, 2.50035915619, 3.92790442422, 1.88624230653, 0.293020796513, 4.56127191432, 0.21234207659],
            [3.1645914262, 2.23536847934, 4.27741043277, 1.79216611172, 0.242933518313, 4.61504106548, 0.113569991676],
            [
                3.0780073945,
                1.9364543099,
                4.52003629586,
                1.73226419548,
                0.209760096607,
                4.61933670284,
                0.000829721543083,
            ],
            [
                2.9575353839,
                1.72978131785,
                4.71828861336,
                1.73172146969,
                0.181720589143,
                4.57607585017,
                -0.0691519263648,
            ],
        ];
        let mirror = [
            [3.51695942502, 1.87593451592, 0.258569510993],
            [3.68068878866, 1.75017258837, 0.185618464654],
            [3.64442493156, 1.61638203673, 0.137852938356],
            [3.66109287037, 1.52751648917, 0.107283521455],
        ];
        for (order, expected) in (2..=5).zip(&edge) {
            near(&check(spline(order, Ends::Edge), &AT), expected);
        }
        for (order, expected) in (2..=5).zip(&reflect) {
            // SciPy's start of this filter takes one term from its running sum: off by the pole to the power of 17.
            within(3e-6, &check(spline(order, Ends::Reflect), &AT), expected);
        }
        for (order, expected) in (2..=5).zip(&mirror) {
            near(&check(spline(order, Ends::Mirror), &AT[2..5]), expected);
        }
        assert!(check(spline(5, Ends::Mirror), &[-0.1, 8.1]).iter().all(|value| value.is_nan()));
        assert!((check(spline(5, Ends::Edge), &[-40.0])[0] - 3.0).abs() < 1e-4);
    }

    #[test]
    fn the_edge_spline_is_that_of_scikit_image_beyond_the_centres_too() {
        // skimage.transform.resize(order=3, mode="edge", anti_aliasing=False, clip=False) from 9 to 14.
        let positions: Vec<f64> = (0..14).map(|index| (index as f64 + 0.5) * 9.0 / 14.0 - 0.5).collect();
        let expected = [
            2.63384188636,
            4.82039540768,
            4.36302950945,
            -1.26752153183,
            0.589382532819,
            7.22463614261,
            7.60772799791,
            7.07851115205,
            7.10042450738,
            3.46624858346,
            0.101256581172,
            0.213698068822,
            2.50937184806,
            4.25770711847,
        ];
        near(&check(Kernel::EdgeSpline, &positions), &expected);
    }

    #[test]
    fn slopes_are_those_of_modified_akima() {
        // SciPy 1.17: Akima1DInterpolator(method="makima"), which follows MATLAB's.
        let expected = [3.0, 4.29304038462, 2.545, 7.0, 0.375881672178, 2.86456831291];
        near(&check(Kernel::Makima, &AT), &expected);
    }

    #[test]
    fn cubic_convolution_keeps_a_parabola_to_the_very_ends() {
        let along = Along::new(Kernel::Cubic, &[0.25, 2.5, 4.75, 5.5], 6, false);
        let mut line: Vec<f64> = (0..6).map(|x| f64::from(x * x)).collect();
        let mut out = [0.0; 4];
        along.run(&mut line, 1, -1.0, &mut out);
        near(&out, &[0.0625, 6.25, 4.75 * 4.75, -1.0]);
        let clamped = Along::new(Kernel::Cubic, &[-3.0, 5.5], 6, true);
        clamped.run(&mut line, 1, -1.0, &mut out[..2]);
        near(&out[..2], &[0.0, 25.0]);
    }

    #[test]
    fn sinc_is_the_lanczos_of_imresize() {
        // Pillow 12, resize of float pixels with LANCZOS: the same kernel; its ends differ, so the middle is compared.
        let line = [3.0, 5.0, -2.0, 7.0, 7.0, 7.0, 1.0, 0.5, 4.0, 2.0, -3.0, 8.0];
        for (count, index, expected) in [(18_i32, 8, 6.259_240_6), (8, 4, 0.716_347_5)] {
            let positions: Vec<f64> =
                (0..count).map(|index| (f64::from(index) + 0.5) * 12.0 / f64::from(count) - 0.5).collect();
            let along = Along::new(Kernel::Sinc, &positions, 12, true);
            let mut out = vec![0.0; positions.len()];
            along.run(&mut line.clone(), 1, 0.0, &mut out);
            assert!((out[index] - expected).abs() < 1e-5, "{} and {expected}", out[index]);
        }
    }

    #[test]
    fn one_two_and_three_voxels_are_enough_for_every_kernel() {
        // SciPy's not-a-knot of three and of two voxels, and its mirrored spline of two.
        let ask = |kernel, line: &[f64], positions: &[f64]| {
            let along = Along::new(kernel, positions, line.len(), true);
            let (room, first) = along.room();
            let mut held = vec![0.0; room];
            held[first..first + line.len()].copy_from_slice(line);
            let mut out = vec![0.0; positions.len()];
            along.run(&mut held, 1, 0.0, &mut out);
            out
        };
        near(&ask(Kernel::Spline, &LINE[..3], &[0.3, 1.6]), &[4.545, 1.88]);
        near(&ask(Kernel::Spline, &LINE[..2], &[0.3, 0.6]), &[3.6, 4.2]);
        near(&ask(Kernel::Spline, &LINE[..4], &[0.3, 2.6]), &[6.0325, -0.12]);
        near(&ask(Kernel::of("bspline"), &LINE[..2], &[0.3, 0.6]), &[3.432, 4.296]);
        for word in Kernel::WORDS {
            assert!((ask(Kernel::of(word), &[7.0], &[0.0, 0.5])[1] - 7.0).abs() < 1e-12, "{word}");
            let found = ask(Kernel::of(word), &LINE[..2], &[0.0, 1.0]);
            assert!(word == "nnunet" || word == "sinc" || (found[0] - 3.0).abs() + (found[1] - 5.0).abs() < 1e-12);
        }
    }

    #[test]
    fn halves_go_up() {
        assert_eq!(check(Kernel::Nearest, &[0.5, 1.5, 1.499_999_999, 2.4]), [5.0, -2.0, -2.0, -2.0]);
    }
}
