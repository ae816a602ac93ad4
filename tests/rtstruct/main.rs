//! RT Structure Sets of synthetic series: what is in them, that they repeat, and the files for foreign readers.

mod faults;
mod job;
mod nesting;
#[path = "../series/mod.rs"]
mod series;
mod speed;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contourd::contour::{Contour, Holes, rasterise, rasterise_xor};
use contourd::dicom::Instance;
use contourd::output::nifti;
use contourd::output::rtstruct::{Dialect, Roi, RtstructError, read};
use contourd::structure::{RoiStyle, lookup};
use contourd::volume::{Mask, VolumeGeometry};
use dicom_dictionary_std::tags;
use job::{Job, parsed, recipes, roi};
use ndarray::Array3;
use series::Recipe;

/// The raw value of a top-level element of a file.
fn raw(bytes: &[u8], tag: dicom_core::Tag) -> Vec<u8> {
    let instance = Instance::read_part10(bytes).expect("a file");
    instance.raw(tag).unwrap_or_default().to_vec()
}

#[test]
fn masks_come_back_from_the_file_on_every_kind_of_stack() {
    for recipe in recipes() {
        let job = Job::new(recipe);
        check_masks(&job);
        if let Some(folder) = std::env::var_os("CONTOURD_READERS_DIR") {
            let folder = PathBuf::from(folder).join(&job.name);
            let recipe = recipes().into_iter().find(|recipe| recipe.name == job.name).expect("the same recipe");
            recipe.write_to(&folder.join("ct"));
            write_case(&folder, &job);
        }
    }
}

#[test]
fn masks_come_back_from_contours_that_are_put_together_by_xor() {
    for recipe in recipes() {
        let job = Job::new(recipe).with_holes(Holes::Xor);
        let set = parsed(&job.encoded());
        for ((found, meant), (name, mask)) in set.rois.iter().zip(&job.rois).zip(&job.masks) {
            let types = found.contours.iter().map(|contour| contour.geometric_type.as_str());
            let expected = if meant.holes == Holes::Xor { "CLOSEDPLANAR_XOR" } else { "CLOSED_PLANAR" };
            assert!(types.into_iter().all(|found| found == expected), "{}: {name}", job.name);
            let back = rasterise_xor(&found.contours_on(&job.geometry, 0.005).0, &job.geometry);
            assert!(back.voxels == mask.voxels, "{}: {name}: Dice {}", job.name, back.dice(mask));
        }
        let with_holes = ["BODY", "Lung_R", "Rings"];
        let xor: Vec<&str> = job.rois.iter().filter(|r| r.holes == Holes::Xor).map(|r| r.style.name.as_str()).collect();
        assert!(with_holes.iter().all(|name| xor.contains(name)) && !xor.contains(&"Heart"), "{xor:?}");
        if let Some(folder) = std::env::var_os("CONTOURD_READERS_DIR") {
            let folder = PathBuf::from(folder).join(format!("{}-xor", job.name));
            let recipe = recipes().into_iter().find(|recipe| recipe.name == job.name).expect("the same recipe");
            recipe.write_to(&folder.join("ct"));
            write_case(&folder, &job);
        }
    }
}

#[test]
fn a_predecessor_is_named() {
    let mut job = Job::new(recipes().remove(1));
    job.predecessor = Some("1.2.3".parse().expect("a UID"));
    assert_eq!(parsed(&job.encoded()).predecessor_uid, job.predecessor);
}

#[test]
fn masks_of_real_series_come_back_from_the_file() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/series");
    for name in ["02_ct_abdomen_crlm1004_ge", "10_ct_chest_cptac_siemens", "07_mr_brain_oblique_papaya_ge"] {
        let Some((files, job)) = real_job(&data.join(name)) else {
            println!("skipped: {name} is not here");
            continue;
        };
        check_masks(&job);
        if let Some(folder) = std::env::var_os("CONTOURD_READERS_DIR") {
            let folder = PathBuf::from(folder).join(name);
            fs::create_dir_all(folder.join("ct")).expect("a folder");
            for (k, bytes) in files.iter().enumerate() {
                fs::write(folder.join(format!("ct/{k:04}.dcm")), bytes).expect("written");
            }
            write_case(&folder, &job);
        }
    }
}

fn check_masks(job: &Job) {
    let set = parsed(&job.encoded());
    assert_eq!(set.rois.len(), job.masks.len());
    for (found, (name, mask)) in set.rois.iter().zip(&job.masks) {
        assert_eq!(found.name, *name);
        let (contours, off) = found.contours_on(&job.geometry, 0.005);
        assert_eq!(off, 0, "{}: {name}", job.name);
        let back = rasterise(&contours, &job.geometry);
        assert!(back.voxels == mask.voxels, "{}: {name}: Dice {}", job.name, back.dice(mask));
    }
}

/// A whole uncompressed series with two regions by threshold, smoothed, with their islands and holes.
fn real_job(folder: &Path) -> Option<(Vec<Vec<u8>>, Job)> {
    let mut found: Vec<(f64, Vec<u8>, Instance)> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path)
                && let Ok(instance) = Instance::read_part10(&bytes[..])
                && instance.pixel_data.is_some()
            {
                found.push((0.0, bytes, instance));
            }
        }
    }
    let numbers = |instance: &Instance, tag| instance.f64s(tag).expect("numbers");
    let three = |v: &[f64]| [v[0], v[1], v[2]];
    let orientation = numbers(&found.first()?.2, tags::IMAGE_ORIENTATION_PATIENT);
    let normal = contourd::volume::cross(three(&orientation), three(&orientation[3..]));
    for (position, _, instance) in &mut found {
        *position = contourd::volume::dot(normal, three(&numbers(instance, tags::IMAGE_POSITION_PATIENT)));
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let first = &found[0].2;
    let size = |tag| first.integer(tag).expect("a size") as usize;
    let (rows, columns) = (size(tags::ROWS), size(tags::COLUMNS));
    let spacing = numbers(first, tags::PIXEL_SPACING);
    let origins = found.iter().map(|(_, _, i)| three(&numbers(i, tags::IMAGE_POSITION_PATIENT))).collect();
    let directions = (three(&orientation), three(&orientation[3..]));
    let geometry = VolumeGeometry::new((rows, columns), [spacing[0], spacing[1]], directions.0, directions.1, origins);
    let geometry = Arc::new(geometry.expect("a legal geometry"));
    let stored = |slice: usize, row: usize, column: usize| {
        let bytes = &found[slice].1;
        let at = bytes.len() - 2 * (rows * columns - row * columns - column);
        f64::from(i16::from_le_bytes([bytes[at], bytes[at + 1]]))
    };
    let intercept = first.f64s(tags::RESCALE_INTERCEPT).map_or(0.0, |values| values[0]);
    let threshold = |low: f64| majority(&geometry, &|s, r, c| stored(s, r, c) + intercept > low);
    let masks =
        vec![("BODY", threshold(-300.0 + if intercept == 0.0 { 400.0 } else { 0.0 })), ("Bone", threshold(180.0))];
    let (files, instances) = found.into_iter().map(|(_, bytes, instance)| (bytes, instance)).unzip();
    let name = folder.file_name()?.to_string_lossy().into_owned();
    Some((files, Job::of(&name, instances, geometry, masks)))
}

/// Voxels around which most of 9 x 9 pixels are inside: without it, noise makes tens of thousands of contours, for
/// which one of the foreign readers needs hours.
fn majority(geometry: &Arc<VolumeGeometry>, inside: &dyn Fn(usize, usize, usize) -> bool) -> Mask {
    let [_, rows, columns] = geometry.shape();
    let mut mask = Mask::empty(Arc::clone(geometry));
    for (s, mut slice) in mask.voxels.outer_iter_mut().enumerate() {
        let mut sums = vec![vec![0_u32; columns + 1]; rows + 1];
        for r in 0..rows {
            for c in 0..columns {
                sums[r + 1][c + 1] = sums[r][c + 1] + sums[r + 1][c] - sums[r][c] + u32::from(inside(s, r, c));
            }
        }
        for ((r, c), voxel) in slice.indexed_iter_mut() {
            let (top, left) = (r.saturating_sub(4), c.saturating_sub(4));
            let (bottom, right) = ((r + 5).min(rows), (c + 5).min(columns));
            let count = sums[bottom][right] + sums[top][left] - sums[top][right] - sums[bottom][left];
            *voxel = count as usize * 2 > (bottom - top) * (right - left);
        }
    }
    mask
}

/// The structure set and the masks of one case, for `integration/readers/run.sh`: as NIfTI where the slices are
/// even, and always as bytes in the order slice, row, column.
fn write_case(folder: &Path, job: &Job) {
    fs::write(folder.join("rtstruct.dcm"), job.encoded()).expect("written");
    fs::create_dir_all(folder.join("masks")).expect("a folder");
    for (name, mask) in &job.masks {
        let voxels: Vec<u8> = mask.voxels.iter().map(|&inside| u8::from(inside)).collect();
        fs::write(folder.join(format!("masks/{name}.raw")), voxels).expect("written");
        match nifti::encode_mask(mask) {
            Ok(bytes) => fs::write(folder.join(format!("masks/{name}.nii.gz")), nifti::gzip(&bytes)).expect("written"),
            Err(error) => println!("{}: {name}: no NIfTI: {error}", job.name),
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_and_other_input_another_uid() {
    let job = || Job::new(recipes().remove(1));
    let bytes = job().encoded();
    assert!(bytes == job().encoded());
    let uid = |change: fn(&mut Job)| {
        let mut job = job();
        change(&mut job);
        parsed(&job.encoded()).sop_instance_uid
    };
    let first = uid(|_| ());
    assert_eq!(first, parsed(&bytes).sop_instance_uid);
    assert_ne!(first, uid(|job| job.provenance.pipeline_revision = "2".into()));
    assert_ne!(first, uid(|job| job.dialect.decimals = 2));
    assert_ne!(first, uid(|job| job.predecessor = Some("1.2.3".parse().expect("a UID"))));
    assert_eq!(first, uid(|job| job.dialect.like = "mim".into()), "the same choices are the same object");
    assert_ne!(first, uid(|job| job.provenance.model_digests.push("cd34".into())));
    assert_ne!(first, uid(|job| job.provenance.program_version = "0.1.1".into()));
    assert_ne!(first, uid(|job| *job = Job::new(recipes().remove(0))));
}

#[test]
fn contours_repeat_the_position_of_their_image_as_it_is_written() {
    let job = Job::new(recipes().remove(2));
    let bytes = job.encoded();
    let text = String::from_utf8_lossy(&bytes);
    // Six decimals, as the images have it; -104.5 + 12.5.
    assert!(text.contains("\\-92.000000\\"), "z of slice 4");
    let set = parsed(&bytes);
    for (roi, meant) in set.rois.iter().zip(&job.rois) {
        for (found, contour) in roi.contours.iter().zip(&meant.contours) {
            let image = &job.slices[contour.slice];
            assert_eq!(found.sop_instance_uid.as_ref(), Some(&image.sop_instance_uid));
            assert!(found.points.iter().all(|point| point[2] == job.geometry.slice_origins()[contour.slice][2]));
        }
    }
}

#[test]
fn every_component_of_contour_data_is_a_short_plain_decimal() {
    for recipe in recipes() {
        let job = Job::new(recipe);
        let bytes = job.encoded();
        let object = Instance::read_part10(&bytes[..]).expect("a file").header;
        let items = |object: &dicom_object::InMemDicomObject, tag| {
            object.get(tag).and_then(|e| e.items().map(<[_]>::to_vec)).unwrap_or_default()
        };
        let mut components = 0;
        for roi in items(&object, tags::ROI_CONTOUR_SEQUENCE) {
            for contour in items(&roi, tags::CONTOUR_SEQUENCE) {
                let data = contour.get(tags::CONTOUR_DATA).expect("data").to_str().expect("text").into_owned();
                for component in data.trim_end().split('\\') {
                    components += 1;
                    assert!(component.len() <= 16, "{component}");
                    assert!(component.bytes().all(|b| b.is_ascii_digit() || b"-.".contains(&b)), "{component}");
                }
            }
        }
        assert!(components > 1000, "{}", job.name);
    }
}

/// More elements than a data set from the network may have: 150 structures on 500 slices.
#[test]
fn a_set_of_many_structures_on_many_slices_is_written_and_read() {
    let steps = (0..500).map(|slice| 1.5 * f64::from(slice)).collect();
    let recipe = Recipe::axial("many", [500, 8, 8], ["1", "1"], steps);
    let geometry = recipe.geometry();
    let mut job = Job::of(recipe.name, recipe.instances(), Arc::clone(&geometry), Vec::new());
    let voxels = Array3::from_shape_fn((500, 8, 8), |(_, j, i)| (2..6).contains(&j) && (2..6).contains(&i));
    let one = roi("Organ", &Mask::new(geometry, voxels));
    job.rois = (0..150)
        .map(|number| Roi { style: RoiStyle { name: format!("Organ_{number}"), ..one.style.clone() }, ..one.clone() })
        .collect();
    let set = parsed(&job.encoded());
    assert_eq!(set.rois.iter().map(|roi| roi.contours.len()).sum::<usize>(), 75_000);
}

#[test]
fn an_empty_region_is_listed_without_contours() {
    let set = parsed(&Job::new(recipes().remove(1)).encoded());
    let cord = set.rois.iter().find(|roi| roi.name == "SpinalCord").expect("listed");
    assert!(cord.contours.is_empty());
    assert_eq!(
        (cord.interpreted_type.as_str(), cord.color),
        ("ORGAN", Some(lookup("SpinalCord").expect("known").color))
    );
}

#[test]
fn patient_and_study_are_taken_over_byte_for_byte() {
    // ISO 2022 with escapes and a backslash byte inside; GB18030; Cyrillic; UTF-8; a charset nobody knows.
    let names: [(&[u8], &[u8]); 6] = [
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\x81\x30\x81\x30"),
        (b"ISO_IR 144", b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3"),
        (b"ISO_IR 192", "Müller^Jörg".as_bytes()),
        (b"ISO_IR 148", b"\xdeenol^\xddsmail"),
        (b"", b"Plain^Name"),
    ];
    for (character_set, patient_name) in names {
        let mut recipe = Recipe::axial("charset", [3, 24, 30], ["1.25", "0.9765625"], vec![0.0, 2.5, 5.0]);
        (recipe.character_set, recipe.patient_name) = (character_set.to_vec(), patient_name.to_vec());
        check_copied(&Job::new(recipe));
    }
}

#[test]
fn real_character_sets_are_taken_over_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/quirks/charset");
    let files = [
        "chrArab.dcm",
        "chrFren.dcm",
        "chrFrenMulti.dcm",
        "chrGerm.dcm",
        "chrGreek.dcm",
        "chrH31.dcm",
        "chrH32.dcm",
        "chrHbrw.dcm",
        "chrI2.dcm",
        "chrJapMulti.dcm",
        "chrJapMultiExplicitIR6.dcm",
        "chrKoreanMulti.dcm",
        "chrRuss.dcm",
        "chrX1.dcm",
        "chrX2.dcm",
    ];
    for file in files {
        let Ok(bytes) = fs::read(folder.join(file)) else {
            println!("skipped: {file} is not here");
            continue;
        };
        let scan = contourd::dicom::part10::read_part10(&bytes[..]).expect("a file").scan;
        let value = |tag| {
            let element = scan.elements.iter().find(|element| element.tag == tag);
            element.map_or(Vec::new(), |element| scan.header[element.value.clone()].to_vec())
        };
        let mut recipe = Recipe::axial("charset", [3, 24, 30], ["1.25", "0.9765625"], vec![0.0, 2.5, 5.0]);
        recipe.character_set = value(tags::SPECIFIC_CHARACTER_SET);
        recipe.patient_name = value(tags::PATIENT_NAME);
        assert!(!recipe.patient_name.is_empty(), "{file}");
        check_copied(&Job::new(recipe));
    }
}

fn check_copied(job: &Job) {
    let bytes = job.encoded();
    let image = &job.instances[0];
    for tag in [
        tags::SPECIFIC_CHARACTER_SET,
        tags::PATIENT_NAME,
        tags::PATIENT_ID,
        tags::PATIENT_BIRTH_DATE,
        tags::PATIENT_AGE,
        tags::ACCESSION_NUMBER,
        tags::STUDY_DESCRIPTION,
        tags::STUDY_INSTANCE_UID,
        tags::FRAME_OF_REFERENCE_UID,
    ] {
        assert_eq!(raw(&bytes, tag), image.raw(tag).unwrap_or_default(), "{tag}");
    }
}

#[test]
fn refuses_what_is_no_structure_set() {
    let check = |change: fn(&mut Job), expected: fn(&RtstructError) -> bool| {
        let mut job = Job::new(recipes().remove(1));
        change(&mut job);
        let error = job.encode().expect_err("refused");
        assert!(expected(&error), "{error}");
    };
    check(|job| job.rois.clear(), |e| matches!(e, RtstructError::Empty));
    check(|job| job.instances.clear(), |e| matches!(e, RtstructError::UnknownImage { slice: 0, .. }));
    check(|job| drop(job.slices.pop()), |e| matches!(e, RtstructError::SliceReferences { references: 19, slices: 20 }));
    check(
        |job| job.rois[1].style.name = "body".into(),
        |e| matches!(e, RtstructError::Names(problems) if problems.len() == 1),
    );
    check(|job| job.rois[0].algorithm.version = " ".into(), |e| matches!(e, RtstructError::Algorithm { .. }));
    check(|job| job.rois[0].contours[0].slice = 20, |e| matches!(e, RtstructError::Slice { slice: 20, .. }));
    check(|job| job.rois[0].contours[0].points[3][2] += 0.01, |e| matches!(e, RtstructError::OffPlane { .. }));
    check(|job| job.rois[0].contours[0].points[3][0] = f64::NAN, |e| matches!(e, RtstructError::Coordinate { .. }));
    check(|job| job.rois[0].contours[0].points[3][0] = 1e17, |e| matches!(e, RtstructError::Coordinate { .. }));
    check(
        |job| job.rois[0].contours[0].points.truncate(2),
        |e| matches!(e, RtstructError::TooFewPoints { points: 2, .. }),
    );
    // An eight: its second edge crosses its last one.
    check(
        |job| {
            let corners = job.rois[0].contours[0].points.clone();
            let far = corners.len() / 2;
            job.rois[0].contours[0].points = vec![corners[0], corners[far], corners[1], corners[far + 1]];
        },
        |e| matches!(e, RtstructError::SelfCheck(what) if what.ends_with("crosses itself")),
    );
    let other =
        || Recipe::axial("other", [20, 96, 128], ["1.25", "0.9765625"], (0..20).map(|k| 2.5 * f64::from(k)).collect());
    let mut job = Job::new(recipes().remove(1));
    job.instances.push(other().instances().remove(0));
    let error = job.encode().expect_err("two series");
    assert!(error.to_string().starts_with("Study Instance UID of image "), "{error}");
}

#[test]
fn simplifies_only_contours_above_the_limit_and_within_the_tolerance() {
    let mut job = Job::new(recipes().remove(0));
    let count = |job: &Job| -> Vec<usize> {
        parsed(&job.encoded()).rois.iter().flat_map(|roi| &roi.contours).map(|contour| contour.points.len()).collect()
    };
    let before = count(&job);
    let most = before.iter().max().expect("contours") - 1;
    job.dialect.contour_points = Some(most);
    job.dialect.tolerance_pixels = 0.3;
    let after = count(&job);
    assert!(after.iter().all(|&points| points <= most));
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before > most));
    let set = parsed(&job.encoded());
    for (found, (name, mask)) in set.rois.iter().zip(&job.masks) {
        let back = rasterise(&found.contours_on(&job.geometry, 0.005).0, &job.geometry);
        assert!(back.voxels == mask.voxels, "{name}");
    }
    job.dialect = Dialect { contour_points: Some(20), like: "tight".to_owned(), ..job.dialect };
    let warnings = job.encode().expect("written all the same").warnings;
    assert!(warnings[0].contains("more than the 20 points that the dialect tight asks for"), "{warnings:?}");
}

#[test]
fn reads_structure_sets_of_other_makers() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/series");
    let expected: [(&str, &[(&str, usize)]); 4] = [
        ("01_ct_thorax_4dlung_pinnacle", &[("Tumor_c40", 28), ("LN_c40", 21), ("Carina_c40", 1), ("Vertebra_c40", 5)]),
        ("03_mr_thigh_sts001_siemens", &[("GTV_Mass", 20), ("GTV_Edema", 32)]),
        ("04_pet_sts002_crop_ge", &[("GTV_Mass_PET", 16)]),
        ("05_ct_thigh_sts002_crop", &[("GTV_Mass_CT", 16)]),
    ];
    for (folder, rois) in expected {
        let Some(bytes) = find_rtstruct(&data.join(folder)) else {
            println!("skipped: no structure set under {folder}");
            continue;
        };
        let set = read(&bytes).expect("a structure set");
        let found: Vec<(&str, usize)> = set.rois.iter().map(|roi| (roi.name.as_str(), roi.contours.len())).collect();
        for roi in rois {
            assert!(found.contains(roi), "{folder}: {roi:?} is not among {found:?}");
        }
        assert_eq!(set.left_out, 0, "{folder}");
    }
}

fn find_rtstruct(folder: &Path) -> Option<Vec<u8>> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(bytes) = fs::read(&path).ok().filter(|bytes| read(bytes).is_ok()) {
                return Some(bytes);
            }
        }
    }
    None
}

#[test]
fn reading_anything_ends_in_a_value_or_an_error() {
    let bytes = Job::new(Recipe::axial("tiny", [3, 24, 30], ["1.25", "0.9765625"], vec![0.0, 2.5, 5.0])).encoded();
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..300 {
        let mut broken = bytes.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(132..broken.len());
            broken[at] = random.u8(..);
        }
        broken.truncate(random.usize(0..=broken.len()));
        let _ = read(&broken);
    }
    assert!(read(b"").is_err());
    assert!(read(&Recipe::axial("ct", [1, 8, 8], ["1", "1"], vec![0.0]).file(0)).is_err());
}

#[test]
fn a_contour_given_to_a_slice_is_read_on_that_slice() {
    let job = Job::new(recipes().remove(2));
    let square = |slice: usize| -> Contour {
        let corner = |r: f64, c: f64| {
            let origin = job.geometry.slice_origins()[slice];
            [origin[0] + c, origin[1] + r, origin[2]]
        };
        Contour { slice, points: vec![corner(1.0, 1.0), corner(1.0, 9.0), corner(9.0, 9.0)] }
    };
    let mut one = Job::new(recipes().remove(2));
    one.rois.truncate(1);
    one.rois[0].contours = (0..10).map(square).collect();
    let set = parsed(&one.encoded());
    let slices: Vec<usize> = set.rois[0].contours_on(&job.geometry, 0.005).0.iter().map(|c| c.slice).collect();
    assert_eq!(slices, (0..10).collect::<Vec<_>>());
}
