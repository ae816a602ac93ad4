//! `contourd model`: puts the weights of models in place and tells which are there; it trains and fetches none.

mod edit;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use sha2::{Digest, Sha256};

use super::check::ConfigArgs;
use super::{EXIT_CONFIGURATION, EXIT_OK};
use crate::document::{self, Problem, Problems};
use crate::onnx::{Devices, Loaded};
use crate::pipeline::Model;

/// Put the weights of models in place, and tell which are there.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Install(InstallArgs),
    List(ListArgs),
}

/// Check a network against models/ID/model.json, copy it there and write its digest.
#[derive(Debug, Args)]
struct InstallArgs {
    /// The id of the model: the name of its folder in models.
    id: String,
    /// The network, an ONNX file.
    #[arg(value_name = "FILE.onnx")]
    file: PathBuf,
    /// Which file of the model it is, where it has several (a network for each view, folds).
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// List the models: id, name, version, and whether their weights are there.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

impl ModelArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        match &self.what {
            What::Install(args) => args.run(),
            What::List(args) => args.run(),
        }
    }
}

impl InstallArgs {
    fn run(&self) -> anyhow::Result<u8> {
        let folder = self.config.folder.join("models").join(&self.id);
        let definition = folder.join("model.json");
        let text = match fs::read_to_string(&definition) {
            Ok(text) => text,
            Err(error) => bail!(
                "{}: {error}, expected the definition of a model; {}",
                definition.display(),
                known(&self.config.folder)
            ),
        };
        let model = match parse(&definition, &text) {
            Ok(model) => model,
            Err(problems) => {
                eprint!("{}", super::check::told(&problems));
                return Ok(EXIT_CONFIGURATION);
            }
        };
        let index = self.network_of(&model)?;
        let network = &model.recipe().networks()[index];
        Loaded::open(&self.file, &model, index, 1, Devices::CPU)?;
        let digest = digest_of(&self.file)?;
        if let Some(expected) = network.sha256.as_ref().filter(|expected| **expected != digest) {
            bail!(
                "{}: found the digest {digest}, expected {expected}, which {} gives for {}; take the right file, or set \"sha256\" to null there to install another network",
                self.file.display(),
                definition.display(),
                network.file
            );
        }
        let target = folder.join(&network.file);
        place(&target, |part| {
            let mut source = File::open(&self.file)?;
            std::io::copy(&mut source, part).map(|_| ())
        })
        .with_context(|| format!("cannot copy {} to {}", self.file.display(), target.display()))?;
        // What lies there is what was checked, even if the source changed meanwhile.
        let placed = digest_of(&target)?;
        ensure!(placed == digest, "{}: changed while it was copied; install it again", self.file.display());
        if network.sha256.is_none() {
            let changed = edit::with_digest(&text, index, &digest)
                .with_context(|| format!("cannot write the digest {digest} into {}", definition.display()))?;
            place(&definition, |part| part.write_all(changed.as_bytes()))
                .with_context(|| format!("cannot write {}", definition.display()))?;
        }
        println!("{} {}: {} {digest}", model.id(), model.version(), network.file);
        let missing = missing(&model, index);
        if !missing.is_empty() {
            println!("still missing: {}", missing.join(", "));
        }
        Ok(EXIT_OK)
    }

    /// Which network of the model the file is.
    fn network_of(&self, model: &Model) -> anyhow::Result<usize> {
        let names: Vec<&str> = model.recipe().networks().iter().map(|network| network.file.as_str()).collect();
        let own = self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let wanted = match (&self.name, names.as_slice()) {
            (Some(name), _) => name.as_str(),
            (None, [_]) => return Ok(0),
            (None, _) if names.contains(&own.as_str()) => own.as_str(),
            (None, _) => bail!(
                "{} has several networks, and {own:?} is none of their names; say which one it is with --as: {}",
                model.id(),
                names.join(", ")
            ),
        };
        let found = names.iter().position(|name| *name == wanted);
        found.with_context(|| format!("--as: found {wanted:?}, expected one of {}", names.join(", ")))
    }
}

/// Networks whose weights are still missing when `index` was installed.
fn missing(model: &Model, index: usize) -> Vec<&str> {
    let others = model.recipe().networks().iter().enumerate().filter(|(other, _)| *other != index);
    others.filter(|(_, network)| network.sha256.is_none()).map(|(_, network)| network.file.as_str()).collect()
}

impl ListArgs {
    fn run(&self) -> anyhow::Result<u8> {
        let mut code = EXIT_OK;
        let mut rows: Vec<[String; 4]> = Vec::new();
        for folder in folders(&self.config.folder)? {
            let definition = folder.join("model.json");
            let text = fs::read_to_string(&definition).with_context(|| format!("{}", definition.display()))?;
            match parse(&definition, &text) {
                Ok(model) => rows.push(row(&model, &folder)?),
                Err(problems) => {
                    eprint!("{}", super::check::told(&problems));
                    code = EXIT_CONFIGURATION;
                }
            }
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for [id, name, version, state] in &rows {
            println!("{id:0$}  {name:1$}  {version:2$}  {state}", widths[0], widths[1], widths[2]);
        }
        Ok(code)
    }
}

fn row(model: &Model, folder: &Path) -> anyhow::Result<[String; 4]> {
    let mut wrong: Vec<String> = Vec::new();
    for network in model.recipe().networks() {
        let path = folder.join(&network.file);
        let state = match &network.sha256 {
            None => Some("missing"),
            Some(_) if !path.is_file() => Some("missing"),
            Some(expected) if digest_of(&path)? != *expected => Some("wrong digest"),
            Some(_) => None,
        };
        wrong.extend(state.map(|state| format!("{} {state}", network.file)));
    }
    let state = if wrong.is_empty() { "weights present".to_owned() } else { format!("weights: {}", wrong.join(", ")) };
    Ok([model.id().to_owned(), model.name().to_owned(), model.version().to_owned(), state])
}

fn parse(path: &Path, text: &str) -> Result<Model, Vec<Problem>> {
    let mut problems = Problems::of(path.display().to_string());
    let node = document::parse(text, &mut problems);
    match node.and_then(|node| Model::parse(&node, &mut problems)) {
        Some(model) => Ok(model),
        None => Err(problems.into_vec()),
    }
}

/// The folders of models, by name.
fn folders(configuration: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let models = configuration.join("models");
    let entries = fs::read_dir(&models).with_context(|| format!("{}", models.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("{}", models.display()))?.path();
        if path.join("model.json").is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The models that are there, for a message.
fn known(configuration: &Path) -> String {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match folders(configuration) {
        Ok(found) if !found.is_empty() => {
            format!("there are {}", found.iter().map(name).collect::<Vec<_>>().join(", "))
        }
        _ => "there is none; name the folder of the configuration with --config".to_owned(),
    }
}

/// SHA-256 of a file in hexadecimal digits.
fn digest_of(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(|| format!("{}", path.display()))? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Gives a file its place at once, complete and durable, or not at all: a gateway may be reading it.
fn place(target: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> std::io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let part = target.with_file_name(format!(".{name}.part"));
    let written = File::create(&part).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    let folder = target.parent().unwrap_or(Path::new("."));
    let placed = written.and_then(|()| fs::rename(&part, target)).and_then(|()| File::open(folder)?.sync_all());
    if placed.is_err() {
        // The part is of no use to anybody; that it cannot be removed adds nothing to the error.
        let _ = fs::remove_file(&part);
    }
    placed
}
