//! Factors of SUV by body weight, of headers made by hand. Expected numbers are worked out outside of this program.

use super::*;
use crate::assemble::{load, plan};
use crate::dicom::build::{item, long, part10, text, us};

const PET: &str = "1.2.840.10008.5.1.4.1.1.128";

/// What the header of a slice says; each can be spoiled.
#[derive(Clone)]
struct Header {
    units: &'static str,
    corrected: &'static str,
    decay: &'static str,
    series: &'static str,
    acquired: &'static str,
    weight: &'static str,
    dose: &'static str,
    start: &'static str,
    start_date_time: &'static str,
    suv_type: &'static str,
    ge: &'static str,
    philips: [&'static str; 2],
    /// Place along the stack, and the slope and intercept that are its own.
    slice: (u8, &'static str, &'static str),
}

impl Default for Header {
    /// 370 MBq of F-18 an hour before the series, 70 kg.
    fn default() -> Header {
        Header {
            units: "BQML",
            corrected: "ATTN\\DECY\\SCAT",
            decay: "START",
            series: "100000",
            acquired: "100000",
            weight: "70",
            dose: "370000000",
            start: "090000.00",
            start_date_time: "",
            suv_type: "",
            ge: "",
            philips: ["", ""],
            slice: (1, "1", "0"),
        }
    }
}

impl Header {
    fn instance(&self) -> Instance {
        Instance::read_part10(self.file().as_slice()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// One row of two pixels, 10 and 20.
    fn file(&self) -> Vec<u8> {
        let (number, slope, intercept) = self.slice;
        let mut bytes = text(tags::SOP_CLASS_UID, "UI", PET);
        let mut put = |tag, vr: &str, value: &str| bytes.extend(text(tag, vr, value));
        put(tags::SOP_INSTANCE_UID, "UI", &format!("1.2.3.{number}"));
        put(tags::SERIES_DATE, "DA", "20260102");
        put(tags::ACQUISITION_DATE, "DA", "20260102");
        put(tags::SERIES_TIME, "TM", self.series);
        put(tags::ACQUISITION_TIME, "TM", self.acquired);
        put(tags::MODALITY, "CS", "PT");
        if !self.ge.is_empty() {
            put(Tag(0x0009, 0x0010), "LO", "GEMS_PETD_01");
            put(Tag(0x0009, 0x100d), "DT", self.ge);
        }
        put(tags::PATIENT_ID, "LO", "ONE");
        put(tags::PATIENT_WEIGHT, "DS", self.weight);
        put(tags::STUDY_INSTANCE_UID, "UI", "1.2.8");
        put(tags::SERIES_INSTANCE_UID, "UI", "1.2.9");
        put(tags::IMAGE_POSITION_PATIENT, "DS", &format!("0\\0\\{number}"));
        put(tags::IMAGE_ORIENTATION_PATIENT, "DS", "1\\0\\0\\0\\1\\0");
        put(tags::FRAME_OF_REFERENCE_UID, "UI", "1.2.7");
        bytes.extend(us(tags::SAMPLES_PER_PIXEL, 1));
        bytes.extend(text(tags::PHOTOMETRIC_INTERPRETATION, "CS", "MONOCHROME2"));
        bytes.extend(us(tags::ROWS, 1));
        bytes.extend(us(tags::COLUMNS, 2));
        bytes.extend(text(tags::PIXEL_SPACING, "DS", "4\\4"));
        bytes.extend(text(tags::CORRECTED_IMAGE, "CS", self.corrected));
        for (tag, value) in [(0x0100, 16), (0x0101, 16), (0x0102, 15), (0x0103, 0)] {
            bytes.extend(us(Tag(0x0028, tag), value));
        }
        bytes.extend(text(tags::RESCALE_INTERCEPT, "DS", intercept));
        bytes.extend(text(tags::RESCALE_SLOPE, "DS", slope));
        let mut tracer = Vec::new();
        let mut of_tracer = |tag, vr: &str, value: &str| {
            if !value.is_empty() {
                tracer.extend(text(tag, vr, value));
            }
        };
        of_tracer(tags::RADIOPHARMACEUTICAL_START_TIME, "TM", self.start);
        of_tracer(tags::RADIONUCLIDE_TOTAL_DOSE, "DS", self.dose);
        of_tracer(tags::RADIONUCLIDE_HALF_LIFE, "DS", "6586.2");
        of_tracer(tags::RADIOPHARMACEUTICAL_START_DATE_TIME, "DT", self.start_date_time);
        let tracer = item(Tag(0xfffe, 0xe000), tracer.len() as u32, &tracer);
        bytes.extend(long(tags::RADIOPHARMACEUTICAL_INFORMATION_SEQUENCE, "SQ", tracer.len() as u32, &tracer));
        let mut put = |tag, vr: &str, value: &str| {
            if !value.is_empty() {
                bytes.extend(text(tag, vr, value));
            }
        };
        put(tags::UNITS, "CS", self.units);
        put(tags::SUV_TYPE, "CS", self.suv_type);
        put(tags::DECAY_CORRECTION, "CS", self.decay);
        if self.philips != ["", ""] {
            put(Tag(0x7053, 0x0011), "LO", "Philips PET Private Group");
            put(Tag(0x7053, 0x1100), "DS", self.philips[0]);
            put(Tag(0x7053, 0x1109), "DS", self.philips[1]);
        }
        bytes.extend(long(tags::PIXEL_DATA, "OW", 4, &[10, 0, 20, 0]));
        part10("1.2.840.10008.1.2.1", &bytes)
    }

    fn factor(&self) -> Result<f64, String> {
        let instance = self.instance();
        factor(&instance, &[&instance])
    }
}

fn check(spoil: impl FnOnce(&mut Header), expected: f64) {
    let mut header = Header::default();
    spoil(&mut header);
    let found = header.factor().unwrap_or_else(|told| panic!("{told}"));
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
}

/// 70,000 g over 370 MBq after an hour, after half an hour, and at injection.
const HOUR: f64 = 0.000_276_336_681_717_643_24;
const HALF_HOUR: f64 = 0.000_228_648_010_613_239_23;
const NONE: f64 = 70_000.0 / 3.7e8;

#[test]
fn activity_becomes_uptake_by_weight_and_what_is_left_of_the_dose() {
    check(|_| (), HOUR);
    check(|h| h.decay = "ADMIN", NONE);
    check(|h| h.start_date_time = "20260102093000.0", HALF_HOUR);
    // Injected before midnight.
    check(|h| (h.series, h.acquired, h.start) = ("003000", "003000", "233000"), HOUR);
    check(|h| (h.series, h.acquired, h.start) = ("0030", "0031", "2330"), HOUR);
}

#[test]
fn a_series_written_after_the_scan_is_timed_by_its_scan() {
    check(|h| (h.series, h.acquired) = ("113000", "100000"), HOUR);
    check(|h| (h.series, h.acquired, h.ge) = ("113000", "100500", "20260102093000.00"), HALF_HOUR);
    // Several beds: the first counts for all.
    let late = Header { series: "113000", acquired: "101500", ..Header::default() }.instance();
    let first = Header { series: "113000", ..Header::default() }.instance();
    let found = factor(&late, &[&late, &first]).unwrap_or_else(|told| panic!("{told}"));
    assert!((found / HOUR - 1.0).abs() < 1e-12, "{found}");
}

#[test]
fn each_slice_keeps_its_own_slope_and_intercept() {
    let slices = [(1, "2", "0"), (2, "0.5", "100"), (3, "8", "-3")];
    let files = slices.map(|slice| Header { slice, ..Header::default() }.file());
    let instances: Vec<Instance> =
        files.iter().map(|file| Instance::read_part10(file.as_slice()).expect("an instance")).collect();
    let mut plan = plan(&instances).unwrap_or_else(|refusals| panic!("{}", refusals[0]));
    to_suv_bw(&mut plan, &instances).unwrap_or_else(|told| panic!("{told}"));
    let volume = load(&plan, &|index| Ok(files[index].clone())).unwrap_or_else(|error| panic!("{error}"));
    let activities = [[20.0, 40.0], [105.0, 110.0], [77.0, 157.0]];
    for (slice, row) in activities.iter().enumerate() {
        for (column, activity) in row.iter().enumerate() {
            let found = f64::from(volume.pixels[[slice, 0, column]]);
            assert!((found / (activity * HOUR) - 1.0).abs() < 1e-6, "slice {slice}: {found} {}", activity * HOUR);
        }
    }
}

#[test]
fn units_of_makers() {
    check(|h| h.units = "GML", 1.0);
    check(|h| (h.units, h.suv_type) = ("GML", "BW"), 1.0);
    check(|h| (h.units, h.philips) = ("CNTS", ["0.0025", "3"]), 0.0025);
    check(|h| (h.units, h.philips) = ("CNTS", ["0", "3"]), 3.0 * HOUR);
}

#[test]
fn what_is_not_certain_is_refused() {
    let refused = |spoil: fn(&mut Header), part: &str| {
        let mut header = Header::default();
        spoil(&mut header);
        let told = header.factor().expect_err("refused");
        assert!(told.contains(part), "{told}\n{part}");
    };
    refused(
        |h| h.corrected = "DECY\\SCAT",
        "found Corrected Image (0028,0051) \"DECY\\\\SCAT\", expected ATTN and DECY",
    );
    refused(|h| h.decay = "NONE", "found Decay Correction (0054,1102) \"NONE\", expected START or ADMIN");
    refused(|h| h.weight = "0", "found no Patient's Weight");
    refused(|h| h.dose = "370", "found no Radionuclide Total Dose (0018,1074) of at least 1e5 Bq");
    refused(|h| h.start = "", "found no Radiopharmaceutical Start Time");
    refused(|h| h.start_date_time = "20260103090000", "found -82800 s from injection to scan");
    refused(|h| h.units = "CNTS", "CNTS without a factor of Philips");
    refused(|h| h.units = "PROPCNTS", "found Units (0054,1001) \"PROPCNTS\", expected BQML, GML or CNTS");
    refused(|h| (h.units, h.suv_type) = ("GML", "LBM"), "found SUV Type (0054,1006) \"LBM\", expected BW");
}
