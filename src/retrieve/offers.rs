//! The presentation contexts of a C-GET: the storage classes of which we are to be SCP, in all encodings that can be read,
//! so that the peer need not convert what it has. There are at most 128 in one association (PS3.8 9.3.2.2).

use crate::assemble::DECODABLE;
use crate::deliver::dicom::Offer;
use crate::dimse::syntaxes::{
    EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STORAGE, STUDY_ROOT_GET, STUDY_ROOT_MOVE,
};
use crate::limits::PRESENTATION_CONTEXTS_MAX;

/// The SOP classes that series of a modality have, where the peer does not say which.
const OF_MODALITY: &[(&str, &[&str])] = &[
    ("CT", &["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"]),
    (
        "MR",
        &[
            "1.2.840.10008.5.1.4.1.1.4",
            "1.2.840.10008.5.1.4.1.1.4.1",
            "1.2.840.10008.5.1.4.1.1.4.3",
            "1.2.840.10008.5.1.4.1.1.4.4",
        ],
    ),
    ("PT", &["1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.128.1", "1.2.840.10008.5.1.4.1.1.130"]),
    ("RTSTRUCT", &["1.2.840.10008.5.1.4.1.1.481.3"]),
    ("RTDOSE", &["1.2.840.10008.5.1.4.1.1.481.2"]),
    ("SEG", &["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.5", "1.2.840.10008.5.1.4.1.1.66.7"]),
    ("REG", &["1.2.840.10008.5.1.4.1.1.66.1", "1.2.840.10008.5.1.4.1.1.66.3"]),
];

/// Compressions that lose nothing, the most usual ones first: JPEG Lossless, JPEG 2000, JPEG-LS, RLE (PS3.5 A.4).
const LOSSLESS: &[&str] = &[
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.57",
];

/// What one association has besides the contexts of C-GET itself.
const STORAGE_CONTEXTS_MAX: usize = PRESENTATION_CONTEXTS_MAX - 2;

const _: () = assert!(STORAGE_CONTEXTS_MAX >= 13);

/// The contexts of as many associations as are needed: those of `classes`, else those of the modality, else of all that
/// is stored here.
pub(super) fn for_get(classes: &[String], modality: &str) -> Vec<Vec<Offer>> {
    let classes = meant(classes, modality);
    let per_association = (STORAGE_CONTEXTS_MAX / DECODABLE.len()).max(1);
    let batch = |classes: &[&str]| {
        let storage =
            classes.iter().flat_map(|class| DECODABLE.iter().map(|(syntax, _)| Offer::new(class, syntax).reversed()));
        own(STUDY_ROOT_GET).into_iter().chain(storage).collect()
    };
    classes.chunks(per_association).map(batch).collect()
}

/// The same for one lossless compression at a time. DCMTK's dcmqrscp sends everything in the first uncompressed context that
/// it has accepted, cannot decompress, and fails for what it holds compressed; it has to be left no other context.
pub(super) fn for_get_compressed(classes: &[String], modality: &str) -> Vec<Vec<Offer>> {
    let classes = meant(classes, modality);
    let syntaxes = LOSSLESS.iter().filter(|syntax| DECODABLE.iter().any(|(known, _)| known == *syntax));
    let one = |syntax: &str| {
        let storage = classes.iter().take(STORAGE_CONTEXTS_MAX).map(|class| Offer::new(class, syntax).reversed());
        own(STUDY_ROOT_GET).into_iter().chain(storage).collect()
    };
    syntaxes.map(|syntax| one(syntax)).collect()
}

/// The storage classes of a modality, and those that a peer has told of some of the instances.
pub(super) fn with_those_of(mut classes: Vec<String>, modality: &str) -> Vec<String> {
    let usual = OF_MODALITY.iter().filter(|(known, _)| *known == modality).flat_map(|(_, usual)| *usual);
    for class in usual.filter(|_| !classes.is_empty()).map(|class| (*class).to_owned()).collect::<Vec<String>>() {
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    classes
}

fn meant<'a>(classes: &'a [String], modality: &str) -> Vec<&'a str> {
    let of_modality = OF_MODALITY.iter().find(|(known, _)| *known == modality).map(|(_, classes)| *classes);
    match (classes, of_modality) {
        ([], Some(classes)) => classes.to_vec(),
        ([], None) => STORAGE.iter().map(|(class, _)| *class).collect(),
        (classes, _) => classes.iter().map(String::as_str).collect(),
    }
}

/// Those of a C-MOVE.
pub(super) fn for_move() -> Vec<Offer> {
    own(STUDY_ROOT_MOVE).into()
}

fn own(class: &str) -> [Offer; 2] {
    [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN].map(|syntax| Offer::new(class, syntax))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_association_has_more_contexts_than_there_are_numbers() {
        let one = for_get(&["1.2.840.10008.5.1.4.1.1.2".to_owned()], "CT");
        assert_eq!((one.len(), one[0].len()), (1, 2 + DECODABLE.len()));
        for batches in [for_get(&[], "MR"), for_get(&[], "XX"), for_get(&[], "")] {
            assert!(batches.iter().all(|batch| batch.len() <= PRESENTATION_CONTEXTS_MAX));
        }
        let all: usize = for_get(&[], "XX").iter().map(|batch| batch.len() - 2).sum();
        assert_eq!(all, STORAGE.len() * DECODABLE.len(), "every class in every encoding");
        assert_eq!(for_get(&[], "MR").len(), 1);
        for batch in for_get_compressed(&[], "XX") {
            assert!(batch.len() > 2 && batch.len() <= PRESENTATION_CONTEXTS_MAX);
        }
        assert_eq!(for_get_compressed(&[], "CT").len(), LOSSLESS.len(), "each can be decoded");
    }

    #[test]
    fn the_classes_of_modalities_are_stored_here() {
        for class in OF_MODALITY.iter().flat_map(|(_, classes)| *classes) {
            assert!(STORAGE.iter().any(|(known, _)| known == class), "{class}");
        }
    }
}
