//! How long a whole trunk takes from voxels to a file: a measurement that `integration/bench/rtstruct.py` runs.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use contourd::contour::{Holes, trace_as};
use contourd::dicom::Instance;
use contourd::volume::{CompactMask, Mask, VolumeGeometry};
use dicom_dictionary_std::tags;
use ndarray::Array3;

use crate::job::{Job, roi};

/// Reads `labels.raw` (a byte for each voxel, in the order slice, row, column) and the images of a folder, and prints the
/// seconds from voxels to the written file, without the reading.
#[test]
#[ignore = "a measurement, run by integration/bench/rtstruct.py"]
fn times_a_whole_trunk() {
    let folder = PathBuf::from(std::env::var_os("CONTOURD_BENCH_DIR").expect("CONTOURD_BENCH_DIR names the folder"));
    let labels = fs::read(folder.join("labels.raw")).expect("labels.raw");
    let files = fs::read_dir(folder.join("ct")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let read = |path: PathBuf| Instance::read_part10(fs::File::open(path).expect("a file")).expect("an instance");
    let mut instances: Vec<Instance> = files.map(read).collect();
    let origin = |i: &Instance| -> [f64; 3] {
        i.f64s(tags::IMAGE_POSITION_PATIENT).expect("a position").try_into().expect("three numbers")
    };
    instances.sort_by(|a, b| origin(a)[2].total_cmp(&origin(b)[2]));
    let side = |tag| instances[0].integer(tag).expect("a size") as usize;
    let shape = [instances.len(), side(tags::ROWS), side(tags::COLUMNS)];
    let origins = instances.iter().map(origin).collect();
    let (right, down) = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
    let geometry = VolumeGeometry::new((shape[1], shape[2]), [1.0, 1.0], right, down, origins);
    let geometry = Arc::new(geometry.expect("a legal geometry"));
    let all = Array3::from_shape_vec(shape, labels).expect("as many labels as voxels");
    let masks = masks(&geometry, &all);
    let one = roi("Organ", &Mask::empty(Arc::clone(&geometry)));
    let mut job = Job::of("bench", instances, Arc::clone(&geometry), Vec::new());
    let begin = Instant::now();
    for (index, mask) in masks.iter().enumerate() {
        let mut next = one.clone();
        next.style.name = format!("Organ_{}", index + 1);
        next.volume_cm3 = Some(mask.volume_cm3());
        next.contours = trace_as(mask, Holes::Keyhole).contours;
        job.rois.push(next);
    }
    let traced = begin.elapsed().as_secs_f64();
    fs::write(folder.join("contourd.dcm"), job.encoded()).expect("written");
    let contours: usize = job.rois.iter().map(|roi| roi.contours.len()).sum();
    let seconds = begin.elapsed().as_secs_f64();
    // The most that this process ever had, the labels and masks that it was given among it.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|line| line.split_whitespace().next());
    let mib = kib.and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib >> 10);
    println!("seconds {seconds:.3} tracing {traced:.3} contours {contours} mib {mib}");
}

/// The mask of every label from 1 on, each from the box that holds it.
fn masks(geometry: &Arc<VolumeGeometry>, all: &Array3<u8>) -> Vec<CompactMask> {
    let mut boxes: Vec<[(usize, usize); 3]> = Vec::new();
    for ((slice, row, column), &label) in all.indexed_iter().filter(|(_, label)| **label > 0) {
        boxes.resize(boxes.len().max(usize::from(label)), [(usize::MAX, 0); 3]);
        for (ends, at) in boxes[usize::from(label) - 1].iter_mut().zip([slice, row, column]) {
            *ends = (ends.0.min(at), ends.1.max(at + 1));
        }
    }
    let mask = |([slices, rows, columns], label): (&[(usize, usize); 3], u8)| {
        let size = [slices.1 - slices.0, rows.1 - rows.0, columns.1 - columns.0];
        let inside = |(s, r, c)| all[[slices.0 + s, rows.0 + r, columns.0 + c]] == label;
        CompactMask::within(Arc::clone(geometry), [slices.0, rows.0, columns.0], &Array3::from_shape_fn(size, inside))
    };
    boxes.iter().zip(1..).map(mask).collect()
}
