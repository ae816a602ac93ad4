//! One network, loaded and ready to run; its tensors may hold any type of number, the program's own are f32.

use std::path::Path;

use ndarray::ArrayViewD;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Outlet, Tensor, TensorElementType};

use super::{Device, Devices, OnnxError, environment};
use crate::infer::{self, Network, NetworkError, Recipe, Values};
use crate::pipeline::Model;

/// One network, ready to run.
pub struct Loaded {
    session: Session,
    input: String,
    input_type: TensorElementType,
    input_shape: Vec<Option<usize>>,
    /// Those that the recipe asks for, the labels' first.
    outputs: Vec<String>,
    output_shape: Vec<Option<usize>>,
    device: Device,
    /// Why it does not run where it was to run.
    instead: Option<String>,
    file_bytes: u64,
}

/// Types of numbers that can be given and taken.
const TYPES: &str = "float32, float16, float64, uint8, int8, uint16, int16, int32, int64";

impl Loaded {
    /// Loads network `index` of a model from a file and holds its names, types and shapes against `model.json`.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn open(
        file: &Path,
        model: &Model,
        index: usize,
        threads: usize,
        devices: Devices,
    ) -> Result<Loaded, OnnxError> {
        let environment = environment()?;
        let shown = file.display().to_string();
        let refused = |reason: String| OnnxError::NotANetwork { file: shown.clone(), reason };
        let bytes = std::fs::read(file).map_err(|error| refused(error.to_string()))?;
        let (session, device, instead) = on_device(environment, &bytes, &shown, threads, devices)?;
        let recipe = model.recipe();
        let tensor = recipe.tensor_of(index);
        let only = session.inputs().len() == 1;
        let input = choose(&shown, "input", session.inputs(), tensor.input.as_deref(), only)?;
        let mut outputs: Vec<Chosen> = Vec::new();
        for wanted in recipe.outputs_of(index) {
            let output = choose(&shown, "output", session.outputs(), wanted, true)?;
            if outputs.iter().any(|other| other.name == output.name) {
                let expected = "an output of images besides the labels'; leave \"output\" away where they are one";
                let (file, found) = (shown, output.name);
                return Err(OnnxError::Tensor { file, side: "output", found, expected: expected.to_owned() });
            }
            outputs.push(output);
        }
        let output_shape = outputs.first().map(|output| output.shape.clone()).unwrap_or_default();
        let outputs = outputs.into_iter().map(|output| output.name).collect();
        let loaded = Loaded {
            session,
            input: input.name,
            input_type: input.number,
            input_shape: input.shape,
            outputs,
            output_shape,
            device,
            instead,
            file_bytes: bytes.len() as u64,
        };
        loaded.check(&shown, recipe, index)?;
        Ok(loaded)
    }

    /// Holds its shapes against network `index` of a recipe.
    ///
    /// # Errors
    /// [`OnnxError::Shapes`].
    pub(super) fn check(&self, file: &str, recipe: &Recipe, index: usize) -> Result<(), OnnxError> {
        infer::check_shapes(recipe, index, self)
            .map_err(|error| OnnxError::Shapes { file: file.to_owned(), reason: error.to_string() })
    }

    /// Where it runs.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Why it does not run where it was to run.
    pub(super) fn instead(&self) -> Option<&str> {
        self.instead.as_deref()
    }

    /// Size of its file: most of what it holds in memory.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

/// A session on the wanted device, or on the processor where that is allowed, and then why.
fn on_device(
    environment: &Environment,
    bytes: &[u8],
    file: &str,
    threads: usize,
    devices: Devices,
) -> Result<(Session, Device, Option<String>), OnnxError> {
    let on_cpu = |instead: Option<String>| {
        let session = build(environment, bytes, threads, Device::Cpu);
        session
            .map(|session| (session, Device::Cpu, instead))
            .map_err(|reason| OnnxError::NotANetwork { file: file.to_owned(), reason })
    };
    if devices.wanted == Device::Cpu {
        return on_cpu(None);
    }
    let tried = match devices.wanted.missing() {
        Some(reason) => Err(reason),
        None => build(environment, bytes, threads, devices.wanted),
    };
    match tried {
        Ok(session) => Ok((session, devices.wanted, None)),
        Err(reason) if devices.cpu_instead => on_cpu(Some(format!("not {}: {reason}", devices.wanted))),
        Err(reason) => Err(OnnxError::Device {
            device: devices.wanted.to_string(),
            file: file.to_owned(),
            reason,
            cure: "install the GPU build of ONNX Runtime with its drivers and set ORT_DYLIB_PATH, set \"device\" to \
                   \"cpu\" in ae-config/gateway.json, or let the pipeline fall back with \"cpu_instead\": true",
        }),
    }
}

fn build(environment: &Environment, bytes: &[u8], threads: usize, device: Device) -> Result<Session, String> {
    let mut builder = Session::builder(environment)
        .and_then(|builder| Ok(builder.with_optimization_level(GraphOptimizationLevel::All)?))
        .and_then(|builder| Ok(builder.with_intra_threads(threads)?))
        // Spinning threads would take the other half of the machine from post-processing.
        .and_then(|builder| Ok(builder.with_config_entry("session.intra_op.allow_spinning", "0")?))
        .map_err(|error| error.to_string())?;
    if let Some(provider) = device.provider() {
        builder = builder.with_execution_providers([provider]).map_err(|error| error.to_string())?;
    }
    builder.commit_from_memory(bytes).map_err(|error| error.to_string())
}

struct Chosen {
    name: String,
    number: TensorElementType,
    shape: Vec<Option<usize>>,
}

/// The tensor that the definition names, or the first one; it must hold numbers.
fn choose(
    file: &str,
    side: &'static str,
    outlets: &[Outlet],
    wanted: Option<&str>,
    first_will_do: bool,
) -> Result<Chosen, OnnxError> {
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
    use TensorElementType as T;
    let number = outlet.dtype().tensor_type().filter(|number| {
        matches!(
            number,
            T::Float32 | T::Float16 | T::Float64 | T::Uint8 | T::Int8 | T::Uint16 | T::Int16 | T::Int32 | T::Int64
        )
    });
    let Some(number) = number else {
        let found = format!("{}", outlet.dtype());
        let (file, name) = (file.to_owned(), outlet.name().to_owned());
        return Err(OnnxError::NumberType { file, side, name, found, expected: TYPES });
    };
    let sides =
        outlet.dtype().tensor_shape().map(|shape| shape.iter().map(|&side| usize::try_from(side).ok()).collect());
    Ok(Chosen { name: outlet.name().to_owned(), number, shape: sides.unwrap_or_default() })
}

/// Values as a tensor of the type that the graph takes. Whole numbers are cut toward zero and held within their range,
/// as `astype` of a clipped NumPy array does.
fn tensor_of(values: ArrayViewD<'_, f32>, number: TensorElementType) -> ort::Result<DynValue> {
    use TensorElementType as T;
    let values = values.as_standard_layout();
    Ok(match number {
        T::Float16 => Tensor::from_array(values.mapv(half::f16::from_f32))?.into_dyn(),
        T::Float64 => Tensor::from_array(values.mapv(f64::from))?.into_dyn(),
        T::Uint8 => Tensor::from_array(values.mapv(|value| value as u8))?.into_dyn(),
        T::Int8 => Tensor::from_array(values.mapv(|value| value as i8))?.into_dyn(),
        T::Uint16 => Tensor::from_array(values.mapv(|value| value as u16))?.into_dyn(),
        T::Int16 => Tensor::from_array(values.mapv(|value| value as i16))?.into_dyn(),
        T::Int32 => Tensor::from_array(values.mapv(|value| value as i32))?.into_dyn(),
        T::Int64 => Tensor::from_array(values.mapv(|value| value as i64))?.into_dyn(),
        _ => Tensor::from_array(values.into_owned())?.into_dyn(),
    })
}

/// An f32 tensor where ONNX Runtime keeps it.
struct Kept(Tensor<f32>);

impl Values for Kept {
    fn view(&self) -> ArrayViewD<'_, f32> {
        self.0.extract_array()
    }
}

/// The values of a tensor as f32, without a copy where they are.
fn values_of(value: DynValue) -> ort::Result<Box<dyn Values>> {
    use TensorElementType as T;
    let array = match value.dtype().tensor_type() {
        Some(T::Float16) => value.try_extract_array::<half::f16>()?.mapv(half::f16::to_f32),
        Some(T::Float64) => value.try_extract_array::<f64>()?.mapv(|value| value as f32),
        Some(T::Uint8) => value.try_extract_array::<u8>()?.mapv(f32::from),
        Some(T::Int8) => value.try_extract_array::<i8>()?.mapv(f32::from),
        Some(T::Uint16) => value.try_extract_array::<u16>()?.mapv(f32::from),
        Some(T::Int16) => value.try_extract_array::<i16>()?.mapv(f32::from),
        Some(T::Int32) => value.try_extract_array::<i32>()?.mapv(|value| value as f32),
        Some(T::Int64) => value.try_extract_array::<i64>()?.mapv(|value| value as f32),
        _ => return Ok(Box::new(Kept(value.downcast()?))),
    };
    Ok(Box::new(array))
}

impl Network for Loaded {
    fn input_shape(&self) -> &[Option<usize>] {
        &self.input_shape
    }

    fn output_shape(&self) -> &[Option<usize>] {
        &self.output_shape
    }

    fn run(&mut self, input: ArrayViewD<'_, f32>) -> Result<Vec<Box<dyn Values>>, NetworkError> {
        let failed = |error: ort::Error| NetworkError(format!("ONNX Runtime: {error}"));
        let tensor = tensor_of(input, self.input_type).map_err(failed)?;
        let mut outputs = self.session.run(ort::inputs![self.input.as_str() => tensor]).map_err(failed)?;
        let mut take = |name: &String| {
            let value = outputs.remove(name).ok_or_else(|| NetworkError(format!("found no output {name}")))?;
            values_of(value).map_err(failed)
        };
        self.outputs.iter().map(&mut take).collect()
    }
}
