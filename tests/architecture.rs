//! The dependency table of the program, checked against the source: which module may use which, what the core may not
//! touch, and who alone may name a library or write files. ARCHITECTURE.md shows the same table.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use source::{Named, files, paths, root, shown, tokens, without_tests};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Layer {
    /// Owns input and output.
    Shell,
    /// Takes values, returns values.
    Core,
    /// The vocabulary of all; as pure as the core.
    Word,
}

use Layer::{Core, Shell, Word};

/// In the order of the data. A module may use the modules below it, and nothing else.
const MODULES: &[(&str, Layer)] = &[
    ("main", Shell),
    ("cli", Shell),
    ("cohort", Shell),
    ("daemon", Shell),
    ("config", Shell),
    ("folder", Shell),
    ("retrieve", Shell),
    ("receive", Shell),
    ("deliver", Shell),
    ("wire", Shell),
    ("tls", Shell),
    ("worker", Shell),
    ("onnx", Shell),
    ("spool", Shell),
    ("ledger", Shell),
    ("node", Core),
    ("job", Core),
    ("dimse", Core),
    ("route", Core),
    ("assemble", Core),
    ("phantom", Core),
    ("pipeline", Core),
    ("infer", Core),
    ("output", Core),
    ("contour", Core),
    ("quality", Core),
    ("structure", Word),
    ("volume", Word),
    ("dicom", Word),
    ("document", Word),
    ("limits", Word),
];

/// Uses that the order alone would allow and that would be wrong: the module, and all that it may use.
const ONLY: &[(&str, &[&str])] = &[
    // The phantom makes images with a known truth. It must not know what looks at them.
    ("phantom", &["output", "quality", "structure", "volume", "dicom", "limits"]),
    // Running a model needs no job, no spool and no peer.
    ("onnx", &["infer", "pipeline", "structure", "volume", "limits"]),
    ("main", &["cli"]),
];

/// What neither core nor words may name, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "return a value, and let the shell do the waiting"),
    ("ort", "take a `Model`; onnx.rs implements it"),
    ("rusqlite", "return a record; ledger writes it"),
    ("tracing", "return what happened; the shell logs it"),
    ("notify_debouncer_full", "take the documents; config watches the folders"),
    ("rustix", "take the number; the shell asks the system"),
    ("std::fs", "take the bytes"),
    ("std::env", "take the value as an argument"),
    ("std::process", "leave processes to worker"),
    ("std::thread", "use rayon's data parallelism, or none"),
    ("std::net::TcpStream", "leave sockets to receive and deliver"),
    ("std::net::TcpListener", "leave sockets to receive and deliver"),
    ("std::net::UdpSocket", "leave sockets to receive and deliver"),
    ("std::time::Instant", "take `now` as an argument"),
    ("std::time::SystemTime", "take `now` as an argument"),
    ("Instant::now", "take `now` as an argument"),
    ("SystemTime::now", "take `now` as an argument"),
    ("Timestamp::now", "take `now` as an argument"),
    ("Zoned::now", "take `now` as an argument"),
    ("fastrand::Rng::new", "take a seed: `Rng::with_seed`"),
    ("Rng::new", "take a seed: `Rng::with_seed`"),
    ("File::open", "take the bytes"),
    ("File::create", "return the bytes"),
    ("io::stdin", "take the bytes"),
    ("io::stdout", "return the text"),
    ("io::stderr", "return the text"),
    ("println!", "return the text"),
    ("eprintln!", "return the text"),
    ("print!", "return the text"),
    ("eprint!", "return the text"),
];

/// Libraries that have one owner, so that they can be replaced in one place.
const OWNED: &[(&str, &[&str])] = &[
    ("ort", &["onnx"]),
    ("rusqlite", &["ledger"]),
    ("notify_debouncer_full", &["config", "folder"]),
    ("clap", &["cli"]),
    ("anyhow", &["cli", "main"]),
    ("indicatif", &["cli"]),
    ("sd_notify", &["daemon", "cli"]),
    ("tracing_subscriber", &["cli"]),
    ("hdf5_pure", &["output"]),
    ("hyper", &["receive", "deliver"]),
    ("hyper_util", &["receive", "deliver"]),
    ("http_body_util", &["receive", "deliver"]),
    ("dicom_ul", &["dimse", "receive", "deliver"]),
    ("rustls", &["tls"]),
    ("tokio_rustls", &["tls"]),
    ("x509_cert", &["tls"]),
];

/// Calls that change files, and the modules that may make them: the spool owns instances and objects; the ledger makes
/// the folder of its database; a watched folder is emptied when what was in it is durable; the worker sets the kernel's memory policy of its child under /proc; a command writes
/// or a cohort writes what the operator asked for, where they asked for it.
const WRITES: &[&str] = &[
    "fs::write",
    "fs::rename",
    "fs::copy",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::hard_link",
    "fs::set_permissions",
    "File::create",
    "File::create_new",
    "File::options",
    "OpenOptions::new",
];
const WRITERS: &[&str] = &["spool", "ledger", "folder", "worker", "cohort", "cli"];
/// Single files of other modules that may: results for a folder are brought there as they are for a node.
const WRITING_FILES: &[&str] = &["src/deliver/folder.rs"];

#[test]
fn modules_use_only_what_stands_below_them() {
    let problems = check_files(&rust_files());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_module_is_in_the_table() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let tokens = tokens(&lib);
    let declared: BTreeSet<&str> =
        tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text.as_str()).collect();
    let of_files: BTreeSet<String> = rust_files().iter().map(|(path, _)| module_of(path)).collect();
    for module in declared.iter().copied().chain(of_files.iter().map(String::as_str)).filter(|name| *name != "lib") {
        assert!(
            rank(module).is_some(),
            "`{module}` is not in MODULES of tests/architecture.rs; put it where its data flows"
        );
    }
    for module in &of_files {
        let reached = declared.contains(module.as_str()) || module == "lib" || module == "main";
        assert!(reached, "src/{module} is not declared in src/lib.rs: it is never compiled");
    }
}

#[test]
fn architecture_page_shows_this_table() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(module, rest)| Some((module.trim_end_matches('/'), rest.split(" |").next()?)))
        .filter(|(_, layer)| ["shell", "core", "word"].contains(layer))
        .collect();
    let present: BTreeSet<String> = rust_files().iter().map(|(path, _)| module_of(path)).collect();
    let listed = |module: &str| rows.iter().any(|(row, _)| *row == module);
    let expected: Vec<(&str, &str)> = MODULES.iter().map(|(module, layer)| (*module, word(*layer))).collect();
    assert_eq!(rows, expected, "the table of ARCHITECTURE.md and MODULES differ");
    let missing: Vec<&String> = present.iter().filter(|module| *module != "lib" && !listed(module)).collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md has no row for {missing:?}; add `| `module` | layer | what it does |`"
    );
}

#[test]
fn catches_a_planted_upward_import() {
    let planted = "//! A word.\nuse std::fmt;\n\nuse crate::{limits::UID_LENGTH_MAX, node::{Event, Node}};\n";
    let problems = check_files(&[("src/dicom/uid.rs".to_owned(), planted.to_owned())]);
    assert_eq!(
        problems,
        ["src/dicom/uid.rs:4: `dicom` (word) uses `node` (core), which does not stand below it; move what both need \
          into a module below `dicom`, or let `node` call it"; 2]
    );
}

#[test]
fn catches_each_other_planted_breach() {
    let check = |path: &str, code: &str, expected: &str| {
        let problems = check_files(&[(path.to_owned(), code.to_owned())]).join("\n");
        assert!(problems.contains(expected), "{path}, {code}: found {problems:?}, expected {expected:?}");
    };
    check("src/job.rs", "fn f() { super::node::g(); }", "src/job.rs:1: `job` (core) uses `node`");
    check("src/pipeline/steps.rs", "use super::super::node::Node;", "`pipeline` (core) uses `node`");
    check("src/pipeline/mod.rs", "use super::config::Raw;", "`pipeline` (core) uses `config`");
    check("src/phantom/mod.rs", "use crate::infer::Model;", "`phantom` (core) uses `infer`");
    check("src/infer/mod.rs", "use std::{fmt, fs};", "`infer` (core) names `std::fs`");
    check("src/infer/mod.rs", "fn f() { let now = std::time::Instant::now(); }", "names `std::time::Instant`");
    check("src/route/mod.rs", "fn f() { tracing::info!(\"x\"); }", "`route` (core) names `tracing`");
    check("src/volume.rs", "fn f() { println!(\"x\"); }", "`volume` (word) names `println!`");
    check("src/node/mod.rs", "fn f() -> jiff::Timestamp { jiff::Timestamp::now() }", "names `Timestamp::now`");
    check("src/worker/child.rs", "use ort::session::Session;", "`worker` names `ort`, which `onnx` alone may name");
    check("src/receive/scp.rs", "fn f() { std::fs::write(\"a\", \"b\"); }", "`receive` calls `fs::write`");
    check("src/deliver/mod.rs", "fn f() { std::fs::rename(\"a\", \"b\"); }", "`deliver` calls `fs::rename`");
}

#[test]
fn leaves_tests_and_documentation_alone() {
    let code = "//! See [`crate::node`].\n/// [`crate::daemon`]\nfn f() {}\n#[cfg(test)]\nmod tests { use crate::node::Node; }\n";
    assert_eq!(check_files(&[("src/job.rs".to_owned(), code.to_owned())]), Vec::<String>::new());
}

/// The files of `src`: path within the repository, text.
fn rust_files() -> Vec<(String, String)> {
    let read = |path: &std::path::PathBuf| (shown(path), fs::read_to_string(path).expect("readable source"));
    let all: Vec<(String, String)> = files("src", &[".rs"]).iter().map(read).collect();
    assert!(all.len() > 10, "found {} files under src, expected the program", all.len());
    all
}

fn check_files(files: &[(String, String)]) -> Vec<String> {
    let mut test_files = BTreeSet::new();
    let mut named = Vec::new();
    for (path, text) in files {
        let (kept, tests) = without_tests(&tokens(text));
        let folder = Path::new(path).parent().expect("a file stands in a folder");
        let stem = Path::new(path).file_stem().expect("a file has a name").to_string_lossy();
        let inside = if stem == "mod" || stem == "lib" { folder.to_owned() } else { folder.join(&*stem) };
        test_files.extend(tests.iter().map(|name| inside.join(name).display().to_string()));
        named.push((path, paths(&kept)));
    }
    let mut problems = Vec::new();
    for (path, named) in named {
        // `#[path]` gives the tests of a file a file of their own beside it.
        let is_test = path.ends_with("_tests.rs")
            || test_files.iter().any(|test| path.starts_with(&format!("{test}/")) || *path == format!("{test}.rs"));
        if !is_test {
            problems.extend(named.iter().flat_map(|named| check_path(path, named)));
        }
    }
    problems
}

/// The module of a file: `src/dicom/uid.rs` and `src/dicom.rs` are both `dicom`.
fn module_of(path: &str) -> String {
    let inside = path.strip_prefix("src/").expect("a file under src");
    inside.split('/').next().expect("a path is not empty").trim_end_matches(".rs").to_owned()
}

fn rank(module: &str) -> Option<usize> {
    MODULES.iter().position(|(name, _)| *name == module)
}

fn check_path(path: &str, named: &Named) -> Vec<String> {
    let module = module_of(path);
    let Some(rank_here) = rank(&module) else { return Vec::new() };
    let at = format!("{path}:{}", named.line);
    let used = used_module(path, &named.segments).filter(|used| *used != module);
    let mut problems: Vec<String> = used.and_then(|used| check_use(&at, &module, &used)).into_iter().collect();
    let layer = MODULES[rank_here].1;
    if layer != Shell {
        problems.extend(IMPURE.iter().filter(|(name, _)| names(named, name)).take(1).map(|(name, instead)| {
            format!("{at}: `{module}` ({}) names `{name}`, which only the shell may; {instead}", word(layer))
        }));
    }
    problems.extend(OWNED.iter().filter(|(library, owners)| names(named, library) && !owners.contains(&&*module)).map(
        |(library, owners)| {
            format!("{at}: `{module}` names `{library}`, which `{}` alone may name", owners.join("`, `"))
        },
    ));
    problems.extend(WRITES.iter().filter(|call| names(named, call) && !may_write(path, &module)).map(|call| {
        let all = [WRITERS, WRITING_FILES].concat().join("`, `");
        format!("{at}: `{module}` calls `{call}`; files are written by `{all}` alone")
    }));
    problems
}

fn may_write(path: &str, module: &str) -> bool {
    WRITERS.contains(&module) || WRITING_FILES.contains(&path)
}

/// The top module that a path leads to, or nothing where it leads out of the crate or stays in its own module.
fn used_module(path: &str, segments: &[String]) -> Option<String> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let first = segments.first()?.as_str();
    match first {
        "crate" => segments.get(1).cloned(),
        "contourd" if path == "src/main.rs" => segments.get(1).cloned(),
        // Each `super` leaves one level; those that leave the top module reach the crate.
        "super" => {
            let inside = path.strip_prefix("src/")?.trim_end_matches(".rs").trim_end_matches("/mod");
            (supers == inside.split('/').count()).then(|| segments.get(supers).cloned()).flatten()
        }
        _ => None,
    }
    .filter(|used| rank(used).is_some())
}

fn check_use(at: &str, module: &str, used: &str) -> Option<String> {
    let (rank_here, rank_used) = (rank(module)?, rank(used)?);
    let listed = ONLY.iter().find(|(name, _)| *name == module).is_none_or(|(_, list)| list.contains(&used));
    (rank_used < rank_here || !listed).then(|| {
        let (here, there) = (word(MODULES[rank_here].1), word(MODULES[rank_used].1));
        format!(
            "{at}: `{module}` ({here}) uses `{used}` ({there}), which does not stand below it; move what both need into \
             a module below `{module}`, or let `{used}` call it"
        )
    })
}

fn word(layer: Layer) -> &'static str {
    match layer {
        Shell => "shell",
        Core => "core",
        Word => "word",
    }
}

/// Whether `named` begins with `name` (`std::fs`), or, for a call (`Instant::now`), holds it anywhere.
fn names(named: &Named, name: &str) -> bool {
    if let Some(called) = name.strip_suffix('!') {
        return named.is_macro && named.segments.last().is_some_and(|last| last == called);
    }
    let wanted: Vec<&str> = name.split("::").collect();
    let segments: Vec<&str> = named.segments.iter().map(String::as_str).collect();
    if wanted.len() == 1 || wanted[0] == "std" {
        return segments.starts_with(&wanted);
    }
    segments.windows(wanted.len()).any(|window| window == wanted)
}
