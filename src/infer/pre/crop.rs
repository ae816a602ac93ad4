//! Keep the box around structures; it does not change values.

use std::sync::Arc;

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;
use crate::volume::{Mask, Volume, VolumeGeometry};

pub(super) const ENTRY: Operation = Operation {
    name: "crop",
    doc: "Keeps the smallest box of whole voxels that holds the named structures and a margin.",
    source: "CERR's crop_to_str",
    parameters: &[
        Parameter {
            name: "around",
            doc: "Structures handed in; their union is enclosed, and an empty one is passed over.",
            unit: "",
            kind: Kind::Names,
            default: None,
        },
        Parameter {
            name: "margin_mm",
            doc: "Margin on both sides along slices, rows and columns.",
            unit: "mm",
            kind: Kind::Triple { low: 0.0, high: 1000.0 },
            default: Some("[0, 0, 0]"),
        },
    ],
    check: always_consistent,
    apply: |arguments, volume, structures| {
        let names = arguments.names("around");
        let masks: Vec<&Mask> = names.iter().filter_map(|name| structures.get(name)).collect();
        let found = enclosing_box(&masks, &volume.geometry, arguments.triple("margin_mm"));
        let [(k0, k1), (j0, j1), (i0, i1)] = found
            .ok_or_else(|| format!("found nothing of {} in the image, expected at least one", names.join(", ")))?;
        let geometry = part_of(&volume.geometry, [(k0, k1), (j0, j1), (i0, i1)])?;
        let pixels = part(volume.pixels.view(), &[k0..k1 + 1, j0..j1 + 1, i0..i1 + 1]).to_owned();
        Ok(Volume::new(Arc::new(geometry), pixels))
    },
};

/// First and last index per axis of the box of `onto` around masks on any grid; `None` when it holds nothing.
fn enclosing_box(masks: &[&Mask], onto: &VolumeGeometry, margin_mm: [f64; 3]) -> Option<[(usize, usize); 3]> {
    let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    for mask in masks {
        for ((k, j, i), _) in mask.voxels.indexed_iter().filter(|(_, inside)| **inside) {
            let index = onto.patient_to_index(mask.geometry.index_to_patient([k as f64, j as f64, i as f64]));
            low = std::array::from_fn(|axis| low[axis].min(index[axis]));
            high = std::array::from_fn(|axis| high[axis].max(index[axis]));
        }
    }
    let spacing = [onto.slice_spacing_mm(), onto.row_spacing_mm(), onto.column_spacing_mm()];
    let mut sides = [(0, 0); 3];
    for (axis, side) in sides.iter_mut().enumerate() {
        let last = onto.shape()[axis] as f64 - 1.0;
        let first_index = (low[axis] - margin_mm[axis] / spacing[axis] + 1e-6).floor().max(0.0);
        let last_index = (high[axis] + margin_mm[axis] / spacing[axis] - 1e-6).ceil().min(last);
        if !first_index.is_finite() || first_index > last_index {
            return None;
        }
        *side = (first_index as usize, last_index as usize);
    }
    Some(sides)
}

/// The grid of a box of voxels, first and last index of each axis included.
fn part_of(whole: &VolumeGeometry, [slices, rows, columns]: [(usize, usize); 3]) -> Result<VolumeGeometry, String> {
    let corner = |k: usize| whole.index_to_patient([k as f64, rows.0 as f64, columns.0 as f64]);
    let size = (rows.1 - rows.0 + 1, columns.1 - columns.0 + 1);
    let spacing = [whole.row_spacing_mm(), whole.column_spacing_mm()];
    let origins = (slices.0..=slices.1).map(corner).collect();
    VolumeGeometry::new(size, spacing, whole.row_direction(), whole.column_direction(), origins)
        .map_err(|error| error.to_string())
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
        let json = r#"{"op": "crop", "around": ["S"], "margin_mm": [0, 1.5, 0.5]}"#;
        let found = check(json, source.clone(), &structures).expect("cropped");
        assert_eq!(found.geometry.shape(), [2, 5, 3]);
        assert_eq!(found.pixels[[0, 0, 0]], source.pixels[[1, 1, 2]]);
        assert_eq!(found.geometry.index_to_patient([1.0, 2.0, 1.0]), source.geometry.index_to_patient([2.0, 3.0, 3.0]));
    }

    #[test]
    fn tells_that_there_is_nothing_to_crop_to() {
        let structures = BTreeMap::from([("S".to_owned(), Mask::empty(counted().geometry))]);
        let told = check(r#"{"op": "crop", "around": ["S"]}"#, counted(), &structures).err().unwrap_or_default();
        assert!(told.contains("found nothing of S in the image"), "{told}");
    }
}
