//! The median of a box around each voxel; the filter itself stands in `filter`.

use super::neighbourhood::{boundary, size};
use super::{Operation, always_consistent};
use crate::infer::filter::convolution::Boundary;
use crate::infer::filter::median::median;
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "median",
    doc: "Replaces each voxel by the median of the box around it.",
    source: "SciPy's median_filter; MONAI's MedianSmooth",
    parameters: &[
        Parameter {
            name: "size",
            doc: "Size of the box along slices, rows and columns; 0 and 1 leave an axis alone.",
            unit: "voxels",
            kind: Kind::Triple { low: 0.0, high: 31.0 },
            default: Some("[3, 3, 3]"),
        },
        boundary("\"mirror\""),
    ],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let size = size(arguments, image.frame.axes);
        image.pixels = median(image.pixels.view(), size, Boundary::of(arguments.choice("boundary"))).into();
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::pre::tests::{found_at, waves};

    #[test]
    fn is_the_median_filter_of_scipy() {
        // SciPy 1.17: median_filter(size=3) and median_filter(size=[1, 3, 4], mode="nearest").
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        found_at(r#"{"op": "median"}"#, &source, &[27.4869, 55.3788, 73.4312, -142.496, 36.9469], 1e-3);
        found_at(
            r#"{"op": "median", "size": [0, 3, 4], "boundary": "edge"}"#,
            &source,
            &[46.2748, 63.8622, 50.0, -142.496, 60.5217],
            1e-3,
        );
    }
}
