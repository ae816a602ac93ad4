//! On which device networks run, and what is done when it is not there.

use std::fmt;

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(i32),
    /// The same with compiled engines.
    TensorRt(i32),
}

/// The device that is asked for, and whether the processor may take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    pub wanted: Device,
    pub cpu_instead: bool,
}

impl Devices {
    /// The processor alone.
    pub const CPU: Devices = Devices { wanted: Device::Cpu, cpu_instead: false };
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
            Device::TensorRt(number) => write!(f, "tensorrt:{number}"),
        }
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    /// Reads `cpu`, `cuda`, `cuda:1`, `tensorrt` or `tensorrt:1`.
    fn from_str(text: &str) -> Result<Device, String> {
        let (name, number) = text.split_once(':').unwrap_or((text, "0"));
        let number = number.parse::<u8>().map(i32::from);
        match (name, number) {
            ("cpu", Ok(0)) if !text.contains(':') => Ok(Device::Cpu),
            ("cuda", Ok(number)) => Ok(Device::Cuda(number)),
            ("tensorrt", Ok(number)) => Ok(Device::TensorRt(number)),
            _ => Err(format!("found {text:?}, expected cpu, cuda, cuda:N, tensorrt or tensorrt:N")),
        }
    }
}

impl Device {
    /// What ONNX Runtime is asked for; `None` for the processor, which is always there.
    pub(super) fn provider(self) -> Option<ExecutionProviderDispatch> {
        match self {
            Device::Cpu => None,
            Device::Cuda(number) => Some(ep::CUDA::default().with_device_id(number).build().error_on_failure()),
            Device::TensorRt(number) => Some(ep::TensorRT::default().with_device_id(number).build().error_on_failure()),
        }
    }

    /// Why the library cannot offer it at all; asked before a session is built, because the library's own words are of
    /// missing symbols.
    pub(super) fn missing(self) -> Option<String> {
        let available = match self {
            Device::Cpu => return None,
            Device::Cuda(_) => ep::CUDA::default().is_in_library(),
            Device::TensorRt(_) => ep::TensorRT::default().is_in_library(),
        };
        (!available).then(|| "this build of ONNX Runtime does not have it".to_owned())
    }
}

/// Whether the loaded library was built with a provider.
trait InLibrary {
    fn is_in_library(&self) -> bool;
}

impl<E: ExecutionProvider> InLibrary for E {
    fn is_in_library(&self) -> bool {
        E::is_available().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_devices_and_refuses_others() {
        for (text, device) in [("cpu", Device::Cpu), ("cuda", Device::Cuda(0)), ("tensorrt:2", Device::TensorRt(2))] {
            assert_eq!(text.parse(), Ok(device));
        }
        for text in ["gpu", "cpu:1", "cuda:x", "cuda:-1", ""] {
            let told = text.parse::<Device>().expect_err("no device");
            assert!(told.contains("expected cpu, cuda"), "{told}");
        }
    }
}
