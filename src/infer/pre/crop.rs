//! Keep the box around regions; it does not change values.

use ndarray::{Array3, Axis};

use super::{Operation, always_consistent, failed};
use crate::infer::frame::{Prepared, spacing_mm};
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::infer::region;

pub(super) const ENTRY: Operation = Operation {
    name: "crop",
    doc: "Keeps the smallest box of whole voxels that holds the joined regions and a margin.",
    source: "CERR's crop list: its methods are regions, its operator is `combine`",
    parameters: &[
        Parameter {
            name: "regions",
            doc: "What to keep: regions, joined from left to right.",
            unit: "",
            kind: Kind::Regions,
            default: None,
        },
        Parameter {
            name: "margin_mm",
            doc: "Margin on both sides of each axis; it ends with the image.",
            unit: "mm",
            kind: Kind::Triple { low: 0.0, high: 1000.0 },
            default: Some("[0, 0, 0]"),
        },
    ],
    check: always_consistent,
    apply: |arguments, mut image, surroundings| {
        let mut saved = std::mem::take(&mut image.saved);
        let (mask, _) = region::joined(arguments.regions("regions"), &image, surroundings, &mut saved)?;
        image.saved = saved;
        crop_to_box(arguments, image, mask)
    },
};

fn crop_to_box<'a>(
    arguments: &Arguments,
    mut image: Prepared<'a>,
    mask: Array3<bool>,
) -> Result<Prepared<'a>, crate::infer::InferError> {
    let margin_mm = image.frame.axes.to_array(arguments.triple("margin_mm"));
    let sides = bounds(&mask).ok_or_else(|| {
        failed("crop")("found nothing of the regions in the image, expected at least one voxel".to_owned())
    })?;
    let (shape, spacing) = (image.frame.shape(), spacing_mm(&image.frame.geometry));
    let widened = [0, 1, 2].map(|axis| {
        let margin = (margin_mm[axis] / spacing[axis] - 1e-6).ceil().max(0.0) as usize;
        (sides[axis].0.saturating_sub(margin), (sides[axis].1 + margin).min(shape[axis] - 1))
    });
    image.mask = Some(mask);
    let (start, size) = (widened.map(|(first, _)| first as isize), widened.map(|(first, last)| last - first + 1));
    image.boxed(start, size, 0.0).map_err(failed("crop"))
}

/// First and last index of each axis at which a mask holds a voxel.
fn bounds(mask: &Array3<bool>) -> Option<[(usize, usize); 3]> {
    let along = |axis: usize| {
        let held: Vec<bool> = mask.axis_iter(Axis(axis)).map(|plane| plane.iter().any(|inside| *inside)).collect();
        Some((held.iter().position(|held| *held)?, held.iter().rposition(|held| *held)?))
    };
    Some([along(0)?, along(1)?, along(2)?])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};
    use crate::volume::Mask;

    #[test]
    fn keeps_the_box_and_its_place_in_the_patient() {
        let source = counted();
        let mut mask = Mask::empty(source.geometry.clone());
        mask.voxels[[1, 2, 3]] = true;
        mask.voxels[[2, 4, 3]] = true;
        let structures = BTreeMap::from([("S".to_owned(), mask)]);
        let json =
            r#"{"op": "crop", "regions": [{"region": "structure", "names": ["S"]}], "margin_mm": [0, 1.5, 0.5]}"#;
        let found = check(json, source.clone(), &structures).expect("cropped");
        assert_eq!(found.geometry.shape(), [2, 5, 3]);
        assert_eq!(found.pixels[[0, 0, 0]], source.pixels[[1, 1, 2]]);
        assert_eq!(found.geometry.index_to_patient([1.0, 2.0, 1.0]), source.geometry.index_to_patient([2.0, 3.0, 3.0]));
    }

    #[test]
    fn tells_that_there_is_nothing_to_crop_to() {
        let structures = BTreeMap::from([("S".to_owned(), Mask::empty(counted().geometry))]);
        let told =
            check(r#"{"op": "crop", "regions": [{"region": "structure", "names": ["S"]}]}"#, counted(), &structures)
                .err()
                .unwrap_or_default();
        assert!(told.contains("found nothing of the regions"), "{told}");
    }
}
