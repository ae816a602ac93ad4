//! Takes DICOM files out of watched folders, as if they had been sent: through the checks of a C-STORE into the spool, and
//! away from the folder only when they are durable. It watches; what one file is worth is decided where instances come in.

mod place;
mod scan;
mod take;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify_debouncer_full::notify::event::{AccessKind, AccessMode};
use notify_debouncer_full::notify::{Config, EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, NoCache, new_debouncer_opt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::dicom::AeTitle;
use crate::limits::{FOLDER_NOTICE_MS, FOLDER_TROUBLE_S};
use crate::receive::{Intake, Notice, Policy, Terms};
use crate::spool::Spool;
use scan::{Entry, Seen};
use take::Taken;

/// What becomes of a file that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is removed.
    Remove,
    /// It is moved to `done`.
    Keep,
}

impl After {
    /// The words of the configuration.
    pub const ALL: [(&'static str, After); 2] = [("remove", After::Remove), ("keep", After::Keep)];
}

/// A folder that is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    pub path: PathBuf,
    /// By which titles its files count as sent.
    pub calling: AeTitle,
    pub called: AeTitle,
    pub after: After,
    /// How long a file has to stay as it is before it is taken.
    pub settle: Duration,
    /// How often it is looked through, whatever the system tells: shares on the network tell nothing.
    pub scan: Duration,
}

/// Watches until `shutdown` becomes true; returns when no file is on its way.
pub async fn serve(
    folders: Vec<Folder>,
    policy: watch::Receiver<Arc<Policy>>,
    spool: Arc<Spool>,
    notices: mpsc::Sender<Notice>,
    shutdown: watch::Receiver<bool>,
) {
    let mut watching = JoinSet::new();
    for folder in folders {
        info!(folder = %folder.path.display(), "watched: files in it are taken as sent by {} to {}", folder.calling, folder.called);
        let watch = Watch {
            folder,
            policy: policy.clone(),
            spool: spool.clone(),
            notices: notices.clone(),
            shutdown: shutdown.clone(),
            seen: HashMap::new(),
            said: String::new(),
        };
        watching.spawn(watch.run());
    }
    while let Some(ended) = watching.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// One folder with what is known of its files.
struct Watch {
    folder: Folder,
    policy: watch::Receiver<Arc<Policy>>,
    spool: Arc<Spool>,
    notices: mpsc::Sender<Notice>,
    shutdown: watch::Receiver<bool>,
    seen: HashMap<PathBuf, Seen>,
    /// The trouble that was told last, so that it is told once.
    said: String,
}

impl Watch {
    async fn run(mut self) {
        let (wake, mut woken) = mpsc::channel(1);
        let mut events = None;
        let mut shutdown = self.shutdown.clone();
        loop {
            if events.is_none() {
                events = self.listen(&wake);
            }
            let (pause, is_there) = self.turn().await;
            if !is_there {
                // One that comes again is another folder, of which the system would tell nothing.
                events = None;
            }
            tokio::select! {
                _ = shutdown.wait_for(|down| *down) => return,
                () = tokio::time::sleep(pause) => {}
                _ = woken.recv(), if is_there => {}
            }
        }
    }

    /// Lets the system tell of changes; without it, there is the time.
    fn listen(&mut self, wake: &mpsc::Sender<()>) -> Option<Debouncer<RecommendedWatcher, NoCache>> {
        if !self.folder.path.is_dir() {
            return None;
        }
        let wake = wake.clone();
        let told = move |result: DebounceEventResult| {
            // Our own reading makes events too.
            let counts = |kind: &EventKind| !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write));
            if result.is_err() || result.is_ok_and(|events| events.iter().any(|event| counts(&event.kind))) {
                // One that waits already is enough.
                let _ = wake.try_send(());
            }
        };
        let config = Config::default().with_follow_symlinks(false);
        let settle = Duration::from_millis(FOLDER_NOTICE_MS);
        let made = new_debouncer_opt::<_, RecommendedWatcher, NoCache>(settle, None, told, NoCache::new(), config);
        let watching = made.and_then(|mut events| {
            events.watch(&self.folder.path, RecursiveMode::Recursive)?;
            Ok(events)
        });
        watching
            .map_err(|error| {
                self.say(&format!("the system does not tell of changes ({error}); it is looked through by time"));
            })
            .ok()
    }

    /// Takes all that is ready. Returns how long to wait for more, and whether the folder is there.
    async fn turn(&mut self) -> (Duration, bool) {
        let mut batch = None;
        let (pause, is_there, is_whole) = loop {
            let (root, spool) = (self.folder.path.clone(), self.spool.clone());
            let found = tokio::task::spawn_blocking(move || (spool.check_room(), scan::scan(&root))).await;
            let found = match found {
                Ok((Err(error), _)) => {
                    self.say(&format!("{error}; its files wait"));
                    break (Duration::from_secs(FOLDER_TROUBLE_S), true, false);
                }
                Ok((Ok(()), found)) => Ok(found),
                Err(error) => Err(error),
            };
            let found = match found {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    self.say(&format!("cannot be read: {error}; it is tried again"));
                    break (self.folder.scan, false, true);
                }
                Err(_) => break (self.folder.scan, false, true),
            };
            let (ready, next) = scan::due(&mut self.seen, found, Instant::now(), self.folder.settle);
            if ready.is_empty() {
                let scan = self.folder.scan;
                break (next.map_or(scan, |next| next.min(scan)), true, true);
            }
            if let Some(pause) = self.take_all(ready, &mut batch).await {
                break (pause, true, false);
            }
        };
        if let Some(mut batch) = batch {
            batch.end(is_whole).await;
            let (stored, identical, refused) = (batch.stored, batch.identical, batch.refused);
            let (association, folder) = (batch.number(), self.folder.path.display());
            info!(association, %folder, stored, identical, refused, "files of a watched folder taken");
        }
        (pause, is_there)
    }

    /// Takes these files one after another; the time to wait when there is trouble, or when the gateway ends.
    async fn take_all(&mut self, ready: Vec<Entry>, batch: &mut Option<Intake>) -> Option<Duration> {
        for entry in ready {
            if *self.shutdown.borrow() {
                return Some(Duration::ZERO);
            }
            let (calling, called) = (self.folder.calling.clone(), self.folder.called.clone());
            let terms = Terms {
                spool: self.spool.clone(),
                calling: calling.clone(),
                called: called.clone(),
                study: None,
                instance_bytes_max: self.policy.borrow().instance_bytes_max,
            };
            let seen = self.seen.get(&entry.path).cloned().unwrap_or_else(|| Seen::now(&entry));
            let taken = take::take(&self.folder, &entry, &seen, terms).await;
            let finished = match taken {
                Taken::Stored(finished) | Taken::Refused(finished) => finished,
                Taken::Wait(state) => {
                    self.seen.insert(entry.path, state);
                    continue;
                }
                Taken::Trouble(reason) => {
                    self.say(&format!("{reason}; its files wait"));
                    return Some(Duration::from_secs(FOLDER_TROUBLE_S));
                }
            };
            self.said.clear();
            let reason = (!finished.outcome.is_success()).then(|| take::told(&finished));
            let batch = batch.get_or_insert_with(|| Intake::begin(calling, called, self.notices.clone()));
            batch.tell(finished).await;
            let (folder, moved) = (self.folder.clone(), entry.clone());
            let placed = tokio::task::spawn_blocking(move || match reason {
                Some(reason) => place::refuse(&folder.path, &moved, &reason),
                None if folder.after == After::Keep => place::keep(&folder.path, &moved),
                None => place::remove(&moved),
            });
            match placed.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
                Ok(()) => drop(self.seen.remove(&entry.path)),
                Err(error) => {
                    let file = entry.stamp.told();
                    self.say(&format!(
                        "{file} cannot be taken away: {error}; it stays and is not read again before it changes"
                    ));
                    self.seen.insert(entry.path, Seen { is_done: true, ..seen });
                }
            }
        }
        None
    }

    /// Tells of trouble once, until something else happens.
    fn say(&mut self, what: &str) {
        if self.said != what {
            warn!(folder = %self.folder.path.display(), "watched folder: {what}");
            self.said = what.to_owned();
        }
    }
}

/// Where a file lies within its folder.
fn relative<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}
