//! Keep what lies near other structures; connection does not matter.

use super::distance::dilated;
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "keep_near",
    doc: "Keeps the voxels within `radius_mm` of the union of the named structures; what these would be beyond the border of the image is not known and does not count.",
    source: "exact Euclidean distance",
    parameters: &[
        Parameter { name: "of", doc: "Structures to stay near to.", unit: "", kind: Kind::Names, default: None },
        Parameter {
            name: "radius_mm",
            doc: "Radius of the ball, with the position of every slice.",
            unit: "mm",
            kind: Kind::Number { low: 0.0, high: 100.0 },
            default: None,
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let others = context.union(arguments.names("of"));
        let near = dilated(&others, arguments.number("radius_mm"), context.geometry);
        ndarray::Zip::from(mask).and(&near).par_for_each(|m, near| *m &= *near);
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn keeps_what_is_near() {
        check("######", &[("A", "..#...")], r#"{"op": "keep_near", "of": ["A"], "radius_mm": 1}"#, ".###..");
    }
}
