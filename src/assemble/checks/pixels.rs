//! Checks of how pixels are stored and what their values mean.

use dicom_dictionary_std::tags;

use super::{Deviation, where_found, where_found_at};
use crate::assemble::decodable;
use crate::assemble::format::{self, FoundRescale, Modality, PixelFormat};
use crate::assemble::series::Series;
use crate::dicom::scan::PixelValue;
use crate::limits::IMAGE_SIDE_MAX;

pub(super) fn no_pixel_data(series: &Series) -> Option<Deviation> {
    where_found(series, |instance| match &instance.pixel_data {
        None => Some("none".to_owned()),
        Some(pixels) if pixels.tag != tags::PIXEL_DATA => Some(format!("floating point pixels {}", pixels.tag)),
        Some(_) => None,
    })
}

pub(super) fn photometric(series: &Series) -> Option<Deviation> {
    where_found(series, |instance| {
        let interpretation = instance.text(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
        let samples = instance.integer(tags::SAMPLES_PER_PIXEL).unwrap_or(1);
        if interpretation == "MONOCHROME2" && samples == 1 {
            return None;
        }
        let reason = match interpretation.as_str() {
            "MONOCHROME1" => "MONOCHROME1, which is for display with low values bright,",
            "RGB" | "PALETTE COLOR" | "YBR_FULL" | "YBR_FULL_422" | "YBR_ICT" | "YBR_RCT" => "a colour image",
            _ => "another or no Photometric Interpretation",
        };
        Some(format!("{reason} with {samples} samples per pixel"))
    })
}

pub(super) fn format(series: &Series) -> Option<Deviation> {
    where_found_at(series, |i| {
        let sides = 1..=IMAGE_SIDE_MAX;
        let is_legal = series.formats[i].is_some_and(|format| {
            sides.contains(&format.rows) && sides.contains(&format.columns) && format.frames >= 1
        });
        (!is_legal).then(|| PixelFormat::describe(&series.instances[i]))
    })
}

pub(super) fn transfer_syntax(series: &Series) -> Option<Deviation> {
    where_found(series, |instance| {
        let uid = &instance.transfer_syntax_uid;
        (!decodable(uid)).then(|| uid.to_string())
    })
}

pub(super) fn length(series: &Series) -> Option<Deviation> {
    where_found_at(series, |i| {
        let format = series.formats[i]?;
        match &series.instances[i].pixel_data.as_ref()?.value {
            PixelValue::Native(range) => {
                let found = range.end - range.start;
                let expected = (format.frame_bytes() as u64).checked_mul(format.frames as u64);
                // A value has even length, so one byte of padding may follow (PS3.5 7.1.1). More than that would mean
                // that the attributes describe other pixels.
                let fits = expected.is_some_and(|expected| found == expected || found == expected + expected % 2);
                (!fits).then(|| format!("{found} bytes for {} x {} x {}", format.rows, format.columns, format.frames))
            }
            PixelValue::Encapsulated { fragments, .. } => (fragments.len() < format.frames.max(1))
                .then(|| format!("{} fragments for {} frames", fragments.len(), format.frames)),
        }
    })
}

pub(super) fn lookup_table(series: &Series) -> Option<Deviation> {
    where_found(series, |instance| {
        format::has_lookup_table(&instance.header).then(|| "Modality LUT Sequence (0028,3000)".to_owned())
    })
}

pub(super) fn rescale(series: &Series) -> Option<Deviation> {
    let modality = series.modality?;
    let refused = series.frames.iter().filter_map(|frame| match (frame.rescale, modality) {
        (FoundRescale::Illegal, _) => Some((frame.instance, "illegal numbers")),
        // MR images have none as a rule; their values have no unit anyway.
        (FoundRescale::Absent, Modality::Ct | Modality::Pet) => Some((frame.instance, "none")),
        _ => None,
    });
    let refused: Vec<(usize, &str)> = refused.collect();
    let found = refused.first()?.1.to_owned();
    Some(Deviation { instances: refused.into_iter().map(|(i, _)| i).collect(), found })
}

pub(super) fn rescale_varies(series: &Series) -> Option<Deviation> {
    if series.modality != Some(Modality::Ct) {
        return None;
    }
    let first = series.frames.first()?;
    let other = series.frames.iter().find(|frame| frame.rescale != first.rescale)?;
    let show = |rescale| match rescale {
        FoundRescale::Linear(line) => format!("x {} {:+}", line.slope, line.intercept),
        _ => "none".to_owned(),
    };
    let found = format!("{} and {}", show(first.rescale), show(other.rescale));
    Some(Deviation { instances: vec![first.instance, other.instance], found })
}

pub(super) fn padding(series: &Series) -> Option<Deviation> {
    let modality = series.modality?;
    let ignored = series.frames.iter().filter_map(|frame| {
        let FoundRescale::Linear(line) = frame.rescale else { return None };
        let padding = format::padding(&series.instances[frame.instance], series.formats[frame.instance].as_ref()?)?;
        let hu = padding.low as f64 * line.slope + line.intercept;
        (!format::is_plausible(padding, line, modality)).then_some((frame.instance, hu))
    });
    let ignored: Vec<(usize, f64)> = ignored.collect();
    let found = format!("padding at {} HU", ignored.first()?.1);
    Some(Deviation { instances: ignored.into_iter().map(|(i, _)| i).collect(), found })
}

pub(super) fn lossy(series: &Series) -> Option<Deviation> {
    where_found(series, |instance| {
        let is_lossy = instance.text(tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01");
        is_lossy.then(|| "Lossy Image Compression 01".to_owned())
    })
}
