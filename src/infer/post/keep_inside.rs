//! Keep what lies inside other structures.

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "keep_inside",
    doc: "Keeps the voxels inside the union of the named structures, voxel by voxel: neighbours and the border of the image play no part.",
    source: "CERR's getSegInROI",
    parameters: &[Parameter {
        name: "of",
        doc: "Structures to stay inside of.",
        unit: "",
        kind: Kind::Names,
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let inside = context.union(arguments.names("of"));
        ndarray::Zip::from(mask).and(&*inside).par_for_each(|m, inside| *m &= *inside);
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn keeps_what_is_inside() {
        check("####", &[("A", ".##.")], r#"{"op": "keep_inside", "of": ["A"]}"#, ".##.");
    }
}
