//! One side of a paired organ, by the patient's left and right; slices and rows of the image do not matter.

use std::collections::VecDeque;

use ndarray::Array3;

use super::components::{Components, Neighbours, Run};
use super::distance::eroded;
use super::{Context, Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;

/// Radii tried until the two halves come apart. Lungs that touch at the junction lines part at 1 to 3 mm.
const RADII_MM: [f64; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0];

/// Least volume of the smaller half as a fraction of the larger: a collapsed lung still has a tenth.
const LEAST_SHARE: f64 = 0.1;

pub(super) const ENTRY: Operation = Operation {
    name: "split_left_right",
    doc: "Keeps one side of a pair. The mask is worn away until two large parts come apart; each voxel goes to the part that reaches it first, and the part farther along the patient's +x is the left one. Where no such two lie on both sides of the middle of `body`, each part goes by its own side of it. Parts are connected by corners, sides grow through faces; the border of the image wears nothing away. Of an empty `body` nothing is kept.",
    source: "patient coordinates of PS3.3 C.7.6.2.1.1: +x is the patient's left in every position",
    parameters: &[
        Parameter {
            name: "side",
            doc: "The patient's side that is kept.",
            unit: "",
            kind: Kind::Choice(&["left", "right"]),
            default: None,
        },
        Parameter {
            name: "body",
            doc: "The structure whose middle parts left from right.",
            unit: "",
            kind: Kind::Name,
            default: None,
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let left_wanted = arguments.choice("side") == "left";
        let Some(side) = sides(mask, context, &arguments.names("body")[0]) else {
            // Without a body there is no middle: both sides in one structure would be worse than none.
            mask.fill(false);
            return;
        };
        let wanted = if left_wanted { Side::Left } else { Side::Right };
        ndarray::Zip::from(mask).and(&side).par_for_each(|m, side| *m &= *side == wanted as u8);
    },
};

#[derive(Clone, Copy, Debug)]
enum Side {
    Left = 1,
    Right = 2,
}

/// The side of every voxel of the mask; `None` for an empty mask or body.
fn sides(mask: &Array3<bool>, context: &Context<'_>, body: &str) -> Option<Array3<u8>> {
    let middle = mean_x(&context.mask(body), context)?;
    let (parts, halves) = RADII_MM
        .iter()
        .find_map(|&radius| two_parts(mask, radius, middle, context))
        .unwrap_or_else(|| each_by_itself(mask, middle, context));
    let mut side = Array3::<u8>::zeros(mask.raw_dim());
    paint(&mut side, &parts, &halves);
    let front = frontier(mask, &side, &parts);
    flood(mask, &mut side, front);
    // Parts that wore away altogether, apart from all others.
    let mut rest = mask.clone();
    ndarray::Zip::from(&mut rest).and(&side).par_for_each(|rest, side| *rest &= *side == 0);
    let (parts, halves) = each_by_itself(&rest, middle, context);
    paint(&mut side, &parts, &halves);
    Some(side)
}

/// Gives the voxels of each part its side.
fn paint(side: &mut Array3<u8>, parts: &Components, halves: &[Side]) {
    for (run, component) in parts.runs.iter().zip(&parts.component) {
        part(side.view_mut(), &run.ranges()).fill(halves[*component as usize] as u8);
    }
}

/// The parts of the worn mask, each with its side, when the two largest are large enough and on the two sides of the
/// middle. Further parts (a lobe cut off by a fissure) go with the one whose middle is nearer.
fn two_parts(
    mask: &Array3<bool>,
    radius_mm: f64,
    middle: f64,
    context: &Context<'_>,
) -> Option<(Components, Vec<Side>)> {
    let worn = if radius_mm == 0.0 { None } else { Some(eroded(mask, radius_mm, context.geometry)) };
    let parts = Components::of(worn.as_ref().unwrap_or(mask), true, Neighbours::Corners, false);
    let volume = parts.sum(|run| run.length() * context.geometry.slice_extent_mm(run.slice as usize));
    let mut order: Vec<usize> = (0..parts.count).collect();
    order.sort_by(|a, b| volume[*b].total_cmp(&volume[*a]));
    let (&first, &second) = (order.first()?, order.get(1)?);
    let x = middles(&parts, context);
    let (left, right) = if x[first] > x[second] { (first, second) } else { (second, first) };
    if volume[second] < LEAST_SHARE * volume[first] || x[right] > middle || x[left] < middle {
        return None;
    }
    let nearer_left = |part: usize| (x[part] - x[left]).abs() < (x[part] - x[right]).abs();
    let halves = (0..parts.count).map(|part| if nearer_left(part) { Side::Left } else { Side::Right }).collect();
    Some((parts, halves))
}

/// The parts of the mask, each on the side of the body's middle that it lies on.
fn each_by_itself(mask: &Array3<bool>, middle: f64, context: &Context<'_>) -> (Components, Vec<Side>) {
    let parts = Components::of(mask, true, Neighbours::Corners, false);
    let x = middles(&parts, context);
    let halves = x.iter().map(|x| if *x > middle { Side::Left } else { Side::Right }).collect();
    (parts, halves)
}

/// Mean patient x of each part.
fn middles(parts: &Components, context: &Context<'_>) -> Vec<f64> {
    let moment = parts.sum(|run| run.length() * x_of(run.slice, run.row, run.start, run.end, context));
    moment.iter().zip(parts.sum(Run::length)).map(|(moment, count)| moment / count).collect()
}

fn x_of(slice: u32, row: u32, start: u32, end: u32, context: &Context<'_>) -> f64 {
    let middle = f64::from(start + end - 1) / 2.0;
    context.geometry.index_to_patient([f64::from(slice), f64::from(row), middle])[0]
}

/// Mean patient x of a mask.
fn mean_x(mask: &Array3<bool>, context: &Context<'_>) -> Option<f64> {
    let parts = Components::of(mask, true, Neighbours::Faces, false);
    let moment: f64 =
        parts.runs.iter().map(|run| run.length() * x_of(run.slice, run.row, run.start, run.end, context)).sum();
    let count: f64 = parts.runs.iter().map(Run::length).sum();
    (count > 0.0).then(|| moment / count)
}

/// The voxels that have a side and a neighbour in the mask that has none.
fn frontier(mask: &Array3<bool>, side: &Array3<u8>, parts: &Components) -> VecDeque<Place> {
    let open = |place: &Place| around(*place, mask.dim()).any(|next| mask[next] && side[next] == 0);
    let places = parts
        .runs
        .iter()
        .flat_map(|run| (run.start..run.end).map(|column| (run.slice as usize, run.row as usize, column as usize)));
    if parts.sum(Run::length).iter().sum::<f64>() >= mask.iter().filter(|inside| **inside).count() as f64 {
        return VecDeque::new();
    }
    places.filter(open).collect()
}

/// Index of slice, row and column.
type Place = (usize, usize, usize);

/// The neighbours of a voxel through its faces.
fn around((k, j, i): Place, (slices, rows, columns): Place) -> impl Iterator<Item = Place> {
    let next = [
        (k.wrapping_sub(1), j, i),
        (k + 1, j, i),
        (k, j.wrapping_sub(1), i),
        (k, j + 1, i),
        (k, j, i.wrapping_sub(1)),
        (k, j, i + 1),
    ];
    next.into_iter().filter(move |(k, j, i)| *k < slices && *j < rows && *i < columns)
}

/// Lets the sides grow into the rest of the mask, one voxel at a time, breadth first.
fn flood(mask: &Array3<bool>, side: &mut Array3<u8>, mut front: VecDeque<Place>) {
    while let Some(place) = front.pop_front() {
        let value = side[place];
        for next in around(place, mask.dim()) {
            if mask[next] && side[next] == 0 {
                side[next] = value;
                front.push_back(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::{check, check_mirrored};

    #[test]
    fn parts_a_pair_that_is_joined_by_a_bridge() {
        let before = "####.####\n#########\n####.####";
        let left = r#"{"op": "split_left_right", "side": "left", "body": "B"}"#;
        let right = r#"{"op": "split_left_right", "side": "right", "body": "B"}"#;
        let body = [("B", "#########\n#########\n#########")];
        check(before, &body, left, ".....####\n.....####\n.....####");
        check(before, &body, right, "####.....\n#####....\n####.....");
    }

    #[test]
    fn an_empty_body_keeps_nothing_of_either_side() {
        let left = r#"{"op": "split_left_right", "side": "left", "body": "B"}"#;
        check("###..###", &[("B", "........")], left, "........");
    }

    #[test]
    fn a_thin_part_that_wears_away_goes_by_its_side() {
        // The bridge parts at a radius that leaves nothing of the island on the left.
        let before = "####...####.#\n###########..\n####...####..\n####...####..";
        let body = [("B", "#############\n#############\n#############\n#############")];
        let left = r#"{"op": "split_left_right", "side": "left", "body": "B"}"#;
        check(before, &body, left, ".......####.#\n......#####..\n.......####..\n.......####..");
    }

    #[test]
    fn left_is_the_patients_left_when_columns_run_the_other_way() {
        let left = r#"{"op": "split_left_right", "side": "left", "body": "B"}"#;
        check_mirrored("###..###", &[("B", "########")], left, "###.....");
    }

    #[test]
    fn a_single_part_is_left_or_right_of_the_middle_of_the_body() {
        let right = r#"{"op": "split_left_right", "side": "right", "body": "B"}"#;
        let left = r#"{"op": "split_left_right", "side": "left", "body": "B"}"#;
        check(".##.....", &[("B", "########")], right, ".##.....");
        check(".##.....", &[("B", "########")], left, "........");
    }
}
