//! Map two percentiles of the image to an interval; unlike `scale_range` it measures.

use super::measured::{self, ABOVE, ON, On};
use super::scale_range::{Map, bound, check_ends, ends};
use super::{Operation, failed};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "scale_percentiles",
    doc: "Maps the percentiles `lower` and `upper` of the image to `b_min` and `b_max`, linearly; `relative` maps them to the same percentages of the interval from `b_min` to `b_max`. `clip` keeps values between the new bounds.",
    source: "MONAI's ScaleIntensityRangePercentiles",
    parameters: &[
        percent("lower", "Percentile that becomes the lower value."),
        percent("upper", "Percentile that becomes the upper value."),
        bound("b_min", "New lower value.", Some("null")),
        bound("b_max", "New upper value.", Some("null")),
        Parameter {
            name: "clip",
            doc: "Whether values beyond the new bounds become those.",
            unit: "",
            kind: Kind::Flag,
            default: Some("false"),
        },
        Parameter {
            name: "relative",
            doc: "Whether the new bounds are percentages of `b_min` to `b_max`.",
            unit: "",
            kind: Kind::Flag,
            default: Some("false"),
        },
        ON,
        ABOVE,
    ],
    check: |arguments| {
        let (lower, upper) = (arguments.number("lower"), arguments.number("upper"));
        if lower >= upper {
            let cure = "swap them, lower lower or raise upper".to_owned();
            return Some([format!("lower {lower}"), format!("less than upper ({upper})"), cure]);
        }
        if arguments.flag("relative") && !arguments.has("b_min") {
            let cure = "give them, or remove relative".to_owned();
            return Some(["relative without b_min and b_max".to_owned(), "bounds to be relative to".to_owned(), cure]);
        }
        check_ends(arguments).or_else(|| measured::check_above(arguments))
    },
    apply: |arguments, mut image, _| {
        let percents = [arguments.number("lower"), arguments.number("upper")];
        let [low, high] = measured::percentiles(&image, On::of(arguments), percents).map_err(failed(ENTRY.name))?;
        let to = ends(arguments).map(|(to_low, to_high)| match arguments.flag("relative") {
            false => (to_low, to_high),
            true => {
                let part = |percent: f64| (to_high - to_low) * (percent / 100.0) + to_low;
                (part(percents[0]), part(percents[1]))
            }
        });
        let map = Map { from: (low, high), to, clip: arguments.flag("clip") };
        image.pixels.par_mapv_inplace(|value| map.of(value));
        Ok(image)
    },
};

const fn percent(name: &'static str, doc: &'static str) -> Parameter {
    Parameter { name, doc, unit: "%", kind: Kind::Number { low: 0.0, high: 100.0 }, default: None }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn maps_percentiles_of_the_image() {
        // 192 values 0 to 191: percentiles 10 and 90 are 19.1 and 171.9.
        let json = r#"{"op": "scale_percentiles", "lower": 10, "upper": 90, "b_min": 0, "b_max": 2, "clip": true}"#;
        let at = |json: &str, index| check(json, counted(), &BTreeMap::new()).expect("mapped").pixels[index];
        assert!((at(json, [0, 2, 4]) - 2.0 * (20.0 - 19.1) / 152.8).abs() < 1e-6);
        assert_eq!((at(json, [0, 0, 0]), at(json, [3, 5, 7])), (0.0, 2.0));
        let relative = json.replace(r#""clip""#, r#""relative": true, "clip""#);
        assert!((at(&relative, [0, 0, 0]) - 0.2).abs() < 1e-6);
        assert!((at(&relative, [0, 2, 4]) - (0.2 + 1.6 * (20.0 - 19.1) / 152.8)).abs() < 1e-6);
    }
}
