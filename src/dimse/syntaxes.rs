//! The abstract syntaxes that the gateway speaks (PS3.4 B.5); transfer syntaxes for storage are those that it can decode.

/// Verification (PS3.4 A).
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Storage Commitment Push Model (PS3.4 J.3).
pub const STORAGE_COMMITMENT: &str = "1.2.840.10008.1.20.1";
/// Its well-known SOP instance (PS3.4 J.3.5).
pub const STORAGE_COMMITMENT_INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// Study Root Query/Retrieve Information Model - FIND (PS3.4 C.6.2.1).
pub const STUDY_ROOT_FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
/// The same - MOVE, and - GET.
pub const STUDY_ROOT_MOVE: &str = "1.2.840.10008.5.1.4.1.2.2.2";
/// See [`STUDY_ROOT_MOVE`].
pub const STUDY_ROOT_GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";
/// The one application context (PS3.7 A.2.1).
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";

/// Implicit VR Little Endian, the default that everybody has to accept (PS3.5 10.1).
pub const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";

/// The transfer syntaxes of services whose messages hold no pixels, with their names, in the order of preference.
pub const WITHOUT_PIXELS: &[(&str, &str)] = &[
    (EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
    (IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian"),
];

/// A service besides storage: who may use it here, and when we use that of others.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    pub uid: &'static str,
    pub name: &'static str,
    /// When we ask a peer for it, for people; `None` for never.
    pub scu: Option<&'static str>,
    /// Whom we offer it to, for people; `None` for nobody: its presentation contexts are refused.
    pub scp: Option<&'static str>,
}

/// The services besides storage. What is offered here is accepted by [`super::negotiate`], and nothing else is.
pub const SERVICES: &[Service] = &[
    Service {
        uid: VERIFICATION,
        name: "Verification",
        scu: Some("`contourd echo`, `contourd doctor`"),
        scp: Some("every peer that is known"),
    },
    Service {
        uid: STORAGE_COMMITMENT,
        name: "Storage Commitment Push Model",
        scu: Some("peers with `\"verify\": \"commitment\"`"),
        scp: Some("peers that may `commit`; reports of peers with `\"verify\": \"commitment\"`"),
    },
    Service {
        uid: STUDY_ROOT_FIND,
        name: "Study Root Query/Retrieve Information Model - FIND",
        scu: Some("peers with `\"verify\": \"find\"` or `retrieve`, or named by `complete.ask`"),
        scp: None,
    },
    Service {
        uid: STUDY_ROOT_GET,
        name: "Study Root Query/Retrieve Information Model - GET",
        scu: Some("peers with `\"retrieve\": \"get\"`; then we are SCP of storage"),
        scp: None,
    },
    Service {
        uid: STUDY_ROOT_MOVE,
        name: "Study Root Query/Retrieve Information Model - MOVE",
        scu: Some("peers with `\"retrieve\": \"move\"`"),
        scp: None,
    },
];

/// Storage SOP classes that are accepted: the images that pipelines read and the objects that accompany them.
pub const STORAGE: &[(&str, &str)] = &[
    ("1.2.840.10008.5.1.4.1.1.2", "CT Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.2.1", "Enhanced CT Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.2.2", "Legacy Converted Enhanced CT Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4", "MR Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.1", "Enhanced MR Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.3", "Enhanced MR Color Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.4", "Legacy Converted Enhanced MR Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.128", "Positron Emission Tomography Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.128.1", "Legacy Converted Enhanced PET Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.130", "Enhanced PET Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7", "Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.1", "Multi-frame Single Bit Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.2", "Multi-frame Grayscale Byte Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.3", "Multi-frame Grayscale Word Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.7.4", "Multi-frame True Color Secondary Capture Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.1", "RT Image Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.4", "RT Beams Treatment Record Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.6", "RT Brachy Treatment Record Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.7", "RT Treatment Summary Record Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.8", "RT Ion Plan Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.9", "RT Ion Beams Treatment Record Storage"),
    ("1.2.840.10008.5.1.4.1.1.481.11", "RT Segment Annotation Storage"),
    ("1.2.840.10008.5.1.4.1.1.66.1", "Spatial Registration Storage"),
    ("1.2.840.10008.5.1.4.1.1.66.2", "Spatial Fiducials Storage"),
    ("1.2.840.10008.5.1.4.1.1.66.3", "Deformable Spatial Registration Storage"),
    ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation Storage"),
    ("1.2.840.10008.5.1.4.1.1.66.5", "Surface Segmentation Storage"),
    ("1.2.840.10008.5.1.4.1.1.66.7", "Label Map Segmentation Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.22", "Enhanced SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.34", "Comprehensive 3D SR Storage"),
    ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage"),
];

/// The name of a storage class, for logs.
pub fn storage_name(uid: &str) -> Option<&'static str> {
    STORAGE.iter().find(|(known, _)| *known == uid).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_syntax_is_a_legal_uid_and_named_once() {
        let mut seen = HashSet::new();
        for (uid, name) in STORAGE {
            assert!(uid.parse::<crate::dicom::Uid>().is_ok(), "{name}");
            assert!(seen.insert(*uid), "{name} is listed twice");
        }
    }
}
