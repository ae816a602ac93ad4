//! The items of a structure set about one region each.

use dicom_dictionary_std::tags;

use super::{Roi, StructureSet};
use crate::dicom::Uid;
use crate::output::object::{DataSet, Equipment, Items, coded, decimal, plain, put_equipment, put_if_any};

/// Structure Set ROI Sequence (PS3.3 C.8.8.5).
pub fn structure_set_roi(set: &StructureSet<'_>, roi: &Roi, number: usize, frame: &Uid) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::ROI_NUMBER, &number.to_string())
        .uid(tags::REFERENCED_FRAME_OF_REFERENCE_UID, frame)
        .text(tags::ROI_NAME, &roi.style.name)
        .text(tags::ROI_GENERATION_ALGORITHM, "AUTOMATIC")
        .sequence(tags::ROI_DERIVATION_ALGORITHM_IDENTIFICATION_SEQUENCE, [roi.algorithm.item()]);
    put_if_any(&mut item, tags::ROI_DESCRIPTION, &roi.description, 1024);
    put_if_any(&mut item, tags::ROI_GENERATION_DESCRIPTION, &roi.generation_description, 64);
    if let Some(volume) = roi.volume_cm3.and_then(|volume| decimal(volume, 3)) {
        item.text(tags::ROI_VOLUME, &volume);
    }
    if set.dialect.roi_creator {
        item.sequence(tags::ROI_CREATOR_SEQUENCE, [creator(set.source.equipment)]);
    }
    item
}

/// ROI Contour Sequence (PS3.3 C.8.8.6). A region without contours has no Contour Sequence; an empty one is illegal.
pub fn roi_contour(roi: &Roi, number: usize, contours: Option<Items>) -> DataSet {
    let [red, green, blue] = roi.style.color.0;
    let mut item = DataSet::default();
    item.text(tags::ROI_DISPLAY_COLOR, &format!("{red}\\{green}\\{blue}"))
        .text(tags::REFERENCED_ROI_NUMBER, &number.to_string());
    if let Some(contours) = contours {
        item.items(tags::CONTOUR_SEQUENCE, contours);
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

/// ROI Creator Sequence: a device (PS3.3 10.1, Identified Person or Device Macro).
fn creator(equipment: &Equipment) -> DataSet {
    let mut item = DataSet::default();
    item.text(tags::OBSERVER_TYPE, "DEV")
        .text(tags::INSTITUTION_NAME, &plain(equipment.institution_name.as_deref().unwrap_or(""), 64))
        .sequence(tags::INSTITUTION_CODE_SEQUENCE, []);
    put_equipment(&mut item, equipment);
    item
}
