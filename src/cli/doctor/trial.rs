//! A small structure set of a phantom, sent and looked for; the same each time, so that it lies there once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::look::since;
use super::report::Report;
use crate::config::{OnWarning, Peer};
use crate::contour::{Holes, trace};
use crate::deliver::dicom::{self, Committed};
use crate::deliver::{Destination, Outcome, Shown};
use crate::dicom::{Instance, Uid};
use crate::job::VerifyBy;
use crate::output::object::{Algorithm, AlgorithmFamily, Equipment, Provenance, SliceReference, Source};
use crate::output::rtstruct::{self, Roi, StructureSet};
use crate::phantom::{self, Thorax};
use crate::structure::{RoiStyle, lookup};

/// The structure that is sent.
const STRUCTURE: &str = "Lung_L";
/// How long an archive may take to show what it was sent.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);

/// Sends and asks, and says what is left at the peer.
pub(super) async fn store(report: &mut Report, destination: &Destination, peer: &Peer, images: bool) {
    let folder = std::env::temp_dir().join(format!("contourd-doctor-{}", std::process::id()));
    let written = write(&folder, peer, images);
    match written {
        Ok(files) => send(report, destination, peer, &files).await,
        Err(error) => report.fail("store", &format!("the structure set could not be made: {error:#}")),
    }
    // What is left in a temporary folder harms nobody.
    let _ = fs::remove_dir_all(&folder);
}

async fn send(report: &mut Report, destination: &Destination, peer: &Peer, files: &[PathBuf]) {
    let start = Instant::now();
    let takes_change = peer.on_warning == OnWarning::Accept;
    match destination.store(files, takes_change).await {
        Outcome::Delivered { warnings } => {
            report.good("store", &format!("{} objects in {}", files.len(), since(start)));
            warnings.iter().for_each(|warning| report.warn("store", &warning.to_string()));
        }
        Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. } => {
            report.fail("store", &reason);
            return;
        }
    }
    report.more("it stays there: patient ID PHANTOM-0, structure set label DOCTOR; remove it by hand");
    // The structure set is the last.
    let set = &files[files.len() - 1..];
    match (destination, peer.verify.as_ref().map(|verification| verification.by)) {
        (Destination::Dicom(node), Some(VerifyBy::Commitment)) => commitment(report, node, set).await,
        (_, verify) => find(report, destination, set, verify.is_some()).await,
    }
}

async fn find(report: &mut Report, destination: &Destination, set: &[PathBuf], is_configured: bool) {
    let start = Instant::now();
    loop {
        match destination.find(set).await {
            Shown::All => return report.good("verify", &format!("it is shown after {}", since(start))),
            Shown::Missing { .. } if start.elapsed() < SHOWN_WITHIN => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Shown::Missing { reason } => return report.fail("verify", &reason),
            Shown::Unknown(outcome) if is_configured => {
                return report.fail("verify", &outcome.to_string());
            }
            Shown::Unknown(_) => {
                return report.warn("verify", "it cannot be asked; look there whether the structure set is shown");
            }
        }
    }
}

async fn commitment(report: &mut Report, destination: &dicom::Destination, set: &[PathBuf]) {
    let now = jiff::Timestamp::now().as_nanosecond().to_string();
    let transaction = Uid::derived(["contourd doctor", &now, &std::process::id().to_string()]);
    match dicom::commit(destination, set, &transaction).await {
        Committed::Reported(found) if found.failed.is_empty() => report.good("verify", "storage commitment: committed"),
        Committed::Reported(found) => {
            report.fail("verify", &format!("storage commitment: refused with {}", found.failed[0].reason));
        }
        Committed::Owes => report.warn(
            "verify",
            "storage commitment: taken; its report comes on an association of its own, to the running gateway, which \
             answers that it does not know this transaction",
        ),
        Committed::Not(outcome) => report.fail("verify", &format!("storage commitment: {outcome}")),
    }
}

/// The files, the structure set last.
fn write(folder: &Path, peer: &Peer, images: bool) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    // Five slices through the chest are enough to be read, and quick to be made.
    let thorax = Thorax { seed: 0, slices: 5, lowest_mm: -6.0, ..Thorax::standard() }.coarser(8);
    let phantom = phantom::render(&thorax, |_| ())?;
    let identity = phantom::Identity::of(&thorax);
    let (mut files, mut instances) = (Vec::new(), Vec::new());
    for image in phantom::instances(&phantom, &identity) {
        let (uid, bytes) = image?;
        instances.push(Instance::read_part10(bytes.as_slice())?);
        if images {
            files.push(put(folder, &format!("CT.{uid}.dcm"), &bytes)?);
        }
    }
    let mask = phantom.truth(STRUCTURE).with_context(|| format!("the phantom has no {STRUCTURE}"))?;
    let structure = lookup(STRUCTURE).with_context(|| format!("the table has no {STRUCTURE}"))?;
    let roi = Roi {
        style: RoiStyle { name: STRUCTURE.to_owned(), roi_type: structure.roi_type, color: structure.color },
        structure: Some(structure),
        contours: trace(&mask),
        holes: Holes::Keyhole,
        volume_cm3: Some(mask.volume_cm3()),
        description: String::new(),
        generation_description: "computed phantom".to_owned(),
        algorithm: Algorithm {
            family: AlgorithmFamily::MorphologicalOperations,
            name: "phantom".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: String::new(),
            parameters: String::new(),
        },
    };
    let bytes = encode(&instances, &phantom.geometry, &roi, peer)?;
    files.push(put(folder, "RS.dcm", &bytes)?);
    Ok(files)
}

fn encode(
    instances: &[Instance],
    geometry: &crate::volume::VolumeGeometry,
    roi: &Roi,
    peer: &Peer,
) -> anyhow::Result<Vec<u8>> {
    let reference = |instance: &Instance| SliceReference {
        sop_class_uid: instance.sop_class_uid.clone(),
        sop_instance_uid: instance.sop_instance_uid.clone(),
        frame_number: None,
    };
    let provenance = Provenance {
        pipeline_id: "doctor".to_owned(),
        pipeline_revision: "1".to_owned(),
        model_digests: Vec::new(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let equipment = Equipment {
        manufacturer: "contourd".to_owned(),
        model_name: "contourd".to_owned(),
        software_versions: vec![env!("CARGO_PKG_VERSION").to_owned()],
        station_name: None,
        institution_name: None,
    };
    let set = StructureSet {
        source: Source {
            instances: &instances.iter().collect::<Vec<_>>(),
            slices: &instances.iter().map(reference).collect::<Vec<_>>(),
            geometry,
            provenance: &provenance,
            // That of the phantom: the same object each time.
            created: jiff::civil::date(2026, 1, 1).at(12, 0, 0, 0),
            equipment: &equipment,
        },
        rois: std::slice::from_ref(roi),
        label: "DOCTOR",
        name: "",
        description: "A computed phantom, sent to test a connection. Remove it.",
        series_number: 1,
        series_description: "contourd doctor (test, remove)",
        dialect: &peer.dialect,
        predecessor: None,
    };
    Ok(rtstruct::encode(&set)?.bytes)
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    Ok(path)
}
