//! Smooth with a Gaussian; no derivative.

use super::Operation;
use super::neighbourhood::{boundary, spacing};
use crate::infer::filter::convolution::{Boundary, separable};
use crate::infer::filter::kernels;
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "gaussian",
    doc: "Convolves with a Gaussian that is sampled at voxel centres and brought to a sum of 1.",
    source: "SciPy's gaussian_filter",
    parameters: &[
        Parameter {
            name: "sigma_mm",
            doc: "Standard deviation along slices, rows and columns; 0 leaves an axis alone.",
            unit: "mm",
            kind: Kind::Triple { low: 0.0, high: 100.0 },
            default: None,
        },
        Parameter {
            name: "truncate",
            doc: "How many standard deviations far the Gaussian reaches, to the nearest voxel.",
            unit: "",
            kind: Kind::Number { low: 0.5, high: 10.0 },
            default: Some("4"),
        },
        boundary("\"mirror\""),
    ],
    check: super::always_consistent,
    apply: |arguments, mut image, _| {
        let sigma = image.frame.axes.to_array(arguments.triple("sigma_mm"));
        let mm = spacing(&image, sigma.map(|sigma| sigma > 0.0), ENTRY.name)?;
        let truncate = arguments.number("truncate");
        let lines = [0, 1, 2].map(|axis| {
            let sigma = sigma[axis] / mm[axis];
            (sigma > 0.0).then(|| kernels::gaussian(sigma, (truncate * sigma + 0.5) as usize))
        });
        let boundary = Boundary::of(arguments.choice("boundary"));
        image.pixels = separable(image.pixels.view(), &lines, boundary).into();
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted, found_at, waves};

    #[test]
    fn is_the_gaussian_filter_of_scipy() {
        // SciPy 1.17: gaussian_filter(sigma=[0.75, 1, 2], truncate=4), spacing 2, 1.5, 1 mm; then truncate=2, mode nearest.
        let source = waves([5, 6, 7], [2.0, 1.5, 1.0]);
        found_at(
            r#"{"op": "gaussian", "sigma_mm": [1.5, 1.5, 2]}"#,
            &source,
            &[35.3915, 48.7509, 59.1454, -119.558, 52.4439],
            2e-3,
        );
        let json = r#"{"op": "gaussian", "sigma_mm": [1.5, 0, 2], "truncate": 2, "boundary": "edge"}"#;
        found_at(json, &source, &[60.9471, 72.6505, 53.6875, -126.129, 50.5558], 2e-3);
    }

    #[test]
    fn refuses_to_smooth_across_uneven_slices() {
        let told = check(r#"{"op": "gaussian", "sigma_mm": [1, 1, 1]}"#, counted(), &BTreeMap::new()).err();
        assert!(told.is_some_and(|told| told.contains("deviates by 1.000 mm")));
        assert!(check(r#"{"op": "gaussian", "sigma_mm": [0, 1, 1]}"#, counted(), &BTreeMap::new()).is_ok());
    }
}
