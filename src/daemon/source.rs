//! What of a series can fill a slot, with what joins it to others: patient, Frame of Reference, time. A patient is told
//! by a hash alone.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::dicom::instance::{items, text};
use crate::dicom::{Instance, Uid};
use crate::limits::SERIES_FRAMES_MAX;
use crate::node::Source;
use crate::output::registration;
use crate::route::Seen;

/// When structures were drawn, and when a registration was made; the first that is said counts.
const STRUCTURES_DATES: [(Tag, Tag); 2] =
    [(tags::STRUCTURE_SET_DATE, tags::STRUCTURE_SET_TIME), (tags::CONTENT_DATE, tags::CONTENT_TIME)];
const REGISTRATION_DATES: [(Tag, Tag); 2] =
    [(tags::CONTENT_DATE, tags::CONTENT_TIME), (tags::INSTANCE_CREATION_DATE, tags::INSTANCE_CREATION_TIME)];

/// Each volume of a series, in the order in which they were seen, or each object that holds structures by itself.
pub(super) fn sources(instances: &[Instance], seen: &[Seen<'_>]) -> Vec<Source> {
    if seen.iter().any(|seen| seen.plan.is_some()) {
        return seen.iter().filter_map(|seen| volume(instances, seen)).collect();
    }
    let object = |instance: &Instance| {
        let header = &instance.header;
        let registration = registration::read(header);
        let own = if registration.is_some() { REGISTRATION_DATES } else { STRUCTURES_DATES };
        let made = own.into_iter().map(|(date, time)| moment(header, date, time)).find(|made| *made != NEVER);
        let uids = vec![instance.sop_instance_uid.clone()];
        let refers = if registration.is_some() { BTreeMap::new() } else { images_drawn_on(header) };
        Source { refers, registration, ..source(header, uids, frame_of_reference(header), made) }
    };
    instances.iter().map(object).collect()
}

/// A volume; of one that is refused, too, so that each keeps its place.
fn volume(instances: &[Instance], seen: &Seen<'_>) -> Option<Source> {
    let frame = seen.plan.as_ref().map(|plan| plan.frame_of_reference_uid.clone());
    let Some(part) = &seen.part else { return Some(source(&instances.first()?.header, Vec::new(), frame, None)) };
    let uid = |index: &usize| instances[*index].sop_instance_uid.clone();
    let uids = part.instances.iter().map(uid).collect();
    let whole = source(&instances[*part.instances.first()?].header, uids, frame, None);
    let frames = part.frames.iter().map(|(index, frames)| (uid(index), frames.clone())).collect();
    Some(Source { frames, volume: part.label.clone(), ..whole })
}

fn source(header: &InMemDicomObject, instances: Vec<Uid>, frame: Option<Uid>, made: Option<String>) -> Source {
    let series_date = made.unwrap_or_else(|| moment(header, tags::SERIES_DATE, tags::SERIES_TIME));
    let study_date = moment(header, tags::STUDY_DATE, tags::STUDY_TIME);
    Source {
        instances,
        patient: hashed(header, tags::PATIENT_ID, "patient"),
        issuer: hashed(header, tags::ISSUER_OF_PATIENT_ID, "issuer of patient"),
        frame_of_reference_uid: frame,
        drawn_on: series_drawn_on(header),
        series_date,
        study_date,
        ..Source::default()
    }
}

fn hashed(header: &InMemDicomObject, tag: Tag, what: &str) -> Option<Uid> {
    Some(Uid::derived(["contourd", what, text(header, tag)?.as_str()]))
}

/// Of a structure set: its own, or that which it refers to, or that of its first region (PS3.3 C.8.8.5).
fn frame_of_reference(header: &InMemDicomObject) -> Option<Uid> {
    let uid = |object: &InMemDicomObject, tag| text(object, tag).and_then(|text| text.parse().ok());
    let inside = |sequence, tag| items(header, sequence).first().and_then(|item| uid(item, tag));
    uid(header, tags::FRAME_OF_REFERENCE_UID)
        .or_else(|| inside(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, tags::FRAME_OF_REFERENCE_UID))
        .or_else(|| inside(tags::STRUCTURE_SET_ROI_SEQUENCE, tags::REFERENCED_FRAME_OF_REFERENCE_UID))
}

/// The series that a structure set (PS3.3 C.8.8.5) or a segmentation (PS3.3 C.12.2) refers to.
fn series_drawn_on(header: &InMemDicomObject) -> Vec<Uid> {
    let of_segmentation = items(header, tags::REFERENCED_SERIES_SEQUENCE);
    let uid = |series: &InMemDicomObject| text(series, tags::SERIES_INSTANCE_UID)?.parse().ok();
    series_of_structure_set(header).chain(of_segmentation).filter_map(uid).collect()
}

fn series_of_structure_set(header: &InMemDicomObject) -> impl Iterator<Item = &InMemDicomObject> {
    items(header, tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE)
        .iter()
        .flat_map(|frame| items(frame, tags::RT_REFERENCED_STUDY_SEQUENCE))
        .flat_map(|study| items(study, tags::RT_REFERENCED_SERIES_SEQUENCE))
}

/// The images that contours name (PS3.3 C.8.8.6), else those that a structure set (PS3.3 C.8.8.5) or a segmentation
/// (PS3.3 C.12.2) lists, with the numbers of the frames where they are said: the list often holds a whole series.
fn images_drawn_on(header: &InMemDicomObject) -> BTreeMap<Uid, Vec<u32>> {
    let of_contours = items(header, tags::ROI_CONTOUR_SEQUENCE)
        .iter()
        .flat_map(|roi| items(roi, tags::CONTOUR_SEQUENCE))
        .flat_map(|contour| items(contour, tags::CONTOUR_IMAGE_SEQUENCE));
    let found = images(of_contours);
    if !found.is_empty() {
        return found;
    }
    let of_structure_set =
        series_of_structure_set(header).flat_map(|series| items(series, tags::CONTOUR_IMAGE_SEQUENCE));
    let of_segmentation = items(header, tags::REFERENCED_SERIES_SEQUENCE)
        .iter()
        .flat_map(|series| items(series, tags::REFERENCED_INSTANCE_SEQUENCE));
    images(of_structure_set.chain(of_segmentation))
}

fn images<'a>(items: impl Iterator<Item = &'a InMemDicomObject>) -> BTreeMap<Uid, Vec<u32>> {
    let mut images: BTreeMap<Uid, Vec<u32>> = BTreeMap::new();
    for item in items {
        let Some(uid) = text(item, tags::REFERENCED_SOP_INSTANCE_UID).and_then(|text| text.parse().ok()) else {
            continue;
        };
        if images.len() >= SERIES_FRAMES_MAX && !images.contains_key(&uid) {
            continue;
        }
        let frames = images.entry(uid).or_default();
        for number in item.get(tags::REFERENCED_FRAME_NUMBER).and_then(|e| e.to_multi_int().ok()).unwrap_or_default() {
            if frames.len() < SERIES_FRAMES_MAX && !frames.contains(&number) {
                frames.push(number);
            }
        }
    }
    images
}

/// What is not dated counts as the earliest of all (CERR's identifier).
const NEVER: &str = "00000000000000.000000";

/// Date and time as one text that sorts as time does. Separators of the standard before 1993 are left out.
fn moment(header: &InMemDicomObject, date: Tag, time: Tag) -> String {
    let digits = |text: &str, length: usize| -> String {
        let plain: String = text.chars().filter(char::is_ascii_digit).take(length).collect();
        format!("{plain:0<length$}")
    };
    let (date, time) = (text(header, date).unwrap_or_default(), text(header, time).unwrap_or_default());
    let (whole, fraction) = time.split_once('.').unwrap_or((&time, ""));
    format!("{}{}.{}", digits(&date, 8), digits(whole, 6), digits(fraction, 6))
}

#[cfg(test)]
mod tests {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, VR};

    use super::*;

    fn check(date: &str, time: &str, expected: &str) {
        let mut header = InMemDicomObject::new_empty();
        header.put(DataElement::new(tags::SERIES_DATE, VR::DA, date));
        header.put(DataElement::new(tags::SERIES_TIME, VR::TM, time));
        assert_eq!(moment(&header, tags::SERIES_DATE, tags::SERIES_TIME), expected);
    }

    #[test]
    fn contours_say_which_images_they_were_drawn_on_and_else_the_list_does() {
        let sequence = |tag, items: Vec<InMemDicomObject>| DataElement::new(tag, VR::SQ, DataSetSequence::from(items));
        let item = |element| InMemDicomObject::from_element_iter([element]);
        let image = |uid: &str, frames: &str| {
            let uid = DataElement::new(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, uid);
            let frames = DataElement::new(tags::REFERENCED_FRAME_NUMBER, VR::IS, frames);
            InMemDicomObject::from_element_iter([uid, frames])
        };
        let listed = item(sequence(tags::CONTOUR_IMAGE_SEQUENCE, vec![image("1.1", ""), image("1.2", "")]));
        let study = item(sequence(tags::RT_REFERENCED_SERIES_SEQUENCE, vec![listed]));
        let frame = item(sequence(tags::RT_REFERENCED_STUDY_SEQUENCE, vec![study]));
        let mut header = item(sequence(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, vec![frame]));
        let uid = |text: &str| -> Uid { text.parse().expect("a UID") };
        assert_eq!(images_drawn_on(&header), BTreeMap::from([(uid("1.1"), vec![]), (uid("1.2"), vec![])]));
        let contour = |frame| item(sequence(tags::CONTOUR_IMAGE_SEQUENCE, vec![image("1.1", frame)]));
        let roi = item(sequence(tags::CONTOUR_SEQUENCE, vec![contour("3"), contour("5")]));
        header.put(sequence(tags::ROI_CONTOUR_SEQUENCE, vec![roi]));
        assert_eq!(images_drawn_on(&header), BTreeMap::from([(uid("1.1"), vec![3, 5])]));
    }

    #[test]
    fn moments_sort_as_times() {
        check("20260102", "101112.5", "20260102101112.500000");
        check("20260102", "1011", "20260102101100.000000");
        check("2026.01.02", "10:11:12", "20260102101112.000000");
        check("", "", NEVER);
    }
}
