//! Every fault that validators of single attributes miss is put into a finished structure set; its self-check has to
//! find each.

use contourd::output::rtstruct::{RtstructError, verify};
use dicom_core::value::{DataSetSequence, Value};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileDicomObject, InMemDicomObject};

use crate::job::{Job, recipes};

type File = FileDicomObject<InMemDicomObject>;

/// Changes the items of a sequence.
fn items(object: &mut InMemDicomObject, tag: Tag, change: impl FnOnce(&mut Vec<InMemDicomObject>)) {
    let mut list = object.get(tag).and_then(|element| element.items()).expect("a sequence").to_vec();
    change(&mut list);
    object.put(DataElement::new(tag, VR::SQ, Value::from(DataSetSequence::from(list))));
}

/// Changes the first contour of the first region.
fn contour(object: &mut InMemDicomObject, change: impl FnOnce(&mut InMemDicomObject)) {
    items(object, tags::ROI_CONTOUR_SEQUENCE, |regions| {
        items(&mut regions[0], tags::CONTOUR_SEQUENCE, |contours| change(&mut contours[0]));
    });
}

/// Changes the coordinates of the first contour.
fn data(object: &mut InMemDicomObject, change: impl FnOnce(&mut Vec<String>)) {
    contour(object, |item| {
        let text = item.get(tags::CONTOUR_DATA).expect("data").to_str().expect("text").into_owned();
        let mut values: Vec<String> = text.trim_end().split('\\').map(str::to_owned).collect();
        change(&mut values);
        let count = (values.len() / 3).to_string();
        put(item, tags::NUMBER_OF_CONTOUR_POINTS, &count);
        put(item, tags::CONTOUR_DATA, &values.join("\\"));
    });
}

fn put(object: &mut InMemDicomObject, tag: Tag, value: &str) {
    let vr = object.get(tag).map_or(VR::LO, |element| element.vr());
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}

fn check(fault: &str, expected: &str, break_it: impl FnOnce(&mut InMemDicomObject)) {
    let job = Job::new(recipes().remove(1));
    let bytes = job.encoded();
    let mut file: File = dicom_object::from_reader(&bytes[128..]).expect("our own file");
    let written = |file: &File| {
        let mut out = Vec::new();
        file.write_all(&mut out).expect("written");
        out
    };
    let sound = job.with(|set| verify(set, &written(&file)));
    assert!(sound.is_ok(), "{fault}: {sound:?} before anything was broken");
    break_it(&mut file);
    match job.with(|set| verify(set, &written(&file))) {
        Err(RtstructError::SelfCheck(what)) => assert!(what.contains(expected), "{fault}: told {what}"),
        other => panic!("{fault}: found {other:?}, expected it to be told"),
    }
}

#[test]
fn number_of_points_that_is_not_that_of_the_data() {
    check("count", "the number of points", |set| {
        contour(set, |item| put(item, tags::NUMBER_OF_CONTOUR_POINTS, "3"));
    });
}

#[test]
fn data_that_are_no_triples() {
    check("triples", "items left out", |set| data(set, |values| drop(values.pop())));
}

#[test]
fn number_of_a_region_twice() {
    check("number", "numbers of Structure Set ROI Sequence", |set| {
        items(set, tags::STRUCTURE_SET_ROI_SEQUENCE, |regions| put(&mut regions[1], tags::ROI_NUMBER, "1"));
    });
}

#[test]
fn colour_above_255() {
    check("colour", "structure BODY", |set| {
        items(set, tags::ROI_CONTOUR_SEQUENCE, |regions| put(&mut regions[0], tags::ROI_DISPLAY_COLOR, "0\\256\\0"));
    });
}

#[test]
fn region_without_its_item_of_contours() {
    check("no contours", "numbers of ROI Contour Sequence", |set| {
        items(set, tags::ROI_CONTOUR_SEQUENCE, |regions| drop(regions.remove(6)));
    });
}

#[test]
fn region_without_its_observation() {
    check("no observation", "numbers of RT ROI Observations Sequence", |set| {
        items(set, tags::RTROI_OBSERVATIONS_SEQUENCE, |regions| drop(regions.remove(3)));
    });
}

#[test]
fn frame_of_reference_of_a_region_that_is_another() {
    check("frame of a region", "structure Lung_R", |set| {
        let tag = tags::REFERENCED_FRAME_OF_REFERENCE_UID;
        items(set, tags::STRUCTURE_SET_ROI_SEQUENCE, |regions| put(&mut regions[1], tag, "1.2.3"));
    });
    check("frame of the set", "frame of reference", |set| put(set, tags::FRAME_OF_REFERENCE_UID, "1.2.3"));
}

#[test]
fn image_that_is_not_of_the_series() {
    check("image of a contour", "refers to another image", |set| {
        contour(set, |item| {
            let tag = tags::REFERENCED_SOP_INSTANCE_UID;
            items(item, tags::CONTOUR_IMAGE_SEQUENCE, |images| put(&mut images[0], tag, "1.2.3"));
        });
    });
    check("image of the series", "references to the images", |set| {
        items(set, tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, |frames| {
            items(&mut frames[0], tags::RT_REFERENCED_STUDY_SEQUENCE, |studies| {
                items(&mut studies[0], tags::RT_REFERENCED_SERIES_SEQUENCE, |series| {
                    items(&mut series[0], tags::CONTOUR_IMAGE_SEQUENCE, |images| {
                        put(&mut images[4], tags::REFERENCED_SOP_INSTANCE_UID, "1.2.3");
                    });
                });
            });
        });
    });
}

#[test]
fn point_with_many_points() {
    check("POINT", "the geometric type", |set| contour(set, |item| put(item, tags::CONTOUR_GEOMETRIC_TYPE, "POINT")));
    check("XOR", "the geometric type", |set| {
        contour(set, |item| put(item, tags::CONTOUR_GEOMETRIC_TYPE, "CLOSEDPLANAR_XOR"));
    });
}

#[test]
fn name_in_bytes_of_another_character_set() {
    check("Latin-1 under another character set", "structure BODY", |set| {
        items(set, tags::STRUCTURE_SET_ROI_SEQUENCE, |regions| put(&mut regions[0], tags::ROI_NAME, "B\u{e9}DY"));
    });
}

#[test]
fn name_twice() {
    check("name", "structure Lung_R", |set| {
        items(set, tags::STRUCTURE_SET_ROI_SEQUENCE, |regions| put(&mut regions[1], tags::ROI_NAME, "Body"));
    });
}

#[test]
fn point_off_its_plane() {
    check("plane", "off the plane", |set| {
        data(set, |values| {
            let z: f64 = values[5].parse().expect("a number");
            values[5] = format!("{:.3}", z + 0.01);
        });
    });
}

#[test]
fn first_point_repeated() {
    check("closing", "repeats its first point", |set| {
        data(set, |values| {
            let first = values[..3].to_vec();
            values.extend(first);
        });
    });
}

#[test]
fn contour_that_crosses_itself() {
    check("crossing", "crosses itself", |set| {
        data(set, |values| {
            let far = values.len() / 2 / 3 * 3;
            for k in 0..3 {
                values.swap(3 + k, far + k);
            }
        });
    });
}

#[test]
fn coordinate_with_an_exponent_or_too_long() {
    check("exponent", "no plain decimal", |set| data(set, |values| values[0] = "1.5E+01".to_owned()));
    check("long", "no plain decimal", |set| data(set, |values| values[0] = "15.0000000000000001".to_owned()));
}
