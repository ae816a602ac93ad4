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
use super::pieces::{continues, follow, interleave};
use super::placement::{COINCIDENT_MM, same_orientation};
use super::plan::{Allowed, SeriesPlan, build};
use super::series::Series;
use crate::dicom::{Instance, Uid};
use crate::limits::{SERIES_FRAMES_MAX, STACK_SLICES_MIN, VOLUME_SLICES_MIN, VOLUMES_MAX};
use crate::volume::dot;

/// Two Pixel Spacings this close are written differently, not measured differently.
pub(super) const SAME_SPACING_MM: f64 = 1e-4;

/// The label of a volume beside which images were set aside, where the series has no other.
pub const ONE_STACK: &str = "images of one stack";

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
    let is_sorted = stacks.len() > 1;
    let mut parts: Vec<Sorted> = Vec::new();
    for stack in stacks {
        parts.extend(parts_of(&whole, stack).map_err(|refusal| with(refusals.clone(), refusal))?);
    }
    let of_stacks = || parts.iter().filter(|part| part.is_stack(is_sorted));
    if parts.iter().any(|part| of_stacks().any(|stack| could_belong(part, stack))) {
        return Err(refusals);
    }
    if let Some(refusal) = of_stacks().find_map(|stack| piece(&whole, stack, &parts)) {
        return Err(with(refusals, refusal));
    }
    let (kept, aside): (Vec<Sorted>, Vec<Sorted>) = parts.into_iter().partition(|part| part.is_stack(is_sorted));
    if kept.iter().all(|part| part.plan.is_err()) {
        // Of phases each says what is wrong with it; of anything else the whole has said it.
        let of_phases = kept.iter().filter(|part| !part.phase.is_empty());
        let told: Vec<Refusal> = of_phases.filter_map(|part| part.plan.as_ref().err().cloned()).flatten().collect();
        return Err(if told.is_empty() { refusals } else { told });
    }
    if let Some(refusal) = left_over(&whole, &aside) {
        return Err(with(refusals, refusal));
    }
    if kept.len() > VOLUMES_MAX {
        return Err(vec![too_many(kept.len())]);
    }
    Ok(told(&whole, kept, &aside))
}

fn with(mut refusals: Vec<Refusal>, refusal: Refusal) -> Vec<Refusal> {
    refusals.push(refusal);
    refusals
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
    /// How many its whole stack has.
    positions_of_stack: usize,
    plan: Result<SeriesPlan, Vec<Refusal>>,
}

impl Sorted {
    /// Whether it has enough slices for a volume. `is_sorted`: there are stacks of different orientations or matrices,
    /// of which those with a few slices are localizers.
    fn is_stack(&self, is_sorted: bool) -> bool {
        self.positions >= if is_sorted { STACK_SLICES_MIN } else { VOLUME_SLICES_MIN }
    }
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

/// A stack as it is where it makes a volume; else its phases, where different images lie at one position.
fn parts_of(whole: &Series, (stack, aligned): (usize, Aligned)) -> Result<Vec<Sorted>, Refusal> {
    let all = whole.part(aligned.frames.clone());
    let positions_of_stack = all.stack.as_ref().map_or(0, |stack| stack.order.len());
    let sorted = |series: &Series, phase: String| Sorted {
        stack,
        frame_of_reference_uid: aligned.frame_of_reference_uid.clone(),
        phase,
        frames: series.frames.clone(),
        positions: series.stack.as_ref().map_or(0, |stack| stack.order.len()),
        positions_of_stack,
        plan: planned(series),
    };
    let undivided = sorted(&all, String::new());
    // Rounded positions are uneven too: without images at one position there is nothing to tell apart.
    let repeats = all.stack.as_ref().is_some_and(|stack| !stack.repeated.is_empty());
    let mixed = |refusal: &Refusal| {
        refusal.rule == "series.duplicate_position" || (refusal.rule == "series.spacing" && repeats)
    };
    if !undivided.plan.as_ref().err().is_some_and(|refusals| refusals.iter().any(mixed)) {
        return Ok(vec![undivided]);
    }
    let Some(first) = aligned.frames[0].placement.as_ref() else { return Ok(vec![undivided]) };
    let along = |frame: &Frame| frame.placement.as_ref().map_or(0.0, |placement| dot(first.normal, placement.origin));
    let positions: Vec<f64> = aligned.frames.iter().map(along).collect();
    let phases: Vec<Phase> = aligned.frames.iter().map(|frame| phase_of(whole.instances, frame)).collect();
    let Some(found) = phase::split(&positions, &phases) else { return Ok(vec![undivided]) };
    let large = found.iter().filter(|one| one.members.len() >= VOLUME_SLICES_MIN).count();
    if large > VOLUMES_MAX {
        return Err(too_many(large));
    }
    let members = |members: &[usize]| members.iter().map(|&index| aligned.frames[index].clone()).collect();
    Ok(found.into_iter().map(|one| sorted(&whole.part(members(&one.members)), one.label)).collect())
}

fn phase_of(instances: &[Instance], frame: &Frame) -> Phase {
    let instance = &instances[frame.instance];
    if frame.in_multi_frame { phase_of_frame(instance, frame.index) } else { phase::phase(instance) }
}

/// Whether a part could be slices of a stack, written wrongly: it lies where the next slice of the stack would. Two volumes
/// of different Frames of Reference are not compared: the patient was placed anew. Of phases of one stack see [`piece`].
fn could_belong(part: &Sorted, stack: &Sorted) -> bool {
    let is_phase = part.positions >= VOLUME_SLICES_MIN && part.stack == stack.stack;
    let is_apart = std::ptr::eq(part, stack) || is_phase || placed_anew(part, stack);
    !is_apart && continues(&stack.frames, &part.frames)
}

/// Whether a part makes a volume, and lies in another Frame of Reference than the other one.
fn placed_anew(part: &Sorted, other: &Sorted) -> bool {
    part.plan.is_ok() && part.frame_of_reference_uid != other.frame_of_reference_uid
}

/// Why a part is not taken for a volume: it and another one could be pieces of one, and a piece is never contoured. Whether
/// they have gaps does not matter: a pipeline may allow them.
fn piece(whole: &Series, one: &Sorted, parts: &[Sorted]) -> Option<Refusal> {
    let name = |part: &Sorted| match part.phase.as_str() {
        "" => format!("stack {}", part.stack + 1),
        phase => phase.to_owned(),
    };
    let others = parts.iter().filter(|other| !std::ptr::eq(*other, one) && other.positions >= VOLUME_SLICES_MIN);
    for other in others.filter(|other| !placed_anew(one, other) && !placed_anew(other, one)) {
        let how = if interleave(&one.frames, &other.frames) {
            "alternate slice by slice"
        } else if one.stack == other.stack && follow(&one.frames, &other.frames) {
            "lie one behind the other"
        } else {
            continue;
        };
        let first = |part: &Sorted| whole.instances[part.frames[0].instance].sop_instance_uid.clone();
        return Some(Refusal {
            rule: "series.pieces",
            what: "parts of the series could be pieces of one volume",
            at: vec![first(one), first(other)],
            more: 0,
            found: format!("{} and {} {how}", name(one), name(other)),
            expected: "volumes that lie beside each other in time, not in space",
            cure: "send each phase, acquisition or reconstruction as a series of its own",
        });
    }
    None
}

/// Why what is left over is not set aside: it has as many places as a volume. Localizers, a few images of their own
/// direction or matrix, are no such thing.
fn left_over(whole: &Series, aside: &[Sorted]) -> Option<Refusal> {
    let mut stacks: BTreeMap<usize, Vec<&Frame>> = BTreeMap::new();
    for part in aside.iter().filter(|part| part.positions_of_stack >= STACK_SLICES_MIN || !part.phase.is_empty()) {
        stacks.entry(part.stack).or_default().extend(&part.frames);
    }
    stacks.into_values().find_map(|frames| {
        let first = frames[0].placement.as_ref()?.normal;
        let place = |frame: &&Frame| frame.placement.as_ref().map(|placement| dot(first, placement.origin));
        let mut positions: Vec<f64> = frames.iter().filter_map(place).collect();
        positions.sort_by(f64::total_cmp);
        positions.dedup_by(|next, kept| *next - *kept < COINCIDENT_MM);
        (positions.len() >= VOLUME_SLICES_MIN).then(|| Refusal {
            rule: "series.left_over",
            what: "images that belong to no volume are too many to be set aside",
            at: frames.iter().take(3).map(|frame| whole.instances[frame.instance].sop_instance_uid.clone()).collect(),
            more: frames.len().saturating_sub(3),
            found: format!("{} images at {} positions of one stack", frames.len(), positions.len()),
            expected: "images at one or two positions, or volumes",
            cure: "send each phase, acquisition or reconstruction as a series of its own",
        })
    })
}

fn too_many(count: usize) -> Refusal {
    Refusal {
        rule: "series.too_many_volumes",
        what: "the images make more volumes than are worked on",
        at: Vec::new(),
        more: 0,
        found: format!("{count} volumes, at most {VOLUMES_MAX}"),
        expected: "a few phases, echoes or reconstructions",
        cure: "send the volumes that are to be contoured as series of their own",
    }
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
        let label = if alone { ONE_STACK.to_owned() } else { names.join(", ") };
        let short = short_phase(whole, &part);
        let plan = part.plan.map(|mut plan| {
            plan.warnings.extend(note.iter().cloned().chain(short));
            plan
        });
        let (instances, frames) = members(whole.instances, &part.frames);
        told.push(VolumeOf { label, instances, frames, plan });
    }
    told
}

/// A phase that has slices at fewer places than all phases of its stack together: its ends may not have come.
fn short_phase(whole: &Series, part: &Sorted) -> Option<Finding> {
    let (found, most) = (part.positions, part.positions_of_stack);
    (!part.phase.is_empty() && found < most).then(|| Finding {
        rule: "series.short_phase",
        what: "a phase has fewer slices than the phases of its stack have together",
        at: vec![whole.instances[part.frames[0].instance].sop_instance_uid.clone()],
        more: 0,
        found: format!("{found} slices of {most}"),
        expected: "every phase with slices at all places of the stack",
        cure: "look at both ends of the stack; what ends there is cut off. If slices are missing, send them",
    })
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
