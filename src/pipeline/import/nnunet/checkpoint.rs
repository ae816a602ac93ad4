//! What stands in the checkpoint of a fold and nowhere else, as far as `export.json` or the trainer's name tells it.

use serde_json::Value;

use super::plans::Configuration;
use super::{Options, configuration_of};
use crate::document::Problem;
use crate::pipeline::import::pretty::value_of;

/// What only the checkpoint knows.
#[derive(Default)]
pub(super) struct Export {
    pub trainer: Option<String>,
    /// Spatial axes of the patch, outer `None` where it is not known.
    pub mirror: Option<Vec<usize>>,
    pub input: Option<String>,
    pub output: Option<String>,
    pub all: Option<Value>,
}

/// The trainer that the name of a folder begins with.
pub(super) fn trainer_of(folder: &str) -> Option<&str> {
    configuration_of(folder)?;
    folder.split("__").next().filter(|trainer| !trainer.is_empty())
}

/// The axes of the patch that are mirrored: what the checkpoint says, else what the trainer of that name does.
pub(super) fn mirrored(
    configuration: &Configuration,
    export: &Export,
    trainer: Option<&str>,
    options: &Options,
    notes: &mut Vec<String>,
) -> Vec<usize> {
    if !options.mirroring {
        return Vec::new();
    }
    if let Some(axes) = &export.mirror {
        return axes.clone();
    }
    let all: Vec<usize> = (0..configuration.patch.len()).collect();
    let trainer = export.trainer.as_deref().or(trainer).unwrap_or("");
    // nnunetv2 2.8.1, training/nnUNetTrainer/variants.
    let none = ["NoMirroring", "NoDA", "DAOrd0"];
    if none.iter().any(|part| trainer.contains(part)) {
        return Vec::new();
    }
    if trainer.contains("onlyMirror01") {
        return all[..all.len() - 1].to_vec();
    }
    if trainer != "nnUNetTrainer" {
        notes.push(format!(
            "{}: all axes are mirrored, as nnUNetTrainer does; whether {trainer:?} does is in the checkpoint \
             (inference_allowed_mirroring_axes): run scripts/export/nnunet.py, or give --no-mirroring",
            configuration.name
        ));
    }
    all
}

impl Export {
    /// Reads `export.json`.
    pub fn parse(text: Option<&str>, others: &mut Vec<Problem>) -> Export {
        let Some(node) = super::optional("export.json", text, others) else { return Export::default() };
        let all = value_of(&node);
        let first = all["folds"].get(0).cloned().unwrap_or_default();
        let name = |key: &str| first[key].as_object().and_then(|names| names.keys().next().cloned());
        let mirror = all.get("inference_allowed_mirroring_axes").map(|axes| {
            let axes = axes.as_array().cloned().unwrap_or_default();
            axes.iter().filter_map(Value::as_u64).map(|axis| axis as usize).collect()
        });
        let trainer = all["trainer"].as_str().map(str::to_owned);
        Export { trainer, mirror, input: name("inputs"), output: name("output"), all: Some(all) }
    }
}
