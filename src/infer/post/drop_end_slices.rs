//! Leave out slices at the ends of the mask or of the image; the middle stays.

use ndarray::Axis;

use super::Operation;
use super::distance::extent_of;
use super::keep_slices::superior_last;
use crate::infer::parameter::{Kind, Parameter};

const COUNT: Kind = Kind::Integer { low: 0, high: 8192 };
const LENGTH: Kind = Kind::Number { low: 0.0, high: 1000.0 };

pub(super) const ENTRY: Operation = Operation {
    name: "drop_end_slices",
    doc: "Empties slices at the two ends of the mask or of the image: a number of them, and those whose centre lies within a length of the end, which is half a slice beyond the centre of the last one. In stacks that run from right to left or from front to back, the left or posterior end counts as the superior one.",
    source: "common practice",
    parameters: &[
        Parameter {
            name: "ends",
            doc: "Whether the ends are those of the `mask` or of the `image`.",
            unit: "",
            kind: Kind::Choice(&["mask", "image"]),
            default: Some("\"mask\""),
        },
        Parameter {
            name: "superior_count",
            doc: "Slices left out at the superior end.",
            unit: "slices",
            kind: COUNT,
            default: Some("0"),
        },
        Parameter {
            name: "inferior_count",
            doc: "Slices left out at the inferior end.",
            unit: "slices",
            kind: COUNT,
            default: Some("0"),
        },
        Parameter {
            name: "superior_mm",
            doc: "Length left out at the superior end.",
            unit: "mm",
            kind: LENGTH,
            default: Some("0"),
        },
        Parameter {
            name: "inferior_mm",
            doc: "Length left out at the inferior end.",
            unit: "mm",
            kind: LENGTH,
            default: Some("0"),
        },
    ],
    check: |arguments| {
        let counts = ["superior_count", "inferior_count"].iter().all(|name| arguments.integer(name) == 0);
        let lengths = ["superior_mm", "inferior_mm"].iter().all(|name| arguments.number(name) == 0.0);
        (counts && lengths).then(|| {
            let expected = "superior_count, inferior_count, superior_mm or inferior_mm above 0".to_owned();
            ["no slice to leave out".to_owned(), expected, "give one of them".to_owned()]
        })
    },
    apply: |arguments, mask, context| {
        let geometry = context.geometry;
        let slices = match arguments.choice("ends") {
            "image" => 0..geometry.slices(),
            _ => extent_of(mask).map_or(0..0, |[slices, ..]| slices),
        };
        let ends = ["inferior", "superior"]
            .map(|end| (arguments.integer(&format!("{end}_count")) as usize, arguments.number(&format!("{end}_mm"))));
        let [low, high] = if superior_last(geometry) { ends } else { [ends[1], ends[0]] };
        let p = geometry.positions_mm();
        for k in slices.clone() {
            let (first, last) = (slices.start, slices.end - 1);
            let half = |end: usize| geometry.slice_extent_mm(end) / 2.0;
            let near = |end: usize, (count, mm): (usize, f64)| {
                k.abs_diff(end) < count || (p[k] - p[end]).abs() + half(end) <= mm * (1.0 + 1e-6)
            };
            if near(first, low) || near(last, high) {
                mask.index_axis_mut(Axis(0), k).fill(false);
            }
        }
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::{check, check_mirrored};

    #[test]
    fn leaves_out_slices_by_number_and_by_length() {
        let before = ".\n\n#\n\n#\n\n#\n\n#\n\n#";
        let json = r#"{"op": "drop_end_slices", "superior_count": 2, "inferior_count": 1}"#;
        check(before, &[], json, ".\n\n.\n\n#\n\n#\n\n.\n\n.");
        check_mirrored(before, &[], json, ".\n\n.\n\n.\n\n#\n\n#\n\n.");
        let lengths = r#"{"op": "drop_end_slices", "superior_mm": 1.4, "inferior_mm": 1.5}"#;
        check(before, &[], lengths, ".\n\n.\n\n.\n\n#\n\n#\n\n.");
        let image = r#"{"op": "drop_end_slices", "ends": "image", "inferior_count": 2}"#;
        check(before, &[], image, ".\n\n.\n\n#\n\n#\n\n#\n\n#");
    }

    #[test]
    fn refuses_to_do_nothing() {
        let told = "f.json:1: found no slice to leave out, expected superior_count, inferior_count, superior_mm or inferior_mm above 0; give one of them";
        check("#", &[], r#"{"op": "drop_end_slices"}"#, told);
    }
}
