//! What the shell finds out about a complete series, and what pipelines want to do with it; it is judged elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dicom::Uid;
use crate::job::{DialectOf, Sender};
use crate::output::registration::Relation;
use crate::pipeline::{After, Fetch, Frame, Picking, Same};

/// What the shell found out about a complete series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// One line for people: modality, slices, matrix, spacing. No patient attribute.
    pub summary: String,
    /// Why the series cannot be a volume; empty when it can, or when a pipeline takes it for something else.
    pub refusals: Vec<String>,
    pub warnings: Vec<String>,
    /// One for every pipeline that was asked.
    pub verdicts: Vec<Verdict>,
    /// What is to be run: on this series alone, or together with others that fill the other slots.
    pub orders: Vec<Order>,
    /// What of the series can fill a slot: each volume of its images, or each structure set and segmentation by itself.
    #[serde(default)]
    pub sources: Vec<Source>,
}

/// What one pipeline said of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub pipeline: String,
    /// It can fill a slot.
    pub matched: bool,
    /// The conditions that decided, with expected, found and where.
    pub trace: Vec<String>,
}

/// One pipeline to be run on a series, or on several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub pipeline: String,
    pub pipeline_revision: u32,
    /// Digest of the pipeline definition and its models: the same digest on the same instances is the same job.
    pub digest: String,
    /// The definition itself.
    pub source: String,
    /// The definitions of its models, by id.
    pub models: BTreeMap<String, String>,
    /// Why it matched, one finding a line.
    pub reasons: Vec<String>,
    /// Names of the peers that get the result, those that may take the place of others among them.
    pub destinations: Vec<String>,
    /// Which of them are tried one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<DeliveryGroup>,
    /// Whom the word `sender` stands for; none where the pipeline does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
    /// How those peers want structure sets.
    #[serde(default)]
    pub dialects: Vec<DialectOf>,
    /// The slots that something of the series can fill.
    #[serde(default)]
    pub fills: Vec<String>,
    /// What each of the sources can fill, in their order; empty when each can fill all of `fills`.
    #[serde(default)]
    pub offers: Vec<Offer>,
    #[serde(default)]
    pub inputs: InputRules,
}

/// Peers of which one gets the result, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryGroup {
    pub to: Vec<String>,
    /// When the next one is tried.
    pub after: After,
}

/// What one volume of a series, or one object, is good for in a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    pub fills: Vec<String>,
    /// Why it matched.
    pub reasons: Vec<String>,
}

impl Order {
    /// The slots that a source can fill.
    pub fn fills_of(&self, source: usize) -> &[String] {
        if self.offers.is_empty() { &self.fills } else { self.offers.get(source).map_or(&[], |offer| &offer.fills) }
    }

    /// Whether a source is what it asks for. An order without offers is for each, also of a ledger that named no slots.
    pub fn takes(&self, source: usize) -> bool {
        self.offers.is_empty() || !self.fills_of(source).is_empty()
    }

    /// Why a source matched.
    pub fn reasons_of(&self, source: usize) -> &[String] {
        if self.offers.is_empty() { &self.reasons } else { self.offers.get(source).map_or(&[], |offer| &offer.reasons) }
    }
}

/// How series are brought together for one pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputRules {
    pub same: Same,
    /// In the order of the file; empty in a ledger that knew one series a job.
    pub slots: Vec<SlotRule>,
    /// How long other series that are still arriving are waited for, once the slots are filled.
    pub settle_s: f64,
}

/// What of a slot matters when series are brought together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotRule {
    pub name: String,
    pub primary: bool,
    pub optional: bool,
    /// How long it is waited for when it is optional.
    pub wait_s: f64,
    pub picking: Picking,
    pub frame: Frame,
    /// The slot whose series structures must refer to; none for any, and for images.
    #[serde(default)]
    pub drawn_on: Option<String>,
    /// Structures fill it, not images.
    #[serde(default)]
    pub structures: bool,
    /// Where it is looked for when it is missing.
    #[serde(default)]
    pub fetch: Option<Fetch>,
}

impl InputRules {
    /// Whether one series is all that the pipeline takes.
    pub fn is_alone(&self) -> bool {
        self.slots.len() <= 1
    }
}

/// What of one series can fill a slot. It tells nothing about the patient.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The objects, or the images of one of several volumes; empty for all instances of the series.
    pub instances: Vec<Uid>,
    /// Of multi-frame images that are in several volumes: the numbers of the frames that are in this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub frames: BTreeMap<Uid, Vec<u32>>,
    /// What tells the volume from others of its series, for people; empty for the whole series.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// A hash of Patient ID; `None` without one.
    pub patient: Option<Uid>,
    /// A hash of Issuer of Patient ID; `None` without one. Planning systems leave it out.
    #[serde(default)]
    pub issuer: Option<Uid>,
    pub frame_of_reference_uid: Option<Uid>,
    /// Of structures: the series of images that they were drawn on, as they say; empty when they do not.
    #[serde(default)]
    pub drawn_on: Vec<Uid>,
    /// Of structures: the images that they refer to, with the numbers of their frames where these are said. Contours
    /// count where they name images, else the list of the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refers: BTreeMap<Uid, Vec<u32>>,
    /// Of a registration object: what it relates. It fills no slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Relation>,
    /// `YYYYMMDDHHMMSS.FFFFFF`, zeros for what is not said, so that texts sort as times.
    pub series_date: String,
    pub study_date: String,
}
