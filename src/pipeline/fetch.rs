//! What a pipeline says of fetching an input that is missing; it asks nobody.

use serde::{Deserialize, Serialize};

use crate::document::{Node, Problems};
use crate::limits::{FETCH_SERIES_MAX, PATTERN_LENGTH_MAX, PATTERN_SIZE_MAX, WAIT_S_MAX};

use super::definition::parse_id;

/// Where a missing input is looked for, and what of it is fetched. The conditions are what a peer can tell without the
/// images; whether a series fits is judged when it is here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fetch {
    /// Name of the peer.
    pub from: String,
    pub study: FromStudy,
    /// Modality (0008,0060) of the series; any where it is not said.
    pub modality: Option<String>,
    /// A regular expression that Series Description (0008,103E) has to match.
    pub description: Option<String>,
    /// Fewest instances, where the peer tells their number.
    pub instances_min: u32,
    /// How many days before the study of the primary input a prior may be; none for any time.
    pub within_days: Option<u32>,
    /// Most series that are fetched, the latest first.
    pub series_max: usize,
    /// How long the input is waited for before the peer is asked, once the others are there.
    pub after_s: f64,
}

/// In which studies is looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromStudy {
    /// In that of the primary input.
    #[default]
    Same,
    /// In earlier ones of the same patient, the latest first: the first that has a series which fits.
    Prior,
}

impl FromStudy {
    /// Every one with its word.
    pub const ALL: [(&'static str, FromStudy); 2] = [("same", FromStudy::Same), ("prior", FromStudy::Prior)];
}

/// How long an input is waited for before it is fetched, when the file does not say.
pub const FETCH_AFTER_S: f64 = 30.0;

/// How many series are fetched at most, when the file does not say.
pub const FETCH_SERIES: usize = 4;

/// Longest value of VR CS (PS3.5 6.2).
const CODE_LENGTH_MAX: usize = 16;

/// Most days before a study that can be said: a lifetime.
const DAYS_MAX: i64 = 36_525;

impl Fetch {
    pub(super) fn parse(node: &Node, problems: &mut Problems) -> Option<Fetch> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        let from = fields.required("from", problems).and_then(|from| parse_id(from, problems));
        let study = fields.optional("study").and_then(|study| study.choice(&FromStudy::ALL, problems));
        let modality = fields.optional("modality").and_then(|modality| parse_modality(modality, problems));
        let description = fields.optional("description").and_then(|pattern| parse_pattern(pattern, problems));
        let mut integer = |key, max, problems: &mut Problems| {
            fields.optional(key).and_then(|node: &Node| node.integer(1, max, problems))
        };
        let instances_min = integer("instances_min", i64::from(u16::MAX), problems);
        let series_max = integer("series_max", FETCH_SERIES_MAX, problems);
        let days = fields.optional("within_days");
        let within_days = days.and_then(|days| days.integer(1, DAYS_MAX, problems));
        let after_s = fields.optional("after_s").and_then(|after| after.number(0.0, WAIT_S_MAX, problems));
        fields.finish(problems);
        let study = study.unwrap_or_default();
        if let (Some(days), FromStudy::Same) = (days, study) {
            let cure = "add \"study\": \"prior\", or remove it";
            problems.add_with_cure(days, "\"within_days\" of the same study", "it for a prior study", cure);
        }
        if problems.count() > before {
            return None;
        }
        Some(Fetch {
            from: from?,
            study,
            modality,
            description,
            instances_min: instances_min.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            within_days: within_days.and_then(|days| u32::try_from(days).ok()),
            series_max: series_max.and_then(|count| usize::try_from(count).ok()).unwrap_or(FETCH_SERIES),
            after_s: after_s.unwrap_or(FETCH_AFTER_S),
        })
    }

    /// Whether a series fits, as far as a peer tells of it. One that tells no number or no modality may.
    pub fn fits(&self, modality: &str, description: &str, instances: Option<u32>) -> bool {
        let is_other = self.modality.as_ref().is_some_and(|wanted| !modality.is_empty() && wanted != modality);
        let described = self.description.as_ref().is_none_or(|pattern| {
            // It was compiled when the file was read.
            regex(pattern).is_some_and(|pattern| pattern.is_match(description))
        });
        !is_other && described && instances.is_none_or(|count| count >= self.instances_min)
    }
}

fn regex(pattern: &str) -> Option<regex::Regex> {
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE_MAX).build().ok()
}

/// Whether a text is a value of VR CS, which matches itself alone.
pub fn is_modality(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.len() <= CODE_LENGTH_MAX && text.bytes().all(legal)
}

fn parse_modality(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    if !is_modality(text) {
        problems.add(node, node.describe(), "a modality, such as \"MR\"");
        return None;
    }
    Some(text.to_owned())
}

fn parse_pattern(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    if text.len() > PATTERN_LENGTH_MAX || regex(text).is_none() {
        problems.add(node, node.describe(), "a regular expression for the Series Description, such as \"(?i)t2\"");
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    fn check(text: &str) -> Result<Fetch, Vec<String>> {
        let mut problems = Problems::of("p.json");
        let parsed = document::parse(text, &mut problems).and_then(|node| Fetch::parse(&node, &mut problems));
        parsed.ok_or_else(|| problems.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn reads_where_a_prior_is_looked_for() {
        let text =
            r#"{"from": "pacs", "study": "prior", "modality": "MR", "within_days": 90, "description": "(?i)t2"}"#;
        let fetch = check(text).expect("good");
        assert_eq!((fetch.study, fetch.within_days, fetch.series_max), (FromStudy::Prior, Some(90), FETCH_SERIES));
        assert!(fetch.fits("MR", "AX T2 fs", Some(3)) && fetch.fits("", "t2", None));
        assert!(!fetch.fits("CT", "t2", None) && !fetch.fits("MR", "T1", None));
        let many = Fetch { instances_min: 30, ..fetch };
        assert!(many.fits("MR", "t2", None) && many.fits("MR", "t2", Some(30)) && !many.fits("MR", "t2", Some(29)));
    }

    #[test]
    fn refuses_what_cannot_be_asked_for() {
        for (text, told) in [
            (r#"{"study": "same"}"#, "from"),
            (r#"{"from": "pacs", "modality": "mr"}"#, "a modality"),
            (r#"{"from": "pacs", "modality": "M*"}"#, "a modality"),
            (r#"{"from": "pacs", "within_days": 3}"#, "within_days"),
            (r#"{"from": "pacs", "description": "("}"#, "a regular expression"),
            (r#"{"from": "pacs", "series": 3}"#, "unknown key"),
        ] {
            let problems = check(text).expect_err(text).join("\n");
            assert!(problems.contains(told), "{text}: {problems}");
        }
    }
}
