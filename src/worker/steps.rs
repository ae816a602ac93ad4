//! The steps of a pipeline one after the other: what each needs, what it makes, and what follows when one cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::WorkOrder;
use super::bench::{Bench, BenchError, Ran, Stages};
use super::structures::{Drawn, absent};
use crate::infer::post::{Between, onto, parts, run_between};
use crate::infer::{DerivedImage, Structure};
use crate::limits::STRUCTURE_PARTS_MAX;
use crate::pipeline::{Action, Model, OnFailure, Pipeline, Reference, Step, StructureRule};
use crate::volume::{Mask, Volume, VolumeGeometry};

/// What has been made so far.
pub(super) struct Made {
    /// By `step:Label`, those of inputs among them. All lie on the grid of the primary image.
    structures: BTreeMap<String, Structure>,
    /// The structures of inputs that are not there, by `slot:Label`, with the reason.
    missing: BTreeMap<String, String>,
    /// The steps that were skipped, with the reason.
    skipped: BTreeMap<String, String>,
    /// By step.
    pub models: BTreeMap<String, Model>,
    /// What was left out, and why, for people.
    pub warnings: Vec<String>,
    /// Where the networks of each step ran.
    pub devices: BTreeMap<String, String>,
    /// Images that models gave besides structures, by step.
    pub images: Vec<(String, DerivedImage)>,
}

/// A structure that is delivered.
pub(super) type Delivered<'a> = (&'a StructureRule, &'a Structure);

/// The parts of the structures that are delivered part by part, by the place of their rule in the pipeline.
pub(super) type Parts = BTreeMap<usize, Vec<(StructureRule, Structure)>>;

/// Why a step does nothing.
struct Obstacle {
    reason: String,
    /// A step that it needs was skipped: then so is this one, whatever it says of failures of its own.
    inherited: bool,
}

impl Made {
    pub fn of(drawn: Drawn) -> Made {
        let (mut structures, mut missing) = (BTreeMap::new(), BTreeMap::new());
        for (name, mask) in drawn {
            match mask {
                Ok(mask) => {
                    let label = name.split_once(':').map_or(name.as_str(), |(_, label)| label).to_owned();
                    structures.insert(name, Structure { label, mask: mask.into(), reason: None });
                }
                Err(reason) => drop(missing.insert(name, reason)),
            }
        }
        let (skipped, models) = (BTreeMap::new(), BTreeMap::new());
        let (warnings, devices, images) = (Vec::new(), BTreeMap::new(), Vec::new());
        Made { structures, missing, skipped, models, warnings, devices, images }
    }

    /// What a step needs and does not find. What its model can do without is not needed.
    fn obstacle(
        &self,
        step: &Step,
        model: Option<&Model>,
        pipeline: &Pipeline,
        volumes: &BTreeMap<String, Volume>,
    ) -> Option<Obstacle> {
        let recipe = model.map(Model::recipe);
        let mut own = None;
        for (known_as, artefact) in &step.structures {
            let name = format!("{}:{}", artefact.step, artefact.label);
            let mut inputs = recipe.iter().flat_map(|recipe| recipe.structure_inputs());
            let spared = inputs.any(|input| input.optional && input.name == *known_as);
            if spared || self.structures.contains_key(&name) {
                continue;
            }
            if let Some(why) = self.skipped.get(&artefact.step) {
                let reason = format!("it needs {name}, and {} was skipped: {why}", artefact.step);
                return Some(Obstacle { reason, inherited: true });
            }
            let why = self.missing.get(&name).map_or("its step does not make it", String::as_str);
            own = own.or(Some(format!("it needs {name}: {why}")));
        }
        let needed = |name: &str| recipe.is_none_or(|recipe| !recipe.is_optional(name));
        let gone = step.images.iter().find(|(name, slot)| !volumes.contains_key(&slot.name) && needed(name));
        let input = gone.and_then(|(_, slot)| pipeline.inputs().iter().find(|input| input.name == slot.name));
        let reason = own.or_else(|| input.map(absent))?;
        Some(Obstacle { reason, inherited: false })
    }

    /// Tells which structures a model runs without that it can do without.
    fn warn_of_spared(&mut self, step: &Step, model: Option<&Model>) {
        for (known_as, artefact) in step.structures.iter().filter(|_| model.is_some()) {
            let name = format!("{}:{}", artefact.step, artefact.label);
            if !self.structures.contains_key(&name) {
                let why = self.missing.get(&name).or(self.skipped.get(&artefact.step));
                let why = why.map_or("its step does not make it", String::as_str);
                self.warnings.push(format!("step {} ran without {known_as}: {why}", step.id));
            }
        }
    }

    /// The masks that a step takes, by the names that it knows them by.
    fn masks_for(&self, step: &Step) -> BTreeMap<String, Mask> {
        let mask = |name: String| self.structures.get(&name).map(|structure| structure.mask.to_mask());
        let pair = |(name, artefact): &(String, crate::pipeline::ArtefactRef)| {
            Some((name.clone(), mask(format!("{}:{}", artefact.step, artefact.label))?))
        };
        step.structures.iter().filter_map(pair).collect()
    }

    /// Takes apart what is delivered part by part, and what there is to say of it. What is empty, or in too many parts, is
    /// its only part.
    pub fn parts(&self, pipeline: &Pipeline) -> (Parts, Vec<String>) {
        let (mut all, mut warnings) = (Parts::new(), Vec::new());
        for (index, rule) in pipeline.structures().iter().enumerate().filter(|(_, rule)| rule.each) {
            let name = format!("{}:{}", rule.source.step, rule.source.label);
            let Some(whole) = self.structures.get(&name) else { continue };
            let masks = parts(&whole.mask, STRUCTURE_PARTS_MAX).unwrap_or_else(|count| {
                warnings.push(format!(
                    "{name} is one structure: found {count} parts, expected at most {STRUCTURE_PARTS_MAX}; remove small \
                     ones by \"remove_small\""
                ));
                vec![whole.mask.clone()]
            });
            let masks = if masks.is_empty() { vec![whole.mask.clone()] } else { masks };
            let made = masks.into_iter().enumerate().map(|(part, mask)| {
                let (label, reason) = (whole.label.clone(), whole.reason.clone());
                (rule.part(part + 1), Structure { label, mask, reason })
            });
            all.insert(index, made.collect());
        }
        (all, warnings)
    }

    /// The structures that the pipeline delivers, in its order, and the names of those that are left out, with reasons.
    ///
    /// # Errors
    /// One is missing that must be there, or nothing is left.
    pub fn choose<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        parts: &'a Parts,
    ) -> Result<(Vec<Delivered<'a>>, Vec<(&'a StructureRule, String)>), BenchError> {
        let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
        for (index, rule) in pipeline.structures().iter().enumerate() {
            if let Some(parts) = parts.get(&index) {
                chosen.extend(parts.iter().map(|(rule, structure)| (rule, structure)));
                continue;
            }
            let name = format!("{}:{}", rule.source.step, rule.source.label);
            if let Some(structure) = self.structures.get(&name) {
                chosen.push((rule, structure));
                continue;
            }
            let skipped = self.skipped.get(&rule.source.step);
            if skipped.is_none() && !rule.optional {
                let names: BTreeSet<&str> = self.structures.keys().map(String::as_str).collect();
                let made = names.into_iter().collect::<Vec<_>>().join(", ");
                return Err(BenchError::NoStructure { pipeline: pipeline.id().to_owned(), structure: name, made });
            }
            left_out.push((rule, skipped.cloned().unwrap_or_else(|| "its step does not make it".to_owned())));
        }
        if chosen.is_empty() && !pipeline.structures().is_empty() {
            let reasons = left_out.iter().map(|(rule, why)| format!("{}: {why}", rule.style.name));
            return Err(BenchError::Nothing(reasons.collect()));
        }
        Ok((chosen, left_out))
    }
}

impl Bench {
    /// Runs the steps. Every structure that is made lies on `grid`, that of the primary image.
    ///
    /// # Errors
    /// A step that must not fail did.
    pub(super) fn run_steps(
        &mut self,
        pipeline: &Pipeline,
        order: &WorkOrder,
        volumes: &mut BTreeMap<String, Volume>,
        drawn: Drawn,
        grid: &Arc<VolumeGeometry>,
        clock: &mut Stages<'_>,
    ) -> Result<Made, BenchError> {
        let mut made = Made::of(drawn);
        for step in pipeline.steps() {
            let done = self.run_step(step, pipeline, order, volumes, &mut made, clock);
            let structures = match done {
                Ok(structures) => structures,
                Err((error, inherited))
                    if inherited || (step.on_failure == OnFailure::Skip && error.is_of_the_images()) =>
                {
                    // The message begins with the step already where the step is at fault.
                    let text = error.to_string();
                    let prefix = format!("step {}: ", step.id);
                    let cause = text.strip_prefix(&prefix).unwrap_or(&text).to_owned();
                    made.warnings.push(format!("step {} was skipped: {cause}", step.id));
                    made.skipped.insert(step.id.clone(), cause);
                    continue;
                }
                Err((error, _)) => return Err(error),
            };
            for structure in structures {
                let mask = if structure.mask.geometry == *grid {
                    structure.mask
                } else {
                    onto(&structure.mask.to_mask(), grid).into()
                };
                let structure = Structure { mask, ..structure };
                made.structures.insert(format!("{}:{}", step.id, structure.label), structure);
            }
        }
        Ok(made)
    }

    /// The error comes with whether it is that of a step before: one that was skipped and that this one needs.
    fn run_step(
        &mut self,
        step: &Step,
        pipeline: &Pipeline,
        order: &WorkOrder,
        volumes: &mut BTreeMap<String, Volume>,
        made: &mut Made,
        clock: &mut Stages<'_>,
    ) -> Result<Vec<Structure>, (BenchError, bool)> {
        let own = |error: BenchError| (error, false);
        let model = step.action.model().map(|reference| self.model(order, &reference.name)).transpose().map_err(own)?;
        if let Some(Obstacle { reason, inherited }) = made.obstacle(step, model.as_ref(), pipeline, volumes) {
            return Err((BenchError::Step { step: step.id.clone(), reason }, inherited));
        }
        made.warn_of_spared(step, model.as_ref());
        let masks = made.masks_for(step);
        match (&step.action, model) {
            (Action::Post(between), _) => {
                let image = &volumes[&pipeline.primary().name];
                operate(step, between, image, &masks, clock).map_err(own)
            }
            (Action::Model(_), None) => Ok(Vec::new()), // A step of a model has one.
            (Action::Model(_), Some(model)) => {
                let failed = |reason: String| BenchError::Step { step: step.id.clone(), reason };
                // Images move in and out: a copy of one would be the largest thing in memory.
                let there = step.images.iter().filter(|(_, slot)| volumes.contains_key(&slot.name));
                let there: Vec<(String, Reference)> = there.cloned().collect();
                let moved = Moved::out_of(volumes, &there).map_err(|reason| own(failed(reason)))?;
                let ran = self.run_model(step, &model, order, (&moved.images, &masks), pipeline.cpu_instead(), clock);
                moved.back_to(volumes);
                let Ran { outcome, device } = ran.map_err(own)?;
                made.models.insert(step.id.clone(), model);
                made.devices.insert(step.id.clone(), device);
                made.images.extend(outcome.images.into_iter().map(|image| (step.id.clone(), image)));
                Ok(outcome.structures)
            }
        }
    }
}

fn operate(
    step: &Step,
    between: &Between,
    image: &Volume,
    masks: &BTreeMap<String, Mask>,
    clock: &mut Stages<'_>,
) -> Result<Vec<Structure>, BenchError> {
    let done = clock.time(&format!("{}: operations", step.id), |progress| run_between(between, image, masks, progress));
    done.map_err(|error| BenchError::Step { step: step.id.clone(), reason: error.to_string() })
}

/// Images on their way through a model, by the names that they have there.
struct Moved {
    images: BTreeMap<String, Volume>,
    /// Name in the model and slot, once for each slot.
    from: Vec<(String, String)>,
}

impl Moved {
    fn out_of(volumes: &mut BTreeMap<String, Volume>, wanted: &[(String, Reference)]) -> Result<Moved, String> {
        // That what did not come can be done without was seen before.
        let there: Vec<_> = wanted.iter().filter(|(_, slot)| volumes.contains_key(&slot.name)).collect();
        let mut moved = Moved { images: BTreeMap::new(), from: Vec::new() };
        for (name, slot) in there {
            let volume = match volumes.remove(&slot.name) {
                Some(volume) => {
                    moved.from.push((name.clone(), slot.name.clone()));
                    volume
                }
                // The model takes one image twice.
                None => {
                    let first = moved.from.iter().find(|(_, from)| *from == slot.name);
                    let image = first.and_then(|(name, _)| moved.images.get(name));
                    image.cloned().ok_or_else(|| format!("no image {}", slot.name))?
                }
            };
            moved.images.insert(name.clone(), volume);
        }
        Ok(moved)
    }

    fn back_to(mut self, volumes: &mut BTreeMap<String, Volume>) {
        for (name, slot) in self.from {
            volumes.extend(self.images.remove(&name).map(|volume| (slot, volume)));
        }
    }
}
