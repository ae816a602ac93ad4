//! Clip values to an interval, given or measured; it does not scale them.

use super::measured::{self, ABOVE, ON, On};
use super::{Operation, failed};
use crate::infer::parameter::{Arguments, Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "clip",
    doc: "Replaces values below the lower bound by it and those above the upper bound by that. A bound is a value (`low`, `high`) or a percentile of the image (numpy's, linear between two voxels); one that is left out does not bound.",
    source: "common practice; nnU-Net (Nature Methods 18, 2021) clips CT to percentiles of the training set",
    parameters: &[
        Parameter {
            name: "low",
            doc: "Lowest value left.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("null"),
        },
        Parameter {
            name: "high",
            doc: "Highest value left.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("null"),
        },
        Parameter {
            name: "low_percentile",
            doc: "Percentile of the lowest value left.",
            unit: "%",
            kind: Kind::Number { low: 0.0, high: 100.0 },
            default: Some("null"),
        },
        Parameter {
            name: "high_percentile",
            doc: "Percentile of the highest value left.",
            unit: "%",
            kind: Kind::Number { low: 0.0, high: 100.0 },
            default: Some("null"),
        },
        ON,
        ABOVE,
    ],
    check: |arguments| {
        let pairs = [("low", "low_percentile"), ("high", "high_percentile")];
        if let Some((value, percentile)) = pairs.into_iter().find(|(a, b)| arguments.has(a) && arguments.has(b)) {
            let cure = format!("remove {value} or {percentile}");
            return Some([format!("{value} and {percentile}"), "one of them".to_owned(), cure]);
        }
        if !pairs.iter().any(|(a, b)| arguments.has(a) || arguments.has(b)) {
            let expected = "at least one of low, high, low_percentile and high_percentile";
            return Some(["no bound".to_owned(), expected.to_owned(), "give one, or remove the operation".to_owned()]);
        }
        let reversed = |(a, b): (&str, &str)| {
            let both = arguments.has(a) && arguments.has(b);
            both.then(|| (arguments.number(a), arguments.number(b))).filter(|(low, high)| low >= high)
        };
        for (a, b) in [("low", "high"), ("low_percentile", "high_percentile")] {
            if let Some((low, high)) = reversed((a, b)) {
                let cure = format!("swap them, lower {a} or raise {b}");
                return Some([format!("{a} {low}"), format!("less than {b} ({high})"), cure]);
            }
        }
        measured::check_above(arguments)
    },
    apply: |arguments, mut image, _| {
        let on = On::of(arguments);
        let bound = |value, percentile, none: f32| -> Result<f32, String> {
            if arguments.has(percentile) {
                let [measured] = measured::percentiles(&image, on, [arguments.number(percentile)])?;
                return Ok(measured as f32);
            }
            Ok(optional(arguments, value).unwrap_or(none))
        };
        let low = bound("low", "low_percentile", f32::NEG_INFINITY).map_err(failed("clip"))?;
        let high = bound("high", "high_percentile", f32::INFINITY).map_err(failed("clip"))?;
        // Not f32::clamp, which refuses bounds in the wrong order: a value may lie beyond a measured percentile.
        image.pixels.par_mapv_inplace(|value| value.max(low).min(high));
        Ok(image)
    },
};

fn optional(arguments: &Arguments, name: &str) -> Option<f32> {
    arguments.has(name).then(|| arguments.number(name) as f32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    fn first(json: &str) -> Vec<f32> {
        let found = check(json, counted(), &BTreeMap::new()).expect("clipped");
        found.pixels.iter().take(6).copied().collect()
    }

    #[test]
    fn keeps_values_inside_and_moves_those_outside_to_the_bounds() {
        assert_eq!(first(r#"{"op": "clip", "low": 2, "high": 4}"#), [2.0, 2.0, 2.0, 3.0, 4.0, 4.0]);
        assert_eq!(first(r#"{"op": "clip", "high": 4}"#), [0.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
        // 192 values 0 to 191: the second percentile is 0.02 x 191 = 3.82; above 99, 0.1 x 91 + 100.
        assert_eq!(first(r#"{"op": "clip", "low_percentile": 2}"#), [3.82, 3.82, 3.82, 3.82, 4.0, 5.0]);
        let json = r#"{"op": "clip", "low_percentile": 10, "on": "above", "above": 99}"#;
        assert!((first(json)[0] - 109.1).abs() < 1e-4);
    }

    #[test]
    fn refuses_reversed_missing_and_twofold_bounds() {
        let told = |json: &str| check(json, counted(), &BTreeMap::new()).err().unwrap_or_default();
        assert_eq!(
            told(r#"{"op": "clip", "low": 400, "high": 240}"#),
            "f.json:1: found low 400, expected less than high (240); swap them, lower low or raise high"
        );
        assert!(told(r#"{"op": "clip"}"#).contains("found no bound"));
        assert!(told(r#"{"op": "clip", "low": 4, "low_percentile": 2}"#).contains("found low and low_percentile"));
        assert!(told(r#"{"op": "clip", "low": 4, "above": 2}"#).contains("above with on \"all\""));
    }
}
