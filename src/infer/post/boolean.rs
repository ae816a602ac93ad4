//! Set operations with other structures, one after another; neighbours do not matter.

use ndarray::Zip;

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "boolean",
    doc: "Combines the mask with the first of the named structures, the result with the second, and so on, voxel by voxel; neighbours and the border of the image play no part.",
    source: "set algebra; `keep_inside` and `remove_inside` take the union of their structures instead",
    parameters: &[
        Parameter {
            name: "operator",
            doc: "In either (`union`), in both (`intersection`), in the mask only (`difference`), or in just one of the two (`xor`).",
            unit: "",
            kind: Kind::Choice(&["union", "intersection", "difference", "xor"]),
            default: None,
        },
        Parameter { name: "of", doc: "The other structures.", unit: "", kind: Kind::Names, default: None },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        for name in arguments.names("of") {
            let other = context.mask(name);
            let pairs = Zip::from(&mut *mask).and(&*other);
            match arguments.choice("operator") {
                "union" => pairs.par_for_each(|mask, other| *mask |= *other),
                "intersection" => pairs.par_for_each(|mask, other| *mask &= *other),
                "difference" => pairs.par_for_each(|mask, other| *mask &= !*other),
                _ => pairs.par_for_each(|mask, other| *mask ^= *other),
            }
        }
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn combines_with_one_structure_after_another() {
        let others = [("A", ".###."), ("B", "...##")];
        let json = |operator: &str| format!(r#"{{"op": "boolean", "operator": "{operator}", "of": ["A", "B"]}}"#);
        check("###..", &others, &json("union"), "#####");
        check("#####", &others, &json("intersection"), "...#.");
        check("#####", &others, &json("difference"), "#....");
        check("###..", &others, &json("xor"), "#...#");
    }
}
