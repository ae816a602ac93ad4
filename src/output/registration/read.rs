//! Spatial Registrations of any maker (PS3.3 A.39.1, C.20.2): which Frames of Reference they relate, and by what rigid
//! transform; what is not rigid is told, never approximated.
//!
//! Each item of the Registration Sequence has a matrix that leads from its own Frame of Reference to the registered one, that
//! of the object (C.20.2.1.1). From one item to another it is the matrix of the one, then the inverse of that of the other.

use std::collections::HashSet;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use super::SOP_CLASS_UID as DEFORMABLE_SOP_CLASS_UID;
use crate::dicom::Uid;
use crate::dicom::instance::{f64s, items, text};
use crate::limits::{REGISTRATION_ITEMS_MAX, REGISTRATION_SERIES_MAX};
use crate::volume::Rigid;

/// Spatial Registration Storage (PS3.4 B.5).
pub const RIGID_SOP_CLASS_UID: &str = "1.2.840.10008.5.1.4.1.1.66.1";

/// What one registration object relates. It tells nothing about the patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// The Frame of Reference of the object, to which all matrices lead.
    pub registered: Option<Uid>,
    pub sides: Vec<Side>,
    /// Its displacements are no rigid transform.
    #[serde(default)]
    pub is_deformable: bool,
    /// Why it relates nothing at all.
    #[serde(default)]
    pub problem: Option<String>,
}

/// One item of it: a Frame of Reference, or images that have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    pub frame_of_reference_uid: Option<Uid>,
    /// Where the item names images and no Frame of Reference: the series that hold them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Uid>,
    /// From here to the registered Frame of Reference, or why there is no rigid way.
    pub to_registered: Result<Rigid, String>,
}

/// What is to be related: a Frame of Reference, and the series that is in it.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub frame_of_reference_uid: &'a Uid,
    pub series: &'a [&'a Uid],
}

impl Relation {
    /// The rigid transform from one to the other; `None` when the object does not relate the two.
    ///
    /// # Errors
    /// It relates them in a way that cannot be used; which and why.
    pub fn between(&self, from: End<'_>, to: End<'_>) -> Option<Result<Rigid, String>> {
        let (from, to) = (self.side(from)?, self.side(to)?);
        Some(from.and_then(|from| Ok(from.then(&to?.inverse()))))
    }

    fn side(&self, end: End<'_>) -> Option<Result<Rigid, String>> {
        let is_end = |side: &&Side| match &side.frame_of_reference_uid {
            Some(frame) => frame == end.frame_of_reference_uid,
            None => side.series.iter().any(|series| end.series.contains(&series)),
        };
        let mut found: Option<Rigid> = None;
        for side in self.sides.iter().filter(is_end) {
            match (&side.to_registered, &found) {
                (Err(reason), _) => return Some(Err(reason.clone())),
                (Ok(rigid), Some(other)) if !rigid.is_same(other) => {
                    let found = "found several matrices for one Frame of Reference, expected one".to_owned();
                    return Some(Err(found));
                }
                (Ok(rigid), _) => found = Some(*rigid),
            }
        }
        let is_registered = self.registered.as_ref() == Some(end.frame_of_reference_uid);
        match found {
            Some(rigid) if is_registered && !rigid.is_same(&Rigid::IDENTITY) => Some(Err(
                "found a matrix from the registered Frame of Reference to itself, expected identity".to_owned(),
            )),
            Some(rigid) => Some(Ok(rigid)),
            // An item for the registered Frame of Reference itself may be missing.
            None if is_registered && self.problem.is_none() => {
                let other = self.is_deformable.then(deformable);
                Some(other.map_or(Ok(Rigid::IDENTITY), Err))
            }
            None => None,
        }
    }

    /// What it relates, for people.
    pub fn describe(&self) -> String {
        if let Some(problem) = &self.problem {
            return format!("registration that cannot be used: {problem}");
        }
        let count = self.sides.len();
        let items = if count == 1 { "1 item".to_owned() } else { format!("{count} items") };
        match self.sides.iter().find_map(|side| side.to_registered.as_ref().err()) {
            Some(reason) => format!("registration of {items}, not all of them rigid: {reason}"),
            None => format!("rigid registration of {items}"),
        }
    }
}

fn deformable() -> String {
    "found a Deformable Spatial Registration, expected a rigid one".to_owned()
}

/// What an object relates; `None` when it is no registration.
pub fn read(object: &InMemDicomObject) -> Option<Relation> {
    let class = text(object, tags::SOP_CLASS_UID)?;
    let is_deformable = class == DEFORMABLE_SOP_CLASS_UID;
    if !is_deformable && class != RIGID_SOP_CLASS_UID {
        return None;
    }
    let registered = uid(object, tags::FRAME_OF_REFERENCE_UID);
    let sequence = if is_deformable { tags::DEFORMABLE_REGISTRATION_SEQUENCE } else { tags::REGISTRATION_SEQUENCE };
    let found = items(object, sequence);
    let problem = if registered.is_none() {
        Some(
            "found no Frame of Reference UID (0020,0052) of the object, expected that of the registered images"
                .to_owned(),
        )
    } else if found.is_empty() {
        let keyword = if is_deformable {
            "Deformable Registration Sequence (0064,0002)"
        } else {
            "Registration Sequence (0070,0308)"
        };
        Some(format!("found no item in its {keyword}, expected one for each registered Frame of Reference"))
    } else if found.len() > REGISTRATION_ITEMS_MAX {
        Some(format!("found {} items, expected at most {REGISTRATION_ITEMS_MAX}", found.len()))
    } else {
        None
    };
    let side = |item: &InMemDicomObject| {
        if is_deformable {
            let frame = uid(item, tags::SOURCE_FRAME_OF_REFERENCE_UID);
            return Side { frame_of_reference_uid: frame, series: Vec::new(), to_registered: Err(deformable()) };
        }
        let frame_of_reference_uid = uid(item, tags::FRAME_OF_REFERENCE_UID);
        let series = if frame_of_reference_uid.is_none() { series_of(object, item) } else { Vec::new() };
        Side { frame_of_reference_uid, series, to_registered: transform(item) }
    };
    let sides = if problem.is_none() { found.iter().map(side).collect() } else { Vec::new() };
    Some(Relation { registered, sides, is_deformable, problem })
}

fn uid(object: &InMemDicomObject, tag: Tag) -> Option<Uid> {
    text(object, tag)?.parse().ok()
}

/// The matrices of an item, the first of them applied first.
fn transform(item: &InMemDicomObject) -> Result<Rigid, String> {
    let registrations = items(item, tags::MATRIX_REGISTRATION_SEQUENCE);
    let [registration] = registrations else {
        let count = registrations.len();
        return Err(format!("found {count} items in a Matrix Registration Sequence (0070,0309), expected one"));
    };
    let matrices = items(registration, tags::MATRIX_SEQUENCE);
    if matrices.is_empty() || matrices.len() > REGISTRATION_ITEMS_MAX {
        let count = matrices.len();
        return Err(format!(
            "found {count} items in a Matrix Sequence (0070,030A), expected 1 to {REGISTRATION_ITEMS_MAX}"
        ));
    }
    matrices.iter().try_fold(Rigid::IDENTITY, |before, item| Ok(before.then(&matrix(item)?)))
}

/// Whether it is rigid is seen from its numbers: makers write RIGID beside matrices that scale, and AFFINE beside rigid ones.
fn matrix(item: &InMemDicomObject) -> Result<Rigid, String> {
    let numbers = f64s(item, tags::FRAME_OF_REFERENCE_TRANSFORMATION_MATRIX).unwrap_or_default();
    let count = numbers.len();
    let Ok(numbers) = <[f64; 16]>::try_from(numbers) else {
        return Err(format!(
            "found {count} numbers in a Frame of Reference Transformation Matrix (3006,00C6), expected 16"
        ));
    };
    let said = text(item, tags::FRAME_OF_REFERENCE_TRANSFORMATION_MATRIX_TYPE).unwrap_or_default();
    Rigid::of_matrix(numbers).map_err(|reason| {
        // A word of the standard, or nothing: what a peer writes there can be anything.
        let word = ["RIGID", "RIGID_SCALE", "AFFINE"].into_iter().find(|word| *word == said);
        let kind = word.map_or(String::new(), |word| format!(" (its type is {word})"));
        format!("found a matrix that is not rigid{kind}: {reason}")
    })
}

/// The series that hold the images of an item, as the object tells (PS3.3 C.12.2).
fn series_of(object: &InMemDicomObject, item: &InMemDicomObject) -> Vec<Uid> {
    let image = |image: &InMemDicomObject| text(image, tags::REFERENCED_SOP_INSTANCE_UID);
    let wanted: HashSet<String> = items(item, tags::REFERENCED_IMAGE_SEQUENCE).iter().filter_map(image).collect();
    let of_others = items(object, tags::STUDIES_CONTAINING_OTHER_REFERENCED_INSTANCES_SEQUENCE).iter();
    let of_others = of_others.flat_map(|study| items(study, tags::REFERENCED_SERIES_SEQUENCE));
    let all = items(object, tags::REFERENCED_SERIES_SEQUENCE).iter().chain(of_others);
    let holds = |series: &&InMemDicomObject| {
        items(series, tags::REFERENCED_INSTANCE_SEQUENCE).iter().filter_map(image).any(|uid| wanted.contains(&uid))
    };
    let found = all.filter(holds).filter_map(|series| uid(series, tags::SERIES_INSTANCE_UID));
    found.take(REGISTRATION_SERIES_MAX).collect()
}

#[cfg(test)]
mod tests;
