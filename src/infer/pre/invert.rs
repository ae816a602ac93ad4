//! Turn bright into dark; it does not measure.

use super::to_integer::{WRAP, wrapped};
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "invert",
    doc: "Replaces each value by `of` less the value. With `wrap` the value is cut off to a whole number first and the result goes round as in the type: `255 - image.astype(uint16)`.",
    source: "CERR's wrapper of the MR prostate model (its middle channel)",
    parameters: &[
        Parameter {
            name: "of",
            doc: "What values are taken from.",
            unit: "unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("255"),
        },
        WRAP,
    ],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let (of, wrap) = (arguments.number("of") as f32, arguments.choice("wrap"));
        image.pixels.par_mapv_inplace(|value| match wrap {
            "none" => of - value,
            _ => wrapped(of - value.trunc(), wrap),
        });
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn wraps_below_zero() {
        let json = r#"{"op": "invert", "of": 3, "wrap": "uint16"}"#;
        let found = check(json, counted(), &BTreeMap::new()).expect("inverted").pixels;
        assert_eq!(found.iter().take(5).copied().collect::<Vec<_>>(), [3.0, 2.0, 1.0, 0.0, 65_535.0]);
        let found = check(r#"{"op": "invert"}"#, counted(), &BTreeMap::new()).expect("inverted").pixels;
        assert_eq!(found[[0, 0, 1]], 254.0);
    }
}
