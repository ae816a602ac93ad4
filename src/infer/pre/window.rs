//! Map an intensity window to an interval, clipped; it does not look at the values of the image.

use super::{Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "window",
    doc: "Maps `center` - `width`/2 to `to_low` and `center` + `width`/2 to `to_high`, linearly, and clips outside.",
    source: "PS3.3 C.11.2.1.3.2 (the exact linear function, LINEAR_EXACT)",
    parameters: &[
        Parameter {
            name: "center",
            doc: "Middle of the window.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: None,
        },
        Parameter {
            name: "width",
            doc: "Width of the window.",
            unit: "HU, or the unit of the image",
            kind: Kind::Number { low: 1e-6, high: 1e9 },
            default: None,
        },
        Parameter {
            name: "to_low",
            doc: "Value of the lower edge.",
            unit: "",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("0"),
        },
        Parameter {
            name: "to_high",
            doc: "Value of the upper edge.",
            unit: "",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("1"),
        },
    ],
    check: always_consistent,
    apply: |arguments, mut image, _| {
        let (center, width) = (arguments.number("center") as f32, arguments.number("width") as f32);
        let (to_low, to_high) = (arguments.number("to_low") as f32, arguments.number("to_high") as f32);
        let low = center - width / 2.0;
        image.pixels.par_mapv_inplace(|value| to_low + (to_high - to_low) * ((value - low) / width).clamp(0.0, 1.0));
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};

    #[test]
    fn maps_the_window_linearly_and_clips_outside() {
        let json = r#"{"op": "window", "center": 3, "width": 4, "to_low": -1, "to_high": 1}"#;
        let found = check(json, counted(), &BTreeMap::new()).expect("windowed");
        let first = found.pixels.as_slice().map(|values| values[..7].to_vec());
        assert_eq!(first, Some(vec![-1.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.0]));
    }
}
