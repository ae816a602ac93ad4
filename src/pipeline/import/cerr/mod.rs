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
mod model;
mod names;
mod post;
mod reading;
mod resize;
mod scan;
mod text;
mod wrappers;

use std::path::PathBuf;

use super::Imported;
use crate::document::{self, Problem};
use config::Config;
use reading::Reading;

/// Imports files that belong together, each given by its name and its text: what one of them makes, another may need.
/// For each the result, or what is wrong with it; a bad one does not stop the others.
pub fn import(files: &[(String, String)]) -> Vec<Result<Imported, Vec<Problem>>> {
    let mut read: Vec<Result<Config, Vec<Problem>>> =
        files.iter().map(|(name, text)| read_one(name, text)).collect();
    let mut models = Vec::with_capacity(read.len());
    for config in &mut read {
        models.push(config.as_mut().ok().map(model::text));
    }
    let all: Vec<&Config> = read.iter().filter_map(|config| config.as_ref().ok()).collect();
    let pipelines: Vec<Option<String>> =
        read.iter().map(|config| config.as_ref().ok().map(|config| chain::pipeline(config, &all))).collect();
    let parts = read.into_iter().zip(models.into_iter().zip(pipelines));
    let one = |(config, (model, pipeline)): (Result<Config, Vec<Problem>>, (Option<String>, Option<String>))| {
        let config = config?;
        let folder = PathBuf::from("models").join(&config.id);
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        files.extend(model.map(|text| (folder.join("model.json"), text)));
        files.extend(pipeline.map(|text| (PathBuf::from("pipelines").join(format!("{}.json", config.id)), text)));
        let (not_expressed, notes) = (config.reading.not_expressed, config.reading.notes);
        Ok(Imported { files, networks: Vec::new(), not_expressed, notes })
    };
    parts.map(one).collect()
}

fn read_one(name: &str, text: &str) -> Result<Config, Vec<Problem>> {
    let mut reading = Reading::of(name);
    let Some(root) = document::parse(text, &mut reading.problems) else { return Err(reading.problems.into_vec()) };
    let config = config::parse(name, &root, reading)?;
    if config.reading.problems.is_empty() { Ok(config) } else { Err(config.reading.problems.into_vec()) }
}
