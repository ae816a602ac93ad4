//! Imports of CERR's model configurations, held against what they mean; files of CERR are read where they are at hand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use contourd::document::{self, Problem, Problems};
use contourd::pipeline::import::{Imported, cerr};
use contourd::pipeline::{Model, Pipeline};

/// Where CERR's own files are, if they are there. They are not part of this repository.
fn published() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(std::env::var("CERRX").unwrap_or("../shared/data/cerr-configs".into()));
    folder.is_dir().then_some(folder)
}

fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with("json") && path.to_string_lossy().contains("_config"));
    paths.sort();
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("a text"))).collect()
}

/// What is wrong with the files that an import wrote, as the gateway would tell it.
fn problems_of(imported: &Imported) -> Vec<String> {
    let mut told = Vec::new();
    for (path, text) in &imported.files {
        let mut problems = Problems::of(path.display().to_string());
        let node = document::parse(text, &mut problems);
        if let Some(node) = node {
            if path.starts_with("models") {
                Model::parse(&node, &mut problems);
            } else {
                Pipeline::parse(&node, &mut problems);
            }
        }
        told.extend(problems.into_vec().iter().map(Problem::to_string));
    }
    told
}

#[test]
fn published_files_are_read_whole() {
    let Some(folder) = published() else {
        eprintln!("skipped: CERR's files are not at hand");
        return;
    };
    let texts = texts(&folder);
    let mut wrong = BTreeSet::new();
    for (result, (name, _)) in cerr::import(&texts).into_iter().zip(&texts) {
        match result {
            Ok(imported) => {
                assert_eq!(imported.not_expressed, Vec::<String>::new(), "{name}");
                wrong.extend(problems_of(&imported));
            }
            Err(problems) => wrong.extend(problems.iter().map(Problem::to_string)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
