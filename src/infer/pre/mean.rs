//! The mean of a box around each voxel; no other weights.

use super::neighbourhood::{BOUNDARY, lines_of, size};
use super::{Operation, always_consistent};
use crate::infer::filter::convolution::{Boundary, separable};
use crate::infer::filter::kernels;
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "mean",
    doc: "Replaces each voxel by the mean of the box around it; of an even number of voxels the box reaches one farther on.",
    source: "CERR's filter Mean; IBSI-2, chapter 4.1",
    parameters: &[
        Parameter {
            name: "size",
            doc: "Size of the box along slices, rows and columns; 0 and 1 leave an axis alone.",
            unit: "voxels",
            kind: Kind::Triple { low: 0.0, high: 255.0 },
            default: Some("[3, 3, 3]"),
        },
        Parameter {
            name: "absolute",
            doc: "Whether the mean is that of absolute values.",
            unit: "",
            kind: Kind::Flag,
            default: Some("false"),
        },
        BOUNDARY,
    ],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        if arguments.flag("absolute") {
            image.pixels.par_mapv_inplace(f32::abs);
        }
        let axes = image.frame.axes;
        let working = axes.to_working(size(arguments, axes)).map(|count| (count > 1).then(|| kernels::mean(count)));
        let lines = lines_of(axes, working);
        let boundary = Boundary::of(arguments.choice("boundary"));
        image.pixels = separable(image.pixels.view(), &lines, boundary).into();
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use crate::infer::pre::tests::{found_at, waves};

    #[test]
    fn is_the_mean_filter_of_pycerr() {
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        // pyCERR 2.5.1: meanFilter with KernelSize [rows 3, columns 2, slices 3], and in planes of 3 x 3, absolute.
        found_at(r#"{"op": "mean", "size": [3, 3, 2]}"#, &source, &[39.7159, 49.9365, 22.172, -59.072, 51.0121], 2e-3);
        found_at(
            r#"{"op": "mean", "size": [0, 3, 3], "absolute": true}"#,
            &source,
            &[69.6365, 88.8613, 26.6921, 63.1013, 55.2142],
            2e-3,
        );
    }
}
