//! Finds the series among any number of files in any layout; it reads the beginning of each file and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::OpenFileOptions;
use rayon::prelude::*;

use super::{CohortError, SUMMARY_FILE};
use crate::dicom::{Instance, SeriesKey, Uid};
use crate::limits::COHORT_FILES_MAX;
use crate::output::Format;

/// What the files are.
#[derive(Default)]
pub struct Found {
    pub series: BTreeMap<SeriesKey, FoundSeries>,
    /// Images of other formats, by the endings of their names.
    pub images: Vec<FoundImage>,
    pub files: usize,
    /// Directories of media (PS3.10 8), which repeat what the files say.
    pub directories: usize,
    /// Copies of instances under another name, which are left out.
    pub copies: usize,
    /// Files that are no instances, with the reason.
    pub others: Vec<(PathBuf, String)>,
    /// Series Instance UIDs of more than one study.
    ambiguous: BTreeSet<Uid>,
}

/// One series.
#[derive(Default)]
pub struct FoundSeries {
    /// Of the first file; a hash, and `None` where there is no Patient ID.
    pub patient: Option<Uid>,
    /// In the order of their names.
    pub files: Vec<(Uid, PathBuf)>,
}

/// A file of another format, with the images that it may hold.
#[derive(Clone, Debug)]
pub struct FoundImage {
    pub file: PathBuf,
    pub format: Format,
    /// What it is called in the folder of results.
    pub name: String,
}

impl Found {
    /// The name of a series in the results: its UID. Collections that were made anonymous badly have one UID in several
    /// studies; then a digest of the study follows.
    pub fn name(&self, key: &SeriesKey) -> String {
        let series = &key.series_instance_uid;
        if !self.ambiguous.contains(series) {
            return series.to_string();
        }
        let study = Uid::derived(["contourd", "study of a cohort", key.study_instance_uid.as_str()]);
        // A derived UID is 2.25. and a number of up to 39 digits.
        format!("{series}_{}", study.as_str()[5..].chars().take(10).collect::<String>())
    }
}

impl FoundSeries {
    /// The deepest folder that holds all files.
    pub fn folder(&self) -> PathBuf {
        let mut parents = self.files.iter().filter_map(|(_, file)| file.parent());
        let first = parents.next().unwrap_or(Path::new("")).to_owned();
        parents.fold(first, |mut common, parent| {
            while !parent.starts_with(&common) && common.pop() {}
            common
        })
    }
}

/// What one file is.
enum Kind {
    Instance { series: SeriesKey, instance: Uid, patient: Option<Uid> },
    Image(Format),
    Directory,
    Other(String),
}

/// Looks at all files in and below the inputs, except below `output`.
///
/// # Errors
/// An input that does not exist or cannot be listed, and more files than the program takes.
pub fn find(inputs: &[PathBuf], output: &Path) -> Result<Found, CohortError> {
    let mut files = Vec::new();
    for input in inputs {
        list(input, output, &mut files)?;
    }
    files.sort();
    files.dedup();
    let kinds: Vec<Kind> = files.par_iter().map(|file| look(file)).collect();
    let mut found = Found { files: files.len(), ..Found::default() };
    for (file, kind) in files.into_iter().zip(kinds) {
        match kind {
            Kind::Instance { series, instance, patient } => {
                let entry = found.series.entry(series).or_default();
                if entry.files.is_empty() {
                    entry.patient = patient;
                }
                entry.files.push((instance, file));
            }
            Kind::Image(format) => {
                let name = name_of(&file, inputs);
                found.images.push(FoundImage { file, format, name });
            }
            Kind::Directory => found.directories += 1,
            Kind::Other(reason) => found.others.push((file, reason)),
        }
    }
    let mut seen = BTreeSet::new();
    let repeated = found.series.keys().map(|key| &key.series_instance_uid).filter(|uid| !seen.insert(*uid));
    found.ambiguous = repeated.cloned().collect();
    let names = found.series.keys().map(|key| found.name(key)).collect();
    tell_apart(&mut found.images, names);
    found.copies = found.series.values_mut().map(leave_out_copies).sum();
    Ok(found)
}

/// Links to folders are not followed, so that no circle is walked.
fn list(input: &Path, output: &Path, files: &mut Vec<PathBuf>) -> Result<(), CohortError> {
    let unreadable = |source| CohortError::Input { input: input.to_owned(), source };
    if fs::metadata(input).map_err(unreadable)?.is_file() {
        files.push(input.to_owned());
        return Ok(());
    }
    let output = fs::canonicalize(output).ok();
    let mut folders = vec![input.to_owned()];
    while let Some(folder) = folders.pop() {
        if output.is_some() && fs::canonicalize(&folder).ok() == output {
            continue;
        }
        let unreadable = |source| CohortError::Input { input: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.file_type().map_err(unreadable)?.is_dir() {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                files.push(entry.path());
            }
            if files.len() > COHORT_FILES_MAX {
                return Err(CohortError::Files);
            }
        }
    }
    Ok(())
}

/// Reads no further than the identifiers; a file that this cannot read is read as the gateway would.
fn look(file: &Path) -> Kind {
    if let Ok(object) = OpenFileOptions::new().read_until(AFTER_IDENTIFIERS).open_file(file) {
        if object.meta().media_storage_sop_class_uid() == uids::MEDIA_STORAGE_DIRECTORY_STORAGE {
            return Kind::Directory;
        }
        let text = |tag| object.get(tag).and_then(|element| element.to_str().ok()).map(|text| text.trim().to_owned());
        let uid = |tag| text(tag).and_then(|text| text.parse::<Uid>().ok());
        let series = uid(tags::STUDY_INSTANCE_UID).zip(uid(tags::SERIES_INSTANCE_UID));
        if let Some(((study_instance_uid, series_instance_uid), instance)) = series.zip(uid(tags::SOP_INSTANCE_UID)) {
            let series = SeriesKey { study_instance_uid, series_instance_uid };
            return Kind::Instance { series, instance, patient: hashed(text(tags::PATIENT_ID)) };
        }
    }
    if let Some(format) = Format::of_name(&file.file_name().unwrap_or_default().to_string_lossy()) {
        return Kind::Image(format);
    }
    let read = fs::File::open(file).map_err(|error| error.to_string());
    match read.and_then(|file| Instance::read_part10(std::io::BufReader::new(file)).map_err(|error| error.to_string()))
    {
        Ok(instance) => Kind::Instance {
            series: instance.series_key(),
            patient: hashed(instance.text(tags::PATIENT_ID)),
            instance: instance.sop_instance_uid,
        },
        Err(reason) => Kind::Other(reason),
    }
}

/// The name of a file of another format in the results: its path below the input that it was found in, without its
/// ending. Collections have the same name in the folders of all patients.
fn name_of(file: &Path, inputs: &[PathBuf]) -> String {
    let below = inputs.iter().filter_map(|input| file.strip_prefix(input).ok()).find(|rest| rest.file_name().is_some());
    let path = below.or(file.file_name().map(Path::new)).unwrap_or(file).to_string_lossy();
    let stem = Format::stem(&path);
    let allowed = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = stem.chars().map(allowed).take(NAME_CHARS_MAX).collect();
    // Names with a dot in front, and that of the table, are not for results.
    if name.is_empty() || name.starts_with('.') || name == SUMMARY_FILE { format!("_{name}") } else { name }
}

/// Characters of a name that are kept, of up to four bytes each: file systems have 255 bytes.
const NAME_CHARS_MAX: usize = 50;

/// Adds a digest of the path where two files would have one name, or a series has it.
fn tell_apart(images: &mut [FoundImage], series: BTreeSet<String>) {
    let mut counts: BTreeMap<String, usize> = series.into_iter().map(|name| (name, 1)).collect();
    for image in images.iter() {
        // Some file systems do not tell capitals apart.
        *counts.entry(image.name.to_lowercase()).or_default() += 1;
    }
    for image in images.iter_mut().filter(|image| counts[&image.name.to_lowercase()] > 1) {
        let path = image.file.to_string_lossy();
        let digest = Uid::derived(["contourd", "path of an image of a cohort", &path]);
        image.name.push('_');
        image.name.extend(digest.as_str()[5..].chars().take(10));
    }
}

/// Study ID, the first element after Series Instance UID.
const AFTER_IDENTIFIERS: Tag = tags::STUDY_ID;

fn hashed(patient: Option<String>) -> Option<Uid> {
    let patient = patient.filter(|patient| !patient.trim().is_empty())?;
    Some(Uid::derived(["contourd", "patient of a cohort", patient.trim()]))
}

/// Collections hold the same file more than once. One that differs under the same UID stays, for the checks to refuse.
fn leave_out_copies(series: &mut FoundSeries) -> usize {
    let before = series.files.len();
    let mut kept: BTreeMap<Uid, Vec<PathBuf>> = BTreeMap::new();
    series.files.retain(|(instance, file)| {
        let others = kept.entry(instance.clone()).or_default();
        let is_copy = others.iter().any(|other| same_bytes(other, file));
        if !is_copy {
            others.push(file.clone());
        }
        !is_copy
    });
    before - series.files.len()
}

fn same_bytes(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::{Identity, Thorax, instances, render};

    #[test]
    fn finds_series_in_any_layout_and_tells_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let thorax = Thorax::standard().coarser(8).with_slice_spacing(60.0);
        let phantom = render(&thorax, |_| {}).expect("legal");
        let (left, right) = (folder.path().join("left"), folder.path().join("right/deep"));
        let output = folder.path().join("left/out");
        for path in [&left, &right, &output] {
            fs::create_dir_all(path).expect("made");
        }
        let mut count = 0;
        for (number, instance) in instances(&phantom, &Identity::of(&thorax)).enumerate() {
            let place = if number % 2 == 0 { &left } else { &right };
            fs::write(place.join(format!("{number}")), &instance.expect("encoded").1).expect("written");
            count += 1;
        }
        fs::copy(left.join("0"), right.join("a copy")).expect("copied");
        fs::copy(left.join("0"), output.join("a result")).expect("copied");
        fs::write(folder.path().join("notes.txt"), "no image").expect("written");
        let found = find(&[folder.path().to_owned(), right.join("1")], &output).expect("found");
        assert_eq!((found.series.len(), found.files, found.copies, found.others.len()), (1, count + 2, 1, 1));
        let series = found.series.values().next().expect("one");
        assert_eq!((series.files.len(), series.folder()), (count, folder.path().to_owned()));
        assert!(series.patient.is_some());
        let (key, name) = found.series.keys().map(|key| (key.clone(), found.name(key))).next().expect("one");
        assert_eq!(name, key.series_instance_uid.as_str());
        let other = SeriesKey { study_instance_uid: Uid::derived(["another"]), ..key.clone() };
        let ambiguous = BTreeSet::from([key.series_instance_uid.clone()]);
        let twice = Found { ambiguous, ..Found::default() };
        assert!(twice.name(&key).starts_with(&format!("{name}_")) && twice.name(&key) != twice.name(&other));
        let told = find(&[folder.path().join("absent")], &output).err().expect("refused").to_string();
        assert!(told.contains("absent"), "{told}");
    }

    #[test]
    fn images_of_other_formats_are_named_by_their_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("out");
        for name in ["a/ct.nii.gz", "b/ct.NII", "b/a b.nrrd", "plan.h5", ".hidden.nii", "a_ct.nhdr", "image.raw"] {
            let file = folder.path().join("in").join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, "no image").expect("written");
        }
        let found = find(&[folder.path().join("in"), folder.path().join("in/plan.h5")], &output).expect("found");
        let mut names: Vec<&str> = found.images.iter().map(|image| image.name.as_str()).collect();
        names.sort_unstable();
        let twice: Vec<&&str> = names.iter().filter(|name| name.starts_with("a_ct_")).collect();
        assert!(twice.len() == 2 && twice[0] != twice[1], "{names:?}");
        names.retain(|name| !name.starts_with("a_ct_"));
        assert_eq!(names, ["_.hidden", "b_a_b", "b_ct", "plan"]);
        assert_eq!((found.files, found.others.len()), (7, 1));
    }
}
