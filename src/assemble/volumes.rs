//! The volumes of one series: usually one, several where it holds phases, echoes, orientations or reconstructions. It
//! sorts headers and plans; which volume is worked on is decided elsewhere.
//!
//! A series that makes one volume as it is stays one. Else its images are sorted by Frame of Reference, direction, matrix
//! and pixel spacing, and each such stack, where different images lie at one position, by what tells these apart
//! (`phase`). What makes no volume is set aside beside one that does, unless it could be a missing slice of it.

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;

use super::checks::{self, Finding, Refusal};
use super::frame::{Frame, frames};
use super::phase::{self, Phase, phase_of_frame};
use super::placement::{Placement, same_orientation};
use super::plan::{Allowed, SeriesPlan, build};
use super::series::Series;
use crate::dicom::{Instance, Uid};
use crate::limits::{SERIES_FRAMES_MAX, VOLUME_SLICES_MIN};
use crate::volume::dot;

/// Two Pixel Spacings this close are written differently, not measured differently.
pub(super) const SAME_SPACING_MM: f64 = 1e-4;

/// Images of one series that belong together.
#[derive(Clone)]
pub struct VolumeOf {
    /// What tells it from the others of its series, for people; empty for the whole series.
    pub label: String,
    /// Indices of its instances, ascending. Of the whole series all, also those that are set aside.
    pub instances: Vec<usize>,
    /// For multi-frame images that are in several volumes: the numbers (1-based) of the frames that are in this one.
    pub frames: BTreeMap<usize, Vec<u32>>,
    /// How it becomes a volume, or why it does not although another one of the series does.
    pub plan: Result<SeriesPlan, Vec<Refusal>>,
}

impl VolumeOf {
    /// Whether it is the series as it came.
    pub fn is_whole(&self) -> bool {
        self.label.is_empty()
    }
}

/// The volumes of a series from all its instances, in any order: at least one that is planned.
///
/// # Errors
/// All reasons why the series makes no volume, never none.
pub fn volumes(instances: &[Instance], allowed: Allowed) -> Result<Vec<VolumeOf>, Vec<Refusal>> {
    let whole = Series::new(instances, allowed);
    let refusals = match planned(&whole) {
        Ok(plan) => {
            let (label, all) = (String::new(), (0..instances.len()).collect());
            return Ok(vec![VolumeOf { label, instances: all, frames: BTreeMap::new(), plan: Ok(plan) }]);
        }
        Err(refusals) => refusals,
    };
    if refusals.iter().any(|refusal| WHOLE_SERIES.contains(&refusal.rule)) {
        return Err(refusals);
    }
    let Some(stacks) = stacks(&whole) else { return Err(refusals) };
    let mut parts: Vec<Sorted> = stacks.into_iter().flat_map(|stack| parts_of(&whole, stack)).collect();
    if parts.iter().any(|part| could_belong(part, &parts)) {
        return Err(refusals);
    }
    let made = parts.iter().filter(|part| part.plan.is_ok()).count();
    if made == 0 {
        // Of phases each says what is wrong with it; of anything else the whole has said it.
        let of_phases = parts.iter().filter(|part| !part.phase.is_empty() && part.positions >= VOLUME_SLICES_MIN);
        let told: Vec<Refusal> = of_phases.filter_map(|part| part.plan.as_ref().err().cloned()).flatten().collect();
        return Err(if told.is_empty() { refusals } else { told });
    }
    let (kept, aside): (Vec<Sorted>, Vec<Sorted>) =
        parts.drain(..).partition(|part| part.plan.is_ok() || part.positions >= VOLUME_SLICES_MIN);
    Ok(told(&whole, kept, &aside))
}

/// Plans a part of a series again: what the caller allows may make a volume of what was refused.
///
/// # Errors
/// As [`super::plan()`].
pub fn plan_part(instances: &[Instance], part: &VolumeOf, allowed: Allowed) -> Result<SeriesPlan, Vec<Refusal>> {
    let members = || part.instances.iter().map(|&index| (index, part.frames.get(&index)));
    planned(&Series::of_frames(instances, allowed, frames_of(instances, members())))
}

/// Plans the volume of these instances, of which multi-frame images give the frames that are named (1-based), or all.
///
/// # Errors
/// As [`super::plan()`].
pub fn plan_frames(
    instances: &[Instance],
    named: &BTreeMap<Uid, Vec<u32>>,
    allowed: Allowed,
) -> Result<SeriesPlan, Vec<Refusal>> {
    if named.is_empty() {
        return super::plan_with(instances, allowed);
    }
    let members = instances.iter().enumerate().map(|(index, one)| (index, named.get(&one.sop_instance_uid)));
    planned(&Series::of_frames(instances, allowed, frames_of(instances, members)))
}

/// What is wrong with all of a series and not with a part of it: two patients are not told apart by sorting.
const WHOLE_SERIES: [&str; 5] =
    ["series.no_image", "series.localizer", "series.study", "series.identity", "series.modality"];

pub(super) fn planned(series: &Series) -> Result<SeriesPlan, Vec<Refusal>> {
    let (refusals, warnings) = checks::run(series);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    build(series, warnings).map_err(|refusal| vec![refusal])
}

fn frames_of<'a>(instances: &[Instance], members: impl Iterator<Item = (usize, Option<&'a Vec<u32>>)>) -> Vec<Frame> {
    let of_instance = |(index, named): (usize, Option<&'a Vec<u32>>)| {
        let frames = frames(index, &instances[index]);
        frames.into_iter().filter(move |frame| named.is_none_or(|named| named.contains(&(frame.index as u32 + 1))))
    };
    members.flat_map(of_instance).take(SERIES_FRAMES_MAX).collect()
}

/// Frames of one Frame of Reference, direction, matrix and pixel spacing.
struct Aligned {
    frame_of_reference_uid: Option<Uid>,
    size: (usize, usize),
    spacing_mm: [f64; 2],
    frames: Vec<Frame>,
}

/// A part of a series, planned or refused.
struct Sorted {
    /// Whose images are aligned with it.
    stack: usize,
    frame_of_reference_uid: Option<Uid>,
    phase: String,
    frames: Vec<Frame>,
    /// How many different places its slices have.
    positions: usize,
    plan: Result<SeriesPlan, Vec<Refusal>>,
}

/// Sorts the frames of a series; `None` when one of them has no place, or there are too many: it could belong anywhere.
fn stacks(whole: &Series) -> Option<Vec<(usize, Aligned)>> {
    let members = whole.images.iter().map(|&index| (index, None));
    let frames = frames_of(whole.instances, members);
    let placeless = whole.images.iter().any(|&index| whole.formats[index].is_none());
    if placeless || frames.len() >= SERIES_FRAMES_MAX {
        return None;
    }
    let mut stacks: Vec<Aligned> = Vec::new();
    for frame in frames {
        let (placement, spacing_mm) = (frame.placement.as_ref()?, frame.spacing_mm?);
        let format = whole.formats[frame.instance]?;
        let (size, uid) = ((format.rows, format.columns), &placement.frame_of_reference_uid);
        let close = |a: [f64; 2]| a.iter().zip(spacing_mm).all(|(a, b)| (a - b).abs() <= SAME_SPACING_MM);
        let fits = |stack: &&mut Aligned| {
            stack.size == size
                && stack.frame_of_reference_uid == *uid
                && close(stack.spacing_mm)
                && stack.frames[0].placement.as_ref().is_some_and(|first| same_orientation(first, placement))
        };
        match stacks.iter_mut().find(fits) {
            Some(stack) => stack.frames.push(frame),
            None => {
                let frame_of_reference_uid = uid.clone();
                stacks.push(Aligned { frame_of_reference_uid, size, spacing_mm, frames: vec![frame] });
            }
        }
    }
    // In an order that does not depend on that of the instances.
    let first = |stack: &Aligned| stack.frames.iter().map(|frame| order_of(whole.instances, frame)).min();
    stacks.sort_by_cached_key(|stack| first(stack));
    Some(stacks.into_iter().enumerate().collect())
}

/// By the number of the instance, then by its UID.
fn order_of(instances: &[Instance], frame: &Frame) -> (i64, Uid, usize) {
    let instance = &instances[frame.instance];
    let number = instance.integer(tags::INSTANCE_NUMBER).unwrap_or(i64::MAX);
    (number, instance.sop_instance_uid.clone(), frame.index)
}

/// A stack as it is where it makes a volume; else its phases, where it has some.
fn parts_of(whole: &Series, (stack, aligned): (usize, Aligned)) -> Vec<Sorted> {
    let part = |frames: Vec<Frame>, phase: String| {
        let series = Series::of_frames(whole.instances, whole.allowed, frames.clone());
        let frame_of_reference_uid = aligned.frame_of_reference_uid.clone();
        let positions = series.stack.as_ref().map_or(0, |stack| stack.order.len());
        Sorted { stack, frame_of_reference_uid, phase, frames, positions, plan: planned(&series) }
    };
    let all = part(aligned.frames.clone(), String::new());
    let mixed = |refusal: &Refusal| ["series.duplicate_position", "series.spacing"].contains(&refusal.rule);
    if !all.plan.as_ref().err().is_some_and(|refusals| refusals.iter().any(mixed)) {
        return vec![all];
    }
    let Some(first) = aligned.frames[0].placement.as_ref() else { return vec![all] };
    let along = |frame: &Frame| frame.placement.as_ref().map_or(0.0, |placement| dot(first.normal, placement.origin));
    let positions: Vec<f64> = aligned.frames.iter().map(along).collect();
    let phases: Vec<Phase> = aligned.frames.iter().map(|frame| phase_of(whole.instances, frame)).collect();
    let Some(found) = phase::split(&positions, &phases) else { return vec![all] };
    let members = |members: &[usize]| members.iter().map(|&index| aligned.frames[index].clone()).collect();
    found.into_iter().map(|one| part(members(&one.members), one.label)).collect()
}

fn phase_of(instances: &[Instance], frame: &Frame) -> Phase {
    let instance = &instances[frame.instance];
    if frame.in_multi_frame { phase_of_frame(instance, frame.index) } else { phase::phase(instance) }
}

/// Whether a part could be slices of another one, written wrongly: it lies where the next slice of that one would. Two
/// volumes of different Frames of Reference are not compared: the patient was placed anew.
fn could_belong(part: &Sorted, parts: &[Sorted]) -> bool {
    let phases_apart = part.positions >= VOLUME_SLICES_MIN;
    let other = |other: &&Sorted| {
        let of_one_stack = other.stack == part.stack;
        let placed_anew = part.plan.is_ok() && part.frame_of_reference_uid != other.frame_of_reference_uid;
        !(std::ptr::eq(*other, part) || placed_anew || of_one_stack && phases_apart)
    };
    let plans = parts.iter().filter(other).filter_map(|other| other.plan.as_ref().ok());
    let places: Vec<&Placement> = part.frames.iter().filter_map(|frame| frame.placement.as_ref()).collect();
    plans.into_iter().any(|plan| places.iter().any(|place| continues(plan, place)))
}

/// Whether a slice lies one step before the first or behind the last slice of a volume.
fn continues(plan: &SeriesPlan, place: &Placement) -> bool {
    let geometry = &plan.geometry;
    let (normal, step) = (geometry.normal(), geometry.slice_spacing_mm());
    // A direction that is off by less than eight degrees may be one written wrongly.
    if dot(normal, place.normal) < 0.99 {
        return false;
    }
    let positions = geometry.positions_mm();
    let at = dot(normal, place.origin) - dot(normal, geometry.slice_origins()[0]) + positions[0];
    let beyond = (positions[0] - at).max(at - positions[positions.len() - 1]);
    beyond > 0.5 * step && beyond < 1.5 * step
}

/// The volumes with their names, and with a note about what was set aside.
fn told(whole: &Series, kept: Vec<Sorted>, aside: &[Sorted]) -> Vec<VolumeOf> {
    let note = note(whole, aside);
    let stacks = kept.iter().map(|part| part.stack).collect::<std::collections::BTreeSet<_>>().len();
    let alone = kept.len() == 1;
    let mut told = Vec::new();
    for part in kept {
        let image = &part.frames[0];
        let mut names = Vec::new();
        if stacks > 1 || part.phase.is_empty() {
            let size = whole.formats[image.instance].map_or((0, 0), |format| (format.rows, format.columns));
            let count = part.frames.len();
            names.push(format!("stack {} ({count} images of {} x {})", part.stack + 1, size.0, size.1));
        }
        if !part.phase.is_empty() {
            names.push(part.phase.clone());
        }
        let label = if alone { "images of one stack".to_owned() } else { names.join(", ") };
        let plan = part.plan.map(|mut plan| {
            plan.warnings.extend(note.clone());
            plan
        });
        let (instances, frames) = members(whole.instances, &part.frames);
        told.push(VolumeOf { label, instances, frames, plan });
    }
    told
}

/// The instances of frames, and for multi-frame images which of their frames, where it is not all.
fn members(instances: &[Instance], frames: &[Frame]) -> (Vec<usize>, BTreeMap<usize, Vec<u32>>) {
    let mut of: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for frame in frames {
        of.entry(frame.instance).or_default().push(frame.index as u32 + 1);
    }
    let indices = of.keys().copied().collect();
    let count = |index: usize| instances[index].integer(tags::NUMBER_OF_FRAMES).unwrap_or(1);
    of.retain(|index, numbers| (numbers.len() as i64) < count(*index));
    (indices, of)
}

/// What is set aside: localizers and objects of other kinds as ever, and images that belong to no volume.
fn note(whole: &Series, aside: &[Sorted]) -> Vec<Finding> {
    let mut instances: Vec<usize> = aside.iter().flat_map(|part| &part.frames).map(|frame| frame.instance).collect();
    instances.dedup();
    let mut notes = checks::set_aside(whole);
    if !instances.is_empty() {
        notes.push(Finding {
            rule: "series.left_over",
            what: "images that belong to no volume are set aside",
            at: instances.iter().take(3).map(|&i| whole.instances[i].sop_instance_uid.clone()).collect(),
            more: instances.len().saturating_sub(3),
            found: format!("{} images in {} other stacks or phases", instances.len(), aside.len()),
            expected: "images of the volumes only",
            cure: "nothing to do if they are localizers or images that watched the contrast agent",
        });
    }
    notes
}
