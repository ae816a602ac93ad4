//! Map one interval to another; it measures nothing.

use super::Operation;
use crate::infer::parameter::{Arguments, Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "scale_range",
    doc: "Maps `a_min` to `b_min` and `a_max` to `b_max`, linearly; without `b_min` and `b_max` to 0 and 1. `clip` keeps values between the new bounds.",
    source: "MONAI's ScaleIntensityRange",
    parameters: &[
        bound("a_min", "Value that becomes `b_min`.", None),
        bound("a_max", "Value that becomes `b_max`.", None),
        bound("b_min", "New lower value.", Some("null")),
        bound("b_max", "New upper value.", Some("null")),
        Parameter {
            name: "clip",
            doc: "Whether values beyond `b_min` and `b_max` become those.",
            unit: "",
            kind: Kind::Flag,
            default: Some("false"),
        },
    ],
    check: |arguments| check_ends(arguments),
    apply: |arguments, mut image, _| {
        let map = Map {
            from: (arguments.number("a_min"), arguments.number("a_max")),
            to: ends(arguments),
            clip: arguments.flag("clip"),
        };
        image.pixels.par_mapv_inplace(|value| map.of(value));
        Ok(image)
    },
};

/// Both new bounds, or none.
pub(super) fn check_ends(arguments: &Arguments) -> Option<[String; 3]> {
    let (low, high) = (arguments.has("b_min"), arguments.has("b_max"));
    if low != high {
        let found = if low { "b_min without b_max" } else { "b_max without b_min" };
        return Some([found.to_owned(), "both or none".to_owned(), "give the other, or remove it".to_owned()]);
    }
    (arguments.flag("clip") && !low).then(|| {
        [
            "clip without b_min and b_max".to_owned(),
            "bounds to clip to".to_owned(),
            "give them, or remove clip".to_owned(),
        ]
    })
}

/// The new bounds, when they are given.
pub(super) fn ends(arguments: &Arguments) -> Option<(f64, f64)> {
    arguments.has("b_min").then(|| (arguments.number("b_min"), arguments.number("b_max")))
}

/// MONAI's `ScaleIntensityRange`.
pub(super) struct Map {
    pub(super) from: (f64, f64),
    pub(super) to: Option<(f64, f64)>,
    pub(super) clip: bool,
}

impl Map {
    pub(super) fn of(&self, value: f32) -> f32 {
        let (value, (low, high)) = (f64::from(value), self.from);
        // MONAI: an interval without length shifts, and does not clip.
        if low == high {
            return (value - low + self.to.map_or(0.0, |(to_low, _)| to_low)) as f32;
        }
        let part = (value - low) / (high - low);
        let Some((to_low, to_high)) = self.to else { return part as f32 };
        let new = part * (to_high - to_low) + to_low;
        (if self.clip { new.max(to_low).min(to_high) } else { new }) as f32
    }
}

pub(super) const fn bound(name: &'static str, doc: &'static str, default: Option<&'static str>) -> Parameter {
    Parameter { name, doc, unit: "unit of the image", kind: Kind::Number { low: -1e9, high: 1e9 }, default }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    fn first(json: &str) -> Vec<f32> {
        let found = check(json, counted(), &BTreeMap::new()).expect("mapped");
        found.pixels.iter().take(5).copied().collect()
    }

    #[test]
    fn maps_one_interval_to_another() {
        let json = r#"{"op": "scale_range", "a_min": 1, "a_max": 3, "b_min": -1, "b_max": 1}"#;
        assert_eq!(first(json), [-2.0, -1.0, 0.0, 1.0, 2.0]);
        assert_eq!(first(&json.replace('}', r#", "clip": true}"#)), [-1.0, -1.0, 0.0, 1.0, 1.0]);
        assert_eq!(first(r#"{"op": "scale_range", "a_min": 0, "a_max": 4}"#), [0.0, 0.25, 0.5, 0.75, 1.0]);
        let json = r#"{"op": "scale_range", "a_min": 2, "a_max": 2, "b_min": 7, "b_max": 8, "clip": true}"#;
        assert_eq!(first(json), [5.0, 6.0, 7.0, 8.0, 9.0]);
    }

    #[test]
    fn refuses_half_an_interval() {
        let json = r#"{"op": "scale_range", "a_min": 2, "a_max": 3, "b_min": 7}"#;
        let told = check(json, counted(), &BTreeMap::new()).err().unwrap_or_default();
        assert!(told.contains("found b_min without b_max"), "{told}");
    }
}
