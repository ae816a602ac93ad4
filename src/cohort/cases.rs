//! Turns series into cases: which pipelines want a series, alone or together with others, and why the rest is not used.
//!
//! Series are looked at in units, a series or all of a study or patient, one unit after the other, so that the headers
//! of a large collection are never held at once. The judgement is the gateway's (`assess`, `together`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use super::find::{Found, FoundSeries};
use super::memory::{estimate, networks_bytes, voxels_of};
use crate::assemble::Modality;
use crate::config::Configuration;
use crate::daemon::assess;
use crate::dicom::{SeriesKey, Uid};
use crate::job::{JobId, JobInput};
use crate::node::{Assessment, Filled, Order, RegisteredWith, Source, registration_reason, together};
use crate::output::Format;
use crate::pipeline::{Frame, Input, Same};
use crate::worker::{InputFiles, read_instances};

/// One run to be: a pipeline on what fills its slots.
#[derive(Clone, Debug)]
pub struct Case {
    pub pipeline: String,
    /// The series of the primary slot; none for an image of another format.
    pub series: Option<Uid>,
    /// What the image is called in the folder of results.
    pub name: String,
    /// Each slot and what fills it, for people, the primary first.
    pub slots: Vec<(String, String)>,
    pub files: Vec<InputFiles>,
    /// The folder of the primary series, or the file of another format.
    pub folder: PathBuf,
    pub job: JobId,
    /// When the newest of the files was written. It stands in the results as their date: the same files give the same
    /// bytes under the same UID, however often they are run.
    pub created_at: Timestamp,
    /// What is written besides DICOM where nobody says.
    pub usual: Vec<Format>,
    pub reasons: Vec<String>,
    /// What it is expected to take.
    pub memory_bytes: u64,
}

/// What was found out about series, in this order for each unit.
#[derive(Clone, Debug)]
pub enum Finding {
    /// A series, in one line without patient attributes.
    Series {
        series: Uid,
        summary: String,
    },
    /// An image of another format, in one line.
    Image {
        file: PathBuf,
        summary: String,
    },
    /// No pipeline wants it, or it cannot be a volume. `series`: none for an image of another format.
    Unused {
        series: Option<Uid>,
        name: String,
        folder: PathBuf,
        reasons: Vec<String>,
    },
    /// Series could fill slots of a pipeline, but not all of them. `series` is the first of them.
    Unjoined {
        series: Uid,
        name: String,
        folder: PathBuf,
        pipeline: String,
        reason: String,
    },
    Case(Box<Case>),
}

/// What is said of images at which the program itself failed.
pub(super) const BROKEN: &str = "the assessment ended early by an error of the program; report it with these images";

/// Looks at series one unit after the other.
pub struct Looker<'a> {
    pub found: &'a Found,
    pub configuration: &'a Configuration,
    /// The only pipeline to be run.
    pub only: Option<&'a str>,
    /// Of images that do not say it.
    pub modality: Option<Modality>,
}

impl Looker<'_> {
    fn wanted(&self, pipeline: &str) -> bool {
        self.only.is_none_or(|only| only == pipeline)
    }

    /// Series that must be looked at together, because a pipeline may join them.
    pub fn units(&self) -> Vec<Vec<&SeriesKey>> {
        let pipelines = self.configuration.pipelines.values().map(|pipeline| &pipeline.value);
        let joining: Vec<Same> = pipelines
            .filter(|pipeline| self.wanted(pipeline.id()) && pipeline.inputs().len() > 1)
            .map(|pipeline| pipeline.same())
            .collect();
        // A registration may lie in another study of the patient.
        let mut pipelines = self.configuration.pipelines.values().map(|pipeline| &pipeline.value);
        let any = |input: &Input| !input.primary && input.frame == Frame::Any;
        let relating = pipelines.any(|pipeline| self.wanted(pipeline.id()) && pipeline.inputs().iter().any(any));
        let mut units: BTreeMap<(&Uid, Option<&Uid>), Vec<&SeriesKey>> = BTreeMap::new();
        for (key, series) in &self.found.series {
            let unit = match &series.patient {
                _ if joining.is_empty() => (&key.study_instance_uid, Some(&key.series_instance_uid)),
                Some(patient) if joining.contains(&Same::Patient) || relating => (patient, None),
                _ => (&key.study_instance_uid, None),
            };
            units.entry(unit).or_default().push(key);
        }
        units.into_values().collect()
    }

    /// What the series of a unit come to.
    pub fn look(&self, unit: &[&SeriesKey]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let (mut assessed, mut voxels) = (BTreeMap::new(), HashMap::new());
        for key in unit {
            let files: Vec<PathBuf> = self.found.series[*key].files.iter().map(|(_, file)| file.clone()).collect();
            let assessment = match read_instances(&files) {
                Ok(instances) => {
                    voxels.insert(*key, instances.iter().map(voxels_of).sum::<u64>());
                    let mut assessment = assess(&instances, None, self.configuration);
                    assessment.orders.retain(|order| self.wanted(&order.pipeline));
                    assessment
                }
                Err(error) => Assessment { refusals: vec![error.to_string()], ..Assessment::default() },
            };
            let (series, summary) = (key.series_instance_uid.clone(), assessment.summary.clone());
            findings.push(Finding::Series { series, summary });
            assessed.insert((*key).clone(), assessment);
        }
        for (key, assessment) in &assessed {
            if assessment.orders.is_empty() {
                findings.push(self.unused(key, assessment));
            }
            for order in assessment.orders.iter().filter(|order| order.inputs.is_alone()) {
                for (at, source) in assessment.sources.iter().enumerate() {
                    let Some(slot) = order.fills_of(at).first() else { continue };
                    let of = Filling { slot: slot.clone(), series: key, source, registration: None };
                    findings.push(self.case(order, &[of], order.reasons_of(at).to_vec(), &voxels));
                }
            }
        }
        findings.extend(self.joined(&assessed, &voxels));
        findings
    }

    /// What to say of a unit at which the program itself failed.
    pub fn failed(&self, unit: &[&SeriesKey]) -> Vec<Finding> {
        let assessment = Assessment { refusals: vec![BROKEN.to_owned()], ..Assessment::default() };
        unit.iter().map(|key| self.unused(key, &assessment)).collect()
    }

    fn joined(&self, assessed: &BTreeMap<SeriesKey, Assessment>, voxels: &HashMap<&SeriesKey, u64>) -> Vec<Finding> {
        let (mut findings, mut used) = (Vec::new(), BTreeSet::new());
        for set in together(assessed) {
            let filled = match set.outcome {
                Ok(filled) => filled,
                Err(reason) => {
                    let Some((first, _)) = set.offered.first() else { continue };
                    let (series, folder) = (first.series_instance_uid.clone(), self.found.series[*first].folder());
                    let pipeline = set.order.pipeline.clone();
                    let name = self.found.name(first);
                    findings.push(Finding::Unjoined { series, name, folder, pipeline, reason });
                    continue;
                }
            };
            let reasons = filled.iter().flat_map(|filled| {
                let orders = &assessed[filled.series].orders;
                let own = orders.iter().find(|order| order.pipeline == set.order.pipeline);
                let sources = &assessed[filled.series].sources;
                let at = sources.iter().position(|source| source == filled.source).unwrap_or(0);
                let lines = own.map(|order| order.reasons_of(at).to_vec()).unwrap_or_default();
                let by = filled.registration.map(|by| registration_reason(&filled.slot, by.source, by.by));
                lines.into_iter().map(|line| format!("{}: {line}", filled.slot)).chain(by).collect::<Vec<_>>()
            });
            let lacks = set.lacks.iter().map(|lack| lack.replacen(": ", ": passed over a series: ", 1));
            let reasons = reasons.chain(lacks).collect();
            used.extend(filled.iter().filter_map(|one| one.registration.map(|by| by.series)));
            let slots = filled.into_iter().map(|one| {
                let Filled { slot, series, source, registration } = one;
                Filling { slot, series, source, registration }
            });
            findings.push(self.case(set.order, &slots.collect::<Vec<_>>(), reasons, voxels));
        }
        let relates = |assessment: &Assessment| {
            let mut sources = assessment.sources.iter();
            !assessment.orders.is_empty() && sources.all(|source| source.registration.is_some())
        };
        for (key, assessment) in assessed.iter().filter(|(key, of)| relates(of) && !used.contains(key)) {
            let mut unused = assessment.clone();
            unused.refusals = vec!["no pipeline needed this registration".to_owned()];
            findings.push(self.unused(key, &unused));
        }
        findings
    }

    fn unused(&self, key: &SeriesKey, assessment: &Assessment) -> Finding {
        let relates = assessment.sources.iter().any(|source| source.registration.is_some());
        let what = if relates { "" } else { "cannot be a volume: " };
        let refusals = assessment.refusals.iter().map(|refusal| format!("{what}{refusal}"));
        let verdicts = assessment.verdicts.iter().filter(|verdict| !verdict.matched && self.wanted(&verdict.pipeline));
        let verdicts = verdicts.map(|v| format!("{} does not want it: {}", v.pipeline, v.trace.join("; ")));
        let reasons = refusals.chain(verdicts).collect();
        let (series, name) = (Some(key.series_instance_uid.clone()), self.found.name(key));
        Finding::Unused { series, name, folder: self.found.series[key].folder(), reasons }
    }

    /// `slots`: the primary first. A file that has gone makes no case.
    fn case(
        &self,
        order: &Order,
        slots: &[Filling<'_>],
        reasons: Vec<String>,
        voxels: &HashMap<&SeriesKey, u64>,
    ) -> Finding {
        let primary = &slots[0];
        let (mut files, mut uids, mut named) = (Vec::new(), Vec::new(), order.digest.clone());
        for Filling { slot, series, source, registration } in slots {
            let used = used_of(&self.found.series[*series], &source.instances);
            uids.extend(used.iter().map(|(uid, _)| (uid, "")));
            named += &JobInput::frames_named(&source.frames);
            let used = used.iter().map(|(_, file)| file.clone()).collect();
            let (slot, frames, volume) = (slot.clone(), source.frames.clone(), source.volume.clone());
            let registration = registration.and_then(|by| {
                let (uid, file) = used_of(&self.found.series[by.series], &by.source.instances).into_iter().next()?;
                uids.push((uid, ""));
                named += &format!(" {slot} registered by {uid}");
                Some(file.clone())
            });
            files.push(InputFiles { slot, files: used, image: None, frames, volume, registration });
        }
        let (folder, name) = (self.found.series[primary.series].folder(), self.name(primary));
        let created_at = match newest(files.iter().flat_map(|input| input.files.iter().chain(&input.registration))) {
            Ok(newest) => newest,
            Err(reason) => {
                let series = Some(primary.series.series_instance_uid.clone());
                return Finding::Unused { series, name, folder, reasons: vec![reason] };
            }
        };
        let all: u64 = slots.iter().map(|of| voxels.get(of.series).copied().unwrap_or(0)).sum();
        let shown = |of: &Filling<'_>| {
            let volume = if of.source.volume.is_empty() { String::new() } else { format!(", {}", of.source.volume) };
            let by = of.registration.map(|by| format!(" registered by series {}", by.series.series_instance_uid));
            (of.slot.clone(), format!("series {}{volume}{}", of.series.series_instance_uid, by.unwrap_or_default()))
        };
        Finding::Case(Box::new(Case {
            pipeline: order.pipeline.clone(),
            series: Some(primary.series.series_instance_uid.clone()),
            name,
            folder,
            job: JobId::derived(primary.series, &named, uids),
            created_at,
            usual: Vec::new(),
            reasons,
            memory_bytes: estimate(all, networks_bytes(&order.pipeline, self.configuration)),
            slots: slots.iter().map(shown).collect(),
            files,
        }))
    }

    /// The name of the results: that of the series, with that of the volume where it has several.
    fn name(&self, of: &Filling<'_>) -> String {
        let series = self.found.name(of.series);
        match of.source.volume.as_str() {
            "" => series,
            volume => {
                let allowed = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
                format!("{series}_{}", volume.chars().map(allowed).take(VOLUME_NAME_MAX).collect::<String>())
            }
        }
    }
}

/// How much of the name of a volume is in that of its folder.
const VOLUME_NAME_MAX: usize = 120;

/// A slot and what fills it.
struct Filling<'a> {
    slot: String,
    series: &'a SeriesKey,
    source: &'a Source,
    registration: Option<RegisteredWith<'a>>,
}

fn used_of<'a>(series: &'a FoundSeries, only: &[Uid]) -> Vec<&'a (Uid, PathBuf)> {
    let only: HashSet<&Uid> = only.iter().collect();
    series.files.iter().filter(|(uid, _)| only.is_empty() || only.contains(uid)).collect()
}

pub(super) fn newest<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<Timestamp, String> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for file in files {
        newest = newest.max(modified(file)?);
    }
    Timestamp::try_from(newest).map_err(|error| error.to_string())
}

fn modified(file: &Path) -> Result<SystemTime, String> {
    let modified = fs::metadata(file).and_then(|data| data.modified());
    modified.map_err(|error| format!("{} cannot be read: {error}", file.display()))
}
