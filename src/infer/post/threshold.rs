//! Keep the voxels whose image value lies in an interval; the image is the first input as it came.

use super::Operation;
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::pre::low_below_high;

pub(super) const ENTRY: Operation = Operation {
    name: "threshold",
    doc: "Keeps the voxels where the source image lies between `low` and `high`, both included, voxel by voxel.",
    source: "common practice",
    parameters: &[
        Parameter {
            name: "low",
            doc: "Lowest value kept.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("-1e9"),
        },
        Parameter {
            name: "high",
            doc: "Highest value kept.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("1e9"),
        },
    ],
    check: low_below_high,
    apply: |arguments, mask, context| {
        let (low, high) = (arguments.number("low") as f32, arguments.number("high") as f32);
        ndarray::Zip::from(mask).and(context.image).par_for_each(|m, value| *m &= (low..=high).contains(value));
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn keeps_voxels_whose_value_is_inside_the_interval() {
        // The image of the tests holds the column index.
        check("#####", &[], r#"{"op": "threshold", "low": 1, "high": 3}"#, ".###.");
    }
}
