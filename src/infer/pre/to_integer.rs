//! Round to whole numbers of a type, as a cast does; it does not scale.

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "to_integer",
    doc: "Makes whole numbers: fractions are cut off (numpy's astype), or go to the nearest, halves to the even one. With `wrap` values beyond the type go round as in the type; without they stay.",
    source: "numpy's astype, as CERR's wrappers use it",
    parameters: &[
        Parameter {
            name: "rounding",
            doc: "How fractions become whole numbers.",
            unit: "",
            kind: Kind::Choice(&["truncate", "nearest"]),
            default: Some("\"truncate\""),
        },
        WRAP,
    ],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let (nearest, wrap) = (arguments.choice("rounding") == "nearest", arguments.choice("wrap"));
        image
            .pixels
            .par_mapv_inplace(|value| wrapped(if nearest { value.round_ties_even() } else { value.trunc() }, wrap));
        Ok(image)
    },
};

/// The type in which values go round.
pub(super) const WRAP: Parameter = Parameter {
    name: "wrap",
    doc: "The type in which values go round.",
    unit: "",
    kind: Kind::Choice(&["none", "uint8", "uint16", "int16"]),
    default: Some("\"none\""),
};

/// A whole number as the type holds it.
pub(super) fn wrapped(value: f32, wrap: &str) -> f32 {
    match wrap {
        "uint8" => value.rem_euclid(256.0),
        "uint16" => value.rem_euclid(65_536.0),
        "int16" => (value + 32_768.0).rem_euclid(65_536.0) - 32_768.0,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::wrapped;
    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn fractions_are_cut_off_towards_zero() {
        let mut source = counted();
        source.pixels.mapv_inplace(|value| value / 2.0 - 1.75);
        let found = check(r#"{"op": "to_integer"}"#, source.clone(), &BTreeMap::new()).expect("rounded").pixels;
        assert_eq!(found.iter().take(5).copied().collect::<Vec<_>>(), [-1.0, -1.0, 0.0, 0.0, 0.0]);
        let json = r#"{"op": "to_integer", "rounding": "nearest", "wrap": "uint8"}"#;
        let found = check(json, source, &BTreeMap::new()).expect("rounded").pixels;
        assert_eq!(found.iter().take(5).copied().collect::<Vec<_>>(), [254.0, 255.0, 255.0, 0.0, 0.0]);
    }

    #[test]
    fn types_go_round_as_they_do_in_memory() {
        for value in [-70_000_i32, -32_769, -1, 0, 255, 256, 32_768, 65_536, 100_000] {
            assert_eq!(wrapped(value as f32, "uint8"), f32::from(value as u8));
            assert_eq!(wrapped(value as f32, "uint16"), f32::from(value as u16));
            assert_eq!(wrapped(value as f32, "int16"), f32::from(value as i16));
        }
    }
}
