//! Bring the image to another voxel size about the same centre; it does not crop.

use super::{Operation, always_consistent, failed};
use crate::infer::grid::{Method, respaced};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "resample",
    doc: "Interpolates onto a grid of `spacing_mm` that shares its centre with the image; uneven slices become even.",
    source: "grid as in CERR's resample; cubic: Keys, IEEE Trans. ASSP 29, 1981, a = -0.5",
    parameters: &[
        Parameter {
            name: "spacing_mm",
            doc: "New distance between slices, rows and columns; 0 leaves an axis as it is.",
            unit: "mm",
            kind: Kind::Triple { low: 0.0, high: 100.0 },
            default: None,
        },
        Parameter {
            name: "method",
            doc: "How values between voxels are made.",
            unit: "",
            kind: Kind::Choice(&Method::WORDS),
            default: Some("\"linear\""),
        },
    ],
    check: always_consistent,
    apply: |arguments, image, _| {
        let spacing = image.frame.axes.to_array(arguments.triple("spacing_mm"));
        let refused = |reason: &dyn std::fmt::Display| failed("resample")(format!("at {spacing:?} mm: {reason}"));
        let target = respaced(&image.frame.geometry, spacing).map_err(|error| refused(&error))?;
        let method = Method::of(arguments.choice("method"));
        image.resampled(target, method, 0.0).map_err(|reason| refused(&reason))
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn makes_even_slices_of_uneven_ones() {
        let json = r#"{"op": "resample", "spacing_mm": [1, 0, 0]}"#;
        let found = check(json, counted(), &BTreeMap::new()).expect("resampled");
        assert_eq!(found.geometry.shape(), [7, 6, 8]);
        assert!(found.geometry.slice_spacing_deviation_mm() < 1e-9);
        // Slices lie at -0.5, 0.5, 1.5, ... mm; 0.5 mm is a quarter of the way from slice 0 (0 mm) to slice 1 (2 mm).
        assert_eq!(found.pixels[[1, 0, 0]], 12.0);
    }

    #[test]
    fn refuses_a_grid_beyond_all_bounds() {
        let told = check(r#"{"op": "resample", "spacing_mm": [0, 0.0001, 0]}"#, counted(), &BTreeMap::new()).err();
        assert!(told.is_some_and(|told| told.contains("rows")));
    }
}
