//! What came out of a demonstration: structure sets read back, compared with the truth, drawn, and put into a report.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::players::Overview;
use crate::assemble;
use crate::config::{self, Configuration};
use crate::contour::rasterise;
use crate::dicom::{Instance, Uid};
use crate::job::{Job, StructureResult};
use crate::node::Verdict;
use crate::output::picture::Outline;
use crate::output::report::{self, Fact, Report, StructureRow};
use crate::output::rtstruct::{self, ParsedStructureSet};
use crate::phantom::Phantom;
use crate::pipeline::Group;
use crate::route::{self, Trace};
use crate::structure::{Color, RoiStyle, RoiType, lookup};
use crate::volume::{CompactMask, Mask, Volume};

/// What is told at the end.
pub(super) struct Told {
    pub text: String,
    /// What should have come and did not; empty for a good end.
    pub misses: Vec<String>,
    /// The structures that arrived.
    names: Vec<String>,
}

/// Least Dice that the shipped pipeline has to reach on a phantom.
const EXPECTED: [(&str, f64); 3] = [("BODY", 0.99), ("Lung_L", 0.97), ("Lung_R", 0.97)];
/// A contour lies on a slice when it is no further from it: a hundred times what is written.
const ON_SLICE_MM: f64 = 0.1;

/// One structure set with all that belongs to it.
struct Result<'a> {
    job: &'a Job,
    set: ParsedStructureSet,
    path: &'a Path,
    volume: Volume,
    is_ct: bool,
    masks: Vec<(RoiStyle, Mask, usize)>,
}

/// Reads back what the planning system got, measures, draws and writes `report/` and `pictures/` under `root`.
///
/// # Errors
/// When a structure set cannot be read, does not belong to what was sent, or a file cannot be written.
pub(super) fn measure(
    root: &Path,
    configuration: &Path,
    files: &[PathBuf],
    phantom: Option<&Phantom>,
    overview: &Overview,
    received: &[PathBuf],
) -> anyhow::Result<Told> {
    let configuration =
        config::load(configuration).map_err(|problems| anyhow::anyhow!("{} problems", problems.len()))?;
    let mut series = by_series(files);
    let mut told = Told { text: String::new(), misses: Vec::new(), names: Vec::new() };
    for path in received {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let set = rtstruct::read(&bytes).with_context(|| format!("{}", path.display()))?;
        let Some(uid) = set.referenced_series_uid.clone() else {
            bail!("{}: found no referenced series", path.display())
        };
        let Some((images, files)) = series.get_mut(&uid) else {
            bail!("{}: found a reference to series {uid}, which was not sent", path.display())
        };
        let Some(job) = job_of(overview, &set, &uid) else { bail!("{}: found no job of series {uid}", path.display()) };
        let (volume, is_ct) = load(images, files)?;
        let masks = set.rois.iter().map(|roi| voxels(roi, &volume)).collect();
        let result = Result { job, set, path, volume, is_ct, masks };
        let reasons = reasons(images, &configuration, &job.pipeline);
        tell(&result, phantom, overview, &reasons, &mut told);
        write_report(root, &result, overview, reasons, &configuration, &mut told.text)?;
    }
    if phantom.is_some() {
        let missing = EXPECTED.iter().filter(|(name, _)| !told.names.iter().any(|there| there == name));
        told.misses.extend(missing.map(|(name, _)| format!("no {name} arrived")));
    }
    Ok(told)
}

type SeriesFiles = BTreeMap<Uid, (Vec<Instance>, Vec<PathBuf>)>;

fn by_series(files: &[PathBuf]) -> SeriesFiles {
    let mut series = SeriesFiles::new();
    for path in files {
        let instance = File::open(path).ok().and_then(|file| Instance::read_part10(BufReader::new(file)).ok());
        if let Some(instance) = instance {
            let (instances, paths) = series.entry(instance.series_instance_uid.clone()).or_default();
            instances.push(instance);
            paths.push(path.clone());
        }
    }
    series
}

/// The job whose structures a set holds; several pipelines may have run on one series.
fn job_of<'a>(overview: &'a Overview, set: &ParsedStructureSet, series: &Uid) -> Option<&'a Job> {
    let names: Vec<&str> = set.rois.iter().map(|roi| roi.name.as_str()).collect();
    let jobs = || overview.jobs.iter().filter(|job| job.series.series_instance_uid == *series);
    let same = |job: &&Job| {
        job.run.as_ref().is_some_and(|run| run.structures.iter().all(|s| names.contains(&s.name.as_str())))
    };
    jobs().find(same).or_else(|| jobs().next())
}

fn load(images: &[Instance], files: &[PathBuf]) -> anyhow::Result<(Volume, bool)> {
    let plan = assemble::plan(images)
        .map_err(|reasons| anyhow::anyhow!(reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let is_ct = plan.modality.as_str() == "CT";
    Ok((assemble::load(&plan, &|index| fs::read(&files[index]))?, is_ct))
}

fn voxels(roi: &rtstruct::ParsedRoi, volume: &Volume) -> (RoiStyle, Mask, usize) {
    let (contours, _) = roi.contours_on(&volume.geometry, ON_SLICE_MM);
    let known = RoiType::ALL.iter().find(|(term, _)| *term == roi.interpreted_type);
    let style = RoiStyle {
        name: roi.name.clone(),
        roi_type: known.map_or(RoiType::Unspecified, |(_, roi_type)| *roi_type),
        color: roi.color.or(lookup(&roi.name).map(|known| known.color)).unwrap_or(Color([255, 255, 0])),
    };
    (style, rasterise(&contours, &volume.geometry), roi.contours.len())
}

/// The conditions of a pipeline that hold for the images, with what was found.
fn reasons(images: &[Instance], configuration: &Configuration, pipeline: &str) -> Vec<String> {
    let Some(pipeline) = configuration.pipelines.get(pipeline) else { return Vec::new() };
    let seen = route::see(images, None);
    let verdicts: Vec<_> = seen.iter().flat_map(|one| route::evaluate(&one.view, [&*pipeline.value])).collect();
    let mut lines = Vec::new();
    for verdict in &verdicts {
        // Conditions on the association were asked by the gateway; here there are only files.
        verdict.inputs.iter().for_each(|(_, trace)| leaves(trace, true, &mut lines));
    }
    lines
}

/// The conditions that decided: what was asked for and is there, what was not wanted and is not there.
fn leaves(trace: &Trace, wanted: bool, lines: &mut Vec<String>) {
    if trace.holds != wanted {
        return;
    }
    if trace.children.is_empty() {
        let not = if wanted { "" } else { "not " };
        lines.push(format!("{not}{}; found {}", trace.expected, trace.found));
    }
    let wanted = wanted != (trace.group == Some(Group::None));
    trace.children.iter().for_each(|child| leaves(child, wanted, lines));
}

/// The table for the terminal.
fn tell(result: &Result<'_>, phantom: Option<&Phantom>, overview: &Overview, reasons: &[String], told: &mut Told) {
    let (job, set, text) = (result.job, &result.set, &mut told.text);
    let summary = assessment(overview, job).map_or(String::new(), |assessment| assessment.summary.clone());
    let _ = writeln!(text, "\nArrived at the gateway\n  {summary}");
    let _ = writeln!(text, "\nPipeline {}, revision {}, matched", job.pipeline, job.pipeline_revision);
    for reason in reasons {
        let _ = writeln!(text, "  {reason}");
    }
    let _ =
        writeln!(text, "\nArrived at the planning system: structure set {:?}, {} regions", set.label, set.rois.len());
    let _ = writeln!(text, "  {:<16} {:>12} {:>9}  Dice against the truth", "structure", "volume, cm3", "contours");
    for (style, mask, contours) in &result.masks {
        let dice = phantom.and_then(|phantom| phantom.truth(&style.name)).map(|truth| mask.dice(&truth));
        let shown = dice.map_or("not known".to_owned(), |dice| format!("{dice:.4}"));
        let _ = writeln!(text, "  {:<16} {:>12.1} {contours:>9}  {shown}", style.name, mask.volume_cm3());
        told.names.push(style.name.clone());
        let least = EXPECTED.iter().find(|(name, _)| *name == style.name).map(|(_, least)| *least);
        if let (Some(dice), Some(least)) = (dice, least)
            && dice < least
        {
            told.misses.push(format!("{} has a Dice of {dice:.4}, expected at least {least}", style.name));
        }
    }
    if set.left_out > 0 {
        told.misses.push(format!("{} items of the structure set could not be read", set.left_out));
    }
}

fn assessment<'a>(overview: &'a Overview, job: &Job) -> Option<&'a crate::node::Assessment> {
    let record = overview.series.iter().find(|record| record.series == job.series)?;
    record.assessment.as_ref()
}

fn write_report(
    root: &Path,
    result: &Result<'_>,
    overview: &Overview,
    reasons: Vec<String>,
    configuration: &Configuration,
    text: &mut String,
) -> anyhow::Result<()> {
    let compact: Vec<_> =
        result.masks.iter().map(|(style, mask, _)| (style, CompactMask::from(mask.clone()))).collect();
    let outlines: Vec<Outline<'_>> = compact.iter().map(|(style, mask)| Outline { color: style.color, mask }).collect();
    let figures = report::figures(&result.volume, result.is_ct, &outlines)?;
    let pictures = root.join("pictures");
    for (number, figure) in figures.iter().enumerate() {
        let words = figure.caption.split(", ").take(2).collect::<Vec<_>>().join("-").replace(' ', "-");
        let name = format!("{}-{:02}-{words}.png", result.job.id, number + 1);
        fs::write(pictures.join(&name), &figure.png).with_context(|| format!("cannot write {name}"))?;
    }
    let page = Report {
        title: format!("{} on {}", result.job.pipeline, if result.is_ct { "CT" } else { "a series" }),
        job: result.job.id.to_string(),
        created: result.job.created_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        series: series_facts(result, overview),
        pipeline: pipeline_facts(result.job),
        reasons,
        structures: rows(result),
        figures,
        warnings: warnings(result.job, overview),
        provenance: provenance(result, configuration),
        stages: result.job.run.as_ref().map_or(Vec::new(), |run| run.stages.clone()),
        ..Report::default()
    };
    let path = root.join("report").join(format!("{}.html", result.job.id));
    fs::write(&path, report::html(&page)).with_context(|| format!("cannot write {}", path.display()))?;
    let _ = writeln!(text, "\nLook at it");
    let _ = writeln!(text, "  report         {}", path.display());
    let _ = writeln!(text, "  pictures       {}", pictures.display());
    let copy = root.join("report").join(format!("{}.dcm", result.job.id));
    fs::copy(result.path, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    let _ = writeln!(text, "  structure set  {}", copy.display());
    Ok(())
}

fn fact(name: &str, value: impl Into<String>) -> Fact {
    (name.to_owned(), value.into())
}

fn series_facts(result: &Result<'_>, overview: &Overview) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(assessment) = assessment(overview, result.job) {
        facts.push(fact("Images", assessment.summary.clone()));
    }
    facts.extend(report::geometry_facts(&result.volume.geometry));
    facts.push(fact("Series Instance UID", result.job.series.series_instance_uid.as_str()));
    facts
}

fn pipeline_facts(job: &Job) -> Vec<Fact> {
    let destinations: Vec<&str> = job.deliveries.iter().map(|delivery| delivery.to.as_str()).collect();
    vec![
        fact("Pipeline", job.pipeline.as_str()),
        fact("Revision", job.pipeline_revision.to_string()),
        fact("Delivered to", destinations.join(", ")),
    ]
}

fn rows(result: &Result<'_>) -> Vec<StructureRow> {
    let run = result.job.run.as_ref();
    let note = |name: &str| run.and_then(|run| run.structures.iter().find(|s| s.name == name)).map(|s| s.note.clone());
    let row = |(style, mask, contours): &(RoiStyle, Mask, usize)| {
        let (name, note) = (style.name.clone(), note(&style.name).unwrap_or_default());
        let measured = StructureResult { name, volume_cm3: mask.volume_cm3(), contours: *contours, note };
        StructureRow::of(style, &CompactMask::from(mask.clone()), &measured)
    };
    result.masks.iter().map(row).collect()
}

fn warnings(job: &Job, overview: &Overview) -> Vec<String> {
    let mut warnings = assessment(overview, job).map_or(Vec::new(), |assessment| assessment.warnings.clone());
    for warning in job.run.iter().flat_map(|run| &run.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    warnings
}

fn provenance(result: &Result<'_>, configuration: &Configuration) -> Vec<Fact> {
    let mut facts = vec![fact("contourd", env!("CARGO_PKG_VERSION"))];
    if let Some(pipeline) = configuration.pipelines.get(&result.job.pipeline) {
        facts.push(fact("Pipeline SHA-256", pipeline.digest.as_str()));
        for step in pipeline.value.steps() {
            let named = step.action.model();
            if let Some(model) = named.and_then(|reference| configuration.models.get(&reference.name)) {
                facts.push(fact(&format!("Model {} SHA-256", model.value.id()), model.value.digests()));
            }
        }
    }
    facts.push(fact("Structure set", result.set.sop_instance_uid.as_str()));
    if let Some(run) = &result.job.run {
        facts.push(fact("Memory of the worker", format!("at most {} MiB", run.memory_peak_bytes >> 20)));
    }
    facts
}

/// What the gateway says of series that became no job.
pub(super) fn without_jobs(overview: &Overview) -> String {
    let mut text = String::from("\nArrived at the gateway, and no pipeline ran\n");
    for record in &overview.series {
        let _ =
            writeln!(text, "  series {}: {} {}", record.series.series_instance_uid, record.state.name(), record.note);
        let Some(assessment) = &record.assessment else { continue };
        let refusals = assessment.refusals.iter().map(|reason| format!("    {reason}\n"));
        text.extend(refusals);
        text.extend(assessment.verdicts.iter().map(verdict_text));
    }
    text
}

fn verdict_text(verdict: &Verdict) -> String {
    let mut text =
        format!("    pipeline {}: {}\n", verdict.pipeline, if verdict.matched { "matches" } else { "does not match" });
    text.extend(verdict.trace.iter().map(|line| format!("      {line}\n")));
    text
}
