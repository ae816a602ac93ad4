//! The folder of a demonstration: a configuration of its own, the scanner's images, what the planning system got.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use crate::dicom::Instance;
use crate::document::{self, Node, Problems, Value};
use crate::limits::{SEND_FILES_MAX, SEND_FOLDERS_DEPTH_MAX};
use crate::pipeline::SENDER;

/// Marks a folder as one of ours, which the next demonstration may empty.
const MARK: &str = ".contourd-demo";
/// What we write there, and therefore may remove.
const OURS: [&str; 5] = ["config", "scanner", "planning", "pictures", "report"];

/// The AE titles of the play.
pub(super) const GATEWAY_AE: &str = "CONTOURD";
pub(super) const SCANNER_AE: &str = "DEMO_CT";
pub(super) const PLANNING_AE: &str = "DEMO_TPS";

/// A prepared folder.
pub(super) struct Stage {
    root: PathBuf,
    /// Names of the peers that the pipelines deliver to.
    destinations: BTreeSet<String>,
}

impl Stage {
    /// Empties a folder of an earlier demonstration, or makes a new one, and copies pipelines and models into it.
    ///
    /// # Errors
    /// When the folder holds something else, or the pipelines and models are not where they should be.
    pub fn prepare(root: &Path, config: &Path) -> anyhow::Result<Stage> {
        clear(root)?;
        for folder in
            ["config/ae-config/peers", "config/pipelines", "config/models", "scanner", "planning", "pictures", "report"]
        {
            fs::create_dir_all(root.join(folder))
                .with_context(|| format!("cannot make {}", root.join(folder).display()))?;
        }
        fs::write(root.join(MARK), "made by contourd demo, which empties this folder when it runs again\n")?;
        for folder in ["pipelines", "models"] {
            let from = config.join(folder);
            if !from.is_dir() {
                bail!(
                    "found no folder {}, expected the shipped {folder}; run in contourd's folder or name it with --config",
                    from.display()
                );
            }
            copy(&from, &root.join("config").join(folder), 0)?;
        }
        let root = root.canonicalize()?;
        let destinations = destinations(&root.join("config/pipelines"))?;
        Ok(Stage { root, destinations })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that the gateway is started with.
    pub fn configuration(&self) -> PathBuf {
        self.root.join("config")
    }

    /// Where the scanner's images lie.
    pub fn scanner(&self) -> PathBuf {
        self.root.join("scanner")
    }

    /// Where the planning system files what it gets.
    pub fn planning(&self) -> PathBuf {
        self.root.join("planning")
    }

    /// What the gateway said.
    pub fn log(&self) -> PathBuf {
        self.root.join("gateway.log")
    }

    /// For the end of an error.
    pub fn where_to_look(&self) -> String {
        let (log, config) = (self.log(), self.configuration());
        format!(
            "look into {}, or ask: contourd jobs --config {}; contourd show JOB --config {}",
            log.display(),
            config.display(),
            config.display()
        )
    }

    /// Writes who may call and be called: everything on loopback, whatever the pipelines' destinations are elsewhere.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_configuration(&self, gateway_port: u16, planning_port: u16) -> anyhow::Result<()> {
        let folder = self.root.join("config/ae-config");
        let gateway = json!({
            "ae_titles": [GATEWAY_AE],
            "bind": "127.0.0.1",
            "port": gateway_port,
            "storage": { "folder": "var", "free_floor_mb": 64 },
            "complete": { "quiet_s": 3, "released_quiet_s": 1, "gap_quiet_s": 5, "max_wait_s": 60, "on_timeout": "hold" },
        });
        write(&folder.join("gateway.json"), &gateway)?;
        let scanner = json!({ "description": "The scanner of the demonstration", "ae_title": SCANNER_AE, "from": ["127.0.0.1"], "may": ["send"] });
        write(&folder.join("peers/demo-scanner.json"), &scanner)?;
        for name in &self.destinations {
            let planning = json!({
                "description": "The planning system of the demonstration",
                "ae_title": PLANNING_AE,
                "host": "127.0.0.1",
                "port": planning_port,
                "may": ["receive"],
                "dialect": "generic",
            });
            write(&folder.join(format!("peers/{name}.json")), &planning)?;
        }
        Ok(())
    }
}

fn write(path: &Path, value: &serde_json::Value) -> anyhow::Result<()> {
    fs::write(path, format!("{value:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes what an earlier demonstration left, and nothing else.
fn clear(root: &Path) -> anyhow::Result<()> {
    let Ok(mut entries) = fs::read_dir(root) else { return Ok(()) };
    if !root.join(MARK).is_file() {
        if entries.next().is_some() {
            bail!(
                "{} holds files that are not of a demonstration; name an empty or a new folder with --out",
                root.display()
            );
        }
        return Ok(());
    }
    for name in OURS {
        let folder = root.join(name);
        if folder.is_dir() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, depth: usize) -> anyhow::Result<()> {
    anyhow::ensure!(depth < SEND_FOLDERS_DEPTH_MAX, "{}: nested too deep", from.display());
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target, depth + 1)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("cannot copy {}", source.display()))?;
        }
    }
    Ok(())
}

/// The names under `deliver[].to` of all pipelines; what is wrong in the files is told by the gateway's own check.
fn destinations(pipelines: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(pipelines)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut problems = Problems::of(path.display().to_string());
        if let Some(root) = document::parse(&text, &mut problems)
            && let Some(Value::Array(list)) = field(&root, "deliver")
        {
            // A name is part of a path here, so only a plain one is taken.
            let plain = |name: &str| {
                name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && !name.starts_with('.')
            };
            let named = list.iter().filter_map(|item| field(item, "to")).flat_map(|to| match to {
                Value::Array(items) => items.iter().map(|item| &item.value).collect(),
                one => vec![one],
            });
            names.extend(named.filter_map(|to| match to {
                // The sender of the demonstration is its scanner.
                Value::String(name) if plain(name) && name != SENDER => Some(name.clone()),
                _ => None,
            }));
        }
    }
    Ok(names)
}

fn field<'a>(node: &'a Node, key: &str) -> Option<&'a Value> {
    match &node.value {
        Value::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, node)| &node.value),
        _ => None,
    }
}

/// The files below a folder (or the file itself) that are DICOM instances.
///
/// # Errors
/// When the folder cannot be read or holds no instance.
pub(super) fn dicom_files(input: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(input, 0, &mut files)?;
    files.retain(|path| File::open(path).is_ok_and(|file| Instance::read_part10(BufReader::new(file)).is_ok()));
    if files.is_empty() {
        bail!("found no DICOM file in {}, expected the images of a CT series", input.display());
    }
    Ok(files)
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let kind = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !kind.is_dir() {
        anyhow::ensure!(files.len() < SEND_FILES_MAX, "found more than {SEND_FILES_MAX} files; choose a folder inside");
        files.push(path.to_owned());
        return Ok(());
    }
    anyhow::ensure!(depth < SEND_FOLDERS_DEPTH_MAX, "{}: nested too deep", path.display());
    let mut entries: Vec<PathBuf> = fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, depth + 1, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_folders_alone_that_it_did_not_make() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("thesis.txt"), "years of work").expect("written");
        assert!(clear(folder.path()).is_err());
        fs::write(folder.path().join(MARK), "").expect("written");
        fs::create_dir(folder.path().join("scanner")).expect("made");
        clear(folder.path()).expect("cleared");
        assert!(folder.path().join("thesis.txt").exists() && !folder.path().join("scanner").exists());
    }

    #[test]
    fn points_every_destination_of_the_pipelines_to_loopback() {
        let config = tempfile::tempdir().expect("a folder");
        fs::create_dir(config.path().join("models")).expect("made");
        fs::create_dir(config.path().join("pipelines")).expect("made");
        let text =
            "{ \"deliver\": [{ \"to\": \"eclipse\" }, { \"to\": \"../../etc\" }, { \"to\": \"pacs\" }] } // more";
        fs::write(config.path().join("pipelines/a.json"), text).expect("written");
        let out = config.path().join("out");
        let stage = Stage::prepare(&out, config.path()).expect("prepared");
        stage.write_configuration(1, 2).expect("written");
        let peers = fs::read_dir(out.join("config/ae-config/peers")).expect("a folder");
        let mut names: Vec<String> = peers.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        assert_eq!(names, ["demo-scanner.json", "eclipse.json", "pacs.json"]);
        let peer = fs::read_to_string(out.join("config/ae-config/peers/eclipse.json")).expect("read");
        assert!(peer.contains("127.0.0.1"));
    }
}
