//! Drop parts below a size; it changes no part that stays.

use super::Operation;
use super::components::{Components, Neighbours, Run, parameter as neighbours};
use super::largest_component::joined;
use crate::infer::parameter::{Arguments, Kind, Parameter};

pub(super) const ENTRY: Operation = Operation {
    name: "remove_small",
    doc: "Drops connected parts, by `neighbours`, that are smaller than `minimum_cm3` or `minimum_voxels` in the volume, or than `minimum_cm2` or `minimum_pixels` within a slice, whichever are given; slices first. A part as large as the least size stays. A part that the border of the image cuts counts with what is in the image.",
    source: "MATLAB's bwareaopen and scikit-image's remove_small_objects (MONAI's RemoveSmallObjects is `minimum_voxels` 64, and `with` where channels are not independent), also in physical units",
    parameters: &[
        Parameter {
            name: "minimum_cm3",
            doc: "Smallest volume kept.",
            unit: "cm3",
            kind: Kind::Number { low: 0.0, high: 1e6 },
            default: Some("0"),
        },
        Parameter {
            name: "minimum_cm2",
            doc: "Smallest area kept within a slice.",
            unit: "cm2",
            kind: Kind::Number { low: 0.0, high: 1e6 },
            default: Some("0"),
        },
        Parameter {
            name: "minimum_voxels",
            doc: "Fewest voxels kept.",
            unit: "voxels",
            kind: Kind::Integer { low: 0, high: 1_000_000_000 },
            default: Some("0"),
        },
        Parameter {
            name: "minimum_pixels",
            doc: "Fewest voxels kept within a slice.",
            unit: "voxels",
            kind: Kind::Integer { low: 0, high: 1_000_000_000 },
            default: Some("0"),
        },
        neighbours("\"faces\""),
        Parameter {
            name: "with",
            doc: "Structures that are judged jointly: parts are those of the union of the mask and these.",
            unit: "",
            kind: Kind::Names,
            default: Some("[]"),
        },
    ],
    check: |arguments| {
        let none = Size::of(arguments, false).is_none() && Size::of(arguments, true).is_none();
        none.then(|| {
            let expected = "minimum_cm3, minimum_voxels, minimum_cm2 or minimum_pixels above 0".to_owned();
            ["no size".to_owned(), expected, "give one of them".to_owned()]
        })
    },
    apply: |arguments, mask, context| {
        let neighbours = Neighbours::of(arguments.choice("neighbours"));
        let geometry = context.geometry;
        let area = geometry.row_spacing_mm() * geometry.column_spacing_mm() / 100.0;
        for per_slice in [true, false] {
            let Some(least) = Size::of(arguments, per_slice) else { continue };
            let all = joined(mask, arguments.names("with"), context);
            let parts = Components::of(all.as_ref().unwrap_or(mask), true, neighbours, per_slice);
            let voxel = |slice: u32| if per_slice { area } else { geometry.voxel_volume_mm3(slice as usize) / 1000.0 };
            let (extents, counts) = (parts.sum(|run| run.length() * voxel(run.slice)), parts.sum(Run::length));
            // The hair lets a part of exactly the least size stay whatever the rounding of its sum.
            let small = |part: usize| extents[part] < least.extent * (1.0 - 1e-9) || counts[part] < least.count;
            parts.paint(mask, false, small);
        }
    },
};

/// The least size of parts, in cm2 or cm3 and in voxels; 0 where it is not asked for.
struct Size {
    extent: f64,
    count: f64,
}

impl Size {
    fn of(arguments: &Arguments, per_slice: bool) -> Option<Size> {
        let (extent, count) =
            if per_slice { ("minimum_cm2", "minimum_pixels") } else { ("minimum_cm3", "minimum_voxels") };
        let size = Size { extent: arguments.number(extent), count: arguments.integer(count) as f64 };
        (size.extent > 0.0 || size.count > 0.0).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn drops_what_is_smaller_and_keeps_what_is_as_large() {
        // Voxels of the tests are 1 mm cubes.
        check("##.###", &[], r#"{"op": "remove_small", "minimum_cm3": 0.003}"#, "...###");
        check("##\n\n##", &[], r#"{"op": "remove_small", "minimum_cm2": 0.03}"#, "..\n\n..");
        check("##\n\n##", &[], r#"{"op": "remove_small", "minimum_cm3": 0.004}"#, "##\n\n##");
    }

    #[test]
    fn counts_voxels_in_the_volume_and_in_slices() {
        check("##.###", &[], r#"{"op": "remove_small", "minimum_voxels": 3}"#, "...###");
        check("##.\n\n###", &[], r#"{"op": "remove_small", "minimum_pixels": 3}"#, "...\n\n###");
        check("#..\n.#.", &[], r#"{"op": "remove_small", "minimum_voxels": 2}"#, "...\n...");
        check("#..\n.#.", &[], r#"{"op": "remove_small", "minimum_voxels": 2, "neighbours": "edges"}"#, "#..\n.#.");
    }

    #[test]
    fn a_part_held_jointly_with_another_label_is_as_large_as_both() {
        let json = r#"{"op": "remove_small", "minimum_voxels": 3, "with": ["B"]}"#;
        check("#....#", &[("B", ".##...")], json, "#.....");
    }
}
