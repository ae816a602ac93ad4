//! Watches the configuration folders and reads them again when something in them changes; it decides nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use notify_debouncer_full::notify::{self, EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use thiserror::Error;

use super::{Configuration, Loader};
use crate::document::Problem;
use crate::limits::CONFIGURATION_SETTLE_MS;

/// The folders whose content is configuration.
const FOLDERS: [&str; 3] = ["ae-config", "pipelines", "models"];

/// Why a folder cannot be watched.
#[derive(Debug, Error)]
pub enum WatchError {
    #[error("cannot watch {folder}: {source}; changes there need a restart")]
    Folder { folder: PathBuf, source: notify::Error },
    #[error("cannot start the thread that reads changed configuration: {0}")]
    Thread(#[from] std::io::Error),
}

/// Watches until it is dropped.
pub struct Watcher {
    signals: Sender<Signal>,
}

enum Signal {
    Changed(DebounceEventResult),
    /// Read again, whatever the file system says: some (NFS) tell no changes.
    Asked,
    Stop,
}

impl Watcher {
    /// Reads the configuration now.
    pub fn read_again(&self) {
        // The thread may be gone already; then nothing is read any more.
        let _ = self.signals.send(Signal::Asked);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The thread may be gone already; then there is nothing to stop.
        let _ = self.signals.send(Signal::Stop);
    }
}

/// Watches the folders of a configuration. `tell` is called on a thread of the watcher, once for every change after
/// which the configuration or its problems differ: a bad file leaves its last good version in place and its problems
/// in the result. `loader` is the one that loaded `current`, which is in use; what changed since then is told first.
///
/// # Errors
/// [`WatchError`] when the configuration folder cannot be watched.
pub fn watch(
    loader: Loader,
    current: &Configuration,
    tell: impl FnMut(Result<Configuration, Vec<Problem>>) + Send + 'static,
) -> Result<Watcher, WatchError> {
    // Events name absolute paths, whatever the folder was called by.
    let folder = absolute(&current.folder);
    let seen = fingerprint(current);
    let (sender, receiver) = channel();
    let events = sender.clone();
    let settle = Duration::from_millis(CONFIGURATION_SETTLE_MS);
    let told = |source| WatchError::Folder { folder: folder.clone(), source };
    let mut debouncer = new_debouncer(settle, None, move |result| {
        // The receiver ends with the watcher; events after that have no use.
        let _ = events.send(Signal::Changed(result));
    })
    .map_err(told)?;
    // The folder itself tells when one of the three is replaced or made later.
    debouncer.watch(&folder, RecursiveMode::NonRecursive).map_err(told)?;
    follow(&mut debouncer, &folder);
    let mut follower = Follower { folder, loader, debouncer, seen, certificates: BTreeSet::new() };
    follower.follow_certificates(current);
    thread::Builder::new().name("configuration".to_owned()).spawn(move || follower.run(&receiver, tell))?;
    Ok(Watcher { signals: sender })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Watches those of the three folders that are there; watching one again follows its replacement.
fn follow(debouncer: &mut Debouncer<RecommendedWatcher, RecommendedCache>, folder: &Path) {
    for name in FOLDERS {
        let inner = folder.join(name);
        if inner.is_dir() {
            let _ = debouncer.unwatch(&inner);
            if let Err(error) = debouncer.watch(&inner, RecursiveMode::Recursive) {
                tracing::warn!(folder = %inner.display(), %error, "cannot watch this folder; changes in it need a restart");
            }
        }
    }
}

struct Follower {
    folder: PathBuf,
    loader: Loader,
    debouncer: Debouncer<RecommendedWatcher, RecommendedCache>,
    /// What was told last.
    seen: Vec<String>,
    /// Folders of certificates and keys besides the three.
    certificates: BTreeSet<PathBuf>,
}

impl Follower {
    fn run(mut self, signals: &Receiver<Signal>, mut tell: impl FnMut(Result<Configuration, Vec<Problem>>)) {
        self.read(&mut tell);
        loop {
            match signals.recv() {
                Ok(Signal::Changed(result)) if !self.concerns(&result) => {}
                Ok(Signal::Changed(_) | Signal::Asked) => {
                    follow(&mut self.debouncer, &self.folder);
                    self.read(&mut tell);
                }
                Ok(Signal::Stop) | Err(_) => return,
            }
        }
    }

    /// Watches the folders of certificates that lie elsewhere: whoever renews them does not know of us.
    fn follow_certificates(&mut self, configuration: &Configuration) {
        let inside = |folder: &PathBuf| FOLDERS.iter().any(|name| folder.starts_with(self.folder.join(name)));
        let named = configuration.tls.folders.iter().map(|folder| absolute(folder));
        let wanted: BTreeSet<PathBuf> = named.filter(|folder| !inside(folder)).collect();
        for folder in wanted.difference(&self.certificates).filter(|folder| **folder != self.folder) {
            if let Err(error) = self.debouncer.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "cannot watch this folder of certificates; changes in it need SIGHUP or a restart");
            }
        }
        for folder in self.certificates.difference(&wanted).filter(|folder| **folder != self.folder) {
            // It may be gone.
            let _ = self.debouncer.unwatch(folder);
        }
        self.certificates = wanted;
    }

    fn read(&mut self, tell: &mut impl FnMut(Result<Configuration, Vec<Problem>>)) {
        let loaded = self.loader.load();
        let found = match &loaded {
            Ok(configuration) => {
                self.follow_certificates(configuration);
                fingerprint(configuration)
            }
            Err(problems) => problems.iter().map(Problem::to_string).collect(),
        };
        if self.seen != found {
            self.seen = found;
            tell(loaded);
        }
    }

    /// Whether something changed in the three folders, or in one of certificates. Reading makes events too, which must not make us read.
    fn concerns(&self, result: &DebounceEventResult) -> bool {
        let Ok(events) = result else { return true };
        let ours = |path: &PathBuf| {
            let certificate = path.parent().is_some_and(|folder| self.certificates.contains(folder));
            certificate || FOLDERS.iter().any(|name| path.starts_with(self.folder.join(name)))
        };
        // After too many changes at once the kernel names none of them.
        let rescan = events.iter().any(|event| event.need_rescan());
        rescan || events.iter().any(|event| !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(ours))
    }
}

/// What a configuration consists of, to see whether it has changed.
fn fingerprint(configuration: &Configuration) -> Vec<String> {
    let mut parts: Vec<String> = configuration.problems.iter().map(Problem::to_string).collect();
    parts.push(format!("{:?} {:?} {:?}", configuration.gateway, configuration.peers, configuration.tls));
    parts.extend(configuration.pipelines.values().map(|pipeline| configuration.digest(pipeline)));
    parts.extend(configuration.models.values().map(|model| model.digest.clone()));
    parts
}
