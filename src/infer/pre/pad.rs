//! Grow the image to a size at least; it does not crop.

use super::{Operation, always_consistent, failed};
use crate::infer::parameter::{Kind, Parameter};

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
    apply: |arguments, image, _| {
        let old = image.frame.shape();
        let axes = image.frame.axes;
        let size = axes.to_array(arguments.triple("size"));
        let new: [usize; 3] = std::array::from_fn(|axis| old[axis].max(size[axis] as usize));
        let seen = axes.to_working([0, 1, 2].map(|axis| (old[axis], new[axis])));
        let start = axes.to_array([0, 1, 2].map(|working| {
            let (old, new) = seen[working];
            axes.start_in_array(working, -(((new - old) / 2) as isize), new, old)
        }));
        image.boxed(start, new, arguments.number("value") as f32).map_err(failed("pad"))
    },
};

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
