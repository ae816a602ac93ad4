//! CERR's model configurations (`<Algorithm>_config.json`), all three generations of them; it reads no archive of CERR.
//!
//! Every key of the vocabulary is an operation, a condition of the pipeline, or is kept word for word in `origin`. Keys and
//! methods that nobody knows are problems. CERR's own reader has lost some of what these files say (post-processing under
//! `output`, the older generations); what they mean is done here.

mod chain;
mod config;
mod crop;
mod filter;
mod identifier;
mod labels;
mod model;
mod names;
mod post;
mod reading;
mod resize;
mod scan;
mod text;
mod texture;
mod wrappers;

use std::path::PathBuf;

use super::Imported;
use crate::document::{self, Problem};
use config::Config;
use reading::Reading;

/// Imports files that belong together, each given by its name and its text: what one of them makes, another may need.
/// For each the result, or what is wrong with it; a bad one does not stop the others.
pub fn import(files: &[(String, String)]) -> Vec<Result<Imported, Vec<Problem>>> {
    let mut configs: Vec<Config> = Vec::new();
    let mut places: Vec<Result<usize, Vec<Problem>>> = Vec::new();
    for (name, text) in files {
        places.push(read_one(name, text).map(|config| {
            configs.push(config);
            configs.len() - 1
        }));
    }
    let models: Vec<String> = configs.iter_mut().map(model::text).collect();
    let all: Vec<&Config> = configs.iter().collect();
    let one = |index: usize| {
        let config = all[index];
        let model = PathBuf::from("models").join(&config.id).join("model.json");
        let pipeline = PathBuf::from("pipelines").join(format!("{}.json", config.id));
        let files = vec![(model, models[index].clone()), (pipeline, chain::pipeline(config, &all))];
        let (not_expressed, notes) = (config.reading.not_expressed.clone(), config.reading.notes.clone());
        Imported { files, networks: Vec::new(), not_expressed, notes }
    };
    places.into_iter().map(|place| place.map(one)).collect()
}

fn read_one(name: &str, text: &str) -> Result<Config, Vec<Problem>> {
    let mut reading = Reading::of(name);
    let Some(root) = document::parse(text, &mut reading.problems) else { return Err(reading.problems.into_vec()) };
    let config = config::parse(name, &root, reading)?;
    if config.reading.problems.is_empty() { Ok(config) } else { Err(config.reading.problems.into_vec()) }
}
