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
fn a_copy_that_reserves_its_room_first_is_not_taken_before_it_is_written() {
    let gateway = Gateway::start();
    let (gaps, zeros) = (file("1.2.1"), file("1.2.2"));
    let mut sparse = fs::File::create(gateway.path("drop/1.dcm")).expect("a file");
    // The head is there, and nothing behind it; its pixels would be zeros.
    sparse.write_all(&gaps[..1_500]).expect("written");
    sparse.set_len(1 << 20).expect("reserved");
    let zeros_path = gateway.path("drop/2.dcm");
    fs::write(&zeros_path, vec![0; zeros.len()]).expect("written");
    std::thread::sleep(Duration::from_secs_f64(SETTLE_S * 5.0));
    assert_eq!(gateway.files("drop"), ["1.dcm", "2.dcm"], "neither is refused");
    assert!(gateway.instances().is_empty(), "neither is stored");
    sparse.set_len(1_500).expect("shorter");
    sparse.write_all(&gaps[1_500..]).expect("written");
    drop(sparse);
    fs::OpenOptions::new().write(true).open(&zeros_path).and_then(|mut file| file.write_all(&zeros)).expect("written");
    gateway.wait("the files are not taken", is_empty);
    let kept = gateway.instances();
    assert!(kept["1.2.1"].ends_with(&image("1.2.1")) && kept["1.2.2"].ends_with(&image("1.2.2")));
}

#[test]
fn a_copy_that_is_slower_than_its_files_settle_is_one_batch() {
    let gateway = Gateway::start();
    // The last file of the copy has its room, and gets its content at the end.
    let mut last = fs::File::create(gateway.path("drop/last.dcm")).expect("a file");
    for number in 1..=12 {
        last.set_len((1 << 20) + number).expect("reserved");
        put(&gateway, &format!("{number:02}.dcm"), &file(&format!("1.2.{number}")));
        std::thread::sleep(Duration::from_secs_f64(SETTLE_S / 2.0));
    }
    gateway.wait("nothing is taken", |gateway| gateway.files("drop") == ["last.dcm"]);
    assert!(!gateway.log().contains("files of a watched folder taken"), "it ends while the copy goes on");
    last.set_len(0).expect("shorter");
    last.write_all(&file("1.2.13")).expect("written");
    drop(last);
    gateway.wait("the copy does not end", |gateway| gateway.log().contains("files of a watched folder taken"));
    let log = gateway.log();
    assert_eq!(log.matches("files of a watched folder taken").count(), 1, "{log}");
    assert!(log.contains("\"stored\":13") || log.contains("stored=13"), "{log}");
}

#[test]
fn a_file_that_cannot_be_stored_does_not_hold_back_the_others() {
    let gateway = Gateway::start();
    assert_eq!(gateway.store("CT01", "1.2.1"), 0);
    let stored = gateway.path("var/instances").join(&gateway.files("var/instances")[0]);
    // A folder stands under the name of its instance.
    let study = stored.ancestors().nth(2).expect("a study");
    let in_the_way = study.join("1.2.2.1/1.2.2.dcm");
    fs::create_dir_all(&in_the_way).expect("a folder");
    for number in 2..=4 {
        put(&gateway, &format!("{number}.dcm"), &file(&format!("1.2.{number}")));
    }
    gateway.wait("the others are not taken", |gateway| gateway.files("drop") == ["2.dcm"]);
    assert!(gateway.log().contains("it is tried again"), "{}", gateway.log());
    fs::remove_dir(&in_the_way).expect("removed");
    gateway.wait("it is not tried again", is_empty);
    assert_eq!(gateway.instances().len(), 4);
}

#[test]
fn links_among_what_is_refused_write_nothing_elsewhere() {
    let gateway = Gateway::start();
    let precious = gateway.path("precious");
    fs::write(&precious, "precious").expect("written");
    fs::create_dir(gateway.path("drop/refused")).expect("a folder");
    std::os::unix::fs::symlink(&precious, gateway.path("drop/refused/1.dcm.txt")).expect("a link");
    put(&gateway, "1.dcm", b"no DICOM");
    gateway.wait("it is not refused", |gateway| gateway.path("drop/refused/1.dcm.1").exists());
    assert_eq!(fs::read_to_string(&precious).expect("there"), "precious");
}

#[test]
fn a_folder_that_leads_to_the_storage_folder_is_refused_at_the_start_and_later() {
    let mut gateway = Gateway::start();
    assert_eq!(gateway.store("CT01", "1.2.1"), 0);
    gateway.stop();
    fs::remove_dir(gateway.path("drop")).expect("removed");
    std::os::unix::fs::symlink(gateway.path("var"), gateway.path("drop")).expect("a link");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_contourd"))
        .args(["serve", "--config"])
        .arg(gateway.path(""))
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("one lies in the other"), "{told}");
    // It comes only while the gateway runs.
    fs::remove_file(gateway.path("drop")).expect("removed");
    gateway.begin();
    std::os::unix::fs::symlink(gateway.path("var/instances"), gateway.path("drop")).expect("a link");
    gateway.wait("it is not told", |gateway| gateway.log().contains("and the storage folder is"));
    std::thread::sleep(Duration::from_secs_f64(SETTLE_S * 3.0));
    assert_eq!(gateway.instances().len(), 1, "what was acknowledged is there");
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
