//! Opens images that are no DICOM series: NIfTI, NRRD, planC. What a file says and how it is read is in `output`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ndarray::Array3;
use thiserror::Error;

use crate::dicom::Uid;
use crate::limits::IMAGE_FILE_BYTES_MAX;
use crate::output::grid::{FileGrid, Turn};
use crate::output::object::SliceReference;
use crate::output::{Format, nifti, nrrd, planc};
use crate::volume::VolumeGeometry;

/// Why a file is no image.
#[derive(Debug, Error)]
pub enum ImageError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("found a file of {0} bytes, expected at most {IMAGE_FILE_BYTES_MAX}; crop the image")]
    Size(u64),
    #[error(transparent)]
    Nifti(#[from] nifti::ReadError),
    #[error(transparent)]
    Nrrd(#[from] nrrd::ReadError),
    #[error(transparent)]
    PlanC(#[from] planc::ReadError),
    #[error("found {0} volumes along the fourth axis, expected one; split the file")]
    Volumes(usize),
    #[error(
        "found {count} voxels that are no finite number, the first at slice {}, row {}, column {}, expected a number in each; put the value of air there",
        first[0], first[1], first[2]
    )]
    NoNumber { count: usize, first: [usize; 3] },
}

/// What a file says before its voxels.
pub struct ImageHead {
    pub geometry: VolumeGeometry,
    /// How the file lays out its voxels, where one affine says it.
    pub grid: Option<FileGrid>,
    /// The modality, where the file says it: `CT`, `MR`, `PT` or another word.
    pub modality: Option<String>,
    pub study_instance_uid: Option<Uid>,
    pub series_instance_uid: Option<Uid>,
    pub frame_of_reference_uid: Option<Uid>,
    /// The image of each slice, where the file names them all.
    pub slices: Vec<SliceReference>,
    pub suv_bw: SuvBw,
    /// What is strange, or not read.
    pub warnings: Vec<String>,
    /// Files beside it that hold its voxels.
    pub data_files: Vec<PathBuf>,
}

/// Whether a file says that its values are SUV by body weight.
pub enum SuvBw {
    Said,
    /// The format has no place for it.
    NotSaid,
    /// They are something else, for this reason.
    Other(String),
}

/// Reads what a file says before its voxels. `scan` is that of a planC, from 0.
///
/// # Errors
/// [`ImageError`].
pub fn head(file: &Path, format: Format, scan: usize, turn: Turn) -> Result<ImageHead, ImageError> {
    let mut data_files = Vec::new();
    let (geometry, grid) = match format {
        Format::Nifti => {
            let header = nifti::read_header(open(file)?, turn)?;
            if header.volumes != 1 {
                return Err(ImageError::Volumes(header.volumes));
            }
            (header.geometry, header.grid)
        }
        Format::Nrrd => {
            let header = nrrd::read_header(open(file)?, turn)?;
            let folder = file.parent().unwrap_or(Path::new(""));
            data_files = header.data_files.iter().map(|name| folder.join(name)).collect();
            (header.geometry, header.grid)
        }
        Format::PlanC => return plan_head(file, scan),
    };
    Ok(ImageHead {
        geometry,
        grid: Some(grid),
        modality: None,
        study_instance_uid: None,
        series_instance_uid: None,
        frame_of_reference_uid: None,
        slices: Vec::new(),
        suv_bw: SuvBw::NotSaid,
        warnings: Vec::new(),
        data_files,
    })
}

fn plan_head(file: &Path, scan: usize) -> Result<ImageHead, ImageError> {
    let plan = planc::Plan::open(open(file)?)?;
    let header = plan.header(scan)?;
    let mut warnings = Vec::new();
    if plan.structures() > 0 {
        warnings.push(format!("the {} structures of the file are not read", plan.structures()));
    }
    let (down, across) = (header.geometry.row_spacing_mm(), header.geometry.column_spacing_mm());
    if (down - across).abs() > 1e-4 * across && !plan.is_ours() {
        // pyCERR 2.5.1, dataclasses/scan.py: grid1Units, between rows, is the second value of Pixel Spacing.
        warnings.push(format!(
            "its pixels are not square ({down} mm between rows, {across} mm between columns): pyCERR 2.5 takes the two the \
             wrong way round from DICOM; compare the place of the result with the images"
        ));
    }
    let suv_bw = header.is_suv_bw().map_or_else(SuvBw::Other, |()| SuvBw::Said);
    Ok(ImageHead {
        geometry: header.geometry,
        suv_bw,
        grid: None,
        modality: Some(header.kind).filter(|kind| !kind.is_empty()),
        study_instance_uid: header.study_instance_uid,
        series_instance_uid: header.series_instance_uid,
        frame_of_reference_uid: header.frame_of_reference_uid,
        slices: header.slices,
        warnings,
        data_files: Vec::new(),
    })
}

/// How many scans a planC has.
///
/// # Errors
/// [`ImageError`].
pub fn plan_scans(file: &Path) -> Result<usize, ImageError> {
    Ok(planc::Plan::open(open(file)?)?.scans())
}

/// The voxels as an array `[slice, row, column]` on the geometry of its head.
///
/// # Errors
/// [`ImageError`].
pub(super) fn read(file: &Path, format: Format, scan: usize, turn: Turn) -> Result<Array3<f32>, ImageError> {
    let volume = match format {
        Format::Nifti => nifti::read_image(open(file)?, turn)?.1,
        Format::Nrrd => {
            let folder = file.parent().unwrap_or(Path::new(""));
            let beside = |name: &str| -> io::Result<Box<dyn Read>> {
                Ok(Box::new(open(&folder.join(name)).map_err(io::Error::other)?))
            };
            nrrd::read_image(open(file)?, turn, &beside)?.1
        }
        Format::PlanC => planc::Plan::open(open(file)?)?.read(scan)?.1,
    };
    let mut wrong = volume.pixels.indexed_iter().filter(|(_, value)| !value.is_finite());
    if let Some(((slice, row, column), _)) = wrong.next() {
        return Err(ImageError::NoNumber { count: 1 + wrong.count(), first: [slice, row, column] });
    }
    Ok(volume.pixels)
}

fn open(file: &Path) -> Result<File, ImageError> {
    let size = fs::metadata(file)?.len();
    if size > IMAGE_FILE_BYTES_MAX {
        return Err(ImageError::Size(size));
    }
    Ok(File::open(file)?)
}
