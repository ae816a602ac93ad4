//! What fills the slots of a pipeline, read from the files of an order: headers, plans and pixels of the images, whether
//! they are DICOM series or single files of other formats.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::bench::BenchError;
use super::image_file::{self, SuvBw};
use super::{ImageOrder, InputFiles, WorkOrder};
use crate::assemble::{self, Allowed, Modality, SeriesPlan, SliceSource};
use crate::dicom::{Instance, SeriesKey, Uid};
use crate::job::RegisteredInput;
use crate::limits::SERIES_HEADERS_BYTES_MAX;
use crate::output::grid::{FileGrid, Turn};
use crate::output::object::SliceReference;
use crate::output::registration::{self, End};
use crate::pipeline::{Input, Orientation, Pipeline, Unit, Wants};
use crate::volume::{GeometryError, Rigid, Volume, VolumeGeometry};

/// Less than this of the smaller one of two registered stacks within the other is told: two studies of one region share more.
const OVERLAP_USUAL: f64 = 0.5;

/// A series of images, planned but not loaded.
pub(super) struct Series<'a> {
    pub slot: &'a str,
    pub files: &'a [PathBuf],
    pub instances: Vec<Instance>,
    /// In the coordinates of the primary images.
    pub plan: SeriesPlan,
    /// How it came there; none where it has their Frame of Reference.
    pub registered: Option<Registered>,
    /// None for a DICOM series. An image from another file has no instances.
    pub file: Option<FileSeries<'a>>,
}

/// A series that was brought to the primary images.
pub(super) struct Registered {
    /// From its own coordinates.
    pub by: Rigid,
    /// The registration object.
    pub sop_instance_uid: Uid,
    /// Where it lies by its own images.
    pub own: Arc<VolumeGeometry>,
    /// What is strange in where it lies now.
    pub warning: Option<String>,
}

/// What an image from a file has instead of instances.
pub(super) struct FileSeries<'a> {
    pub order: &'a ImageOrder,
    pub turn: Turn,
    /// How the file lays out its voxels, where one affine says it.
    pub grid: Option<FileGrid>,
    pub warnings: Vec<String>,
}

/// The files of a slot; none for an optional one that did not come. An order of a single series names no slot.
pub(super) fn files_of<'a>(order: &'a WorkOrder, input: &Input) -> Option<&'a InputFiles> {
    let named = |files: &&InputFiles| files.slot == input.name || (files.slot.is_empty() && input.primary);
    order.inputs.iter().find(named)
}

/// Reads and plans the images of every slot that came, the primary first.
pub(super) fn read_series<'a>(pipeline: &'a Pipeline, order: &'a WorkOrder) -> Result<Vec<Series<'a>>, BenchError> {
    let mut inputs: Vec<&Input> = pipeline.inputs().iter().collect();
    inputs.sort_by_key(|input| !input.primary);
    let mut series: Vec<Series<'_>> = Vec::new();
    for input in inputs {
        let Wants::Image { geometry, unit, .. } = &input.wants else { continue };
        let Some(files) = files_of(order, input) else {
            if input.optional {
                continue;
            }
            return Err(BenchError::Series(vec![format!("the order has no files for the input {}", input.name)]));
        };
        if let Some(image) = &files.image {
            series.push(file_series(input, files, image)?);
            continue;
        }
        let (named, registration, files) = (&files.frames, &files.registration, files.files.as_slice());
        let instances = read_instances(files)?;
        // As strict as the slot: gaps only where it allows them.
        let allowed = Allowed { uneven_spacing: geometry.max_gap > 0, ..Allowed::default() };
        let plan = assemble::plan_frames(&instances, named, allowed);
        let mut plan =
            plan.map_err(|refusals| BenchError::Series(refusals.iter().map(ToString::to_string).collect()))?;
        if *unit == Unit::SuvBw {
            assemble::to_suv_bw(&mut plan, &instances)
                .map_err(|reason| BenchError::Series(vec![format!("{}: no SUV: {reason}", input.name)]))?;
        }
        let registered = match series.first() {
            Some(primary) => register(&mut plan, (&input.name, registration.as_deref()), primary)?,
            None => None,
        };
        series.push(Series { slot: &input.name, files, instances, plan, registered, file: None });
    }
    Ok(series)
}

/// Brings a series into the coordinates of the primary images. All that is done with it later goes by its geometry.
fn register(
    plan: &mut SeriesPlan,
    (slot, file): (&str, Option<&Path>),
    primary: &Series<'_>,
) -> Result<Option<Registered>, BenchError> {
    let (own, fixed) = (&plan.frame_of_reference_uid, &primary.plan.frame_of_reference_uid);
    if own == fixed {
        return Ok(None);
    }
    let failed = |reason: String| BenchError::Series(vec![format!("{slot}: {reason}")]);
    let Some(file) = file else {
        return Err(failed(format!(
            "found Frame of Reference {own}, expected that of the primary images ({fixed}) or a registration object"
        )));
    };
    let object = read_instance(file)?;
    let relation =
        registration::read(&object.header).ok_or_else(|| unreadable(file, "found no registration object"))?;
    let (own_series, fixed_series) = ([&plan.key.series_instance_uid], [&primary.plan.key.series_instance_uid]);
    let from = End { frame_of_reference_uid: own, series: &own_series };
    let to = End { frame_of_reference_uid: fixed, series: &fixed_series };
    let by = relation.between(from, to).unwrap_or_else(|| Err(format!("found none that relates {own} to {fixed}")));
    let by = by.map_err(|reason| failed(format!("registration object {}: {reason}", object.sop_instance_uid)))?;
    let own = Arc::clone(&plan.geometry);
    let moved = moved(&own, &by);
    let moved = moved.map_err(|error| failed(format!("registration object {}: {error}", object.sop_instance_uid)))?;
    let warning = overlap(&moved, &primary.plan.geometry);
    let warning =
        warning.map_err(|reason| failed(format!("registration object {}: {reason}", object.sop_instance_uid)))?;
    plan.geometry = Arc::new(moved);
    Ok(Some(Registered { by, sop_instance_uid: object.sop_instance_uid, own, warning }))
}

/// A moved stack, checked as one that is read.
fn moved(own: &VolumeGeometry, by: &Rigid) -> Result<VolumeGeometry, GeometryError> {
    let moved = own.moved(by);
    let (size, spacing_mm) = ((moved.rows(), moved.columns()), [moved.row_spacing_mm(), moved.column_spacing_mm()]);
    let origins = moved.slice_origins().to_vec();
    VolumeGeometry::new(size, spacing_mm, moved.row_direction(), moved.column_direction(), origins).map(|_| moved)
}

/// What is strange in how a moved stack lies on the primary one.
///
/// # Errors
/// It does not lie on it at all: the matrix is of another pair, in another unit, or leads the other way.
fn overlap(moved: &VolumeGeometry, primary: &VolumeGeometry) -> Result<Option<String>, String> {
    let overlap = moved.overlap(primary);
    if overlap <= 0.0 {
        return Err(
            "found that it brings the images beside the primary ones, expected that the two overlap; register them \
                    again"
                .to_owned(),
        );
    }
    let warning = || {
        let percent = overlap * 100.0;
        format!("after its registration, {percent:.0} % of the smaller of the two stacks lies within the other")
    };
    Ok((overlap < OVERLAP_USUAL).then(warning))
}

/// Reads the header of a Part 10 file.
pub(super) fn read_instance(file: &Path) -> Result<Instance, BenchError> {
    let opened = File::open(file).map_err(|error| unreadable(file, error))?;
    Instance::read_part10(BufReader::new(opened)).map_err(|error| unreadable(file, error))
}

/// How far the registered series were moved, for the run.
pub(super) fn registrations(series: &[Series<'_>]) -> Vec<RegisteredInput> {
    let told = |one: &Series<'_>| Some(one.registered.as_ref()?.told(one.slot));
    series.iter().filter_map(told).collect()
}

impl Registered {
    /// How far it was moved, for the run; `what` is an input, or a structure that goes with these images.
    pub fn told(&self, what: &str) -> RegisteredInput {
        let centre = self.own.index_to_patient(self.own.shape().map(|side| (side - 1) as f64 / 2.0));
        let (rotation_degrees, shift_mm) = (self.by.angle_degrees(), self.by.distance_mm(centre));
        let (slot, sop_instance_uid) = (what.to_owned(), self.sop_instance_uid.clone());
        RegisteredInput { slot, sop_instance_uid, rotation_degrees, shift_mm }
    }
}

/// The head of an image that is no DICOM series.
fn file_series<'a>(input: &'a Input, files: &'a InputFiles, image: &'a ImageOrder) -> Result<Series<'a>, BenchError> {
    let Some(file) = files.files.first() else {
        return Err(BenchError::Series(vec![format!("the order has no file for the input {}", input.name)]));
    };
    let turn = turn_of(input);
    let head = image_file::head(file, image.format, image.scan, turn).map_err(|error| unreadable(file, error))?;
    let modality = Modality::parse(&image.modality)
        .ok_or_else(|| unreadable(file, format!("found the modality {:?}, expected CT, MR or PT", image.modality)))?;
    let mut warnings = head.warnings;
    let in_suv = matches!(input.wants, Wants::Image { unit: Unit::SuvBw, .. });
    match head.suv_bw {
        SuvBw::NotSaid if in_suv => {
            warnings.push("the file does not say that its values are SUV (g/ml); they were taken for that".to_owned());
        }
        SuvBw::Other(reason) if in_suv => return Err(unreadable(file, reason)),
        _ => {}
    }
    let key = SeriesKey {
        study_instance_uid: head.study_instance_uid.unwrap_or_else(|| image.uid.clone()),
        series_instance_uid: head.series_instance_uid.unwrap_or_else(|| image.uid.clone()),
    };
    let source = |(instance, slice): (usize, SliceReference)| SliceSource {
        instance,
        sop_instance_uid: slice.sop_instance_uid,
        sop_class_uid: slice.sop_class_uid,
        frame_number: slice.frame_number,
    };
    let slices = head.slices.into_iter().enumerate().map(source).collect();
    let frame_of_reference_uid = head.frame_of_reference_uid.unwrap_or_else(|| image.uid.clone());
    let plan = SeriesPlan::of_file(head.geometry, modality, key, frame_of_reference_uid, slices);
    let file = Some(FileSeries { order: image, turn, grid: head.grid, warnings });
    let (files, instances) = (files.files.as_slice(), Vec::new());
    Ok(Series { slot: &input.name, files, instances, plan, registered: None, file })
}

/// How an image from a file is turned for a slot: as images of the plane that the slot asks for are laid out.
pub fn turn_of(input: &Input) -> Turn {
    match &input.wants {
        Wants::Image { geometry, .. } => match geometry.orientation {
            Orientation::Axial | Orientation::Any => Turn::Axial,
            Orientation::Coronal => Turn::Coronal,
            Orientation::Sagittal => Turn::Sagittal,
        },
        Wants::Structures(_) => Turn::Axial,
    }
}

/// Loads the pixels of the images that a step takes, and of the primary ones, by slot.
pub(super) fn load_volumes(series: &[Series<'_>], pipeline: &Pipeline) -> Result<BTreeMap<String, Volume>, BenchError> {
    let taken =
        |slot: &str| pipeline.steps().iter().any(|step| step.images.iter().any(|(_, image)| image.name == slot));
    let wanted = |series: &&Series<'_>| series.slot == pipeline.primary().name || taken(series.slot);
    let load = |series: &Series<'_>| {
        if let (Some(image), Some(file)) = (&series.file, series.files.first()) {
            let read = image_file::read(file, image.order.format, image.order.scan, image.turn);
            let pixels = read.map_err(|error| unreadable(file, error))?;
            if pixels.shape() != series.plan.geometry.shape() {
                return Err(unreadable(
                    file,
                    "found another image than a moment ago, expected a file at rest; run it again",
                ));
            }
            return Ok((series.slot.to_owned(), Volume::new(Arc::clone(&series.plan.geometry), pixels)));
        }
        let volume = assemble::load(&series.plan, &|index| fs::read(&series.files[index]))
            .map_err(|error| BenchError::Series(vec![error.to_string()]))?;
        Ok((series.slot.to_owned(), volume))
    };
    series.iter().filter(wanted).map(load).collect()
}

/// What is strange in the images, with the slot where there are several.
pub(super) fn warnings(series: &[Series<'_>]) -> Vec<String> {
    let of = |one: &Series<'_>| -> Vec<String> {
        let of_file = one.file.iter().flat_map(|file| file.warnings.iter().cloned());
        let of_registration = one.registered.iter().filter_map(|registered| registered.warning.clone());
        one.plan.warnings.iter().map(ToString::to_string).chain(of_file).chain(of_registration).collect()
    };
    let told = series.iter().flat_map(|one| of(one).into_iter().map(move |warning| (one.slot, warning)));
    told.map(|(slot, text)| if series.len() > 1 { format!("{slot}: {text}") } else { text }).collect()
}

/// Reads the headers of Part 10 files.
///
/// # Errors
/// The first file that is not a readable instance, or with which the headers of all take too much memory.
pub fn read_instances(files: &[PathBuf]) -> Result<Vec<Instance>, BenchError> {
    let held = AtomicU64::new(0);
    let read = |file: &PathBuf| {
        let instance = read_instance(file)?;
        let own = instance.memory_bytes();
        if held.fetch_add(own, Ordering::Relaxed) + own > SERIES_HEADERS_BYTES_MAX {
            let limit = SERIES_HEADERS_BYTES_MAX >> 20;
            return Err(unreadable(file, format!("the headers of its series take more than {limit} MiB of memory")));
        }
        Ok(instance)
    };
    files.par_iter().map(read).collect()
}

pub(super) fn unreadable(file: &Path, reason: impl ToString) -> BenchError {
    BenchError::File { file: file.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved_by(mm: f64) -> Result<Option<String>, String> {
        let origins = (0..10).map(|k| [0.0, 0.0, f64::from(k)]).collect();
        let stack =
            VolumeGeometry::new((10, 10), [1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins).expect("legal");
        let by = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, mm, 0.0, 0.0, 0.0, 1.0];
        let by = Rigid::of_matrix(by).expect("rigid");
        overlap(&moved(&stack, &by).expect("legal"), &stack)
    }

    #[test]
    fn images_that_are_moved_beside_the_primary_ones_are_refused_and_a_small_overlap_is_told() {
        assert_eq!(moved_by(0.0), Ok(None));
        assert_eq!(moved_by(3.0), Ok(None));
        let told = moved_by(8.0).expect("some of it").expect("a warning");
        assert!(told.contains(" 21 % of the smaller") || told.contains(" 19 % of the smaller"), "{told}");
        for mm in [11.0, -11.0, 5_000.0] {
            assert!(moved_by(mm).expect_err("beside").contains("beside the primary ones"), "{mm}");
        }
    }
}
