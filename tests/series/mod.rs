//! Synthetic CT series as files: all attributes that readers ask for, written without the code under test.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use contourd::dicom::Instance;
use contourd::volume::VolumeGeometry;

/// What a series is made of.
pub struct Recipe {
    pub name: &'static str,
    pub shape: [usize; 3],
    /// Between rows, between columns.
    pub spacing_mm: [&'static str; 2],
    pub orientation: [f64; 6],
    /// Positions of the slices along z (or along the normal when oblique), as text.
    pub steps: Vec<f64>,
    /// How far the slices shift along their columns for each mm along the normal: the tangent of a tilted gantry.
    pub tilt: f64,
    /// (0008,0005) and (0010,0010) as bytes.
    pub character_set: Vec<u8>,
    pub patient_name: Vec<u8>,
}

impl Recipe {
    /// An axial series.
    pub fn axial(name: &'static str, shape: [usize; 3], spacing_mm: [&'static str; 2], steps: Vec<f64>) -> Recipe {
        let orientation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let (character_set, patient_name) = (b"ISO_IR 100".to_vec(), b"M\xfcller^J\xfcrgen".to_vec());
        Recipe { name, shape, spacing_mm, orientation, steps, tilt: 0.0, character_set, patient_name }
    }

    /// Image Position Patient of a slice as text: the numbers of the file are the truth, not those before writing.
    fn position(&self, slice: usize) -> [String; 3] {
        let [a, b] = [&self.orientation[..3], &self.orientation[3..]];
        let normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
        let first = [-52.5, -61.25, -104.5];
        std::array::from_fn(|k| format!("{:.6}", first[k] + (normal[k] + self.tilt * b[k]) * self.steps[slice]))
    }

    /// The geometry as a reader of the files has it.
    pub fn geometry(&self) -> Arc<VolumeGeometry> {
        let number = |text: &String| text.parse::<f64>().expect("a number");
        let origins =
            (0..self.shape[0]).map(|slice| std::array::from_fn(|k| number(&self.position(slice)[k]))).collect();
        let spacing = self.spacing_mm.map(|text| text.parse().expect("a number"));
        let o: Vec<f64> = self.orientation.iter().map(|x| format!("{x:.9}").parse().expect("a number")).collect();
        let geometry = VolumeGeometry::new(
            (self.shape[1], self.shape[2]),
            spacing,
            [o[0], o[1], o[2]],
            [o[3], o[4], o[5]],
            origins,
        );
        Arc::new(geometry.expect("a legal geometry"))
    }

    /// One file of the series.
    pub fn file(&self, slice: usize) -> Vec<u8> {
        let root = format!("1.2.826.0.1.3680043.8.498.{}", self.name.bytes().map(u64::from).sum::<u64>());
        let sop_instance = format!("{root}.3.{}", slice + 1);
        let [_, rows, columns] = self.shape;
        let mut data = Vec::new();
        put(&mut data, 0x0008_0005, b"CS", &self.character_set);
        for (tag, vr, value) in [
            (0x0008_0008, b"CS", "ORIGINAL\\PRIMARY\\AXIAL"),
            (0x0008_0016, b"UI", "1.2.840.10008.5.1.4.1.1.2"),
            (0x0008_0018, b"UI", &sop_instance),
            (0x0008_0020, b"DA", "20260102"),
            (0x0008_0030, b"TM", "101112"),
            (0x0008_0050, b"SH", "A123"),
            (0x0008_0060, b"CS", "CT"),
            (0x0008_0070, b"LO", "Phantom"),
            (0x0008_0090, b"PN", ""),
            (0x0008_1030, b"LO", "Synthetic thorax"),
        ] {
            put(&mut data, tag, vr, value.as_bytes());
        }
        put(&mut data, 0x0010_0010, b"PN", &self.patient_name);
        let numbers = |values: &[f64]| values.iter().map(|x| format!("{x:.9}")).collect::<Vec<_>>().join("\\");
        for (tag, vr, value) in [
            (0x0010_0020, b"LO", "PHANTOM-1".to_owned()),
            (0x0010_0030, b"DA", "19700101".to_owned()),
            (0x0010_0040, b"CS", "O".to_owned()),
            (0x0010_1010, b"AS", "056Y".to_owned()),
            (0x0018_0050, b"DS", "2.5".to_owned()),
            (0x0018_0060, b"DS", "120".to_owned()),
            (0x0018_5100, b"CS", "HFS".to_owned()),
            (0x0020_000d, b"UI", format!("{root}.1")),
            (0x0020_000e, b"UI", format!("{root}.2")),
            (0x0020_0010, b"SH", "S1".to_owned()),
            (0x0020_0011, b"IS", "3".to_owned()),
            (0x0020_0012, b"IS", "1".to_owned()),
            (0x0020_0013, b"IS", (self.shape[0] - slice).to_string()),
            (0x0020_0032, b"DS", self.position(slice).join("\\")),
            (0x0020_0037, b"DS", numbers(&self.orientation)),
            (0x0020_0052, b"UI", format!("{root}.4")),
            (0x0020_1040, b"LO", String::new()),
            (0x0028_0004, b"CS", "MONOCHROME2".to_owned()),
            (0x0028_0030, b"DS", self.spacing_mm.join("\\")),
            (0x0028_1052, b"DS", "-1024".to_owned()),
            (0x0028_1053, b"DS", "1".to_owned()),
        ] {
            put(&mut data, tag, vr, value.as_bytes());
        }
        for (tag, value) in [
            (0x0028_0002, 1_u16),
            (0x0028_0010, rows as u16),
            (0x0028_0011, columns as u16),
            (0x0028_0100, 16),
            (0x0028_0101, 12),
            (0x0028_0102, 11),
            (0x0028_0103, 0),
        ] {
            put(&mut data, tag, b"US", &value.to_le_bytes());
        }
        let pixels: Vec<u8> = (0..rows * columns).flat_map(|k| ((k * 7 % 900) as u16).to_le_bytes()).collect();
        put(&mut data, 0x7fe0_0010, b"OW", &pixels);
        data.sort_by_key(|(tag, _)| *tag);
        part10(&sop_instance, &data)
    }

    /// All files of the series, as instances.
    pub fn instances(&self) -> Vec<Instance> {
        let read = |slice| Instance::read_part10(&self.file(slice)[..]).expect("a legal instance");
        (0..self.shape[0]).map(read).collect()
    }

    /// Writes the series into a folder.
    pub fn write_to(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder for the series");
        for slice in 0..self.shape[0] {
            let mut file = std::fs::File::create(folder.join(format!("{slice:04}.dcm"))).expect("a file");
            file.write_all(&self.file(slice)).expect("written");
        }
    }
}

type Elements = Vec<(u32, Vec<u8>)>;

/// Adds one element in Explicit VR Little Endian.
fn put(data: &mut Elements, tag: u32, vr: &[u8; 2], value: &[u8]) {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&((tag >> 16) as u16).to_le_bytes());
    bytes.extend_from_slice(&(tag as u16).to_le_bytes());
    bytes.extend_from_slice(vr);
    let length = value.len() + value.len() % 2;
    if vr == b"OW" {
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&(length as u32).to_le_bytes());
    } else {
        bytes.extend_from_slice(&(length as u16).to_le_bytes());
    }
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(&[if vr == b"UI" { 0 } else { b' ' }][..value.len() % 2]);
    data.push((tag, bytes));
}

fn part10(sop_instance: &str, data: &Elements) -> Vec<u8> {
    let mut meta = Elements::new();
    put(&mut meta, 0x0002_0002, b"UI", b"1.2.840.10008.5.1.4.1.1.2");
    put(&mut meta, 0x0002_0003, b"UI", sop_instance.as_bytes());
    put(&mut meta, 0x0002_0010, b"UI", b"1.2.840.10008.1.2.1");
    put(&mut meta, 0x0002_0012, b"UI", b"1.2.826.0.1.3680043.8.498.1");
    let version = b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\0\x01";
    let length = version.len() + meta.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM\x02\x00\x00\x00UL\x04\x00");
    file.extend_from_slice(&(length as u32).to_le_bytes());
    file.extend_from_slice(version);
    meta.iter().chain(data).for_each(|(_, bytes)| file.extend_from_slice(bytes));
    file
}
