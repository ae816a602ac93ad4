//! Keep the largest connected parts; the rest is dropped.

use ndarray::{Array3, Zip};

use super::components::{Components, Neighbours, Run, parameter as neighbours};
use super::{Context, Operation, always_consistent};
use crate::infer::parameter::{Arguments, Kind, Parameter};
use crate::volume::VolumeGeometry;

pub(super) const ENTRY: Operation = Operation {
    name: "largest_component",
    doc: "Keeps the `count` largest connected parts, by `neighbours`. A part that the border of the image cuts counts with what is in the image. A mask of one part, or of one voxel, stays as it is.",
    source: "CERR's getLargestConnComps is `neighbours` corners, `size` voxels, `ties` cerr; nnU-Net's remove_all_but_largest_component is corners, voxels, all, with the other labels in `with`; MONAI's KeepLargestConnectedComponent is corners (its default), voxels, last, and `with` where it is not independent",
    parameters: &[
        Parameter {
            name: "count",
            doc: "How many parts are kept.",
            unit: "",
            kind: Kind::Integer { low: 1, high: 1000 },
            default: Some("1"),
        },
        neighbours("\"faces\""),
        Parameter {
            name: "plane",
            doc: "Whether voxels are connected in the `volume` or within each `slice` only.",
            unit: "",
            kind: Kind::Choice(&["volume", "slice"]),
            default: Some("\"volume\""),
        },
        Parameter {
            name: "size",
            doc: "Whether size is the `volume`, each slice with its own thickness, or the number of `voxels`.",
            unit: "",
            kind: Kind::Choice(&["volume", "voxels"]),
            default: Some("\"volume\""),
        },
        Parameter {
            name: "ties",
            doc: "Which of equal parts comes first: the one whose first voxel comes `first` (or `last`) in the stack, in the order of slices, rows and columns; that of the slice nearest to the head, then by columns and rows (`cerr`, as MATLAB counts); or `all` that are as large as the last one kept.",
            unit: "",
            kind: Kind::Choice(&["first", "last", "cerr", "all"]),
            default: Some("\"first\""),
        },
        Parameter {
            name: "with",
            doc: "Structures that are judged jointly: parts are those of the union of the mask and these, and the mask loses its voxels in the parts that are not kept. The same list works in each of them, in any order.",
            unit: "",
            kind: Kind::Names,
            default: Some("[]"),
        },
    ],
    check: always_consistent,
    apply: |arguments, mask, context| {
        let per_slice = arguments.choice("plane") == "slice";
        let all = joined(mask, arguments.names("with"), context);
        let all = all.as_ref().unwrap_or(mask);
        let parts = Components::of(all, true, Neighbours::of(arguments.choice("neighbours")), per_slice);
        let keep = largest(&parts, arguments, per_slice, context.geometry);
        parts.paint(mask, false, |part| !keep[part]);
    },
};

/// The union of the mask and others; `None` when there are no others.
pub fn joined(mask: &Array3<bool>, others: &[String], context: &Context<'_>) -> Option<Array3<bool>> {
    let mut all = (!others.is_empty()).then(|| context.union(others).into_owned())?;
    Zip::from(&mut all).and(mask).par_for_each(|all, inside| *all |= *inside);
    Some(all)
}

/// Which parts are among the largest, of the whole volume or of their slice.
fn largest(parts: &Components, arguments: &Arguments, per_slice: bool, geometry: &VolumeGeometry) -> Vec<bool> {
    let count = arguments.integer("count") as usize;
    let by_volume = arguments.choice("size") == "volume";
    let size =
        parts.sum(|run| run.length() * if by_volume { geometry.slice_extent_mm(run.slice as usize) } else { 1.0 });
    let mut slice_of = vec![0; parts.count];
    if per_slice {
        parts.runs.iter().zip(&parts.component).for_each(|(run, part)| slice_of[*part as usize] = run.slice);
    }
    let rank = match arguments.choice("ties") {
        "cerr" => matlab_ranks(parts, geometry),
        "last" => (0..parts.count).rev().collect(),
        _ => (0..parts.count).collect(),
    };
    let mut order: Vec<usize> = (0..parts.count).collect();
    order.sort_by(|a, b| {
        slice_of[*a].cmp(&slice_of[*b]).then(size[*b].total_cmp(&size[*a])).then(rank[*a].cmp(&rank[*b]))
    });
    let mut keep = vec![false; parts.count];
    for of_slice in order.chunk_by(|a, b| slice_of[*a] == slice_of[*b]) {
        let least = size[of_slice[count.min(of_slice.len()) - 1]];
        let equal = arguments.choice("ties") == "all";
        of_slice
            .iter()
            .enumerate()
            .filter(|(place, part)| *place < count || (equal && size[**part] >= least))
            .for_each(|(_, part)| keep[*part] = true);
    }
    keep
}

/// The place of each part in MATLAB's numbering: by the first voxel in the order slices (CERR's first is the one nearest
/// to the head), columns, rows.
pub fn matlab_ranks(parts: &Components, geometry: &VolumeGeometry) -> Vec<usize> {
    let head_first = geometry.normal()[2] < 0.0;
    let last = geometry.slices() as u32 - 1;
    let place = |run: &Run| (if head_first { run.slice } else { last - run.slice }, run.start, run.row);
    let mut first = vec![(u32::MAX, 0, 0); parts.count];
    for (run, part) in parts.runs.iter().zip(&parts.component) {
        let part = *part as usize;
        first[part] = first[part].min(place(run));
    }
    let mut order: Vec<usize> = (0..parts.count).collect();
    order.sort_by_key(|part| first[*part]);
    let mut rank = vec![0; parts.count];
    order.iter().enumerate().for_each(|(place, part)| rank[*part] = place);
    rank
}

#[cfg(test)]
mod tests {
    use crate::infer::post::tests::{check, check_mirrored};

    #[test]
    fn keeps_the_largest_parts_of_the_volume_or_of_each_slice() {
        check("##.#.###", &[], r#"{"op": "largest_component"}"#, ".....###");
        check("##.#.###", &[], r#"{"op": "largest_component", "count": 2}"#, "##...###");
        check("#.##\n\n#...", &[], r#"{"op": "largest_component", "plane": "slice"}"#, "..##\n\n#...");
        check("#.##\n\n#...", &[], r#"{"op": "largest_component"}"#, "#...\n\n#...");
    }

    #[test]
    fn of_equal_parts_the_first_stays_or_what_is_asked_for() {
        check("##.##", &[], r#"{"op": "largest_component"}"#, "##...");
        check("##.##", &[], r#"{"op": "largest_component", "ties": "last"}"#, "...##");
        check("##.##.#", &[], r#"{"op": "largest_component", "ties": "all"}"#, "##.##..");
        check("#.##.##", &[], r#"{"op": "largest_component", "ties": "all", "count": 3}"#, "#.##.##");
    }

    #[test]
    fn matlab_counts_from_the_head_and_down_the_columns() {
        let cerr = r#"{"op": "largest_component", "ties": "cerr", "neighbours": "corners", "size": "voxels"}"#;
        check(".#.\n...\n#..", &[], cerr, "...\n...\n#..");
        // Slice 0 lies nearest to the feet, unless columns run to the right.
        check("#.\n\n..\n\n.#", &[], cerr, "..\n\n..\n\n.#");
        check_mirrored("#.\n\n..\n\n.#", &[], cerr, "#.\n\n..\n\n..");
        check("#", &[], cerr, "#");
        check("...", &[], cerr, "...");
    }

    #[test]
    fn connects_by_faces_edges_or_corners() {
        // An edge joins the pair in each slice and a corner the two slices.
        let before = "#..\n.#.\n...\n\n...\n...\n..#";
        check(before, &[], r#"{"op": "largest_component"}"#, "#..\n...\n...\n\n...\n...\n...");
        let edges = r#"{"op": "largest_component", "neighbours": "edges"}"#;
        check(before, &[], edges, "#..\n.#.\n...\n\n...\n...\n...");
        check(before, &[], r#"{"op": "largest_component", "neighbours": "corners"}"#, before);
    }

    #[test]
    fn judges_labels_jointly_and_each_loses_what_is_outside() {
        let others = [("B", "..##.....#"), ("A", "##...###..")];
        let json = r#"{"op": "largest_component", "with": ["B"]}"#;
        check("##...###..", &others, json, "##........");
        check("..##.....#", &others, r#"{"op": "largest_component", "with": ["A"]}"#, "..##......");
    }
}
