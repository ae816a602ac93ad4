//! What tells images at one position apart: phase, echo, b-value, acquisition. It chooses what splits a stack into several
//! and decides nothing else.

use std::collections::BTreeMap;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::format::functional_group;
use super::placement::COINCIDENT_MM;
use crate::dicom::Instance;
use crate::dicom::instance::{items, text};
use crate::limits::VOLUME_SLICES_MIN;

/// Where a key stands: at the top level of a classic image, and in a functional group of a multi-frame one.
struct Key {
    name: &'static str,
    classic: &'static [Tag],
    /// The sequence of the functional group first, then what is inside.
    of_frame: &'static [&'static [Tag]],
}

/// b-values of vendors who wrote them before the standard had a place for them: Siemens, GE.
const B_VALUES: [Tag; 3] = [tags::DIFFUSION_B_VALUE, Tag(0x0019, 0x100c), Tag(0x0043, 0x1039)];

/// In the order in which they are tried; of keys that split alike the first names the parts.
#[rustfmt::skip]
const KEYS: [Key; 14] = [
    Key { name: "Temporal Position", classic: &[tags::TEMPORAL_POSITION_IDENTIFIER], of_frame: &[&[tags::FRAME_CONTENT_SEQUENCE, tags::TEMPORAL_POSITION_INDEX]] },
    Key { name: "Respiratory Phase", classic: &[tags::NOMINAL_PERCENTAGE_OF_RESPIRATORY_PHASE], of_frame: &[&[tags::RESPIRATORY_SYNCHRONIZATION_SEQUENCE, tags::NOMINAL_PERCENTAGE_OF_RESPIRATORY_PHASE]] },
    Key { name: "Cardiac Phase", classic: &[tags::NOMINAL_PERCENTAGE_OF_CARDIAC_PHASE], of_frame: &[&[tags::CARDIAC_SYNCHRONIZATION_SEQUENCE, tags::NOMINAL_PERCENTAGE_OF_CARDIAC_PHASE]] },
    Key { name: "Trigger Time", classic: &[tags::TRIGGER_TIME], of_frame: &[&[tags::CARDIAC_SYNCHRONIZATION_SEQUENCE, tags::NOMINAL_CARDIAC_TRIGGER_DELAY_TIME]] },
    Key { name: "Echo Number", classic: &[tags::ECHO_NUMBERS], of_frame: &[] },
    Key { name: "Echo Time", classic: &[tags::ECHO_TIME], of_frame: &[&[tags::MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME]] },
    Key { name: "b-value", classic: &B_VALUES, of_frame: &[&[tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_B_VALUE]] },
    Key { name: "Diffusion Gradient", classic: &[tags::DIFFUSION_GRADIENT_ORIENTATION], of_frame: &[&[tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_GRADIENT_DIRECTION_SEQUENCE, tags::DIFFUSION_GRADIENT_ORIENTATION]] },
    Key { name: "Acquisition Number", classic: &[tags::ACQUISITION_NUMBER], of_frame: &[&[tags::FRAME_CONTENT_SEQUENCE, tags::FRAME_ACQUISITION_NUMBER]] },
    Key { name: "Image Type", classic: &[tags::IMAGE_TYPE], of_frame: &[&[tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE], &[tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE], &[tags::PET_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE]] },
    Key { name: "Convolution Kernel", classic: &[tags::CONVOLUTION_KERNEL], of_frame: &[&[tags::CT_RECONSTRUCTION_SEQUENCE, tags::CONVOLUTION_KERNEL]] },
    Key { name: "Stack", classic: &[], of_frame: &[&[tags::FRAME_CONTENT_SEQUENCE, tags::STACK_ID]] },
    Key { name: "Frame Reference Time", classic: &[tags::FRAME_REFERENCE_TIME], of_frame: &[] },
    Key { name: "Acquisition Time", classic: &[tags::ACQUISITION_TIME], of_frame: &[&[tags::FRAME_CONTENT_SEQUENCE, tags::FRAME_ACQUISITION_DATE_TIME]] },
];

/// Longest value of a key that is kept; a longer one is a text of somebody's own.
const VALUE_LENGTH_MAX: usize = 64;

/// The values of the keys of one image, in the order of the table; empty where it has none. None is an attribute of the
/// patient.
pub type Phase = Vec<String>;

/// The phase of a classic image; empty, for short, when it has none of the keys.
pub fn phase(instance: &Instance) -> Phase {
    let value = |key: &Key| key.classic.iter().find_map(|tag| value(&instance.header, *tag));
    shortened(KEYS.iter().map(|key| value(key).unwrap_or_default()))
}

/// The phase of a frame (0-based) of a multi-frame image.
pub(super) fn phase_of_frame(instance: &Instance, frame: usize) -> Phase {
    let header = &instance.header;
    let value = |key: &Key| {
        let mut places = key.of_frame.iter();
        places.find_map(|path| {
            let (&[group, ref inside @ ..], tag) = (path.split_last()?.1, *path.last()?) else { return None };
            let item = functional_group(header, frame, group)?;
            value(inside.iter().try_fold(item, |item, tag| items(item, *tag).first())?, tag)
        })
    };
    shortened(KEYS.iter().map(|key| value(key).unwrap_or_default()))
}

fn shortened(values: impl Iterator<Item = String>) -> Phase {
    let mut phase: Phase = values.collect();
    while phase.last().is_some_and(String::is_empty) {
        phase.pop();
    }
    phase
}

fn value(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let element = object.get(tag)?;
    let found = match element.vr() {
        // A private element of Implicit VR, written as text.
        VR::UN => String::from_utf8(element.to_bytes().ok()?.into_owned()).ok(),
        _ => text(object, tag).or_else(|| element.to_str().ok().map(|text| text.into_owned())),
    };
    let found = found?.trim_matches([' ', '\0']).to_owned();
    (!found.is_empty() && found.len() <= VALUE_LENGTH_MAX && found.chars().all(|c| !c.is_control())).then_some(found)
}

/// One part of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which images, by index, ascending.
    pub members: Vec<usize>,
    /// What tells it from the others, such as `Temporal Position 3`.
    pub label: String,
}

/// Splits images of one orientation by what tells those at one position apart, when that is so: each part then has one
/// image for each of its positions. Of all keys those count that leave the fewest parts: each part more could be a piece
/// of a phase. `None` when nothing splits them, nothing has to, or as few parts can be made in different ways. Images of
/// which there are too few for a volume are parts too; they may share a position.
pub fn split(positions_mm: &[f64], phases: &[Phase]) -> Option<Vec<Part>> {
    let value = |image: usize, key: usize| phases[image].get(key).map_or("", String::as_str);
    let varies = |key: &usize| (1..phases.len()).any(|image| value(image, *key) != value(0, *key));
    let keys: Vec<usize> = (0..KEYS.len()).filter(varies).collect();
    let singles = keys.iter().map(|&key| vec![key]);
    let pairs =
        keys.iter().enumerate().flat_map(|(at, &one)| keys[at + 1..].iter().map(move |&other| vec![one, other]));
    let sets = singles.chain(pairs).chain((keys.len() > 2).then(|| keys.clone()));
    let mut best: Option<Vec<Part>> = None;
    let mut is_unclear = false;
    for set in sets {
        let mut groups: BTreeMap<Vec<&str>, Vec<usize>> = BTreeMap::new();
        for image in 0..phases.len() {
            groups.entry(set.iter().map(|&key| value(image, key)).collect()).or_default().push(image);
        }
        let fewest = best.as_ref().map_or(usize::MAX, Vec::len);
        if groups.len() > fewest || !is_split(positions_mm, groups.values()) {
            continue;
        }
        if groups.len() < fewest {
            (best, is_unclear) = (Some(parts(&set, groups)), false);
        } else if let Some(best) = &best {
            is_unclear |= !groups.values().all(|members| best.iter().any(|part| part.members == *members));
        }
    }
    best.filter(|_| !is_unclear)
}

/// The groups in the order of their values, with their names.
fn parts(set: &[usize], groups: BTreeMap<Vec<&str>, Vec<usize>>) -> Vec<Part> {
    let mut parts: Vec<(Vec<&str>, Vec<usize>)> = groups.into_iter().collect();
    parts.sort_by(|a, b| ordered(&a.0, &b.0));
    let label = |values: &[&str]| {
        let named = set.iter().zip(values).map(|(&key, value)| named(KEYS[key].name, value));
        named.collect::<Vec<_>>().join(", ")
    };
    parts.into_iter().map(|(values, members)| Part { members, label: label(&values) }).collect()
}

fn named(key: &str, value: &str) -> String {
    if value.is_empty() { format!("without {key}") } else { format!("{key} {value}") }
}

/// Numbers as numbers, so that phase 10 comes after phase 9.
fn ordered(a: &[&str], b: &[&str]) -> std::cmp::Ordering {
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
    let numbers = a.iter().zip(b).map(|(x, y)| number(x).total_cmp(&number(y)));
    numbers.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).then_with(|| a.cmp(b))
}

/// Whether groups are stacks beside each other in space: at least two, each with one image for each position, of which
/// some lie in the extent of another; most images are in one of them.
fn is_split<'a>(positions_mm: &[f64], groups: impl Iterator<Item = &'a Vec<usize>>) -> bool {
    let (mut stacks, mut inside, mut groups_count) = (Vec::new(), 0, 0);
    for members in groups {
        groups_count += 1;
        let mut own: Vec<f64> = members.iter().map(|&image| positions_mm[image]).collect();
        own.sort_by(f64::total_cmp);
        let distinct = 1 + own.windows(2).filter(|pair| pair[1] - pair[0] >= COINCIDENT_MM).count();
        if distinct < VOLUME_SLICES_MIN {
            continue;
        }
        if distinct < own.len() {
            return false;
        }
        inside += own.len();
        stacks.push((own[0], own[own.len() - 1]));
    }
    let apart = |(a, b): (usize, usize)| stacks[a].1 <= stacks[b].0 || stacks[b].1 <= stacks[a].0;
    let mut pairs = (0..stacks.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let overlap = pairs.any(|pair| !apart(pair)) || (stacks.len() == 1 && groups_count > 1);
    overlap && 2 * inside >= positions_mm.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each text is a phase in the order of the table, values separated by spaces, `-` for none.
    fn check(images: &[(f64, &str)], expected: &[&str]) {
        let positions: Vec<f64> = images.iter().map(|(position, _)| *position).collect();
        let value = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
        let phases: Vec<Phase> = images.iter().map(|(_, text)| text.split(' ').map(value).collect()).collect();
        let found = split(&positions, &phases).unwrap_or_default();
        let shown: Vec<String> = found.iter().map(|part| format!("{}: {:?}", part.label, part.members)).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn splits_by_the_first_key_that_leaves_one_image_for_each_position() {
        let phases = [(0.0, "10"), (3.0, "10"), (6.0, "10"), (0.0, "9"), (3.0, "9"), (6.0, "9")];
        check(&phases, &["Temporal Position 9: [3, 4, 5]", "Temporal Position 10: [0, 1, 2]"]);
        // The trigger time differs in every image and tells nothing; the echo does.
        let echoes = [
            (0.0, "- - - 1 1"),
            (3.0, "- - - 2 1"),
            (6.0, "- - - 3 1"),
            (0.0, "- - - 4 2"),
            (3.0, "- - - 5 2"),
            (6.0, "- - - 6 2"),
        ];
        check(&echoes, &["Echo Number 1: [0, 1, 2]", "Echo Number 2: [3, 4, 5]"]);
    }

    #[test]
    fn splits_by_two_keys_where_one_is_not_enough() {
        let mut images = Vec::new();
        for phase in ["1 - - - 1", "1 - - - 2", "2 - - - 1", "2 - - - 2"] {
            images.extend([0.0, 3.0, 6.0].map(|position| (position, phase)));
        }
        check(
            &images,
            &[
                "Temporal Position 1, Echo Number 1: [0, 1, 2]",
                "Temporal Position 1, Echo Number 2: [3, 4, 5]",
                "Temporal Position 2, Echo Number 1: [6, 7, 8]",
                "Temporal Position 2, Echo Number 2: [9, 10, 11]",
            ],
        );
    }

    #[test]
    fn images_that_watch_one_place_are_a_part_beside_the_stack() {
        let watched = [(0.0, "1"), (3.0, "1"), (6.0, "1"), (3.0, "2"), (3.0, "2")];
        check(&watched, &["Temporal Position 1: [0, 1, 2]", "Temporal Position 2: [3, 4]"]);
    }

    #[test]
    fn the_split_with_the_fewest_parts_is_taken_and_none_of_two_that_differ() {
        // The Trigger Time cuts the second echo into pieces; the Echo Number does not.
        let images: Vec<(f64, String)> = (0..16)
            .map(|k| (3.0 * f64::from(k % 8), format!("- - - {} {}", if k < 12 { k / 8 } else { 2 }, k / 8)))
            .collect();
        let images: Vec<(f64, &str)> = images.iter().map(|(position, text)| (*position, text.as_str())).collect();
        let [first, second] = ["0: [0, 1, 2, 3, 4, 5, 6, 7]", "1: [8, 9, 10, 11, 12, 13, 14, 15]"];
        check(&images, &[&format!("Echo Number {first}"), &format!("Echo Number {second}")]);
        let crossed = [(0.0, "1 1"), (3.0, "1 1"), (6.0, "1 2"), (0.0, "2 2"), (3.0, "2 2"), (6.0, "2 1")];
        check(&crossed, &[]);
    }

    #[test]
    fn acquisitions_that_follow_each_other_are_one_stack() {
        let acquisition = |number: &str| format!("- - - - - - - - {number}");
        let (one, two) = (acquisition("1"), acquisition("2"));
        let images: Vec<(f64, &str)> =
            (0..6).map(|k| (3.0 * f64::from(k), if k < 3 { one.as_str() } else { two.as_str() })).collect();
        check(&images, &[]);
        check(&[(0.0, ""), (0.0, ""), (3.0, ""), (6.0, "")], &[]);
    }
}
