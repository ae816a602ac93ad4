//! Keep what lies in the patient, found in the image; no structure is asked for.

use super::{Operation, always_consistent};
use crate::infer::outline::{OutlineParameters, patient_outline};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "remove_background",
    doc: "Keeps the voxels inside the outline of the patient in the source image, without table and air: in each slice the largest part whose voxels connect by corners, filled, and of these the largest part of the volume. What the border of the image cuts off stays open there. Nothing is left where no patient is found.",
    source: "CERR's removeBackgroundFP",
    parameters: &[
        Parameter {
            name: "threshold",
            doc: "Air is at most this; with `normalise` a fraction of the largest value of the image.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("-400"),
        },
        Parameter {
            name: "minimum_pixels",
            doc: "A slice whose largest part has fewer voxels shows no patient.",
            unit: "voxels",
            kind: Kind::Integer { low: 1, high: 1_000_000 },
            default: Some("1500"),
        },
        Parameter {
            name: "normalise",
            doc: "Whether the threshold is a fraction of the largest value, as for MR.",
            unit: "",
            kind: Kind::Flag,
            default: Some("false"),
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        if !mask.iter().any(|inside| *inside) {
            return;
        }
        let parameters = OutlineParameters {
            threshold: arguments.number("threshold"),
            minimum_pixels: arguments.integer("minimum_pixels") as usize,
            normalise: arguments.flag("normalise"),
        };
        let outline = patient_outline(context.image.view(), &parameters);
        ndarray::Zip::from(mask).and(&outline).par_for_each(|mask, outline| *mask &= *outline);
    },
};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use crate::infer::post::tests::changed_in;
    use crate::volume::{Mask, VolumeGeometry};

    #[test]
    fn removes_what_lies_outside_of_the_patient() {
        // A body of 60 x 80 pixels in air, with fat around it so that the threshold lies below it.
        let origins = (0..4).map(|k| [0.0, 0.0, 3.0 * f64::from(k)]).collect();
        let geometry = VolumeGeometry::new((128, 128), [1.0; 2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let body = |j: usize, i: usize| (30..90).contains(&j) && (24..104).contains(&i);
        let image = Array3::from_shape_fn(geometry.shape(), |(_, j, i)| match (j, i) {
            (33..87, 27..101) => 40.0,
            _ if body(j, i) => -100.0,
            _ => -1000.0,
        });
        let mut mask = Mask::empty(Arc::clone(&geometry));
        mask.voxels[[1, 60, 60]] = true;
        mask.voxels[[1, 10, 10]] = true;
        mask.voxels[[2, 120, 64]] = true;
        let found = changed_in(&image, &mask, &[], r#"{"op": "remove_background"}"#).expect("legal");
        assert!(found.voxels[[1, 60, 60]]);
        assert_eq!(found.count(), 1);
        let json = r#"{"op": "remove_background", "minimum_pixels": 10000}"#;
        assert_eq!(changed_in(&image, &mask, &[], json).expect("legal").count(), 0);
    }
}
