//! Bring values to a common scale, by fixed or by measured statistics; it does not clip.

use super::measured::{self, ABOVE, CHANGE, Moments, ON, On};
use super::{Operation, failed};
use crate::infer::frame::Prepared;
use crate::infer::parameter::{Arguments, Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "normalise",
    doc: "Subtracts an offset and divides by a scale: mean and standard deviation (`z_score`, brought to `to_mean` and `to_std`), minimum and range (`min_max`), two percentiles (`percentile`), 0 and 255 (`rgb`, which refuses other values; these three brought to `to_low` and `to_high`), or the given `mean` and `std` (`fixed`). nnU-Net: ZScoreNormalization is `z_score`, with `use_mask_for_norm` `on` `inside` (after the crop to non-zero) and `change` `measured`; CTNormalization is `clip`, then `fixed`; RescaleTo01Normalization is `min_max`; RGBTo01Normalization is `rgb`. MONAI: NormalizeIntensity is `z_score` or `fixed`, with `nonzero` `on` `nonzero` and `change` `measured`. CERR: zScore is `z_score` `on` `inside` with `ddof` 1.",
    source: "nnU-Net v2's default_normalization_schemes; MONAI's NormalizeIntensity; CERR's processImage",
    parameters: &[
        Parameter {
            name: "by",
            doc: "Where offset and scale come from.",
            unit: "",
            kind: Kind::Choice(&["z_score", "min_max", "percentile", "rgb", "fixed"]),
            default: Some("\"z_score\""),
        },
        ON,
        ABOVE,
        CHANGE,
        number("mean", "Offset of `fixed`.", "unit of the image", (-1e9, 1e9), "0"),
        number("std", "Scale of `fixed`.", "unit of the image", (1e-9, 1e9), "1"),
        Parameter {
            name: "ddof",
            doc: "The divisor of the standard deviation is the count less this.",
            unit: "",
            kind: Kind::Integer { low: 0, high: 1 },
            default: Some("0"),
        },
        Parameter {
            name: "together",
            doc: "What is measured is that of all images of the model (or, in `channels`, of all channels) that have an operation with `together`: the first of each with the first of the others, and so on. `z_score` and `min_max`; not in `views`; regions are saved before it.",
            unit: "",
            kind: Kind::Flag,
            default: Some("false"),
        },
        number("floor", "A measured scale below this is taken to be this.", "unit of the image", (1e-12, 1e9), "1e-8"),
        number("low_percentile", "Percentile that becomes `to_low`.", "%", (0.0, 100.0), "0.5"),
        number("high_percentile", "Percentile that becomes `to_high`.", "%", (0.0, 100.0), "99.5"),
        number("to_mean", "New mean of `z_score`.", "", (-1e9, 1e9), "0"),
        number("to_std", "New standard deviation of `z_score`.", "", (1e-9, 1e9), "1"),
        number("to_low", "New value of the lower end.", "", (-1e9, 1e9), "0"),
        number("to_high", "New value of the upper end.", "", (-1e9, 1e9), "1"),
    ],
    check: |arguments| {
        if let Some(problem) = measured::check_above(arguments) {
            return Some(problem);
        }
        let by = arguments.choice("by");
        let given = arguments.number("mean") != 0.0 || arguments.number("std") != 1.0;
        if given && by != "fixed" {
            return Some([
                format!("mean or std with by {by:?}"),
                "mean and std only with by \"fixed\"".to_owned(),
                "set by to \"fixed\" or remove them".to_owned(),
            ]);
        }
        if arguments.flag("together") && !["z_score", "min_max"].contains(&by) {
            let cure = "remove together, or set by to one of these".to_owned();
            return Some([format!("together with by {by:?}"), "by \"z_score\" or \"min_max\"".to_owned(), cure]);
        }
        let (low, high) = (arguments.number("low_percentile"), arguments.number("high_percentile"));
        (low >= high).then(|| {
            let expected = format!("less than high_percentile ({high})");
            [format!("low_percentile {low}"), expected, "lower it, or raise high_percentile".to_owned()]
        })
    },
    apply: |arguments, mut image, surroundings| {
        let on = On::of(arguments);
        let (offset, scale) =
            offset_and_scale(arguments, &image, on, surroundings.pooled).map_err(failed("normalise"))?;
        let (start, stretch) = match arguments.choice("by") {
            "z_score" => (arguments.number("to_mean"), arguments.number("to_std")),
            "fixed" => (0.0, 1.0),
            _ => (arguments.number("to_low"), arguments.number("to_high") - arguments.number("to_low")),
        };
        let new = |value: f32| ((f64::from(value) - offset) / scale * stretch + start) as f32;
        measured::change(&mut image, on.changed(arguments), new);
        Ok(image)
    },
};

const fn number(
    name: &'static str,
    doc: &'static str,
    unit: &'static str,
    (low, high): (f64, f64),
    default: &'static str,
) -> Parameter {
    Parameter { name, doc, unit, kind: Kind::Number { low, high }, default: Some(default) }
}

fn offset_and_scale(
    arguments: &Arguments,
    image: &Prepared<'_>,
    on: On,
    pooled: Option<Moments>,
) -> Result<(f64, f64), String> {
    let measured = || pooled.map_or_else(|| measured::moments(image, on), Ok);
    let floor = arguments.number("floor");
    match arguments.choice("by") {
        "fixed" => Ok((arguments.number("mean"), arguments.number("std"))),
        "percentile" => {
            let percents = [arguments.number("low_percentile"), arguments.number("high_percentile")];
            let [low, high] = measured::percentiles(image, on, percents)?;
            Ok((low, (high - low).max(floor)))
        }
        "min_max" => {
            let moments = measured()?;
            Ok((moments.low, (moments.high - moments.low).max(floor)))
        }
        "rgb" => {
            let moments = measured::moments(image, On::All)?;
            if moments.low < 0.0 || moments.high > 255.0 {
                let (low, high) = (moments.low, moments.high);
                return Err(format!(
                    "found values from {low} to {high}, expected 0 to 255 with by \"rgb\"; use another"
                ));
            }
            Ok((0.0, 255.0))
        }
        _ => {
            let moments = measured()?;
            Ok((moments.mean, moments.deviation(arguments.integer("ddof") as f64).max(floor)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, check_inside, counted, uneven};

    fn values(json: &str) -> Vec<f32> {
        let found = check(json, uneven(), &BTreeMap::new()).expect("normalised").pixels;
        found.iter().copied().collect()
    }

    #[test]
    fn z_scores_are_those_of_numpy() {
        // numpy 2.4, values (7 i mod 31) - 5 of 192 voxels: mean 9.9166667, std 8.9833952, with ddof 1 9.0068812.
        assert!((values(r#"{"op": "normalise"}"#)[0] - -1.660_471).abs() < 1e-5);
        assert!((values(r#"{"op": "normalise", "ddof": 1}"#)[0] - -1.656_141).abs() < 1e-5);
        let moved = values(r#"{"op": "normalise", "to_mean": 10, "to_std": 2}"#);
        assert!((moved[0] - 6.679_058).abs() < 1e-5);
    }

    #[test]
    fn only_the_measured_voxels_are_changed_when_told() {
        // Without the zeros: mean 10.2365591, std 8.9459522.
        let found = values(r#"{"op": "normalise", "on": "nonzero", "change": "measured"}"#);
        assert!((found[0] - -1.703_178).abs() < 1e-5);
        let zero = (0..192).position(|index| (7 * index) % 31 == 5).expect("a zero");
        assert_eq!(found[zero], 0.0);
        let source = uneven();
        let inside = |[k, j, i]: [usize; 3]| k == 1 && j < 2 && i < 2;
        let json = r#"{"op": "normalise", "by": "min_max", "on": "inside", "change": "measured"}"#;
        let found = check_inside(json, &source, inside).expect("normalised");
        let corner = [[1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]];
        let (low, high) = corner
            .iter()
            .map(|index| source.pixels[*index])
            .fold((99.0_f32, -99.0_f32), |(low, high), x| (low.min(x), high.max(x)));
        for index in corner {
            assert!((found[index] - (source.pixels[index] - low) / (high - low)).abs() < 1e-6);
        }
        assert_eq!(found[[2, 0, 0]], source.pixels[[2, 0, 0]]);
    }

    #[test]
    fn percentiles_and_colours_are_brought_to_the_given_ends() {
        let json =
            r#"{"op": "normalise", "by": "percentile", "low_percentile": 2, "high_percentile": 98, "to_low": -1}"#;
        // numpy: the percentiles are -5 and 25.
        assert!((values(json)[1] - (-1.0 + 2.0 * (2.0 - -5.0) / 30.0)).abs() < 1e-6);
        let told = check(r#"{"op": "normalise", "by": "rgb"}"#, uneven(), &BTreeMap::new()).err().unwrap_or_default();
        assert!(told.contains("found values from -5 to 25, expected 0 to 255"), "{told}");
        let found = check(r#"{"op": "normalise", "by": "rgb"}"#, counted(), &BTreeMap::new()).expect("0 to 191");
        assert!((found.pixels[[3, 5, 7]] - 191.0 / 255.0).abs() < 1e-6);
    }

    #[test]
    fn a_constant_image_becomes_zero_and_an_empty_one_is_refused() {
        let mut flat = counted();
        flat.pixels.fill(0.1);
        for by in ["min_max", "z_score", "percentile"] {
            let json = format!(r#"{{"op": "normalise", "by": "{by}"}}"#);
            let found = check(&json, flat.clone(), &BTreeMap::new()).expect("zeros");
            assert!(found.pixels.iter().all(|value| *value == 0.0), "{by}");
        }
        let json = r#"{"op": "normalise", "on": "above", "above": 8}"#;
        let told = check(json, flat, &BTreeMap::new()).err().unwrap_or_default();
        assert!(told.contains("found no value above 8"), "{told}");
    }
}
