//! The RT Structure Sets of a finished run: one for each that the pipeline asks for and each dialect of its destinations.

use super::bench::BenchError;
use super::objects::{Finished, described, write};
use super::steps::Delivered;
use crate::contour::{Contour, Holes, Traced, trace_as};
use crate::dicom::Uid;
use crate::infer::Structure;
use crate::job::{DialectOf, ProducedObject, Run};
use crate::output::object::{Source, date_time, plain};
use crate::output::rtstruct::{Dialect, Roi, StructureSet, encode};
use crate::pipeline::{Facts, RtStructOutput, SENDER, StructureRule};

/// Far above the numbers of scanners, so that the series stand after the images in every list.
const SERIES_NUMBER: usize = 9_001;

/// Writes the structure sets of one output of the pipeline, the one of this index, and says so in the run.
pub(super) fn write_structure_sets(
    job: &Finished<'_>,
    source: Source<'_>,
    (index, output): (usize, &RtStructOutput),
    run: &mut Run,
) -> Result<(), BenchError> {
    let dialects = &job.order.dialects;
    // A run for nobody has no dialect: its set is for whoever comes.
    let nobody = [DialectOf { dialect: Dialect::default(), to: Vec::new() }];
    let peers = job.pipeline.peers_for("rtstruct", job.order.sender.as_deref());
    // Of files nobody is the sender; whoever runs the pipeline on them wants the set that would go back.
    let to_nobody = || {
        let is_returned = job.pipeline.peers_for("rtstruct", Some(SENDER)).iter().any(|peer| peer == SENDER);
        let somebody = dialects.iter().flat_map(|group| &group.to).any(|peer| peers.contains(peer));
        is_returned && job.order.sender.is_none() && !somebody
    };
    let for_nobody = dialects.is_empty() || to_nobody();
    let wanted = if for_nobody { nobody.as_slice() } else { dialects.as_slice() };
    for DialectOf { dialect, to } in wanted {
        let to: Vec<String> = to.iter().filter(|peer| peers.contains(peer)).cloned().collect();
        if to.is_empty() && !for_nobody {
            continue; // These peers get other kinds of objects.
        }
        let dialect = Dialect { holes: output.holes.unwrap_or(dialect.holes), ..dialect.clone() };
        let (mut object, warnings) = write_structure_set(job, source, (index, output), &dialect)?;
        let told =
            |text: &String| if wanted.len() > 1 { format!("for {}: {text}", to.join(", ")) } else { text.clone() };
        run.warnings.extend(warnings.iter().map(told));
        object.to = Some(if for_nobody { peers.clone() } else { to });
        // Two dialects may come to the same choices here: then it is the same object, for both.
        match run.objects.iter_mut().find(|other| other.file == object.file) {
            Some(same) => {
                if let (Some(peers), Some(more)) = (&mut same.to, object.to) {
                    peers.extend(more);
                }
            }
            None => run.objects.push(object),
        }
    }
    Ok(())
}

fn write_structure_set(
    job: &Finished<'_>,
    source: Source<'_>,
    (index, output): (usize, &RtStructOutput),
    dialect: &Dialect,
) -> Result<(ProducedObject, Vec<String>), BenchError> {
    let Finished { order, pipeline, .. } = job;
    let (rois, mut warnings) = rois(job, output, dialect)?;
    let (date, time) = date_time(source.created);
    let model = output.model(pipeline.steps(), pipeline.structures());
    let (id, revision) = (pipeline.id(), pipeline.revision());
    let facts = Facts { pipeline: id, revision, model, date: &date, time: &time };
    let whole_label = output.label.fill(facts);
    let label = plain(&whole_label, dialect.label_length);
    if label != whole_label {
        warnings.push(format!("the label {whole_label} is cut to {label} for the dialect {}", dialect.like));
    }
    let predecessor = predecessor(&order.predecessors, &whole_label, dialect);
    let volume = job.volume_name().map(|name| format!(" Volume of its series: {name}.")).unwrap_or_default();
    let set = StructureSet {
        source,
        rois: &rois,
        label: &label,
        name: &format!("{id} revision {revision}"),
        description: &format!(
            "Made by contourd {}, job {}, not reviewed. AI: review before use.{volume}",
            env!("CARGO_PKG_VERSION"),
            order.job
        ),
        series_number: (SERIES_NUMBER + index) as u32,
        series_description: &job.series_description(&output.series_description(facts)),
        dialect,
        predecessor,
    };
    let encoded = encode(&set).map_err(|error| BenchError::Output(error.to_string()))?;
    warnings.extend(encoded.warnings);
    let sop_instance_uid = set.uids().sop_instance_uid;
    let file = format!("RS.{sop_instance_uid}.dcm");
    write(&order.folder.join(&file), &encoded.bytes)?;
    let object = ProducedObject {
        file,
        kind: "rtstruct".to_owned(),
        sop_instance_uid: Some(sop_instance_uid),
        label: Some(whole_label),
        dialect: Some(dialect.like.clone()),
        to: None,
    };
    Ok((object, warnings))
}

/// The structure set that one replaces: that of the same label and dialect, or the only one.
fn predecessor<'a>(older: &'a [ProducedObject], label: &str, dialect: &Dialect) -> Option<&'a Uid> {
    let sets: Vec<&ProducedObject> = older.iter().filter(|object| object.kind == "rtstruct").collect();
    let same = |object: &&&ProducedObject| {
        object.label.as_deref() == Some(label) && object.dialect.as_deref() == Some(dialect.like.as_str())
    };
    let found = sets.iter().find(same).or(if sets.len() == 1 { sets.first() } else { None })?;
    found.sop_instance_uid.as_ref()
}

/// The regions of one set for one destination, and what had to be changed for it.
fn rois(job: &Finished<'_>, output: &RtStructOutput, dialect: &Dialect) -> Result<(Vec<Roi>, Vec<String>), BenchError> {
    let held: Vec<(&Delivered<'_>, &Vec<Contour>)> =
        job.chosen.iter().zip(&job.contours).filter(|((rule, _), _)| output.holds(rule)).collect();
    let some = held.iter().any(|(_, contours)| !contours.is_empty());
    // A set holds at least one structure: where all are empty, all are listed.
    let listed = held.into_iter().filter(|(_, contours)| dialect.empty || !some || !contours.is_empty());
    let listed: Vec<(&Delivered<'_>, &Vec<Contour>)> = listed.collect();
    let wanted: Vec<&str> = listed.iter().map(|((rule, _), _)| rule.style.name.as_str()).collect();
    let named = dialect.names(&wanted);
    let make = |((delivered, contours), name): ((&Delivered<'_>, &Vec<Contour>), String)| {
        let (rule, structure) = *delivered;
        let traced = match dialect.holes {
            Holes::Keyhole => Traced { contours: contours.clone(), holes: Holes::Keyhole },
            Holes::Xor => trace_as(&structure.mask, Holes::Xor),
        };
        let mut roi = roi(job, rule, structure, traced);
        roi.style.name = name;
        roi
    };
    let rois: Vec<Roi> = listed.into_iter().zip(named.names).map(make).collect();
    if rois.is_empty() {
        let label =
            output.label.fill(Facts { pipeline: job.pipeline.id(), revision: 0, model: "", date: "", time: "" });
        return Err(BenchError::Nothing(vec![format!("the structure set {label}: none of its structures is left")]));
    }
    Ok((rois, named.warnings))
}

fn roi(job: &Finished<'_>, rule: &StructureRule, structure: &Structure, traced: Traced) -> Roi {
    let said = described(job, rule);
    Roi {
        style: rule.style.clone(),
        structure: said.structure,
        volume_cm3: (!traced.contours.is_empty()).then(|| structure.mask.volume_cm3()),
        contours: traced.contours,
        holes: traced.holes,
        description: structure.reason.clone().unwrap_or_default(),
        generation_description: said.generation,
        algorithm: said.algorithm,
    }
}
