//! Add a number; it does not scale.

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "offset",
    doc: "Adds `add` to every voxel.",
    source: "CERR's imageOffset and intensityOffset (1024 for models that were trained on stored CT values)",
    parameters: &[Parameter {
        name: "add",
        doc: "What is added.",
        unit: "unit of the image",
        kind: Kind::Number { low: -1e9, high: 1e9 },
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let add = arguments.number("add") as f32;
        image.pixels.par_mapv_inplace(|value| value + add);
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn adds_to_every_voxel() {
        let found = check(r#"{"op": "offset", "add": -1024}"#, counted(), &BTreeMap::new()).expect("added").pixels;
        assert_eq!((found[[0, 0, 0]], found[[3, 5, 7]]), (-1024.0, -833.0));
    }
}
