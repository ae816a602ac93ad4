//! What the storage folder holds after ordinary and extraordinary days.

use std::time::{Duration, SystemTime};

use super::*;
use crate::job::JobId;

fn uid(text: &str) -> Uid {
    text.parse().expect("a legal UID")
}

fn series() -> SeriesKey {
    SeriesKey { study_instance_uid: uid("1.1"), series_instance_uid: uid("1.1.2") }
}

fn open(folder: &Path) -> Arc<Spool> {
    Spool::open(folder, 0).expect("a storage folder")
}

fn meta(syntax: &str) -> Meta {
    Meta {
        sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.2"),
        sop_instance_uid: uid("1.1.2.3"),
        transfer_syntax_uid: uid(syntax),
        calling_ae: "CT1".parse().ok(),
        called_ae: "CONTOURD".parse().ok(),
    }
}

fn store(spool: &Arc<Spool>, syntax: &str, data_set: &[u8]) -> Commit {
    let mut incoming = spool.receive(meta(syntax)).expect("room");
    data_set.chunks(3).for_each(|chunk| incoming.write(chunk).expect("room"));
    incoming.commit(&series()).expect("room")
}

const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

fn files(folder: &Path) -> usize {
    entries(folder).expect("a folder").count()
}

#[test]
fn stores_the_bytes_as_they_came_and_lists_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    let Commit::New(path) = store(&spool, IMPLICIT, b"the data set") else { panic!("a new instance") };
    assert!(fs::read(&path).expect("a file").ends_with(b"the data set"));
    let listed = spool.list(&series()).expect("a list");
    assert_eq!(listed, [Listed { series: series(), sop_instance_uid: uid("1.1.2.3"), path }]);
    let mut scanned = Vec::new();
    spool.scan(|listed| scanned.push(listed)).expect("a scan");
    assert_eq!(scanned, listed);
    let Digested { digest, size_bytes, .. } = spool.digest(&listed[0]).expect("a digest");
    assert_eq!((digest.len(), size_bytes), (64, 12));
}

#[test]
fn keeps_the_first_bytes_whatever_comes_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    let Commit::New(path) = store(&spool, IMPLICIT, b"first") else { panic!("a new instance") };
    let before = fs::read(&path).expect("a file");
    assert_eq!(store(&spool, IMPLICIT, b"first"), Commit::Identical);
    assert!(matches!(store(&spool, IMPLICIT, b"other"), Commit::Different { .. }));
    assert!(matches!(store(&spool, EXPLICIT, b"first"), Commit::Different { .. }));
    assert!(matches!(store(&spool, IMPLICIT, b"other"), Commit::Different { .. }));
    assert_eq!(fs::read(&path).expect("a file"), before);
    assert_eq!(files(&folder.path().join("incoming")), 0);
    let quarantine = folder.path().join("quarantine");
    assert_eq!(files(&quarantine), 2, "one for each other data set, not for each attempt");
    assert_eq!(spool.refused().expect("a list"), [uid("1.1.2.3")].into());
    for path in entries(&quarantine).expect("a folder") {
        fs::remove_file(path).expect("removed");
    }
    assert!(spool.refused().expect("a list").is_empty(), "an operator has looked at them");
}

#[test]
fn a_full_quarantine_still_tells_what_was_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let quarantine = folder.path().join("quarantine");
    for number in 0..QUARANTINE_FILES_MAX {
        fs::write(quarantine.join(format!("1.9.{number}-0123456789abcdef.dcm")), b"").expect("written");
    }
    let spool = open(folder.path());
    store(&spool, IMPLICIT, b"first");
    for other in [b"other", b"third"] {
        assert!(matches!(store(&spool, IMPLICIT, other), Commit::Different { .. }));
    }
    assert_eq!(files(&quarantine), QUARANTINE_FILES_MAX + 1);
    assert!(spool.refused().expect("a list").contains(&uid("1.1.2.3")));
}

#[test]
fn leaves_nothing_of_what_was_not_committed() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    let mut incoming = spool.receive(meta(IMPLICIT)).expect("room");
    incoming.write(b"half").expect("room");
    assert_eq!(files(&folder.path().join("incoming")), 1);
    drop(incoming);
    assert_eq!(files(&folder.path().join("incoming")), 0);
    assert_eq!(files(&folder.path().join("instances")), 0);
}

#[test]
fn removes_at_the_start_what_a_crash_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    store(&spool, IMPLICIT, b"first");
    drop(spool);
    fs::write(folder.path().join("incoming/7.part"), b"half").expect("a file");
    fs::create_dir(folder.path().join("work/0123456789ab")).expect("a folder");
    let spool = open(folder.path());
    assert_eq!((files(&folder.path().join("incoming")), files(&folder.path().join("work"))), (0, 0));
    assert_eq!(spool.list(&series()).expect("a list").len(), 1);
}

#[test]
fn refuses_a_second_gateway_on_the_same_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path());
    assert!(matches!(Spool::open(folder.path(), 0), Err(SpoolError::Locked { .. })));
    drop(first);
    open(folder.path());
}

#[test]
fn refuses_new_instances_below_the_floor() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(folder.path(), u64::MAX).expect("a storage folder");
    assert!(matches!(spool.receive(meta(IMPLICIT)), Err(SpoolError::Floor { .. })));
    assert_eq!(files(&folder.path().join("incoming")), 0);
}

#[test]
fn removes_a_series_and_its_empty_study() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    store(&spool, IMPLICIT, b"first");
    let (hour, now) = (Duration::from_secs(3_600), SystemTime::now());
    // An instance that the gateway acknowledged since is not taken away with the old ones.
    assert!(!spool.remove_series(&series(), now - hour).expect("looked at"));
    assert_eq!(spool.list(&series()).expect("a list").len(), 1);
    assert!(spool.remove_series(&series(), now + hour).expect("removed"));
    assert!(spool.remove_series(&series(), now + hour).expect("nothing to remove"));
    assert_eq!(files(&folder.path().join("instances")), 0);
    assert!(matches!(store(&spool, IMPLICIT, b"again"), Commit::New(_)));
}

#[test]
fn what_is_sent_again_while_its_series_is_removed_is_there_when_it_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let before = SystemTime::now() - Duration::from_secs(3_600);
    let path = spool.instance_path(&series(), &uid("1.1.2.3"));
    let (mut identical, mut new) = (0, 0);
    for _ in 0..300 {
        store(&spool, IMPLICIT, b"first");
        fs::File::open(&path).and_then(|file| file.set_modified(old)).expect("an old file");
        let sent = std::thread::scope(|scope| {
            let sender = scope.spawn(|| store(&spool, IMPLICIT, b"first"));
            spool.remove_series(&series(), before).expect("removed");
            sender.join().expect("no panic")
        });
        match sent {
            Commit::Identical => identical += 1,
            Commit::New(_) => new += 1,
            Commit::Different { .. } => panic!("the same bytes"),
        }
        assert!(path.exists(), "acknowledged as {sent:?} and lost");
    }
    println!("{identical} came before the removal, {new} after it");
    assert_eq!(files(&folder.path().join("work")), 0);
    // Of a series that is sent again in part, all stays: the part alone would be a shorter series.
    let other = spool.instance_path(&series(), &uid("1.1.2.4"));
    fs::copy(&path, &other).expect("a file");
    fs::File::open(&other).and_then(|file| file.set_modified(old)).expect("an old file");
    assert!(!spool.remove_series(&series(), before).expect("removed"));
    assert!(path.exists() && other.exists());
}

#[test]
fn takes_over_objects_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    let job = JobId::parse("0123456789ab").expect("a job");
    let produce = |bytes: &[u8]| {
        let work = spool.work_folder(&job).expect("a folder");
        fs::write(work.join("rtstruct.dcm"), bytes).expect("a file");
        fs::create_dir(work.join("pictures")).expect("a folder");
        fs::write(work.join("pictures/axial.png"), b"png").expect("a file");
        spool.adopt(&job).expect("taken over")
    };
    let objects = produce(b"result");
    assert_eq!(objects, [folder.path().join("objects/0123456789ab/rtstruct.dcm")]);
    assert_eq!(produce(b"second"), objects);
    assert_eq!(fs::read(&objects[0]).expect("a file"), b"result");
    assert_eq!(files(&folder.path().join("work")), 0);
    let named = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        spool.objects_named(&job, Some(&names)).expect("a list")
    };
    assert_eq!(spool.objects_named(&job, None).expect("a list"), objects);
    assert_eq!(named(&["rtstruct.dcm"]), objects);
    assert!(named(&["rtstruct.dcm", "gone.dcm"]).is_empty(), "all of them or none");
    spool.remove_objects(&job).expect("removed");
    assert!(spool.objects(&job).expect("a list").is_empty());
}

#[test]
fn takes_over_no_links() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path());
    let job = JobId::parse("0123456789ab").expect("a job");
    let work = spool.work_folder(&job).expect("a folder");
    std::os::unix::fs::symlink("/etc/passwd", work.join("rtstruct.dcm")).expect("a link");
    assert!(spool.adopt(&job).is_err());
    assert!(spool.objects(&job).expect("a list").is_empty());
}
