//! Bring the image to a size about its middle, in the axes of the network; it interpolates nothing.

use super::{Operation, failed};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "fit",
    doc: "Brings each axis to `size` about its middle: one that is longer is cut, one that is shorter gets voxels of `value`, of an odd number the larger part on the far side; `only` leaves one of both out. Then each axis grows to a multiple of `multiple_of`. All in the axes of the network; CERR's rules are `pad_or_crop`.",
    source: "MONAI's SpatialPad (`only` pad), CenterSpatialCrop (`only` cut), ResizeWithPadOrCrop, DivisiblePad (`multiple_of`)",
    parameters: &[
        Parameter {
            name: "size",
            doc: "Voxels of each axis; 0 leaves it.",
            unit: "voxels",
            kind: Kind::Triple { low: 0.0, high: 4096.0 },
            default: Some("[0, 0, 0]"),
        },
        Parameter {
            name: "only",
            doc: "Whether axes are only padded or only cut.",
            unit: "",
            kind: Kind::Choice(&["both", "pad", "cut"]),
            default: Some("\"both\""),
        },
        Parameter {
            name: "multiple_of",
            doc: "Each axis becomes a multiple of this; 1 leaves it.",
            unit: "voxels",
            kind: Kind::Triple { low: 1.0, high: 4096.0 },
            default: Some("[1, 1, 1]"),
        },
        Parameter {
            name: "value",
            doc: "Value of the new voxels.",
            unit: "unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("0"),
        },
    ],
    check: |arguments| {
        let nothing = arguments.triple("size") == [0.0; 3] && arguments.triple("multiple_of") == [1.0; 3];
        nothing.then(|| {
            let expected = "a size or multiple_of for at least one axis".to_owned();
            ["no size".to_owned(), expected, "give one, or remove the operation".to_owned()]
        })
    },
    apply: |arguments, image, _| {
        let (axes, shape) = (image.frame.axes, image.frame.shape());
        let length = axes.to_working(shape);
        let (size, multiple) = (arguments.triple("size"), arguments.triple("multiple_of"));
        let only = arguments.choice("only");
        let mut start = [0; 3];
        let mut new = length;
        for axis in 0..3 {
            let (old, wanted) = (length[axis], size[axis] as usize);
            let mut from = 0;
            if wanted > old && only != "cut" {
                (from, new[axis]) = (-(((wanted - old) / 2) as isize), wanted);
            } else if (1..old).contains(&wanted) && only != "pad" {
                // The middle voxel of both is the one at half of the length, rounded down.
                (from, new[axis]) = ((old / 2 - wanted / 2) as isize, wanted);
            }
            let whole = new[axis].next_multiple_of(multiple[axis] as usize);
            from -= ((whole - new[axis]) / 2) as isize;
            new[axis] = whole;
            start[axis] = axes.start_in_array(axis, from, whole, old);
        }
        let value = arguments.number("value") as f32;
        image.boxed(axes.to_array(start), axes.to_array(new), value).map_err(failed("fit"))
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    /// Where the voxel (0, 0, 0) of the result lies in the source of 4 x 6 x 8 voxels, and the shape.
    fn fitted(json: &str) -> ([usize; 3], [f64; 3]) {
        let source = counted();
        let found = check(json, source.clone(), &BTreeMap::new()).expect("fitted");
        let place = source.geometry.patient_to_index(found.geometry.index_to_patient([0.0; 3]));
        (found.geometry.shape(), place.map(f64::round))
    }

    #[test]
    fn the_larger_part_is_added_and_the_middle_kept_as_monai_does() {
        // SpatialPad: 8 to 11 puts one voxel before; CenterSpatialCrop: 6 to 3 begins at 3 - 1 = 2.
        let (shape, first) = fitted(r#"{"op": "fit", "size": [0, 3, 11]}"#);
        assert_eq!((shape[1], shape[2], first[1], first[2]), (3, 11, 2.0, -1.0));
        let (shape, first) = fitted(r#"{"op": "fit", "size": [0, 3, 11], "only": "pad"}"#);
        assert_eq!((shape[1], shape[2], first[1], first[2]), (6, 11, 0.0, -1.0));
        let (shape, first) = fitted(r#"{"op": "fit", "size": [0, 3, 11], "only": "cut"}"#);
        assert_eq!((shape[1], shape[2], first[1], first[2]), (3, 8, 2.0, 0.0));
        // CenterSpatialCrop: 8 to 5 begins at 4 - 2 = 2.
        assert_eq!(fitted(r#"{"op": "fit", "size": [0, 0, 5]}"#).1[2], 2.0);
        // DivisiblePad: 6 to 9 adds one before and two after.
        let (shape, first) = fitted(r#"{"op": "fit", "multiple_of": [1, 9, 4]}"#);
        assert_eq!((shape[1], shape[2], first[1], first[2]), (9, 8, -1.0, 0.0));
    }
}
