//! Which series fills an input: CERR's identifiers as conditions of a pipeline; it matches none.

use serde_json::{Value as Json, json};

use super::reading::Reading;
use crate::document::Node;

/// The conditions of one identifier; all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Identifier {
    /// Modality (0008,0060).
    pub modality: Option<&'static str>,
    /// The modality that the name of the algorithm begins with, where the identifier asks for none.
    pub fallback: Option<&'static str>,
    pub description: Option<String>,
    pub scan_type: Option<String>,
    /// First or last, and by which date.
    pub pick: Option<(&'static str, &'static str)>,
    /// Structures that must have been drawn on the series.
    pub structures: Vec<String>,
    /// The result of the registration, of the whole-scan filter, or of resampling of the series that is meant.
    pub warped: bool,
    pub filtered: bool,
}

/// CERR's names of kinds of images, and the Modality that stands for each. A bare "MR" is in one published file.
const MODALITIES: [(&str, &str); 12] = [
    ("CT SCAN", "CT"),
    ("CT", "CT"),
    ("MR SCAN", "MR"),
    ("MR", "MR"),
    ("MRI", "MR"),
    ("PT SCAN", "PT"),
    ("PET SCAN", "PT"),
    ("PT", "PT"),
    ("PET", "PT"),
    ("US SCAN", "US"),
    ("NM SCAN", "NM"),
    ("MG SCAN", "MG"),
];

impl Identifier {
    /// Reads an identifier; an empty one accepts every series.
    pub fn parse(node: &Node, reading: &mut Reading) -> Identifier {
        let mut found = Identifier::default();
        let Some(mut fields) = node.object(&mut reading.problems) else { return found };
        if let Some(node) = fields.optional("imageType") {
            found.modality = reading.word(node, &MODALITIES);
            if found.modality.is_some_and(|modality| node.text(&mut reading.problems) == Some(modality)) {
                let told = found.modality.unwrap_or_default();
                reading.note(format!(
                    "imageType {told:?} is not the name that CERR gives to images of today ({:?}); Modality {told} is meant",
                    format!("{told} SCAN")
                ));
            }
        }
        found.description = fields.optional("seriesDescription").and_then(|node| reading.text(node));
        found.scan_type = fields.optional("scanType").and_then(|node| reading.text(node));
        if let Some(scan_type) = &found.scan_type {
            reading.note(format!(
                "scanType {scan_type:?} is a label of CERR's archive that DICOM does not have; the pipeline asks Series Description for it"
            ));
        }
        for (key, by) in [("seriesDate", "series_date"), ("studyDate", "study_date")] {
            let Some(node) = fields.optional(key) else { continue };
            let pick = reading.word(node, &[("first", "first"), ("last", "last")]);
            if found.pick.is_some() {
                reading.problems.add(node, "seriesDate and studyDate", "one of them");
            }
            found.pick = pick.map(|pick| (pick, by));
        }
        if let Some(node) = fields.optional("assocStructure") {
            found.structures = reading.texts(node);
            if found.structures.iter().any(|name| name.eq_ignore_ascii_case("none")) {
                found.structures.clear();
                reading.not_expressed.push(
                    "assocStructure \"none\": a pipeline cannot ask that nothing was drawn on a series; add a condition that tells it from the other, such as SeriesDescription".to_owned(),
                );
            }
        }
        if let Some(node) = fields.optional("scanNum")
            && let Some(numbers) = reading.numbers(node, 1, 64)
        {
            reading.not_expressed.push(format!(
                "scanNum {numbers:?}: a place in CERR's archive, not an attribute of a series; add a condition that tells it from the others"
            ));
        }
        let mut flag = |key| fields.optional(key).is_some_and(|node: &Node| reading.flag(node));
        (found.warped, found.filtered) = (flag("warped"), flag("filtered"));
        // Images that were resampled for the model are made by the model's own operations here.
        flag("resampled");
        fields.finish(&mut reading.problems);
        found
    }

    /// Whether a series that fits this identifier is what another one asks for.
    pub fn suits(&self, asked: &Identifier) -> bool {
        let same = |a: &Option<String>, b: &Option<String>| b.is_none() || a == b;
        (asked.modality.is_none() || asked.modality == self.modality)
            && same(&self.description, &asked.description)
            && same(&self.scan_type, &asked.scan_type)
            && (asked.pick.is_none() || asked.pick == self.pick)
            && (asked.structures.is_empty() || asked.structures == self.structures)
            && (!asked.warped || self.warped)
            && (!asked.filtered || self.filtered)
    }

    /// The conditions of a slot of a pipeline.
    pub fn conditions(&self) -> Vec<Json> {
        let modality = self.modality.or(self.fallback);
        let mut all = vec![match modality {
            Some(modality) => json!({"tag": "Modality", "eq": modality}),
            None => json!({"tag": "Modality", "in": ["CT", "MR", "PT"]}),
        }];
        // CERR compares the description as a part, with regard to case, and the type as a whole, without.
        all.extend(self.description.as_ref().map(|part| json!({"tag": "SeriesDescription", "contains": part})));
        if let Some(scan_type) = &self.scan_type {
            let whole = format!("(?i)^\\s*{}\\s*$", regex::escape(scan_type));
            all.push(json!({"tag": "SeriesDescription", "regex": whole}));
        }
        if matches!(modality, None | Some("CT")) {
            all.push(json!({"none": [{"tag": "ImageType", "contains": "LOCALIZER"}]}));
        }
        all
    }

    /// A short name for the slot.
    pub fn name(&self) -> String {
        match (self.modality, self.pick) {
            (Some(modality), None) => modality.to_ascii_lowercase(),
            (_, Some((pick, _))) => pick.to_owned(),
            (None, None) => {
                let word = self.description.as_deref().unwrap_or("scan");
                let plain: String = word.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
                if plain.is_empty() { "scan".to_owned() } else { plain.to_ascii_lowercase() }
            }
        }
    }

    /// In words, for messages.
    pub fn describe(&self) -> String {
        let mut parts: Vec<String> = self.modality.map(str::to_owned).into_iter().collect();
        parts.extend(self.description.as_ref().map(|text| format!("with {text:?} in the description")));
        parts.extend(self.scan_type.as_ref().map(|text| format!("of the type {text:?}")));
        parts.extend(self.pick.map(|(pick, by)| format!("{pick} by {}", by.replace('_', " "))));
        if parts.is_empty() { "any series".to_owned() } else { parts.join(" ") }
    }
}
