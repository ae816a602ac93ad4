//! `contourd names`: what TG-263 calls structures, and what a destination would make of their names.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;

use super::check::told;
use super::{EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK};
use crate::config::Loader;
use crate::document::{self, Node, Problems, Value};
use crate::output::rtstruct::{DIALECTS, Dialect, read};
use crate::structure::{Color, RoiStyle, RoiType, lint, lookup};

/// Hold names of structures against TG-263 and against what a destination takes.
///
/// Each argument is a file or a name: an RT Structure Set, a pipeline, or a text with a name on each line. The names of
/// one file are one set; those of the command line are another. Fails when a destination would refuse or merge a name;
/// that a name is not of TG-263 is told and is no failure.
#[derive(Debug, Args)]
pub(super) struct NamesArgs {
    /// Files, or names
    #[arg(value_name = "FILE|NAME", required = true)]
    what: Vec<String>,
    /// The dialect of a destination
    #[arg(long, value_name = "WORD", default_value = "generic", conflicts_with = "peer")]
    dialect: String,
    /// The dialect of this peer of the configuration, with the site's own names
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// The folder with ae-config, pipelines and models, for --peer
    #[arg(long = "config", value_name = "DIR", default_value = ".")]
    folder: std::path::PathBuf,
}

impl NamesArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let dialect = match &self.peer {
            None => match Dialect::of(&self.dialect) {
                Some(dialect) => dialect,
                None => {
                    let words: Vec<&str> = DIALECTS.iter().map(|entry| entry.word).collect();
                    bail!("found the dialect {:?}, expected one of {}", self.dialect, words.join(", "));
                }
            },
            Some(name) => match Loader::new(&self.folder).load() {
                Ok(configuration) => match configuration.peers.get(name) {
                    Some(peer) => peer.dialect.clone(),
                    None => bail!("found no peer {name:?} in {}", self.folder.join("ae-config/peers").display()),
                },
                Err(problems) => {
                    eprint!("{}", told(&problems));
                    return Ok(EXIT_CONFIGURATION);
                }
            },
        };
        let mut sets: Vec<(Option<&str>, Vec<RoiStyle>)> = vec![(None, Vec::new())];
        for what in &self.what {
            if Path::new(what).is_file() {
                sets.push((Some(what), names_of(Path::new(what))?));
            } else {
                sets[0].1.push(style(what.clone(), None));
            }
        }
        let mut problems = 0;
        for (file, styles) in sets.iter().filter(|(file, styles)| file.is_some() || !styles.is_empty()) {
            let (text, count) = page(*file, styles, &dialect);
            print!("{text}");
            problems += count;
        }
        Ok(if problems == 0 { EXIT_OK } else { EXIT_FAILED })
    }
}

/// What is said of one set of names, and how many problems there are.
fn page(file: Option<&str>, styles: &[RoiStyle], dialect: &Dialect) -> (String, usize) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(file) = file {
        let _ = writeln!(text, "{file}: {} structures", styles.len());
    }
    let findings = lint(styles, dialect.name_rules(), dialect.side_first);
    let wanted: Vec<&str> = styles.iter().map(|style| style.name.as_str()).collect();
    let mut problems = 0;
    for (finding, sent) in findings.iter().zip(dialect.names(&wanted).names) {
        let sent = if sent == finding.name { String::new() } else { format!("; sent as {sent}") };
        let _ = writeln!(text, "{:20} {}{sent}", finding.name, finding.standing);
        for problem in &finding.problems {
            let _ = writeln!(text, "  problem: {problem}");
        }
        problems += finding.problems.len();
    }
    (text, problems)
}

/// The names in a file, of whichever of the three kinds.
fn names_of(path: &Path) -> anyhow::Result<Vec<RoiStyle>> {
    let bytes = fs::read(path).with_context(|| format!("{}", path.display()))?;
    if bytes.get(128..132) == Some(b"DICM") {
        let set = read(&bytes).with_context(|| format!("{}", path.display()))?;
        let term = |found: &str| RoiType::ALL.iter().find(|(word, _)| *word == found).map(|(_, roi_type)| *roi_type);
        return Ok(set.rois.iter().map(|roi| style(roi.name.clone(), term(&roi.interpreted_type))).collect());
    }
    let text = String::from_utf8(bytes).with_context(|| format!("{}: not a text", path.display()))?;
    if path.extension().is_none_or(|ending| ending != "json") {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        return Ok(lines.map(|line| style(line.to_owned(), None)).collect());
    }
    let mut problems = Problems::of(path.display().to_string());
    let document = document::parse(&text, &mut problems);
    let Some(Value::Object(structures)) =
        document.as_ref().and_then(|root| field(root, "structures")).map(|n| &n.value)
    else {
        bail!(
            "{}: found no \"structures\", expected a pipeline; {}",
            path.display(),
            told(&problems.into_vec()).trim_end()
        );
    };
    let named = structures.iter().filter_map(|(_, rule)| {
        let text = |key| match field(rule, key).map(|node| &node.value) {
            Some(Value::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let roi_type = text("type").and_then(|word| RoiType::ALL.iter().find(|(known, _)| *known == word));
        Some(style(text("name")?.to_owned(), roi_type.map(|(_, roi_type)| *roi_type)))
    });
    Ok(named.collect())
}

fn field<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Object(fields) = &node.value else { return None };
    fields.iter().find(|(name, _)| name == key).map(|(_, inner)| inner)
}

/// A structure of this name; of the type that it has in the table where none is said.
fn style(name: String, roi_type: Option<RoiType>) -> RoiStyle {
    let known = lookup(&name);
    let roi_type = roi_type.or(known.map(|known| known.roi_type)).unwrap_or(RoiType::Organ);
    RoiStyle { name, roi_type, color: known.map_or(Color([255; 3]), |known| known.color) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_pipeline_and_of_a_list_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipeline = folder.path().join("p.json");
        let text = r#"{"structures": {"a:b": {"name": "BODY"}, "a:c": {"name": "External", "type": "EXTERNAL"},
            "a:d": {"name": "SubmandibularGland_L"}}}"#;
        fs::write(&pipeline, text).expect("written");
        let (told, problems) = page(Some("p.json"), &names_of(&pipeline).expect("names"), &Dialect::default());
        assert_eq!(problems, 2, "{told}");
        assert!(told.contains("BODY                 TG-263 but for case: Body\n"), "{told}");
        assert!(told.contains("SubmandibularGland_L "), "{told}");
        assert!(
            told.contains("; sent as SubmandibularG_L\n  problem: found the name SubmandibularGland_L of 20"),
            "{told}"
        );
        let list = folder.path().join("names.txt");
        fs::write(&list, "# of the clinic\nHeart\n\n Lung_R \n").expect("written");
        let names: Vec<String> = names_of(&list).expect("names").into_iter().map(|style| style.name).collect();
        assert_eq!(names, ["Heart", "Lung_R"]);
        fs::write(&pipeline, "{}").expect("written");
        assert!(names_of(&pipeline).expect_err("no pipeline").to_string().contains("expected a pipeline"));
    }
}
