//! Remove everything near the outside; the end of the image is not outside.

use super::distance::eroded;
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "shrink",
    doc: "Removes every voxel within `radius_mm` of the outside; where the border of the image cuts the mask nothing is removed.",
    source: "exact Euclidean distance",
    parameters: &[Parameter {
        name: "radius_mm",
        doc: "Radius of the ball, with the position of every slice.",
        unit: "mm",
        kind: Kind::Number { low: 0.0, high: 100.0 },
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mask, context| *mask = eroded(mask, arguments.number("radius_mm"), context.geometry),
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn removes_what_is_near_the_outside_but_not_at_the_end_of_the_image() {
        check("####.", &[], r#"{"op": "shrink", "radius_mm": 1}"#, "###..");
    }
}
