//! `contourd explain`: what the series in a folder are, for each pipeline whether it wants them, else why not, and
//! for pipelines of several series which fills which input.

mod sets;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use dicom_dictionary_std::tags;
use serde_json::{Value, json};

use super::check::{ConfigArgs, told};
use super::discover::{Found, FoundSeries, find};
use super::{EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK};
use crate::assemble::SeriesPlan;
use crate::config::{Configuration, Loader};
use crate::daemon::assess;
use crate::dicom::{Instance, SeriesKey};
use crate::node::Assessment;
use crate::output::registration;
use crate::route::{self, Assembly, Seen, Verdict};

/// Explain what the series in a folder are and which pipelines want them, and why others do not.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A folder with DICOM files, searched with all folders in it.
    #[arg(value_name = "FOLDER")]
    images: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object, for programs.
    #[arg(long)]
    json: bool,
    /// Print every condition, also those that hold.
    #[arg(long)]
    all: bool,
}

/// What the gateway would find of each series.
type Assessed = BTreeMap<SeriesKey, Assessment>;

/// What was found of one series.
struct Explained {
    key: SeriesKey,
    title: String,
    instances: usize,
    /// At least one: a series that makes no volume is one refused.
    volumes: Vec<ExplainedVolume>,
}

/// What was found of one volume of a series.
struct ExplainedVolume {
    /// What tells it from the others; empty for the whole series.
    label: String,
    instances: usize,
    assembly: Assembly,
    geometry: Option<String>,
    warnings: Vec<String>,
    verdicts: Vec<Verdict>,
}

impl ExplainArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let configuration = match Loader::new(&self.config.folder).load() {
            Ok(configuration) => configuration,
            Err(problems) => {
                eprint!("{}", told(&problems));
                return Ok(EXIT_CONFIGURATION);
            }
        };
        if !configuration.problems.is_empty() {
            eprint!("{}the files with problems are left out below\n\n", told(&configuration.problems));
        }
        let found = find(&self.images)?;
        let explained: Vec<Explained> =
            found.series.iter().map(|(key, series)| explain(key, &series.instances, &configuration)).collect();
        let assess =
            |(key, series): (&SeriesKey, &FoundSeries)| (key.clone(), assess(&series.instances, None, &configuration));
        let assessed: Assessed = found.series.iter().map(assess).collect();
        if self.json {
            println!("{:#}", as_json(&found, &explained, &assessed, &configuration));
        } else {
            print!("{}", self.as_text(&found, &explained, &configuration));
            print!("{}", sets::as_text(&assessed, &explained, &configuration));
        }
        Ok(if !configuration.problems.is_empty() {
            EXIT_CONFIGURATION
        } else if explained.is_empty() {
            EXIT_FAILED
        } else {
            EXIT_OK
        })
    }

    fn as_text(&self, found: &Found, explained: &[Explained], configuration: &Configuration) -> String {
        let instances: usize = explained.iter().map(|series| series.instances).sum();
        let mut text = format!("{}: {}, ", self.images.display(), counted(found.files, "file"));
        text += &format!("{} in {} series\n", counted(instances, "DICOM instance"), explained.len());
        for (file, reason) in found.others.iter().take(OTHERS_SHOWN) {
            text += &format!("  left out: {}: {reason}\n", file.display());
        }
        if found.others.len() > OTHERS_SHOWN {
            text += &format!("  left out: {} more files\n", found.others.len() - OTHERS_SHOWN);
        }
        for series in explained {
            text += &self.series_text(series);
        }
        if configuration.pipelines.is_empty() {
            text += "\nno pipeline is configured\n";
        }
        text
    }

    fn series_text(&self, series: &Explained) -> String {
        let mut text = format!("\n{}\n  series {}\n", series.title, series.key.series_instance_uid);
        let [only] = series.volumes.as_slice() else {
            let count = series.volumes.len();
            text += &format!("  {count} volumes in one series; each is judged and worked on by itself\n");
            for (index, volume) in series.volumes.iter().enumerate() {
                let (number, images) = (index + 1, counted(volume.instances, "instance"));
                text += &format!("  volume {number} of {count}: {}, {images}\n", volume.label);
                text += &self.volume_text(volume).lines().map(|line| format!("  {line}\n")).collect::<String>();
            }
            return text;
        };
        if !only.label.is_empty() {
            text += &format!("  {} of {} instances\n", only.instances, series.instances);
        }
        text + &self.volume_text(only)
    }

    fn volume_text(&self, volume: &ExplainedVolume) -> String {
        let mut text = String::new();
        match (&volume.assembly, &volume.geometry) {
            (Assembly::Refused(reasons), _) => {
                text += "  no volume:\n";
                text += &reasons.iter().map(|reason| format!("    {reason}\n")).collect::<String>();
            }
            (_, Some(geometry)) => text += &format!("  volume of {geometry}\n"),
            (_, None) => {}
        }
        text += &volume.warnings.iter().map(|warning| format!("  note: {warning}\n")).collect::<String>();
        for verdict in &volume.verdicts {
            let wanted = match verdict.fills().as_slice() {
                [] => "does not match".to_owned(),
                slots if verdict.matches() => format!("matches as {}", slots.join(", ")),
                slots => format!("matches as {}, one of several series that it needs", slots.join(", ")),
            };
            text += &format!("  pipeline {} revision {}: {wanted}\n", verdict.pipeline, verdict.revision);
            if self.all {
                let traces = std::iter::once(&verdict.when).chain(verdict.inputs.iter().map(|(_, trace)| trace));
                let lines = traces.map(ToString::to_string).collect::<String>();
                text += &lines.lines().map(|line| format!("    {line}\n")).collect::<String>();
            } else {
                text += &verdict.reasons().iter().map(|reason| format!("    {reason}\n")).collect::<String>();
            }
        }
        text
    }
}

/// How many files that are no instances are named.
const OTHERS_SHOWN: usize = 5;

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn explain(key: &SeriesKey, instances: &[Instance], configuration: &Configuration) -> Explained {
    let volume = |seen: Seen<'_>| {
        let pipelines = configuration.pipelines.values().map(|pipeline| &*pipeline.value);
        let verdicts = route::evaluate(&seen.view, pipelines);
        let of_plan = seen.plan.iter().flat_map(|plan| &plan.warnings).map(ToString::to_string);
        let relations = instances.iter().filter_map(|instance| registration::read(&instance.header));
        let warnings = of_plan.chain(relations.map(|relation| relation.describe())).collect();
        ExplainedVolume {
            label: seen.label().to_owned(),
            instances: seen.view.instances.len(),
            geometry: seen.plan.as_ref().map(|plan| geometry(plan, &seen.view.assembly)),
            assembly: seen.view.assembly,
            warnings,
            verdicts,
        }
    };
    let volumes = route::see(instances, None).into_iter().map(volume).collect();
    Explained { key: key.clone(), title: title(instances), instances: instances.len(), volumes }
}

/// Modality, number of instances, number and description of the series: by which people know it.
fn title(instances: &[Instance]) -> String {
    let text = |tag| {
        let value = instances.first().and_then(|instance| instance.header.get(tag)?.to_str().ok());
        value.map(|value| value.trim_matches([' ', '\0']).to_owned()).filter(|value| !value.is_empty())
    };
    let modality = text(tags::MODALITY).unwrap_or_else(|| "no modality".to_owned());
    let mut title = format!("{modality}, {}", counted(instances.len(), "instance"));
    if let Some(number) = text(tags::SERIES_NUMBER) {
        title += &format!(", series {number}");
    }
    if let Some(description) = text(tags::SERIES_DESCRIPTION) {
        title += &format!(", {description:?}");
    }
    title
}

fn geometry(plan: &SeriesPlan, assembly: &Assembly) -> String {
    let geometry = &plan.geometry;
    let (orientation, gap) = match assembly {
        Assembly::Volume { orientation, largest_gap, .. } => (orientation.word(), *largest_gap),
        Assembly::Refused(_) => ("", 0),
    };
    let mut text = format!(
        "{} {orientation} slices of {} x {}, {:.3} x {:.3} mm, {:.3} mm apart",
        geometry.slices(),
        geometry.rows(),
        geometry.columns(),
        geometry.row_spacing_mm(),
        geometry.column_spacing_mm(),
        geometry.slice_spacing_mm(),
    );
    if gap > 0 {
        text += &format!(", not evenly: up to {} missing between two", counted(gap, "slice"));
    }
    text
}

fn as_json(found: &Found, explained: &[Explained], assessed: &Assessed, configuration: &Configuration) -> Value {
    let others: Vec<Value> =
        found.others.iter().map(|(file, reason)| json!({"file": file.to_string_lossy(), "reason": reason})).collect();
    let series: Vec<Value> = explained.iter().map(series_json).collect();
    let together = sets::as_json(assessed, configuration);
    json!({"files": found.files, "left_out": others, "series": series, "several_series": together})
}

fn series_json(series: &Explained) -> Value {
    let [only] = series.volumes.as_slice() else {
        let volumes: Vec<Value> = series
            .volumes
            .iter()
            .map(|volume| {
                let mut object = volume_json(volume);
                object["name"] = json!(volume.label);
                object["instances"] = json!(volume.instances);
                object
            })
            .collect();
        return with_series(series, json!({"volumes": volumes}));
    };
    with_series(series, volume_json(only))
}

fn with_series(series: &Explained, mut object: Value) -> Value {
    object["study_instance_uid"] = json!(series.key.study_instance_uid.as_str());
    object["series_instance_uid"] = json!(series.key.series_instance_uid.as_str());
    object["title"] = json!(series.title);
    object["instances"] = json!(series.instances);
    object
}

fn volume_json(volume: &ExplainedVolume) -> Value {
    let refusals = match &volume.assembly {
        Assembly::Refused(reasons) => reasons.clone(),
        Assembly::Volume { .. } => Vec::new(),
    };
    let verdicts: Vec<Value> = volume
        .verdicts
        .iter()
        .map(|verdict| {
            json!({"pipeline": verdict.pipeline, "revision": verdict.revision, "matches": verdict.matches(),
                   "inputs": verdict.fills(), "reasons": verdict.reasons()})
        })
        .collect();
    json!({"volume": volume.geometry, "refusals": refusals, "warnings": volume.warnings, "pipelines": verdicts})
}
