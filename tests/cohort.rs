//! `contourd segment` on a collection: any layout, resumed after an end, with cases that fail, crash or are killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use contourd::phantom::{self, Identity, Thorax};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Whether ONNX Runtime is there; says so where it is not.
fn ready() -> bool {
    let ready = contourd::onnx::check_library().is_ok();
    if !ready {
        println!("ONNX Runtime is not here (make runtime): not tested");
    }
    ready
}

/// Writes series of small thoraxes, each by its number, every other file into another folder.
fn collection(folder: &Path, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let thorax = Thorax { seed: number, ..Thorax::standard().coarser(8).with_slice_spacing(30.0) };
        let phantom = phantom::render(&thorax, |_| {}).expect("legal");
        for (index, instance) in phantom::instances(&phantom, &Identity::of(&thorax)).enumerate() {
            let place = folder.join(if index % 2 == 0 { format!("patient {number}") } else { "all".to_owned() });
            fs::create_dir_all(&place).expect("made");
            fs::write(place.join(format!("{number}-{index}")), instance.expect("encoded").1).expect("written");
        }
    }
    fs::write(folder.join("all/readme.txt"), "no image").expect("written");
}

fn command(input: &Path, output: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contourd"));
    command.current_dir(ROOT).arg("segment").arg(input).arg("--output").arg(output).args(["--pipeline", "ct-basic"]);
    command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn segment(input: &Path, output: &Path, more: &[&str]) -> (i32, String) {
    let program = command(input, output, more).output().expect("the command runs");
    let said = String::from_utf8_lossy(&program.stdout).into_owned() + &String::from_utf8_lossy(&program.stderr);
    (program.status.code().unwrap_or(-1), said)
}

/// The summary: how many cases (or series) there are of each status. Lines of one case count once.
fn statuses(output: &Path) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(output.join("summary.csv")).expect("a summary");
    let mut cases: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        cases.insert(fields[0].to_owned(), fields[4].to_owned());
    }
    let mut counts = BTreeMap::new();
    for status in cases.into_values() {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

fn count(counts: &BTreeMap<String, usize>) -> String {
    counts.iter().map(|(status, count)| format!("{status} {count}")).collect::<Vec<_>>().join(", ")
}

/// When each record was written.
fn records(output: &Path) -> BTreeMap<PathBuf, std::time::SystemTime> {
    let series = fs::read_dir(output).expect("a folder").map(|entry| entry.expect("an entry").path());
    let records = series.map(|series| series.join("ct-basic/case.json")).filter(|record| record.exists());
    records.map(|record| (record.clone(), fs::metadata(&record).expect("there").modified().expect("a time"))).collect()
}

fn process(program: &mut Child, signal: &str) {
    let killed = Command::new("kill").arg(signal).arg(program.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
}

/// Waits until so many cases are finished; false when the program has ended before.
fn wait_for(program: &mut Child, output: &Path, finished: usize) -> bool {
    let begun = Instant::now();
    while records_or_none(output) < finished {
        if program.try_wait().expect("its state").is_some() {
            return false;
        }
        assert!(begun.elapsed() < Duration::from_secs(600), "{finished} cases were not done in time");
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn records_or_none(output: &Path) -> usize {
    if output.exists() { records(output).len() } else { 0 }
}

#[test]
fn goes_on_after_any_end_and_runs_nothing_twice() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    collection(&input, 0..6);
    // Killed in the middle, as by a power cut.
    let mut program = command(&input, &output, &["--jobs", "2"]).spawn().expect("it starts");
    assert!(wait_for(&mut program, &output, 2), "all six cases were done before two were seen");
    process(&mut program, "-KILL");
    program.wait().expect("it ends");
    let before = records(&output);
    assert!((2..6).contains(&before.len()), "{} of 6 cases", before.len());
    // Told to stop in the middle, as by Ctrl-C: the table is there and says what is left.
    let mut program = command(&input, &output, &["--jobs", "1"]).spawn().expect("it starts");
    if wait_for(&mut program, &output, before.len() + 1) {
        process(&mut program, "-INT");
        let told = program.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.status.code(), Some(130), "{said}");
        assert!(said.contains("stopped before the end"), "{said}");
        let counts = statuses(&output);
        assert_eq!(counts.values().sum::<usize>(), 6, "{}", count(&counts));
        assert_eq!(counts["done"], records(&output).len(), "{}", count(&counts));
    }
    let between = records(&output);
    let (code, said) = segment(&input, &output, &["--jobs", "3"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("6 results, {} of them from before, 0 failures", between.len())), "{said}");
    assert!(said.contains("1 of") && said.contains("files are not DICOM instances"), "{said}");
    assert_eq!(count(&statuses(&output)), "done 6");
    let after = records(&output);
    assert!(between.iter().all(|(file, time)| after[file] == *time), "a finished case was run again");
    // Nothing is left to do; the table is the same.
    let table = fs::read(output.join("summary.csv")).expect("a summary");
    let (code, said) = segment(&input, &output, &[]);
    assert!(code == 0 && said.contains("6 results, 6 of them from before"), "{said}");
    assert_eq!(fs::read(output.join("summary.csv")).expect("a summary"), table);
    // Other outputs are asked for: that is another result.
    let (code, said) = segment(&input, &output, &["--write", "planc,nrrd,nifti"]);
    assert!(code == 0 && said.contains("6 results, 0 failures"), "{said}");
    for record in records(&output).keys() {
        let results = record.parent().expect("a folder");
        for file in
            ["BODY.nii.gz", "structures.nii.gz", "structures.csv", "BODY.nrrd", "structures.seg.nrrd", "planC.h5"]
        {
            assert!(results.join(file).exists(), "{file} is not in {}", results.display());
        }
        let all = contourd::output::nifti::read(&fs::read(results.join("structures.nii.gz")).expect("a file"));
        let body = contourd::output::nifti::read(&fs::read(results.join("BODY.nii.gz")).expect("a file"));
        let (all, body) = (all.expect("a volume for each structure"), body.expect("a mask"));
        // BODY overlaps the lungs, so that each structure has a volume of its own.
        assert_eq!((all.len(), &all[0].pixels), (4, &body[0].pixels));
    }
    // The same in another order is no other result.
    let (code, said) = segment(&input, &output, &["--masks", "--write", "nrrd,planc"]);
    assert!(code == 0 && said.contains("6 results, 6 of them from before"), "{said}");
}

/// The children of a process.
fn workers(program: &Child) -> Vec<String> {
    let id = program.id();
    // The threads of the program each have the children that they started.
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn a_worker_that_is_killed_costs_an_attempt_and_no_case() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    collection(&input, 0..3);
    let mut program = command(&input, &output, &["--jobs", "1"]).spawn().expect("it starts");
    assert!(wait_for(&mut program, &output, 1), "all cases were done before one was seen");
    let children = workers(&program);
    assert_eq!(children.len(), 1, "{children:?}");
    assert!(Command::new("kill").arg("-KILL").args(&children).status().expect("kill runs").success());
    let told = program.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && said.contains("3 results, 0 failures"), "{said}");
}

#[test]
fn a_case_that_takes_too_much_memory_fails_alone() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output, config) = (folder.path().join("in"), folder.path().join("out"), folder.path().join("config"));
    collection(&input, 0..2);
    let large = Thorax { seed: 7, ..Thorax::standard().with_slice_spacing(4.0) };
    let phantom = phantom::render(&large, |_| {}).expect("legal");
    fs::create_dir(input.join("large")).expect("made");
    for (index, instance) in phantom::instances(&phantom, &Identity::of(&large)).enumerate() {
        fs::write(input.join(format!("large/{index}")), instance.expect("encoded").1).expect("written");
    }
    fs::create_dir(&config).expect("made");
    for part in ["ae-config", "models", "pipelines"] {
        let copied = Command::new("cp").arg("-r").arg(Path::new(ROOT).join(part)).arg(config.join(part)).status();
        assert!(copied.expect("cp runs").success());
    }
    let gateway = config.join("ae-config/gateway.json");
    let text = fs::read_to_string(&gateway).expect("a file");
    let limited = text.replace(r#""memory_limit_mb": 16384"#, &format!(r#""memory_limit_mb": {LIMIT_MB}"#));
    assert_ne!(limited, text);
    fs::write(&gateway, limited.replace(r#""runs_max": 3"#, r#""runs_max": 1"#)).expect("written");
    let config = config.to_str().expect("a name");
    let (code, said) = segment(&input, &output, &["--config", config, "--jobs", "1"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("2 results, 1 failures") && said.contains("MiB of memory, more than"), "{said}");
    assert_eq!(count(&statuses(&output)), "done 2, failed 1");
    let table = fs::read_to_string(output.join("summary.csv")).expect("a summary");
    assert!(table.contains(",failed,,,,") && table.contains("the worker was lost: it used"), "{table}");
    // What failed is tried again, what is done is not.
    let (code, said) = segment(&input, &output, &["--config", config]);
    assert!(code == 1 && said.contains("2 results, 2 of them from before, 1 failures"), "{said}");
}

/// Above what a worker takes for the small images, below what it takes for the large one.
const LIMIT_MB: u64 = 300;
