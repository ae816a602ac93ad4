//! Importers: models of other programs as `model.json` and a pipeline to start from. They take and give texts; files are
//! read and written by the command.
//!
//! An importer writes nothing that is not exact. What it cannot say in this vocabulary is either a problem, and nothing
//! is written, or a line of [`Imported::not_expressed`].

pub mod cerr;
mod draft;
pub mod monai;
mod naming;
pub mod nnunet;
mod operations;
mod post_chain;
mod pretty;

use std::path::PathBuf;

/// What an import gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// Files with their text, by path below the folder of the configuration, such as `models/spleen/model.json`.
    pub files: Vec<(PathBuf, String)>,
    /// Networks to be copied: from below the folder of the source, to below the folder of the configuration.
    pub networks: Vec<(PathBuf, PathBuf)>,
    /// What the source says and the files do not, one line each: results may differ.
    pub not_expressed: Vec<String>,
    /// What a person should know or fill in, one line each.
    pub notes: Vec<String>,
}
