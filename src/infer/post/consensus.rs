//! One mask out of several of the same organ: by majority, by mean, or by STAPLE; it does not look at neighbours.

use std::collections::BTreeMap;

use ndarray::{Array3, Axis, parallel::prelude::*};

use super::distance::{Extent, extent_of};
use super::{Context, Operation};
use crate::infer::parameter::{Kind, Parameter};
use crate::infer::part::part;
use crate::limits::STAPLE_ROUNDS_MAX;

pub(super) const ENTRY: Operation = Operation {
    name: "consensus",
    doc: "Replaces the mask by what the named structures agree on: those voxels that more than half of them hold (`majority`), at least the fraction `threshold` of them (`mean`), or whose probability is at least `threshold` when each structure is believed as far as it agrees with the others (`staple`). Voxel by voxel; neighbours and the border of the image play no part.",
    source: "binary STAPLE: Warfield, Zou and Wells, IEEE Trans. Medical Imaging 23, 2004, with the start, prior and end of ITK's STAPLEImageFilter",
    parameters: &[
        Parameter {
            name: "of",
            doc: "The structures, each with one vote; the mask itself has one where it is named.",
            unit: "",
            kind: Kind::Names,
            default: None,
        },
        Parameter {
            name: "method",
            doc: "How votes are counted.",
            unit: "",
            kind: Kind::Choice(&["majority", "mean", "staple"]),
            default: Some("\"majority\""),
        },
        Parameter {
            name: "threshold",
            doc: "With `mean` and `staple`: least fraction or probability kept.",
            unit: "fraction",
            kind: Kind::Number { low: 0.0, high: 1.0 },
            default: Some("0.5"),
        },
        Parameter {
            name: "region",
            doc: "With `staple`: which voxels count for the prior and for how sure a structure is of the outside: all of the `image`, as in ITK, or those of the smallest `box` around all structures.",
            unit: "",
            kind: Kind::Choice(&["image", "box"]),
            default: Some("\"image\""),
        },
    ],
    check: |arguments| {
        let count = arguments.names("of").len();
        (count > VOTES_MAX).then(|| {
            let expected = format!("at most {VOTES_MAX}");
            [format!("{count} structures in \"of\""), expected, "leave some out".to_owned()]
        })
    },
    apply: |arguments, mask, context| {
        let names = arguments.names("of");
        let all = context.union(names);
        let Some(extent) = extent_of(&all) else { return mask.fill(false) };
        let mut counts = vote(names, &extent, context);
        if arguments.choice("region") == "image" {
            let inside: u64 = counts.values().sum();
            *counts.entry(0).or_default() += all.len() as u64 - inside;
        }
        let (votes, threshold) = (names.len() as f64, arguments.number("threshold"));
        let share = |pattern: u64| f64::from(pattern.count_ones()) / votes;
        let chosen: BTreeMap<u64, bool> = match arguments.choice("method") {
            "majority" => counts.keys().map(|pattern| (*pattern, share(*pattern) > 0.5)).collect(),
            "mean" => counts.keys().map(|pattern| (*pattern, share(*pattern) >= threshold)).collect(),
            _ => staple(&counts, names.len()).0.iter().map(|(p, w)| (*p, *w >= threshold)).collect(),
        };
        // A voxel that no structure holds is never chosen, whatever the threshold.
        paint(mask, &extent, names, context, |pattern| pattern != 0 && chosen.get(&pattern).copied().unwrap_or(false));
    },
};

/// Most structures: one bit of a pattern each.
const VOTES_MAX: usize = 64;

/// Expectation and maximisation over patterns: voxels with one pattern have one probability, so that their number
/// is all that counts. Gives the probability of the inside by pattern, in which bit r is set where structure r holds
/// the voxel, and of each structure the probabilities that it holds what is inside and leaves out what is not.
fn staple(counts: &BTreeMap<u64, u64>, votes: usize) -> (BTreeMap<u64, f64>, Vec<(f64, f64)>) {
    let voxels: f64 = counts.values().map(|count| *count as f64).sum();
    let mean = |pattern: u64| f64::from(pattern.count_ones()) / votes as f64;
    let mut probability: BTreeMap<u64, f64> = counts.keys().map(|pattern| (*pattern, mean(*pattern))).collect();
    let sum = |of: &dyn Fn(u64) -> f64| counts.iter().map(|(pattern, count)| of(*pattern) * *count as f64).sum::<f64>();
    let prior = sum(&mean) / voxels;
    let mut performance = vec![(0.99999, 0.99999); votes];
    for _ in 0..STAPLE_ROUNDS_MAX {
        let before = performance.clone();
        let (inside, outside) = (sum(&|p| probability[&p]), sum(&|p| 1.0 - probability[&p]));
        for (vote, (sensitivity, specificity)) in performance.iter_mut().enumerate() {
            let holds = |pattern: u64| (pattern >> vote) & 1 == 1;
            // The maximisation. Where there is no inside or no outside nothing is learnt of it.
            if inside > 0.0 {
                *sensitivity = sum(&|p| if holds(p) { probability[&p] } else { 0.0 }) / inside;
            }
            if outside > 0.0 {
                *specificity = sum(&|p| if holds(p) { 0.0 } else { 1.0 - probability[&p] }) / outside;
            }
        }
        for (pattern, weight) in &mut probability {
            // The expectation.
            let (mut yes, mut no) = (prior, 1.0 - prior);
            for (vote, (sensitivity, specificity)) in performance.iter().enumerate() {
                let holds = (pattern >> vote) & 1 == 1;
                yes *= if holds { *sensitivity } else { 1.0 - sensitivity };
                no *= if holds { 1.0 - specificity } else { *specificity };
            }
            *weight = if yes + no > 0.0 { yes / (yes + no) } else { *weight };
        }
        let moved = |(a, b): (&(f64, f64), &(f64, f64))| (a.0 - b.0).powi(2).max((a.1 - b.1).powi(2));
        if before.iter().zip(&performance).map(moved).fold(0.0, f64::max) <= 1e-14 {
            break;
        }
    }
    (probability, performance)
}

/// How many voxels of a box have each pattern.
fn vote(names: &[String], extent: &Extent, context: &Context<'_>) -> BTreeMap<u64, u64> {
    let masks: Vec<_> = names.iter().map(|name| context.mask(name)).collect();
    let of_slice = |k: usize| {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        let planes: Vec<_> = masks.iter().map(|mask| part(mask.index_axis(Axis(0), k), &extent[1..])).collect();
        for at in ndarray::indices((extent[1].len(), extent[2].len())) {
            *counts.entry(pattern(planes.iter().map(|plane| plane[at]))).or_default() += 1;
        }
        counts
    };
    extent[0].clone().into_par_iter().map(of_slice).reduce(BTreeMap::new, |mut a, b| {
        b.into_iter().for_each(|(pattern, count)| *a.entry(pattern).or_default() += count);
        a
    })
}

fn pattern(votes: impl Iterator<Item = bool>) -> u64 {
    votes.enumerate().fold(0, |pattern, (vote, inside)| pattern | (u64::from(inside) << vote))
}

/// Sets the voxels of a box by their patterns and empties the rest.
fn paint(
    mask: &mut Array3<bool>,
    extent: &Extent,
    names: &[String],
    context: &Context<'_>,
    chosen: impl Fn(u64) -> bool + Sync,
) {
    let masks: Vec<_> = names.iter().map(|name| context.mask(name)).collect();
    mask.fill(false);
    let mut inside = part(mask.view_mut(), extent);
    inside.axis_iter_mut(Axis(0)).into_par_iter().zip(extent[0].clone()).for_each(|(mut plane, k)| {
        let planes: Vec<_> = masks.iter().map(|mask| part(mask.index_axis(Axis(0), k), &extent[1..])).collect();
        for (at, voxel) in plane.indexed_iter_mut() {
            *voxel = chosen(pattern(planes.iter().map(|plane| plane[at])));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::infer::post::tests::{changed, check};
    use crate::volume::{Mask, VolumeGeometry};

    const SHAPE: [usize; 3] = [6, 14, 15];

    /// Four spheres of different size and place, each with its own holes and specks.
    fn votes() -> Vec<Array3<bool>> {
        let sphere = |r: usize| {
            let centre = [[3.0, 6.0, 7.0], [3.0, 7.0, 7.0], [2.0, 6.0, 8.0], [3.0, 7.0, 6.0]][r];
            let radius: f64 = [4.2, 4.6, 4.0, 5.0][r];
            Array3::from_shape_fn(SHAPE, |(k, i, j)| {
                let (dk, di, dj) = (k as f64 - centre[0], i as f64 - centre[1], j as f64 - centre[2]);
                let noise = (i * 7 + j * 11 + k * 13 + r * 5 + i * j) % (9 + 2 * r);
                let near = (dk * 1.4).powi(2) + di.powi(2) + dj.powi(2) <= radius * radius;
                (near && noise != 0) || (noise == 1 && k == r && i < 4)
            })
        };
        (0..4).map(sphere).collect()
    }

    fn measured(json: &str) -> (usize, usize) {
        let origins = (0..SHAPE[0]).map(|k| [0.0, 0.0, k as f64]).collect();
        let geometry = VolumeGeometry::new((SHAPE[1], SHAPE[2]), [1.0; 2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let names = ["A", "B", "C", "D"];
        let structures: Vec<_> = names.into_iter().zip(votes()).collect();
        let found = changed(&Mask::empty(Arc::new(geometry.expect("legal"))), &structures, json).expect("legal");
        let place = |((k, i, j), _): ((usize, usize, usize), &bool)| (i * 31 + j * 17 + k * 7) % 1009;
        (found.count(), found.voxels.indexed_iter().filter(|(_, inside)| **inside).map(place).sum())
    }

    #[test]
    fn counts_votes() {
        let others = [("A", "####."), ("B", "##.#."), ("C", "#....")];
        check(".....", &others, r#"{"op": "consensus", "of": ["A", "B", "C"]}"#, "##.#.");
        let mean = r#"{"op": "consensus", "of": ["A", "B", "C"], "method": "mean", "threshold": 0.3}"#;
        check("....#", &others, mean, "####.");
        check(".....", &others, r#"{"op": "consensus", "of": ["A", "B"]}"#, "##.#.");
        check(".....", &others, r#"{"op": "consensus", "of": ["B", "C"]}"#, "#....");
    }

    #[test]
    fn finds_what_simple_itk_finds() {
        // SimpleITK 2.5.7, STAPLE of the four masks.
        let json = |rest: &str| format!(r#"{{"op": "consensus", "of": ["A", "B", "C", "D"], {rest}}}"#);
        assert_eq!(measured(&json(r#""method": "staple""#)), (268, 92_299));
        assert_eq!(measured(&json(r#""method": "staple", "threshold": 0.9"#)), (243, 84_250));
        assert_eq!(measured(&json(r#""method": "majority""#)), (187, 62_234));
        assert_eq!(measured(&json(r#""method": "mean", "threshold": 0.75"#)), (187, 62_234));
        let (votes, mut counts) = (votes(), BTreeMap::new());
        for at in ndarray::indices(SHAPE) {
            *counts.entry(pattern(votes.iter().map(|mask| mask[at]))).or_default() += 1;
        }
        let (found, performance) = staple(&counts, 4);
        let sensitivity = [0.679_272_4, 0.900_031_6, 0.533_787_9, 0.923_759_8];
        let specificity = [0.985_453_1, 0.974_748_6, 0.968_934_4, 0.901_707_1];
        for (vote, (p, q)) in performance.iter().enumerate() {
            assert!((p - sensitivity[vote]).abs() < 2e-6 && (q - specificity[vote]).abs() < 2e-6, "{p} {q}");
        }
        for (pattern, expected) in [(0, 0.000_323_94), (5, 0.624_100_08), (12, 0.562_604_01), (15, 0.999_984_41)] {
            let probability = found[&pattern];
            assert!((probability - expected).abs() < 1e-5, "{pattern}: {probability}");
        }
    }

    #[test]
    fn structures_that_agree_and_empty_ones_are_no_trouble() {
        let json = r#"{"op": "consensus", "of": ["A", "B"], "method": "staple"}"#;
        check("....", &[("A", "####"), ("B", "####")], json, "####");
        check("..##", &[("A", "...."), ("B", "....")], json, "....");
        let boxed = r#"{"op": "consensus", "of": ["A", "B"], "method": "staple", "region": "box"}"#;
        check("....", &[("A", ".##."), ("B", ".##.")], boxed, ".##.");
    }
}
