//! The items of a structure set about one region each, and what they say of the algorithm and of us.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::encode::{DataSet, coded};
use super::text::{decimal, plain};
use super::{Equipment, Roi, StructureSet, date_time, put_if_any};
use crate::dicom::Uid;
use crate::structure::Code;

/// PS3.16 CID 7005.
const PROCESSING_EQUIPMENT: Code = Code::new("109102", "DCM", "Processing Equipment");

/// Structure Set ROI Sequence (PS3.3 C.8.8.5).
pub fn structure_set_roi(set: &StructureSet<'_>, roi: &Roi, number: usize, frame: &Uid) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::ROI_NUMBER, &number.to_string())
        .uid(tags::REFERENCED_FRAME_OF_REFERENCE_UID, frame)
        .text(tags::ROI_NAME, &roi.style.name)
        .text(tags::ROI_GENERATION_ALGORITHM, "AUTOMATIC")
        .sequence(tags::ROI_DERIVATION_ALGORITHM_IDENTIFICATION_SEQUENCE, [algorithm(roi)]);
    put_if_any(&mut item, tags::ROI_DESCRIPTION, &roi.description, 1024);
    put_if_any(&mut item, tags::ROI_GENERATION_DESCRIPTION, &roi.generation_description, 64);
    if let Some(volume) = roi.volume_cm3.and_then(|volume| decimal(volume, 3)) {
        item.text(tags::ROI_VOLUME, &volume);
    }
    if set.options.roi_creator {
        item.sequence(tags::ROI_CREATOR_SEQUENCE, [creator(set.equipment)]);
    }
    item
}

/// ROI Contour Sequence (PS3.3 C.8.8.6). A region without contours has no Contour Sequence; an empty one is illegal.
pub fn roi_contour(roi: &Roi, number: usize, contours: Vec<DataSet>) -> DataSet {
    let [red, green, blue] = roi.style.color.0;
    let mut item = DataSet::default();
    item.text(tags::ROI_DISPLAY_COLOR, &format!("{red}\\{green}\\{blue}"))
        .text(tags::REFERENCED_ROI_NUMBER, &number.to_string());
    if !contours.is_empty() {
        item.sequence(tags::CONTOUR_SEQUENCE, contours);
    }
    item
}

/// RT ROI Observations Sequence (PS3.3 C.8.8.8): type and, where the structure is known, its codes.
pub fn observation(roi: &Roi, number: usize) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::OBSERVATION_NUMBER, &number.to_string())
        .text(tags::REFERENCED_ROI_NUMBER, &number.to_string())
        .text(tags::RTROI_INTERPRETED_TYPE, roi.style.roi_type.dicom_term())
        .text(tags::ROI_INTERPRETER, "");
    let Some(structure) = roi.structure else { return item };
    item.code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, structure.category.code());
    if let Some(code) = structure.code {
        let mut identification = coded(code);
        if let Some(side) = structure.laterality {
            identification.code(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, side.code());
        }
        item.sequence(tags::RTROI_IDENTIFICATION_CODE_SEQUENCE, [identification]);
    }
    item
}

/// Algorithm Identification Macro (PS3.3 10.16).
fn algorithm(roi: &Roi) -> DataSet {
    let algorithm = &roi.algorithm;
    let mut item = DataSet::default();
    item.code(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, algorithm.family.code())
        .text(tags::ALGORITHM_NAME, &plain(&algorithm.name, 64))
        .text(tags::ALGORITHM_VERSION, &plain(&algorithm.version, 64));
    put_if_any(&mut item, tags::ALGORITHM_SOURCE, &algorithm.source, 64);
    put_if_any(&mut item, tags::ALGORITHM_PARAMETERS, &algorithm.parameters, 10_240);
    item
}

/// ROI Creator Sequence: a device (PS3.3 10.1, Identified Person or Device Macro).
fn creator(equipment: &Equipment) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::OBSERVER_TYPE, "DEV")
        .text(tags::INSTITUTION_NAME, &plain(equipment.institution_name.as_deref().unwrap_or(""), 64))
        .sequence(tags::INSTITUTION_CODE_SEQUENCE, []);
    put_equipment(&mut item, equipment);
    item
}

/// Contributing Equipment Sequence (PS3.3 C.12.1): that we processed the images, and when.
pub fn equipment_item(set: &StructureSet<'_>) -> DataSet {
    let (date, time) = date_time(set.created);
    let pipeline = format!("pipeline {} {}", set.provenance.pipeline_id, set.provenance.pipeline_revision);
    let mut item = DataSet::default();
    put_equipment(&mut item, set.equipment);
    item.text(tags::CONTRIBUTION_DATE_TIME, &format!("{date}{time}"))
        .text(tags::CONTRIBUTION_DESCRIPTION, &plain(&pipeline, 1024))
        .code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, PROCESSING_EQUIPMENT);
    item
}

/// Who we are, in the attributes that all equipment modules share.
pub fn put_equipment(data: &mut DataSet, equipment: &Equipment) {
    data.text(tags::MANUFACTURER, &plain(&equipment.manufacturer, 64));
    put_if_any(data, tags::MANUFACTURER_MODEL_NAME, &equipment.model_name, 64);
    let versions: Vec<String> = equipment.software_versions.iter().map(|version| plain(version, 64)).collect();
    if !versions.is_empty() {
        data.text(tags::SOFTWARE_VERSIONS, &versions.join("\\"));
    }
    let mut put = |tag: Tag, value: &Option<String>, length_max| {
        put_if_any(data, tag, value.as_deref().unwrap_or(""), length_max);
    };
    put(tags::STATION_NAME, &equipment.station_name, 16);
    put(tags::INSTITUTION_NAME, &equipment.institution_name, 64);
}

/// A reference to an image (PS3.3 10.3).
pub fn image_reference(sop_class_uid: &Uid, sop_instance_uid: &Uid, frame_number: Option<u32>) -> DataSet {
    let mut item = DataSet::default();
    item.uid(tags::REFERENCED_SOP_CLASS_UID, sop_class_uid).uid(tags::REFERENCED_SOP_INSTANCE_UID, sop_instance_uid);
    if let Some(number) = frame_number {
        item.text(tags::REFERENCED_FRAME_NUMBER, &number.to_string());
    }
    item
}
