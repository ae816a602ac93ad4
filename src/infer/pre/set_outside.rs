//! Give the voxels outside the crop mask one value; it makes no mask.

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use ndarray::Zip;

pub(super) const ENTRY: Operation = Operation {
    name: "set_outside",
    doc: "Gives all voxels outside the crop mask the value `value`; nothing happens before the first crop.",
    source: "CERR's filter assignBkgIntensity",
    parameters: &[Parameter {
        name: "value",
        doc: "The new value.",
        unit: "unit of the image",
        kind: Kind::Number { low: -1e9, high: 1e9 },
        default: Some("0"),
    }],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let new = arguments.number("value") as f32;
        if let Some(mask) = &image.mask {
            Zip::from(&mut image.pixels).and(mask).par_for_each(|value, inside| {
                if !inside {
                    *value = new;
                }
            });
        }
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::pre::tests::{check_inside, counted};

    #[test]
    fn leaves_the_voxels_inside() {
        let found = check_inside(r#"{"op": "set_outside", "value": -9}"#, &counted(), |index| index == [1, 2, 3]);
        let found = found.expect("set");
        assert_eq!((found[[1, 2, 3]], found[[1, 2, 4]], found[[0, 2, 3]]), (67.0, -9.0, -9.0));
    }
}
