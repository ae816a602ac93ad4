//! The steps of a pipeline one after the other: what each needs, what it makes, and what follows when one cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::WorkOrder;
use super::bench::{Bench, BenchError, Stages};
use super::structures::{Drawn, absent};
use crate::infer::Structure;
use crate::infer::post::{Between, onto, run_between};
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
}

/// A structure that is delivered.
pub(super) type Delivered<'a> = (&'a StructureRule, &'a Structure);

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
                    structures.insert(name, Structure { label, mask, reason: None });
                }
                Err(reason) => drop(missing.insert(name, reason)),
            }
        }
        let (skipped, models) = (BTreeMap::new(), BTreeMap::new());
        Made { structures, missing, skipped, models, warnings: Vec::new() }
    }

    /// What a step needs and does not find. `model` is what it runs, if it runs one, and tells what it can do without.
    fn obstacle(
        &self,
        step: &Step,
        model: Option<&Model>,
        pipeline: &Pipeline,
        volumes: &BTreeMap<String, Volume>,
    ) -> Option<Obstacle> {
        let recipe = model.map(Model::recipe);
        let known =
            |name: &str| recipe.and_then(|recipe| recipe.structure_inputs().iter().find(|one| one.name == name));
        let mut own = None;
        for (known_as, artefact) in &step.structures {
            let name = format!("{}:{}", artefact.step, artefact.label);
            if self.structures.contains_key(&name) || known(known_as).is_some_and(|structure| structure.optional) {
                continue;
            }
            if let Some(why) = self.skipped.get(&artefact.step) {
                let reason = format!("it needs {name}, and {} was skipped: {why}", artefact.step);
                return Some(Obstacle { reason, inherited: true });
            }
            let why = self.missing.get(&name).map_or("its step does not make it", String::as_str);
            own = own.or(Some(format!("it needs {name}: {why}")));
        }
        let needed = |name: &str| !recipe.is_some_and(|recipe| recipe.is_optional(name));
        let gone = step.images.iter().find(|(name, slot)| needed(name) && !volumes.contains_key(&slot.name));
        let input = gone.and_then(|(_, slot)| pipeline.inputs().iter().find(|input| input.name == slot.name));
        let reason = own.or_else(|| input.map(absent))?;
        Some(Obstacle { reason, inherited: false })
    }

    /// The masks that a step takes, by the names that it knows them by.
    fn masks_for(&self, step: &Step) -> BTreeMap<String, Mask> {
        let mask = |name: String| self.structures.get(&name).map(|structure| structure.mask.clone());
        let pair = |(name, artefact): &(String, crate::pipeline::ArtefactRef)| {
            Some((name.clone(), mask(format!("{}:{}", artefact.step, artefact.label))?))
        };
        step.structures.iter().filter_map(pair).collect()
    }

    /// The structures that the pipeline delivers, in its order, and the names of those that are left out, with reasons.
    ///
    /// # Errors
    /// One is missing that must be there, or nothing is left.
    pub fn choose<'a>(
        &'a self,
        pipeline: &'a Pipeline,
    ) -> Result<(Vec<Delivered<'a>>, Vec<(&'a StructureRule, String)>), BenchError> {
        let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
        for rule in pipeline.structures() {
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
        if chosen.is_empty() {
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
            // A definition that cannot be read is told where the step runs.
            let model = step.action.model().and_then(|reference| self.definition(order, &reference.name).ok());
            let done = match made.obstacle(step, model.as_ref(), pipeline, volumes) {
                Some(obstacle) => {
                    let reason = BenchError::Step { step: step.id.clone(), reason: obstacle.reason };
                    Err((reason, obstacle.inherited))
                }
                None => self.run_step(step, pipeline, order, volumes, &mut made, clock).map_err(|error| (error, false)),
            };
            let structures = match done {
                Ok(structures) => structures,
                Err((error, inherited)) if inherited || step.on_failure == OnFailure::Skip => {
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
                let mask = if structure.mask.geometry == *grid { structure.mask } else { onto(&structure.mask, grid) };
                let structure = Structure { mask, ..structure };
                made.structures.insert(format!("{}:{}", step.id, structure.label), structure);
            }
        }
        Ok(made)
    }

    fn run_step(
        &mut self,
        step: &Step,
        pipeline: &Pipeline,
        order: &WorkOrder,
        volumes: &mut BTreeMap<String, Volume>,
        made: &mut Made,
        clock: &mut Stages<'_>,
    ) -> Result<Vec<Structure>, BenchError> {
        let masks = made.masks_for(step);
        match &step.action {
            Action::Model(reference) => {
                let model = self.model(order, &reference.name)?;
                let failed = |reason: String| BenchError::Step { step: step.id.clone(), reason };
                // Images move in and out: a copy of one would be the largest thing in memory.
                let moved = Moved::out_of(volumes, &step.images).map_err(failed)?;
                let structures = self.run_model(step, &model, order, &moved.images, &masks, clock);
                moved.back_to(volumes);
                made.models.insert(step.id.clone(), model);
                structures
            }
            Action::Post(between) => {
                let image = &volumes[&pipeline.primary().name];
                operate(step, between, image, &masks, clock)
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
    /// Takes the images that there are; that the others are not needed was seen before.
    fn out_of(volumes: &mut BTreeMap<String, Volume>, wanted: &[(String, Reference)]) -> Result<Moved, String> {
        let mut moved = Moved { images: BTreeMap::new(), from: Vec::new() };
        let there: Vec<_> = wanted.iter().filter(|(_, slot)| volumes.contains_key(&slot.name)).collect();
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
