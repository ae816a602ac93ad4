//! `contourd import`: models of other programs as files of this one; it changes none that is there unless it is told to.

mod monai;
mod nnunet;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use sha2::{Digest, Sha256};

use super::{EXIT_CONFIGURATION, EXIT_OK};
use crate::pipeline::import::{Imported, cerr};

/// Import models of other programs: model.json and a pipeline to start from.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    Cerr(CerrArgs),
    Monai(monai::MonaiArgs),
    Nnunet(nnunet::NnunetArgs),
}

/// Import model configurations of CERR. Files that need what others make are given together.
#[derive(Debug, Args)]
struct CerrArgs {
    /// Configurations (`ALGORITHM_config.json`).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    into: IntoArgs,
}

/// Where the files go.
#[derive(Debug, Args)]
struct IntoArgs {
    /// The folder that gets models/ID/model.json and pipelines/ID.json.
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    folder: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

impl ImportArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        match &self.source {
            Source::Cerr(args) => args.run(),
            Source::Monai(args) => args.run(),
            Source::Nnunet(args) => args.run(),
        }
    }
}

impl CerrArgs {
    fn run(&self) -> anyhow::Result<u8> {
        let mut texts = Vec::with_capacity(self.files.len());
        for path in &self.files {
            let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
            texts.push((path.display().to_string(), text));
        }
        let mut code = EXIT_OK;
        for (result, (name, _)) in cerr::import(&texts).into_iter().zip(&texts) {
            match result {
                Ok(imported) => self.into.write(name, &imported, Path::new("."))?,
                Err(problems) => {
                    eprint!("{}", super::check::told(&problems));
                    code = EXIT_CONFIGURATION;
                }
            }
        }
        Ok(code)
    }
}

impl IntoArgs {
    /// Writes what was imported from `name`, with its networks from below `source`, and tells what a person has to know.
    fn write(&self, name: &str, imported: &Imported, source: &Path) -> anyhow::Result<()> {
        for (path, text) in &imported.files {
            let target = self.folder.join(path);
            if !self.force && target.exists() && fs::read_to_string(&target).ok().as_deref() != Some(text) {
                anyhow::bail!(
                    "{}: found another file there, expected none; choose another folder, or add --force to replace it",
                    target.display()
                );
            }
            fs::create_dir_all(target.parent().unwrap_or(Path::new(".")))
                .and_then(|()| fs::write(&target, text))
                .with_context(|| format!("{}", target.display()))?;
        }
        for (from, to) in &imported.networks {
            let (from, to) = (source.join(from), self.folder.join(to));
            let same = to.exists() && digest(&from)? == digest(&to)?;
            if to.exists() && !same && !self.force {
                anyhow::bail!(
                    "{}: found another network there, expected none; choose another folder, or add --force to replace it",
                    to.display()
                );
            }
            if !same {
                fs::copy(&from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
            }
        }
        let written: Vec<String> = imported.files.iter().map(|(path, _)| path.display().to_string()).collect();
        println!("{name}: {}", written.join(", "));
        imported.notes.iter().for_each(|note| println!("  note: {note}"));
        imported.not_expressed.iter().for_each(|line| println!("  not expressed: {line}"));
        Ok(())
    }
}

/// The text of a file; `None` where there is none.
fn read_optional(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}", path.display())),
    }
}

/// The folders in a folder, by name.
fn subfolders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry.with_context(|| format!("{}", folder.display()))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// SHA-256 of a file, in lower-case hexadecimal digits.
fn digest(path: &Path) -> anyhow::Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("{}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).with_context(|| format!("{}", path.display()))? {
            0 => break,
            length => hasher.update(&piece[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
