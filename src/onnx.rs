//! Networks in ONNX files, run by ONNX Runtime; the only file that names `ort`.
//!
//! The library is loaded when the first network is, never before, from the first of these that exists:
//! `ORT_DYLIB_PATH`; beside the executable; `lib/` there and `lib/contourd/` next to its folder; `.runtime/` in the
//! working folder; `/usr/lib/contourd`, `/usr/local/lib`, `/usr/lib/x86_64-linux-gnu`, `/usr/lib/aarch64-linux-gnu`,
//! `/usr/lib`. `ort` itself is never allowed to search: it would panic where the library is missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use ndarray::{ArrayD, ArrayViewD, CowArray, IxDyn};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{Outlet, TensorElementType, TensorRef};
use thiserror::Error;

use crate::infer::{Network, NetworkError};
use crate::pipeline::Model;

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
        "{file}: found the {side} {name} of type {found}, expected float32; export the network with float32 tensors"
    )]
    NumberType { file: String, side: &'static str, name: String, found: String },
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

/// Loaded networks, kept warm by the digest of their file.
pub struct Networks {
    threads: usize,
    loaded: Mutex<HashMap<String, Arc<Mutex<Loaded>>>>,
}

impl Networks {
    /// No network yet; each will run on `threads` CPU threads.
    pub fn new(threads: usize) -> Networks {
        Networks { threads: threads.max(1), loaded: Mutex::new(HashMap::new()) }
    }

    /// The network of a model, loaded from its folder unless it is warm. One caller runs it at a time.
    ///
    /// # Errors
    /// [`OnnxError`]: no library, not a network, tensors that are not those of the definition.
    pub fn get(&self, model: &Model, folder: &Path) -> Result<Arc<Mutex<Loaded>>, OnnxError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(network) = loaded.get(model.sha256()) {
            return Ok(Arc::clone(network));
        }
        let network = Arc::new(Mutex::new(Loaded::open(&folder.join(model.file()), model, self.threads)?));
        loaded.insert(model.sha256().to_owned(), Arc::clone(&network));
        Ok(network)
    }
}

/// One network, ready to run.
pub struct Loaded {
    session: Session,
    input: String,
    output: String,
    input_shape: Vec<Option<usize>>,
    output_shape: Vec<Option<usize>>,
}

impl Loaded {
    /// Loads the network of a model from a file.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn open(file: &Path, model: &Model, threads: usize) -> Result<Loaded, OnnxError> {
        let environment = environment()?;
        let shown = file.display().to_string();
        let session = build(environment, file, threads)
            .map_err(|reason| OnnxError::NotANetwork { file: shown.clone(), reason })?;
        let tensor = model.recipe().tensor();
        let only = session.inputs().len() == 1;
        let (input, input_shape) = choose(&shown, "input", session.inputs(), tensor.input.as_deref(), only)?;
        let (output, output_shape) = choose(&shown, "output", session.outputs(), tensor.output.as_deref(), true)?;
        Ok(Loaded { session, input, output, input_shape, output_shape })
    }
}

fn build(environment: &Environment, file: &Path, threads: usize) -> Result<Session, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut builder = Session::builder(environment)
        .and_then(|builder| Ok(builder.with_optimization_level(GraphOptimizationLevel::All)?))
        .and_then(|builder| Ok(builder.with_intra_threads(threads)?))
        // Spinning threads would take the other half of the machine from post-processing.
        .and_then(|builder| Ok(builder.with_config_entry("session.intra_op.allow_spinning", "0")?))
        .map_err(|error| error.to_string())?;
    builder.commit_from_memory(&bytes).map_err(|error| error.to_string())
}

/// The tensor that the definition names, or the first one; it must be float32.
fn choose(
    file: &str,
    side: &'static str,
    outlets: &[Outlet],
    wanted: Option<&str>,
    first_will_do: bool,
) -> Result<(String, Vec<Option<usize>>), OnnxError> {
    let names = || outlets.iter().map(Outlet::name).collect::<Vec<_>>().join(", ");
    let found = match wanted {
        Some(name) => outlets.iter().find(|outlet| outlet.name() == name),
        None => outlets.first().filter(|_| first_will_do),
    };
    let outlet = found.ok_or_else(|| OnnxError::Tensor {
        file: file.to_owned(),
        side,
        found: names(),
        expected: wanted.map_or("only one".to_owned(), |name| format!("{name:?} among them")),
    })?;
    if outlet.dtype().tensor_type() != Some(TensorElementType::Float32) {
        let found = format!("{}", outlet.dtype());
        let (file, name) = (file.to_owned(), outlet.name().to_owned());
        return Err(OnnxError::NumberType { file, side, name, found });
    }
    let sides =
        outlet.dtype().tensor_shape().map(|shape| shape.iter().map(|&side| usize::try_from(side).ok()).collect());
    Ok((outlet.name().to_owned(), sides.unwrap_or_default()))
}

impl Network for Loaded {
    fn input_shape(&self) -> &[Option<usize>] {
        &self.input_shape
    }

    fn output_shape(&self) -> &[Option<usize>] {
        &self.output_shape
    }

    fn run(&mut self, input: ArrayViewD<'_, f32>) -> Result<ArrayD<f32>, NetworkError> {
        let failed = |error: ort::Error| NetworkError(format!("ONNX Runtime: {error}"));
        let input: CowArray<'_, f32, IxDyn> = input.as_standard_layout();
        let tensor = TensorRef::from_array_view(&input).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![self.input.as_str() => tensor]).map_err(failed)?;
        let values = outputs[self.output.as_str()].try_extract_array::<f32>().map_err(failed)?;
        Ok(values.to_owned())
    }
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
