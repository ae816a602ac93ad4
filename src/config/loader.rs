//! Reads the files of the configuration and keeps the last good version of each; it judges no references.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::resolve::{check_gateway, check_gateway_source, check_models, check_peers, check_pipelines};
use super::tls::Files;
use super::{Configuration, Gateway, Loaded, Peer};
use crate::document::{self, Node, Problem, Problems};
use crate::limits::{CONFIGURATION_FILES_MAX, DOCUMENT_BYTES_MAX};
use crate::pipeline::{Model, Pipeline};

/// What one kind of file became: for each file, what was read now, else what was good before.
pub(super) type Kind<T> = BTreeMap<String, Versions<T>>;

/// The versions of one file that may be used, the one on disk first.
pub(super) struct Versions<T> {
    pub now: Option<Loaded<T>>,
    pub before: Option<Loaded<T>>,
}

/// Reads a configuration again and again; what was good once stays in use until something good takes its place.
pub struct Loader {
    folder: PathBuf,
    gateway: BTreeMap<String, Loaded<Gateway>>,
    peers: BTreeMap<String, Loaded<Peer>>,
    pipelines: BTreeMap<String, Loaded<Pipeline>>,
    models: BTreeMap<String, Loaded<Model>>,
    digests: Digests,
    tls: Files,
}

impl Loader {
    /// A loader that has read nothing yet.
    pub fn new(folder: &Path) -> Loader {
        Loader {
            folder: folder.to_owned(),
            gateway: BTreeMap::new(),
            peers: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            models: BTreeMap::new(),
            digests: Digests::default(),
            tls: Files::default(),
        }
    }

    /// Reads all files. For a bad file its last good version is used, and the problem stands in the result. A file
    /// that is gone is no longer used.
    ///
    /// # Errors
    /// All problems, when there is no good version of `ae-config/gateway.json`.
    pub fn load(&mut self) -> Result<Configuration, Vec<Problem>> {
        let mut problems = Vec::new();
        let gateway = self
            .read("ae-config/gateway.json".into(), &mut problems, |_, node, problems| Gateway::parse(node, problems));
        let gateway = BTreeMap::from([gateway]);
        let peers = self.kind("ae-config/peers", "", &self.peers, &mut problems, Peer::parse);
        let models =
            self.kind("models", "/model.json", &self.models, &mut problems, |_, node, told| Model::parse(node, told));
        let pipelines =
            self.kind("pipelines", "", &self.pipelines, &mut problems, |_, node, told| Pipeline::parse(node, told));
        self.tls.begin(&self.folder);
        self.gateway = check_gateway(with_before(gateway, &self.gateway), &mut self.tls, &mut problems);
        let peer_files: Vec<String> = peers.keys().cloned().collect();
        self.peers = check_peers(peers, self.gateway.values().next(), &mut self.tls, &mut problems);
        let tls = self.tls.finish(self.gateway.values().next(), self.peers.values(), &mut problems);
        let files: Vec<String> = models.keys().cloned().collect();
        self.models = check_models(models, &self.folder, &mut self.digests, &mut problems);
        let files = files.into_iter().filter(|file| !self.models.contains_key(file));
        let bad: Vec<String> =
            files.chain(peer_files.into_iter().filter(|file| !self.peers.contains_key(file))).collect();
        let our_gateway = self.gateway.values().next();
        let others = (&self.peers, &self.models, bad.as_slice());
        self.pipelines = check_pipelines(pipelines, our_gateway, others, &mut problems);
        let Some(gateway) = our_gateway else { return Err(problems) };
        check_gateway_source(gateway, &self.peers, &bad, &mut problems);
        let by_id = |loaded: &Loaded<Pipeline>| (loaded.value.id().to_owned(), loaded.clone());
        let by_model_id = |loaded: &Loaded<Model>| (loaded.value.id().to_owned(), loaded.clone());
        let by_name = |loaded: &Loaded<Peer>| (loaded.value.name.clone(), Peer::clone(&loaded.value));
        Ok(Configuration {
            folder: self.folder.clone(),
            gateway: Gateway::clone(&gateway.value),
            peers: self.peers.values().map(by_name).collect(),
            pipelines: self.pipelines.values().map(by_id).collect(),
            models: self.models.values().map(by_model_id).collect(),
            tls,
            problems,
        })
    }

    /// All files of one kind: those in `folder` that end in `.json`, or those that `inside` names in its folders.
    fn kind<T>(
        &self,
        folder: &str,
        inside: &str,
        before: &BTreeMap<String, Loaded<T>>,
        problems: &mut Vec<Problem>,
        parse: impl Fn(&str, &Node, &mut Problems) -> Option<T>,
    ) -> Kind<T> {
        let names = match list(&self.folder.join(folder), !inside.is_empty()) {
            Ok(names) => names,
            Err(error) => {
                problems.push(unreadable(folder, &error, "a folder"));
                Vec::new()
            }
        };
        if names.len() > CONFIGURATION_FILES_MAX {
            let found = io::Error::other(format!("{} entries", names.len()));
            problems.push(unreadable(folder, &found, &format!("at most {CONFIGURATION_FILES_MAX}")));
        }
        let files = names.into_iter().take(CONFIGURATION_FILES_MAX).map(|name| format!("{folder}/{name}{inside}"));
        with_before(files.map(|file| self.read(file, problems, &parse)).collect(), before)
    }

    fn read<T>(
        &self,
        file: String,
        problems: &mut Vec<Problem>,
        parse: impl Fn(&str, &Node, &mut Problems) -> Option<T>,
    ) -> (String, Option<Loaded<T>>) {
        let text = match read_text(&self.folder.join(&file)) {
            Ok(text) => text,
            Err(error) => {
                problems.push(unreadable(&file, &error, "a JSON file"));
                return (file, None);
            }
        };
        let mut told = Problems::of(file.as_str());
        let loaded = document::parse(&text, &mut told).and_then(|node| {
            let value = Arc::new(parse(stem(&file), &node, &mut told)?);
            let (source, digest) = (Arc::from(text.as_str()), sha256(text.as_bytes()));
            Some(Loaded { value, file: file.clone(), source, digest, document: Arc::new(node) })
        });
        problems.extend(told.into_vec());
        (file, loaded)
    }
}

fn with_before<T>(now: BTreeMap<String, Option<Loaded<T>>>, before: &BTreeMap<String, Loaded<T>>) -> Kind<T> {
    let join = |(file, now)| {
        let before = before.get(&file).cloned();
        (file, Versions { now, before })
    };
    now.into_iter().map(join).collect()
}

fn unreadable(file: &str, error: &io::Error, expected: &str) -> Problem {
    let found = match error.kind() {
        io::ErrorKind::NotFound => "nothing there".to_owned(),
        _ => error.to_string(),
    };
    let (file, path, expected) = (file.to_owned(), String::new(), expected.to_owned());
    Problem { file, line: 0, path, found, expected, cure: None }
}

/// The name of a file without folder and ending.
pub(super) fn stem(file: &str) -> &str {
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
    name.strip_suffix(".json").unwrap_or(name)
}

/// Names of the JSON files, or of the folders, in a folder, sorted. What editors leave beside (hidden files, other
/// endings) is no configuration.
fn list(folder: &Path, folders: bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.path().is_dir();
        if !name.starts_with('.') && is_folder == folders && (folders || name.ends_with(".json")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The text of a file, without a byte order mark, which some editors write.
fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser says that it is too large.
    File::open(path)?.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("bytes that are not UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digests of network files, kept as long as a file looks unchanged: they have hundreds of megabytes.
#[derive(Default)]
pub(super) struct Digests {
    known: BTreeMap<PathBuf, (Stamp, String)>,
}

/// Device, inode, size, and time of the last change: a replaced or rewritten file differs in one of them.
type Stamp = (u64, u64, u64, i64, i64);

impl Digests {
    pub fn of(&mut self, path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        let stamp = (found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec());
        if let Some((known, digest)) = self.known.get(path)
            && *known == stamp
        {
            return Ok(digest.clone());
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0_u8; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => hash.update(&buffer[..count]),
            }
        }
        let digest = hexadecimal(&hash.finalize());
        self.known.insert(path.to_owned(), (stamp, digest.clone()));
        Ok(digest)
    }
}
