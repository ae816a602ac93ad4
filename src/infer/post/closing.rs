//! Let the mask grow and wear it away again: gaps narrower than the ball close.

use super::distance::{dilated, eroded};
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "closing",
    doc: "Fills what no ball of `radius_mm` outside the mask can reach: narrow gaps, vessels and notches. Beyond its border the image counts as its own mirror.",
    source: "Serra, Image Analysis and Mathematical Morphology, 1982; exact Euclidean distance",
    parameters: &[Parameter {
        name: "radius_mm",
        doc: "Radius of the ball, with the position of every slice.",
        unit: "mm",
        kind: Kind::Number { low: 0.0, high: 100.0 },
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let radius = arguments.number("radius_mm");
        let grown = dilated(mask, radius, context.geometry);
        let closed = eroded(&grown, radius, context.geometry);
        ndarray::Zip::from(mask).and(&closed).par_for_each(|m, closed| *m |= *closed);
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn closes_a_gap_narrower_than_the_ball() {
        check("...##.##...", &[], r#"{"op": "closing", "radius_mm": 1}"#, "...#####...");
        // Beyond its edge the image counts as its own mirror: a gap of one voxel there is half of one of two.
        check("...##...##..", &[], r#"{"op": "closing", "radius_mm": 1}"#, "...##...##..");
    }
}
