//! Series as scanners send them against pipelines, and the trace of each that did not match; it reads no files.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use dicom_object::InMemDicomObject;

use super::*;
use crate::dicom::{AeTitle, Uid};
use crate::document::{self, Problems};
use crate::pipeline::Orientation;

/// A header of keyword and value; values of numeric binary VRs are parsed.
fn header(attributes: &[(&str, &str)]) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    for (keyword, value) in attributes {
        let entry = StandardDataDictionary.by_name(keyword).expect("a keyword");
        let value = match entry.vr().relaxed() {
            VR::US => PrimitiveValue::from(value.parse::<u16>().expect("a number")),
            VR::FD => PrimitiveValue::from(value.parse::<f64>().expect("a number")),
            _ => PrimitiveValue::from(*value),
        };
        object.put(DataElement::new(entry.tag(), entry.vr().relaxed(), value));
    }
    object
}

fn pipeline(condition: &str, extra: &str) -> Pipeline {
    let text = format!(
        r#"{{"id": "p", "revision": 1, "mode": "live", "inputs": {{"ct": {{"all": [{condition}] {extra} }}}},
            "steps": [{{"id": "s", "model": "m", "in": {{"scan": "ct"}}}}],
            "structures": {{"s:Body": {{"name": "Body", "type": "EXTERNAL", "color": [0, 0, 0]}}}},
            "outputs": [{{"rtstruct": {{"label": "AUTO"}}}}], "deliver": [{{"to": "pacs"}}]}}"#
    );
    let mut problems = Problems::of("p.json");
    let parsed = document::parse(&text, &mut problems).and_then(|node| Pipeline::parse(&node, &mut problems));
    parsed.unwrap_or_else(|| panic!("{:?}", problems.into_vec()))
}

const VOLUME: Assembly = Assembly::Volume { slices: 40, orientation: Orientation::Axial, largest_gap: 0 };

fn judge(condition: &str, extra: &str, headers: &[InMemDicomObject], assembly: Assembly) -> Vec<String> {
    let uids: Vec<Uid> = (1..=headers.len()).map(|n| format!("1.{n}").parse().expect("a UID")).collect();
    let instances =
        headers.iter().zip(&uids).map(|(header, uid)| InstanceView { sop_instance_uid: uid, header }).collect();
    let series = SeriesView { instances, arrivals: None, assembly };
    let verdict = evaluate(&series, [&pipeline(condition, extra)]).remove(0);
    assert_eq!(verdict.matches(), verdict.reasons().is_empty(), "{}", verdict.inputs[0].1);
    verdict.reasons()
}

/// The reasons why the condition does not hold; each item of `series` is the header of one instance.
fn check(condition: &str, series: &[&[(&str, &str)]]) -> Vec<String> {
    let headers: Vec<InMemDicomObject> = series.iter().map(|attributes| header(attributes)).collect();
    judge(condition, "", &headers, VOLUME)
}

#[test]
fn compares_by_value_representation() {
    for (condition, attribute) in [
        (r#"{"tag": "SliceThickness", "eq": 1.6}"#, ("SliceThickness", "1.6000 ")),
        (
            r#"{"tag": "SliceThickness", "near": {"value": 3.27, "tolerance": 0.001}}"#,
            ("SliceThickness", "3.26999999999998"),
        ),
        (r#"{"tag": "Rows", "ge": 512}"#, ("Rows", "512")),
        (r#"{"tag": "Modality", "eq": "CT"}"#, ("Modality", "ct ")),
        (r#"{"tag": "Modality", "in": ["MR", "CT"]}"#, ("Modality", "CT")),
        (r#"{"tag": "Modality", "ne": "MR"}"#, ("Modality", "CT")),
        (r#"{"tag": "SeriesDescription", "eq": "Thorax"}"#, ("SeriesDescription", " Thorax ")),
        (r#"{"tag": "SeriesDescription", "glob": "*rax {1,2}mm"}"#, ("SeriesDescription", "Thorax 2mm")),
        (r#"{"tag": "SeriesDescription", "regex": "(?i)^thorax"}"#, ("SeriesDescription", "THORAX 2mm")),
        (r#"{"tag": "BodyPartExamined", "regex": "^chest$"}"#, ("BodyPartExamined", "CHEST")),
        (
            r#"{"tag": "SOPClassUID", "eq": "1.2.840.10008.5.1.4.1.1.2"}"#,
            ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2\0"),
        ),
        (r#"{"tag": "PatientName", "eq": "Doe^Jane"}"#, ("PatientName", "Doe^Jane^^^ ")),
        (r#"{"tag": "KVP", "absent": true}"#, ("Modality", "CT")),
        (r#"{"tag": "KVP", "absent": true}"#, ("KVP", "  ")),
        (r#"{"tag": "KVP", "exists": true}"#, ("KVP", "120")),
    ] {
        assert!(check(condition, &[&[attribute]]).is_empty(), "{condition} {attribute:?}");
        let inverted = format!(r#"{{"none": [{condition}]}}"#);
        assert!(!check(&inverted, &[&[attribute]]).is_empty(), "{inverted} {attribute:?}");
    }
}

#[test]
fn what_is_not_there_satisfies_absent_alone() {
    for condition in [
        r#"{"tag": "KVP", "eq": 120}"#,
        r#"{"tag": "KVP", "ne": 120}"#,
        r#"{"tag": "KVP", "lt": 1e9}"#,
        r#"{"tag": "KVP", "exists": true}"#,
        r#"{"tag": "StationName", "regex": ".*"}"#,
    ] {
        assert_eq!(check(condition, &[&[("KVP", ""), ("StationName", "")]]).len(), 1, "{condition}");
    }
    let nonsense = check(r#"{"tag": "KVP", "lt": 1e9}"#, &[&[("KVP", "NaN")]]);
    assert!(nonsense[0].contains(r#"found "NaN""#), "{nonsense:?}");
}

#[test]
fn looks_at_the_values_that_are_asked_for() {
    let image: &[(&str, &str)] = &[("ImageType", "ORIGINAL\\PRIMARY\\AXIAL"), ("PixelSpacing", "0.9\\1.1")];
    assert!(check(r#"{"tag": "ImageType", "eq": "PRIMARY"}"#, &[image]).is_empty());
    assert!(check(r#"{"tag": "ImageType", "eq": "PRIMARY", "value": 1}"#, &[image]).is_empty());
    assert!(!check(r#"{"tag": "ImageType", "eq": "PRIMARY", "value": 0}"#, &[image]).is_empty());
    assert!(!check(r#"{"tag": "ImageType", "eq": "PRIMARY", "value": 9}"#, &[image]).is_empty());
    assert!(!check(r#"{"tag": "ImageType", "eq": "PRIMARY", "value": "all"}"#, &[image]).is_empty());
    assert!(!check(r#"{"tag": "ImageType", "ne": "PRIMARY"}"#, &[image]).is_empty(), "ne asks all values");
    assert!(!check(r#"{"tag": "PixelSpacing", "le": 1}"#, &[image]).is_empty(), "an order asks all values");
    assert!(check(r#"{"tag": "PixelSpacing", "le": 1, "value": "any"}"#, &[image]).is_empty());
}

#[test]
fn asks_every_instance_and_names_the_first_offender() {
    let (ct, mr): (&[(&str, &str)], &[(&str, &str)]) = (&[("Modality", "CT")], &[("Modality", "MR")]);
    let condition = r#"{"tag": "Modality", "eq": "CT"}"#;
    assert!(check(condition, &[ct, ct, ct]).is_empty());
    assert_eq!(
        check(condition, &[ct, mr, ct, mr]),
        [
            r#"inputs.ct.all[0]: expected Modality is "CT" in every instance, found "MR" in 1.2 (2 of 4 instances satisfy it)"#
        ]
    );
    assert!(check(r#"{"tag": "Modality", "eq": "CT", "every": "any"}"#, &[mr, ct]).is_empty());
    assert!(check(r#"{"tag": "Modality", "eq": "CT", "every": 0.5}"#, &[mr, ct]).is_empty());
    assert_eq!(
        check(r#"{"tag": "Modality", "eq": "CT", "every": 0.95}"#, &[ct, ct, mr]),
        [
            r#"inputs.ct.all[0]: expected Modality is "CT" in at least 95 % of the instances, found "MR" in 1.3 (2 of 3 instances satisfy it)"#
        ]
    );
}

#[test]
fn one_localizer_among_many_images_is_enough_for_none() {
    let image: &[(&str, &str)] = &[("ImageType", "ORIGINAL\\PRIMARY\\AXIAL")];
    let scout: &[(&str, &str)] = &[("ImageType", "ORIGINAL\\PRIMARY\\LOCALIZER")];
    let condition = r#"{"none": [{"tag": "ImageType", "contains": "LOCALIZER"}, {"tag": "ImageType", "eq": "X"}]}"#;
    assert!(check(condition, &[image, image]).is_empty());
    assert_eq!(
        check(condition, &[image, scout, image]),
        [
            r#"inputs.ct.all[0].none[0]: expected not: ImageType contains "LOCALIZER" in an instance, found "ORIGINAL\\PRIMARY\\LOCALIZER" in 1.2 (1 of 3 instances satisfy it)"#
        ]
    );
}

#[test]
fn gives_every_branch_of_any_as_a_reason() {
    let condition = r#"{"any": [{"tag": "Modality", "eq": "MR"}, {"tag": "Modality", "eq": "PT"}]}"#;
    assert_eq!(check(condition, &[&[("Modality", "CT")]]).len(), 2);
    assert!(check(condition, &[&[("Modality", "PT")]]).is_empty());
}

#[test]
fn never_tells_who_the_patient_is() {
    let person: &[(&str, &str)] =
        &[("PatientID", "4711"), ("PatientName", "Doe^Jane"), ("OperatorsName", "Roe^Joe"), ("AccessionNumber", "A99")];
    for tag in ["PatientID", "PatientName", "OperatorsName", "AccessionNumber"] {
        let told = check(&format!(r#"{{"tag": "{tag}", "eq": "x"}}"#), &[person]);
        assert!(told[0].contains("found a value in"), "{told:?}");
        let secrets = ["4711", "Doe", "Roe", "A99"];
        assert!(!secrets.iter().any(|secret| told[0].contains(secret)), "{told:?}");
    }
}

#[test]
fn follows_paths_through_all_items() {
    let frame = |thickness: &str| {
        let measures = header(&[("SliceThickness", thickness)]);
        let sequence = DataSetSequence::from(vec![measures]);
        let mut item = InMemDicomObject::new_empty();
        item.put(DataElement::new(Tag(0x0028, 0x9110), VR::SQ, sequence));
        item
    };
    let multi_frame = |thicknesses: &[&str]| {
        let mut object = InMemDicomObject::new_empty();
        let items: Vec<_> = thicknesses.iter().map(|thickness| frame(thickness)).collect();
        object.put(DataElement::new(Tag(0x5200, 0x9230), VR::SQ, DataSetSequence::from(items)));
        object
    };
    let path = "PerFrameFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness";
    let condition = format!(r#"{{"tag": "{path}", "between": [1, 3]}}"#);
    assert!(judge(&condition, "", &[multi_frame(&["1", "3"])], VOLUME).is_empty());
    let told = judge(&condition, "", &[multi_frame(&["1", "5"])], VOLUME);
    assert!(told[0].contains(r#"found "1\\5" in 1.1"#), "{told:?}");
    assert_eq!(judge(&condition, "", &[header(&[("Modality", "CT")])], VOLUME).len(), 1);
    let there = r#"{"tag": "PerFrameFunctionalGroupsSequence", "exists": true}"#;
    assert!(judge(there, "", &[multi_frame(&["1"])], VOLUME).is_empty());
}

#[test]
fn finds_private_attributes_by_their_creator() {
    let mut object = InMemDicomObject::new_empty();
    object.put(DataElement::new(Tag(0x0043, 0x0011), VR::LO, PrimitiveValue::from("GEMS_PARM_01 ")));
    object.put(DataElement::new(Tag(0x0043, 0x1139), VR::UN, PrimitiveValue::from(b"800\\3 ".to_vec())));
    let objects = [object];
    let condition =
        |creator: &str| format!(r#"{{"tag": "(0043,xx39)", "creator": "{creator}", "eq": 800, "value": 0}}"#);
    assert!(judge(&condition("GEMS_PARM_01"), "", &objects, VOLUME).is_empty());
    assert!(judge(&condition("SIEMENS"), "", &objects, VOLUME)[0].contains("found nothing"));
}

#[test]
fn an_image_that_a_model_of_ours_made_is_no_input() {
    let described = |text: &'static str| [("Modality", "CT"), ("DerivationDescription", text)];
    let condition = r#"{"tag": "Modality", "eq": "CT"}"#;
    assert_eq!(check(condition, &[&described("MPR")]), Vec::<String>::new());
    let told = check(condition, &[&described("MPR"), &described(crate::output::derived::DERIVED_HERE)]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("expected images that were acquired, not made by contourd"), "{told:?}");
}

#[test]
fn judges_slices_and_geometry_on_the_assembled_stack() {
    let ct = [header(&[("Modality", "CT")])];
    let condition = r#"{"tag": "Modality", "eq": "CT"}"#;
    let extra = r#", "slices": {"min": 30, "max": 60}, "geometry": {"orientation": "axial", "max_gap": 1}"#;
    assert!(judge(condition, extra, &ct, VOLUME).is_empty());
    let other = Assembly::Volume { slices: 20, orientation: Orientation::Sagittal, largest_gap: 2 };
    assert_eq!(
        judge(condition, extra, &ct, other),
        [
            "inputs.ct.slices: expected 30 to 60 slices, found 20",
            "inputs.ct.geometry.orientation: expected axial, found sagittal",
            "inputs.ct.geometry.max_gap: expected at most 1 slices missing between neighbours, found 2",
        ]
    );
    let refused = Assembly::Refused(vec!["two orientations".to_owned()]);
    assert_eq!(
        judge(condition, extra, &ct, refused),
        ["inputs.ct.geometry: expected instances that make a volume, found none: two orientations"]
    );
}

#[test]
fn asks_mode_and_association() {
    let mut problems = Problems::of("p.json");
    let text = r#"{"id": "p", "revision": 1, "mode": "MODE", "when": {"called_ae": ["HERE"], "calling_ae": ["CT1", "CT2"]},
        "inputs": {"ct": {}}, "steps": [{"id": "s", "model": "m", "in": {"scan": "ct"}}],
        "structures": {"s:Body": {"name": "Body", "type": "EXTERNAL", "color": [0, 0, 0]}},
        "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "pacs"}]}"#;
    let mut read = |mode: &str| {
        let node = document::parse(&text.replace("MODE", mode), &mut problems).expect("JSON");
        Pipeline::parse(&node, &mut problems).expect("legal")
    };
    let title = |text: &str| text.parse::<AeTitle>().expect("a title");
    let arrival = |from, to| Arrival { calling_ae: title(from), called_ae: title(to) };
    let (header, uid) = (header(&[]), "1.1".parse().expect("a UID"));
    let mut reasons = |mode: &str, arrivals: &[Arrival]| {
        let instances = vec![InstanceView { sop_instance_uid: &uid, header: &header }];
        let series = SeriesView { instances, arrivals: Some(arrivals), assembly: VOLUME };
        evaluate(&series, [&read(mode)]).remove(0).reasons()
    };
    assert!(reasons("live", &[arrival("PACS", "HERE"), arrival("CT2", "HERE")]).is_empty());
    assert_eq!(
        reasons("shadow", &[arrival("CT1", "THERE")]),
        ["when: expected an association from CT1 or CT2 to HERE, found CT1 to THERE"]
    );
    assert_eq!(reasons("off", &[arrival("CT1", "HERE")]), [r#"mode: expected "live" or "shadow", found "off""#]);
}

#[test]
fn a_series_without_instances_matches_nothing() {
    for condition in [r#"{"tag": "KVP", "absent": true}"#, r#"{"none": [{"tag": "KVP", "exists": true}]}"#] {
        let told = judge(condition, "", &[], VOLUME);
        assert_eq!(told[0], "inputs.ct: expected at least one instance, found no instance");
    }
}
