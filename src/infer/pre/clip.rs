//! Clip values to an interval; it does not scale them.

use super::{Operation, low_below_high};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "clip",
    doc: "Replaces values below `low` by `low` and above `high` by `high`.",
    source: "common practice; nnU-Net (Nature Methods 18, 2021) clips CT to percentiles of the training set",
    parameters: &[
        Parameter {
            name: "low",
            doc: "Lowest value left.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: None,
        },
        Parameter {
            name: "high",
            doc: "Highest value left.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: None,
        },
    ],
    check: low_below_high,
    apply: |arguments, mut image, _| {
        let (low, high) = (arguments.number("low") as f32, arguments.number("high") as f32);
        image.pixels.par_mapv_inplace(|value| value.clamp(low, high));
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn keeps_values_inside_and_moves_those_outside_to_the_bounds() {
        let clipped = check(r#"{"op": "clip", "low": 2, "high": 4}"#, counted(), &BTreeMap::new()).expect("clipped");
        assert_eq!(
            clipped.pixels.as_slice().map(|values| values[..6].to_vec()),
            Some(vec![2.0, 2.0, 2.0, 3.0, 4.0, 4.0])
        );
    }

    #[test]
    fn refuses_reversed_interval() {
        let told = check(r#"{"op": "clip", "low": 400, "high": 240}"#, counted(), &BTreeMap::new()).err();
        assert_eq!(
            told.as_deref(),
            Some("f.json:1: found low 400, expected less than high (240); swap them, lower low or raise high")
        );
    }
}
