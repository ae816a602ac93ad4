//! Takes a file out of a watched folder when it is done with: removes it, or moves it beside; never over another file, and
//! never one that has changed since it was read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::relative;
use super::scan::{Entry, Stamp};

/// Where stored files go that are kept.
pub(super) const DONE: &str = "done";

/// Where files go that are refused.
pub(super) const REFUSED: &str = "refused";

/// Names that are tried for a file whose own is taken there.
const NAMES_MAX: usize = 10_000;

/// Removes a file that is durable elsewhere.
pub(super) fn remove(entry: &Entry) -> io::Result<()> {
    check(entry)?;
    fs::remove_file(&entry.path)
}

/// Moves a file that is durable elsewhere to `done`.
pub(super) fn keep(root: &Path, entry: &Entry) -> io::Result<()> {
    check(entry)?;
    for number in 0..NAMES_MAX {
        let target = target(root, DONE, entry, number)?;
        if rename_new(&entry.path, &target)? {
            return Ok(());
        }
    }
    Err(io::Error::other("too many files of this name are there already"))
}

/// Moves a file to `refused`, with a text beside it that says why. The text is first: after a crash between them, the file
/// is looked at again.
pub(super) fn refuse(root: &Path, entry: &Entry, reason: &str) -> io::Result<()> {
    check(entry)?;
    for number in 0..NAMES_MAX {
        let target = target(root, REFUSED, entry, number)?;
        let text = with_ending(&target, ".txt");
        if target.symlink_metadata().is_ok() {
            continue;
        }
        fs::write(&text, reason)?;
        if rename_new(&entry.path, &target)? {
            return Ok(());
        }
        // Somebody took the name meanwhile.
        fs::remove_file(&text)?;
    }
    Err(io::Error::other("too many files of this name are there already"))
}

/// Whether the file is still the one that was read.
fn check(entry: &Entry) -> io::Result<()> {
    match Stamp::of(&entry.path.symlink_metadata()?) {
        Some(stamp) if stamp == entry.stamp => Ok(()),
        _ => Err(io::Error::other("it was replaced while it was read")),
    }
}

/// The path of a file below one of our folders, with a number where its own name is taken; its folder is made.
fn target(root: &Path, kind: &str, entry: &Entry, number: usize) -> io::Result<PathBuf> {
    let own = root.join(kind).join(relative(root, &entry.path));
    if let Some(folder) = own.parent().filter(|_| number == 0) {
        fs::create_dir_all(folder)?;
    }
    Ok(if number == 0 { own } else { with_ending(&own, &format!(".{number}")) })
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Renames unless the name is taken; says whether it did.
fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // Shares on the network know no such rename; nobody but us writes into these folders.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_ok() => Ok(false),
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to).map(|()| true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(root: &Path, name: &str, text: &str) -> Entry {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("written");
        let stamp = Stamp::of(&path.symlink_metadata().expect("there")).expect("a file");
        Entry { path, stamp }
    }

    #[test]
    fn moves_beside_and_never_over_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let read = |name: &str| fs::read_to_string(root.join(name)).expect(name);
        for (number, text) in ["first", "second", "third"].iter().enumerate() {
            keep(root, &entry(root, "a/1.dcm", text)).expect("moved");
            refuse(root, &entry(root, "2.dcm", text), &format!("reason {number}")).expect("moved");
        }
        assert_eq!(
            (read("done/a/1.dcm"), read("done/a/1.dcm.1"), read("done/a/1.dcm.2")),
            ("first".into(), "second".into(), "third".into())
        );
        assert_eq!((read("refused/2.dcm"), read("refused/2.dcm.txt")), ("first".into(), "reason 0".into()));
        assert_eq!((read("refused/2.dcm.1"), read("refused/2.dcm.1.txt")), ("second".into(), "reason 1".into()));
        assert!(!root.join("a/1.dcm").exists() && !root.join("2.dcm").exists());
    }

    #[test]
    fn leaves_what_has_changed_since() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let old = entry(root, "1.dcm", "old");
        fs::write(&old.path, "another").expect("written");
        for placed in [remove(&old), keep(root, &old), refuse(root, &old, "why")] {
            assert_eq!(placed.expect_err("changed").to_string(), "it was replaced while it was read");
        }
        assert_eq!(fs::read_to_string(&old.path).expect("there"), "another");
        let now = entry(root, "1.dcm", "now");
        remove(&now).expect("removed");
        assert!(remove(&now).is_err(), "gone");
    }
}
