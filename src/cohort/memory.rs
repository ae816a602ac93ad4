//! How much memory a case may take and how much there is; it watches nobody (the supervisor does).

use std::fs;
use std::path::Path;

use crate::config::Configuration;
use crate::dicom::Instance;
use crate::infer::NetworkFile;
use dicom_dictionary_std::tags;

/// What a worker takes before it has an image: the program and ONNX Runtime.
const WORKER_BYTES: u64 = 400 << 20;

/// Bytes for each voxel of all images of a case. `ct-basic` with planC took 87 for each more (108 MiB for 1.1 million
/// voxels, 408 MiB for 4.7 million).
const BYTES_PER_VOXEL: u64 = 100;

/// The share of the memory that is free at the start which all workers together may take.
const SHARE: f64 = 0.8;

/// The memory that a case is expected to take: program, networks (their files twice), and `voxels`.
pub fn estimate(voxels: u64, networks_bytes: u64) -> u64 {
    WORKER_BYTES + 2 * networks_bytes + BYTES_PER_VOXEL * voxels
}

/// Voxels of an image by its header; 0 for what is no image.
pub fn voxels_of(instance: &Instance) -> u64 {
    let number = |tag| instance.integer(tag).and_then(|number| u64::try_from(number).ok());
    let plane = number(tags::ROWS).unwrap_or(0).saturating_mul(number(tags::COLUMNS).unwrap_or(0));
    plane.saturating_mul(number(tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1))
}

/// Bytes of the network files of a pipeline.
pub fn networks_bytes(pipeline: &str, configuration: &Configuration) -> u64 {
    let steps = configuration.pipelines.get(pipeline).into_iter().flat_map(|pipeline| pipeline.value.steps());
    let models = steps.filter_map(|step| step.action.model()).filter_map(|model| configuration.models.get(&model.name));
    let files = models.flat_map(|model| {
        let folder = configuration.folder.join("models").join(model.value.id());
        model.value.recipe().networks().iter().map(move |network: &NetworkFile| folder.join(&network.file))
    });
    files.map(|file| fs::metadata(file).map_or(0, |data| data.len())).sum()
}

/// What all workers may take together; `None` where the system does not tell.
pub fn budget() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let free = available(&read("/proc/meminfo"))?;
    // The limit of a container is a number or the word "max".
    let limit = read("/sys/fs/cgroup/memory.max").trim().parse::<u64>().unwrap_or(u64::MAX);
    let used = read("/sys/fs/cgroup/memory.current").trim().parse::<u64>().unwrap_or(0);
    Some((free.min(limit.saturating_sub(used)) as f64 * SHARE) as u64)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available(""), None);
    }
}
