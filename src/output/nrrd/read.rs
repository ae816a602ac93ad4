//! Reads NRRD files of one image, with the voxels in the same file or in others, raw or compressed, as volumes in LPS mm
//! (teem.sourceforge.net/nrrd/format.html); it opens no files, and reads no text, hexadecimal or bzip2 voxels.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use thiserror::Error;

use crate::limits::{NRRD_DATA_FILES_MAX, NRRD_HEADER_BYTES_MAX};
use crate::output::grid::{FileGrid, GridError, Turn};
use crate::volume::{Volume, VolumeGeometry};

/// Bytes of voxels that are turned into numbers at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Why bytes are no volume.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("found no NRRD file ({0}), expected a header that begins with NRRD; convert it")]
    Format(String),
    #[error("{field}: found {found}, expected {expected}")]
    Field { field: &'static str, found: String, expected: String },
    #[error(
        "found voxels that end early or are damaged ({0}), expected as many as the header says; copy the file again"
    )]
    Voxels(io::Error),
    #[error("data file {name}: {source}; it belongs beside its header")]
    DataFile {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Grid(#[from] GridError),
}

/// What a file says before its voxels.
pub struct Header {
    pub grid: FileGrid,
    /// Of the array that `grid` makes of the voxels.
    pub geometry: VolumeGeometry,
    /// The files that hold the voxels one after the other; empty where they follow the header.
    pub data_files: Vec<String>,
    kind: Kind,
    is_big_endian: bool,
    is_compressed: bool,
    line_skip: usize,
    byte_skip: u64,
}

/// A file of one image. `open` opens a file by its name relative to the header's.
///
/// # Errors
/// [`ReadError`].
pub fn read_image(
    file: impl Read,
    turn: Turn,
    open: &dyn Fn(&str) -> io::Result<Box<dyn Read>>,
) -> Result<(FileGrid, Volume), ReadError> {
    let mut file = BufReader::new(file);
    let header = parse(&mut file, turn)?;
    let count: usize = header.grid.sizes().iter().product();
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|error| ReadError::Voxels(io::Error::other(error)))?;
    if header.data_files.is_empty() {
        header.read_values(&mut file, count, &mut values)?;
    }
    // Of several files each holds as many voxels as the others.
    let each = count / header.data_files.len().max(1);
    for name in &header.data_files {
        let data = open(name).map_err(|source| ReadError::DataFile { name: name.clone(), source })?;
        header.read_values(&mut BufReader::new(data), each, &mut values)?;
    }
    let pixels = header.grid.array(values);
    Ok((header.grid, Volume::new(Arc::new(header.geometry), pixels)))
}

/// What a file says before its voxels. It reads no more than that.
///
/// # Errors
/// [`ReadError`], but for the voxels.
pub fn read_header(file: impl Read, turn: Turn) -> Result<Header, ReadError> {
    parse(&mut BufReader::new(file), turn)
}

impl Header {
    fn read_values(&self, file: &mut dyn BufRead, count: usize, values: &mut Vec<f32>) -> Result<(), ReadError> {
        let mut skipped = Vec::new();
        for _ in 0..self.line_skip {
            skipped.clear();
            let mut line = (&mut *file).take(NRRD_HEADER_BYTES_MAX as u64);
            if line.read_until(b'\n', &mut skipped).map_err(ReadError::Voxels)? == 0 {
                break;
            }
        }
        let mut plain: Box<dyn Read + '_> =
            if self.is_compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        io::copy(&mut (&mut plain).take(self.byte_skip), &mut io::sink()).map_err(ReadError::Voxels)?;
        let mut left = count * self.kind.bytes();
        let mut bytes = vec![0; CHUNK_BYTES.min(left)];
        while left > 0 {
            let chunk = &mut bytes[..CHUNK_BYTES.min(left)];
            plain.read_exact(chunk).map_err(ReadError::Voxels)?;
            self.kind.append(chunk, self.is_big_endian, values);
            left -= chunk.len();
        }
        // A compressed file ends with a checksum, which is looked at when its end is read.
        plain.read(&mut [0]).map_err(ReadError::Voxels)?;
        Ok(())
    }
}

/// A type of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Kind {
    /// The names that the format has for it.
    fn parse(name: &str) -> Option<Kind> {
        Some(match name {
            "signed char" | "int8" | "int8_t" => Kind::I8,
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => Kind::U8,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => Kind::I16,
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Kind::U16,
            "int" | "signed int" | "int32" | "int32_t" => Kind::I32,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => Kind::U32,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => Kind::I64,
            "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => Kind::U64,
            "float" => Kind::F32,
            "double" => Kind::F64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Kind::I8 | Kind::U8 => 1,
            Kind::I16 | Kind::U16 => 2,
            Kind::I32 | Kind::U32 | Kind::F32 => 4,
            Kind::I64 | Kind::U64 | Kind::F64 => 8,
        }
    }

    fn append(self, bytes: &[u8], is_big_endian: bool, values: &mut Vec<f32>) {
        macro_rules! append {
            ($kind:ty) => {
                values.extend(bytes.chunks_exact(size_of::<$kind>()).filter_map(|number| {
                    let number = number.try_into().ok()?;
                    Some(if is_big_endian { <$kind>::from_be_bytes(number) } else { <$kind>::from_le_bytes(number) }
                        as f32)
                }))
            };
        }
        match self {
            Kind::I8 => append!(i8),
            Kind::U8 => append!(u8),
            Kind::I16 => append!(i16),
            Kind::U16 => append!(u16),
            Kind::I32 => append!(i32),
            Kind::U32 => append!(u32),
            Kind::I64 => append!(i64),
            Kind::U64 => append!(u64),
            Kind::F32 => append!(f32),
            Kind::F64 => append!(f64),
        }
    }
}

/// The fields of a header, by name in lower case.
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn optional(&self, field: &str) -> Option<&str> {
        // Some names may be written with or without a blank.
        self.0.get(field).or_else(|| self.0.get(&field.replace(' ', ""))).map(String::as_str)
    }

    fn required(&self, field: &'static str, expected: &str) -> Result<&str, ReadError> {
        self.optional(field).ok_or_else(|| wrong(field, "none", expected))
    }

    fn number(&self, field: &'static str) -> Result<Option<i64>, ReadError> {
        let parse = |text: &str| text.parse().map_err(|_| wrong(field, text, "a whole number"));
        self.optional(field).map(parse).transpose()
    }
}

fn wrong(field: &'static str, found: &str, expected: impl Into<String>) -> ReadError {
    // What a file says there can be anything, of any length.
    let found: String = if found.is_empty() { "nothing".to_owned() } else { found.chars().take(80).collect() };
    ReadError::Field { field, found, expected: expected.into() }
}

/// Reads to the empty line that ends the header, or to the end of the file, which ends one without voxels.
fn parse(file: &mut dyn BufRead, turn: Turn) -> Result<Header, ReadError> {
    let mut file = file.take(NRRD_HEADER_BYTES_MAX as u64);
    let mut line = || -> Result<Option<String>, ReadError> {
        let mut bytes = Vec::new();
        let count = file.read_until(b'\n', &mut bytes).map_err(|error| ReadError::Format(error.to_string()))?;
        if count > 0 && file.limit() == 0 {
            return Err(ReadError::Format(format!("a header of more than {NRRD_HEADER_BYTES_MAX} bytes")));
        }
        Ok((count > 0).then(|| String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned()))
    };
    let magic = line()?.unwrap_or_default();
    if !magic.starts_with("NRRD000") {
        return Err(ReadError::Format("another beginning".to_owned()));
    }
    let (mut fields, mut data_files) = (BTreeMap::new(), Vec::new());
    while let Some(text) = line()?.filter(|text| !text.is_empty()) {
        // A key with := is of no field of the format.
        let Some((name, value)) = text.split_once(": ").filter(|_| !text.starts_with('#')) else { continue };
        let (name, value) = (name.trim().to_lowercase(), value.trim());
        if matches!(name.as_str(), "data file" | "datafile") && value.split_whitespace().next() == Some("LIST") {
            // The list is the rest of the header.
            while let Some(name) = line()?.filter(|name| !name.is_empty()) {
                data_files.push(name.trim().to_owned());
            }
            if data_files.is_empty() {
                return Err(wrong("data file", "an empty LIST", "names of files"));
            }
            break;
        }
        fields.insert(name, value.to_owned());
    }
    header(&Fields(fields), data_files, turn)
}

fn header(fields: &Fields, mut data_files: Vec<String>, turn: Turn) -> Result<Header, ReadError> {
    let name = fields.required("type", "a type of numbers")?;
    let kind = Kind::parse(&name.to_lowercase()).ok_or_else(|| wrong("type", name, "one number a voxel"))?;
    let is_compressed = match fields.required("encoding", "raw or gzip")?.to_lowercase().as_str() {
        "raw" => false,
        "gz" | "gzip" => true,
        other => return Err(wrong("encoding", other, "raw or gzip; save it again")),
    };
    let is_big_endian = match fields.optional("endian").map(str::to_lowercase).as_deref() {
        Some("big") => true,
        Some("little") => false,
        None if kind.bytes() == 1 => false,
        other => return Err(wrong("endian", other.unwrap_or("none"), "little or big")),
    };
    if let Some(name) = fields.optional("data file") {
        if name.contains('%') {
            return Err(wrong("data file", name, "one name, or LIST and names; save the image into one file"));
        }
        data_files.push(name.to_owned());
    }
    let (grid, geometry) = place(fields, turn)?;
    let voxels: usize = grid.sizes().iter().product();
    let files = data_files.len().max(1);
    if files > NRRD_DATA_FILES_MAX || !voxels.is_multiple_of(files) {
        return Err(wrong("data file", &format!("{files} files"), format!("equal parts of {voxels} voxels")));
    }
    for name in &data_files {
        if name.starts_with('/') || name.contains('\\') || name.split('/').any(|part| part == "..") {
            return Err(wrong("data file", name, "a file beside the header or in a folder below; put it there"));
        }
    }
    let skip = |field| {
        let number = fields.number(field)?.unwrap_or(0);
        u32::try_from(number).map_err(|_| wrong(field, &number.to_string(), "0 or more; save the image into one file"))
    };
    let (line_skip, byte_skip) = (skip("line skip")? as usize, u64::from(skip("byte skip")?));
    Ok(Header { grid, geometry, data_files, kind, is_big_endian, is_compressed, line_skip, byte_skip })
}

/// The three axes of space. Others may be there with a single value each.
fn place(fields: &Fields, turn: Turn) -> Result<(FileGrid, VolumeGeometry), ReadError> {
    let sizes: Vec<usize> = list("sizes", fields.required("sizes", "how many voxels there are along each axis")?)?;
    let dimension = fields.number("dimension")?;
    if dimension != i64::try_from(sizes.len()).ok() {
        let found = dimension.map_or("none".to_owned(), |number| number.to_string());
        return Err(wrong("dimension", &found, format!("{}, as many as sizes", sizes.len())));
    }
    let space =
        fields.required("space", "left-posterior-superior or another space of the patient; save it with one")?;
    // To LPS (PS3.3 C.7.6.2.1.1).
    let signs = match space.to_lowercase().as_str() {
        "left-posterior-superior" | "lps" => [1.0, 1.0, 1.0],
        "right-anterior-superior" | "ras" => [-1.0, -1.0, 1.0],
        "left-anterior-superior" | "las" => [1.0, -1.0, 1.0],
        other => return Err(wrong("space", other, "LPS, RAS or LAS, in three dimensions")),
    };
    let units = fields.optional("space units").unwrap_or_default();
    if units.split_whitespace().any(|unit| !matches!(unit.trim_matches('"'), "mm" | "millimeter" | "millimetre" | "")) {
        return Err(wrong("space units", units, "\"mm\" for each; save it in mm"));
    }
    let turned = |vector: [f64; 3]| std::array::from_fn(|k| signs[k] * vector[k]);
    let text = fields.required("space directions", "a vector for each axis; save the image with its place")?;
    let directions: Vec<Option<[f64; 3]>> = vectors("space directions", text)?;
    if directions.len() != sizes.len() {
        return Err(wrong("space directions", text, format!("{} of them, as many as sizes", sizes.len())));
    }
    let (mut of_space, mut others) = (Vec::new(), Vec::new());
    for (size, direction) in sizes.iter().zip(directions) {
        match direction {
            Some(direction) => of_space.push((*size, turned(direction))),
            None => others.push(*size),
        }
    }
    let [(a, i), (b, j), (c, k)] = of_space[..] else {
        let found = format!("{} axes of space", of_space.len());
        return Err(wrong("space directions", &found, "three"));
    };
    if others.iter().any(|size| *size != 1) {
        let found = format!("{sizes:?} with an axis that is not of space");
        return Err(wrong("sizes", &found, "one number a voxel, of one time; split the file"));
    }
    let text = fields.required("space origin", "where the first voxel lies; save the image with its place")?;
    let [Some(first)] = vectors("space origin", text)?[..] else {
        return Err(wrong("space origin", text, "one vector of three numbers"));
    };
    Ok(FileGrid::new([a, b, c], [i, j, k], turned(first), turn)?)
}

fn list<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<Vec<T>, ReadError> {
    let parts = text.split_whitespace().map(str::parse);
    parts.collect::<Result<_, _>>().map_err(|_| wrong(field, text, "numbers with blanks between"))
}

/// Vectors as `(1,0,0)`; `none` for an axis without.
fn vectors(field: &'static str, text: &str) -> Result<Vec<Option<[f64; 3]>>, ReadError> {
    let illegal = || wrong(field, text, "vectors of three numbers such as (1,0,0)");
    let mut vectors = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("none") {
            vectors.push(None);
            rest = after.trim_start();
            continue;
        }
        let (inside, after) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(illegal)?;
        let numbers: Result<Vec<f64>, _> = inside.split(',').map(|number| number.trim().parse()).collect();
        let vector = numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or_else(illegal)?;
        vectors.push(Some(vector));
        rest = after.trim_start();
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HEAD: &str = "NRRD0004\n# by hand\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 3 2 2\n\
        space directions: (-1.5,0,0) (0,-1,0) (0,0,2)\nkinds: domain domain domain\nendian: little\nencoding: raw\n\
        space origin: (10,20,-30)\nkey:=value: of nobody\n";

    fn nothing(name: &str) -> io::Result<Box<dyn Read>> {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there")))
    }

    fn voxels(big: bool) -> Vec<u8> {
        let number = |n: i16| if big { (n - 6).to_be_bytes() } else { (n - 6).to_le_bytes() };
        (0..12).flat_map(number).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("written")
    }

    fn check(file: &[u8], open: &dyn Fn(&str) -> io::Result<Box<dyn Read>>) {
        let (_, volume) = read_image(file, Turn::Axial, open).expect("a volume");
        assert_eq!(volume.geometry.shape(), [2, 2, 3]);
        assert_eq!(volume.geometry.slice_origins()[0], [-10.0, -20.0, -30.0]);
        assert_eq!((volume.geometry.column_spacing_mm(), volume.geometry.slice_spacing_mm()), (1.5, 2.0));
        let values: Vec<f32> = volume.pixels.iter().copied().collect();
        assert_eq!(values, (0..12).map(|n| n as f32 - 6.0).collect::<Vec<_>>());
    }

    #[test]
    fn reads_both_encodings_and_byte_orders() {
        let attached = |head: &str, data: &[u8]| [head.as_bytes(), b"\n", data].concat();
        check(&attached(HEAD, &voxels(false)), &nothing);
        check(&attached(&HEAD.replace("little", "big"), &voxels(true)), &nothing);
        check(&attached(&HEAD.replace("raw", "gzip"), &gzip(&voxels(false))), &nothing);
        let windows = HEAD.replace('\n', "\r\n");
        check(&[windows.as_bytes(), b"\r\n", &voxels(false)].concat(), &nothing);
    }

    #[test]
    fn reads_voxels_of_other_files() {
        let one = |name: &str| -> io::Result<Box<dyn Read>> {
            assert_eq!(name, "image.raw.gz");
            Ok(Box::new(io::Cursor::new(
                [b"a line\n".to_vec(), gzip(&[b"12".to_vec(), voxels(false)].concat())].concat(),
            )))
        };
        let head = HEAD.replace("raw", "gzip") + "line skip: 1\nbyte skip: 2\ndata file: image.raw.gz\n";
        check(head.as_bytes(), &one);
        let slices = |name: &str| -> io::Result<Box<dyn Read>> {
            let from = if name == "a/0.raw" { 0 } else { 12 };
            Ok(Box::new(io::Cursor::new(voxels(false)[from..from + 12].to_vec())))
        };
        check((HEAD.to_owned() + "data file: LIST\na/0.raw\na/1.raw\n").as_bytes(), &slices);
    }

    #[test]
    fn refuses_what_is_no_image_or_says_too_little() {
        let told = |head: String, data: &[u8]| {
            let file = [head.as_bytes(), b"\n", data].concat();
            read_image(file.as_slice(), Turn::Axial, &nothing).err().expect("refused").to_string()
        };
        let check = |from: &str, to: &str, expected: &str| {
            let found = told(HEAD.replace(from, to), &voxels(false));
            assert!(found.starts_with(expected), "{found}");
        };
        check("NRRD0004", "NIFTI", "found no NRRD file");
        check("type: short", "type: block", "type: found block, expected one number a voxel");
        check("encoding: raw", "encoding: bzip2", "encoding: found bzip2, expected raw or gzip");
        check("endian: little\n", "", "endian: found none");
        check("space: right-anterior-superior\n", "", "space: found none");
        check("space: right-anterior-superior", "space: scanner-xyz", "space: found scanner-xyz");
        check("space origin: (10,20,-30)\n", "", "space origin: found none");
        check("(0,-1,0)", "none", "space directions: found 2 axes of space, expected three");
        check("(0,-1,0)", "(0,-1)", "space directions: found (-1.5,0,0)");
        check("(0,-1,0)", "(0,0,0)", "found steps of [1.5, 0.0, 2.0] mm");
        check("sizes: 3 2 2", "sizes: 3 2", "dimension: found 3, expected 2");
        check("sizes: 3 2 2", "sizes: 3 2 99999999", "found [3, 2, 99999999] voxels");
        check("sizes: 3 2 2", "sizes: 3 2 3", "found voxels that end early");
        check("encoding: raw", "encoding: raw\ndata file: ../x.raw", "data file: found ../x.raw");
        check("encoding: raw", "encoding: raw\ndata file: x.raw", "data file x.raw: x.raw is not there");
        check("encoding: raw", "encoding: raw\ndata file: %03d.raw 0 1 1", "data file: found %03d.raw 0 1 1");
        check("encoding: raw", "encoding: raw\nspace units: \"um\" \"um\" \"um\"", "space units: found");
        check("encoding: raw", "encoding: raw\nbyte skip: -1", "byte skip: found -1");
        let colours = "sizes: 3 3 2 2\nspace directions: none (";
        let four = HEAD.replace("sizes: 3 2 2\nspace directions: (", colours).replace("dimension: 3", "dimension: 4");
        assert!(told(four, &[]).starts_with("sizes: found [3, 3, 2, 2] with an axis that is not of space"));
        let mut damaged = gzip(&voxels(false));
        let end = damaged.len() - 6;
        damaged[end] ^= 1;
        let found = told(HEAD.replace("raw", "gzip"), &damaged);
        assert!(found.starts_with("found voxels that end early or are damaged"), "{found}");
    }
}
