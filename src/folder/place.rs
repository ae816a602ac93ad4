//! Takes a file out of a watched folder when it is done with: removes it, or moves it beside; never over another file, and
//! never one that has changed since it was read. Each folder on the way is opened by its name and held, so that a link
//! that somebody puts there leads nowhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::relative;
use super::scan::{Entry, Stamp};

/// Where stored files go that are kept.
pub(super) const DONE: &str = "done";

/// Where files go that are refused.
pub(super) const REFUSED: &str = "refused";

/// How the names of files end that are on their way out. One that a crash has left is looked at as any other.
pub(super) const TAKEN: &str = ".contourd-taken";

/// Names that are tried for a file whose own is taken there.
const NAMES_MAX: usize = 10_000;

/// A name in a folder that is held open.
type At<'a> = (&'a OwnedFd, &'a OsStr);

/// Opens a file that a look has found: no link, none on the way to it, and nothing that waits for a writer.
pub(super) fn open(root: &Path, entry: &Entry) -> io::Result<File> {
    let (folder, name) = folder_of(root, entry)?;
    open_at((&folder, name))
}

/// Removes a file that is durable elsewhere. It gets a name of ours first, so that what is removed is what was read, and not
/// what somebody puts under the name meanwhile.
pub(super) fn remove(root: &Path, entry: &Entry) -> io::Result<()> {
    let (folder, name) = folder_of(root, entry)?;
    check((&folder, name), |found| *found == entry.stamp)?;
    let private = set_aside((&folder, name), &folder, &entry.stamp)?;
    if let Err(error) = check((&folder, &private), |found| found.is_moved(&entry.stamp)) {
        // Where the name is taken again, it is looked at under the other.
        let _ = rename_new((&folder, &private), (&folder, name));
        return Err(error);
    }
    Ok(rustix::fs::unlinkat(&folder, &private, AtFlags::empty())?)
}

/// Moves a file that is durable elsewhere to `done`.
pub(super) fn keep(root: &Path, entry: &Entry) -> io::Result<()> {
    let (from, name) = folder_of(root, entry)?;
    check((&from, name), |found| *found == entry.stamp)?;
    let to = folder_beside(root, DONE, entry)?;
    for number in 0..NAMES_MAX {
        if carry((&from, name), (&to, &numbered(name, number)), &entry.stamp)? {
            return Ok(());
        }
    }
    Err(too_many())
}

/// Moves a file to `refused`, with a text beside it that says why. The text is first: after a crash between them, the file
/// is looked at again.
pub(super) fn refuse(root: &Path, entry: &Entry, reason: &str) -> io::Result<()> {
    let (from, name) = folder_of(root, entry)?;
    check((&from, name), |found| *found == entry.stamp)?;
    let to = folder_beside(root, REFUSED, entry)?;
    for number in 0..NAMES_MAX {
        let target = numbered(name, number);
        let text = with_ending(&target, ".txt");
        if is_there((&to, &target)) || !write_new((&to, &text), reason)? {
            continue;
        }
        match carry((&from, name), (&to, &target), &entry.stamp) {
            Ok(true) => return Ok(()),
            // Somebody took the name meanwhile, or the file is another: the text is of none.
            other => {
                rustix::fs::unlinkat(&to, &text, AtFlags::empty())?;
                other?;
            }
        }
    }
    Err(too_many())
}

fn too_many() -> io::Error {
    io::Error::other("too many files of this name are there already")
}

/// Whether the file of this name is one that fits.
fn check(at: At<'_>, fits: impl Fn(&Stamp) -> bool) -> io::Result<()> {
    match Stamp::of(&open_at(at)?.metadata()?) {
        Some(stamp) if fits(&stamp) => Ok(()),
        _ => Err(io::Error::other("it was replaced while it was read")),
    }
}

/// Moves a file and looks whether it is the one that was read: between a look at a name and its change it can be given to
/// another file. That one is moved back. `false` when the new name is taken.
fn carry(from: At<'_>, to: At<'_>, stamp: &Stamp) -> io::Result<bool> {
    if !rename_new(from, to)? {
        return Ok(false);
    }
    if let Err(error) = check(to, |found| found.is_moved(stamp)) {
        if !matches!(rename_new(to, from), Ok(true)) {
            set_aside(to, from.0, stamp)?;
        }
        return Err(error);
    }
    Ok(true)
}

/// Gives a file a name of ours in this folder.
fn set_aside(from: At<'_>, folder: &OwnedFd, stamp: &Stamp) -> io::Result<OsString> {
    for number in 0..NAMES_MAX {
        let private = OsString::from(format!(".{}-{number}{TAKEN}", stamp.inode()));
        if rename_new(from, (folder, &private))? {
            return Ok(private);
        }
    }
    Err(too_many())
}

/// The folder that a file lies in, and its name there.
fn folder_of<'a>(root: &Path, entry: &'a Entry) -> io::Result<(OwnedFd, &'a OsStr)> {
    let below = relative(root, &entry.path);
    let name = below.file_name().ok_or_else(|| io::Error::other("a path without a name"))?;
    Ok((folder(root, below.parent().unwrap_or(Path::new("")), false)?, name))
}

/// The folder below one of ours where a file belongs; it is made.
fn folder_beside(root: &Path, kind: &str, entry: &Entry) -> io::Result<OwnedFd> {
    let below = relative(root, &entry.path).parent().unwrap_or(Path::new(""));
    folder(root, &PathBuf::from(kind).join(below), true)
}

/// Opens a folder below a watched one, name by name: a link on the way is no folder.
fn folder(root: &Path, below: &Path, make: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(root, flags, Mode::empty())?;
    for part in below.components() {
        let Component::Normal(name) = part else { return Err(io::Error::other("a path that leaves the folder")) };
        if make {
            match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        at = rustix::fs::openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => io::Error::other("a link or a file stands where a folder is expected"),
            error => error.into(),
        })?;
    }
    Ok(at)
}

fn open_at((folder, name): At<'_>) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?.into())
}

fn is_there((folder, name): At<'_>) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Writes a file that is not there yet; says whether it did.
fn write_new((folder, name): At<'_>, text: &str) -> io::Result<bool> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => File::from(file).write_all(text.as_bytes()).map(|()| true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A name, with a number behind it where it is taken.
fn numbered(name: &OsStr, number: usize) -> OsString {
    if number == 0 { name.to_owned() } else { with_ending(name, &format!(".{number}")) }
}

fn with_ending(name: &OsStr, ending: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(ending);
    name
}

/// Renames unless the name is taken; says whether it did.
fn rename_new((from, name): At<'_>, (to, new): At<'_>) -> io::Result<bool> {
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // Shares on the network know no such rename; nobody but us writes under these names.
        Err(Errno::INVAL | Errno::NOSYS) if is_there((to, new)) => Ok(false),
        Err(Errno::INVAL | Errno::NOSYS) => Ok(rustix::fs::renameat(from, name, to, new).map(|()| true)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

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
    fn a_reason_is_never_written_over_a_refused_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let read = |name: &str| fs::read_to_string(root.join(name)).expect(name);
        refuse(root, &entry(root, "IM1.txt", "a text"), "no DICOM").expect("moved");
        refuse(root, &entry(root, "IM1", "an image"), "cut").expect("moved");
        assert_eq!((read("refused/IM1.txt"), read("refused/IM1.txt.txt")), ("a text".into(), "no DICOM".into()));
        assert_eq!((read("refused/IM1.1"), read("refused/IM1.1.txt")), ("an image".into(), "cut".into()));
    }

    #[test]
    fn links_lead_nowhere() {
        let (folder, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (root, outside) = (folder.path(), elsewhere.path());
        let ledger = outside.join("ledger");
        fs::write(&ledger, "precious").expect("written");
        // A text that would be written through a link.
        fs::create_dir(root.join("refused")).expect("a folder");
        symlink(&ledger, root.join("refused/1.dcm.txt")).expect("a link");
        refuse(root, &entry(root, "1.dcm", "bad"), "why").expect("moved");
        assert_eq!(fs::read_to_string(&ledger).expect("there"), "precious");
        assert_eq!(fs::read_to_string(root.join("refused/1.dcm.1.txt")).expect("there"), "why");
        // Folders that are links: ours, and one on the way to a file.
        symlink(outside, root.join("done")).expect("a link");
        let file = entry(root, "2.dcm", "good");
        assert!(keep(root, &file).expect_err("a link").to_string().contains("a link or a file stands where"));
        symlink(outside, root.join("way")).expect("a link");
        let stamp = Stamp::of(&ledger.metadata().expect("there")).expect("a file");
        let through = Entry { path: root.join("way/ledger"), stamp };
        assert!(open(root, &through).is_err() && remove(root, &through).is_err());
        assert_eq!(fs::read_dir(outside).expect("readable").count(), 1);
        assert!(file.path.exists() && ledger.exists());
    }

    #[test]
    fn leaves_what_has_changed_since() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let old = entry(root, "1.dcm", "old");
        fs::write(&old.path, "another").expect("written");
        for placed in [remove(root, &old), keep(root, &old), refuse(root, &old, "why")] {
            assert_eq!(placed.expect_err("changed").to_string(), "it was replaced while it was read");
        }
        assert_eq!(fs::read_to_string(&old.path).expect("there"), "another");
        let now = entry(root, "1.dcm", "now");
        remove(root, &now).expect("removed");
        assert!(remove(root, &now).is_err(), "gone");
        assert!(
            fs::read_dir(root).expect("readable").all(|entry| entry.expect("one").path().is_dir()),
            "nothing is left"
        );
    }

    #[test]
    fn a_file_that_took_the_name_meanwhile_is_moved_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let read = entry(root, "1.dcm", "old");
        fs::rename(&read.path, root.join("away")).expect("moved");
        let (newer, stamp) = (entry(root, "1.dcm", "newer"), read.stamp);
        let (from, name) = folder_of(root, &newer).expect("there");
        let to = folder_beside(root, DONE, &newer).expect("made");
        let carried = carry((&from, name), (&to, name), &stamp);
        assert_eq!(carried.expect_err("another").to_string(), "it was replaced while it was read");
        assert_eq!(fs::read_to_string(&newer.path).expect("there"), "newer");
        // One that a crash left under our name can be removed as any other.
        let left = entry(root, &format!(".{}-0{TAKEN}", newer.stamp.inode()), "left");
        remove(root, &left).expect("removed");
        assert!(!left.path.exists() && newer.path.exists());
    }
}
