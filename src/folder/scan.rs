//! Looks through a watched folder and says which of its files have come to rest; it opens none.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::place::{DONE, REFUSED};
use crate::limits::{FOLDER_DEPTH_MAX, FOLDER_FILES_MAX};

/// Tells a version of a file: device, inode, size, and time of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub size_bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// How a file is called in the log: its name can be that of a patient. `find -inum` finds it.
    pub fn told(&self) -> String {
        format!("the file with inode {}", self.inode)
    }

    /// `None` for what is no regular file.
    pub fn of(data: &Metadata) -> Option<Stamp> {
        let changed = (data.mtime(), data.mtime_nsec());
        data.is_file().then_some(Stamp { device: data.dev(), inode: data.ino(), size_bytes: data.len(), changed })
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
    /// It was taken, and could not be moved away.
    pub is_done: bool,
}

impl Seen {
    /// A file that is seen for the first time.
    pub fn now(entry: &Entry) -> Seen {
        Seen { stamp: entry.stamp, since: Instant::now(), not_before: None, tries: 0, is_done: false }
    }
}

/// Endings of names that programs give to files which they have not finished.
const UNFINISHED: [&[u8]; 7] = [b"~", b".part", b".tmp", b".partial", b".filepart", b".crdownload", b".incomplete"];

fn is_unfinished(name: &[u8]) -> bool {
    let ends =
        |ending: &&[u8]| name.len() >= ending.len() && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending);
    name.starts_with(b".") || UNFINISHED.iter().any(ends)
}

/// The files in a folder and the folders in it, in the order of their names; no link is followed, and what is neither file
/// nor folder is passed over. An empty file waits for its content.
///
/// # Errors
/// The folder cannot be read. One within it that cannot be read is passed over.
pub(super) fn scan(root: &Path) -> io::Result<Vec<Entry>> {
    let (mut found, mut folders) = (Vec::new(), vec![(root.to_owned(), 0)]);
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
            if found.len() >= FOLDER_FILES_MAX || folders.len() >= FOLDER_FILES_MAX {
                folders.clear();
                break;
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Those that have been as they are for long enough, and how long it takes until the next one has been. What is not there
/// any more is forgotten.
pub(super) fn due(
    seen: &mut HashMap<PathBuf, Seen>,
    found: Vec<Entry>,
    now: Instant,
    settle: Duration,
) -> (Vec<Entry>, Option<Duration>) {
    let (mut ready, mut next, mut kept) = (Vec::new(), None, HashMap::with_capacity(found.len()));
    for entry in found {
        let state = match seen.remove(&entry.path) {
            Some(state) if state.stamp == entry.stamp => state,
            _ => Seen { since: now, ..Seen::now(&entry) },
        };
        let due_at = (state.since + settle).max(state.not_before.unwrap_or(now));
        if state.is_done {
        } else if due_at <= now {
            ready.push(entry.clone());
        } else {
            let left = due_at - now;
            next = Some(next.map_or(left, |next: Duration| next.min(left)));
        }
        kept.insert(entry.path, state);
    }
    *seen = kept;
    (ready, next)
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
        let found = scan(root.path()).expect("readable");
        let names: Vec<_> = found.iter().map(|entry| super::super::relative(root.path(), &entry.path)).collect();
        assert_eq!(names, [Path::new("1.dcm"), Path::new("a/2"), Path::new("a/b/c/done")]);
        assert!(scan(&path("none")).is_err());
    }

    #[test]
    fn a_file_is_due_when_it_has_not_changed_for_a_time() {
        let settle = Duration::from_secs(5);
        let entry = |name: &str, size_bytes| Entry {
            path: name.into(),
            stamp: Stamp { device: 1, inode: 2, size_bytes, changed: (3, 4) },
        };
        let (mut seen, begin) = (HashMap::new(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut look = |seconds, found: &[(&str, u64)]| {
            let found = found.iter().map(|(name, size)| entry(name, *size)).collect();
            let (ready, next) = due(&mut seen, found, at(seconds), settle);
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
        assert_eq!(due(&mut seen, vec![entry("a", 2)], at(60), settle), (Vec::new(), None), "taken already");
        assert_eq!(due(&mut seen, vec![entry("a", 3)], at(60), settle).1, seconds(5), "it has changed since");
    }
}
