//! Settle which structure has the voxels that several claim; the others do not change.

use ndarray::{Array3, Zip};

use super::distance::{extent_of, widened};
use super::{Context, Operation, always_consistent};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;
use crate::volume::distances::squared;

pub(super) const ENTRY: Operation = Operation {
    name: "yields_to",
    doc: "Gives up voxels that the named structures claim too: they win over this one, always or where they are deeper. Voxel by voxel; the border of the image is not outside.",
    source: "common practice for overlapping classes; depth by exact Euclidean distance",
    parameters: &[
        Parameter {
            name: "of",
            doc: "The structures that win; their union counts.",
            unit: "",
            kind: Kind::Names,
            default: None,
        },
        Parameter {
            name: "rule",
            doc: "`always`, or only where the voxel is `deeper` in the others than in this mask, by the distance to the nearest voxel outside. For a border halfway through the overlap the first of two structures yields to the other where that is deeper, and the second one, made after it, always.",
            unit: "",
            kind: Kind::Choice(&["always", "deeper"]),
            default: Some("\"always\""),
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let others = context.union(arguments.names("of"));
        if arguments.choice("rule") == "deeper" {
            return yield_where_deeper(mask, &others, context);
        }
        Zip::from(mask).and(&*others).par_for_each(|mask, others| *mask &= !*others);
    },
};

fn yield_where_deeper(mask: &mut Array3<bool>, others: &Array3<bool>, context: &Context<'_>) {
    let mut either = mask.clone();
    Zip::from(&mut either).and(others).par_for_each(|either, others| *either &= *others);
    if !either.iter().any(|both| *both) {
        return;
    }
    Zip::from(&mut either).and(&*mask).and(others).par_for_each(|either, mask, others| *either = *mask || *others);
    let Some(extent) = extent_of(&either) else { return };
    // One voxel around both is outside of both; farther ones are no nearer.
    let extent = widened(&extent, [1; 3], &either);
    let geometry = context.geometry;
    let even = |range: &std::ops::Range<usize>, mm: f64| range.clone().map(|i| i as f64 * mm).collect::<Vec<f64>>();
    let rows = even(&extent[1], geometry.row_spacing_mm());
    let columns = even(&extent[2], geometry.column_spacing_mm());
    let places = [&geometry.positions_mm()[extent[0].clone()], rows.as_slice(), columns.as_slice()];
    let own = squared(part(mask.view(), &extent), false, places);
    let theirs = squared(part(others.view(), &extent), false, places);
    // Outside of the others their depth is 0. The hair keeps voxels that are as deep in both.
    let mut inside = part(mask.view_mut(), &extent);
    Zip::from(&mut inside).and(&own).and(&theirs).par_for_each(|inside, own, theirs| {
        *inside &= !(*theirs > 0.0 && *theirs > *own * (1.0 + 1e-9));
    });
}

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::check;

    #[test]
    fn gives_up_all_that_is_contested_or_what_is_deeper_in_the_other() {
        let others = [("A", "...######.")];
        check(".#####....", &others, r#"{"op": "yields_to", "of": ["A"]}"#, ".##.......");
        let deeper = r#"{"op": "yields_to", "of": ["A"], "rule": "deeper"}"#;
        // In the overlap the mask is 3, 2, 1 deep and the other one 1, 2, 3.
        check(".#####....", &others, deeper, ".####.....");
        check(".##.......", &others, deeper, ".##.......");
        // The border of the image is not outside: the other one is 3 deep where the mask ends.
        check("..###.", &[("A", "..####")], deeper, "..##..");
    }
}
