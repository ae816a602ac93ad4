//! Keep the largest connected parts; the rest is dropped.

use super::components::{Components, Neighbours};
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::volume::VolumeGeometry;

pub(super) const ENTRY: Operation = Operation {
    name: "largest_component",
    doc: "Keeps the `count` parts of largest volume, each slice with its own thickness; of equal ones the first in the stack.",
    source: "CERR's getLargestConnComps",
    parameters: &[
        Parameter {
            name: "count",
            doc: "How many parts are kept.",
            unit: "",
            kind: Kind::Integer { low: 1, high: 1000 },
            default: Some("1"),
        },
        Parameter {
            name: "neighbours",
            doc: "Whether voxels that share only a corner are connected.",
            unit: "",
            kind: Kind::Choice(&["faces", "corners"]),
            default: Some("\"faces\""),
        },
        Parameter {
            name: "plane",
            doc: "Whether voxels are connected in the `volume` or within each `slice` only.",
            unit: "",
            kind: Kind::Choice(&["volume", "slice"]),
            default: Some("\"volume\""),
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let per_slice = arguments.choice("plane") == "slice";
        let parts = Components::of(mask, true, Neighbours::of(arguments.choice("neighbours")), per_slice);
        let keep = largest(&parts, arguments.integer("count") as usize, per_slice, context.geometry);
        parts.paint(mask, false, |part| !keep[part]);
    },
};

/// Which parts are among the `count` largest, of the whole volume or of their slice.
fn largest(parts: &Components, count: usize, per_slice: bool, geometry: &VolumeGeometry) -> Vec<bool> {
    let volume = parts.sum(|run| run.length() * geometry.slice_extent_mm(run.slice as usize));
    let mut slice_of = vec![0; parts.count];
    if per_slice {
        parts.runs.iter().zip(&parts.component).for_each(|(run, part)| slice_of[*part as usize] = run.slice);
    }
    let mut order: Vec<usize> = (0..parts.count).collect();
    order.sort_by(|a, b| slice_of[*a].cmp(&slice_of[*b]).then(volume[*b].total_cmp(&volume[*a])).then(a.cmp(b)));
    let mut keep = vec![false; parts.count];
    for of_slice in order.chunk_by(|a, b| slice_of[*a] == slice_of[*b]) {
        of_slice.iter().take(count).for_each(|part| keep[*part] = true);
    }
    keep
}

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn keeps_the_largest_parts_of_the_volume_or_of_each_slice() {
        check("##.#.###", &[], r#"{"op": "largest_component"}"#, ".....###");
        check("##.#.###", &[], r#"{"op": "largest_component", "count": 2}"#, "##...###");
        check("#.##\n\n#...", &[], r#"{"op": "largest_component", "plane": "slice"}"#, "..##\n\n#...");
        check("#.##\n\n#...", &[], r#"{"op": "largest_component"}"#, "#...\n\n#...");
    }

    #[test]
    fn of_equal_parts_the_first_stays() {
        check("##.##", &[], r#"{"op": "largest_component"}"#, "##...");
    }
}
