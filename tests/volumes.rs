//! Series that hold several volumes, through the whole gateway on loopback: phases of a 4D CT as single images and as
//! frames of one enhanced image, and images that belong to no volume beside them.

mod gateway;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use contourd::dicom::{Instance, Uid};
use contourd::node::SeriesState;
use contourd::phantom::Identity;
use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use gateway::{Play, thorax, write_series};

const BODY: &str = r#"{"id": "body", "revision": 1, "mode": "live",
 "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "none": [{"tag": "ImageType", "contains": "LOCALIZER"}],
                   "slices": {"min": 3}}},
 "steps": [{"id": "basic", "model": "ct-basic", "in": {"ct": "ct"}}],
 "structures": {"basic:BODY": {"name": "BODY", "type": "EXTERNAL", "color": [0, 255, 0]}},
 "outputs": [{"rtstruct": {"label": "AUTO"}}], "deliver": [{"to": "tps"}]}"#;

fn text(tag: Tag, vr: VR, text: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(text))
}

/// Copies files under other instance UIDs, changed.
fn copies(folder: &Path, files: &[PathBuf], name: &str, change: impl Fn(usize, &mut InMemDicomObject)) -> Vec<PathBuf> {
    fs::create_dir_all(folder).expect("a folder");
    let copy = |(index, file): (usize, &PathBuf)| {
        let mut object = dicom_object::open_file(file).expect("an instance").into_inner();
        let uid = Uid::derived([name, &index.to_string()]);
        object.put(text(tags::SOP_INSTANCE_UID, VR::UI, uid.as_str()));
        change(index, &mut object);
        write(&folder.join(format!("{uid}.dcm")), object, uids::CT_IMAGE_STORAGE)
    };
    files.iter().enumerate().map(copy).collect()
}

fn write(path: &Path, object: InMemDicomObject, class: &str) -> PathBuf {
    let meta =
        FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN).media_storage_sop_class_uid(class);
    object.with_meta(meta).expect("a meta group").write_to_file(path).expect("written");
    path.to_owned()
}

fn uid(path: &Path) -> Uid {
    Instance::read_part10(fs::File::open(path).expect("a file")).expect("an instance").sop_instance_uid
}

/// Darker where it is not air, so that no two images are the same.
fn darker(object: &mut InMemDicomObject) {
    let pixels = object.element(tags::PIXEL_DATA).expect("pixels").to_multi_int::<u16>().expect("numbers");
    let pixels: Vec<u16> = pixels.into_iter().map(|value| value.saturating_sub(3)).collect();
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
}

#[test]
fn each_phase_of_a_4d_ct_in_one_series_gets_a_structure_set_of_its_own_images() {
    let play = Play::start(&[("body", BODY)]);
    let identity = Identity::of(&thorax());
    let plain = write_series(&play.path("plain"), &thorax(), &identity);
    let phase = |number: &'static str| {
        copies(&play.path(number), &plain, number, move |_, object| {
            object.put(text(tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS, number));
            if number == "2" {
                darker(object);
            }
        })
    };
    let phases = [phase("1"), phase("2")];
    // A localizer which says that it is one, and a coronal image which says nothing.
    let beside = copies(&play.path("beside"), &plain[..2], "beside", |index, object| {
        object.put(text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\0\\-1"));
        if index == 0 {
            object.put(text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER"));
        }
    });
    let all: Vec<PathBuf> = phases.iter().flatten().chain(&beside).cloned().collect();
    play.send(&all);
    let jobs = play.wait_for_delivered(2);
    assert_eq!(jobs.len(), 2, "{}", play.describe());
    let volumes: BTreeSet<&str> = jobs.iter().map(|job| job.inputs[0].volume.as_str()).collect();
    assert_eq!(volumes, BTreeSet::from(["Temporal Position 1", "Temporal Position 2"]));
    let images = |files: &[PathBuf]| files.iter().map(|file| uid(file)).collect::<BTreeSet<Uid>>();
    let expected: BTreeSet<BTreeSet<Uid>> = phases.iter().map(|files| images(files)).collect();
    let sets = play.received();
    let referred: BTreeSet<BTreeSet<Uid>> =
        sets.iter().map(|set| set.referenced_images.iter().cloned().collect()).collect();
    assert_eq!((sets.len(), &referred), (2, &expected));
    assert!(sets.iter().all(|set| set.referenced_series_uid.as_ref() == Some(&identity.series_instance_uid)));
    assert!(sets.iter().all(|set| set.predecessor_uid.is_none()), "another phase is no earlier result");
    for job in &jobs {
        let folder = fs::read_dir(play.path("var").join("objects").join(job.id.as_str())).expect("objects");
        let files = folder.map(|entry| entry.expect("an entry").path());
        let set = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "dcm")).expect("a set");
        let object = dicom_object::open_file(set).expect("an instance");
        for tag in [tags::SERIES_DESCRIPTION, tags::STRUCTURE_SET_DESCRIPTION] {
            let said = object.element(tag).expect("an element").to_str().expect("text").into_owned();
            assert!(said.contains(&job.inputs[0].volume), "{said}");
        }
    }

    // The same once more is nothing new; one more image of a phase, which is no slice of it, runs nothing either.
    play.send(&all[..3]);
    let late = copies(&play.path("late"), &plain[..1], "late", |_, object| {
        object.put(text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "0\\1\\0\\0\\0\\-1"));
    });
    play.send(&late);
    let revised = |series: &[contourd::node::SeriesRecord]| {
        series.iter().all(|one| one.revision == 2 && one.state == SeriesState::Matched)
    };
    let (jobs, _) = play.wait("the late image is not looked at", |_, series| revised(series));
    assert_eq!(jobs.len(), 2, "{}", play.describe());
    let explained = explain(&play, &play.path("1").parent().expect("a folder").join("late"));
    assert!(explained.contains("no volume"), "{explained}");
    let folder = play.path("everything");
    fs::create_dir_all(&folder).expect("a folder");
    for (index, file) in all.iter().enumerate() {
        fs::copy(file, folder.join(index.to_string())).expect("copied");
    }
    let explained = explain(&play, &folder);
    for line in ["2 volumes in one series", "volume 1 of 2: Temporal Position 1", "matches as ct", "series.left_over"] {
        assert!(explained.contains(line), "{line}\n{explained}");
    }
}

fn explain(play: &Play, folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_contourd"))
        .arg("explain")
        .arg(folder)
        .arg("--config")
        .arg(play.folder())
        .output()
        .expect("the command runs");
    String::from_utf8(output.stdout).expect("text")
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

fn item(elements: impl IntoIterator<Item = DataElement<InMemDicomObject>>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter(elements)
}

/// Single images as frames of one Enhanced CT image, in two phases that alternate.
fn enhanced(path: &Path, plain: &[PathBuf]) -> PathBuf {
    let open = |file: &PathBuf| dicom_object::open_file(file).expect("an instance").into_inner();
    let first = open(&plain[0]);
    let (mut frames, mut pixels) = (Vec::new(), Vec::<u16>::new());
    for (file, phase) in plain.iter().flat_map(|file| [(file, 1_u32), (file, 2)]) {
        let mut image = open(file);
        if phase == 2 {
            darker(&mut image);
        }
        pixels.extend(image.element(tags::PIXEL_DATA).expect("pixels").to_multi_int::<u16>().expect("numbers"));
        let position = image.element(tags::IMAGE_POSITION_PATIENT).expect("a position").clone();
        let content = DataElement::new(tags::TEMPORAL_POSITION_INDEX, VR::UL, PrimitiveValue::from(phase));
        frames.push(item([
            sequence(tags::FRAME_CONTENT_SEQUENCE, vec![item([content])]),
            sequence(tags::PLANE_POSITION_SEQUENCE, vec![item([position])]),
        ]));
    }
    let of_first = |tags: &[Tag]| item(tags.iter().map(|tag| first.element(*tag).expect("an element").clone()));
    let shared = item([
        sequence(tags::PLANE_ORIENTATION_SEQUENCE, vec![of_first(&[tags::IMAGE_ORIENTATION_PATIENT])]),
        sequence(tags::PIXEL_MEASURES_SEQUENCE, vec![of_first(&[tags::PIXEL_SPACING, tags::SLICE_THICKNESS])]),
        sequence(
            tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
            vec![of_first(&[tags::RESCALE_INTERCEPT, tags::RESCALE_SLOPE, tags::RESCALE_TYPE])],
        ),
    ]);
    let mut object = first;
    for tag in [tags::IMAGE_POSITION_PATIENT, tags::IMAGE_ORIENTATION_PATIENT, tags::PIXEL_SPACING] {
        object.remove_element(tag);
    }
    object.put(text(tags::SOP_CLASS_UID, VR::UI, uids::ENHANCED_CT_IMAGE_STORAGE));
    object.put(text(tags::SOP_INSTANCE_UID, VR::UI, Uid::derived(["enhanced"]).as_str()));
    object.put(text(tags::NUMBER_OF_FRAMES, VR::IS, &frames.len().to_string()));
    object.put(sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]));
    object.put(sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
    write(path, object, uids::ENHANCED_CT_IMAGE_STORAGE)
}

#[test]
fn phases_in_the_frames_of_one_enhanced_image_are_told_apart() {
    let play = Play::start(&[("body", BODY)]);
    let plain = write_series(&play.path("plain"), &thorax(), &Identity::of(&thorax()));
    let file = enhanced(&play.path("enhanced.dcm"), &plain);
    play.send(std::slice::from_ref(&file));
    let jobs = play.wait_for_delivered(2);
    assert_eq!(jobs.len(), 2, "{}", play.describe());
    for job in &jobs {
        let input = &job.inputs[0];
        let parity = if input.volume.ends_with('1') { 1 } else { 0 };
        let frames = &input.frames[&uid(&file)];
        assert!(frames.len() == plain.len() && frames.iter().all(|frame| frame % 2 == parity), "{input:?}");
    }
    let sets = play.received();
    assert_eq!(sets.len(), 2);
    let uids: BTreeSet<&Uid> = sets.iter().map(|set| &set.sop_instance_uid).collect();
    assert_eq!(uids.len(), 2, "two results, two objects");
    let frames: BTreeSet<BTreeSet<u32>> = sets
        .iter()
        .map(|set| set.rois[0].contours.iter().filter_map(|contour| contour.frame_number).collect())
        .collect();
    assert!(frames.iter().all(|own| !own.is_empty()), "{frames:?}");
    let parities: BTreeSet<u32> = frames.iter().flatten().map(|frame| frame % 2).collect();
    assert!(frames.iter().all(|own| own.iter().all(|f| f % 2 == own.first().expect("one") % 2)) && parities.len() == 2);
}
