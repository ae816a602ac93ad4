//! Which voxels an intensity operation measures and changes, and their statistics; it is no operation.
//!
//! Sums are made plane by plane and added in order, so that a repetition gives the same bits on any number of cores.

use ndarray::{Axis, parallel::prelude::*};

use crate::infer::frame::Prepared;
use crate::infer::parameter::{Arguments, Kind, Parameter};

/// Which voxels are measured.
pub(super) const ON: Parameter = Parameter {
    name: "on",
    doc: "Which voxels are measured: all, those inside the crop mask, those that are not 0, or those above `above`.",
    unit: "",
    kind: Kind::Choice(&["all", "inside", "nonzero", "above"]),
    default: Some("\"all\""),
};

/// Which voxels are changed.
pub(super) const CHANGE: Parameter = Parameter {
    name: "change",
    doc: "Which voxels are changed: all, or the measured ones.",
    unit: "",
    kind: Kind::Choice(&["all", "measured"]),
    default: Some("\"all\""),
};

/// The bound of `on` `above`.
pub(super) const ABOVE: Parameter = Parameter {
    name: "above",
    doc: "Bound of `on` `above`; the value itself is not measured.",
    unit: "unit of the image",
    kind: Kind::Number { low: -1e9, high: 1e9 },
    default: Some("null"),
};

/// [`ABOVE`] is there when it is needed, and only then.
pub(super) fn check_above(arguments: &Arguments) -> Option<[String; 3]> {
    let (on, has) = (arguments.choice("on"), arguments.has("above"));
    ((on == "above") != has).then(|| {
        let given = if has { "above" } else { "no above" };
        let cure = "give both on \"above\" and above, or neither".to_owned();
        [format!("{given} with on {on:?}"), "above with on \"above\"".to_owned(), cure]
    })
}

/// The choice of voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum On {
    All,
    Inside,
    Nonzero,
    Above(f32),
}

impl On {
    /// The choice of the parameters [`ON`] and [`ABOVE`].
    pub(super) fn of(arguments: &Arguments) -> On {
        match arguments.choice("on") {
            "inside" => On::Inside,
            "nonzero" => On::Nonzero,
            "above" => On::Above(arguments.number("above") as f32),
            _ => On::All,
        }
    }

    /// The voxels of the parameter [`CHANGE`].
    pub(super) fn changed(self, arguments: &Arguments) -> On {
        if arguments.choice("change") == "measured" { self } else { On::All }
    }

    fn holds(self, value: f32, inside: bool) -> bool {
        match self {
            On::All => true,
            On::Inside => inside,
            On::Nonzero => value != 0.0,
            On::Above(bound) => value > bound,
        }
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    pub(super) count: f64,
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Sum of squared deviations from the mean.
    squares: f64,
}

impl Moments {
    /// Those of both sets of voxels (Chan, Golub and LeVeque, 1979).
    pub(in crate::infer) fn joined(&self, other: &Moments) -> Moments {
        let (count, apart) = (self.count + other.count, other.mean - self.mean);
        Moments {
            count,
            mean: self.mean + apart * other.count / count,
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            squares: self.squares + other.squares + apart * apart * self.count * other.count / count,
        }
    }

    /// Standard deviation with the divisor `count - ddof`.
    pub(super) fn deviation(&self, ddof: f64) -> f64 {
        if self.low == self.high { 0.0 } else { (self.squares / (self.count - ddof).max(1.0)).sqrt() }
    }
}

/// Folds the chosen voxels of each plane and then the planes, in order.
pub(super) fn fold<T: Copy + Send + Sync>(
    image: &Prepared<'_>,
    on: On,
    start: T,
    step: impl Fn(T, f32) -> T + Sync,
    join: impl Fn(T, T) -> T,
) -> T {
    let planes: Vec<T> = image
        .pixels
        .axis_iter(Axis(0))
        .into_par_iter()
        .enumerate()
        .map(|(k, plane)| match &image.mask {
            Some(mask) if on == On::Inside => {
                let pairs = plane.into_iter().zip(mask.index_axis(Axis(0), k));
                pairs.filter(|(_, inside)| **inside).fold(start, |sum, (value, _)| step(sum, *value))
            }
            _ => plane.iter().filter(|value| on.holds(**value, true)).fold(start, |sum, value| step(sum, *value)),
        })
        .collect();
    planes.into_iter().fold(start, join)
}

/// Count, mean, deviation and range of the chosen voxels.
///
/// # Errors
/// When there are none.
pub(super) fn moments(image: &Prepared<'_>, on: On) -> Result<Moments, String> {
    let (count, sum, low, high) = fold(
        image,
        on,
        (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY),
        |(count, sum, low, high): (f64, f64, f64, f64), value| {
            let value = f64::from(value);
            (count + 1.0, sum + value, low.min(value), high.max(value))
        },
        |a, b| (a.0 + b.0, a.1 + b.1, a.2.min(b.2), a.3.max(b.3)),
    );
    if count == 0.0 {
        return Err(nothing(on));
    }
    let mean = if low == high { low } else { sum / count };
    let squares = fold(image, on, 0.0, |sum, value| sum + (f64::from(value) - mean).powi(2), |a, b| a + b);
    Ok(Moments { count, mean, low, high, squares })
}

/// The values at fractions of the sorted chosen voxels, linear between two of them as numpy's `percentile`.
///
/// # Errors
/// When there are none.
pub(super) fn percentiles<const N: usize>(
    image: &Prepared<'_>,
    on: On,
    percents: [f64; N],
) -> Result<[f64; N], String> {
    let mut values: Vec<f32> = Vec::new();
    for (k, plane) in image.pixels.outer_iter().enumerate() {
        match &image.mask {
            Some(mask) if on == On::Inside => {
                let pairs = plane.into_iter().zip(mask.index_axis(Axis(0), k));
                values.extend(pairs.filter(|(_, inside)| **inside).map(|(value, _)| *value));
            }
            _ => values.extend(plane.iter().filter(|value| on.holds(**value, true))),
        }
    }
    if values.is_empty() {
        return Err(nothing(on));
    }
    Ok(percents.map(|percent| quantile(&mut values, percent / 100.0)))
}

/// The value at a fraction of sorted values, linear between two of them; `values` are put into another order.
fn quantile(values: &mut [f32], fraction: f64) -> f64 {
    let place = fraction * (values.len() as f64 - 1.0);
    let (below, part) = (place.floor() as usize, place - place.floor());
    let (_, low, after) = values.select_nth_unstable_by(below, f32::total_cmp);
    let low = f64::from(*low);
    let high = after.iter().copied().min_by(f32::total_cmp).map_or(low, f64::from);
    low + (high - low) * part
}

fn nothing(on: On) -> String {
    match on {
        On::Above(bound) => format!("found no value above {bound}, expected some; lower the parameter above"),
        On::Inside => "found no voxel inside the crop mask, expected some; crop to a region that is there".to_owned(),
        On::Nonzero => "found no value but 0, expected some; check the image that is handed in".to_owned(),
        On::All => "found an image without voxels, expected some; check the crop before".to_owned(),
    }
}

/// Changes the chosen voxels.
pub(super) fn change(image: &mut Prepared<'_>, on: On, new: impl Fn(f32) -> f32 + Sync + Send) {
    let mask = image.mask.as_ref();
    image.pixels.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(k, mut plane)| match mask {
        Some(mask) if on == On::Inside => {
            let pairs = plane.iter_mut().zip(mask.index_axis(Axis(0), k));
            pairs.filter(|(_, inside)| **inside).for_each(|(value, _)| *value = new(*value));
        }
        _ => plane.iter_mut().filter(|value| on.holds(**value, true)).for_each(|value| *value = new(*value)),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy 2.4: percentile([7, 1, 5, 2, 9, 4], [0, 5, 37.5, 50, 99.5, 100]).
        let expected = [1.0, 1.25, 3.75, 4.5, 8.95, 9.0];
        for (percent, expected) in [0.0, 5.0, 37.5, 50.0, 99.5, 100.0].into_iter().zip(expected) {
            let found = quantile(&mut [7.0, 1.0, 5.0, 2.0, 9.0, 4.0], percent / 100.0);
            assert!((found - expected).abs() < 1e-12, "{percent}: {found}");
        }
        assert_eq!(quantile(&mut [3.0], 0.7), 3.0);
    }
}
