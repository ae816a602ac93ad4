//! Delivery into a folder: files appear there complete, under names of their own, and are never overwritten. With the
//! spool the only writer of files that a gateway has; it removes nothing but what it has begun itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::object::{Object, ObjectError};
use super::{Outcome, Shown};
use crate::limits::FOLDER_FILE_S_MAX;
use crate::spool::{SpoolError, remove_if_there, rename_new, sync_folder};

/// A folder that receives results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub folder: PathBuf,
    /// Name of the peer; part of the names of what is not complete yet.
    pub peer: String,
}

/// Why a file is not in the folder.
#[derive(Debug, Error)]
enum FolderError {
    #[error("folder {0}: found nothing there; is it mounted?")]
    Absent(PathBuf),
    #[error("folder {folder}: {source}; check its rights, its room and its mount")]
    Io { folder: PathBuf, source: io::Error },
    #[error(transparent)]
    Step(#[from] SpoolError),
    #[error("{0}: found other bytes under this name, which are kept; move them away, and retry")]
    Taken(PathBuf),
    #[error("{0}: found a name that is no plain name of a DICOM file")]
    Name(PathBuf),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("folder {0}: writing was interrupted")]
    Interrupted(PathBuf),
    #[error("folder {0}: an earlier attempt still waits for the file system; look whether its mount hangs")]
    Busy(PathBuf),
    #[error("folder {0}: the attempt took too long; look whether its mount hangs")]
    Abandoned(PathBuf),
}

impl FolderError {
    /// A folder that is full, away or closed to us is one that may come back.
    fn outcome(self) -> Outcome {
        let reason = self.to_string();
        match self {
            FolderError::Object(error) => error.outcome(),
            FolderError::Taken(_) | FolderError::Name(_) => Outcome::Refused { reason, status: None },
            _ => Outcome::Retry { reason, status: None },
        }
    }
}

/// Puts files (PS3.10) into the folder byte for byte, in this order, up to the first that fails.
pub async fn store(destination: &Destination, objects: &[PathBuf]) -> Outcome {
    let mut outcomes = Vec::new();
    for path in objects {
        let outcome = match each(destination, path, put).await {
            Ok(()) => Outcome::Delivered { warnings: Vec::new() },
            Err(error) => error.outcome(),
        };
        let done = matches!(outcome, Outcome::Delivered { .. });
        outcomes.push(outcome);
        if !done {
            break;
        }
    }
    Outcome::of_all(outcomes, true)
}

/// Reads the files back and compares them byte by byte with what was sent.
pub async fn find(destination: &Destination, objects: &[PathBuf]) -> Shown {
    for path in objects {
        match each(destination, path, compare).await {
            Ok(None) => {}
            Ok(Some(reason)) => return Shown::Missing { reason },
            Err(error) => return Shown::Unknown(error.outcome()),
        }
    }
    Shown::All
}

/// Does the work for one file on a thread of its own: one that waits for a mount that hangs must take none of those that
/// the receiver needs. The file is looked at first, so that half a file, or one that is no DICOM file, never appears there.
/// A thread cannot be ended: it is told when nobody waits for it any more, so that it leaves nothing in a folder whose place
/// another destination has taken.
async fn each<T: Send + 'static>(
    destination: &Destination,
    path: &Path,
    work: fn(&Destination, &Path, &str, &AtomicBool) -> Result<T, FolderError>,
) -> Result<T, FolderError> {
    Object::open(path).await?;
    let name = plain_name(path)?;
    let (destination, path) = (destination.clone(), path.to_owned());
    let folder = destination.folder.clone();
    let (told, done) = oneshot::channel();
    let waited_for = WaitedFor::default();
    let abandoned = Arc::clone(&waited_for.0);
    // Nobody listens any more when the time of the delivery is over.
    let work = move || drop(told.send(work(&destination, &path, &name, &abandoned)));
    let begun = std::thread::Builder::new().name("folder".to_owned()).spawn(work);
    begun.map_err(|source| FolderError::Io { folder: folder.clone(), source })?;
    match timeout(Duration::from_secs(FOLDER_FILE_S_MAX), done).await {
        Ok(done) => done.map_err(|_| FolderError::Interrupted(folder))?,
        Err(_) => Err(FolderError::Abandoned(folder)),
    }
}

/// What a thread looks at to see whether its work is waited for; true when it is not any more.
#[derive(Default)]
struct WaitedFor(Arc<AtomicBool>);

impl Drop for WaitedFor {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The unfinished files that threads of this process are at.
static AT_WORK: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// That an unfinished file is one thread's; two would write into the same one.
struct Hold(PathBuf);

impl Hold {
    /// `None` while another thread is at it.
    fn take(hidden: &Path) -> Option<Hold> {
        let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        at_work.insert(hidden.to_owned()).then(|| Hold(hidden.to_owned()))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// The name of an object in the spool, made of its kind and its SOP Instance UID: a name that leads nowhere else, and
/// that nobody takes for a hidden file.
fn plain_name(path: &Path) -> Result<String, FolderError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.starts_with('.') || !name.ends_with(".dcm") || !name.bytes().all(legal) {
        return Err(FolderError::Name(path.to_owned()));
    }
    Ok(name.to_owned())
}

fn put(destination: &Destination, source: &Path, name: &str, abandoned: &AtomicBool) -> Result<(), FolderError> {
    let folder = &destination.folder;
    let target = folder.join(name);
    let failed = |source| FolderError::Io { folder: folder.clone(), source };
    let hidden = folder.join(format!(".{name}.{}.part", destination.peer));
    let Some(_hold) = Hold::take(&hidden) else { return Err(FolderError::Busy(folder.clone())) };
    if !folder.is_dir() {
        return Err(FolderError::Absent(folder.clone()));
    }
    // What lies there under the hidden name is what a crash, or a file system that went away, has left of an earlier attempt.
    match same(source, &target).map_err(failed)? {
        Some(true) => {
            remove_if_there(&hidden)?;
            return settle(folder);
        }
        Some(false) => return Err(FolderError::Taken(target)),
        None => {}
    }
    let moved = copy(source, &hidden).map_err(failed).and_then(|()| {
        // As late as can be: another destination may have the objects by now.
        if abandoned.load(Ordering::Acquire) {
            return Err(FolderError::Abandoned(folder.clone()));
        }
        Ok(rename_new(&hidden, &target)?)
    });
    if !matches!(moved, Ok(true)) {
        // The trouble is told already; the next attempt begins with the same name.
        let _ = remove_if_there(&hidden);
    }
    if !moved? && same(source, &target).map_err(failed)? != Some(true) {
        return Err(FolderError::Taken(target));
    }
    settle(folder)
}

/// Makes the names in the folder survive a power cut, where its file system can be asked for that: many of those that lie on
/// another machine cannot, and keep names in their own way.
fn settle(folder: &Path) -> Result<(), FolderError> {
    match sync_folder(folder) {
        Err(SpoolError::Io { source, .. })
            if [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS]
                .map(Errno::raw_os_error)
                .map(Some)
                .contains(&source.raw_os_error()) =>
        {
            Ok(())
        }
        synced => Ok(synced?),
    }
}

fn copy(source: &Path, hidden: &Path) -> io::Result<()> {
    let mut from = File::open(source)?;
    // What has the name is not written into: it may be a link, or a second name of a file that somebody has taken from here.
    remove_if_there(hidden).map_err(io::Error::other)?;
    let mut to = File::create_new(hidden)?;
    // Who may look into the folder may read what is in it, whatever our own files are closed to. Some file systems have no
    // such rights.
    let readers = fs::metadata(hidden.parent().unwrap_or(hidden))?.permissions().mode() & 0o044;
    let _ = to.set_permissions(fs::Permissions::from_mode(0o600 | readers));
    io::copy(&mut from, &mut to)?;
    to.flush()?;
    to.sync_all()
}

fn compare(
    destination: &Destination,
    source: &Path,
    name: &str,
    _: &AtomicBool,
) -> Result<Option<String>, FolderError> {
    let folder = &destination.folder;
    if !folder.is_dir() {
        return Err(FolderError::Absent(folder.clone()));
    }
    let target = folder.join(name);
    let found = same(source, &target).map_err(|source| FolderError::Io { folder: folder.clone(), source })?;
    Ok(match found {
        Some(true) => None,
        Some(false) => Some(format!("{}: found other bytes than were written", target.display())),
        None => Some(format!("{}: found nothing there", target.display())),
    })
}

/// Whether what has the name has the same bytes; `None` when nothing has it. What is no file has other bytes.
fn same(source: &Path, target: &Path) -> io::Result<Option<bool>> {
    let there = match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        there => there?,
    };
    if !there.is_file() || there.len() != fs::metadata(source)?.len() {
        return Ok(Some(false));
    }
    let (mut one, mut other) = (File::open(source)?, File::open(target)?);
    let (mut ours, mut theirs) = (vec![0_u8; 64 << 10], vec![0_u8; 64 << 10]);
    loop {
        let count = one.read(&mut ours)?;
        if count == 0 {
            return Ok(Some(other.read(&mut theirs)? == 0));
        }
        match other.read_exact(&mut theirs[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
            read => read?,
        }
        if ours[..count] != theirs[..count] {
            return Ok(Some(false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::{Identity, Thorax, instances, render};

    struct Play {
        root: tempfile::TempDir,
        to: Destination,
        runtime: tokio::runtime::Runtime,
    }

    impl Play {
        fn begin() -> Play {
            let root = tempfile::tempdir().expect("a folder");
            let folder = root.path().join("export");
            fs::create_dir(&folder).expect("a folder");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            Play { root, to: Destination { folder, peer: "export".to_owned() }, runtime }
        }

        /// A DICOM file as the spool names it.
        fn object(&self, name: &str) -> PathBuf {
            let thorax = Thorax::random(1).coarser(16).with_slice_spacing(50.0);
            let phantom = render(&thorax, |_| ()).expect("a phantom");
            let (_, bytes) =
                instances(&phantom, &Identity::of(&thorax)).next().expect("an image").expect("an instance");
            let path = self.root.path().join(name);
            fs::write(&path, bytes).expect("written");
            path
        }

        fn store(&self, path: &Path) -> String {
            self.runtime.block_on(store(&self.to, &[path.to_owned()])).to_string()
        }

        fn find(&self, path: &Path) -> Shown {
            self.runtime.block_on(find(&self.to, &[path.to_owned()]))
        }

        fn listed(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.to.folder).expect("a folder");
            let mut names: Vec<String> =
                entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_file_appears_whole_once_and_is_never_overwritten() {
        let play = Play::begin();
        let path = play.object("RS.1.2.dcm");
        // What a crash has left of an earlier attempt.
        fs::write(play.to.folder.join(".RS.1.2.dcm.export.part"), "half").expect("written");
        assert!(matches!(play.find(&path), Shown::Missing { .. }));
        fs::set_permissions(&play.to.folder, fs::Permissions::from_mode(0o2750)).expect("a right");
        assert_eq!(play.store(&path), "delivered");
        assert_eq!(play.listed(), ["RS.1.2.dcm"]);
        let mode = fs::metadata(play.to.folder.join("RS.1.2.dcm")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "who may look into the folder may read it");
        assert_eq!(play.store(&path), "delivered", "the same bytes again");
        assert_eq!(play.find(&path), Shown::All);
        let target = play.to.folder.join("RS.1.2.dcm");
        assert_eq!(fs::read(&path).expect("there"), fs::read(&target).expect("there"));

        let mut bytes = fs::read(&path).expect("there");
        *bytes.last_mut().expect("a byte") ^= 1;
        fs::write(&target, &bytes).expect("written");
        let told = play.store(&path);
        assert!(told.starts_with("refused: ") && told.contains("found other bytes under this name"), "{told}");
        assert!(matches!(play.find(&path), Shown::Missing { reason } if reason.contains("other bytes")));
        assert_eq!(fs::read(&target).expect("there"), bytes, "what is there stays");
        fs::remove_file(&target).expect("removed");
        std::os::unix::fs::symlink(&path, &target).expect("a link");
        assert!(play.store(&path).starts_with("refused: "), "a link is not followed");
    }

    #[test]
    fn what_lies_under_the_hidden_name_is_neither_followed_nor_written_into() {
        let play = Play::begin();
        let path = play.object("RS.1.2.dcm");
        let hidden = play.to.folder.join(".RS.1.2.dcm.export.part");
        let other = play.root.path().join("ledger");
        fs::write(&other, "kept").expect("written");
        std::os::unix::fs::symlink(&other, &hidden).expect("a link");
        assert_eq!(play.store(&path), "delivered");
        assert_eq!(fs::read_to_string(&other).expect("there"), "kept", "a link is not followed");
        let target = play.to.folder.join("RS.1.2.dcm");
        assert!(fs::symlink_metadata(&target).expect("there").is_file());
        fs::remove_file(&target).expect("removed");
        fs::hard_link(&other, &hidden).expect("a link");
        assert_eq!(play.store(&path), "delivered");
        assert_eq!(fs::read_to_string(&other).expect("there"), "kept", "a second name is not written into");
        // A file system without such a rename can leave both names after a crash.
        fs::hard_link(&target, &hidden).expect("a link");
        assert_eq!(play.store(&path), "delivered");
        assert_eq!(play.listed(), ["RS.1.2.dcm"], "what was left of an earlier attempt is gone");
    }

    #[test]
    fn an_attempt_that_nobody_waits_for_leaves_nothing_there() {
        let play = Play::begin();
        let path = play.object("RS.1.2.dcm");
        let abandoned = WaitedFor::default();
        let seen = Arc::clone(&abandoned.0);
        put(&play.to, &path, "RS.1.2.dcm", &seen).expect("it is waited for");
        fs::remove_file(play.to.folder.join("RS.1.2.dcm")).expect("removed");
        drop(abandoned);
        let told = put(&play.to, &path, "RS.1.2.dcm", &seen).expect_err("nobody waits").outcome().to_string();
        assert!(told.contains("the attempt took too long"), "{told}");
        assert_eq!(play.listed(), [""; 0]);
    }

    #[test]
    fn an_attempt_whose_time_is_over_is_told_and_the_next_waits_for_its_end() {
        let play = Play::begin();
        let path = play.object("RS.1.2.dcm");
        // What a mount that hangs does: the work ends only after nobody waits for it.
        static TOLD: AtomicBool = AtomicBool::new(false);
        fn hangs(_: &Destination, _: &Path, _: &str, abandoned: &AtomicBool) -> Result<(), FolderError> {
            while !abandoned.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            TOLD.store(true, Ordering::Release);
            Ok(())
        }
        let limit = Duration::from_millis(50);
        let ended = play.runtime.block_on(async { timeout(limit, each(&play.to, &path, hangs)).await });
        assert!(ended.is_err(), "its time is over");
        while !TOLD.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let hold = Hold::take(&play.to.folder.join(".RS.1.2.dcm.export.part")).expect("free");
        let told = play.store(&path);
        assert!(told.contains("an earlier attempt still waits") && told.ends_with("trying again can help"), "{told}");
        drop(hold);
        assert_eq!(play.store(&path), "delivered");
    }

    #[test]
    fn a_file_system_that_cannot_be_asked_to_keep_names_is_no_failure() {
        // The file system of processes knows no fsync of a folder, as many of other machines.
        assert!(sync_folder(Path::new("/proc/self")).is_err());
        settle(Path::new("/proc/self")).expect("no failure");
        assert!(settle(Path::new("/proc/self/absent")).is_err());
    }

    #[test]
    fn an_absent_folder_and_one_that_takes_nothing_may_come_back() {
        let mut play = Play::begin();
        let path = play.object("RS.1.2.dcm");
        let good = play.to.folder.clone();
        play.to.folder = good.join("absent");
        let told = play.store(&path);
        assert!(told.contains("found nothing there; is it mounted?; trying again can help"), "{told}");
        assert!(matches!(play.find(&path), Shown::Unknown(Outcome::Retry { .. })));
        // Nobody, not even root, may write there.
        play.to.folder = PathBuf::from("/proc/self/fd");
        let told = play.store(&path);
        assert!(told.starts_with("not delivered: folder /proc/self/fd: "), "{told}");
        assert!(told.ends_with("trying again can help"), "{told}");
    }

    #[test]
    fn what_is_no_dicom_file_or_has_another_name_goes_nowhere() {
        let play = Play::begin();
        let good = play.object("RS.1.2.dcm");
        for name in [".hidden.dcm", "RS.1.2.exe", "RS 1.dcm", "RS\u{e4}.dcm"] {
            let path = play.root.path().join(name);
            fs::copy(&good, &path).expect("copied");
            assert!(play.store(&path).starts_with("refused: "), "{name}");
        }
        let half = play.root.path().join("RS.1.3.dcm");
        let bytes = fs::read(&good).expect("there");
        fs::write(&half, &bytes[..bytes.len() / 2]).expect("written");
        assert!(play.store(&half).starts_with("refused: "));
        assert_eq!(play.listed(), [""; 0]);
    }
}
