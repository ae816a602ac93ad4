//! Keep the slices of other structures; within a slice nothing changes.

use ndarray::Axis;

use super::distance::extent_of;
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::volume::VolumeGeometry;

const BEYOND: Kind = Kind::Number { low: -1000.0, high: 1000.0 };

pub(super) const ENTRY: Operation = Operation {
    name: "keep_slices",
    doc: "Keeps the slices from the inferior to the superior end of the named structures, or each that holds one of their voxels; of empty structures nothing. In stacks that run from right to left or from front to back, the left or posterior end counts as the superior one. Slices count by the positions of their centres.",
    source: "common practice; slices kept only where a mask is, as in CERR's cropping, are `which` each",
    parameters: &[
        Parameter {
            name: "of",
            doc: "The structures; their union counts.",
            unit: "",
            kind: Kind::Names,
            default: None,
        },
        Parameter {
            name: "which",
            doc: "All slices `between` the ends, or `each` slice that holds a voxel of the structures.",
            unit: "",
            kind: Kind::Choice(&["between", "each"]),
            default: Some("\"between\""),
        },
        Parameter {
            name: "superior_mm",
            doc: "With `between`: how far beyond the centre of the last slice at the superior end slices are kept; negative keeps fewer.",
            unit: "mm",
            kind: BEYOND,
            default: Some("0"),
        },
        Parameter {
            name: "inferior_mm",
            doc: "The same at the inferior end.",
            unit: "mm",
            kind: BEYOND,
            default: Some("0"),
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let others = context.union(arguments.names("of"));
        let Some([slices, ..]) = extent_of(&others) else { return mask.fill(false) };
        let positions = context.geometry.positions_mm();
        let ends = [arguments.number("inferior_mm"), arguments.number("superior_mm")];
        let [low, high] = if superior_last(context.geometry) { ends } else { [ends[1], ends[0]] };
        let (from, to) = (positions[slices.start] - low - 1e-6, positions[slices.end - 1] + high + 1e-6);
        let each = arguments.choice("which") == "each";
        for (k, mut plane) in mask.axis_iter_mut(Axis(0)).enumerate() {
            let holds = || others.index_axis(Axis(0), k).iter().any(|inside| *inside);
            let kept = if each { holds() } else { (from..=to).contains(&positions[k]) };
            if !kept {
                plane.fill(false);
            }
        }
    },
};

/// Whether slices ascend towards the superior end (the left or posterior one of sagittal and coronal stacks).
pub fn superior_last(geometry: &VolumeGeometry) -> bool {
    let normal = geometry.normal();
    normal.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).is_none_or(|along| along > 0.0)
}

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::{check, check_mirrored};

    #[test]
    fn keeps_the_slices_between_the_ends_moved_by_mm() {
        let (all, other) = ("#\n\n#\n\n#\n\n#\n\n#\n\n#", [("A", ".\n\n#\n\n.\n\n#\n\n.\n\n.")]);
        check(all, &other, r#"{"op": "keep_slices", "of": ["A"]}"#, ".\n\n#\n\n#\n\n#\n\n.\n\n.");
        check(all, &other, r#"{"op": "keep_slices", "of": ["A"], "which": "each"}"#, ".\n\n#\n\n.\n\n#\n\n.\n\n.");
        let moved = r#"{"op": "keep_slices", "of": ["A"], "superior_mm": 2, "inferior_mm": -1}"#;
        check(all, &other, moved, ".\n\n.\n\n#\n\n#\n\n#\n\n#");
        check_mirrored(all, &other, moved, "#\n\n#\n\n#\n\n.\n\n.\n\n.");
        check(
            all,
            &[("A", ".\n\n.\n\n.\n\n.\n\n.\n\n.")],
            r#"{"op": "keep_slices", "of": ["A"]}"#,
            ".\n\n.\n\n.\n\n.\n\n.\n\n.",
        );
    }
}
