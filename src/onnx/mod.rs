//! Networks in ONNX files, run by ONNX Runtime; this folder alone names `ort`.
//!
//! The library is loaded when the first network is, never before, from the first of these that exists:
//! `ORT_DYLIB_PATH`; beside the executable; `lib/` there and `lib/contourd/` next to its folder; `.runtime/` in the
//! working folder; `/usr/lib/contourd`, `/usr/local/lib`, `/usr/lib/x86_64-linux-gnu`, `/usr/lib/aarch64-linux-gnu`,
//! `/usr/lib`. `ort` itself is never allowed to search: it would panic where the library is missing.

mod device;
mod loaded;
mod networks;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use thiserror::Error;

pub use device::{Device, Devices};
pub use loaded::Loaded;
pub use networks::{Networks, Shared, device_of, with_networks};

/// Name of the library's file on this system.
pub const LIBRARY: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };

/// Why a network could not be loaded. All are for the operator.
#[derive(Clone, Debug, Error)]
pub enum OnnxError {
    /// No library anywhere.
    #[error(
        "found no {LIBRARY} in {searched}, expected ONNX Runtime's library; run `make runtime`, or set ORT_DYLIB_PATH to its file"
    )]
    NoLibrary { searched: String },
    /// A library that cannot be used.
    #[error(
        "{path}: found a library that does not load ({reason}), expected ONNX Runtime 1.{} or newer; run `make runtime`",
        ort::MINOR_VERSION
    )]
    Library { path: String, reason: String },
    /// Not a network.
    #[error(
        "{file}: found a file that is not an ONNX network that runs here ({reason}), expected ONNX; copy or export it again and correct sha256 in model.json"
    )]
    NotANetwork { file: String, reason: String },
    /// The graph has no such tensor.
    #[error("{file}: found the {side}s {found}, expected {expected}; set tensor.{side} in model.json to one of them")]
    Tensor { file: String, side: &'static str, found: String, expected: String },
    /// The tensor has another type of number.
    #[error(
        "{file}: found the {side} {name} of type {found}, expected one of {expected}; export the network with another type"
    )]
    NumberType { file: String, side: &'static str, name: String, found: String, expected: &'static str },
    /// The shapes are not those of `model.json`.
    #[error("{file}: {reason}")]
    Shapes { file: String, reason: String },
    /// The device is not to be had.
    #[error("found no {device} for the network {file} ({reason}), expected it as \"device\" says; {cure}")]
    Device { device: String, file: String, reason: String, cure: &'static str },
}

/// Where the library is looked for, in order.
fn candidates() -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> =
        std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from).into_iter().collect();
    let folder = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    if let Some(folder) = folder {
        list.extend([
            folder.join(LIBRARY),
            folder.join("lib").join(LIBRARY),
            folder.join("../lib/contourd").join(LIBRARY),
        ]);
    }
    list.push(Path::new(".runtime").join(LIBRARY));
    let system =
        ["/usr/lib/contourd", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    list.extend(system.map(|folder| Path::new(folder).join(LIBRARY)));
    list
}

/// The process's environment of ONNX Runtime; the library can be loaded once only, so a failure stays until a restart.
fn environment() -> Result<&'static Environment, OnnxError> {
    static ENVIRONMENT: OnceLock<Result<Environment, OnnxError>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| load_library(&candidates())).as_ref().map_err(Clone::clone)
}

fn load_library(candidates: &[PathBuf]) -> Result<Environment, OnnxError> {
    let Some(path) = candidates.iter().find(|path| path.is_file()) else {
        let folders: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        return Err(OnnxError::NoLibrary { searched: folders.join(", ") });
    };
    let shown = path.display().to_string();
    let failed = |reason: String| OnnxError::Library { path: shown.clone(), reason };
    // A relative path would be looked for beside the executable.
    let absolute = path.canonicalize().map_err(|error| failed(error.to_string()))?;
    let builder = ort::init_from(&absolute).map_err(|error| failed(error.to_string()))?;
    builder.with_name("contourd").with_telemetry(false).build().map_err(|error| failed(error.to_string()))
}

/// Whether ONNX Runtime's library is there and usable, told before the first job.
///
/// # Errors
/// [`OnnxError::NoLibrary`] and [`OnnxError::Library`].
pub fn check_library() -> Result<(), OnnxError> {
    environment().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_where_it_looked_and_the_cure_when_there_is_no_library() {
        let told = load_library(&[PathBuf::from("/nowhere/a.so"), PathBuf::from("b.so")]).err().map(|e| e.to_string());
        assert_eq!(
            told.as_deref(),
            Some(
                "found no libonnxruntime.so in /nowhere/a.so, b.so, expected ONNX Runtime's library; run `make runtime`, or set ORT_DYLIB_PATH to its file"
            )
        );
    }

    #[test]
    fn refuses_a_file_that_is_no_library_without_a_panic() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(LIBRARY);
        std::fs::write(&path, "not a library").expect("written");
        let told = load_library(&[path]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("found a library that does not load") && told.contains("make runtime"), "{told}");
    }
}
