//! What a run says of itself: stages with their times, structures, files, warnings. It is stored with the job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rtstruct::Dialect;
use crate::dicom::Uid;

/// What a successful run has to tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The stages in their order, with their durations.
    pub stages: Vec<Stage>,
    pub structures: Vec<StructureResult>,
    /// Files in the job's folder of the spool.
    pub files: Vec<String>,
    /// Those of them that are delivered, each with whom it is for. Empty in a ledger that sent all DICOM files to all.
    #[serde(default)]
    pub objects: Vec<ProducedObject>,
    pub warnings: Vec<String>,
    /// Largest resident memory of the worker up to the end of this run.
    pub memory_peak_bytes: u64,
    /// Where the networks of each step ran.
    #[serde(default)]
    pub devices: BTreeMap<String, String>,
    /// The inputs of another Frame of Reference than the primary images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registrations: Vec<RegisteredInput>,
}

/// An input that a registration object brought to the primary images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisteredInput {
    /// The name in the pipeline.
    pub slot: String,
    /// The registration object.
    pub sop_instance_uid: Uid,
    pub rotation_degrees: f64,
    /// How far the centre of its images was moved.
    pub shift_mm: f64,
}

impl RegisteredInput {
    /// For people.
    pub fn describe(&self) -> String {
        let RegisteredInput { sop_instance_uid, rotation_degrees, shift_mm, .. } = self;
        format!(
            "registered by object {sop_instance_uid}: turned by {rotation_degrees:.1} degrees, its centre moved by \
             {shift_mm:.1} mm"
        )
    }
}

/// A DICOM object that a run made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedObject {
    /// Its name in the job's folder of the spool.
    pub file: String,
    /// What it is, in the word of the pipeline's `outputs`: `rtstruct`.
    pub kind: String,
    #[serde(default)]
    pub sop_instance_uid: Option<Uid>,
    /// Which of several objects of its kind it is: the label of a structure set as the pipeline writes it.
    #[serde(default)]
    pub label: Option<String>,
    /// The dialect that it was written in, for people; none for a kind that has no dialects.
    #[serde(default)]
    pub dialect: Option<String>,
    /// The peers that it is for; none for all destinations of the job.
    #[serde(default)]
    pub to: Option<Vec<String>>,
}

/// A dialect and the destinations that want it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DialectOf {
    pub dialect: Dialect,
    /// Names of peers.
    pub to: Vec<String>,
}

impl DialectOf {
    /// Every distinct dialect once, in the order of the destinations: the same choices give one object.
    pub fn grouped(wanted: impl IntoIterator<Item = (String, Dialect)>) -> Vec<DialectOf> {
        let mut groups: Vec<DialectOf> = Vec::new();
        for (peer, dialect) in wanted {
            match groups.iter_mut().find(|group| group.dialect.text() == dialect.text()) {
                Some(group) => group.to.push(peer),
                None => groups.push(DialectOf { dialect, to: vec![peer] }),
            }
        }
        groups
    }
}

impl Run {
    /// The files that one destination gets, which may be none; `None` when the run said nothing of whom its objects are
    /// for.
    pub fn objects_for(&self, to: &str) -> Option<Vec<String>> {
        let wanted = |object: &&ProducedObject| object.to.as_ref().is_none_or(|peers| peers.iter().any(|p| p == to));
        let files = self.objects.iter().filter(wanted).map(|object| object.file.clone());
        (!self.objects.is_empty()).then(|| files.collect())
    }
}

/// One stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub seconds: f64,
}

/// One structure that a run made, or could not make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StructureResult {
    pub name: String,
    /// 0 for a structure that is not there.
    pub volume_cm3: f64,
    pub contours: usize,
    /// Why it is empty, or what to look at; empty when there is nothing to say.
    pub note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_destination_gets_what_is_for_all_and_what_is_for_it() {
        let object = |file: &str, to: Option<&[&str]>| ProducedObject {
            file: file.to_owned(),
            kind: "rtstruct".to_owned(),
            sop_instance_uid: None,
            label: None,
            dialect: None,
            to: to.map(|peers| peers.iter().map(|peer| (*peer).to_owned()).collect()),
        };
        let mut run = Run::default();
        assert_eq!(run.objects_for("tps"), None);
        run.objects = vec![object("a", Some(&["tps", "pacs"])), object("b", Some(&["mim"])), object("c", None)];
        let files = |to| run.objects_for(to).expect("a record").join(" ");
        assert_eq!([files("tps"), files("mim"), files("other")], ["a c", "b c", "c"]);
        run.objects.truncate(2);
        assert_eq!(run.objects_for("other"), Some(Vec::new()));
    }

    #[test]
    fn destinations_with_the_same_choices_share_a_dialect() {
        let dialect = |word| Dialect::of(word).expect("a dialect");
        let wanted = [("a", "generic"), ("b", "raystation"), ("c", "mim")];
        let groups = DialectOf::grouped(wanted.map(|(peer, word)| (peer.to_owned(), dialect(word))));
        let peers: Vec<String> = groups.iter().map(|group| group.to.join(" ")).collect();
        assert_eq!(peers, ["a c", "b"]);
    }

    #[test]
    fn a_run_of_an_older_ledger_is_read() {
        let text = r#"{"stages": [], "structures": [], "files": ["RS.dcm"], "warnings": [], "memory_peak_bytes": 0}"#;
        let run: Run = serde_json::from_str(text).expect("a run");
        assert_eq!((run.files.len(), run.objects_for("tps")), (1, None));
    }
}
