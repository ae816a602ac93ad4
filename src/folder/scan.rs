//! Looks through a watched folder and says which of its files have come to rest; it opens none.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::place::{DONE, REFUSED, TAKEN};
use crate::limits::{FOLDER_CUT_PATIENCE, FOLDER_DEPTH_MAX, FOLDER_FILES_MAX};

/// Tells a version of a file: device, inode, size, and the times of the last change of its content and of anything in it.
/// The second time is the system's own: a copy that sets the first one back shows in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub size_bytes: u64,
    changed: (i64, i64),
    touched: (i64, i64),
}

impl Stamp {
    /// How a file is called in the log: its name can be that of a patient. `find -inum` finds it.
    pub fn told(&self) -> String {
        format!("the file with inode {}", self.inode)
    }

    /// `None` for what is no regular file.
    pub fn of(data: &Metadata) -> Option<Stamp> {
        let (changed, touched) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
        let (device, inode, size_bytes) = (data.dev(), data.ino(), data.len());
        data.is_file().then_some(Stamp { device, inode, size_bytes, changed, touched })
    }

    /// Whether it is the same file under another name: a rename shows in the second time.
    pub fn is_moved(&self, before: &Stamp) -> bool {
        Stamp { touched: before.touched, ..*self } == *before
    }

    /// Whether it is the file under this path, whatever has become of it.
    pub fn is_of(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok_and(|data| (data.dev(), data.ino()) == (self.device, self.inode))
    }

    pub fn inode(&self) -> u64 {
        self.inode
    }
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub path: PathBuf,
    pub stamp: Stamp,
}

/// What is known of a file from earlier looks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub stamp: Stamp,
    /// Since when it has been as it is.
    pub since: Instant,
    /// Before which it is not tried again.
    pub not_before: Option<Instant>,
    /// How often it has failed by a defect of this program.
    pub tries: u32,
    /// How often it has failed otherwise, so that it is tried ever more rarely.
    pub failures: u32,
    /// It was taken, and could not be moved away.
    pub is_done: bool,
}

impl Seen {
    /// A file that is seen for the first time.
    pub fn now(entry: &Entry) -> Seen {
        Seen { stamp: entry.stamp, since: Instant::now(), not_before: None, tries: 0, failures: 0, is_done: false }
    }
}

/// Endings of names that programs give to files which they have not finished.
const UNFINISHED: [&[u8]; 7] = [b"~", b".part", b".tmp", b".partial", b".filepart", b".crdownload", b".incomplete"];

fn is_unfinished(name: &[u8]) -> bool {
    let ends =
        |ending: &&[u8]| name.len() >= ending.len() && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending);
    !name.ends_with(TAKEN.as_bytes()) && (name.starts_with(b".") || UNFINISHED.iter().any(ends))
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Found {
    pub entries: Vec<Entry>,
    /// There is more than is seen at once.
    pub is_cut: bool,
}

/// The files in a folder and the folders in it, in the order of their names; no link is followed, and what is neither file
/// nor folder is passed over. An empty file waits for its content. `done` files of it were taken and have to stay: they take
/// no room from others.
///
/// # Errors
/// The folder cannot be read. One within it that cannot be read is passed over.
pub(super) fn scan(root: &Path, done: usize) -> io::Result<Found> {
    let (mut found, mut folders, mut is_cut) = (Vec::new(), vec![(root.to_owned(), 0)], false);
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if depth == 0 => return Err(error),
            Err(_) => continue,
            Ok(entries) => entries,
        };
        for entry in entries.filter_map(Result::ok) {
            let (name, path) = (entry.file_name(), entry.path());
            let is_ours = depth == 0 && (name == DONE || name == REFUSED);
            if is_ours || is_unfinished(name.as_bytes()) {
                continue;
            }
            // Of a link itself, not of what it leads to.
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() && depth < FOLDER_DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if let Some(stamp) = Stamp::of(&data).filter(|stamp| stamp.size_bytes > 0) {
                found.push(Entry { path, stamp });
            }
            let is_full = found.len() >= FOLDER_FILES_MAX + done;
            if is_full {
                folders.clear();
            }
            if is_full || folders.len() >= FOLDER_FILES_MAX {
                is_cut = true;
                break;
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Found { entries: found, is_cut })
}

/// What is to be done with what was found.
#[derive(Debug, PartialEq)]
pub(super) struct Due {
    /// Those that have been as they are for long enough.
    pub ready: Vec<Entry>,
    /// How long it takes until the next one has been.
    pub next: Option<Duration>,
    /// Whether something came so lately that it may be part of a copy which goes on.
    pub is_open: bool,
}

/// Which files have been as they are for long enough. What is not there any more is forgotten.
pub(super) fn due(seen: &mut HashMap<PathBuf, Seen>, found: Vec<Entry>, now: Instant, settle: Duration) -> Due {
    let mut due = Due { ready: Vec::new(), next: None, is_open: false };
    let mut kept = HashMap::with_capacity(found.len());
    for entry in found {
        let state = match seen.remove(&entry.path) {
            Some(state) if state.stamp == entry.stamp => state,
            _ => Seen { since: now, ..Seen::now(&entry) },
        };
        let due_at = (state.since + settle).max(state.not_before.unwrap_or(now));
        if state.is_done {
        } else if due_at <= now {
            due.ready.push(entry.clone());
        } else {
            let left = due_at - now;
            due.next = Some(due.next.map_or(left, |next: Duration| next.min(left)));
            // One that cannot be read must not keep the others from their end.
            due.is_open |= now < state.since + settle * FOLDER_CUT_PATIENCE;
        }
        kept.insert(entry.path, state);
    }
    *seen = kept;
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_files_in_folders_and_nothing_else() {
        let root = tempfile::tempdir().expect("a folder");
        let path = |name: &str| root.path().join(name);
        for name in ["a/b/c", "done", "refused", ".hidden", "deep"] {
            fs::create_dir_all(path(name)).expect("a folder");
        }
        for name in [
            "1.dcm",
            "a/2",
            "a/b/c/done",
            "done/3",
            "refused/4",
            ".hidden/5",
            ".6",
            "7.part",
            "8.TMP",
            "9~",
            "a/x.filepart",
            "a/.5-0.contourd-taken",
        ] {
            fs::write(path(name), b"x").expect("written");
        }
        fs::write(path("empty"), b"").expect("written");
        std::os::unix::fs::symlink(path("1.dcm"), path("link")).expect("a link");
        std::os::unix::fs::symlink(root.path(), path("a/loop")).expect("a link");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        let mut deep = path("deep");
        for _ in 0..FOLDER_DEPTH_MAX + 2 {
            deep = deep.join("d");
        }
        fs::create_dir_all(&deep).expect("folders");
        fs::write(deep.join("x"), b"x").expect("written");
        let Found { entries: found, is_cut } = scan(root.path(), 0).expect("readable");
        assert!(!is_cut);
        let names: Vec<_> = found.iter().map(|entry| super::super::relative(root.path(), &entry.path)).collect();
        assert_eq!(
            names,
            ["1.dcm", "a/.5-0.contourd-taken", "a/2", "a/b/c/done"].map(Path::new),
            "also what a crash left"
        );
        assert!(scan(&path("none"), 0).is_err());
    }

    #[test]
    fn a_file_is_due_when_it_has_not_changed_for_a_time() {
        let settle = Duration::from_secs(5);
        let entry = |name: &str, size_bytes| Entry {
            path: name.into(),
            stamp: Stamp { device: 1, inode: 2, size_bytes, changed: (3, 4), touched: (5, 6) },
        };
        let (mut seen, begin) = (HashMap::new(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut look = |seconds, found: &[(&str, u64)]| {
            let found = found.iter().map(|(name, size)| entry(name, *size)).collect();
            let Due { ready, next, is_open } = due(&mut seen, found, at(seconds), settle);
            assert_eq!(is_open, next.is_some(), "a copy may go on at {seconds}");
            (ready.iter().map(|entry| entry.path.display().to_string()).collect::<Vec<_>>().join(" "), next)
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(look(0, &[("a", 1)]), (String::new(), seconds(5)));
        assert_eq!(look(4, &[("a", 2), ("b", 1)]), (String::new(), seconds(5)), "it grows");
        assert_eq!(look(9, &[("a", 2), ("b", 1)]), ("a b".to_owned(), None));
        assert_eq!(look(10, &[("b", 1)]), ("b".to_owned(), None), "it is still there");
        assert_eq!(look(11, &[("a", 2)]), (String::new(), seconds(5)), "one that comes again is another");
        let state = Seen { is_done: true, ..Seen::now(&entry("a", 2)) };
        let mut seen = HashMap::from([("a".into(), state)]);
        let nothing = Due { ready: Vec::new(), next: None, is_open: false };
        assert_eq!(due(&mut seen, vec![entry("a", 2)], at(60), settle), nothing, "taken already");
        assert_eq!(due(&mut seen, vec![entry("a", 3)], at(60), settle).next, seconds(5), "it has changed since");
        let state = Seen { not_before: Some(at(200)), since: begin, ..Seen::now(&entry("a", 2)) };
        let mut seen = HashMap::from([("a".into(), state)]);
        let mut is_open = |seconds| due(&mut seen, vec![entry("a", 2)], at(seconds), settle).is_open;
        assert_eq!((is_open(59), is_open(61)), (true, false), "one that cannot be read holds nothing open for ever");
    }

    #[test]
    fn a_change_that_sets_its_time_back_is_one_and_a_new_name_is_none() {
        let root = tempfile::tempdir().expect("a folder");
        let (path, other) = (root.path().join("1"), root.path().join("2"));
        let stamp = |path: &Path| Stamp::of(&path.symlink_metadata().expect("there")).expect("a file");
        fs::write(&path, b"old").expect("written");
        let (before, time) = (stamp(&path), path.metadata().and_then(|data| data.modified()).expect("a time"));
        // The clock of the file system has steps of some milliseconds.
        std::thread::sleep(Duration::from_millis(50));
        fs::write(&path, b"new").expect("written");
        fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(time)).expect("set back");
        let after = stamp(&path);
        assert_ne!(after, before);
        fs::rename(&path, &other).expect("moved");
        assert!(stamp(&other).is_moved(&after) && after.is_of(&other) && !after.is_of(&path));
    }
}
