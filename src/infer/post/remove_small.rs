//! Drop parts below a size; it changes no part that stays.

use super::Operation;
use super::components::{Components, Neighbours};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "remove_small",
    doc: "Drops connected parts smaller than `minimum_cm3` in the volume, or than `minimum_cm2` within a slice, whichever is given.",
    source: "MATLAB's bwareaopen, in physical units",
    parameters: &[
        Parameter {
            name: "minimum_cm3",
            doc: "Smallest volume kept.",
            unit: "cm3",
            kind: Kind::Number { low: 0.0, high: 1e6 },
            default: Some("0"),
        },
        Parameter {
            name: "minimum_cm2",
            doc: "Smallest area kept within a slice.",
            unit: "cm2",
            kind: Kind::Number { low: 0.0, high: 1e6 },
            default: Some("0"),
        },
        Parameter {
            name: "neighbours",
            doc: "Whether voxels that share only a corner are connected.",
            unit: "",
            kind: Kind::Choice(&["faces", "corners"]),
            default: Some("\"faces\""),
        },
    ],
    check: |arguments| {
        let none = arguments.number("minimum_cm3") == 0.0 && arguments.number("minimum_cm2") == 0.0;
        none.then(|| {
            let expected = "minimum_cm3 or minimum_cm2 above 0".to_owned();
            ["no size".to_owned(), expected, "give one of them".to_owned()]
        })
    },
    apply: |arguments, mask, context| {
        let (cm3, cm2) = (arguments.number("minimum_cm3"), arguments.number("minimum_cm2"));
        let neighbours = Neighbours::of(arguments.choice("neighbours"));
        let geometry = context.geometry;
        if cm2 > 0.0 {
            let area = geometry.row_spacing_mm() * geometry.column_spacing_mm() / 100.0;
            let parts = Components::of(mask, true, neighbours, true);
            let sums = parts.sum(|run| run.length() * area);
            parts.paint(mask, false, |part| sums[part] < cm2);
        }
        if cm3 > 0.0 {
            let parts = Components::of(mask, true, neighbours, false);
            let volume = |slice: u32| geometry.voxel_volume_mm3(slice as usize) / 1000.0;
            let sums = parts.sum(|run| run.length() * volume(run.slice));
            parts.paint(mask, false, |part| sums[part] < cm3);
        }
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn drops_what_is_smaller_and_keeps_what_is_as_large() {
        // Voxels of the tests are 1 mm cubes.
        check("##.###", &[], r#"{"op": "remove_small", "minimum_cm3": 0.003}"#, "...###");
        check("##\n\n##", &[], r#"{"op": "remove_small", "minimum_cm2": 0.03}"#, "..\n\n..");
        check("##\n\n##", &[], r#"{"op": "remove_small", "minimum_cm3": 0.004}"#, "##\n\n##");
    }
}
