//! Reads the scans of CERR's plan container, as pyCERR's `saveToH5` and this program write it, as volumes in patient LPS
//! mm; it reads no structures and no doses, and opens no files.
//!
//! The place of each slice is that of DICOM (`imagePositionPatient`, `imageOrientationPatient`), which pyCERR keeps in mm
//! beside its own coordinates in cm. The array is `[row, column, slice]`, its values shifted by `CTOffset`.

use std::collections::HashMap;
use std::io::{Read, Seek};
use std::sync::Arc;

use hdf5_pure::{AttrValue, Dataset, File, Group, ReadSeekSource};
use ndarray::{Array3, Axis};
use thiserror::Error;

use crate::dicom::Uid;
use crate::limits::{IMAGE_SIDE_MAX, SLICES_MAX, VOXELS_MAX};
use crate::output::object::SliceReference;
use crate::volume::{GeometryError, Volume, VolumeGeometry, cross, dot};

/// Positions of slices closer than this are the same place (as for DICOM).
const COINCIDENT_MM: f64 = 0.01;

/// Why bytes are no scan.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("found no planC file ({0}), expected HDF5 as pyCERR's saveToH5 writes it")]
    Format(#[from] hdf5_pure::Error),
    #[error("found no scan {scan}, expected one of {scans}, counted from 0")]
    Scan { scan: usize, scans: usize },
    #[error("{at}: found {found}, expected {expected}")]
    Content { at: String, found: String, expected: String },
    #[error("planC/scan: {0}")]
    Geometry(#[from] GeometryError),
}

/// A file that was opened.
pub struct Plan {
    file: File,
    /// Groups of the scans, in their order.
    scans: Vec<String>,
}

/// What a scan says besides its voxels.
pub struct ScanHeader {
    pub geometry: VolumeGeometry,
    /// `imageType` without the word `SCAN`: `CT`, `MR`, `PT` or another; empty where there is none.
    pub kind: String,
    pub study_instance_uid: Option<Uid>,
    pub series_instance_uid: Option<Uid>,
    pub frame_of_reference_uid: Option<Uid>,
    /// The image of each slice; empty unless all are named.
    pub slices: Vec<SliceReference>,
    /// `imageUnits`; those of all slices, where they differ.
    pub units: String,
    /// `suvType`, in the same way.
    pub suv_type: String,
    ct_offset: f64,
    /// For each slice its index in the file.
    order: Vec<usize>,
}

impl ScanHeader {
    /// Whether the values are SUV by body weight. pyCERR keeps Units and SUV Type of DICOM; its `convert_to_suv` sets both.
    ///
    /// # Errors
    /// What they are in instead.
    pub fn is_suv_bw(&self) -> Result<(), String> {
        match (self.units.as_str(), self.suv_type.as_str()) {
            // PS3.3 C.8.9.1.1.3: SUV of no other type are by body weight.
            ("GML", "" | "BW") => Ok(()),
            (units, suv_type) => Err(format!(
                "found imageUnits {units:?} and suvType {suv_type:?} in the planC, expected \"GML\" with \"BW\" or nothing \
                 for an input in SUV; convert the scan with pyCERR's convert_to_suv, or give the DICOM series"
            )),
        }
    }
}

impl Plan {
    /// Opens a file; what is read later is read from it.
    ///
    /// # Errors
    /// It is no HDF5 file, or has no group `planC/scan` with a scan.
    pub fn open(file: impl Read + Seek + Send + 'static) -> Result<Plan, ReadError> {
        let source = ReadSeekSource::new(file).map_err(hdf5_pure::Error::from)?;
        let file = File::from_source(source)?;
        let scans = items(&file.group("planC/scan")?)?;
        if scans.is_empty() {
            return Err(content("planC/scan", "no scan", "at least one"));
        }
        let scans = scans.into_iter().map(|name| format!("planC/scan/{name}")).collect();
        Ok(Plan { file, scans })
    }

    /// How many scans there are.
    pub fn scans(&self) -> usize {
        self.scans.len()
    }

    /// How many structures there are, which are not read.
    pub fn structures(&self) -> usize {
        self.file.group("planC/structure").and_then(|group| group.groups()).map_or(0, |groups| groups.len())
    }

    /// Whether this program wrote the file.
    pub fn is_ours(&self) -> bool {
        let attributes = self.file.group("planC/header").and_then(|group| group.attrs());
        attributes.is_ok_and(|found| found.get("writer").and_then(AttrValue::as_str) == Some("contourd"))
    }

    /// What a scan says besides its voxels.
    ///
    /// # Errors
    /// [`ReadError`] when something is missing or contradicts something else.
    pub fn header(&self, scan: usize) -> Result<ScanHeader, ReadError> {
        let [rows, columns, slices] = self.shape(scan)?;
        let group = self.file.group(&format!("{}/scanInfo", self.path(scan)?))?;
        let infos = items(&group)?;
        if infos.len() != slices {
            let at = format!("{}/scanInfo", self.path(scan)?);
            return Err(content(at, format!("{} slices", infos.len()), format!("{slices}, as many as scanArray has")));
        }
        let infos: Vec<Info> =
            infos.iter().map(|name| Info::read(&group, name, self.path(scan)?)).collect::<Result<_, ReadError>>()?;
        let first = &infos[0];
        let [row_direction, column_direction] = first.directions;
        let normal = cross(row_direction, column_direction);
        let mut order: Vec<usize> = (0..slices).collect();
        order.sort_by(|a, b| dot(normal, infos[*a].position).total_cmp(&dot(normal, infos[*b].position)));
        let differs = |info: &Info| {
            let apart = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-4;
            info.directions.iter().flatten().zip(first.directions.iter().flatten()).any(apart)
                || info.spacing_mm.iter().zip(&first.spacing_mm).any(apart)
                || info.ct_offset != first.ct_offset
        };
        if let Some(other) = infos.iter().position(differs) {
            let found = "an orientation, spacing or CTOffset unlike that of the first";
            return Err(content(
                format!("{}/scanInfo/Item_{other}", self.path(scan)?),
                found,
                "the same for all slices",
            ));
        }
        let origins: Vec<[f64; 3]> = order.iter().map(|slice| infos[*slice].position).collect();
        if origins.windows(2).any(|pair| dot(normal, pair[1]) - dot(normal, pair[0]) < COINCIDENT_MM) {
            return Err(content(self.path(scan)?, "two slices at one place", "one slice at each"));
        }
        let references: Option<Vec<SliceReference>> =
            order.iter().map(|slice| infos[*slice].reference.clone()).collect();
        Ok(ScanHeader {
            geometry: VolumeGeometry::new((rows, columns), first.spacing_mm, row_direction, column_direction, origins)?,
            kind: first.kind.clone(),
            study_instance_uid: first.uids[0].clone(),
            series_instance_uid: first.uids[1].clone(),
            frame_of_reference_uid: first.uids[2].clone(),
            slices: references.unwrap_or_default(),
            units: all_of(infos.iter().map(|info| info.units[0].as_str())),
            suv_type: all_of(infos.iter().map(|info| info.units[1].as_str())),
            ct_offset: first.ct_offset,
            order,
        })
    }

    /// A scan with its voxels.
    ///
    /// # Errors
    /// As [`Plan::header`], and for voxels that cannot be read.
    pub fn read(&self, scan: usize) -> Result<(ScanHeader, Volume), ReadError> {
        let header = self.header(scan)?;
        let shape = self.shape(scan)?;
        // Whole numbers of CT are exact in f32; the offset is taken off in f64.
        let values: Vec<f32> = self.array(scan)?.read_f32()?;
        let values = values.into_iter().map(|value| (f64::from(value) - header.ct_offset) as f32).collect();
        let stored = Array3::from_shape_vec(shape, values);
        let stored = stored.map_err(|error| content("scanArray", error.to_string(), "a value for each voxel"))?;
        // From (row, column, slice); its slices follow each other in one direction or the other.
        let turned = stored.permuted_axes([2, 0, 1]);
        let pixels = turned.select(Axis(0), &header.order);
        let geometry = Arc::new(header.geometry.clone());
        Ok((header, Volume::new(geometry, pixels.as_standard_layout().into_owned())))
    }

    fn path(&self, scan: usize) -> Result<&str, ReadError> {
        let found = self.scans.get(scan).map(String::as_str);
        found.ok_or(ReadError::Scan { scan, scans: self.scans.len() })
    }

    fn array(&self, scan: usize) -> Result<Dataset, ReadError> {
        Ok(self.file.dataset(&format!("{}/scanArray", self.path(scan)?))?)
    }

    fn shape(&self, scan: usize) -> Result<[usize; 3], ReadError> {
        let sizes = self.array(scan)?.shape()?;
        let fits = |size: &u64, most: usize| (1..=most as u64).contains(size);
        match sizes[..] {
            [rows, columns, slices]
                if fits(&rows, IMAGE_SIDE_MAX)
                    && fits(&columns, IMAGE_SIDE_MAX)
                    && fits(&slices, SLICES_MAX)
                    && rows * columns * slices <= VOXELS_MAX as u64 =>
            {
                Ok([rows as usize, columns as usize, slices as usize])
            }
            _ => {
                let at = format!("{}/scanArray", self.path(scan)?);
                Err(content(at, format!("{sizes:?} voxels"), format!("rows, columns and slices, {VOXELS_MAX} in all")))
            }
        }
    }
}

/// What pyCERR calls ScanInfo.
struct Info {
    position: [f64; 3],
    directions: [[f64; 3]; 2],
    spacing_mm: [f64; 2],
    ct_offset: f64,
    kind: String,
    /// `imageUnits` and `suvType`, in capitals.
    units: [String; 2],
    /// Study, series, frame of reference.
    uids: [Option<Uid>; 3],
    reference: Option<SliceReference>,
}

impl Info {
    fn read(infos: &Group, name: &str, scan: &str) -> Result<Info, ReadError> {
        let at = |key: &str| format!("{scan}/scanInfo/{name}/{key}");
        let group = infos.group(name)?;
        let attributes = group.attrs()?;
        let numbers = |key: &str| -> Result<Vec<f64>, ReadError> {
            let absent =
                |_| content(at(key), "nothing", "numbers of DICOM; save the plan with pyCERR from DICOM or NIfTI");
            let dataset = group.dataset(key).map_err(absent)?;
            // Looked at before it is read: a file may say any size.
            let count = dataset.shape()?.iter().product::<u64>();
            if count > 6 {
                return Err(content(at(key), format!("{count} numbers"), "3 for a position, 6 for directions"));
            }
            Ok(dataset.read_f64()?)
        };
        let lengths =
            |key, found: usize| content(at(key), format!("{found} numbers"), "3 for a position, 6 for directions");
        let position = numbers("imagePositionPatient")?;
        let position = position.as_slice().try_into().map_err(|_| lengths("imagePositionPatient", position.len()))?;
        let directions = numbers("imageOrientationPatient")?;
        let [a, b, c, d, e, f] = directions[..] else {
            return Err(lengths("imageOrientationPatient", directions.len()));
        };
        let number = |key: &str| number(&attributes, key);
        let cm = |key: &str| number(key).ok_or_else(|| content(at(key), "no number", "the spacing in cm"));
        let text = |key: &str| attributes.get(key).and_then(AttrValue::as_str).unwrap_or_default().trim().to_owned();
        let uid = |key: &str| text(key).parse::<Uid>().ok();
        let kind = text("imageType").to_uppercase();
        let (class, instance) = (uid("sopClassUID"), uid("sopInstanceUID"));
        Ok(Info {
            position,
            directions: [[a, b, c], [d, e, f]],
            spacing_mm: [cm("grid1Units")? * 10.0, cm("grid2Units")? * 10.0],
            ct_offset: number("CTOffset").unwrap_or(0.0),
            kind: kind.strip_suffix("SCAN").unwrap_or(&kind).trim().to_owned(),
            units: ["imageUnits", "suvType"].map(|key| text(key).to_uppercase()),
            uids: ["studyInstanceUID", "seriesInstanceUID", "frameOfReferenceUID"].map(uid),
            reference: class.zip(instance).map(|(sop_class_uid, sop_instance_uid)| SliceReference {
                sop_class_uid,
                sop_instance_uid,
                frame_number: None,
            }),
        })
    }
}

/// A number, which `h5py` writes as an integer where Python had one.
fn number(attributes: &HashMap<String, AttrValue>, key: &str) -> Option<f64> {
    let value = attributes.get(key)?;
    let found = value.as_f64().or_else(|| value.as_i64().map(|number| number as f64))?;
    found.is_finite().then_some(found)
}

/// What is said, each once, in its order.
fn all_of<'a>(said: impl Iterator<Item = &'a str>) -> String {
    let mut different: Vec<&str> = Vec::new();
    for text in said {
        if !different.contains(&text) {
            different.push(text);
        }
    }
    different.join(" and ")
}

/// The groups `Item_0`, `Item_1` and so on, by their numbers.
fn items(group: &Group) -> Result<Vec<String>, ReadError> {
    let mut names = group.groups()?;
    names.sort_by_key(|name| name.rsplit('_').next().and_then(|number| number.parse::<u64>().ok()));
    Ok(names)
}

fn content(at: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> ReadError {
    ReadError::Content { at: at.into(), found: found.into(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::output::planc::{Scan, encode};

    fn volume() -> Volume {
        let (sin, cos) = 0.3_f64.sin_cos();
        let origins = [0.0, 2.5, 7.0].map(|z| [1.0 - z * sin, 2.0, 3.0 + z * cos]).to_vec();
        let (right, down) = ([cos, 0.0, sin], [0.0, 1.0, 0.0]);
        let geometry = VolumeGeometry::new((4, 5), [1.25, 0.75], right, down, origins).expect("a legal geometry");
        let pixels = Array3::from_shape_fn((3, 4, 5), |(k, j, i)| (100 * k + 10 * j + i) as f32 - 1024.0);
        Volume::new(Arc::new(geometry), pixels)
    }

    fn file(volume: &Volume, units: [&str; 2]) -> Vec<u8> {
        let reference = |number: usize| SliceReference {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".parse().expect("a UID"),
            sop_instance_uid: format!("1.2.3.{number}").parse().expect("a UID"),
            frame_number: None,
        };
        let scan = Scan {
            volume,
            modality: "CT",
            study_instance_uid: "1.2",
            series_instance_uid: "1.3",
            frame_of_reference_uid: "1.4",
            slices: &(0..3).map(reference).collect::<Vec<_>>(),
            units,
            date: "20260102",
            job: "0123456789ab",
        };
        encode(&scan, &[]).expect("encoded")
    }

    #[test]
    fn what_was_written_comes_back() {
        let volume = volume();
        let plan = Plan::open(Cursor::new(file(&volume, ["HU", ""]))).expect("opened");
        assert_eq!((plan.scans(), plan.structures(), plan.is_ours()), (1, 0, true));
        let (header, found) = plan.read(0).expect("read");
        assert_eq!(found.pixels, volume.pixels);
        assert_eq!((header.kind.as_str(), header.series_instance_uid.as_ref().map(Uid::as_str)), ("CT", Some("1.3")));
        let instances: Vec<&str> = header.slices.iter().map(|slice| slice.sop_instance_uid.as_str()).collect();
        assert_eq!(instances, ["1.2.3.0", "1.2.3.1", "1.2.3.2"]);
        for (slice, origin) in volume.geometry.slice_origins().iter().enumerate() {
            let there = found.geometry.slice_origins()[slice];
            assert!(there.iter().zip(origin).all(|(a, b)| (a - b).abs() < 1e-9), "{there:?}");
        }
        let told = plan.read(1).err().expect("refused").to_string();
        assert_eq!(told, "found no scan 1, expected one of 1, counted from 0");
    }

    #[test]
    fn refuses_what_is_cut_short_or_no_plan() {
        let bytes = file(&volume(), ["HU", ""]);
        let mut told = Vec::new();
        for end in [0, 100, bytes.len() / 2, bytes.len() - 100] {
            let read = Plan::open(Cursor::new(bytes[..end].to_vec())).and_then(|plan| plan.read(0));
            told.push(read.err().expect("refused").to_string());
        }
        assert!(told[0].starts_with("found no planC file"), "{told:?}");
        let mut other = hdf5_pure::FileBuilder::new();
        let group = other.create_group("something");
        other.add_group(group.finish());
        let other = Plan::open(Cursor::new(other.finish().expect("written"))).err().expect("refused").to_string();
        assert!(other.starts_with("found no planC file"), "{other}");
    }
    #[test]
    fn values_are_suv_where_units_and_type_say_so() {
        let told = |units| {
            let plan = Plan::open(Cursor::new(file(&volume(), units))).expect("opened");
            plan.header(0).expect("read").is_suv_bw()
        };
        assert_eq!((told(["GML", "BW"]), told(["GML", ""])), (Ok(()), Ok(())));
        for [units, suv_type] in [["BQML", ""], ["", ""], ["GML", "LBMJANMA"], ["CM2ML", "BSA"], ["HU", ""]] {
            let said = told([units, suv_type]).expect_err("no SUV by body weight");
            assert!(said.starts_with(&format!("found imageUnits {units:?} and suvType {suv_type:?}")), "{said}");
        }
        assert_eq!(all_of(["GML", "GML", "BQML"].into_iter()), "GML and BQML");
    }

    #[test]
    fn a_list_of_numbers_that_is_too_long_is_not_read() {
        const COUNT: u64 = 54_321;
        let mut builder = hdf5_pure::FileBuilder::new();
        let (mut plan, mut scans) = (builder.create_group("planC"), builder.create_group("scan"));
        let (mut scan, mut infos) = (scans.create_group("Item_0"), scans.create_group("scanInfo"));
        let mut info = infos.create_group("Item_0");
        let numbers = info.create_dataset("imagePositionPatient");
        numbers.with_f64_data(&vec![0.0; COUNT as usize]).with_shape(&[COUNT]);
        numbers.with_chunks(&[COUNT]).with_deflate(4);
        infos.add_group(info.finish());
        scan.create_dataset("scanArray").with_f32_data(&[0.0]).with_shape(&[1, 1, 1]);
        scan.add_group(infos.finish());
        scans.add_group(scan.finish());
        plan.add_group(scans.finish());
        builder.add_group(plan.finish());
        let mut bytes = builder.finish().expect("written");
        // The numbers are spoiled: whoever reads them is told that, and not how many there are.
        let inflated = |at: &usize| {
            let mut numbers = Vec::new();
            let read = std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&bytes[*at..]), &mut numbers);
            read.is_ok() && numbers.len() as u64 == 8 * COUNT
        };
        let stream = (0..bytes.len()).filter(|at| bytes[*at] == 0x78).find(inflated).expect("a stream of zlib");
        bytes[stream + 2..stream + 20].fill(0xff);
        let told = Plan::open(Cursor::new(bytes)).and_then(|plan| plan.header(0)).err().expect("refused").to_string();
        assert!(told.contains(&format!("imagePositionPatient: found {COUNT} numbers, expected 3")), "{told}");
    }
}
