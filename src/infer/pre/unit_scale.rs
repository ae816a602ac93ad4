//! Bring apparent diffusion coefficients to the power of ten that a model was trained with; it reads no header.

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

/// 10 to the power of `-12` to `0`, in mm2/s, as CERR writes units of diffusion.
const UNITS: [&str; 13] = [
    "mm^2/s",
    "10^-1mm^2/s",
    "10^-2mm^2/s",
    "10^-3mm^2/s",
    "10^-4mm^2/s",
    "10^-5mm^2/s",
    "10^-6mm^2/s",
    "10^-7mm^2/s",
    "10^-8mm^2/s",
    "10^-9mm^2/s",
    "10^-10mm^2/s",
    "10^-11mm^2/s",
    "10^-12mm^2/s",
];

pub(super) const ENTRY: Operation = Operation {
    name: "unit_scale",
    doc: "Multiplies a diffusion image by the ratio of the unit `from` to the unit `to`: 0.0012 mm^2/s are 1200 10^-6mm^2/s.",
    source: "CERR's scanUnits",
    parameters: &[
        Parameter { name: "from", doc: "The unit of the image.", unit: "", kind: Kind::Choice(&UNITS), default: None },
        Parameter { name: "to", doc: "The unit that is needed.", unit: "", kind: Kind::Choice(&UNITS), default: None },
    ],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let power = |name| UNITS.iter().position(|unit| *unit == arguments.choice(name)).unwrap_or(0) as i32;
        let factor = 10.0_f64.powi(power("to") - power("from"));
        image.pixels.par_mapv_inplace(|value| (f64::from(value) * factor) as f32);
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn a_smaller_unit_makes_a_larger_number() {
        let json = r#"{"op": "unit_scale", "from": "10^-3mm^2/s", "to": "10^-6mm^2/s"}"#;
        let found = check(json, counted(), &BTreeMap::new()).expect("scaled").pixels;
        assert_eq!(found[[0, 0, 5]], 5000.0);
        let json = r#"{"op": "unit_scale", "from": "10^-6mm^2/s", "to": "mm^2/s"}"#;
        let found = check(json, counted(), &BTreeMap::new()).expect("scaled").pixels;
        assert!((found[[0, 0, 5]] - 5e-6).abs() < 1e-12);
    }
}
