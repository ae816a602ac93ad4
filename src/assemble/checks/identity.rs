//! Checks of what the instances are and to whom they belong; no patient attribute leaves this file.

use dicom_dictionary_std::tags;

use super::{Deviation, differing, where_found};
use crate::assemble::format::Modality;
use crate::assemble::series::Series;
use crate::dicom::Instance;

const PATIENT_POSITIONS: [&str; 8] = ["HFS", "HFP", "FFS", "FFP", "HFDL", "HFDR", "FFDL", "FFDR"];

pub(super) fn no_image(series: &Series) -> Option<Deviation> {
    if !series.images.is_empty() || !series.localizers.is_empty() {
        return None;
    }
    let found = match series.others.first() {
        Some(&i) => format!("SOP class {}", series.instances[i].sop_class_uid),
        None => "no instance at all".to_owned(),
    };
    Some(Deviation { instances: series.others.clone(), found })
}

pub(super) fn only_localizers(series: &Series) -> Option<Deviation> {
    if !series.images.is_empty() || series.localizers.is_empty() {
        return None;
    }
    let found = "LOCALIZER in Image Type".to_owned();
    Some(Deviation { instances: series.localizers.clone(), found })
}

pub(super) fn set_aside(series: &Series) -> Option<Deviation> {
    if series.images.is_empty() || series.others.is_empty() && series.localizers.is_empty() {
        return None;
    }
    let found = format!("{} localizers and {} objects of other classes", series.localizers.len(), series.others.len());
    let instances = series.localizers.iter().chain(&series.others).copied().collect();
    Some(Deviation { instances, found })
}

pub(super) fn mixed_series(series: &Series) -> Option<Deviation> {
    if series.is_part {
        return None;
    }
    let all: Vec<usize> = (0..series.instances.len()).collect();
    differing(&all, |i| series.instances[i].series_key(), |key| format!("series {}", key.series_instance_uid))
}

pub(super) fn mixed_patients(series: &Series) -> Option<Deviation> {
    if series.is_part {
        return None;
    }
    let all: Vec<usize> = (0..series.instances.len()).collect();
    let of = |tag| differing(&all, |i| significant(&series.instances[i], tag), |_| "one value".to_owned());
    let deviation = of(tags::PATIENT_ID).or_else(|| of(tags::PATIENT_NAME))?;
    let found = "two different values (not shown here)".to_owned();
    Some(Deviation { found, ..deviation })
}

/// A patient attribute byte for byte, without padding and empty trailing components of a name (PS3.5 6.2, VR PN).
fn significant(instance: &Instance, tag: dicom_core::Tag) -> Vec<u8> {
    let raw = instance.raw(tag).unwrap_or_default();
    let is_filler = |byte: &u8| matches!(byte, b' ' | b'\0' | b'^' | b'=');
    let end = raw.len() - raw.iter().rev().take_while(|byte| is_filler(byte)).count();
    let start = raw[..end].iter().take_while(|&&byte| byte == b' ').count();
    raw[start..end].to_vec()
}

pub(super) fn mixed_modalities(series: &Series) -> Option<Deviation> {
    let modality = |i: usize| Modality::of_sop_class(series.instances[i].sop_class_uid.as_str());
    differing(&series.images, modality, |modality| modality.map_or("none", Modality::as_str).to_owned())
}

pub(super) fn modality_attribute(series: &Series) -> Option<Deviation> {
    let expected = series.modality?.as_str();
    where_found(series, |instance| match instance.text(tags::MODALITY) {
        Some(text) if text == expected => None,
        Some(_) => Some("another modality".to_owned()),
        None => Some("no modality".to_owned()),
    })
}

pub(super) fn patient_position(series: &Series) -> Option<Deviation> {
    where_found(series, |instance| {
        let text = instance.text(tags::PATIENT_POSITION).unwrap_or_default();
        (!PATIENT_POSITIONS.contains(&text.as_str())).then(|| "no such term".to_owned())
    })
}
