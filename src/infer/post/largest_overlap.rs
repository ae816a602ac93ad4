//! Keep the one part that holds most of another structure.

use super::components::{Components, Neighbours, parameter as neighbours};
use super::largest_component::matlab_ranks;
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "largest_overlap",
    doc: "Keeps the single connected part, by `neighbours`, with most voxels inside the named structures; of equal ones the first as MATLAB counts (from the head, then columns, then rows). The border of the image plays no part.",
    source: "CERR's getLargestOverlappingComp",
    parameters: &[
        Parameter {
            name: "of",
            doc: "Structures that the part must overlap; their union counts.",
            unit: "",
            kind: Kind::Names,
            default: None,
        },
        neighbours("\"corners\""),
        Parameter {
            name: "without_overlap",
            doc: "What stays where no part overlaps: `nothing`, or the `first` part as MATLAB counts, which is what CERR leaves.",
            unit: "",
            kind: Kind::Choice(&["nothing", "first"]),
            default: Some("\"nothing\""),
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let others = context.union(arguments.names("of"));
        let parts = Components::of(mask, true, Neighbours::of(arguments.choice("neighbours")), false);
        let inside = parts.sum(|run| run.count_in(&others));
        let rank = matlab_ranks(&parts, context.geometry);
        let best = (0..parts.count).min_by(|a, b| inside[*b].total_cmp(&inside[*a]).then(rank[*a].cmp(&rank[*b])));
        let any = arguments.choice("without_overlap") == "first";
        let keep = best.filter(|part| any || inside[*part] > 0.0);
        parts.paint(mask, false, |part| Some(part) != keep);
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn keeps_the_part_with_most_overlap_not_the_largest() {
        let others = [("A", "...#..##")];
        check("####.###", &others, r#"{"op": "largest_overlap", "of": ["A"]}"#, ".....###");
        check("####.#..", &others, r#"{"op": "largest_overlap", "of": ["A"]}"#, "####....");
    }

    #[test]
    fn leaves_nothing_or_the_first_part_where_none_overlaps() {
        let others = [("A", "....\n...#")];
        check("..#.\n#...", &others, r#"{"op": "largest_overlap", "of": ["A"]}"#, "....\n....");
        let cerr = r#"{"op": "largest_overlap", "of": ["A"], "without_overlap": "first"}"#;
        check("..#.\n#...", &others, cerr, "....\n#...");
    }

    #[test]
    fn of_equal_overlaps_the_first_of_matlab_stays() {
        let others = [("A", "..#.\n#...")];
        check("..##\n#...", &others, r#"{"op": "largest_overlap", "of": ["A"]}"#, "....\n#...");
    }
}
