//! A watched folder: whole, growing, broken and repeated files, a kill at any moment, a full disk.

use std::fs;
use std::io::Write;
use std::time::Duration;

use crate::bytes::{CT, IMPLICIT, RT_PLAN, image};
use crate::gateway::{Gateway, SETTLE_S};
use crate::http::{ask, body, file, file_of, post};

/// Puts a file into the folder as careful programs do: under another name first.
fn put(gateway: &Gateway, name: &str, bytes: &[u8]) {
    let path = gateway.path("drop").join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    let part = path.with_extension("part");
    fs::write(&part, bytes).expect("written");
    fs::rename(&part, &path).expect("named");
}

fn is_empty(gateway: &Gateway) -> bool {
    gateway.files("drop").is_empty()
}

#[test]
fn a_folder_that_is_put_there_at_once_is_taken_whole() {
    let gateway = Gateway::start();
    let names: Vec<String> = (1..=300).map(|number| format!("1.2.{number}")).collect();
    // A whole tree appears under its name at once.
    let tree = gateway.path("tree");
    for (number, name) in names.iter().enumerate() {
        let folder = tree.join(format!("study/series {}", number % 3));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("IM{number:04}")), file(name)).expect("written");
    }
    fs::rename(&tree, gateway.path("drop/export")).expect("moved");
    gateway.wait("the files are not taken", is_empty);
    let kept = gateway.instances();
    assert_eq!(kept.len(), names.len());
    for name in &names {
        let found = &kept[name];
        assert!(found.ends_with(&image(name)), "{name} is there bit by bit");
        let head = String::from_utf8_lossy(&found[..found.len() - image(name).len()]).into_owned();
        assert!(head.contains("DROP") && head.contains("OTHER"), "{name} has the titles of the folder");
    }
    assert!(gateway.log().contains("files of a watched folder taken"), "{}", gateway.log());
    assert_eq!(ask(gateway.web, &post("/studies", &[], &body(&[file("1.2.1")]))).status, 200, "the same by STOW-RS");
    assert_eq!(gateway.store("CT01", "1.2.2"), 0, "the same by C-STORE");
    assert_eq!(gateway.instances().len(), names.len());
}

#[test]
fn a_file_that_grows_waits_and_unfinished_names_are_left() {
    let gateway = Gateway::start();
    let whole = file("1.2.1");
    for name in ["1.part", ".hidden", "x~", "y.tmp"] {
        fs::write(gateway.path("drop").join(name), file("1.2.9")).expect("written");
    }
    let mut growing = fs::File::create(gateway.path("drop/1.dcm")).expect("a file");
    for piece in whole.chunks(whole.len() / 12) {
        growing.write_all(piece).expect("written");
        growing.sync_all().expect("synchronised");
        std::thread::sleep(Duration::from_secs_f64(SETTLE_S / 2.0));
        if piece.len() == whole.len() / 12 {
            assert!(gateway.instances().is_empty(), "it is not whole yet");
        }
    }
    drop(growing);
    gateway.wait("the file is not taken", |gateway| gateway.files("drop").len() == 4);
    assert_eq!(gateway.instances().into_keys().collect::<Vec<_>>(), ["1.2.1"]);
    fs::rename(gateway.path("drop/1.part"), gateway.path("drop/9.dcm")).expect("named");
    gateway.wait("the file is not taken under its name", |gateway| gateway.files("drop").len() == 3);
    assert_eq!(gateway.files("drop"), [".hidden", "x~", "y.tmp"]);
}

#[test]
fn a_copy_that_stops_for_a_while_is_waited_for_before_it_is_refused() {
    let gateway = Gateway::start();
    let whole = file("1.2.1");
    let mut stopping = fs::File::create(gateway.path("drop/1.dcm")).expect("a file");
    stopping.write_all(&whole[..1_500]).expect("written");
    std::thread::sleep(Duration::from_secs_f64(SETTLE_S * 5.0));
    assert_eq!(gateway.files("drop"), ["1.dcm"], "it ends in the middle, and may go on");
    stopping.write_all(&whole[1_500..]).expect("written");
    drop(stopping);
    gateway.wait("the file is not taken", is_empty);
    fs::write(gateway.path("drop/2.dcm"), &whole[..1_500]).expect("written");
    gateway.wait("the cut file is not refused", |gateway| gateway.files("drop").len() == 2);
    assert_eq!(gateway.files("drop"), ["refused/2.dcm", "refused/2.dcm.txt"]);
    let why = fs::read_to_string(gateway.path("drop/refused/2.dcm.txt")).expect("a reason");
    assert!(why.contains("Status 0xC001: the data set ends in the middle"), "{why}");
}

#[test]
fn what_is_refused_is_kept_with_the_reason_and_read_once() {
    let gateway = Gateway::start();
    assert_eq!(gateway.store("CT01", "1.2.1"), 0);
    let other = [image("1.2.1"), crate::bytes::element(0xFFFC, 0xFFFC, &[0; 8])].concat();
    for (name, bytes, reason) in [
        ("text.txt", b"no DICOM".to_vec(), "expected a DICOM file (PS3.10)"),
        ("bare", image("1.2.2"), "expected a DICOM file (PS3.10)"),
        ("a/plan", file_of("1.2.3", "1.2.3", IMPLICIT, &image("1.2.3")), "0x0122"),
        ("a/class", file_of(RT_PLAN, "1.2.4", IMPLICIT, &image("1.2.4")), "0xA900"),
        ("syntax", file_of(CT, "1.2.5", "1.2.840.10008.1.2.4.100", &image("1.2.5")), "0xC122"),
        ("uid", file_of(CT, "../../x", IMPLICIT, &image("1.2.6")), "Media Storage SOP Instance UID"),
        ("other", file_of(CT, "1.2.1", IMPLICIT, &other), "0x0111"),
        ("large", file_of(CT, "1.2.7", IMPLICIT, &[image("1.2.7"), vec![0; 3 << 20]].concat()), "longer than"),
    ] {
        put(&gateway, name, &bytes);
        let (kept, text) = (format!("drop/refused/{name}"), format!("drop/refused/{name}.txt"));
        gateway.wait(name, |gateway| gateway.path(&kept).exists());
        let why = fs::read_to_string(gateway.path(&text)).expect("a reason");
        assert!(why.contains(reason), "{name}: {why}");
        assert!(!why.contains("Nobody"), "{name}: no patient in {why}");
        assert_eq!(fs::read(gateway.path(&kept)).expect("the file"), bytes, "{name} is as it was");
    }
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(gateway.files("drop").len(), 16, "{:?}", gateway.files("drop"));
    assert_eq!(gateway.log().matches("instance refused").count(), 8, "each is looked at once");
    assert_eq!(gateway.instances().len(), 1);
}

#[test]
fn stored_files_may_be_kept_beside() {
    let gateway = Gateway::start_with("keep");
    for round in 1..=2 {
        put(&gateway, "a/1.dcm", &file("1.2.1"));
        put(&gateway, "2.dcm", &file("1.2.2"));
        gateway.wait("the files are not taken", |gateway| gateway.files("drop/done").len() == 2 * round);
    }
    assert_eq!(gateway.files("drop"), ["done/2.dcm", "done/2.dcm.1", "done/a/1.dcm", "done/a/1.dcm.1"]);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(gateway.log().matches("instance refused").count(), 0);
    assert_eq!(gateway.instances().len(), 2);
}

#[test]
fn links_and_special_files_are_left() {
    let gateway = Gateway::start();
    let outside = gateway.path("outside.dcm");
    fs::write(&outside, file("1.2.1")).expect("written");
    let drop = gateway.path("drop");
    std::os::unix::fs::symlink(&outside, drop.join("link.dcm")).expect("a link");
    std::os::unix::fs::symlink(gateway.path("var"), drop.join("tree")).expect("a link");
    rustix::fs::mkfifoat(rustix::fs::CWD, drop.join("pipe.dcm"), rustix::fs::Mode::from_raw_mode(0o600))
        .expect("a pipe");
    put(&gateway, "last.dcm", &file("1.2.2"));
    gateway.wait("the file is not taken", |gateway| !gateway.path("drop/last.dcm").exists());
    assert_eq!(gateway.instances().into_keys().collect::<Vec<_>>(), ["1.2.2"]);
    assert!(outside.exists() && gateway.path("drop/link.dcm").is_symlink() && gateway.path("drop/pipe.dcm").exists());
}

#[test]
fn a_full_disk_makes_files_wait() {
    let mut gateway = Gateway::start();
    gateway.kill();
    gateway.configure("remove", 16 << 20);
    gateway.begin();
    put(&gateway, "1.dcm", &file("1.2.1"));
    gateway.wait("it is not told", |gateway| gateway.log().contains("its files wait"));
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(gateway.files("drop"), ["1.dcm"], "it waits, and is not refused");
    gateway.kill();
    gateway.configure("remove", 1);
    gateway.begin();
    gateway.wait("the file is not taken", is_empty);
    assert_eq!(gateway.instances().len(), 1);
}

#[test]
fn files_that_are_there_at_the_start_are_taken_and_those_that_are_durable_already_removed() {
    let mut gateway = Gateway::start();
    // Killed between the two steps: the instance is durable, and its file is still there.
    assert_eq!(
        ask(gateway.web, &post("/studies", &[("Authorization", "Basic Q1QwMTo=")], &body(&[file("1.2.1")]))).status,
        200
    );
    gateway.kill();
    put(&gateway, "1.dcm", &file("1.2.1"));
    put(&gateway, "2.dcm", &file("1.2.2"));
    gateway.begin();
    gateway.wait("the files are not taken", is_empty);
    assert_eq!(gateway.instances().len(), 2);
    let log = gateway.log();
    assert!(
        log.contains("\"stored\":1,\"identical\":1,\"refused\":0") || log.contains("stored=1 identical=1 refused=0"),
        "{log}"
    );
}

#[test]
fn a_kill_at_any_moment_loses_no_file() {
    let mut gateway = Gateway::start();
    let names: Vec<String> = (1..=400).map(|number| format!("1.2.{number}")).collect();
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..10 {
        for name in &names[round * 40..(round + 1) * 40] {
            put(&gateway, &format!("{name}.dcm"), &file(name));
        }
        // Some are stored then, some are stored and not removed, some wait.
        let (there, some) = (gateway.files("drop").len(), rng.usize(1..30));
        gateway.wait("nothing is taken", |gateway| gateway.files("drop").len() <= there.saturating_sub(some));
        std::thread::sleep(Duration::from_micros(rng.u64(0..5_000)));
        gateway.kill();
        gateway.begin();
    }
    gateway.wait("the files are not taken", is_empty);
    let kept = gateway.instances();
    assert_eq!(kept.len(), names.len());
    assert!(names.iter().all(|name| kept[name].ends_with(&image(name))), "each is there bit by bit");
    assert_eq!(gateway.files("drop"), Vec::<String>::new(), "none was refused");
}

#[test]
fn a_folder_that_is_not_there_yet_is_waited_for() {
    let mut gateway = Gateway::start();
    gateway.kill();
    fs::remove_dir_all(gateway.path("drop")).expect("removed");
    gateway.begin();
    gateway.wait("it is not told", |gateway| gateway.log().contains("cannot be read"));
    put(&gateway, "1.dcm", &file("1.2.1"));
    gateway.wait("the file is not taken", is_empty);
    // It is replaced while it is watched.
    fs::rename(gateway.path("drop"), gateway.path("old")).expect("moved");
    put(&gateway, "2.dcm", &file("1.2.2"));
    gateway.wait("the file is not taken", is_empty);
    assert_eq!(gateway.instances().len(), 2);
}
