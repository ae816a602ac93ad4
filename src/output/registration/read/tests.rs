//! Registrations as objects in memory, good and bad.

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, VR};

use super::*;

const IDENTITY: &str = "1\\0\\0\\0\\0\\1\\0\\0\\0\\0\\1\\0\\0\\0\\0\\1";
/// A quarter turn about z, then a shift.
const TURN: &str = "0\\-1\\0\\10\\1\\0\\0\\20\\0\\0\\1\\30\\0\\0\\0\\1";
const SHIFT: &str = "1\\0\\0\\1\\0\\1\\0\\2\\0\\0\\1\\3\\0\\0\\0\\1";

fn words(tag: Tag, vr: VR, text: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(text))
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

fn object(elements: Vec<DataElement<InMemDicomObject>>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter(elements)
}

fn matrices(list: &[&str]) -> DataElement<InMemDicomObject> {
    let one = |numbers: &&str| {
        let kind = words(tags::FRAME_OF_REFERENCE_TRANSFORMATION_MATRIX_TYPE, VR::CS, "RIGID");
        object(vec![words(tags::FRAME_OF_REFERENCE_TRANSFORMATION_MATRIX, VR::DS, numbers), kind])
    };
    let matrices = sequence(tags::MATRIX_SEQUENCE, list.iter().map(one).collect());
    sequence(tags::MATRIX_REGISTRATION_SEQUENCE, vec![object(vec![matrices])])
}

fn side(frame: &str, list: &[&str]) -> InMemDicomObject {
    object(vec![words(tags::FRAME_OF_REFERENCE_UID, VR::UI, frame), matrices(list)])
}

fn registration(sides: Vec<InMemDicomObject>) -> InMemDicomObject {
    object(vec![
        words(tags::SOP_CLASS_UID, VR::UI, RIGID_SOP_CLASS_UID),
        words(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.1"),
        sequence(tags::REGISTRATION_SEQUENCE, sides),
    ])
}

fn between(relation: &Relation, from: &str, to: &str) -> Option<Result<Rigid, String>> {
    let (from, to): (Uid, Uid) = (from.parse().expect("a UID"), to.parse().expect("a UID"));
    let end = |frame_of_reference_uid| End { frame_of_reference_uid, series: &[] };
    relation.between(end(&from), end(&to))
}

fn moved(relation: &Relation, from: &str, to: &str, point: [f64; 3]) -> [f64; 3] {
    let rigid = between(relation, from, to).expect("related").expect("rigid");
    rigid.apply(point).map(|value| (value * 1e6).round() / 1e6)
}

fn told(object: &InMemDicomObject, from: &str, to: &str) -> String {
    between(&read(object).expect("a registration"), from, to).expect("related").expect_err("refused")
}

#[test]
fn a_matrix_leads_from_its_item_to_the_registered_frame_of_reference() {
    let whole = read(&registration(vec![side("1.1", &[IDENTITY]), side("1.2", &[TURN])])).expect("a registration");
    assert_eq!(moved(&whole, "1.2", "1.1", [5.0, 0.0, 0.0]), [10.0, 25.0, 30.0]);
    assert_eq!(moved(&whole, "1.1", "1.2", [10.0, 25.0, 30.0]), [5.0, 0.0, 0.0]);
    // Without an item for the registered frame itself.
    let short = read(&registration(vec![side("1.2", &[TURN])])).expect("a registration");
    assert_eq!(moved(&short, "1.2", "1.1", [5.0, 0.0, 0.0]), [10.0, 25.0, 30.0]);
    assert!(between(&short, "1.2", "1.9").is_none() && between(&short, "1.9", "1.1").is_none());
}

#[test]
fn two_items_meet_in_the_registered_frame_of_reference() {
    let found = read(&registration(vec![side("1.2", &[TURN]), side("1.3", &[SHIFT])])).expect("a registration");
    assert_eq!(moved(&found, "1.2", "1.3", [5.0, 0.0, 0.0]), [9.0, 23.0, 27.0]);
}

#[test]
fn several_matrices_are_applied_in_their_order() {
    let found = read(&registration(vec![side("1.2", &[SHIFT, TURN])])).expect("a registration");
    assert_eq!(moved(&found, "1.2", "1.1", [0.0; 3]), [8.0, 21.0, 33.0]);
    let other = read(&registration(vec![side("1.2", &[TURN, SHIFT])])).expect("a registration");
    assert_eq!(moved(&other, "1.2", "1.1", [0.0; 3]), [11.0, 22.0, 33.0]);
}

#[test]
fn images_without_a_frame_of_reference_are_known_by_their_series() {
    let image = |uid: &str| object(vec![words(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, uid)]);
    let of_images =
        object(vec![sequence(tags::REFERENCED_IMAGE_SEQUENCE, vec![image("5.1"), image("5.2")]), matrices(&[TURN])]);
    let mut whole = registration(vec![of_images]);
    let series = |uid: &str, images: Vec<InMemDicomObject>| {
        let images = sequence(tags::REFERENCED_INSTANCE_SEQUENCE, images);
        object(vec![words(tags::SERIES_INSTANCE_UID, VR::UI, uid), images])
    };
    whole.put(sequence(tags::REFERENCED_SERIES_SEQUENCE, vec![series("7.1", vec![image("4.1")])]));
    let others = sequence(tags::REFERENCED_SERIES_SEQUENCE, vec![series("7.2", vec![image("5.2")])]);
    whole.put(sequence(tags::STUDIES_CONTAINING_OTHER_REFERENCED_INSTANCES_SEQUENCE, vec![object(vec![others])]));
    let found = read(&whole).expect("a registration");
    let [own, other, registered, frame] =
        ["7.2", "7.1", "1.1", "1.8"].map(|text| -> Uid { text.parse().expect("a UID") });
    let to = End { frame_of_reference_uid: &registered, series: &[] };
    let from = |series: &[&Uid]| found.between(End { frame_of_reference_uid: &frame, series }, to);
    assert!(from(&[&own]).is_some_and(|rigid| rigid.is_ok()));
    assert!(from(&[&other]).is_none() && from(&[]).is_none());
}

#[test]
fn what_is_not_rigid_or_not_one_is_refused() {
    let scaled = "1.1\\0\\0\\0\\0\\1.1\\0\\0\\0\\0\\1.1\\0\\0\\0\\0\\1";
    let text = told(&registration(vec![side("1.2", &[scaled])]), "1.2", "1.1");
    assert!(text.contains("not rigid (its type is RIGID)") && text.contains("scales"), "{text}");
    let text = told(&registration(vec![side("1.2", &["1\\0\\0"])]), "1.2", "1.1");
    assert!(text.contains("found 3 numbers"), "{text}");
    let text = told(&registration(vec![side("1.2", &["1\\x"])]), "1.2", "1.1");
    assert!(text.contains("found 0 numbers"), "{text}");
    let text = told(&registration(vec![side("1.2", &[])]), "1.2", "1.1");
    assert!(text.contains("found 0 items in a Matrix Sequence"), "{text}");
    let bare = object(vec![words(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2")]);
    let text = told(&registration(vec![bare]), "1.2", "1.1");
    assert!(text.contains("found 0 items in a Matrix Registration Sequence"), "{text}");
    let text = told(&registration(vec![side("1.2", &[TURN]), side("1.2", &[SHIFT])]), "1.2", "1.1");
    assert!(text.contains("several matrices"), "{text}");
    let text = told(&registration(vec![side("1.1", &[TURN]), side("1.2", &[SHIFT])]), "1.2", "1.1");
    assert!(text.contains("to itself"), "{text}");
    // The same twice is no contradiction; a bad item says nothing of the others.
    let found = registration(vec![side("1.2", &[TURN]), side("1.2", &[TURN]), side("1.3", &[scaled])]);
    let found = read(&found).expect("a registration");
    assert!(between(&found, "1.2", "1.1").is_some_and(|rigid| rigid.is_ok()));
    assert!(found.describe().contains("not all of them rigid"), "{}", found.describe());
}

#[test]
fn a_cut_or_other_object_relates_nothing() {
    let mut cut = registration(vec![side("1.2", &[TURN])]);
    cut.remove_element(tags::FRAME_OF_REFERENCE_UID);
    let found = read(&cut).expect("a registration");
    assert!(between(&found, "1.2", "1.1").is_none());
    assert!(found.problem.as_ref().is_some_and(|problem| problem.contains("no Frame of Reference UID")), "{found:?}");
    let found = read(&registration(Vec::new())).expect("a registration");
    assert!(found.problem.as_ref().is_some_and(|problem| problem.contains("no item")), "{found:?}");
    assert!(between(&found, "1.1", "1.1").is_none());
    let many = read(&registration(vec![side("1.2", &[TURN]); REGISTRATION_ITEMS_MAX + 1])).expect("a registration");
    assert!(many.problem.is_some() && many.sides.is_empty());
    assert!(read(&object(vec![words(tags::SOP_CLASS_UID, VR::UI, "1.2.3")])).is_none());
    assert!(read(&object(Vec::new())).is_none());
}

#[test]
fn a_deformable_registration_is_told_as_such() {
    let source = object(vec![words(tags::SOURCE_FRAME_OF_REFERENCE_UID, VR::UI, "1.2")]);
    let whole = object(vec![
        words(tags::SOP_CLASS_UID, VR::UI, DEFORMABLE_SOP_CLASS_UID),
        words(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.1"),
        sequence(tags::DEFORMABLE_REGISTRATION_SEQUENCE, vec![source]),
    ]);
    assert!(told(&whole, "1.2", "1.1").contains("Deformable"));
    assert!(told(&whole, "1.1", "1.2").contains("Deformable"));
}
