//! Begin from named structures or labels; what the mask held before is dropped.

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "take",
    doc: "Replaces the mask by the union of the named structures or labels, voxel by voxel.",
    source: "set union",
    parameters: &[Parameter {
        name: "of",
        doc: "Structures handed in, labels of the output, or structures made before this one.",
        unit: "",
        kind: Kind::Names,
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mask, context| *mask = context.union(arguments.names("of")).into_owned(),
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn takes_the_union_of_what_is_named() {
        check("..#..", &[("A", "#...."), ("B", "....#")], r#"{"op": "take", "of": ["A", "B"]}"#, "#...#");
    }
}
