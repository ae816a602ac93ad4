//! Give the voxels outside (or inside) named structures one value; the crop mask stays as it is.

use ndarray::{Array3, Zip};

use super::{Operation, always_consistent, failed};
use crate::infer::parameter::{Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "mask_by",
    doc: "Gives the voxels outside (or inside) the union of named structures the value `value`. A structure that is missing is passed over; without any the operation is refused.",
    source: "CERR's brain models (background 0 outside the brain); MONAI's MaskIntensity",
    parameters: &[
        Parameter {
            name: "names",
            doc: "Structures handed in, or regions saved by an operation before.",
            unit: "",
            kind: Kind::Names,
            default: None,
        },
        Parameter {
            name: "set",
            doc: "Which voxels get the value.",
            unit: "",
            kind: Kind::Choice(&["outside", "inside"]),
            default: Some("\"outside\""),
        },
        Parameter {
            name: "value",
            doc: "The new value.",
            unit: "unit of the image",
            kind: Kind::Number { low: -1e9, high: 1e9 },
            default: Some("0"),
        },
    ],
    check: always_consistent,
    apply: |arguments, mut image, surroundings| {
        let names = arguments.names("names");
        let saved = |name: &String| image.saved.iter().find(|(saved, _)| saved == name).map(|(_, mask)| mask);
        let masks = names.iter().filter_map(|name| saved(name).or_else(|| surroundings.structures.get(name)));
        let mut union: Option<Array3<bool>> = None;
        for mask in masks.map(|mask| image.frame.bring(mask)) {
            match &mut union {
                None => union = Some(mask),
                Some(union) => Zip::from(union).and(&mask).par_for_each(|u, m| *u |= *m),
            }
        }
        let union = union.ok_or_else(|| {
            let names = names.join(", ");
            failed(ENTRY.name)(format!(
                "found none of {names}, expected at least one; contour it, or remove the operation"
            ))
        })?;
        let (set, new) = (arguments.choice("set") == "inside", arguments.number("value") as f32);
        Zip::from(&mut image.pixels).and(&union).par_for_each(|value, inside| {
            if *inside == set {
                *value = new;
            }
        });
        Ok(image)
    },
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::infer::pre::tests::{check, counted};
    use crate::volume::Mask;

    #[test]
    fn sets_outside_or_inside() {
        let mut mask = Mask::empty(counted().geometry);
        mask.voxels[[1, 2, 3]] = true;
        let structures = BTreeMap::from([("S".to_owned(), mask)]);
        let json = r#"{"op": "mask_by", "names": ["S"], "value": -3}"#;
        let found = check(json, counted(), &structures).expect("masked").pixels;
        assert_eq!((found[[1, 2, 3]], found[[0, 0, 1]]), (67.0, -3.0));
        let found = check(&json.replace("\"value\"", "\"set\": \"inside\", \"value\""), counted(), &structures);
        let found = found.expect("masked").pixels;
        assert_eq!((found[[1, 2, 3]], found[[0, 0, 1]]), (-3.0, 1.0));
    }
}
