//! Synthetic series, made by hand, with known answers.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::*;
use crate::dicom::build::{item, long, part10, text, us};
use crate::dicom::{Instance, Uid};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

/// One slice of 2 rows and 3 columns; each field can be spoiled.
#[derive(Clone)]
struct Slice {
    uid: u32,
    class: &'static str,
    patient: &'static str,
    image_type: &'static str,
    photometric: &'static str,
    frame_of_reference: &'static str,
    orientation: &'static str,
    position: [f64; 3],
    spacing: &'static str,
    rows: u16,
    intercept: &'static str,
    padding: Option<i16>,
    acquisition: &'static str,
    temporal: &'static str,
    pixels: [i16; 6],
}

impl Slice {
    fn at(number: u32, z: f64) -> Slice {
        Slice {
            uid: number,
            class: CT,
            patient: "ONE",
            image_type: "ORIGINAL\\PRIMARY\\AXIAL",
            photometric: "MONOCHROME2",
            frame_of_reference: "1.2.3",
            orientation: "1\\0\\0\\0\\1\\0",
            position: [-10.0, 5.0, z],
            spacing: "2.5\\0.75",
            rows: 2,
            intercept: "-1000",
            padding: None,
            acquisition: "",
            temporal: "",
            pixels: [number as i16, 1, 2, 3, 4, 5],
        }
    }

    fn file(&self) -> Vec<u8> {
        let mut bytes = text(tags::IMAGE_TYPE, "CS", self.image_type);
        bytes.extend(text(tags::SOP_CLASS_UID, "UI", self.class));
        bytes.extend(text(tags::SOP_INSTANCE_UID, "UI", &format!("1.2.3.{}", self.uid)));
        bytes.extend(text(tags::MODALITY, "CS", "CT"));
        bytes.extend(text(tags::PATIENT_ID, "LO", self.patient));
        bytes.extend(text(tags::PATIENT_POSITION, "CS", "HFS"));
        bytes.extend(text(tags::STUDY_INSTANCE_UID, "UI", "1.2.8"));
        bytes.extend(text(tags::SERIES_INSTANCE_UID, "UI", "1.2.9"));
        bytes.extend(text(tags::ACQUISITION_NUMBER, "IS", self.acquisition));
        bytes.extend(text(tags::INSTANCE_NUMBER, "IS", &self.uid.to_string()));
        let [x, y, z] = self.position;
        bytes.extend(text(tags::IMAGE_POSITION_PATIENT, "DS", &format!("{x}\\{y}\\{z}")));
        bytes.extend(text(tags::IMAGE_ORIENTATION_PATIENT, "DS", self.orientation));
        bytes.extend(text(tags::FRAME_OF_REFERENCE_UID, "UI", self.frame_of_reference));
        bytes.extend(text(tags::TEMPORAL_POSITION_IDENTIFIER, "IS", self.temporal));
        bytes.extend(us(tags::SAMPLES_PER_PIXEL, 1));
        bytes.extend(text(tags::PHOTOMETRIC_INTERPRETATION, "CS", self.photometric));
        bytes.extend(us(tags::ROWS, self.rows));
        bytes.extend(us(tags::COLUMNS, 3));
        bytes.extend(text(tags::PIXEL_SPACING, "DS", self.spacing));
        for (tag, value) in [(0x0100, 16), (0x0101, 16), (0x0102, 15), (0x0103, 1)] {
            bytes.extend(us(Tag(0x0028, tag), value));
        }
        if let Some(padding) = self.padding {
            bytes.extend(us(tags::PIXEL_PADDING_VALUE, padding as u16));
        }
        bytes.extend(text(tags::RESCALE_INTERCEPT, "DS", self.intercept));
        bytes.extend(text(tags::RESCALE_SLOPE, "DS", "1"));
        let pixels: Vec<u8> = self.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        bytes.extend(long(tags::PIXEL_DATA, "OW", pixels.len() as u32, &pixels));
        part10(EXPLICIT, &bytes)
    }
}

fn stack() -> Vec<Slice> {
    (0..5).map(|number| Slice::at(number, 3.0 * f64::from(number))).collect()
}

fn instances(files: &[Vec<u8>]) -> Vec<Instance> {
    files.iter().map(|file| Instance::read_part10(file.as_slice()).unwrap_or_else(|error| panic!("{error}"))).collect()
}

fn files(slices: &[Slice]) -> Vec<Vec<u8>> {
    slices.iter().map(Slice::file).collect()
}

fn planned(slices: &[Slice]) -> SeriesPlan {
    plan(&instances(&files(slices))).unwrap_or_else(|refusals| panic!("{}", refusals[0]))
}

/// Spoils one slice of a good stack and names the rule that must refuse the series.
fn check(rule: &str, spoil: impl FnOnce(&mut Vec<Slice>)) {
    let mut slices = stack();
    spoil(&mut slices);
    let Err(refusals) = plan(&instances(&files(&slices))) else { panic!("{rule} did not refuse") };
    let rules: Vec<&str> = refusals.iter().map(|refusal| refusal.rule).collect();
    assert!(rules.contains(&rule), "{rules:?}");
}

fn warned(rule: &str, spoil: impl FnOnce(&mut Vec<Slice>)) -> SeriesPlan {
    let mut slices = stack();
    spoil(&mut slices);
    let plan = planned(&slices);
    let rules: Vec<&str> = plan.warnings.iter().map(|warning| warning.rule).collect();
    assert_eq!(rules, [rule]);
    plan
}

#[test]
fn slices_in_any_order_make_one_volume_along_the_normal() {
    let mut slices = stack();
    slices.reverse();
    slices.swap(0, 3);
    let files = files(&slices);
    let plan = plan(&instances(&files)).unwrap_or_else(|refusals| panic!("{}", refusals[0]));
    assert!(plan.warnings.is_empty(), "{}", plan.warnings[0]);
    assert_eq!(plan.geometry.shape(), [5, 2, 3]);
    assert_eq!((plan.geometry.row_spacing_mm(), plan.geometry.column_spacing_mm()), (2.5, 0.75));
    assert_eq!(plan.geometry.positions_mm(), [0.0, 3.0, 6.0, 9.0, 12.0]);
    let volume = load(&plan, &|index| Ok(files[index].clone())).unwrap_or_else(|error| panic!("{error}"));
    for slice in 0..5 {
        assert_eq!(volume.pixels[[slice, 0, 0]], slice as f32 - 1000.0);
        assert_eq!(volume.pixels[[slice, 1, 2]], -995.0);
        assert_eq!(plan.slices[slice].sop_instance_uid.as_str(), format!("1.2.3.{slice}"));
        assert_eq!(plan.slices[slice].frame_number, None);
    }
}

#[test]
fn a_series_with_a_flipped_normal_is_ordered_along_it() {
    let mut slices = stack();
    slices.iter_mut().for_each(|slice| slice.orientation = "1\\0\\0\\0\\-1\\0");
    let plan = planned(&slices);
    assert_eq!(plan.geometry.slice_origins()[0], [-10.0, 5.0, 12.0]);
}

#[test]
fn what_makes_no_volume_is_refused_by_its_rule() {
    check("series.no_image", |slices| slices.iter_mut().for_each(|s| s.class = "1.2.840.10008.5.1.4.1.1.7"));
    check("series.no_image", Vec::clear);
    check("series.localizer", |slices| slices.iter_mut().for_each(|s| s.image_type = "ORIGINAL\\PRIMARY\\LOCALIZER"));
    check("series.identity", |slices| slices[2].patient = "TWO");
    check("series.modality", |slices| slices[2].class = "1.2.840.10008.5.1.4.1.1.4");
    check("series.photometric", |slices| slices[2].photometric = "MONOCHROME1");
    check("series.photometric", |slices| slices[2].photometric = "RGB");
    check("series.pixel_length", |slices| slices[2].rows = 4);
    check("series.pixel_format", |slices| slices[2].rows = 0);
    check("series.size", |slices| slices[2].rows = 4);
    check("series.rescale", |slices| slices[2].intercept = "1,5");
    check("series.rescale", |slices| slices[2].intercept = "");
    check("series.frame_of_reference", |slices| slices[2].frame_of_reference = "1.2.4");
    check("series.frame_of_reference", |slices| slices[2].frame_of_reference = "");
    check("series.placement", |slices| slices[2].orientation = "1\\0\\0\\0\\1");
    check("series.placement", |slices| slices[2].position[0] = f64::NAN);
    check("series.placement", |slices| slices[2].spacing = "1");
    check("series.directions", |slices| slices.iter_mut().for_each(|s| s.orientation = "1\\0\\0\\0.1\\1\\0"));
    check("series.orientation", |slices| slices[2].orientation = "0\\1\\0\\0\\0\\-1");
    check("series.pixel_spacing", |slices| slices[2].spacing = "2.5\\0.76");
    check("series.pixel_spacing", |slices| slices.iter_mut().for_each(|s| s.spacing = "0\\0"));
    check("series.duplicate_position", |slices| slices[2].position[2] = 3.0);
    check("series.too_few", |slices| slices.truncate(2));
    check("series.gap", |slices| {
        slices.remove(2);
    });
    check("series.spacing", |slices| slices[4].position[2] = 12.8);
}

#[test]
fn the_refusal_of_two_patients_names_neither() {
    let mut slices = stack();
    slices[1].patient = "TWO";
    let Err(refusals) = plan(&instances(&files(&slices))) else { panic!("two patients") };
    let message = refusals[0].to_string();
    assert!(!message.contains("ONE") && !message.contains("TWO"), "{message}");
    assert!(message.contains("1.2.3.0, 1.2.3.1"), "{message}");
}

#[test]
fn oddities_are_accepted_with_a_warning() {
    warned("series.sheared", |slices| {
        slices.iter_mut().for_each(|slice| slice.position[1] += slice.position[2] / 4.0);
    });
    warned("series.spacing_varies", |slices| slices[4].position[2] = 12.1);
    warned("series.rescale_varies", |slices| slices[4].intercept = "-1024");
    let plan = warned("series.set_aside", |slices| {
        let mut localizer = Slice::at(9, 100.0);
        localizer.image_type = "ORIGINAL\\PRIMARY\\LOCALIZER";
        localizer.orientation = "0\\1\\0\\0\\0\\-1";
        slices.push(localizer);
    });
    assert_eq!(plan.geometry.slices(), 5);
}

#[test]
fn the_same_image_under_two_uids_is_kept_once() {
    let plan = warned("series.repeated", |slices| {
        let mut again = slices[2].clone();
        again.uid = 77;
        slices.insert(0, again);
    });
    assert_eq!(plan.geometry.slices(), 5);
    assert_eq!(plan.slices[2].sop_instance_uid.as_str(), "1.2.3.2");
}

#[test]
fn a_gap_is_accepted_only_where_allowed() {
    let mut slices = stack();
    slices.remove(1);
    let allowed = Allowed { uneven_spacing: true, ..Allowed::default() };
    let plan = plan_with(&instances(&files(&slices)), allowed).unwrap_or_else(|refusals| panic!("{}", refusals[0]));
    assert_eq!(plan.geometry.positions_mm(), [0.0, 6.0, 9.0, 12.0]);
}

#[test]
fn padding_becomes_air_unless_it_lies_in_tissue() {
    let value = |padding: i16| {
        let mut slices = stack();
        slices.iter_mut().for_each(|slice| slice.padding = Some(padding));
        slices.iter_mut().for_each(|slice| slice.pixels[5] = padding);
        let files = files(&slices);
        let plan = plan(&instances(&files)).unwrap_or_else(|refusals| panic!("{}", refusals[0]));
        let warnings = plan.warnings.iter().map(|warning| warning.rule).collect::<Vec<_>>();
        let volume = load(&plan, &|index| Ok(files[index].clone())).unwrap_or_else(|error| panic!("{error}"));
        (volume.pixels[[0, 1, 2]], warnings)
    };
    assert_eq!(value(-2000), (-1024.0, vec![]));
    assert_eq!(value(1000), (0.0, vec!["series.padding"]));
}

#[test]
fn loading_refuses_another_file_than_the_planned_one() {
    let files = files(&stack());
    let plan = plan(&instances(&files)).unwrap_or_else(|refusals| panic!("{}", refusals[0]));
    let swapped = load(&plan, &|index| Ok(files[(index + 1) % 5].clone()));
    assert!(matches!(swapped, Err(AssembleError::Changed { .. })));
    let cut = load(&plan, &|index| Ok(files[index][..files[index].len() - 2].to_vec()));
    assert!(matches!(cut, Err(AssembleError::Scan { .. })));
    let gone = load(&plan, &|_| Err(std::io::ErrorKind::NotFound.into()));
    assert!(matches!(gone, Err(AssembleError::Read { .. })));
}

#[test]
fn a_crafted_codestream_costs_one_error() {
    let with = |transfer_syntax: &str, codestream: &[u8]| {
        let slices = stack();
        let files: Vec<Vec<u8>> = slices
            .iter()
            .map(|slice| {
                let native = slice.file();
                // The meta group is 8 + 20 bytes behind the preamble, the pixels are the last 24 bytes.
                let mut data_set = native[132 + 8 + 20..native.len() - 24].to_vec();
                data_set.extend(long(tags::PIXEL_DATA, "OB", u32::MAX, &item(Tag(0xfffe, 0xe000), 0, &[])));
                data_set.extend(item(Tag(0xfffe, 0xe000), codestream.len() as u32, codestream));
                data_set.extend(item(Tag(0xfffe, 0xe0dd), 0, &[]));
                part10(transfer_syntax, &data_set)
            })
            .collect();
        let plan = plan(&instances(&files)).unwrap_or_else(|refusals| panic!("{}", refusals[0]));
        let failed = load(&plan, &|index| Ok(files[index].clone())).err().map(|error| error.to_string());
        failed.unwrap_or_default()
    };
    // A frame header that claims 65535 x 65535 pixels.
    let huge = [0xff, 0xd8, 0xff, 0xc3, 0, 11, 16, 0xff, 0xff, 0xff, 0xff, 1, 1, 0x11, 0, 0];
    assert!(with("1.2.840.10008.1.2.4.70", &huge).contains("found 65535 x 65535 pixels"));
    let right = [0xff, 0xd8, 0xff, 0xc3, 0, 11, 16, 0, 2, 0, 3, 1, 1, 0x11, 0, 0];
    assert!(with("1.2.840.10008.1.2.4.70", &right).contains("JPEG codestream"));
    assert!(with("1.2.840.10008.1.2.4.90", &[0xff, 0x4f, 0xff, 0x51, 0, 0]).contains("no legal size marker"));
    assert!(with("1.2.840.10008.1.2.4.80", &right).contains("JPEG-LS"));
    assert!(with("1.2.840.10008.1.2.5", &[2; 66]).contains("RLE"));
}

#[test]
fn placements_of_an_arriving_series_tell_its_gaps() {
    let mut slices = stack();
    slices.remove(3);
    let placements: Vec<Placement> = instances(&files(&slices)).iter().filter_map(placement).collect();
    assert_eq!(placements[1].frame_of_reference_uid, "1.2.3".parse::<Uid>().ok());
    let found = spacing(&placements);
    assert_eq!((found.gap_free, found.missing), (false, 1));
}

/// What a series comes to: a line for each volume, `name: positions`, or the rules that refuse it.
fn sorted(slices: &[Slice]) -> Vec<String> {
    let instances = instances(&files(slices));
    let line = |volume: VolumeOf| {
        let found = match &volume.plan {
            Ok(plan) => format!("{:?}", plan.geometry.positions_mm()),
            Err(refusals) => refusals[0].rule.to_owned(),
        };
        format!("{}: {found} of {}", volume.label, volume.instances.len())
    };
    match volumes(&instances, Allowed::default()) {
        Ok(volumes) => volumes.into_iter().map(line).collect(),
        Err(refusals) => refusals.into_iter().map(|refusal| refusal.rule.to_owned()).collect(),
    }
}

/// The stack once more as another phase, with other pixels.
fn phases(numbers: &[&'static str]) -> Vec<Slice> {
    let phase = |(index, number): (u32, &'static str)| {
        stack().into_iter().map(move |slice| Slice {
            uid: 10 * (index + 1) + slice.uid,
            temporal: number,
            pixels: [10 * index as i16 + slice.uid as i16, 7, 7, 7, 7, 7],
            ..slice
        })
    };
    (0..).zip(numbers.iter().copied()).flat_map(phase).collect()
}

#[test]
fn a_phase_that_ends_before_the_others_says_so() {
    let warned = |slices: &[Slice]| {
        let found = volumes(&instances(&files(slices)), Allowed::default()).unwrap_or_else(|_| panic!("volumes"));
        let short = |volume: &VolumeOf| {
            let warnings = volume.plan.as_ref().map(|plan| plan.warnings.clone()).unwrap_or_default();
            warnings.iter().any(|warning| warning.rule == "series.short_phase" && warning.found == "4 slices of 5")
        };
        found.iter().map(|volume| (volume.label.clone(), short(volume))).collect::<Vec<_>>()
    };
    let mut slices = phases(&["9", "10"]);
    let named = |short| vec![("Temporal Position 9".to_owned(), short), ("Temporal Position 10".to_owned(), false)];
    assert_eq!(warned(&slices), named(false));
    slices.retain(|slice| slice.temporal != "9" || slice.position[2] < 12.0);
    assert_eq!(warned(&slices), named(true));
}

#[test]
fn phases_of_one_series_are_a_volume_each() {
    let mut slices = phases(&["10", "9"]);
    slices.reverse();
    let stack = "[0.0, 3.0, 6.0, 9.0, 12.0] of 5";
    assert_eq!(sorted(&slices), [format!("Temporal Position 9: {stack}"), format!("Temporal Position 10: {stack}")]);
    let files = files(&slices);
    let instances = instances(&files);
    let found = volumes(&instances, Allowed::default()).unwrap_or_else(|refusals| panic!("{}", refusals[0]));
    for (volume, number) in found.iter().zip([10_u32, 0]) {
        let plan = volume.plan.as_ref().unwrap_or_else(|refusals| panic!("{}", refusals[0]));
        let loaded = load(plan, &|index| Ok(files[index].clone())).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.pixels[[1, 0, 0]], number as f32 + 1.0 - 1000.0);
        let own: Vec<&str> = plan.slices.iter().map(|slice| slice.sop_instance_uid.as_str()).collect();
        assert!(own.iter().all(|uid| uid.starts_with(&format!("1.2.3.{}", number / 10 + 1))), "{own:?}");
    }
    // Whoever expects one volume is told of all.
    let Err(refusals) = plan(&instances) else { panic!("two volumes") };
    assert_eq!(refusals[0].found, "Temporal Position 9; Temporal Position 10");
}

#[test]
fn a_phase_with_a_gap_is_refused_and_the_others_are_not() {
    let mut slices = phases(&["1", "2", "3"]);
    slices.remove(7);
    let stack = "[0.0, 3.0, 6.0, 9.0, 12.0] of 5";
    assert_eq!(
        sorted(&slices),
        [
            format!("Temporal Position 1: {stack}"),
            "Temporal Position 2: series.gap of 4".to_owned(),
            format!("Temporal Position 3: {stack}")
        ]
    );
    // With a gap in each there is no volume, and the reason is the gap, not the phases.
    let mut slices = phases(&["1", "2"]);
    slices.remove(7);
    slices.remove(1);
    assert_eq!(sorted(&slices), ["series.gap", "series.gap"]);
}

#[test]
fn images_beside_a_stack_are_set_aside_unless_they_could_be_slices_of_it() {
    let with = |spoil: &dyn Fn(&mut Slice)| {
        let mut slices = stack();
        let mut other = Slice::at(9, 4.0);
        spoil(&mut other);
        slices.push(other);
        sorted(&slices)
    };
    let alone = ["images of one stack: [0.0, 3.0, 6.0, 9.0, 12.0] of 5"];
    assert_eq!(with(&|slice| slice.orientation = "0\\1\\0\\0\\0\\-1"), alone);
    assert_eq!(with(&|slice| slice.spacing = "5\\5"), alone);
    assert_eq!(with(&|slice| slice.frame_of_reference = "1.2.4"), alone);
    // At the end of the stack it may be its last slice, written wrongly.
    let (size, frame) = (["series.pixel_spacing"], ["series.frame_of_reference"]);
    assert_eq!(with(&|slice| (slice.position[2], slice.spacing) = (15.0, "5\\5")), size);
    assert_eq!(with(&|slice| (slice.position[2], slice.spacing) = (-3.0, "5\\5")), size);
    assert_eq!(with(&|slice| (slice.position[2], slice.frame_of_reference) = (15.0, "")), frame);
    assert_eq!(with(&|slice| (slice.position[2], slice.frame_of_reference) = (15.0, "1.2.4")), frame);
    // Images of one place, which watch the contrast agent arrive.
    let mut slices = stack();
    slices.iter_mut().for_each(|slice| slice.acquisition = "2");
    slices.extend((0..3).map(|k| Slice { uid: 20 + k, acquisition: "1", pixels: [k as i16; 6], ..Slice::at(20, 6.0) }));
    assert_eq!(sorted(&slices), alone);
    let notes = volumes(&instances(&files(&slices)), Allowed::default()).unwrap_or_else(|_| panic!("a volume"));
    let notes: Vec<String> = notes[0].plan.iter().flat_map(|plan| &plan.warnings).map(ToString::to_string).collect();
    assert!(notes.len() == 1 && notes[0].contains("series.left_over"), "{notes:?}");
}

#[test]
fn stacks_of_different_fields_of_view_are_a_volume_each_and_two_patients_never() {
    let mut slices = stack();
    slices.extend(stack().into_iter().map(|slice| Slice { uid: slice.uid + 10, spacing: "1\\1", ..slice }));
    let stacks = sorted(&slices);
    assert!(stacks.len() == 2 && stacks[0].starts_with("stack 1 (5 images of 2 x 3)"), "{stacks:?}");
    slices[7].patient = "TWO";
    assert!(sorted(&slices).contains(&"series.identity".to_owned()));
    // One that goes on where the other ends may be one stack, written wrongly.
    let mut slices = stack();
    slices.extend(stack().into_iter().map(|slice| {
        let position = [slice.position[0], slice.position[1], slice.position[2] + 15.0];
        Slice { uid: slice.uid + 10, spacing: "1\\1", position, ..slice }
    }));
    assert_eq!(sorted(&slices), ["series.pixel_spacing"]);
}

/// Slices 3 mm apart of one acquisition, with pixels and UIDs of their own.
fn acquired(number: &'static str, slices: std::ops::Range<u32>) -> impl Iterator<Item = Slice> {
    let own = 100 * number.parse::<u32>().unwrap_or(0);
    let slice = move |k: u32| Slice { acquisition: number, ..Slice::at(own + k, 3.0 * f64::from(k)) };
    slices.map(slice)
}

#[test]
fn pieces_of_a_phase_are_never_volumes() {
    // A portal-venous acquisition, and an arterial one that the scanner counts as two.
    let mut slices: Vec<Slice> = acquired("2", 0..10).chain(acquired("3", 0..5)).chain(acquired("4", 5..10)).collect();
    assert_eq!(sorted(&slices), ["series.duplicate_position", "series.pieces"]);
    // What tells the two phases apart in fewer parts is taken.
    slices.iter_mut().for_each(|slice| slice.temporal = if slice.acquisition == "2" { "1" } else { "2" });
    assert_eq!(sorted(&slices).len(), 2);
    assert!(sorted(&slices).iter().all(|line| line.starts_with("Temporal Position") && line.ends_with("of 10")));
    // With a gap in both pieces, which a pipeline may allow, beside a whole phase.
    let gaps = |slice: &Slice| ![303, 408].contains(&slice.uid);
    let pieces = acquired("3", 0..6).chain(acquired("4", 6..12)).filter(gaps);
    let slices: Vec<Slice> = acquired("1", 0..12).chain(pieces).collect();
    assert_eq!(sorted(&slices), ["series.duplicate_position", "series.pieces"]);
    // Packages of every second slice, with one image that came twice.
    let of = |number: &'static str, first: usize| acquired(number, 0..12).skip(first).step_by(2);
    let mut slices: Vec<Slice> = of("1", 0).chain(of("2", 1)).collect();
    assert_eq!(sorted(&slices).len(), 1, "one stack");
    slices.push(Slice { uid: 999, acquisition: "2", pixels: [9; 6], ..Slice::at(999, 12.0) });
    assert!(sorted(&slices).contains(&"series.pieces".to_owned()));
    // With steps that were rounded, and no two images at one place.
    let mut slices: Vec<Slice> = of("1", 0).chain(of("2", 1)).collect();
    slices.iter_mut().filter(|slice| slice.acquisition == "2").for_each(|slice| slice.position[2] += 0.4);
    assert_eq!(sorted(&slices), ["series.spacing"]);
    // The direction of every second slice is written differently.
    let mut slices: Vec<Slice> = acquired("1", 0..12).collect();
    slices
        .iter_mut()
        .skip(1)
        .step_by(2)
        .for_each(|slice| slice.orientation = "0.9999995\\0.001\\0\\-0.001\\0.9999995\\0");
    assert_eq!(sorted(&slices)[0], "series.orientation");
}

#[test]
fn what_could_be_a_phase_is_not_set_aside_and_localizers_are_no_volumes() {
    let mut slices = phases(&["1", "2"]);
    let half = ["2", "3", "4", "5", "6"];
    slices[5..].iter_mut().zip(half).for_each(|(slice, number)| slice.temporal = number);
    assert_eq!(sorted(&slices), ["series.duplicate_position", "series.left_over"]);
    let mut slices = stack();
    slices.extend(acquired("3", 0..4).map(|slice| Slice { orientation: "0\\1\\0\\0\\0\\-1", ..slice }));
    let mut across = 0.0;
    slices[5..].iter_mut().for_each(|slice| {
        slice.position = [across, 0.0, 50.0];
        across += 30.0;
    });
    assert_eq!(sorted(&slices), ["images of one stack: [0.0, 3.0, 6.0, 9.0, 12.0] of 5"]);
}

#[test]
fn a_series_of_too_many_volumes_is_refused() {
    let number = |phase: u32| -> &'static str { phase.to_string().leak() };
    let phase = |phase: u32| (0..3).map(move |k| (phase, k));
    let slice =
        |(phase, k): (u32, u32)| Slice { temporal: number(phase), ..Slice::at(10 * phase + k, 3.0 * f64::from(k)) };
    let slices = |count: u32| (0..count).flat_map(phase).map(slice).collect::<Vec<Slice>>();
    assert_eq!(sorted(&slices(64)).len(), 64);
    assert!(sorted(&slices(65)).contains(&"series.too_many_volumes".to_owned()));
}
