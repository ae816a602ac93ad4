//! Multiply by a number; it does not shift.

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "multiply",
    doc: "Multiplies every voxel by `by`.",
    source: "common practice; MONAI's ScaleIntensity with a factor is 1 + factor",
    parameters: &[Parameter {
        name: "by",
        doc: "The factor.",
        unit: "",
        kind: Kind::Number { low: -1e9, high: 1e9 },
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let by = arguments.number("by") as f32;
        image.pixels.par_mapv_inplace(|value| value * by);
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn multiplies_every_voxel() {
        let found = check(r#"{"op": "multiply", "by": -0.5}"#, counted(), &BTreeMap::new()).expect("scaled").pixels;
        assert_eq!((found[[0, 0, 1]], found[[3, 5, 7]]), (-0.5, -95.5));
    }
}
