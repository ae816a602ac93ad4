//! The shell between two distances from the surface: a wall, a rind, a ring for planning.

use std::borrow::Cow;

use ndarray::{Array3, Zip};

use super::Operation;
use super::distance::{dilated, eroded};
use crate::infer::parameter::{Kind, Parameter};
use crate::volume::VolumeGeometry;

const DISTANCE: Kind = Kind::Number { low: -100.0, high: 100.0 };

pub(super) const ENTRY: Operation = Operation {
    name: "ring",
    doc: "Replaces the mask by what lies between two distances from its surface: the mask grown by `to_mm` without the mask grown by `from_mm`, where a negative distance shrinks. A wall of 3 mm inside is from -3 to 0, a ring from 10 to 30 mm outside is from 10 to 30. What reaches past the border of the image is lost; the border is no surface.",
    source: "common practice in planning; exact Euclidean distance",
    parameters: &[
        Parameter {
            name: "from_mm",
            doc: "Where the shell begins, negative inside the mask.",
            unit: "mm",
            kind: DISTANCE,
            default: None,
        },
        Parameter {
            name: "to_mm",
            doc: "Where it ends, negative inside the mask.",
            unit: "mm",
            kind: DISTANCE,
            default: None,
        },
    ],
    check: |arguments| {
        let (from, to) = (arguments.number("from_mm"), arguments.number("to_mm"));
        (from >= to)
            .then(|| [format!("from_mm {from}, to_mm {to}"), "from_mm below to_mm".to_owned(), "swap them".to_owned()])
    },
    apply: |arguments, mask, context| {
        let outer = moved(mask, arguments.number("to_mm"), context.geometry).into_owned();
        let inner = moved(mask, arguments.number("from_mm"), context.geometry).into_owned();
        Zip::from(mask).and(&outer).and(&inner).par_for_each(|mask, outer, inner| *mask = *outer && !*inner);
    },
};

/// The mask with its surface moved by a signed distance.
fn moved<'a>(mask: &'a Array3<bool>, mm: f64, geometry: &VolumeGeometry) -> Cow<'a, Array3<bool>> {
    match mm {
        mm if mm > 0.0 => Cow::Owned(dilated(mask, mm, geometry)),
        mm if mm < 0.0 => Cow::Owned(eroded(mask, -mm, geometry)),
        _ => Cow::Borrowed(mask),
    }
}

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn keeps_the_wall_the_ring_and_what_spans_the_surface() {
        let ring = |from: f64, to: f64| format!(r#"{{"op": "ring", "from_mm": {from}, "to_mm": {to}}}"#);
        check("...#####...", &[], &ring(-1.0, 0.0), "...#...#...");
        check("...#####...", &[], &ring(0.0, 2.0), ".##.....##.");
        check("...#####...", &[], &ring(1.0, 3.0), "##.......##");
        check("...#####...", &[], &ring(-1.0, 1.0), "..##...##..");
        check("#####......", &[], &ring(-1.0, 0.0), "....#......");
    }

    #[test]
    fn refuses_a_reversed_shell() {
        let told = "f.json:1: found from_mm 3, to_mm 1, expected from_mm below to_mm; swap them";
        check("#", &[], r#"{"op": "ring", "from_mm": 3, "to_mm": 1}"#, told);
    }
}
