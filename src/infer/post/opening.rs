//! Wear the mask away and let it grow back: what is thinner than the ball goes.

use super::distance::{dilated, eroded};
use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "opening",
    doc: "Keeps what a ball of `radius_mm` can reach inside the mask; thin parts and bridges go, corners are rounded. Beyond its border the image counts as its own mirror: nothing is worn away where it cuts the mask.",
    source: "Serra, Image Analysis and Mathematical Morphology, 1982; exact Euclidean distance",
    parameters: &[Parameter {
        name: "radius_mm",
        doc: "Radius of the ball, with the position of every slice.",
        unit: "mm",
        kind: Kind::Number { low: 0.0, high: 100.0 },
        default: None,
    }],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let radius = arguments.number("radius_mm");
        let core = eroded(mask, radius, context.geometry);
        let grown = dilated(&core, radius, context.geometry);
        // Opening never adds; rounding of distances must not either.
        ndarray::Zip::from(mask).and(&grown).par_for_each(|m, grown| *m &= *grown);
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn breaks_a_bridge_thinner_than_the_ball() {
        let before = "###...\n######\n###...";
        check(before, &[], r#"{"op": "opening", "radius_mm": 1}"#, "###...\n####..\n###...");
    }

    #[test]
    fn does_not_wear_away_where_the_image_ends() {
        check("###\n###", &[], r#"{"op": "opening", "radius_mm": 5}"#, "###\n###");
    }
}
