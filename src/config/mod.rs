//! The configuration of the gateway: reads `ae-config`, `pipelines` and `models`, tells all problems at once, watches.
//!
//! A file that is bad never stops the others. [`load`] refuses a configuration with any problem, for the start;
//! a [`Loader`] keeps the last good version of each file, for the life of the daemon.

mod apply;
mod conformance;
mod dialect;
mod gateway;
mod loader;
mod models_reference;
mod peer;
mod place;
mod reference;
mod resolve;
mod schema;
mod tls;
mod watch;
mod ways_in;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::{Node, Problem};
use crate::job::DialectOf;
use crate::pipeline::{Completeness, Mode, Model, Pipeline, SENDER};

pub use conformance::{CONFORMANCE_TABLES, conformance};
pub use gateway::{Gateway, Limits, WorkerSettings};
pub use loader::Loader;
pub use models_reference::{EXAMPLES, models_reference};
pub use peer::{Address, May, OnWarning, Peer, RETRY_DEFAULT, VERIFY_WORDS};
pub use place::{Place, WebPlace};
pub use reference::reference;
pub use schema::{SCHEMAS, schema};
pub use tls::{GatewayTls, PeerTls, Tls};
pub use watch::{WatchError, Watcher, watch};
pub use ways_in::{DicomWeb, WatchedFolder};

/// Everything that was configured, checked against each other.
#[derive(Clone)]
pub struct Configuration {
    /// The folder with `ae-config`, `pipelines` and `models`.
    pub folder: PathBuf,
    pub gateway: Gateway,
    /// By name.
    pub peers: BTreeMap<String, Peer>,
    /// By id; all that they refer to is there.
    pub pipelines: BTreeMap<String, Loaded<Pipeline>>,
    /// By id; the network file of each was there with its digest when it was loaded.
    pub models: BTreeMap<String, Loaded<Model>>,
    /// What the certificates and keys of gateway and peers have become.
    pub tls: Tls,
    /// What is wrong in the files. Where the last good version of a file is in use, its problem is here.
    pub problems: Vec<Problem>,
}

/// What a file became, with the file.
pub struct Loaded<T> {
    pub value: Arc<T>,
    /// Relative to the configuration folder, such as `pipelines/ct-basic.json`.
    pub file: String,
    /// The text of the file.
    pub source: Arc<str>,
    /// SHA-256 of the text, hexadecimal.
    pub digest: String,
    pub(crate) document: Arc<Node>,
}

impl<T> Clone for Loaded<T> {
    fn clone(&self) -> Loaded<T> {
        Loaded {
            value: Arc::clone(&self.value),
            file: self.file.clone(),
            source: Arc::clone(&self.source),
            digest: self.digest.clone(),
            document: Arc::clone(&self.document),
        }
    }
}

impl Configuration {
    /// The folder of spool and ledger.
    pub fn storage_folder(&self) -> PathBuf {
        self.folder.join(&self.gateway.storage_folder)
    }

    /// When a series for this pipeline is complete.
    pub fn completeness(&self, pipeline: &Pipeline) -> Completeness {
        pipeline.complete().over(&self.gateway.complete)
    }

    /// The definitions of the models that a pipeline runs, by id.
    pub fn model_sources(&self, pipeline: &Pipeline) -> BTreeMap<String, String> {
        let named = pipeline.steps().iter().filter_map(|step| step.action.model());
        let models = named.filter_map(|reference| self.models.get(&reference.name));
        models.map(|model| (model.value.id().to_owned(), model.source.to_string())).collect()
    }

    /// How the destinations of a pipeline want structure sets, those that may take the place of others among them;
    /// nothing for one that delivers nothing. `sender` is the peer that the word stands for.
    pub fn dialects(&self, pipeline: &Pipeline, sender: Option<&str>) -> Vec<DialectOf> {
        let live = pipeline.deliver().iter().filter(|_| pipeline.mode() == Mode::Live).flat_map(|deliver| &deliver.to);
        let named = live.filter_map(|to| if to.name == SENDER { sender } else { Some(to.name.as_str()) });
        let mut wanted: Vec<&Peer> = Vec::new();
        for peer in named.filter_map(|name| self.peers.get(name)) {
            if !wanted.iter().any(|other| other.name == peer.name) {
                wanted.push(peer);
            }
        }
        DialectOf::grouped(wanted.into_iter().map(|peer| (peer.name.clone(), peer.dialect.clone())))
    }

    /// SHA-256 of the pipeline, of the models that it runs, of their networks, and of the dialects of its destinations
    /// that it names: the same digest on the same instances gives the same result.
    pub fn digest(&self, pipeline: &Loaded<Pipeline>) -> String {
        let mut parts = vec![pipeline.digest.clone()];
        parts.extend(self.dialects(&pipeline.value, None).iter().map(|group| group.dialect.text()));
        for step in pipeline.value.steps() {
            if let Some(model) = step.action.model().and_then(|model| self.models.get(&model.name)) {
                parts.extend([model.digest.clone(), model.value.digests()]);
            }
        }
        loader::sha256(parts.join("\n").as_bytes())
    }
}

/// Reads a configuration for the first time.
///
/// # Errors
/// All problems of all files, in the order of the files; never an empty list.
pub fn load(folder: &Path) -> Result<Configuration, Vec<Problem>> {
    let configuration = Loader::new(folder).load()?;
    if configuration.problems.is_empty() { Ok(configuration) } else { Err(configuration.problems) }
}
