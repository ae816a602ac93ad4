//! Bring values to whole numbers of a few bits, as pictures have them; `to_integer` rounds without a scale.

use ndarray::{ArrayViewMut2, Axis, parallel::prelude::*};

use super::measured::{self, On};
use super::{Operation, failed};
use crate::infer::frame::Prepared;
use crate::infer::parameter::{Arguments, Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "quantise",
    doc: "Maps the lowest value to 0 and the highest to `levels` - 1 and makes whole numbers of them. With `divisor` `truncated` the range is truncated to a whole number before it divides, and a value beyond `levels` - 1 wraps: `(255 * (image - min) / ptp.astype(int)).astype(uint8)` of CERR's wrappers; a range below 1 gives 0. Measured is the volume, each slice (along the network's first axis), or each slice with its neighbours from `slices[0]` to `slices[1]`, ends cut off.",
    source: "CERR's wrappers of the swallowing, chewing and heart models; OpenCV's normalize (NORM_MINMAX) with `rounding` `nearest`",
    parameters: &[
        Parameter {
            name: "levels",
            doc: "How many whole numbers there are, from 0 on.",
            unit: "",
            kind: Kind::Integer { low: 2, high: 65_536 },
            default: Some("256"),
        },
        Parameter {
            name: "measure",
            doc: "What lowest and highest are taken of.",
            unit: "",
            kind: Kind::Choice(&["volume", "slices"]),
            default: Some("\"volume\""),
        },
        Parameter {
            name: "slices",
            doc: "First and last neighbour that is measured with each slice.",
            unit: "slices",
            kind: Kind::Numbers { low: -64.0, high: 64.0, count: (2, 2) },
            default: Some("[0, 0]"),
        },
        Parameter {
            name: "divisor",
            doc: "Whether the range divides as it is, or truncated to a whole number.",
            unit: "",
            kind: Kind::Choice(&["exact", "truncated"]),
            default: Some("\"exact\""),
        },
        Parameter {
            name: "rounding",
            doc: "How fractions become whole numbers: cut off, or to the nearest, halves to the even one.",
            unit: "",
            kind: Kind::Choice(&["truncate", "nearest"]),
            default: Some("\"truncate\""),
        },
    ],
    check: |arguments| {
        let [first, last] = neighbours(arguments);
        let ordered = first <= last && arguments.numbers("slices").iter().all(|offset| offset.fract() == 0.0);
        if !ordered {
            let expected = "two whole numbers in order".to_owned();
            return Some([format!("slices {:?}", arguments.numbers("slices")), expected, "correct them".to_owned()]);
        }
        let idle = [first, last] != [0, 0] && arguments.choice("measure") == "volume";
        idle.then(|| {
            let cure = "set measure to \"slices\", or remove slices".to_owned();
            ["slices with measure \"volume\"".to_owned(), "slices with measure \"slices\"".to_owned(), cure]
        })
    },
    apply: |arguments, mut image, _| {
        let quantiser = Quantiser::of(arguments);
        if arguments.choice("measure") == "volume" {
            let moments = measured::moments(&image, On::All).map_err(failed(ENTRY.name))?;
            let range = (moments.low as f32, moments.high as f32);
            image.pixels.par_mapv_inplace(|value| quantiser.level(value, range));
            return Ok(image);
        }
        let axes = image.frame.axes;
        let (axis, [first, last]) = (axes.array_axis(0), neighbours(arguments));
        let offsets = if axes.is_reversed(0) { (-last, -first) } else { (first, last) };
        let ranges = ranges(&image, axis, offsets);
        let planes = image.pixels.axis_iter_mut(Axis(axis)).into_par_iter().zip(ranges);
        planes.for_each(|(mut plane, range): (ArrayViewMut2<'_, f32>, (f32, f32))| {
            plane.mapv_inplace(|value| quantiser.level(value, range));
        });
        Ok(image)
    },
};

fn neighbours(arguments: &Arguments) -> [i64; 2] {
    let offsets = arguments.numbers("slices");
    [0, 1].map(|index| offsets.get(index).map_or(0, |offset| *offset as i64))
}

/// Lowest and highest value of each plane joined with its neighbours.
fn ranges(image: &Prepared<'_>, axis: usize, (first, last): (i64, i64)) -> Vec<(f32, f32)> {
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    let of_planes: Vec<(f32, f32)> = image
        .pixels
        .axis_iter(Axis(axis))
        .into_par_iter()
        .map(|plane| plane.iter().fold(start, |(low, high), value| (low.min(*value), high.max(*value))))
        .collect();
    let end = of_planes.len() as i64 - 1;
    let joined = |index: i64| {
        let near = (index + first).clamp(0, end) as usize..=(index + last).clamp(0, end) as usize;
        of_planes[near].iter().fold(start, |(low, high), plane| (low.min(plane.0), high.max(plane.1)))
    };
    (0..=end).map(joined).collect()
}

/// How values become levels.
struct Quantiser {
    levels: f64,
    truncated: bool,
    nearest: bool,
}

impl Quantiser {
    fn of(arguments: &Arguments) -> Quantiser {
        Quantiser {
            levels: arguments.integer("levels") as f64,
            truncated: arguments.choice("divisor") == "truncated",
            nearest: arguments.choice("rounding") == "nearest",
        }
    }

    fn level(&self, value: f32, (low, high): (f32, f32)) -> f32 {
        let (value, low, high) = (f64::from(value), f64::from(low), f64::from(high));
        let range = if self.truncated { (high - low).trunc() } else { high - low };
        if range <= 0.0 {
            return 0.0;
        }
        let level = (self.levels - 1.0) * (value - low) / range;
        let whole = if self.nearest { level.round_ties_even() } else { level.trunc() };
        whole.rem_euclid(self.levels) as f32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use ndarray::Array3;

    use crate::infer::pre::tests::{check, counted};
    use crate::volume::{Volume, VolumeGeometry};

    fn check_steps(json: &str) -> Vec<f32> {
        let origins = (0..3).map(|k| [0.0, 0.0, f64::from(k)]).collect();
        let geometry = VolumeGeometry::new((2, 2), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let pixels = Array3::from_shape_fn((3, 2, 2), |(k, j, i)| (10 * k * k + 3 * (2 * j + i)) as f32);
        let volume = Volume::new(Arc::new(geometry.expect("legal")), pixels);
        check(json, volume, &BTreeMap::new()).expect("quantised").pixels.iter().copied().collect()
    }

    #[test]
    fn a_truncated_range_divides_as_in_cerr_and_wraps() {
        let mut volume = counted();
        volume.pixels.mapv_inplace(|value| value * 0.0101 - 3.0);
        let json = r#"{"op": "quantise", "divisor": "truncated"}"#;
        let found = check(json, volume, &BTreeMap::new()).expect("quantised").pixels;
        // numpy 2.4: the range 1.9291 becomes 1, so 255 x 1.9291 = 491 wraps to 235, and 100 x 2.5755 = 257 to 1.
        let at = |index: usize| found.as_slice().expect("in one piece")[index];
        assert_eq!((at(0), at(50), at(100), at(191)), (0.0, 128.0, 1.0, 235.0));
    }

    #[test]
    fn slices_are_measured_alone_or_with_their_neighbours() {
        // Slices hold 0 3 6 9, 10 13 16 19 and 40 43 46 49.
        let json = r#"{"op": "quantise", "levels": 10, "measure": "slices"}"#;
        assert_eq!(check_steps(json), [0.0, 3.0, 6.0, 9.0, 0.0, 3.0, 6.0, 9.0, 0.0, 3.0, 6.0, 9.0]);
        let json = r#"{"op": "quantise", "levels": 20, "measure": "slices", "slices": [-1, 0]}"#;
        // The second slice with the first: 0 to 19; the third with the second: 10 to 49, 19 x 30 / 39 = 14.6 first.
        assert_eq!(check_steps(json)[4..9], [10.0, 13.0, 16.0, 19.0, 14.0]);
        let json = json.replace("}", r#", "rounding": "nearest"}"#);
        assert_eq!(check_steps(&json)[8], 15.0);
    }

    #[test]
    fn a_constant_image_is_zero_and_idle_slices_are_refused() {
        let mut flat = counted();
        flat.pixels.fill(7.0);
        for divisor in ["exact", "truncated"] {
            let json = format!(r#"{{"op": "quantise", "divisor": "{divisor}"}}"#);
            let found = check(&json, flat.clone(), &BTreeMap::new()).expect("zeros");
            assert!(found.pixels.iter().all(|value| *value == 0.0));
        }
        let told = check(r#"{"op": "quantise", "slices": [-1, 1]}"#, flat, &BTreeMap::new()).err().unwrap_or_default();
        assert!(told.contains("found slices with measure \"volume\""), "{told}");
    }
}
