//! `contourd import nnunet`: reads a folder that nnU-Net v2 trained; what it means is for the importer.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::{IntoArgs, digest, read_optional, subfolders};
use crate::cli::{EXIT_CONFIGURATION, EXIT_OK};
use crate::pipeline::import::nnunet::{self, Fold, Options, Source};

/// Import a model that nnU-Net v2 trained, with its folds as ONNX files (models/export/nnunet.py writes them).
#[derive(Debug, Args)]
pub(super) struct NnunetArgs {
    /// The trained model, such as nnUNetTrainer__nnUNetPlans__3d_fullres, or the folder of the data set with several.
    #[arg(value_name = "FOLDER")]
    trained: PathBuf,
    /// Which configuration, where the folder has several: 2d, 3d_fullres, 3d_lowres, 3d_cascade_fullres, ...
    #[arg(long)]
    configuration: Option<String>,
    /// The name of the model. [default: from data set and configuration]
    #[arg(long)]
    id: Option<String>,
    /// How the network sees the image: acquired, acquired_reversed, or letters such as SAR. [default: from the reader]
    #[arg(long)]
    orientation: Option<String>,
    /// How the axis of lowest resolution is resampled: never, auto or always apart. [default: from the plans]
    #[arg(long)]
    separate: Option<String>,
    /// Do not mirror, whatever the training allows: eight times as fast.
    #[arg(long)]
    no_mirroring: bool,
    /// Step between windows as a part of the patch.
    #[arg(long, default_value_t = 0.5)]
    step_size: f64,
    #[command(flatten)]
    into: IntoArgs,
}

impl NnunetArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let folder = self.model_folder()?;
        let texts = Texts::read(&folder)?;
        let options = Options {
            id: self.id.clone(),
            configuration: self.configuration.clone(),
            orientation: self.orientation.clone(),
            separate: self.separate.clone(),
            mirroring: !self.no_mirroring,
            step_size: self.step_size,
        };
        let named = self.configuration.as_deref().or_else(|| nnunet::configuration_of(&texts.folder));
        let earlier = named.and_then(|name| nnunet::previous_stage(&texts.plans, name));
        let beside = folder.parent().unwrap_or(Path::new("."));
        let previous = match earlier.as_deref().map(|name| model_of(beside, name, Some(&texts.folder))).transpose()? {
            Some(Some(folder)) => Some(Texts::read(&folder)?),
            _ => None,
        };
        let previous = previous.as_ref().map(Texts::source);
        match nnunet::import(&texts.source(), previous.as_ref(), &options) {
            Ok(imported) => {
                self.into.write(&folder.display().to_string(), &imported, beside)?;
                Ok(EXIT_OK)
            }
            Err(problems) => {
                eprint!("{}", crate::cli::check::told(&problems));
                Ok(EXIT_CONFIGURATION)
            }
        }
    }

    /// The folder itself, or the one in it that has the configuration.
    fn model_folder(&self) -> anyhow::Result<PathBuf> {
        let here = &self.trained;
        if here.join("plans.json").is_file() {
            // `.` has no name, and the name tells the configuration.
            return here.canonicalize().with_context(|| format!("{}", here.display()));
        }
        let models: Vec<PathBuf> =
            subfolders(here)?.into_iter().filter(|folder| folder.join("plans.json").is_file()).collect();
        if let Some(configuration) = &self.configuration
            && let Some(folder) = model_of(here, configuration, None)?
        {
            return Ok(folder);
        }
        match models.as_slice() {
            [] => bail!(
                "{}: found no plans.json, expected a trained model of nnU-Net v2, or a folder of them",
                here.display()
            ),
            [only] if self.configuration.is_none() => Ok(only.clone()),
            several => {
                let names: Vec<String> = several.iter().map(|folder| name_of(folder)).collect();
                bail!(
                    "{}: found {}, expected one model; give --configuration with one of them, or the folder itself",
                    here.display(),
                    names.join(", ")
                )
            }
        }
    }
}

/// The model of a configuration in a folder: the one with the trainer and plans of `like` before others.
fn model_of(folder: &Path, configuration: &str, like: Option<&str>) -> anyhow::Result<Option<PathBuf>> {
    let fits = |path: &PathBuf| nnunet::configuration_of(&name_of(path)) == Some(configuration);
    let found: Vec<PathBuf> =
        subfolders(folder)?.into_iter().filter(|path| path.join("plans.json").is_file()).filter(fits).collect();
    let same = |path: &&PathBuf| {
        let begins = |name: &str| name.rsplit_once("__").map(|(begin, _)| begin.to_owned());
        like.is_some_and(|like| begins(like) == begins(&name_of(path)))
    };
    match found.as_slice() {
        [_, _, ..] if found.iter().any(|path| same(&path)) => Ok(found.iter().find(same).cloned()),
        [_, _, ..] => {
            let names: Vec<String> = found.iter().map(|folder| name_of(folder)).collect();
            bail!("{}: found {}, expected one model of {configuration}", folder.display(), names.join(", "))
        }
        _ => Ok(found.into_iter().next()),
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The texts of one folder.
struct Texts {
    folder: String,
    plans: String,
    dataset: String,
    fingerprint: Option<String>,
    postprocessing: Option<String>,
    export: Option<String>,
    folds: Vec<Fold>,
}

impl Texts {
    fn read(folder: &Path) -> anyhow::Result<Texts> {
        let need = |name: &str| {
            read_optional(&folder.join(name))?.with_context(|| format!("{}: found no {name}", folder.display()))
        };
        let mut postprocessing = read_optional(&folder.join("postprocessing.json"))?;
        let mut folds = Vec::new();
        for inner in subfolders(folder)? {
            let name = name_of(&inner);
            // nnUNetv2_find_best_configuration writes it here.
            if postprocessing.is_none() && name.starts_with("crossval_results_folds_") {
                postprocessing = read_optional(&inner.join("postprocessing.json"))?;
            }
            if let Some(fold) = name.strip_prefix("fold_") {
                folds.push(read_fold(&inner, fold)?);
            }
        }
        // `all` was trained on everything; it is used when nothing else is there.
        if folds.len() > 1 {
            folds.retain(|fold| fold.name != "all");
        }
        folds.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Texts {
            folder: name_of(folder),
            plans: need("plans.json")?,
            dataset: need("dataset.json")?,
            fingerprint: read_optional(&folder.join("dataset_fingerprint.json"))?,
            postprocessing,
            export: read_optional(&folder.join("export.json"))?,
            folds,
        })
    }

    fn source(&self) -> Source<'_> {
        Source {
            folder: &self.folder,
            plans: &self.plans,
            dataset: &self.dataset,
            fingerprint: self.fingerprint.as_deref(),
            postprocessing: self.postprocessing.as_deref(),
            export: self.export.as_deref(),
            folds: &self.folds,
        }
    }
}

fn read_fold(folder: &Path, fold: &str) -> anyhow::Result<Fold> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry.with_context(|| format!("{}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
    match found.as_slice() {
        [] => Ok(Fold { name: fold.to_owned(), onnx: None, sha256: None }),
        [only] => {
            let file = only.file_name().context("a file has a name")?;
            let onnx = Path::new(&format!("fold_{fold}")).join(file);
            Ok(Fold { name: fold.to_owned(), onnx: Some(onnx), sha256: Some(digest(only)?) })
        }
        several => bail!("{}: found {} ONNX files, expected one", folder.display(), several.len()),
    }
}
