//! CERR's plan container as an HDF5 file, in the layout that pyCERR 2.5 writes and `loadFromH5` reads: one scan and its
//! structures, as contours and as raster segments; [`Plan`] reads the scans back. It holds no patient attribute, dose,
//! beam or deformation.
//!
//! CERR's virtual coordinates are cm: x along columns, y against rows, both from the projection of the patient's origin
//! on the plane; z against the normal. Its slices ascend along z, so that they are ours in reverse.

mod read;

use hdf5_pure::{AttrValue, FileBuilder, GroupBuilder};
use thiserror::Error;

use super::object::SliceReference;
use crate::contour::Contour;
use crate::structure::RoiStyle;
use crate::volume::{CompactMask, Volume, VolumeGeometry, dot};
pub use read::{Plan, ReadError, ScanHeader};

/// What `h5py` writes for pyCERR too.
const DEFLATE_LEVEL: u32 = 4;

/// A scan with what names it.
pub struct Scan<'a> {
    pub volume: &'a Volume,
    /// As in DICOM, such as `CT`.
    pub modality: &'a str,
    pub study_instance_uid: &'a str,
    pub series_instance_uid: &'a str,
    pub frame_of_reference_uid: &'a str,
    /// The image of each slice.
    pub slices: &'a [SliceReference],
    /// `imageUnits` and `suvType`: `HU`, or Units and SUV Type of DICOM for PET; empty where the values have no unit.
    pub units: [&'a str; 2],
    /// `YYYYMMDD`, of the result.
    pub date: &'a str,
    /// Makes the UIDs of the structures differ from those of another run.
    pub job: &'a str,
}

/// A structure on the grid of the scan.
pub struct PlanStructure<'a> {
    pub style: &'a RoiStyle,
    pub mask: &'a CompactMask,
    pub contours: &'a [Contour],
    pub description: &'a str,
}

/// Why there is no file.
#[derive(Debug, Error)]
#[error("the planC file cannot be made: {0}")]
pub struct PlanCError(#[from] hdf5_pure::Error);

/// The file.
///
/// # Errors
/// [`PlanCError`] for what HDF5 cannot hold.
pub fn encode(scan: &Scan<'_>, structures: &[PlanStructure<'_>]) -> Result<Vec<u8>, PlanCError> {
    let virtual_grid = VirtualGrid::of(&scan.volume.geometry);
    let mut file = FileBuilder::new();
    let mut plan = file.create_group("planC");
    let mut header = plan.create_group("header");
    texts(&mut header, &[("dateCreated", scan.date), ("dateLastSaved", scan.date), ("writer", "contourd")]);
    plan.add_group(header.finish());
    let mut scans = plan.create_group("scan");
    let mut item = scans.create_group("Item_0");
    write_scan(&mut item, scan, &virtual_grid);
    scans.add_group(item.finish());
    plan.add_group(scans.finish());
    let mut all = plan.create_group("structure");
    for (index, structure) in structures.iter().enumerate() {
        let mut item = all.create_group(&format!("Item_{index}"));
        write_structure(&mut item, scan, index, structure, &virtual_grid);
        all.add_group(item.finish());
    }
    plan.add_group(all.finish());
    for empty in ["dose", "deform"] {
        let group = plan.create_group(empty);
        plan.add_group(group.finish());
    }
    file.add_group(plan.finish());
    Ok(file.finish()?)
}

/// What CERR calls the virtual grid (`convertDcmToCerrVirtualCoords` of pyCERR's scan.py).
struct VirtualGrid<'a> {
    geometry: &'a VolumeGeometry,
    /// Between rows, between columns, in cm.
    grid_cm: [f64; 2],
    /// Where the centre of the lowest slice lies along rows and against columns.
    offset_cm: [f64; 2],
    /// z of each slice of CERR, ascending.
    z_cm: Vec<f64>,
    thickness_cm: Vec<f64>,
}

impl<'a> VirtualGrid<'a> {
    fn of(geometry: &'a VolumeGeometry) -> VirtualGrid<'a> {
        let [slices, rows, columns] = geometry.shape();
        let centre = geometry.index_to_patient([0.0, (rows as f64 - 1.0) / 2.0, (columns as f64 - 1.0) / 2.0]);
        let z_cm: Vec<f64> = geometry.positions_mm().iter().rev().map(|mm| -mm / 10.0).collect();
        VirtualGrid {
            geometry,
            grid_cm: [geometry.row_spacing_mm() / 10.0, geometry.column_spacing_mm() / 10.0],
            offset_cm: [dot(centre, geometry.row_direction()) / 10.0, -dot(centre, geometry.column_direction()) / 10.0],
            z_cm,
            // One without a neighbour has 1 in CERR (`deduce_voxel_thickness`).
            thickness_cm: match slices {
                1 => vec![1.0],
                _ => (0..slices).rev().map(|slice| geometry.slice_extent_mm(slice) / 10.0).collect(),
            },
        }
    }

    fn x_cm(&self, column: f64) -> f64 {
        self.offset_cm[0] + (column - (self.geometry.columns() as f64 - 1.0) / 2.0) * self.grid_cm[1]
    }

    fn y_cm(&self, row: f64) -> f64 {
        self.offset_cm[1] - (row - (self.geometry.rows() as f64 - 1.0) / 2.0) * self.grid_cm[0]
    }

    /// The slice of CERR for one of ours, and the other way round.
    fn slice(&self, slice: usize) -> usize {
        self.z_cm.len() - 1 - slice
    }

    /// From `(column, row, slice)`, slices as ours, to patient cm.
    fn to_patient(&self) -> [[f64; 4]; 4] {
        let geometry = self.geometry;
        let (first, step) = (geometry.slice_origins()[0], geometry.index_to_patient([1.0, 0.0, 0.0]));
        let row = |k: usize| {
            [
                geometry.row_direction()[k] * self.grid_cm[1],
                geometry.column_direction()[k] * self.grid_cm[0],
                (step[k] - first[k]) / 10.0,
                first[k] / 10.0,
            ]
        };
        [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]]
    }

    /// From `(column, row, slice)`, slices as ours, to virtual cm.
    fn to_virtual(&self) -> [[f64; 4]; 4] {
        let last = self.z_cm.len() - 1;
        let (along, lowest) = match last {
            0 => (self.geometry.slice_spacing_mm() / 10.0, self.z_cm[0]),
            _ => (-(self.z_cm[1] - self.z_cm[0]), self.z_cm[last]),
        };
        [
            [self.grid_cm[1], 0.0, 0.0, self.x_cm(0.0)],
            [0.0, -self.grid_cm[0], 0.0, self.y_cm(0.0)],
            [0.0, 0.0, along, lowest],
            [0.0, 0.0, 0.0, 1.0],
        ]
    }

    /// From virtual cm to patient mm. pyCERR scales three columns of this matrix to mm and leaves the fourth in cm; its
    /// own functions do not use it, and a file of ours is not to differ from one of its own.
    fn virtual_to_patient(&self) -> [[f64; 4]; 4] {
        let (patient, virt) = (self.to_patient(), self.to_virtual());
        patient.map(|row| {
            let scaled: [f64; 3] = std::array::from_fn(|k| row[k] / virt[k][k]);
            let moved = row[3] - (0..3).map(|k| scaled[k] * virt[k][3]).sum::<f64>();
            [scaled[0] * 10.0, scaled[1] * 10.0, scaled[2] * 10.0, moved]
        })
    }
}

fn write_scan(item: &mut GroupBuilder, scan: &Scan<'_>, grid: &VirtualGrid<'_>) {
    let kind = format!("{} SCAN", scan.modality);
    texts(item, &[("scanType", &kind), ("scanUID", &scan_uid(scan))]);
    let matrices = [
        ("Image2PhysicalTransM", grid.to_patient()),
        ("Image2VirtualPhysicalTransM", grid.to_virtual()),
        ("cerrToDcmTransM", grid.virtual_to_patient()),
    ];
    for (name, matrix) in matrices {
        item.create_dataset(name).with_f64_data(matrix.as_flattened()).with_shape(&[4, 4]);
    }
    let pixels = &scan.volume.pixels;
    // CERR keeps no negative values; a whole offset leaves whole numbers what they are.
    let lowest = pixels.iter().copied().filter(|value| value.is_finite()).fold(0.0_f32, f32::min);
    let offset = (-lowest).ceil();
    let [slices, rows, columns] = grid.geometry.shape();
    let mut values = Vec::with_capacity(pixels.len());
    for row in 0..rows {
        for column in 0..columns {
            values.extend((0..slices).rev().map(|slice| pixels[[slice, row, column]] + offset));
        }
    }
    let shape = [rows, columns, slices].map(|size| size as u64);
    let array = item.create_dataset("scanArray").with_f32_data(&values).with_shape(&shape);
    array.with_chunks(&[shape[0], shape[1], 1]).with_deflate(DEFLATE_LEVEL);
    let mut infos = item.create_group("scanInfo");
    for slice in 0..slices {
        let mut info = infos.create_group(&format!("Item_{slice}"));
        write_slice(&mut info, scan, grid, slice, f64::from(offset));
        infos.add_group(info.finish());
    }
    item.add_group(infos.finish());
}

/// What pyCERR calls ScanInfo, of one of its slices.
fn write_slice(info: &mut GroupBuilder, scan: &Scan<'_>, grid: &VirtualGrid<'_>, slice: usize, ct_offset: f64) {
    let geometry = grid.geometry;
    let ours = grid.slice(slice);
    let numbers = [
        ("CTOffset", ct_offset),
        ("rescaleSlope", 1.0),
        ("rescaleIntercept", 0.0),
        ("grid1Units", grid.grid_cm[0]),
        ("grid2Units", grid.grid_cm[1]),
        ("zValue", grid.z_cm[slice]),
        ("xOffset", grid.offset_cm[0]),
        ("yOffset", grid.offset_cm[1]),
        ("sliceThickness", grid.thickness_cm[slice]),
        ("voxelThickness", grid.thickness_cm[slice]),
    ];
    for (name, number) in numbers {
        info.set_attr(name, AttrValue::F64(number));
    }
    info.set_attr("sizeOfDimension1", AttrValue::I64(geometry.rows() as i64));
    info.set_attr("sizeOfDimension2", AttrValue::I64(geometry.columns() as i64));
    let kind = format!("{} SCAN", scan.modality);
    texts(
        info,
        &[
            ("imageType", &kind),
            ("imageUnits", scan.units[0]),
            ("suvType", scan.units[1]),
            ("studyInstanceUID", scan.study_instance_uid),
            ("seriesInstanceUID", scan.series_instance_uid),
            ("frameOfReferenceUID", scan.frame_of_reference_uid),
        ],
    );
    if let Some(reference) = scan.slices.get(ours) {
        let (instance, class) = (reference.sop_instance_uid.as_str(), reference.sop_class_uid.as_str());
        texts(info, &[("sopInstanceUID", instance), ("sopClassUID", class)]);
    }
    let directions = [geometry.row_direction(), geometry.column_direction()];
    info.create_dataset("imageOrientationPatient").with_f64_data(directions.as_flattened()).with_shape(&[6]);
    info.create_dataset("imagePositionPatient").with_f64_data(&geometry.slice_origins()[ours]).with_shape(&[3]);
}

fn write_structure(
    item: &mut GroupBuilder,
    scan: &Scan<'_>,
    index: usize,
    structure: &PlanStructure<'_>,
    grid: &VirtualGrid<'_>,
) {
    let number = index + 1;
    texts(
        item,
        &[
            ("structureName", structure.style.name.as_str()),
            ("ROIInterpretedType", structure.style.roi_type.dicom_term()),
            ("structureDescription", structure.description),
            ("roiGenerationAlgorithm", "AUTOMATIC"),
            ("writer", "contourd"),
            ("dateWritten", scan.date),
            ("strUID", &format!("RS.{}.{}.{number}", scan.series_instance_uid, scan.job)),
            ("assocScanUID", &scan_uid(scan)),
            ("referencedFrameOfReferenceUID", scan.frame_of_reference_uid),
        ],
    );
    item.set_attr("roiNumber", AttrValue::I64(number as i64));
    item.set_attr("numberOfScans", AttrValue::I64(grid.z_cm.len() as i64));
    let color = structure.style.color.0.map(i64::from);
    item.create_dataset("structureColor").with_i64_data(&color).with_shape(&[3]);
    let segments = raster_segments(structure.mask, grid);
    if !segments.is_empty() {
        let shape = [segments.len() as u64, 10];
        let raster = item.create_dataset("rasterSegments").with_f64_data(segments.as_flattened()).with_shape(&shape);
        raster.with_chunks(&shape).with_deflate(DEFLATE_LEVEL);
    }
    let mut slices = item.create_group("contour");
    for slice in 0..grid.z_cm.len() {
        let mut group = slices.create_group(&format!("Item_{slice}"));
        let ours = grid.slice(slice);
        let contours: Vec<&Contour> = structure.contours.iter().filter(|contour| contour.slice == ours).collect();
        if !contours.is_empty() {
            if let Some(reference) = scan.slices.get(ours) {
                let (instance, class) = (reference.sop_instance_uid.as_str(), reference.sop_class_uid.as_str());
                texts(&mut group, &[("referencedSopInstanceUID", instance), ("referencedSopClassUID", class)]);
            }
            write_contours(&mut group, &contours, grid, slice);
        }
        slices.add_group(group.finish());
    }
    item.add_group(slices.finish());
}

fn write_contours(group: &mut GroupBuilder, contours: &[&Contour], grid: &VirtualGrid<'_>, slice: usize) {
    let mut segments = group.create_group("segments");
    for (number, contour) in contours.iter().enumerate() {
        let point = |point: &[f64; 3]| {
            let [_, row, column] = grid.geometry.patient_to_index(*point);
            [grid.x_cm(column), grid.y_cm(row), grid.z_cm[slice]]
        };
        let points: Vec<[f64; 3]> = contour.points.iter().map(point).collect();
        let mut segment = segments.create_group(&format!("Item_{number}"));
        let shape = [points.len() as u64, 3];
        segment.create_dataset("points").with_f64_data(points.as_flattened()).with_shape(&shape);
        segments.add_group(segment.finish());
    }
    group.add_group(segments.finish());
}

/// Runs of voxels: z, y, x of the first, x of the last, width, slice, row, first and last column, thickness
/// (`rasterseg.py`, `mask2scan`).
fn raster_segments(mask: &CompactMask, grid: &VirtualGrid<'_>) -> Vec<[f64; 10]> {
    let [slices, rows, columns] = mask.extent();
    let mut segments = Vec::new();
    for ours in slices.rev() {
        let slice = grid.slice(ours);
        for row in rows.clone() {
            let mut begin = None;
            for column in columns.start..=columns.end {
                let inside = column < columns.end && mask.contains([ours, row, column]);
                match (begin, inside) {
                    (None, true) => begin = Some(column),
                    (Some(first), false) => {
                        let (first, last) = (first as f64, column as f64 - 1.0);
                        segments.push([
                            grid.z_cm[slice],
                            grid.y_cm(row as f64),
                            grid.x_cm(first),
                            grid.x_cm(last),
                            grid.grid_cm[1],
                            slice as f64,
                            row as f64,
                            first,
                            last,
                            grid.thickness_cm[slice],
                        ]);
                        begin = None;
                    }
                    _ => {}
                }
            }
        }
    }
    segments
}

/// pyCERR looks scans up by this.
fn scan_uid(scan: &Scan<'_>) -> String {
    format!("{}.{}", scan.modality, scan.series_instance_uid)
}

/// Attributes; what is empty is left out, because that is what pyCERR takes for it.
fn texts(group: &mut GroupBuilder, texts: &[(&str, &str)]) {
    for (name, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
        group.set_attr(name, AttrValue::String((*text).to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hdf5_pure::File;
    use ndarray::Array3;

    use super::*;
    use crate::contour::trace;
    use crate::structure::{Color, RoiType};
    use crate::volume::Mask;

    #[test]
    fn slices_run_against_the_normal_and_runs_are_the_mask() {
        let origins = vec![[-10.0, -20.0, 5.0], [-10.0, -20.0, 7.0], [-10.0, -20.0, 11.0]];
        let geometry = VolumeGeometry::new((4, 5), [2.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], origins);
        let geometry = Arc::new(geometry.expect("legal"));
        let mut pixels = Array3::zeros((3, 4, 5));
        pixels[[0, 1, 2]] = -1000.5_f32;
        let volume = Volume::new(Arc::clone(&geometry), pixels);
        let mut mask = Mask::empty(geometry);
        for column in [0, 1, 3] {
            mask.voxels[[2, 3, column]] = true;
        }
        let contours = trace(&mask);
        let style = RoiStyle { name: "Größe".to_owned(), roi_type: RoiType::Organ, color: Color([1, 2, 3]) };
        let scan = Scan {
            volume: &volume,
            modality: "CT",
            study_instance_uid: "1.2",
            series_instance_uid: "1.3",
            frame_of_reference_uid: "1.4",
            units: ["HU", ""],
            slices: &[],
            date: "20260102",
            job: "0123456789ab",
        };
        let structure = PlanStructure { style: &style, mask: &mask.into(), contours: &contours, description: "" };
        let file = File::from_bytes(encode(&scan, &[structure]).expect("encoded")).expect("opened");
        let scan_array = file.dataset("planC/scan/Item_0/scanArray").expect("there");
        assert_eq!(scan_array.shape().expect("a shape"), [4, 5, 3]);
        let values = scan_array.read_f32().expect("numbers");
        // The lowest value, in the last slice of CERR, with the offset.
        assert_eq!((values[(5 + 2) * 3 + 2], values[0]), (0.5, 1001.0));
        let runs = file.dataset("planC/structure/Item_0/rasterSegments").expect("there").read_f64().expect("numbers");
        // x of the image's middle is -8 mm, y is -(-17 mm); the columns are 1 mm, the rows 2 mm.
        let run = |first: f64, last: f64| {
            [-1.1, 1.4, -1.0 + first / 10.0, -1.0 + last / 10.0, 0.1, 0.0, 3.0, first, last, 0.4]
        };
        let expected: Vec<f64> = [run(0.0, 1.0), run(3.0, 3.0)].concat();
        assert!(runs.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12), "{runs:?}");
        assert_eq!(runs.len(), 20);
        let attributes = file.group("planC/structure/Item_0").expect("there").attrs().expect("attributes");
        assert_eq!(attributes["structureName"].as_str(), Some("Größe"));
        assert!(file.group("planC/structure/Item_0/contour/Item_0/segments/Item_1").is_ok());
        assert!(file.group("planC/structure/Item_0/contour/Item_1").expect("there").groups().expect("none").is_empty());
    }
}
