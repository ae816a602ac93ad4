//! What people and archives read of a run: measurement reports, the page as PDF, pictures; each number worked out anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use contourd::dicom::instance::{items, text};
use contourd::volume::Volume;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{CLASSES, STRUCTURES, bytes_of, has_runtime, instance, load, run, run_on, run_with};

fn data_set(path: &Path) -> InMemDicomObject {
    dicom_object::open_file(path).expect("a data set").into_inner()
}

fn word(object: &InMemDicomObject, tag: Tag) -> String {
    text(object, tag).unwrap_or_default()
}

/// Code Value of the one item of a sequence of codes.
fn code(object: &InMemDicomObject, tag: Tag) -> String {
    items(object, tag).first().map(|item| word(item, tags::CODE_VALUE)).unwrap_or_default()
}

/// Content items of a name, by its Code Value.
fn named<'a>(object: &'a InMemDicomObject, name: &str) -> Vec<&'a InMemDicomObject> {
    let content = items(object, tags::CONTENT_SEQUENCE);
    content.iter().filter(|item| code(item, tags::CONCEPT_NAME_CODE_SEQUENCE) == name).collect()
}

fn number(item: &InMemDicomObject) -> (f64, String) {
    let measured = &items(item, tags::MEASURED_VALUE_SEQUENCE)[0];
    let value: f64 = word(measured, tags::NUMERIC_VALUE).trim().parse().expect("a number");
    let exact = bytes_of(measured, tags::FLOATING_POINT_VALUE);
    let exact = f64::from_le_bytes(exact.try_into().expect("eight bytes"));
    assert!((value - exact).abs() <= 1e-6 * exact.abs().max(1.0), "{value} {exact}");
    (exact, code(measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE))
}

/// The groups of a report with their names.
fn groups(report: &InMemDicomObject) -> Vec<(String, &InMemDicomObject)> {
    let measurements = named(report, "126010")[0];
    let name = |group: &InMemDicomObject| word(named(group, "112039")[0], tags::TEXT_VALUE);
    named(measurements, "125007").into_iter().map(|group| (name(group), group)).collect()
}

/// Volume, mean, deviation, least, most and median of the voxels between two values, in the plainest way.
fn by_hand(image: &Volume, low: f32, high: f32) -> [f64; 6] {
    let mut inside: Vec<f64> =
        image.pixels.iter().filter(|hu| low < **hu && **hu <= high).map(|hu| f64::from(*hu)).collect();
    inside.sort_by(f64::total_cmp);
    let count = inside.len() as f64;
    let geometry = &image.geometry;
    let voxel_mm3 = geometry.row_spacing_mm() * geometry.column_spacing_mm() * geometry.slice_spacing_mm();
    let mean = inside.iter().sum::<f64>() / count;
    // The mean of squares less the square of the mean: another way than the program's.
    let deviation = (inside.iter().map(|hu| hu * hu).sum::<f64>() / count - mean * mean).sqrt();
    let middle = (inside[(inside.len() - 1) / 2] + inside[inside.len() / 2]) / 2.0;
    [count * voxel_mm3 / 1000.0, mean, deviation, inside[0], inside[inside.len() - 1], middle]
}

/// Code Values of the derivations in the order of [`by_hand`], after the volume.
const DERIVATIONS: [&str; 5] = ["373098007", "386136009", "255605001", "56851009", "373099004"];

fn check_values(group: &InMemDicomObject, expected: [f64; 6]) {
    let (volume, unit) = number(named(group, "118565006")[0]);
    assert_eq!(unit, "cm3");
    let mut found = BTreeMap::new();
    for item in named(group, "112031") {
        let (value, unit) = number(item);
        assert_eq!(unit, "[hnsf'U]");
        found.insert(code(named(item, "121401")[0], tags::CONCEPT_CODE_SEQUENCE), value);
    }
    let found = [volume].into_iter().chain(DERIVATIONS.map(|derivation| found[derivation]));
    for (found, expected) in found.zip(expected) {
        // A voxel on a border may go to either side.
        assert!((found - expected).abs() < 2e-3 * expected.abs().max(1.0), "found {found}, expected {expected}");
    }
}

fn only_sr(rest: &str) -> (InMemDicomObject, BTreeMap<String, Vec<PathBuf>>, Volume, tempfile::TempDir) {
    let outputs = format!(r#"{STRUCTURES}, "outputs": [{rest}], "deliver": [{{"to": "tps"}}]"#);
    let (found, images, folder) = run(&outputs).unwrap_or_else(|said| panic!("{said}"));
    (data_set(&found["SR"][0]), found, load(&images), folder)
}

/// Leaves a file for the foreign readers, where they are asked.
fn show(file: &Path, name: &str) {
    if let Some(folder) = std::env::var_os("CONTOURD_READERS_DIR") {
        let folder = PathBuf::from(folder).join("outputs");
        fs::create_dir_all(&folder).expect("a folder");
        fs::copy(file, folder.join(name)).expect("copied");
    }
}

#[test]
fn a_report_holds_the_volume_and_the_values_of_each_structure() {
    if !has_runtime() {
        return;
    }
    // The segmentation stands behind the report in the list, and is written before it.
    let (report, found, image, _folder) = only_sr(r#"{"sr": {}}, {"seg": {"label": "AUTO"}}"#);
    assert_eq!(word(&report, tags::VERIFICATION_FLAG), "UNVERIFIED");
    assert_eq!(word(&report, tags::COMPLETION_FLAG), "PARTIAL");
    assert_eq!(word(&report, tags::SERIES_DESCRIPTION), "contourd fuse measurements AI: review before use");
    let segmentation = data_set(&found["SEG"][0]);
    let expected = [("Brain", "12738006", by_hand(&image, -700.0, 140.0)), ("Bone", "", by_hand(&image, 140.0, 1e9))];
    let groups = groups(&report);
    assert_eq!(groups.len(), 2);
    for (index, ((name, group), (known, finding, values))) in groups.into_iter().zip(expected).enumerate() {
        assert_eq!(name, known);
        assert_eq!(word(&items(group, tags::CONTENT_TEMPLATE_SEQUENCE)[0], tags::TEMPLATE_IDENTIFIER), "1411");
        if !finding.is_empty() {
            assert_eq!(code(named(group, "121071")[0], tags::CONCEPT_CODE_SEQUENCE), finding);
        }
        let segment = &items(named(group, "121191")[0], tags::REFERENCED_SOP_SEQUENCE)[0];
        let of = |tag| word(segment, tag).trim_end_matches('\0').to_owned();
        assert_eq!(of(tags::REFERENCED_SOP_INSTANCE_UID), word(&segmentation, tags::SOP_INSTANCE_UID));
        assert_eq!(of(tags::REFERENCED_SEGMENT_NUMBER), (index + 1).to_string());
        assert_eq!(word(named(group, "111001")[0], tags::TEXT_VALUE), "Fuse");
        check_values(group, values);
    }
    let evidence = &items(&report, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE)[0];
    let series = items(evidence, tags::REFERENCED_SERIES_SEQUENCE);
    let counts: Vec<usize> = series.iter().map(|series| items(series, tags::REFERENCED_SOP_SEQUENCE).len()).collect();
    assert_eq!(counts, [image.geometry.slices(), 1]);
}

#[test]
fn values_that_are_no_hounsfield_units_are_not_told_as_such() {
    if !has_runtime() {
        return;
    }
    // An iodine map comes as CT.
    let change = |image: &Path| {
        let mut object = dicom_object::open_file(image).expect("an image");
        object.put(DataElement::new(tags::RESCALE_TYPE, VR::LO, PrimitiveValue::from("MGML")));
        object.write_to_file(image).expect("written");
    };
    let outputs = format!(r#"{STRUCTURES}, "outputs": [{{"sr": {{}}}}], "deliver": [{{"to": "tps"}}]"#);
    let (found, _, folder) = run_on(&CLASSES, &outputs, &change).unwrap_or_else(|said| panic!("{said}"));
    let report = data_set(&found["SR"][0]);
    for (name, group) in groups(&report) {
        assert_eq!(named(group, "118565006").len(), 1, "{name} has a volume");
        assert!(named(group, "112031").is_empty(), "{name} has no attenuation");
        let comment = word(named(group, "121106")[0], tags::TEXT_VALUE);
        assert_eq!(comment, "Values are left out: Rescale Type of the images is MGML.");
    }
    drop(folder);
}

#[test]
fn without_a_segmentation_polygons_enclose_the_volume() {
    if !has_runtime() {
        return;
    }
    let (report, found, image, _folder) = only_sr(r#"{"sr": {"description": "Volumes"}}"#);
    show(&found["SR"][0], "polygons.dcm");
    assert_eq!(word(&report, tags::SERIES_DESCRIPTION), "Volumes AI: review before use");
    let geometry = &image.geometry;
    let voxel_cm3 = geometry.row_spacing_mm() * geometry.column_spacing_mm() * geometry.slice_spacing_mm() / 1000.0;
    let [_, rows, columns] = geometry.shape();
    for (name, group) in groups(&report) {
        let (volume, _) = number(named(group, "118565006")[0]);
        let mut enclosed = 0;
        for region in named(group, "111030") {
            let data = bytes_of(region, tags::GRAPHIC_DATA);
            let values: Vec<f64> =
                data.as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_le_bytes(*four))).collect();
            let points = values.as_chunks::<2>().0;
            assert_eq!(points.first(), points.last(), "{name}: closed");
            let centres = (0..rows * columns).map(|n| [(n % columns) as f64 + 0.5, (n / columns) as f64 + 0.5]);
            enclosed += centres.filter(|centre| encloses(points, *centre)).count();
            let image = &items(region, tags::CONTENT_SEQUENCE)[0];
            assert_eq!(items(image, tags::REFERENCED_SOP_SEQUENCE).len(), 1);
        }
        let enclosed = enclosed as f64 * voxel_cm3;
        assert!((enclosed / volume - 1.0).abs() < 1e-3, "{name}: {enclosed} {volume}");
    }
}

/// Whether a polygon holds a point: an odd number of its edges lie to the right of it.
fn encloses(points: &[[f64; 2]], [x, y]: [f64; 2]) -> bool {
    let crosses = |pair: &&[[f64; 2]]| {
        let ([x0, y0], [x1, y1]) = (pair[0], pair[1]);
        (y0 <= y) != (y1 <= y) && x < x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    };
    points.windows(2).filter(crosses).count() % 2 == 1
}

#[test]
fn an_empty_structure_is_reported_with_volume_nought_and_no_region() {
    if !has_runtime() {
        return;
    }
    // Nothing is bone.
    let classes = [(-1.0, -700.0), (0.0, 0.0), (0.0, -1e6)];
    let outputs = format!(r#"{STRUCTURES}, "outputs": [{{"sr": {{}}}}], "deliver": [{{"to": "tps"}}]"#);
    let (found, _, _folder) = run_with(&classes, &outputs).unwrap_or_else(|said| panic!("{said}"));
    let report = data_set(&found["SR"][0]);
    let (name, group) = groups(&report).pop().expect("two groups");
    assert_eq!(name, "Bone");
    assert_eq!(word(&items(group, tags::CONTENT_TEMPLATE_SEQUENCE)[0], tags::TEMPLATE_IDENTIFIER), "1501");
    assert_eq!(number(named(group, "118565006")[0]).0, 0.0);
    assert!(named(group, "111030").is_empty() && named(group, "112031").is_empty());
    assert!(fs::metadata(&found["SR"][0]).expect("a file").len() > 0);
}

#[test]
fn the_page_is_delivered_as_a_pdf_and_as_pictures() {
    if !has_runtime() {
        return;
    }
    let outputs = format!(
        r#"{STRUCTURES}, "outputs": [{{"pdf": {{"description": "The page"}}}}, {{"secondary_capture": {{}}}}],
          "deliver": [{{"to": "tps"}}]"#
    );
    let (found, images, _folder) = run(&outputs).unwrap_or_else(|said| panic!("{said}"));
    let image = instance(&images[0]);
    let document = data_set(&found["DOC"][0]);
    assert_eq!(word(&document, tags::MODALITY), "DOC");
    assert_eq!(word(&document, tags::SERIES_DESCRIPTION), "The page AI: review before use");
    assert_eq!(word(&document, tags::PATIENT_ID), image.text(tags::PATIENT_ID).unwrap_or_default());
    assert_eq!(items(&document, tags::SOURCE_INSTANCE_SEQUENCE).len(), images.len());
    let (bytes, length) = (bytes_of(&document, tags::ENCAPSULATED_DOCUMENT), tags::ENCAPSULATED_DOCUMENT_LENGTH);
    let length: usize = word(&document, length).trim().parse().expect("a length");
    assert!(bytes.starts_with(b"%PDF-") && bytes[..length].ends_with(b"%%EOF") && bytes.len() - length < 2);

    let pictures: Vec<InMemDicomObject> = found["SC"].iter().map(|file| data_set(file)).collect();
    let folder = found["SC"][0].parent().expect("a folder");
    let drawn = fs::read_dir(folder)
        .expect("a folder")
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("picture-")));
    assert_eq!(pictures.len(), 1 + drawn.count(), "one of the table and one of each figure");
    let mut numbers: Vec<String> = pictures.iter().map(|one| word(one, tags::INSTANCE_NUMBER)).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), pictures.len());
    for picture in &pictures {
        assert_eq!(word(picture, tags::CONVERSION_TYPE), "WSD");
        assert_eq!(word(picture, tags::IMAGE_TYPE), "DERIVED\\SECONDARY");
        assert_eq!(word(picture, tags::PATIENT_ID), image.text(tags::PATIENT_ID).unwrap_or_default());
        let pixels = bytes_of(picture, tags::PIXEL_DATA);
        assert_eq!(pixels.len(), 1024 * 1024 * 3);
        // The colour of one of the structures, in its outline or in the table.
        let colored = pixels.as_chunks::<3>().0.iter().filter(|rgb| [[0, 255, 0], [255, 0, 0]].contains(rgb)).count();
        assert!(colored > 100, "{colored} pixels: {}", word(picture, tags::IMAGE_COMMENTS));
    }
    let page = fs::read_to_string(folder.join("report.html")).expect("a page");
    assert!(page.contains("<h2>Checks</h2>") && page.contains("2 of 2 made") && page.contains("DOC."), "{page}");
}
