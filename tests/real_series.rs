//! Assembles real series and difficult objects and compares with their known figures; where they are not there, it
//! says so and skips.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contourd::assemble::{self, Allowed, Modality, Refusal, SeriesPlan};
use contourd::dicom::{Instance, InstanceError, SeriesKey, Uid};
use contourd::volume::Volume;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;

/// One instance with the bytes of its file.
struct Stored {
    bytes: Vec<u8>,
    instance: Instance,
}

fn data(folder: &str) -> Option<PathBuf> {
    let folder = PathBuf::from("../shared/data").join(folder);
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> Result<Stored, InstanceError> {
    let bytes = std::fs::read(path).expect("a readable file");
    let instance = Instance::read_part10(bytes.as_slice())?;
    Ok(Stored { bytes, instance })
}

/// All legal instances below a folder, by series.
fn series_below(folder: &Path) -> BTreeMap<SeriesKey, Vec<Stored>> {
    let mut series: BTreeMap<SeriesKey, Vec<Stored>> = BTreeMap::new();
    for stored in files_below(folder).iter().filter_map(|path| read(path).ok()) {
        series.entry(stored.instance.series_key()).or_default().push(stored);
    }
    series
}

/// A file with attributes changed or added, and its meta group as it was.
fn changed(path: &Path, attributes: &[(Tag, VR, &str)]) -> Vec<u8> {
    let mut object = dicom_object::open_file(path).expect("a file that dicom-object reads");
    for &(tag, vr, value) in attributes {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).expect("written to memory");
    bytes
}

fn stored(bytes: Vec<u8>) -> Stored {
    let instance = Instance::read_part10(bytes.as_slice()).unwrap_or_else(|error| panic!("{error}"));
    Stored { bytes, instance }
}

fn plan(stored: Vec<Stored>, allowed: Allowed) -> (Result<SeriesPlan, Vec<Refusal>>, Vec<Vec<u8>>) {
    let (instances, bytes): (Vec<Instance>, Vec<Vec<u8>>) = stored.into_iter().map(|s| (s.instance, s.bytes)).unzip();
    (assemble::plan_with(&instances, allowed), bytes)
}

fn load(stored: Vec<Stored>, allowed: Allowed) -> (SeriesPlan, Volume) {
    let (plan, bytes) = plan(stored, allowed);
    let plan = plan.unwrap_or_else(|refusals| panic!("{}", refusals[0]));
    let volume = assemble::load(&plan, &|index| Ok(bytes[index].clone())).unwrap_or_else(|error| panic!("{error}"));
    (plan, volume)
}

/// The rules by which a series is refused, in the order of the table.
fn refused_by(stored: Vec<Stored>) -> Vec<&'static str> {
    match plan(stored, Allowed::default()).0 {
        Ok(_) => Vec::new(),
        Err(refusals) => refusals.iter().map(|refusal| refusal.rule).collect(),
    }
}

fn range(volume: &Volume) -> (f32, f32) {
    volume.pixels.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)))
}

/// Sum of all values, and sum of all values x (slice index + 1), which depends on the order of the slices.
fn sums(volume: &Volume) -> (f64, f64) {
    let slices = volume.pixels.outer_iter();
    let each: Vec<f64> = slices.map(|slice| slice.iter().map(|&x| f64::from(x)).sum()).collect();
    (each.iter().sum(), each.iter().zip(1..).map(|(sum, number)| sum * f64::from(number)).sum())
}

fn is_close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs()
}

/// Folder, modality, shape, spacing of slices, rows and columns, range, sums, warnings. Range and sums are those that
/// pydicom 3.0.2 with numpy finds, slices in the order of their positions and padding replaced.
type Known = (&'static str, Modality, [usize; 3], [f64; 3], (f32, f32), (f64, f64), &'static [&'static str]);

use Modality::{Ct, Mr, Pet};

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    ("01_ct_thorax_4dlung_pinnacle/ct", Ct, [99, 512, 512], [3.0, 0.9766, 0.9766], (-1000.0, 2976.0), (-18_270_792_534.0, -925_925_856_473.0), &[]),
    ("02_ct_abdomen_crlm1004_ge/ct", Ct, [41, 512, 512], [5.0, 0.796_875, 0.796_875], (-1024.0, 1377.0), (-7_376_060_863.0, -157_370_834_240.0), &[]),
    ("03_mr_thigh_sts001_siemens/mr", Mr, [40, 384, 384], [5.2, 0.523_438, 0.523_438], (0.0, 1187.0), (557_854_947.0, 12_918_941_121.0), &[]),
    ("04_pet_sts002_crop_ge/pt", Pet, [48, 27, 30], [3.27, 5.468_75, 5.468_75], (0.0, 21.675_747), (24_193.158_419_975_98, 572_343.853_077_675), &[]),
    ("05_ct_thigh_sts002_crop/ct", Ct, [48, 143, 161], [3.27, 0.976_562, 0.976_562], (-1000.0, 1156.0), (-322_176_927.0, -8_144_565_389.0), &[]),
    ("07_mr_brain_oblique_papaya_ge", Mr, [20, 256, 256], [6.972, 0.859_375, 0.859_375], (0.0, 1059.0), (219_593_921.0, 2_287_725_848.0), &["series.spacing_varies"]),
    ("08_mr_brain_enhanced_xa30_siemens", Mr, [96, 128, 128], [2.0, 2.0, 2.0], (0.0, 2927.0), (223_652_492.0, 10_049_543_495.0), &[]),
    ("10_ct_chest_cptac_siemens", Ct, [102, 512, 512], [3.0, 0.882_812_5, 0.882_812_5], (-1024.0, 2855.0), (-17_141_943_304.0, -911_854_768_236.0), &[]),
];

#[test]
fn series_assemble_with_their_known_figures() {
    for &(folder, modality, shape, [slices_mm, rows_mm, columns_mm], known_range, (sum, weighted), warnings) in KNOWN {
        let Some(path) = data("series").map(|data| data.join(folder)) else { return };
        let mut series = series_below(&path).into_values();
        let (plan, volume) = load(series.next().expect("a series"), Allowed::default());
        let geometry = &plan.geometry;
        assert!(series.next().is_none(), "{folder} holds one series");
        assert_eq!((plan.modality, geometry.shape()), (modality, shape), "{folder}");
        assert!((geometry.slice_spacing_mm() - slices_mm).abs() < 1e-3, "{folder}: {}", geometry.slice_spacing_mm());
        assert!((geometry.row_spacing_mm() - rows_mm).abs() < 1e-5, "{folder}: {}", geometry.row_spacing_mm());
        assert!((geometry.column_spacing_mm() - columns_mm).abs() < 1e-5, "{folder}");
        assert_eq!(range(&volume), known_range, "{folder}");
        let found = sums(&volume);
        assert!(is_close(found.0, sum) && is_close(found.1, weighted), "{folder}: {found:?}");
        assert_eq!(plan.warnings.iter().map(|warning| warning.rule).collect::<Vec<_>>(), warnings, "{folder}");
    }
}

#[test]
fn each_pet_slice_has_its_own_rescale() {
    let Some(path) = data("series/04_pet_sts002_crop_ge/pt") else { return };
    let stored: Vec<Stored> = series_below(&path).into_values().next().expect("a series");
    let mut slopes: Vec<f64> =
        stored.iter().map(|s| s.instance.f64s(tags::RESCALE_SLOPE).expect("a slope")[0]).collect();
    slopes.sort_by(f64::total_cmp);
    slopes.dedup();
    assert_eq!(slopes.len(), 48);
    let expected: Vec<(Uid, f64)> = stored
        .iter()
        .map(|s| {
            let native = &s.bytes[s.bytes.len() - 2 * 27 * 30..];
            let samples = native.as_chunks().0.iter().map(|&b| f64::from(i16::from_le_bytes(b)));
            let slope = s.instance.f64s(tags::RESCALE_SLOPE).expect("a slope")[0];
            (s.instance.sop_instance_uid.clone(), samples.sum::<f64>() * slope)
        })
        .collect();
    let (plan, volume) = load(stored, Allowed::default());
    for (slice, source) in plan.slices.iter().enumerate() {
        let found: f64 = volume.pixels.index_axis(ndarray::Axis(0), slice).iter().map(|&x| f64::from(x)).sum();
        let expected = expected.iter().find(|(uid, _)| *uid == source.sop_instance_uid).expect("a source").1;
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "slice {slice}: {found}, not {expected}");
    }
}

#[test]
fn compressed_series_without_uids_assembles_once_it_has_them() {
    let Some(path) = data("series/06_ct_abdomen_totalseg_j2k") else { return };
    let files: Vec<PathBuf> =
        files_below(&path).into_iter().filter(|file| dicom_object::open_file(file).is_ok()).collect();
    assert_eq!(files.len(), 20);
    assert!(matches!(read(&files[0]), Err(InstanceError::MissingUid { tag: tags::SOP_CLASS_UID, .. })));
    let named = files.iter().enumerate().map(|(index, file)| {
        let uid = Uid::derived(["instance", &index.to_string()]);
        let (study, series) = (Uid::derived(["study"]), Uid::derived(["series"]));
        let uids = [
            (tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.2"),
            (tags::SOP_INSTANCE_UID, VR::UI, uid.as_str()),
            (tags::STUDY_INSTANCE_UID, VR::UI, study.as_str()),
            (tags::SERIES_INSTANCE_UID, VR::UI, series.as_str()),
        ];
        stored(changed(file, &uids))
    });
    let (plan, volume) = load(named.collect(), Allowed::default());
    assert_eq!(plan.geometry.shape(), [20, 512, 512]);
    assert!((plan.geometry.slice_spacing_mm() - 2.0).abs() < 1e-9);
    assert_eq!(range(&volume), (-1024.0, 1839.0));
    assert_eq!(sums(&volume), (-3_272_217_339.0, -34_290_984_328.0));
}

/// The volume of one file, also when it holds a single slice.
fn load_file(file: &Path) -> (SeriesPlan, Volume) {
    let one = read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    load(vec![one], Allowed { slices_min: 1, ..Allowed::default() })
}

#[test]
fn transfer_syntaxes_decode_to_the_same_pixels() {
    let Some(folder) = data("quirks/transfer_syntax") else { return };
    let file = |name: &str| folder.join(format!("ct_1.2.840.10008.1.2.{name}.dcm"));
    let (_, expected) = load_file(&file("1_LittleEndianExplicit"));
    let known = [
        ("2_BigEndianExplicit", 0.0),
        ("1.99_DeflatedExplicitVRLittleEndian", 0.0),
        ("5_RLELossless", 0.0),
        ("4.57_JPEGProcess14", 0.0),
        ("4.70_JPEGProcess14SV1", 0.0),
        ("4.80_JPEGLSLossless", 0.0),
        ("4.81_JPEGLSLossy", 1.0),
        ("4.90_JPEG2000LosslessOnly", 0.0),
        ("4.91_JPEG2000", 5.0),
    ];
    for (name, allowed) in known {
        let (_, found) = load_file(&file(name));
        let pairs = found.pixels.iter().zip(&expected.pixels);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= allowed, "{name}: pixels differ by {worst}, at most {allowed} is known");
        assert!(allowed == 0.0 || worst > 0.0, "{name}: a lossy image is not the original");
    }
}

#[test]
fn transfer_syntaxes_without_decoder_are_refused_before_decoding() {
    let Some(folder) = data("quirks/transfer_syntax") else { return };
    for name in ["4.53_JPEGProcess6_8", "4.55_JPEGProcess10_12"] {
        let one = read(&folder.join(format!("ct_1.2.840.10008.1.2.{name}.dcm"))).unwrap_or_else(|e| panic!("{e}"));
        assert!(refused_by(vec![one]).contains(&"series.transfer_syntax"), "{name}");
    }
}

/// Single objects: file, shape, range and sum as pydicom finds them; those of JPEG Extended as libjpeg-turbo does.
#[rustfmt::skip]
const KNOWN_FILES: &[(&str, [usize; 3], (f32, f32), f64, &[&str])] = &[
    ("gantry_tilt/hitachi_supria_tilt-22_j2k_charset_iso2022.dcm", [1, 512, 512], (-2000.0, 1896.0), -172_605_258.0, &["series.tilt_attribute"]),
    ("nonaxial/ct_coronal_reformat_covidnysbu.dcm", [1, 512, 512], (-1024.0, 2294.0), -93_292_139.0, &[]),
    ("nonaxial/mr_sag_position_HFP.dcm", [1, 256, 256], (0.0, 1834.0), 23_895_022.0, &[]),
    ("enhanced/eCT_Supplemental.dcm", [2, 512, 512], (-1024.0, 172.0), -337_621_504.0, &[]),
    ("enhanced/siemens_xa10_enhanced.dcm", [6, 64, 64], (0.0, 1199.0), 2_516_181.0, &[]),
    ("enhanced/dcmqi_enhanced_ct_23x38x3.dcm", [3, 38, 23], (0.0, 1.0), 310.0, &[]),
    ("transfer_syntax/ct_1.2.840.10008.1.2.4.51_JPEGProcess2_4.dcm", [1, 512, 512], (-3052.8787, 1369.6613), -249_065_269.329_888_7, &["series.lossy"]),
    ("bad/CT_small.dcm", [1, 128, 128], (-896.0, 1167.0), -1_950_906.0, &[]),
    ("bad/MR_small.dcm", [1, 64, 64], (127.0, 2145.0), 2_125_338.0, &[]),
    ("bad/MR_small_bigendian.dcm", [1, 64, 64], (127.0, 2145.0), 2_125_338.0, &[]),
    ("bad/MR_small_implicit.dcm", [1, 64, 64], (127.0, 2145.0), 2_125_338.0, &[]),
    ("bad/MR_small_RLE.dcm", [1, 64, 64], (127.0, 2145.0), 2_125_338.0, &[]),
    ("bad/MR_small_jp2klossless.dcm", [1, 64, 64], (127.0, 2145.0), 2_125_338.0, &[]),
    ("bad/MR_small_jpeg_ls_lossless.dcm", [1, 64, 64], (127.0, 2145.0), 2_125_338.0, &[]),
];

#[test]
fn single_objects_load_with_their_known_figures() {
    let Some(folder) = data("quirks") else { return };
    for &(name, shape, known_range, sum, warnings) in KNOWN_FILES {
        let (plan, volume) = load_file(&folder.join(name));
        assert_eq!(plan.geometry.shape(), shape, "{name}");
        assert_eq!((range(&volume), sums(&volume).0), (known_range, sum), "{name}");
        assert_eq!(plan.warnings.iter().map(|warning| warning.rule).collect::<Vec<_>>(), warnings, "{name}");
    }
}

/// Folder or file, and the first rule that must refuse it.
const REFUSED: &[(&str, &str)] = &[
    ("geometry_bad/slicecount", "series.too_few"),
    ("geometry_bad/sliceorientation", "series.orientation"),
    ("geometry_bad/notavolume", "series.duplicate_position"),
    ("gantry_tilt/IM-0001-0001.dcm", "series.frame_of_reference"),
    ("dicomdir/98892001/CT2N", "series.localizer"),
    ("dicomdir/77654033/CT2", "series.gap"),
    ("dicomdir/98892003/MR700", "series.orientation"),
    ("dicomdir/77654033/CR1", "series.no_image"),
    ("enhanced/eCT_Supplemental.dcm", "series.too_few"),
    ("enhanced/emri_small.dcm", "series.placement"),
    ("enhanced/hyperfine_enhanced.dcm", "series.frame_of_reference"),
    ("bad/MR_small_padded.dcm", "series.pixel_length"),
    ("bad/lungmask_no_modality.dcm", "series.frame_of_reference"),
    ("other_sop", "series.no_image"),
    ("rt/pydicom_rtstruct.dcm", "series.no_image"),
    ("rt/brainlab_rtplan_misnamed_RD.dcm", "series.no_image"),
];

#[test]
fn what_is_no_volume_is_refused_with_the_reason() {
    let Some(folder) = data("quirks") else { return };
    for &(name, rule) in REFUSED {
        let path = folder.join(name);
        let groups = match path.is_dir() {
            true => series_below(&path).into_values().collect(),
            false => vec![vec![read(&path).unwrap_or_else(|error| panic!("{name}: {error}"))]],
        };
        assert!(!groups.is_empty(), "{name} holds instances");
        for group in groups {
            let found = refused_by(group);
            assert!(found.contains(&rule), "{name}: refused by {found:?}");
        }
    }
}

#[test]
fn a_tilted_stack_keeps_the_origin_of_each_slice() {
    let Some(folder) = data("quirks/gantry_tilt") else { return };
    let frame_of_reference = Uid::derived(["frame of reference"]);
    let slices = (1..=4).map(|number| {
        let attributes = [(tags::FRAME_OF_REFERENCE_UID, VR::UI, frame_of_reference.as_str())];
        stored(changed(&folder.join(format!("IM-0001-000{number}.dcm")), &attributes))
    });
    let slices: Vec<Stored> = slices.collect();
    let mut origins: Vec<Vec<f64>> =
        slices.iter().map(|s| s.instance.f64s(tags::IMAGE_POSITION_PATIENT).expect("a position")).collect();
    let (plan, _) = load(slices, Allowed::default());
    assert!((plan.geometry.slice_spacing_mm() - 4.851).abs() < 1e-3, "{}", plan.geometry.slice_spacing_mm());
    assert!(plan.warnings.iter().any(|warning| warning.rule == "series.sheared"));
    let mut found: Vec<Vec<f64>> = plan.geometry.slice_origins().iter().map(|origin| origin.to_vec()).collect();
    let by_height = |a: &Vec<f64>, b: &Vec<f64>| a[2].total_cmp(&b[2]);
    origins.sort_by(by_height);
    found.sort_by(by_height);
    assert_eq!(found, origins);
}

/// File, and a part of the message.
const UNREADABLE: &[(&str, &str)] = &[
    ("bad/MR_truncated.dcm", "data set is truncated: it ends at byte 9296 inside (7FE0,0010)"),
    ("bad/rtplan_truncated.dcm", "data set is truncated"),
    ("bad/pydicom_README.txt", "is this a DICOM file?"),
    ("bad/bad_sequence.dcm", "SOP Instance UID (0008,0018)"),
    ("bad/priv_SQ.dcm", "SOP Class UID (0008,0016) is missing"),
    ("enhanced/emri_small_jpeg_2k_lossless_too_short.dcm", "data set is truncated"),
    ("dicomdir/DICOMDIR-nooffset", "only 224 bytes are left in the item"),
];

#[test]
fn broken_files_are_refused_where_they_break() {
    let Some(folder) = data("quirks") else { return };
    for &(name, part) in UNREADABLE {
        let message = read(&folder.join(name)).err().expect("an error").to_string();
        assert!(message.contains(part), "{name}: {message}");
    }
}

#[test]
fn files_without_meta_group_or_with_unknown_sequences_are_read_whole() {
    let Some(folder) = data("quirks/bad") else { return };
    for name in ["ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "badVR.dcm", "explicit_VR-UN.dcm"] {
        let found = read(&folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")).instance;
        assert!(found.unread.is_empty(), "{name}: {:?}", found.unread);
        assert!(found.header.iter().count() > 5, "{name}");
    }
}

#[test]
fn raw_text_keeps_the_bytes_of_every_character_set() {
    let Some(folder) = data("quirks/charset") else { return };
    let mut compared = 0;
    for file in files_below(&folder) {
        let Ok(one) = read(&file) else { continue };
        let Some(raw) = one.instance.raw(tags::PATIENT_NAME).filter(|raw| !raw.is_empty()) else { continue };
        assert!(one.bytes.windows(raw.len()).any(|bytes| bytes == raw), "{}", file.display());
        compared += 1;
    }
    assert!(compared >= 14, "{compared} files with a name");
}

#[test]
fn two_patients_under_one_series_are_refused_without_naming_them() {
    let Some(folder) = data("series/05_ct_thigh_sts002_crop/ct") else { return };
    let files = files_below(&folder);
    let other = stored(changed(&files[3], &[(tags::PATIENT_ID, VR::LO, "SOMEBODY-ELSE")]));
    let mut slices: Vec<Stored> = files.iter().filter_map(|file| read(file).ok()).collect();
    slices.retain(|slice| slice.instance.sop_instance_uid != other.instance.sop_instance_uid);
    let name = other.instance.text(tags::PATIENT_ID).expect("an identifier");
    slices.push(other);
    let (Err(refusals), _) = plan(slices, Allowed::default()) else { panic!("two patients make no volume") };
    assert_eq!(refusals.iter().map(|refusal| refusal.rule).collect::<Vec<_>>(), ["series.identity"]);
    assert!(!refusals[0].to_string().contains(&name) && !refusals[0].to_string().contains("STS"));
}

#[test]
fn a_missing_slice_is_refused_unless_allowed() {
    let Some(folder) = data("series/05_ct_thigh_sts002_crop/ct") else { return };
    let without = || -> Vec<Stored> {
        let mut slices: Vec<Stored> = files_below(&folder).iter().filter_map(|file| read(file).ok()).collect();
        slices.sort_by_key(|slice| slice.instance.integer(tags::INSTANCE_NUMBER));
        slices.remove(20);
        slices
    };
    assert_eq!(refused_by(without()), ["series.gap"]);
    let (plan, _) = load(without(), Allowed { uneven_spacing: true, ..Allowed::default() });
    assert_eq!(plan.geometry.slices(), 47);
    assert_eq!(plan.warnings.iter().map(|warning| warning.rule).collect::<Vec<_>>(), ["series.spacing_varies"]);
}
