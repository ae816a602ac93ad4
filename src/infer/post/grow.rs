//! Add everything within a distance; no other structure is looked at.

use super::distance::dilated;
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "grow",
    doc: "Adds every voxel within `radius_mm` of the mask; what reaches past the border of the image is lost.",
    source: "exact Euclidean distance",
    parameters: &[Parameter {
        name: "radius_mm",
        doc: "Radius of the ball, with the position of every slice.",
        unit: "mm",
        kind: Kind::Number { low: 0.0, high: 100.0 },
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mask, context| *mask = dilated(mask, arguments.number("radius_mm"), context.geometry),
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn adds_what_is_within_the_radius() {
        check("...\n.#.\n...", &[], r#"{"op": "grow", "radius_mm": 1}"#, ".#.\n###\n.#.");
    }
}
