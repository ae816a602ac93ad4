//! Bring values to a common scale, by fixed or by measured statistics; it does not clip.

use ndarray::parallel::prelude::*;
use ndarray::{CowArray, Ix3};

use super::{Operation, failed};
use crate::infer::parameter::{Arguments, Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "normalise",
    doc: "Subtracts an offset and divides by a scale: mean and standard deviation of the image (`z_score`), its minimum and range (`min_max`), or the given `mean` and `std` (`fixed`).",
    source: "common practice; nnU-Net (Nature Methods 18, 2021): z-score for MR, fixed for CT",
    parameters: &[
        Parameter {
            name: "by",
            doc: "Where offset and scale come from.",
            unit: "",
            kind: Kind::Choice(&["z_score", "min_max", "fixed"]),
            default: Some("\"z_score\""),
        },
        Parameter {
            name: "mean",
            doc: "Offset of `fixed`.",
            unit: "unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("0"),
        },
        Parameter {
            name: "std",
            doc: "Scale of `fixed`.",
            unit: "unit of the image",
            kind: Kind::Number { low: 1e-9, high: 1e9 },
            default: Some("1"),
        },
        Parameter {
            name: "above",
            doc: "Only voxels above this value are measured (background of MR is left out with 0); all are changed.",
            unit: "unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("-1e9"),
        },
    ],
    check: |arguments| {
        let given = arguments.number("mean") != 0.0 || arguments.number("std") != 1.0;
        (given && arguments.choice("by") != "fixed").then(|| {
            let by = arguments.choice("by");
            [
                format!("mean or std with by {by:?}"),
                "mean and std only with by \"fixed\"".to_owned(),
                "set by to \"fixed\" or remove them".to_owned(),
            ]
        })
    },
    apply: |arguments, mut image, _| {
        let (offset, scale) = offset_and_scale(arguments, &image.pixels).map_err(failed("normalise"))?;
        image.pixels.par_mapv_inplace(|value| ((f64::from(value) - offset) / scale) as f32);
        Ok(image)
    },
};

fn offset_and_scale(arguments: &Arguments, pixels: &CowArray<'_, f32, Ix3>) -> Result<(f64, f64), String> {
    let by = arguments.choice("by");
    if by == "fixed" {
        return Ok((arguments.number("mean"), arguments.number("std")));
    }
    let above = arguments.number("above") as f32;
    let measured = || pixels.view().into_par_iter().filter(|value| **value > above).map(|value| f64::from(*value));
    let count = measured().count() as f64;
    if count == 0.0 {
        return Err(format!("found no value above {above}, expected some; lower the parameter above"));
    }
    let (offset, scale) = if by == "min_max" {
        let low = measured().reduce(|| f64::INFINITY, f64::min);
        (low, measured().reduce(|| f64::NEG_INFINITY, f64::max) - low)
    } else {
        let mean = measured().sum::<f64>() / count;
        (mean, (measured().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
    };
    // A constant image has no scale; its values become 0 rather than a division by nothing.
    Ok((offset, if scale > 0.0 { scale } else { 1.0 }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn z_score_has_mean_zero_and_deviation_one() {
        let found = check(r#"{"op": "normalise"}"#, counted(), &BTreeMap::new()).expect("normalised").pixels;
        let count = found.len() as f32;
        assert!((found.sum() / count).abs() < 1e-5);
        assert!((found.mapv(|value| value * value).sum() / count - 1.0).abs() < 1e-4);
    }

    #[test]
    fn a_constant_image_becomes_zero_and_an_empty_one_is_refused() {
        let mut flat = counted();
        flat.pixels.fill(7.0);
        let found = check(r#"{"op": "normalise", "by": "min_max"}"#, flat.clone(), &BTreeMap::new()).expect("zeros");
        assert!(found.pixels.iter().all(|value| *value == 0.0));
        let told = check(r#"{"op": "normalise", "above": 8}"#, flat, &BTreeMap::new()).err().unwrap_or_default();
        assert!(told.contains("found no value above 8"), "{told}");
    }
}
