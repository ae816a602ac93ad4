//! Structured reports of measurements (PS3.16 TID 1500): for each structure its volume and the values of the image in it.
//!
//! They are Enhanced SR (PS3.3 A.35.2): the template needs no more, and every reader of the more general classes
//! (Comprehensive, Comprehensive 3D) reads it too. A structure is shown by its segment where a segmentation is written as
//! well, by polygons on the images otherwise. One that is empty has a measurement group without a region (TID 1501).

mod codes;
mod item;

use dicom_dictionary_std::tags;
use thiserror::Error;

pub use codes::Quantity;
use item::{Is, Item, put_root};

use super::object::frames::put_u16;
use super::object::{
    Algorithm, DataSet, ObjectError, SeriesOf, Source, Uids, common, date_time, image_reference, part10, property,
};
use crate::contour::Contour;
use crate::dicom::Uid;
use crate::limits::SR_POINTS_MAX;
use crate::quality::Values;
use crate::structure::{Code, Structure};

/// Enhanced SR Storage (PS3.4 B.5).
pub const SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.88.22";

/// Everything that makes one report. It borrows images of a patient, so it derives no `Debug`.
pub struct Measurements<'a> {
    pub source: Source<'a>,
    /// What the values of the images are.
    pub quantity: Quantity,
    pub structures: &'a [Measured<'a>],
    /// The segmentation whose segments, counted from 1, are the structures in their order.
    pub segmentation: Option<SegmentationOf>,
    pub series_number: u32,
    /// Series Description, at most 64 characters.
    pub series_description: &'a str,
}

/// A segmentation of the same study.
pub struct SegmentationOf {
    pub sop_class_uid: &'static str,
    pub uids: Uids,
}

/// One structure.
pub struct Measured<'a> {
    pub name: &'a str,
    /// What it is by the standards, which gives the codes.
    pub structure: Option<&'static Structure>,
    /// Keyhole polygons; none when nothing was found.
    pub contours: &'a [Contour],
    /// Of the voxels.
    pub volume_cm3: f64,
    /// Over the voxels; none for a structure without voxels.
    pub values: Option<Values>,
    /// What a reviewer should know; may be empty.
    pub note: &'a str,
    pub algorithm: Algorithm,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum SrError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("found no structure, expected at least one to measure")]
    Empty,
    #[error(
        "found contours of {0} points, expected at most {SR_POINTS_MAX}; write a \"seg\" as well, which the report then refers to"
    )]
    Points(usize),
}

impl Measurements<'_> {
    /// The UIDs of the object before it exists.
    pub fn uids(&self) -> Uids {
        let by = self.segmentation.as_ref().map_or("", |of| of.uids.sop_instance_uid.as_str());
        let names: Vec<&str> = self.structures.iter().map(|structure| structure.name).collect();
        self.source.uids(&format!("measurement report {by} {}", names.join("\\")))
    }
}

/// Encodes a report as a Part 10 file. The same input gives the same bytes.
///
/// # Errors
/// [`SrError`].
pub fn encode(report: &Measurements<'_>) -> Result<Vec<u8>, SrError> {
    if report.structures.is_empty() {
        return Err(SrError::Empty);
    }
    let points = report.structures.iter().flat_map(|of| of.contours).map(|contour| contour.points.len()).sum();
    if report.segmentation.is_none() && points > SR_POINTS_MAX {
        return Err(SrError::Points(points));
    }
    let uids = report.uids();
    let source = &report.source;
    let series = SeriesOf {
        sop_class_uid: SOP_CLASS_UID,
        modality: "SR",
        number: report.series_number,
        description: report.series_description,
    };
    let mut data = source.begin_document(series, &uids)?;
    let (date, time) = date_time(source.created);
    data.text(tags::CONTENT_DATE, &date)
        .text(tags::CONTENT_TIME, &time)
        .text(tags::COMPLETION_FLAG, "PARTIAL")
        .text(tags::COMPLETION_FLAG_DESCRIPTION, "Made by an algorithm. AI: review before use.")
        .text(tags::VERIFICATION_FLAG, "UNVERIFIED")
        .text(tags::PRELIMINARY_FLAG, "PRELIMINARY")
        .sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, [])
        .sequence(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, []);
    put_evidence(&mut data, report);
    let groups = report.structures.iter().zip(1_u16..).map(|(structure, number)| group(report, structure, number));
    let mut content: Vec<Item> = vec![Item::code(Is::ConceptModifier, codes::LANGUAGE, codes::ENGLISH)];
    content.extend(observer(source));
    content.push(Item::code(Is::ConceptModifier, codes::PROCEDURE_REPORTED, report.quantity.procedure()));
    content.push(image_library(report)?);
    content.push(Item::container(codes::MEASUREMENTS, None).with(groups.collect::<Vec<_>>()));
    put_root(&mut data, codes::REPORT, "1500", content);
    Ok(part10(SOP_CLASS_UID, &uids.sop_instance_uid, data))
}

/// Current Requested Procedure Evidence Sequence: everything that the content refers to (PS3.3 C.17.2.3).
fn put_evidence(data: &mut DataSet, report: &Measurements<'_>) {
    let Some(first) = report.source.instances.first() else { return };
    let images = report.source.instances.iter().map(|i| image_reference(&i.sop_class_uid, &i.sop_instance_uid, None));
    let series_of = |uid: &Uid, instances: Vec<DataSet>| {
        let mut series = DataSet::default();
        series.uid(tags::SERIES_INSTANCE_UID, uid).sequence(tags::REFERENCED_SOP_SEQUENCE, instances);
        series
    };
    let mut series = vec![series_of(&first.series_instance_uid, images.collect())];
    if let Some(of) = &report.segmentation {
        series.push(series_of(&of.uids.series_instance_uid, vec![segmentation_reference(of)]));
    }
    let mut study = DataSet::default();
    study.uid(tags::STUDY_INSTANCE_UID, &first.study_instance_uid).sequence(tags::REFERENCED_SERIES_SEQUENCE, series);
    data.sequence(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, [study]);
}

fn segmentation_reference(of: &SegmentationOf) -> DataSet {
    let mut item = DataSet::default();
    item.uid_text(tags::REFERENCED_SOP_CLASS_UID, of.sop_class_uid)
        .uid(tags::REFERENCED_SOP_INSTANCE_UID, &of.uids.sop_instance_uid);
    item
}

/// The program as observer (TID 1001, 1004). Its UID names the program and its version, not the machine.
fn observer(source: &Source<'_>) -> Vec<Item> {
    let (maker, model) = (source.equipment.manufacturer.as_str(), source.equipment.model_name.as_str());
    let versions = source.equipment.software_versions.join(" ");
    let is = Is::ObservationContext;
    let mut items = vec![
        Item::code(is, codes::OBSERVER_TYPE, codes::DEVICE),
        Item::uid(is, codes::DEVICE_UID, &Uid::derived(["device observer", maker, model, &versions])),
    ];
    let named = [
        (codes::DEVICE_NAME, format!("{model} {versions}")),
        (codes::DEVICE_MANUFACTURER, maker.to_owned()),
        (codes::DEVICE_MODEL, model.to_owned()),
    ];
    items.extend(named.iter().filter_map(|(name, value)| Item::text(is, *name, value)));
    items
}

/// The images that were measured (TID 1600, 1602).
fn image_library(report: &Measurements<'_>) -> Result<Item, SrError> {
    let common = common(report.source.instances)?;
    let instances = report.source.instances.iter();
    let images = instances
        .map(|i| Item::image(Is::Contained, None, image_reference(&i.sop_class_uid, &i.sop_instance_uid, None)));
    let group = Item::container(codes::IMAGE_LIBRARY_GROUP, None)
        .with(Item::code(Is::AcquisitionContext, codes::MODALITY, report.quantity.modality()))
        .with(Item::uid(Is::AcquisitionContext, codes::FRAME_OF_REFERENCE_UID, &common.frame_of_reference_uid))
        .with(images.collect::<Vec<_>>());
    Ok(Item::container(codes::IMAGE_LIBRARY, Some("1600")).with(group))
}

/// One structure: TID 1411, or TID 1501 where it has no region. `number` is that of its segment.
fn group(report: &Measurements<'_>, of: &Measured<'_>, number: u16) -> Item {
    let region = region(report, of, number);
    let template = if region.is_empty() { "1501" } else { "1411" };
    let (category, code) = property(of.structure);
    let uids = report.uids();
    let tracking = Uid::derived(["tracking", uids.sop_instance_uid.as_str(), of.name]);
    let mut site = Item::code(Is::ConceptModifier, codes::FINDING_SITE, code);
    let side = of.structure.and_then(|structure| structure.laterality);
    if let Some(side) = side {
        site = site.with(Item::code(Is::ConceptModifier, codes::LATERALITY, side.code()));
    }
    let algorithm = [
        (codes::ALGORITHM_NAME, &of.algorithm.name),
        (codes::ALGORITHM_VERSION, &of.algorithm.version),
        (codes::ALGORITHM_PARAMETERS, &of.algorithm.parameters),
    ];
    let algorithm = algorithm.iter().filter_map(|(name, value)| Item::text(Is::ConceptModifier, *name, value));
    Item::container(codes::MEASUREMENT_GROUP, Some(template))
        .with(Item::text(Is::ObservationContext, codes::TRACKING_IDENTIFIER, of.name))
        .with(Item::uid(Is::ObservationContext, codes::TRACKING_UID, &tracking))
        .with(Item::code(Is::Contained, codes::FINDING_CATEGORY, category))
        .with(Item::code(Is::Contained, codes::FINDING, code))
        .with(site)
        .with(algorithm.collect::<Vec<_>>())
        .with(region)
        .with(measurements(report.quantity, of))
        .with(Item::text(Is::Contained, codes::COMMENT, of.note))
}

/// Where it lies (TID 1411 rows of Referenced Segment and Image Region).
fn region(report: &Measurements<'_>, of: &Measured<'_>, number: u16) -> Vec<Item> {
    if of.contours.is_empty() {
        return Vec::new();
    }
    if let Some(segmentation) = &report.segmentation {
        let mut reference = segmentation_reference(segmentation);
        put_u16(&mut reference, tags::REFERENCED_SEGMENT_NUMBER, &[number]);
        let series = report.source.instances.first().map(|image| &image.series_instance_uid);
        let series = series.map(|uid| Item::uid(Is::Contained, codes::SOURCE_SERIES, uid));
        let segment = Item::image(Is::Contained, Some(codes::REFERENCED_SEGMENT), reference);
        return std::iter::once(segment).chain(series).collect();
    }
    let polygon = |contour: &Contour| {
        let image = report.source.slices.get(contour.slice)?;
        let points: Vec<[f64; 2]> = contour.points.iter().map(|point| on_image(report, *point)).collect();
        let reference = image_reference(&image.sop_class_uid, &image.sop_instance_uid, image.frame_number);
        let image = Item::image(Is::SelectedFrom, Some(codes::SOURCE), reference);
        Some(Item::polygon(codes::IMAGE_REGION, &points, image))
    };
    of.contours.iter().filter_map(polygon).collect()
}

/// Column and row of a point, from the outer corner of the first pixel.
fn on_image(report: &Measurements<'_>, point: [f64; 3]) -> [f64; 2] {
    let [_, row, column] = report.source.geometry.patient_to_index(point);
    [column + 0.5, row + 0.5]
}

/// Volume and values (TID 1419).
fn measurements(quantity: Quantity, of: &Measured<'_>) -> Vec<Item> {
    let mut items = vec![Item::number(codes::VOLUME, of.volume_cm3, codes::CUBIC_CENTIMETER)];
    let Some(values) = &of.values else { return items };
    let derived: [(Code, f64); 5] = [
        (codes::MEAN, values.mean),
        (codes::STANDARD_DEVIATION, values.standard_deviation),
        (codes::MINIMUM, values.minimum),
        (codes::MAXIMUM, values.maximum),
        (codes::MEDIAN, values.median),
    ];
    items.extend(derived.map(|(derivation, value)| {
        Item::number(quantity.concept(), value, quantity.unit()).with(Item::code(
            Is::ConceptModifier,
            codes::DERIVATION,
            derivation,
        ))
    }));
    items
}
