//! The pipeline that an import gives to start from: off, with conditions that a person must look at; it delivers nowhere.

use serde_json::{Map, Value, json};

use super::naming::styles;

/// A series that the model needs.
pub(super) struct Slot {
    /// Its name in the model and in the pipeline.
    pub name: String,
    /// Modality (0008,0060), where it is known.
    pub modality: Option<&'static str>,
    /// A word that Series Description may hold, where the modality alone does not tell the series.
    pub described: Option<String>,
}

impl Slot {
    /// What the name of a channel says of the series. `alone`: it is the only image of the model.
    pub fn of_channel(name: &str, channel: &str, alone: bool) -> Slot {
        let folded = channel.trim().to_ascii_lowercase();
        let holds = |words: &[&str]| {
            words.iter().any(|word| folded.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == *word))
        };
        let modality = if holds(&["ct", "cbct", "hounsfield"]) {
            Some("CT")
        } else if holds(&["pet", "pt", "suv", "suvbw"]) {
            Some("PT")
        } else if holds(&MAGNETIC) || folded.starts_with("t1") || folded.starts_with("t2") {
            Some("MR")
        } else {
            None
        };
        // The one CT of a model is known by its modality; of MR there are always several.
        let described = (modality != Some("CT") || !alone) && !holds(&["mr", "mri", "pet", "pt"]);
        Slot { name: name.to_owned(), modality, described: described.then(|| channel.trim().to_owned()) }
    }

    /// The same with a word for the description.
    pub fn described_by(mut self, word: &str) -> Slot {
        self.described = Some(word.to_owned());
        self
    }

    fn condition(&self) -> Value {
        let mut all = Vec::new();
        all.push(match self.modality {
            Some(modality) => json!({ "tag": "Modality", "eq": modality }),
            None => json!({ "tag": "Modality", "in": ["CT", "MR", "PT"] }),
        });
        if let Some(word) = &self.described {
            all.push(json!({ "tag": "SeriesDescription", "regex": format!("(?i){}", pattern(word)) }));
        }
        all.push(json!({ "none": [{ "tag": "ImageType", "contains": "LOCALIZER" }] }));
        json!({ "all": all, "slices": { "min": 3 }, "geometry": { "orientation": "any", "max_gap": 0 } })
    }
}

/// Words of magnetic resonance in names of channels.
const MAGNETIC: [&str; 14] =
    ["mr", "mri", "t1", "t2", "t1w", "t2w", "t1c", "t1ce", "t1gd", "flair", "adc", "dwi", "dce", "tof"];

/// The word as a regular expression in which any sign or none may stand for what is no letter or digit.
fn pattern(word: &str) -> String {
    let parts = word.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(".?")
}

/// The document of a pipeline that runs one model and delivers these labels. Notes tell what is to be looked at.
pub(super) fn pipeline(
    id: &str,
    description: &str,
    slots: &[Slot],
    labels: &[String],
    notes: &mut Vec<String>,
) -> Value {
    let inputs: Map<String, Value> = slots.iter().map(|slot| (slot.name.clone(), slot.condition())).collect();
    let taken: Map<String, Value> =
        slots.iter().map(|slot| (slot.name.clone(), Value::from(slot.name.as_str()))).collect();
    let (rules, unknown) = styles(labels.iter().map(String::as_str));
    let rules: Map<String, Value> = rules.into_iter().map(|(label, rule)| (format!("segment:{label}"), rule)).collect();
    if !unknown.is_empty() {
        notes.push(format!("not known by TG-263, check name, type and color in the pipeline: {}", unknown.join(", ")));
    }
    let guessed = slots.iter().filter(|slot| slot.modality.is_none() || slot.described.is_some());
    let guessed: Vec<&str> = guessed.map(|slot| slot.name.as_str()).collect();
    if !guessed.is_empty() {
        notes.push(format!("edit the conditions of the pipeline's inputs, which are guesses: {}", guessed.join(", ")));
    }
    notes.push("the pipeline is off and delivers nowhere: check it, add \"deliver\", set \"mode\"".to_owned());
    json!({
        "id": id,
        "description": description,
        "revision": 1,
        "mode": "off",
        "inputs": inputs,
        "steps": [{ "id": "segment", "model": id, "in": taken }],
        "structures": rules,
        "outputs": [{ "rtstruct": { "label": "AUTO" } }],
        "deliver": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problem, Problems};
    use crate::pipeline::Pipeline;

    #[test]
    fn drafts_parse() {
        let slots = [
            Slot::of_channel("ct", "CT", true),
            Slot::of_channel("t1ce", "T1-ce", false),
            Slot::of_channel("x", "channel (0)", false),
        ];
        let mut notes = Vec::new();
        let draft = pipeline("m", "a test", &slots, &["spleen".to_owned(), "a b".to_owned()], &mut notes);
        let mut problems = Problems::of("m.json");
        let node = document::parse(&draft.to_string(), &mut problems).expect("JSON");
        let parsed = Pipeline::parse(&node, &mut problems);
        assert_eq!(problems.into_vec().iter().map(Problem::to_string).collect::<Vec<_>>(), Vec::<String>::new());
        assert_eq!(parsed.expect("a pipeline").structures()[0].style.name, "Spleen");
        assert_eq!(notes.len(), 3, "{notes:#?}");
    }

    #[test]
    fn channels_tell_modalities() {
        let told = |channel, alone| {
            let slot = Slot::of_channel("x", channel, alone);
            (slot.modality, slot.described)
        };
        assert_eq!(told("CT", true), (Some("CT"), None));
        assert_eq!(told("CT arterial", false), (Some("CT"), Some("CT arterial".to_owned())));
        assert_eq!(told("FLAIR", true), (Some("MR"), Some("FLAIR".to_owned())));
        assert_eq!(told("MRI", true), (Some("MR"), None));
        assert_eq!(told("noNorm", true), (None, Some("noNorm".to_owned())));
    }
}
