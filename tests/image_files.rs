//! `contourd segment` on images that are no DICOM series: the same result at the same place, and errors that help.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use contourd::assemble;
use contourd::dicom::Instance;
use contourd::output::planc::{Plan, Scan, encode};
use contourd::phantom::{self, Identity, Thorax};
use contourd::volume::Volume;
use ndarray::Array3;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const STRUCTURES: [&str; 4] = ["BODY", "Lung_L", "Lung_R", "Bone"];

/// Whether ONNX Runtime is there; says so where it is not.
fn ready() -> bool {
    let ready = contourd::onnx::check_library().is_ok();
    if !ready {
        println!("ONNX Runtime is not here (make runtime): not tested");
    }
    ready
}

/// Writes a small thorax as DICOM; its volume.
fn dicom(folder: &Path) -> Volume {
    let thorax = Thorax::standard().coarser(6).with_slice_spacing(12.0);
    let phantom = phantom::render(&thorax, |_| {}).expect("legal");
    fs::create_dir_all(folder).expect("made");
    let mut files = Vec::new();
    for (index, instance) in phantom::instances(&phantom, &Identity::of(&thorax)).enumerate() {
        let bytes = instance.expect("encoded").1;
        fs::write(folder.join(format!("{index}.dcm")), &bytes).expect("written");
        files.push(bytes);
    }
    let read = |bytes: &Vec<u8>| Instance::read_part10(bytes.as_slice()).expect("an instance");
    let instances: Vec<Instance> = files.iter().map(read).collect();
    let plan = assemble::plan(&instances).expect("a volume");
    assemble::load(&plan, &|index| Ok(files[index].clone())).expect("loaded")
}

/// How a file lays out its voxels: for each of its axes, which of column, row and slice it is, and whether it runs
/// against it.
type Layout = ([usize; 3], [bool; 3]);

const AS_DICOM: Layout = ([0, 1, 2], [false; 3]);

/// Every one of the 48.
fn layouts() -> Vec<Layout> {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let signs = (0..8).map(|bits| [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0]);
    orders.iter().flat_map(|order| signs.clone().map(|sign| (*order, sign))).collect()
}

/// The values of an array `[slice, row, column]` in the order of a file, and its size.
fn laid_out<T: Copy>(array: &Array3<T>, (order, against): Layout) -> ([usize; 3], Vec<T>) {
    let (slices, rows, columns) = array.dim();
    let sizes = order.map(|axis| [columns, rows, slices][axis]);
    let mut values = Vec::new();
    for k in 0..sizes[2] {
        for j in 0..sizes[1] {
            for i in 0..sizes[0] {
                let mut at = [0; 3];
                for (axis, index) in [i, j, k].into_iter().enumerate() {
                    at[order[axis]] = if against[axis] { sizes[axis] - 1 - index } else { index };
                }
                values.push(array[[at[2], at[1], at[0]]]);
            }
        }
    }
    (sizes, values)
}

/// Steps along the axes of a file, and its first voxel, in LPS mm.
fn affine(volume: &Volume, (order, against): Layout) -> ([[f64; 3]; 3], [f64; 3]) {
    let place = |column: f64, row: f64, slice: f64| volume.geometry.index_to_patient([slice, row, column]);
    let (slices, rows, columns) = volume.pixels.dim();
    let first = place(0.0, 0.0, 0.0);
    let ours = [place(1.0, 0.0, 0.0), place(0.0, 1.0, 0.0), place(0.0, 0.0, 1.0)];
    let (mut steps, mut origin) = ([[0.0; 3]; 3], first);
    for axis in 0..3 {
        let size = [columns, rows, slices][order[axis]];
        for n in 0..3 {
            let step = ours[order[axis]][n] - first[n];
            steps[axis][n] = if against[axis] { -step } else { step };
            origin[n] += if against[axis] { step * (size - 1) as f64 } else { 0.0 };
        }
    }
    (steps, origin)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("written")
}

fn gunzip(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("compressed");
    bytes
}

/// A NIfTI file with signed 16 bit numbers, scaled, written here by the book (nifti1.h).
fn nifti(volume: &Volume, layout: Layout) -> Vec<u8> {
    let (sizes, values) = laid_out(&volume.pixels, layout);
    let (steps, first) = affine(volume, layout);
    let mut bytes = vec![0_u8; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &348_i32.to_le_bytes());
    for (k, size) in [3, sizes[0], sizes[1], sizes[2], 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * k, &(size as i16).to_le_bytes());
    }
    put(70, &4_i16.to_le_bytes());
    put(72, &16_i16.to_le_bytes());
    put(108, &352_f32.to_le_bytes());
    put(112, &0.5_f32.to_le_bytes());
    put(116, &(-1024_f32).to_le_bytes());
    put(254, &1_i16.to_le_bytes());
    for row in 0..3 {
        let sign = if row < 2 { -1.0 } else { 1.0 };
        for (k, value) in [steps[0][row], steps[1][row], steps[2][row], first[row]].into_iter().enumerate() {
            put(280 + 16 * row + 4 * k, &((sign * value) as f32).to_le_bytes());
        }
    }
    put(344, b"n+1\0");
    bytes.extend(values.into_iter().flat_map(|value| (((value + 1024.0) * 2.0).round() as i16).to_le_bytes()));
    bytes
}

fn nrrd(volume: &Volume, layout: Layout, encoding: &str, data_file: &str) -> (String, Vec<u8>) {
    let (sizes, values) = laid_out(&volume.pixels, layout);
    let (steps, first) = affine(volume, layout);
    let vector = |v: [f64; 3]| format!("({},{},{})", -v[0], -v[1], v[2]);
    let head = format!(
        "NRRD0004\ntype: int16\ndimension: 3\nspace: right-anterior-superior\nsizes: {} {} {}\n\
         space directions: {} {} {}\nendian: big\nencoding: {encoding}\nspace origin: {}\n{data_file}\n",
        sizes[0],
        sizes[1],
        sizes[2],
        vector(steps[0]),
        vector(steps[1]),
        vector(steps[2]),
        vector(first)
    );
    let data: Vec<u8> = values.into_iter().flat_map(|value| (value.round() as i16).to_be_bytes()).collect();
    (head, if encoding == "gzip" { gzip(&data) } else { data })
}

fn segment(inputs: &[&Path], output: &Path, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contourd"));
    command.current_dir(ROOT).arg("segment").args(inputs).arg("--output").arg(output).args(more);
    let program = command.output().expect("the command runs");
    let said = String::from_utf8_lossy(&program.stdout).into_owned() + &String::from_utf8_lossy(&program.stderr);
    (program.status.code().unwrap_or(-1), said)
}

/// The only folder of results of `ct-basic` in DIR that is not among those of files.
fn results_of_series(output: &Path) -> PathBuf {
    let entries = fs::read_dir(output).expect("results").map(|entry| entry.expect("an entry"));
    let series = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("2.25."));
    series.map(|entry| entry.path().join("ct-basic")).next().expect("a series")
}

/// A mask that was written in the order of our arrays.
fn mask(results: &Path, name: &str) -> Array3<bool> {
    let bytes = fs::read(results.join(format!("{name}.nii.gz"))).expect("a mask");
    let found = contourd::output::nifti::read(&bytes);
    found.expect("a mask").remove(0).pixels.mapv(|value| value > 0.5)
}

fn no_dicom_in(results: &Path) {
    let files = fs::read_dir(results).expect("results").map(|entry| entry.expect("an entry").file_name());
    let dicom: Vec<_> = files.filter(|name| name.to_string_lossy().ends_with(".dcm")).collect();
    assert!(dicom.is_empty(), "{dicom:?} refer to images that do not exist");
}

#[test]
fn every_layout_and_format_gives_the_result_of_the_dicom_series() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let volume = dicom(&input.join("dicom"));
    let name = |number: usize| format!("layout{number}");
    for (number, layout) in layouts().into_iter().enumerate() {
        let bytes = nifti(&volume, layout);
        let (file, bytes) = if number % 2 == 0 { ("nii.gz", gzip(&bytes)) } else { ("nii", bytes) };
        fs::write(input.join(format!("{}.{file}", name(number))), bytes).expect("written");
    }
    let turned = ([2, 0, 1], [true, false, true]);
    let (head, data) = nrrd(&volume, turned, "gzip", "");
    fs::write(input.join("one.nrrd"), [head.as_bytes(), &data].concat()).expect("written");
    let (head, data) = nrrd(&volume, AS_DICOM, "raw", "data file: two.raw");
    fs::write(input.join("two.nhdr"), head).expect("written");
    fs::write(input.join("two.raw"), data).expect("written");
    let (code, said) = segment(&[&input], &output, &["--pipeline", "ct-basic", "--write", "nifti,nrrd,planc"]);
    assert!(code == 0 && said.contains("51 results, 0 failures"), "{said}");
    assert!(said.contains("50 files of other formats") && said.contains("taken for CT, "), "{said}");
    let of_dicom = results_of_series(&output);
    for structure in STRUCTURES {
        let expected = mask(&of_dicom, structure);
        assert!(expected.iter().any(|inside| *inside), "{structure} is empty");
        for (number, layout) in layouts().into_iter().enumerate() {
            let results = output.join(name(number)).join("ct-basic");
            no_dicom_in(&results);
            let file = gunzip(&results.join(format!("{structure}.nii.gz")));
            let (sizes, voxels) = laid_out(&expected, layout);
            let header = nifti(&volume, layout);
            // Size and affine are those of the image, bit by bit.
            assert_eq!((&file[40..48], &file[280..328]), (&header[40..48], &header[280..328]), "{layout:?}");
            let found: Vec<bool> = file[352..].iter().map(|value| *value == 1).collect();
            assert!(found == voxels && found.len() == sizes.iter().product::<usize>(), "{structure} in {layout:?}");
        }
        let file = fs::read(output.join(format!("one/ct-basic/{structure}.nrrd"))).expect("a mask");
        let end = file.windows(2).position(|pair| pair == b"\n\n").expect("an empty line") + 2;
        let mut found = Vec::new();
        flate2::read::GzDecoder::new(&file[end..]).read_to_end(&mut found).expect("compressed");
        let (_, voxels) = laid_out(&expected, turned);
        assert_eq!(found, voxels.into_iter().map(u8::from).collect::<Vec<_>>(), "{structure}");
        assert_eq!(mask(&output.join("two/ct-basic"), structure), expected, "{structure}");
    }
    let table = fs::read_to_string(output.join("summary.csv")).expect("a summary");
    let of = |start: &str| table.lines().filter(|line| line.starts_with(start)).map(columns).collect::<Vec<_>>();
    let rows = of("2.25.");
    assert_eq!(rows.len(), STRUCTURES.len());
    for case in ["layout0/", "layout47/", "one/", "two/"] {
        assert_eq!(of(case), rows, "{case}");
    }
    let report = fs::read_to_string(output.join("layout5/ct-basic/report.html")).expect("a report");
    assert!(report.contains("layout5.nii") && report.contains("not asked, because the file has no header"), "{report}");
    planc_comes_back(&of_dicom, &folder.path().join("again"));
}

/// Structure, volume and contours of a line of the summary.
fn columns(line: &str) -> Vec<String> {
    let fields: Vec<String> = line.split(',').map(str::to_owned).collect();
    fields[5..8].to_vec()
}

/// A planC that was written is an input with the same result, and still names the images that it came from.
fn planc_comes_back(of_dicom: &Path, again: &Path) {
    let file = of_dicom.join("planC.h5");
    let (code, said) = segment(&[&file], again, &["--pipeline", "ct-basic", "--write", "nifti,planc"]);
    assert!(code == 0 && said.contains("1 results") && said.contains("structures of the file are not read"), "{said}");
    let results = again.join("planC/ct-basic");
    for structure in STRUCTURES {
        assert_eq!(mask(&results, structure), mask(of_dicom, structure), "{structure}");
    }
    no_dicom_in(&results);
    let head = |file: &Path| {
        let plan = Plan::open(fs::File::open(file).expect("a file")).expect("a plan");
        plan.header(0).expect("a scan")
    };
    let (one, other) = (head(&file), head(&results.join("planC.h5")));
    assert_eq!((one.series_instance_uid, one.slices), (other.series_instance_uid, other.slices));
}

/// A configuration whose pipeline takes PET in SUV.
fn configuration_of_pet(folder: &Path) -> PathBuf {
    let config = folder.join("config");
    for part in ["ae-config", "models/ct-basic", "pipelines"] {
        fs::create_dir_all(config.join(part).parent().expect("a folder")).expect("made");
        let copied = Command::new("cp").arg("-r").arg(Path::new(ROOT).join(part)).arg(config.join(part)).status();
        assert!(copied.expect("cp runs").success());
    }
    for entry in fs::read_dir(config.join("pipelines")).expect("a folder") {
        let file = entry.expect("an entry").path();
        if file.file_name().is_some_and(|name| name != "ct-basic.json") {
            fs::remove_file(file).expect("removed");
        }
    }
    let file = config.join("pipelines/ct-basic.json");
    let text = fs::read_to_string(&file).expect("a pipeline");
    let text = text.replace(r#""eq": "CT""#, r#""eq": "PT""#);
    fs::write(file, text.replace(r#""slices": { "min": 3 }"#, r#""unit": "suv_bw", "slices": { "min": 3 }"#))
        .expect("written");
    config
}

#[test]
fn a_planc_says_whether_its_pet_is_in_suv() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let volume = dicom(&folder.path().join("dicom"));
    let config = configuration_of_pet(folder.path());
    fs::create_dir_all(&input).expect("made");
    for (name, units) in [("suv.h5", ["GML", "BW"]), ("activity.h5", ["BQML", ""])] {
        let scan = Scan {
            volume: &volume,
            modality: "PT",
            study_instance_uid: "1.2",
            series_instance_uid: "1.3",
            frame_of_reference_uid: "1.4",
            slices: &[],
            units,
            date: "20260102",
            job: "0123456789ab",
        };
        fs::write(input.join(name), encode(&scan, &[]).expect("encoded")).expect("written");
    }
    let config = config.to_str().expect("a path");
    let more = ["--config", config, "--pipeline", "ct-basic", "--write", "planc", "--jobs", "1"];
    let (code, said) = segment(&[&input], &output, &more);
    assert!(code == 1 && said.contains("1 results, 1 failures") && !said.contains("does not say"), "{said}");
    let table = fs::read_to_string(output.join("summary.csv")).expect("a summary");
    let failed = table.lines().find(|line| line.contains(",failed,")).expect("a failure");
    assert!(failed.starts_with("activity/") && failed.contains("BQML"), "{failed}");
    // What is written says it too.
    let written = output.join("suv/ct-basic/planC.h5");
    let plan = Plan::open(fs::File::open(written).expect("a file")).expect("a plan");
    assert_eq!(plan.header(0).expect("a scan").is_suv_bw(), Ok(()));
}

#[test]
fn a_file_of_the_same_name_elsewhere_takes_no_result_and_replaces_none() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out");
    let volume = dicom(&folder.path().join("dicom"));
    // The same length and the same time, as archives write them.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let write = |patient: &str, layout: Layout| {
        let file = folder.path().join(patient).join("ct.nii");
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(&file, nifti(&volume, layout)).expect("written");
        fs::File::options().append(true).open(&file).and_then(|file| file.set_modified(time)).expect("a time");
        file
    };
    let (one, other) = (write("one", AS_DICOM), write("other", ([0, 1, 2], [true, true, false])));
    let run = |file: &PathBuf| segment(&[file], &output, &["--pipeline", "ct-basic", "--write", "nifti"]);
    let (code, said) = run(&one);
    assert!(code == 0 && said.contains("1 results"), "{said}");
    let mask = || fs::read(output.join("ct/ct-basic/BODY.nii.gz")).expect("a mask");
    let before = mask();
    let (code, said) = run(&other);
    assert!(code != 0 && said.contains("found the result of ") && said.contains("name another folder"), "{said}");
    assert_eq!(mask(), before);
    let (code, said) = run(&one);
    assert!(code == 0 && said.contains("finished"), "{said}");
}

#[test]
fn a_bad_file_fails_alone_and_says_why() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let volume = dicom(&input);
    let good = nifti(&volume, AS_DICOM);
    let write = |name: &str, bytes: &[u8]| fs::write(input.join(name), bytes).expect("written");
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    write("good.nii", &good);
    write("cut.nii.gz", &gzip(&good)[..2000]);
    write("bomb.nii.gz", &gzip(&vec![0; 1 << 24]));
    let mut two_times = [changed(40, &[4, 0]), good[352..].to_vec()].concat();
    two_times[48] = 2;
    write("times.nii", &two_times);
    write("colour.nii", &changed(70, &128_i16.to_le_bytes()));
    write("sheared.nii", &changed(284, &3_f32.to_le_bytes()));
    write("flat.nii", &changed(320, &[0; 4]));
    write("text.nrrd", b"no image");
    write("plan.h5", b"no plan");
    let mut numbers = good.clone();
    numbers.truncate(352);
    numbers[70..74].copy_from_slice(&[16, 0, 32, 0]);
    numbers[112..120].fill(0);
    numbers
        .extend(volume.pixels.iter().enumerate().flat_map(|(n, v)| if n == 7 { f32::NAN } else { *v }.to_le_bytes()));
    write("nan.nii", &numbers);
    let (code, said) = segment(&[&input], &output, &["--pipeline", "ct-basic", "--jobs", "1"]);
    let expected = [
        ("cut", "expected as many numbers as its header says"),
        ("bomb", "found no NIfTI-1 file"),
        ("times", "found 2 volumes along the fourth axis"),
        ("colour", "found data type 128"),
        ("sheared", "not at right angles"),
        ("flat", "0.0] mm between voxels"),
        ("text", "found no NRRD file"),
        ("plan", "found no planC file"),
        ("nan", "found 1 voxels that are no finite number, the first at slice 0, row 0, column 7"),
    ];
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("2 results, {} failures", expected.len())), "{said}");
    let table = fs::read_to_string(output.join("summary.csv")).expect("a summary");
    for (name, reason) in expected {
        let line = table.lines().find(|line| line.starts_with(&format!("{name}/ct-basic,"))).expect(name);
        assert!(line.contains(",failed,") && line.contains(reason), "{line}");
    }
    // The image of good.nii is that of the series, and its mask lies beside no DICOM.
    assert!(output.join("good/ct-basic/BODY.nii.gz").exists());
}

#[test]
fn a_file_needs_a_pipeline_that_takes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("image.nii");
    let volume = dicom(&folder.path().join("dicom"));
    fs::write(&input, nifti(&volume, AS_DICOM)).expect("written");
    let check = |more: &[&str], expected: &str| {
        let (code, said) = segment(&[&input], &folder.path().join("out"), more);
        // Without ONNX Runtime the command ends before.
        assert!(!ready() || (code != 0 && said.contains(expected)), "{said}");
    };
    check(&[], "name one with --pipeline");
    check(&["--pipeline", "ct-basic", "--modality", "MR"], "the input ct does not take the modality MR");
    check(&["--pipeline", "ct-basic", "--modality", "US"], "expected CT, MR or PT");
}
