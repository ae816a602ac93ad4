//! Keep whole parts by how much of another structure they hold.

use super::components::{Components, Neighbours, Run, parameter as neighbours};
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "keep_touching",
    doc: "Keeps the connected parts, by `neighbours`, of which a fraction from `minimum` to `maximum` lies inside the named structures (more than nothing). The border of the image plays no part.",
    source: "connected parts by overlap, in common use",
    parameters: &[
        Parameter { name: "of", doc: "Structures that a part must touch.", unit: "", kind: Kind::Names, default: None },
        Parameter {
            name: "minimum",
            doc: "Least fraction of the part inside them; 0 asks for one voxel.",
            unit: "fraction",
            kind: Kind::Number { low: 0.0, high: 1.0 },
            default: Some("0"),
        },
        Parameter {
            name: "maximum",
            doc: "Largest fraction of the part inside them.",
            unit: "fraction",
            kind: Kind::Number { low: 0.0, high: 1.0 },
            default: Some("1"),
        },
        neighbours("\"faces\""),
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let others = context.union(arguments.names("of"));
        let parts = Components::of(mask, true, Neighbours::of(arguments.choice("neighbours")), false);
        let all = parts.sum(Run::length);
        let inside = parts.sum(|run| run.count_in(&others));
        let (minimum, maximum) = (arguments.number("minimum"), arguments.number("maximum"));
        let keep = |part: usize| inside[part] > 0.0 && (minimum..=maximum).contains(&(inside[part] / all[part]));
        parts.paint(mask, false, |part| !keep(part));
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn keeps_whole_parts_by_what_they_hold() {
        let others = [("A", "#......#")];
        check("###.##.#", &others, r#"{"op": "keep_touching", "of": ["A"]}"#, "###....#");
        check("###.##.#", &others, r#"{"op": "keep_touching", "of": ["A"], "minimum": 0.5}"#, ".......#");
        check("###.##.#", &others, r#"{"op": "keep_touching", "of": ["A"], "maximum": 0.5}"#, "###.....");
    }
}
