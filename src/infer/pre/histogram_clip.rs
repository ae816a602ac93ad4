//! Scale to a range and cut the bright tail off at a share of the histogram; it does not equalise.

use super::measured::{self, On};
use super::{Operation, failed};
use crate::infer::frame::Prepared;
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "histogram_clip",
    doc: "Maps lowest and highest value to 0 and `range`, counts them in `bins` equal bins, and clips: above at the left edge of the first bin at which more than `high_fraction` of the voxels have been counted; below at the left edge of the first bin at which fewer than `low_fraction` have been, which is 0 whenever there is one, as in the wrapper. Fractions are cut off.",
    source: "CERR's wrapper of the MR prostate model (normalize_equalize_smooth_MR)",
    parameters: &[
        Parameter {
            name: "range",
            doc: "The new highest value.",
            unit: "",
            kind: Kind::Number { low: 1.0, high: 1e9 },
            default: Some("65535"),
        },
        Parameter {
            name: "bins",
            doc: "How many bins the histogram has.",
            unit: "",
            kind: Kind::Integer { low: 2, high: 65_536 },
            default: Some("255"),
        },
        Parameter {
            name: "low_fraction",
            doc: "Share of voxels below the lower bound.",
            unit: "fraction",
            kind: Kind::Number { low: 0.0, high: 1.0 },
            default: Some("0.05"),
        },
        Parameter {
            name: "high_fraction",
            doc: "Share of voxels below the upper bound.",
            unit: "fraction",
            kind: Kind::Number { low: 0.0, high: 0.9999 },
            default: Some("0.95"),
        },
    ],
    check: |arguments| {
        let (low, high) = (arguments.number("low_fraction"), arguments.number("high_fraction"));
        (low >= high).then(|| {
            let cure = "swap them, lower low_fraction or raise high_fraction".to_owned();
            [format!("low_fraction {low}"), format!("less than high_fraction ({high})"), cure]
        })
    },
    apply: |arguments, mut image, _| {
        let moments = measured::moments(&image, On::All).map_err(failed(ENTRY.name))?;
        let range = arguments.number("range");
        let (low, factor) = (moments.low, range / (moments.high - moments.low).max(f64::MIN_POSITIVE));
        let scaled = move |value: f32| (f64::from(value) - low) * factor;
        let counts = histogram(&image, arguments.integer("bins") as usize, move |value| scaled(value) / range);
        let edge = |bin: usize| range * bin as f64 / counts.len() as f64;
        let mut sum = 0.0;
        let shares = counts.iter().map(|count| {
            sum += *count as f64;
            sum / moments.count
        });
        let shares: Vec<f64> = shares.collect();
        let first = |holds: &dyn Fn(f64) -> bool| shares.iter().position(|share| holds(*share));
        let bottom = first(&|share| share < arguments.number("low_fraction")).map_or(0.0, edge);
        let top = first(&|share| share > arguments.number("high_fraction")).map_or(range, edge);
        image.pixels.par_mapv_inplace(|value| scaled(value).max(bottom).min(top).trunc() as f32);
        Ok(image)
    },
};

/// How many values lie in each of equal bins of 0 to 1; 1 lies in the last (numpy's `histogram`).
fn histogram(image: &Prepared<'_>, bins: usize, part: impl Fn(f32) -> f64 + Sync) -> Vec<u64> {
    let mut counts = vec![0_u64; bins];
    for value in image.pixels.iter() {
        counts[((part(*value) * bins as f64) as usize).min(bins - 1)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn cuts_the_bright_tail_off_as_the_wrapper_does() {
        let mut source = counted();
        source.pixels.mapv_inplace(|value| value * value);
        let found = check(r#"{"op": "histogram_clip"}"#, source, &BTreeMap::new()).expect("clipped").pixels;
        // numpy 2.4: squares of 0 to 191 scaled to 65535, histogram of 255 bins, clip to [0, edge 231], astype(uint16).
        let at = |index: usize| found.as_slice().expect("in one piece")[index];
        assert_eq!((at(0), at(10), at(100), at(180), at(191)), (0.0, 179.0, 17_964.0, 58_203.0, 59_367.0));
    }
}
