//! Takes DICOM files out of watched folders, as if they had been sent: through the checks of a C-STORE into the spool, and
//! away from the folder only when they are durable. It watches; what one file is worth is decided where instances come in.

mod place;
mod scan;
mod take;

use std::collections::HashMap;
use std::io;
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
use crate::limits::{FOLDER_FAILURES_MAX, FOLDER_FILES_MAX, FOLDER_NOTICE_MS, FOLDER_TROUBLE_S};
use crate::receive::{Finished, Intake, Notice, Policy, Terms};
use crate::spool::Spool;
use scan::{Due, Entry, Found, Seen};
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
            batch: None,
            said: String::new(),
            is_cut: false,
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
    /// What was taken since the folder was at rest. A copy under way is one batch, however often something of it is taken.
    batch: Option<Intake>,
    /// The trouble that was told last, so that it is told once.
    said: String,
    /// Whether it was told that there is more than is seen at once.
    is_cut: bool,
}

/// Why nothing was found.
enum Blind {
    /// The storage takes nothing.
    Full(String),
    /// The folder is not there, or is not to be read.
    Closed(String),
}

impl Watch {
    async fn run(mut self) {
        let (wake, mut woken) = mpsc::channel(1);
        let (mut events, mut listen_at) = (None, Instant::now());
        let mut shutdown = self.shutdown.clone();
        loop {
            if events.is_none() && listen_at <= Instant::now() {
                events = self.listen(&wake).await;
                listen_at = Instant::now() + self.folder.scan;
            }
            let (pause, is_there) = self.turn().await;
            if !is_there {
                // One that comes again is another folder, of which the system would tell nothing.
                events = None;
            }
            tokio::select! {
                _ = shutdown.wait_for(|down| *down) => break,
                () = tokio::time::sleep(pause) => {}
                _ = woken.recv(), if is_there => {}
            }
        }
        self.end_batch(false).await;
    }

    /// Lets the system tell of changes; without it, there is the time.
    async fn listen(&mut self, wake: &mpsc::Sender<()>) -> Option<Debouncer<RecommendedWatcher, NoCache>> {
        let (root, wake) = (self.folder.path.clone(), wake.clone());
        // It opens every folder in it, which takes a while on a share.
        let made = tokio::task::spawn_blocking(move || root.is_dir().then(|| listen(&root, wake))).await.ok()??;
        made.map_err(|error| {
            self.say(&format!("the system does not tell of changes ({error}); it is looked through by time"));
        })
        .ok()
    }

    /// Takes all that is ready. Returns how long to wait for more, and whether the folder is there.
    async fn turn(&mut self) -> (Duration, bool) {
        loop {
            let found = match self.look().await {
                Ok(found) => found,
                Err(Blind::Full(why)) => {
                    self.say(&format!("{why}; its files wait"));
                    return (Duration::from_secs(FOLDER_TROUBLE_S), true);
                }
                Err(Blind::Closed(why)) => {
                    self.say(&format!("{why}; it is tried again"));
                    self.end_batch(false).await;
                    return (self.folder.scan, false);
                }
            };
            if found.is_cut && !self.is_cut {
                let folder = self.folder.path.display();
                warn!(%folder, "watched folder: it has more than {FOLDER_FILES_MAX} files or folders; the others are not seen before some of these are gone, empty folders among them");
            }
            self.is_cut = found.is_cut;
            let Due { ready, next, is_open } =
                scan::due(&mut self.seen, found.entries, Instant::now(), self.folder.settle);
            if ready.is_empty() {
                if !is_open {
                    self.end_batch(true).await;
                }
                return (next.map_or(self.folder.scan, |next| next.min(self.folder.scan)), true);
            }
            if let Some(pause) = self.take_all(ready).await {
                return (pause, true);
            }
        }
    }

    /// Looks through the folder, if anything of it could be taken.
    async fn look(&self) -> Result<Found, Blind> {
        let (root, spool) = (self.folder.path.clone(), self.spool.clone());
        let done = self.seen.values().filter(|seen| seen.is_done).count();
        let found = tokio::task::spawn_blocking(move || {
            spool.check_room().map_err(|error| Blind::Full(error.to_string()))?;
            check_apart(&root, spool.root()).map_err(Blind::Closed)?;
            scan::scan(&root, done).map_err(|error| Blind::Closed(format!("cannot be read: {error}")))
        });
        found.await.unwrap_or_else(|error| Err(Blind::Closed(error.to_string())))
    }

    /// Tells the end of what was taken; `is_whole` when nothing of it can be under way.
    async fn end_batch(&mut self, is_whole: bool) {
        let Some(mut batch) = self.batch.take() else { return };
        batch.end(is_whole).await;
        let (stored, identical, refused) = (batch.stored, batch.identical, batch.refused);
        let (association, folder) = (batch.number(), self.folder.path.display());
        info!(association, %folder, stored, identical, refused, "files of a watched folder taken");
    }

    /// Takes these files one after another; the time to wait when there is trouble, or when the gateway ends.
    async fn take_all(&mut self, ready: Vec<Entry>) -> Option<Duration> {
        let mut failed = 0;
        for entry in ready {
            if *self.shutdown.borrow() {
                return Some(Duration::ZERO);
            }
            let terms = Terms {
                spool: self.spool.clone(),
                calling: self.folder.calling.clone(),
                called: self.folder.called.clone(),
                study: None,
                instance_bytes_max: self.policy.borrow().instance_bytes_max,
            };
            let seen = self.seen.get(&entry.path).cloned().unwrap_or_else(|| Seen::now(&entry));
            match take::take(&self.folder, &entry, &seen, terms).await {
                Taken::Stored(finished) | Taken::Refused(finished) => {
                    failed = 0;
                    self.done(entry, seen, finished).await;
                }
                Taken::Wait(state) => drop(self.seen.insert(entry.path, state)),
                Taken::Trouble(reason, state) => {
                    failed += 1;
                    self.seen.insert(entry.path, state);
                    // What fails with one file alone must not hold back the others.
                    if failed >= FOLDER_FAILURES_MAX || !self.has_room().await {
                        self.say(&format!("{reason}; its files wait"));
                        return Some(Duration::from_secs(FOLDER_TROUBLE_S));
                    }
                    self.say(&format!("{}: {reason}; it is tried again", entry.stamp.told()));
                }
            }
        }
        None
    }

    async fn has_room(&self) -> bool {
        let spool = self.spool.clone();
        tokio::task::spawn_blocking(move || spool.check_room().is_ok()).await.unwrap_or(false)
    }

    /// Tells what became of a file, and takes it away.
    async fn done(&mut self, entry: Entry, seen: Seen, finished: Finished) {
        self.said.clear();
        let reason = (!finished.outcome.is_success()).then(|| take::told(&finished));
        let spool = &self.spool;
        let kept = finished
            .received
            .as_ref()
            .map(|received| spool.instance_path(&received.instance.series_key(), &received.instance.sop_instance_uid));
        let Folder { calling, called, .. } = self.folder.clone();
        let batch = self.batch.get_or_insert_with(|| Intake::begin(calling, called, self.notices.clone()));
        batch.tell(finished).await;
        let (folder, moved) = (self.folder.clone(), entry.clone());
        let placed = tokio::task::spawn_blocking(move || match reason {
            Some(reason) => place::refuse(&folder.path, &moved, &reason),
            // However it came there (a mount within the folder): the only copy is never removed.
            None if kept.is_some_and(|kept| moved.stamp.is_of(&kept)) => Err(io::Error::other(
                "it is the stored instance itself; take the storage folder out of the watched one",
            )),
            None if folder.after == After::Keep => place::keep(&folder.path, &moved),
            None => place::remove(&folder.path, &moved),
        });
        match placed.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
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

    /// Tells of trouble once, until something else happens.
    fn say(&mut self, what: &str) {
        if self.said != what {
            warn!(folder = %self.folder.path.display(), "watched folder: {what}");
            self.said = what.to_owned();
        }
    }
}

/// Has the system tell of changes in a folder.
fn listen(
    root: &Path,
    wake: mpsc::Sender<()>,
) -> Result<Debouncer<RecommendedWatcher, NoCache>, notify_debouncer_full::notify::Error> {
    let ours = [root.join(place::DONE), root.join(place::REFUSED)];
    let told = move |result: DebounceEventResult| {
        // Our own reading and moving make events too.
        let is_reading = |kind: &EventKind| matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write));
        let is_ours = |path: &PathBuf| ours.iter().any(|ours| path.starts_with(ours));
        let counts =
            |kind: &EventKind, paths: &[PathBuf]| !is_reading(kind) && (paths.is_empty() || !paths.iter().all(is_ours));
        if result.is_err() || result.is_ok_and(|events| events.iter().any(|event| counts(&event.kind, &event.paths))) {
            // One that waits already is enough.
            let _ = wake.try_send(());
        }
    };
    let config = Config::default().with_follow_symlinks(false);
    let settle = Duration::from_millis(FOLDER_NOTICE_MS);
    let mut events = new_debouncer_opt::<_, RecommendedWatcher, NoCache>(settle, None, told, NoCache::new(), config)?;
    events.watch(root, RecursiveMode::Recursive)?;
    Ok(events)
}

/// Refuses a folder that has become the storage folder, or lies in it or around it, by a link or a mount: what is taken out
/// of it would be the only copy.
fn check_apart(root: &Path, storage: &Path) -> Result<(), String> {
    let real = |path: &Path| path.canonicalize().map_err(|error| format!("cannot be read: {error}"));
    let (root, storage) = (real(root)?, real(storage)?);
    if root.starts_with(&storage) || storage.starts_with(&root) {
        return Err(format!("it leads to {}, and the storage folder is {}", root.display(), storage.display()));
    }
    Ok(())
}

/// Where a file lies within its folder.
fn relative<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_that_leads_to_the_storage_is_not_looked_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("var/instances")).expect("folders");
        fs::create_dir(path("drop")).expect("a folder");
        assert_eq!(check_apart(&path("drop"), &path("var")), Ok(()));
        for target in ["var", "var/instances", "."] {
            let link = path("link");
            std::os::unix::fs::symlink(path(target), &link).expect("a link");
            let told = check_apart(&link, &path("var")).expect_err(target);
            assert!(told.contains("and the storage folder is"), "{told}");
            fs::remove_file(&link).expect("removed");
        }
        assert!(check_apart(&path("none"), &path("var")).expect_err("nothing there").contains("cannot be read"));
    }
}
