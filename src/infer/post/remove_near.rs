//! Keep a distance from other structures; they stay as they are.

use super::distance::dilated;
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "remove_near",
    doc: "Removes the voxels inside the union of the named structures and those within `gap_mm` of it; what these would be beyond the border of the image is not known and removes nothing.",
    source: "cropping with a gap, as treatment planning systems offer it; exact Euclidean distance",
    parameters: &[
        Parameter { name: "of", doc: "Structures to stay away from.", unit: "", kind: Kind::Names, default: None },
        Parameter {
            name: "gap_mm",
            doc: "The distance that is left free, with the position of every slice; a voxel whose centre is just as far goes.",
            unit: "mm",
            kind: Kind::Number { low: 0.0, high: 100.0 },
            default: None,
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let others = context.union(arguments.names("of"));
        let near = dilated(&others, arguments.number("gap_mm"), context.geometry);
        ndarray::Zip::from(mask).and(&near).par_for_each(|mask, near| *mask &= !*near);
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn leaves_a_gap_around_what_is_named() {
        check("######", &[("A", "..#...")], r#"{"op": "remove_near", "of": ["A"], "gap_mm": 1}"#, "#...##");
        check("######", &[("A", "..#...")], r#"{"op": "remove_near", "of": ["A"], "gap_mm": 0}"#, "##.###");
        check(
            "###\n\n###",
            &[("A", "...\n\n#..")],
            r#"{"op": "remove_near", "of": ["A"], "gap_mm": 1.2}"#,
            ".##\n\n..#",
        );
    }
}
