//! Grow the image to a size at least; it does not crop.

use std::sync::Arc;

use ndarray::Array3;

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;
use crate::volume::{Volume, VolumeGeometry};

pub(super) const ENTRY: Operation = Operation {
    name: "pad",
    doc: "Adds voxels of one value on both sides of each axis that is shorter than `size`; the odd one goes to the far side.",
    source: "CERR's pad3d",
    parameters: &[
        Parameter {
            name: "size",
            doc: "Least number of slices, rows and columns; 0 leaves an axis as it is.",
            unit: "voxels",
            kind: Kind::Triple { low: 0.0, high: 4096.0 },
            default: None,
        },
        Parameter {
            name: "value",
            doc: "Value of the new voxels.",
            unit: "unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("0"),
        },
    ],
    check: always_consistent,
    apply: |arguments, volume, _| {
        let old = volume.geometry.shape();
        let size = arguments.triple("size");
        let new: [usize; 3] = std::array::from_fn(|axis| old[axis].max(size[axis] as usize));
        let before: [usize; 3] = std::array::from_fn(|axis| (new[axis] - old[axis]) / 2);
        let geometry = grown(&volume.geometry, new, before)?;
        let mut pixels = Array3::from_elem(new, arguments.number("value") as f32);
        let inside: [_; 3] = std::array::from_fn(|axis| before[axis]..before[axis] + old[axis]);
        part(pixels.view_mut(), &inside).assign(&volume.pixels);
        Ok(Volume::new(Arc::new(geometry), pixels))
    },
};

fn grown(old: &VolumeGeometry, new: [usize; 3], before: [usize; 3]) -> Result<VolumeGeometry, String> {
    let origins = (0..new[0]).map(|k| {
        old.index_to_patient([0, 1, 2].map(|axis| -(before[axis] as f64) + if axis == 0 { k as f64 } else { 0.0 }))
    });
    let spacing = [old.row_spacing_mm(), old.column_spacing_mm()];
    VolumeGeometry::new((new[1], new[2]), spacing, old.row_direction(), old.column_direction(), origins.collect())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn keeps_the_image_where_it_was_in_the_patient() {
        let source = counted();
        let json = r#"{"op": "pad", "size": [7, 0, 10], "value": -1}"#;
        let found = check(json, source.clone(), &BTreeMap::new()).expect("padded");
        assert_eq!(found.geometry.shape(), [7, 6, 10]);
        assert_eq!((found.pixels[[0, 0, 0]], found.pixels[[1, 0, 1]]), (-1.0, source.pixels[[0, 0, 0]]));
        let same =
            [found.geometry.index_to_patient([2.0, 3.0, 4.0]), source.geometry.index_to_patient([1.0, 3.0, 3.0])];
        assert_eq!(same[0], same[1]);
    }
}
