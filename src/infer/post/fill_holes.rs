//! Fill what the mask encloses; it knows an opening to the outside from an airway by its width.

use ndarray::{Array3, Axis, parallel::prelude::*};

use super::components::{Components, Neighbours, Run, parameter as neighbours};
use super::distance::{dilated, eroded, extent_of, widened};
use super::{Context, Operation, always_consistent};
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::infer::part::part;
use crate::volume::{GeometryError, VolumeGeometry};

pub(super) const ENTRY: Operation = Operation {
    name: "fill_holes",
    doc: "Adds what the mask encloses: in the `volume`, or within each `slice`, where `open_mm` leaves out what a ball of that radius can reach from outside through other slices (the room between arms and head, but not the lungs). The outside is connected by `neighbours`; what is open at the border of the image (with `slice`: of the slice) is no hole.",
    source: "SciPy's binary_fill_holes (`neighbours` faces) and MONAI's FillHoles (corners, its default); `open_mm` by opening of the background with an exact Euclidean ball",
    parameters: &[
        Parameter {
            name: "plane",
            doc: "Whether enclosed means in the `volume` or within each `slice`.",
            unit: "",
            kind: Kind::Choice(&["volume", "slice"]),
            default: Some("\"volume\""),
        },
        Parameter {
            name: "open_mm",
            doc: "With `slice`: radius of the ball that finds its way in from outside; 0 fills whatever a slice encloses.",
            unit: "mm",
            kind: Kind::Number { low: 0.0, high: 100.0 },
            default: Some("0"),
        },
        Parameter {
            name: "maximum_cm2",
            doc: "With `slice`: larger holes stay; 0 fills any.",
            unit: "cm2",
            kind: Kind::Number { low: 0.0, high: 1e6 },
            default: Some("0"),
        },
        neighbours("\"faces\""),
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let open = arguments.choice("plane") == "slice" && arguments.number("open_mm") > 0.0;
        let Some(extent) = extent_of(mask).filter(|_| !open) else { return fill(mask, arguments, context) };
        // Without `open_mm` the outside begins one voxel around the mask: all that lies there leads on to the border.
        let extent = widened(&extent, [1; 3], mask);
        let mut inner = part(mask.view(), &extent).to_owned();
        fill(&mut inner, arguments, context);
        part(mask.view_mut(), &extent).assign(&inner);
    },
};

/// Fills the holes of a mask, or of the part of one that holds all of it; `open_mm` needs the whole.
fn fill(mask: &mut Array3<bool>, arguments: &Arguments, context: &Context<'_>) {
    let per_slice = arguments.choice("plane") == "slice";
    let holes = enclosed(mask, per_slice, Neighbours::of(arguments.choice("neighbours")));
    let (open_mm, maximum) = (arguments.number("open_mm"), arguments.number("maximum_cm2"));
    let area = context.geometry.row_spacing_mm() * context.geometry.column_spacing_mm() / 100.0;
    let areas = holes.parts.sum(|run| run.length() * area);
    let reached = if per_slice && open_mm > 0.0 && holes.enclosed.contains(&true) {
        reached_from_outside(mask, &holes, open_mm, context)
    } else {
        vec![0.0; holes.parts.count]
    };
    let sizes = holes.parts.sum(Run::length);
    holes.parts.paint(mask, true, |part| {
        // A hole of which a ball from outside fills half is not a hole of the body.
        holes.enclosed[part] && reached[part] < 0.5 * sizes[part] && (maximum == 0.0 || areas[part] <= maximum)
    });
}

/// The background in parts, and which of them do not touch the edge of the image (of the slice).
struct Holes {
    parts: Components,
    enclosed: Vec<bool>,
}

fn enclosed(mask: &Array3<bool>, per_slice: bool, neighbours: Neighbours) -> Holes {
    let (slices, rows, columns) = mask.dim();
    let parts = Components::of(mask, false, neighbours, per_slice);
    let at_edge = |run: &Run| {
        let in_slice = run.row == 0 || run.row as usize + 1 == rows || run.start == 0 || run.end as usize == columns;
        in_slice || (!per_slice && (run.slice == 0 || run.slice as usize + 1 == slices))
    };
    let mut enclosed = vec![true; parts.count];
    for (run, part) in parts.runs.iter().zip(&parts.component) {
        if at_edge(run) {
            enclosed[*part as usize] = false;
        }
    }
    Holes { parts, enclosed }
}

/// How many voxels of each part a ball can reach that comes from the sides of the image and passes through the
/// background of all slices. Asked on voxels of up to a fifth of the radius: what matters is whether the way is wide.
fn reached_from_outside(mask: &Array3<bool>, holes: &Holes, radius_mm: f64, context: &Context<'_>) -> Vec<f64> {
    let geometry = context.geometry;
    let across = |step: f64| ((radius_mm / 5.0 / step) as usize).max(1);
    let (down, right) = (across(geometry.row_spacing_mm()), across(geometry.column_spacing_mm()));
    let Ok(coarse) = coarser(geometry, down, right) else { return vec![0.0; holes.parts.count] };
    let mut background = Array3::from_elem(coarse.shape(), true);
    background.axis_iter_mut(Axis(0)).into_par_iter().zip(mask.axis_iter(Axis(0)).into_par_iter()).for_each(
        |(mut out, plane)| {
            for (j, row) in plane.outer_iter().enumerate() {
                let mut out = out.row_mut(j / down);
                for (i, _) in row.iter().enumerate().filter(|(_, inside)| **inside) {
                    out[i / right] = false;
                }
            }
        },
    );
    let mut room = eroded(&background, radius_mm, &coarse);
    let parts = Components::of(&room, true, Neighbours::Faces, false);
    let [_, rows, columns] = coarse.shape();
    let mut outside = vec![false; parts.count];
    for (run, part) in parts.runs.iter().zip(&parts.component) {
        let side = run.row == 0 || run.row as usize + 1 == rows || run.start == 0 || run.end as usize == columns;
        outside[*part as usize] |= side;
    }
    parts.paint(&mut room, false, |part| !outside[part]);
    let reached = dilated(&room, radius_mm, &coarse);
    holes.parts.sum(|run| {
        let (slice, row) = (run.slice as usize, run.row as usize / down);
        (run.start..run.end).filter(|column| reached[[slice, row, *column as usize / right]]).count() as f64
    })
}

/// The grid whose voxels hold `down` x `right` voxels of each slice.
fn coarser(geometry: &VolumeGeometry, down: usize, right: usize) -> Result<VolumeGeometry, GeometryError> {
    let centre = |count: usize| (count as f64 - 1.0) / 2.0;
    let origin = |slice: usize| geometry.index_to_patient([slice as f64, centre(down), centre(right)]);
    let size = (geometry.rows().div_ceil(down), geometry.columns().div_ceil(right));
    let spacing = [geometry.row_spacing_mm() * down as f64, geometry.column_spacing_mm() * right as f64];
    let origins = (0..geometry.slices()).map(origin).collect();
    VolumeGeometry::new(size, spacing, geometry.row_direction(), geometry.column_direction(), origins)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::infer::post::tests::{applied, check};
    use crate::volume::Mask;

    #[test]
    fn fills_what_a_slice_encloses_even_at_the_ends_of_the_stack() {
        check("###\n#.#\n###", &[], r#"{"op": "fill_holes", "plane": "slice"}"#, "###\n###\n###");
        check("###\n#.#\n###", &[], r#"{"op": "fill_holes"}"#, "###\n#.#\n###");
        check("###\n#.#\n#.#", &[], r#"{"op": "fill_holes", "plane": "slice"}"#, "###\n#.#\n#.#");
    }

    #[test]
    fn the_outside_comes_in_through_corners_where_asked() {
        let before = ".###\n#..#\n#..#\n####";
        check(before, &[], r#"{"op": "fill_holes", "plane": "slice"}"#, ".###\n####\n####\n####");
        check(before, &[], r#"{"op": "fill_holes", "plane": "slice", "neighbours": "edges"}"#, before);
    }

    #[test]
    fn a_hole_is_what_no_way_joins_to_the_border_of_the_image() {
        let mut random = fastrand::Rng::with_seed(13);
        for _ in 0..60 {
            let shape = [random.usize(1..7), random.usize(1..10), random.usize(1..10)];
            // A block somewhere in the image, so that the mask seldom fills all of it.
            let (low, high) = (shape.map(|side| random.usize(0..side)), shape.map(|side| random.usize(1..=side)));
            let mask = Array3::from_shape_fn(shape, |(k, j, i)| {
                [k, j, i].iter().zip(low.iter().zip(&high)).all(|(at, (low, high))| (low..high).contains(&at))
                    && random.f64() < 0.7
            });
            for (word, kind) in
                [("faces", Neighbours::Faces), ("edges", Neighbours::Edges), ("corners", Neighbours::Corners)]
            {
                for plane in ["volume", "slice"] {
                    let mut expected = mask.clone();
                    let holes = enclosed(&mask, plane == "slice", kind);
                    holes.parts.paint(&mut expected, true, |part| holes.enclosed[part]);
                    let origins = (0..shape[0]).map(|k| [0.0, 0.0, k as f64]).collect();
                    let size = (shape[1], shape[2]);
                    let grid = VolumeGeometry::new(size, [1.0; 2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
                    let given = Mask::new(Arc::new(grid.expect("legal")), mask.clone());
                    let json = format!(r#"{{"op": "fill_holes", "plane": "{plane}", "neighbours": "{word}"}}"#);
                    assert_eq!(applied(&given, &json).voxels, expected, "{json}");
                }
            }
        }
    }

    #[test]
    fn leaves_a_hole_larger_than_allowed() {
        let json = r#"{"op": "fill_holes", "plane": "slice", "maximum_cm2": 0.01}"#;
        check("####.###\n#..#.#.#\n####.###", &[], json, "####.###\n#..#.###\n####.###");
    }

    #[test]
    fn leaves_room_that_is_open_through_other_slices_and_fills_what_only_a_narrow_way_reaches() {
        let square = |half: i32, hole: i32| {
            let voxel =
                |j: i32, i: i32| if j.abs().max(i.abs()) <= half && j.abs().max(i.abs()) > hole { '#' } else { '.' };
            let row = |j: i32| (-8..=8).map(|i| voxel(j, i)).collect::<String>();
            (-8..=8).map(row).collect::<Vec<_>>().join("\n")
        };
        let stack = |slices: &[&String]| slices.iter().map(|s| s.as_str()).collect::<Vec<_>>().join("\n\n");
        let (ring, full, narrow, open) = (square(5, 3), square(5, -1), square(5, 0), square(-1, -1));
        let json = r#"{"op": "fill_holes", "plane": "slice", "open_mm": 2}"#;
        let arms = stack(&[&ring, &ring, &open, &open, &open, &open]);
        check(&arms, &[], json, &arms);
        let airway = stack(&[&ring, &ring, &narrow, &open, &open, &open]);
        // The tip of the ball just enters the narrow way; what lies behind it is filled.
        check(&airway, &[], json, &stack(&[&full, &full, &narrow, &open, &open, &open]));
    }
}
