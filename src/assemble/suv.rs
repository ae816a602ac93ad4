//! Standardised uptake values by body weight of PET (SUVbw), by the pseudo-code that QIBA published; it decodes nothing.
//!
//! The factor of a series is worked out once and multiplied into the rescale of each slice, so that what is loaded is
//! g/ml. What is not certain is refused: a wrong dose or time scales every value, and nobody sees it in the picture.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use jiff::civil::DateTime;

use super::plan::SeriesPlan;
use super::{Modality, format};
use crate::dicom::Instance;
use crate::dicom::instance::{f64s, items, text};

/// Radionuclide Total Dose (0018,1074) is in Bq. Less than this is MBq in the wrong place: no clinical dose is so low.
const DOSE_BQ_LEAST: f64 = 1e5;

/// Bounds of a body weight, kg; outside of them it is a placeholder or in another unit.
const WEIGHT_KG: (f64, f64) = (0.5, 500.0);

/// Most time from injection to scan, s: two half-lives of a day-long study would do; more is a wrong date.
const UPTAKE_S_MAX: f64 = 7.0 * 86_400.0;

/// Makes a plan of PET load SUVbw (g/ml) instead of what is stored.
///
/// # Errors
/// Why the images do not say what their SUVbw is, with what was found and expected.
pub fn to_suv_bw(plan: &mut SeriesPlan, instances: &[Instance]) -> Result<(), String> {
    if plan.modality != Modality::Pet {
        return Err(format!("found images of modality {}, expected PT: only PET has SUV", plan.modality.as_str()));
    }
    let of_slice = |slice: usize| &instances[plan.slices[slice].instance];
    let used: Vec<&Instance> = (0..plan.slices.len()).map(of_slice).collect();
    if used.iter().any(|instance| format::is_multi_frame(instance.sop_class_uid.as_str())) {
        return Err("found enhanced PET, expected an object for each slice: its SUV is not read yet".to_owned());
    }
    let factors = used.iter().map(|instance| factor(instance, &used)).collect::<Result<Vec<f64>, String>>()?;
    for (decoding, factor) in plan.decodings.iter_mut().zip(factors) {
        decoding.rescale.slope *= factor;
        decoding.rescale.intercept *= factor;
    }
    Ok(())
}

/// What rescaled values of one image are multiplied by.
fn factor(instance: &Instance, all: &[&Instance]) -> Result<f64, String> {
    let header = &instance.header;
    let corrected = instance.text(tags::CORRECTED_IMAGE).unwrap_or_default();
    let has = |word: &str| corrected.split('\\').any(|part| part.trim().starts_with(word));
    if !has("ATTN") || !(has("DECY") || has("DECAY")) {
        return Err(format!("found Corrected Image (0028,0051) {corrected:?}, expected ATTN and DECY"));
    }
    match instance.text(tags::UNITS).unwrap_or_default().trim() {
        "GML" => match instance.text(tags::SUV_TYPE).as_deref().map(str::trim) {
            None | Some("" | "BW") => Ok(1.0),
            Some(other) => Err(format!("found SUV Type (0054,1006) {other:?}, expected BW or none")),
        },
        "BQML" => becquerel(instance, all),
        "CNTS" => match (philips(header, 0x00), philips(header, 0x09)) {
            (Some(suv), _) => Ok(suv),
            (None, Some(activity)) => Ok(activity * becquerel(instance, all)?),
            (None, None) => {
                Err("found Units (0054,1001) CNTS without a factor of Philips (7053,xx00), expected one".to_owned())
            }
        },
        other => Err(format!("found Units (0054,1001) {other:?}, expected BQML, GML or CNTS")),
    }
}

/// From Bq/ml: body weight over the dose that is left at the time to which decay was corrected.
fn becquerel(instance: &Instance, all: &[&Instance]) -> Result<f64, String> {
    let header = &instance.header;
    let number = |object, tag| f64s(object, tag).map(|values| values[0]);
    let weight = number(header, tags::PATIENT_WEIGHT).filter(|kg| (WEIGHT_KG.0..=WEIGHT_KG.1).contains(kg));
    let weight = weight.ok_or_else(|| {
        format!("found no Patient's Weight (0010,1030) from {} to {} kg, expected one", WEIGHT_KG.0, WEIGHT_KG.1)
    })?;
    let tracer = items(header, tags::RADIOPHARMACEUTICAL_INFORMATION_SEQUENCE);
    let [tracer] = tracer else {
        return Err(format!(
            "found {} items of Radiopharmaceutical Information Sequence (0054,0016), expected one",
            tracer.len()
        ));
    };
    let dose = number(tracer, tags::RADIONUCLIDE_TOTAL_DOSE).filter(|dose| *dose >= DOSE_BQ_LEAST);
    let dose = dose.ok_or_else(|| {
        format!("found no Radionuclide Total Dose (0018,1074) of at least {DOSE_BQ_LEAST:e} Bq, expected one in Bq")
    })?;
    let half_life = number(tracer, tags::RADIONUCLIDE_HALF_LIFE).filter(|seconds| *seconds > 0.0);
    let half_life =
        half_life.ok_or("found no Radionuclide Half Life (0018,1075) above 0 s, expected one".to_owned())?;
    let left = match instance.text(tags::DECAY_CORRECTION).unwrap_or_default().trim() {
        "ADMIN" => dose,
        "START" => dose * (-uptake_s(instance, tracer, all)? / half_life).exp2(),
        other => return Err(format!("found Decay Correction (0054,1102) {other:?}, expected START or ADMIN")),
    };
    Ok(weight * 1000.0 / left)
}

/// Seconds from injection to the time to which decay was corrected.
fn uptake_s(instance: &Instance, tracer: &dicom_object::InMemDicomObject, all: &[&Instance]) -> Result<f64, String> {
    let scan = reference_time(instance, all)?;
    let injected = text(tracer, tags::RADIOPHARMACEUTICAL_START_DATE_TIME).as_deref().and_then(date_time);
    let seconds = |from: DateTime| (scan - from).total(jiff::Unit::Second).unwrap_or(f64::NAN);
    let uptake = match injected {
        Some(injected) => seconds(injected),
        None => {
            let time = text(tracer, tags::RADIOPHARMACEUTICAL_START_TIME).unwrap_or_default();
            let day = scan.date().strftime("%Y%m%d").to_string();
            let injected = date_time(&format!("{day}{}", time.trim())).filter(|_| !time.trim().is_empty());
            let injected = injected.ok_or(
                "found no Radiopharmaceutical Start Time (0018,1072) or Date Time (0018,1078), expected one".to_owned(),
            )?;
            // Before midnight and after it.
            let uptake = seconds(injected);
            if uptake < 0.0 { uptake + 86_400.0 } else { uptake }
        }
    };
    if (0.0..=UPTAKE_S_MAX).contains(&uptake) {
        return Ok(uptake);
    }
    Err(format!("found {uptake} s from injection to scan, expected 0 to {UPTAKE_S_MAX}"))
}

/// The time to which decay was corrected: that of the series, unless it was written after the scan; then what GE says of
/// its own, then the first acquisition of the series.
fn reference_time(instance: &Instance, all: &[&Instance]) -> Result<DateTime, String> {
    let moment = |instance: &Instance, date: Tag, time: Tag| {
        let (date, time) = (instance.text(date)?, instance.text(time)?);
        date_time(&format!("{}{}", date.trim(), time.trim()))
    };
    let acquired = |instance: &&Instance| moment(instance, tags::ACQUISITION_DATE, tags::ACQUISITION_TIME);
    let first = all.iter().filter_map(acquired).min();
    let series = moment(instance, tags::SERIES_DATE, tags::SERIES_TIME);
    match (series, first) {
        (Some(series), Some(first)) if series <= first => Ok(series),
        (_, Some(first)) => Ok(private(&instance.header, 0x0009, "GEMS_PETD_01", 0x0d)
            .and_then(|text| date_time(text.trim()))
            .unwrap_or(first)),
        _ => Err("found no Acquisition Date and Time (0008,0022), (0008,0032), expected both".to_owned()),
    }
}

/// `YYYYMMDD` and `HHMM[SS[.FFFFFF]]` in one, without a time zone: all times of a series are of one clock.
fn date_time(text: &str) -> Option<DateTime> {
    let plain = text.split(['+', '-', '&']).next()?;
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    if whole.len() < 12 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| whole.get(range).map_or(Some(0), |digits| digits.parse::<i8>().ok());
    let nanosecond = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    DateTime::new(
        whole[..4].parse().ok()?,
        part(4..6)?,
        part(6..8)?,
        part(8..10)?,
        part(10..12)?,
        part(12..14)?,
        nanosecond,
    )
    .ok()
}

/// A factor of Philips that is not 0.
fn philips(header: &dicom_object::InMemDicomObject, element: u16) -> Option<f64> {
    let value: f64 = private(header, 0x7053, "Philips PET Private Group", element)?.trim().parse().ok()?;
    (value.is_finite() && value != 0.0).then_some(value)
}

/// The text of a private element: its block is where its creator says (PS3.5 7.8.1).
fn private(header: &dicom_object::InMemDicomObject, group: u16, creator: &str, element: u16) -> Option<String> {
    let reserved = |block: &u16| text(header, Tag(group, *block)).is_some_and(|found| found.trim() == creator);
    let block = (0x10..=0xff_u16).find(reserved)?;
    text(header, Tag(group, block << 8 | element))
}

#[cfg(test)]
mod tests;
