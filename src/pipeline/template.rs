//! Texts with words in braces that a run fills in, such as `AI {pipeline}`; it knows no attribute that they go to.

use crate::document::{Node, Problems, nearest};

/// What a run fills in.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub pipeline: &'a str,
    pub revision: u32,
    /// Id of the first model whose structures the object holds; empty for operations alone.
    pub model: &'a str,
    /// `YYYYMMDD`
    pub date: &'a str,
    /// `HHMMSS`
    pub time: &'a str,
}

/// The words that may stand in braces, with what they become.
pub const WORDS: [(&str, &str); 5] = [
    ("pipeline", "id of the pipeline"),
    ("revision", "its revision"),
    ("model", "id of the first model of the structures"),
    ("date", "of the job, YYYYMMDD"),
    ("time", "of the job, HHMMSS"),
];

/// A text with its words found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// One of [`WORDS`].
    Word(&'static str),
}

impl Template {
    /// Parses ASCII text; `None` when anything is wrong.
    pub fn parse(node: &Node, problems: &mut Problems) -> Option<Template> {
        let text = node.text(problems)?;
        let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\');
        if text.is_empty() || !printable || text.trim() != text {
            let expected = "ASCII characters without backslash and without space at the ends";
            problems.add(node, format!("{text:?}"), expected);
            return None;
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((word, after)) = after.split_once('}') else { break };
            let known: Vec<&str> = WORDS.iter().map(|(known, _)| *known).collect();
            let Some((known, _)) = WORDS.iter().find(|(known, _)| *known == word) else {
                let expected = format!("one of {{{}}}", known.join("}, {"));
                match nearest(word, &known) {
                    Some(near) => {
                        problems.add_with_cure(
                            node,
                            format!("{{{word}}}"),
                            expected,
                            format!("did you mean {{{near}}}?"),
                        );
                    }
                    None => problems.add(node, format!("{{{word}}}"), expected),
                }
                return None;
            };
            pieces.extend([Piece::Text(before.to_owned()), Piece::Word(known)]);
            rest = after;
        }
        if rest.contains(['{', '}']) {
            problems.add(node, format!("{text:?}"), "braces in pairs");
            return None;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Some(Template(pieces))
    }

    /// A text without words.
    pub fn plain(text: &str) -> Template {
        Template(vec![Piece::Text(text.to_owned())])
    }

    /// The text for one run.
    pub fn fill(&self, facts: Facts<'_>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Word("pipeline") => facts.pipeline.to_owned(),
            Piece::Word("revision") => facts.revision.to_string(),
            Piece::Word("model") => facts.model.to_owned(),
            Piece::Word("date") => facts.date.to_owned(),
            Piece::Word(_) => facts.time.to_owned(),
        };
        self.0.iter().map(piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    fn check(text: &str) -> Result<String, String> {
        let mut problems = Problems::of("f");
        let node = document::parse(&format!("{text:?}"), &mut problems).expect("JSON");
        let facts = Facts { pipeline: "ct", revision: 3, model: "lung", date: "20260102", time: "030405" };
        let filled = Template::parse(&node, &mut problems).map(|template| template.fill(facts));
        filled.ok_or_else(|| problems.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn fills_in_every_word_and_refuses_others() {
        assert_eq!(check("AUTO").as_deref(), Ok("AUTO"));
        let all: String = WORDS.iter().map(|(word, _)| format!("{{{word}}} ")).collect();
        assert_eq!(check(all.trim_end()).as_deref(), Ok("ct 3 lung 20260102 030405"));
        let told = check("A{dat}").expect_err("unknown");
        assert!(
            told.contains("found {dat}, expected one of {pipeline}, {revision}, {model}, {date}, {time}"),
            "{told}"
        );
        assert!(told.ends_with("did you mean {date}?"), "{told}");
        for text in ["{date", "date}", "", " a", "a\u{e4}"] {
            check(text).expect_err(text);
        }
    }
}
