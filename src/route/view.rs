//! A series as it is matched: its headers, how it came, and what the assembly makes of it.

use dicom_object::InMemDicomObject;

use crate::assemble::{Allowed, SeriesPlan, plan, plan_with};
use crate::dicom::{AeTitle, Instance, Uid};
use crate::pipeline::Orientation;
use crate::volume::VolumeGeometry;

/// A series as it is matched.
pub struct SeriesView<'a> {
    /// At least one for anything to match.
    pub instances: Vec<InstanceView<'a>>,
    /// The associations by which it came; `None` when it did not come over the network, and `when` is not asked.
    pub arrivals: Option<&'a [Arrival]>,
    pub assembly: Assembly,
}

/// One instance as it is matched.
#[derive(Clone, Copy)]
pub struct InstanceView<'a> {
    pub sop_instance_uid: &'a Uid,
    pub header: &'a InMemDicomObject,
}

/// The titles of an association that brought instances of the series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrival {
    pub called_ae: AeTitle,
    pub calling_ae: AeTitle,
}

/// What the assembly made of the series.
#[derive(Clone, Debug, PartialEq)]
pub enum Assembly {
    Volume {
        slices: usize,
        orientation: Orientation,
        /// Most slices that are missing between two neighbours; 0 for a stack that is evenly spaced.
        largest_gap: usize,
    },
    /// It cannot be a volume, with the reasons.
    Refused(Vec<String>),
}

impl<'a> SeriesView<'a> {
    /// The view of all instances of one series, with its plan where it makes a volume, gaps or not.
    pub fn of(instances: &'a [Instance], arrivals: Option<&'a [Arrival]>) -> (SeriesView<'a>, Option<SeriesPlan>) {
        let views = instances.iter();
        let views = views.map(|one| InstanceView { sop_instance_uid: &one.sop_instance_uid, header: &one.header });
        let (assembly, plan) = assemble(instances);
        (SeriesView { instances: views.collect(), arrivals, assembly }, plan)
    }
}

/// A stack with gaps is a volume here, because a pipeline may allow gaps; the strict reasons stay for all others.
fn assemble(instances: &[Instance]) -> (Assembly, Option<SeriesPlan>) {
    let refusals = match plan(instances) {
        Ok(plan) => return (volume(&plan.geometry, 0), Some(plan)),
        Err(refusals) => refusals,
    };
    match plan_with(instances, Allowed { uneven_spacing: true, ..Allowed::default() }) {
        Ok(plan) => (volume(&plan.geometry, largest_gap(&plan.geometry)), Some(plan)),
        Err(_) => (Assembly::Refused(refusals.iter().map(ToString::to_string).collect()), None),
    }
}

fn volume(geometry: &VolumeGeometry, largest_gap: usize) -> Assembly {
    Assembly::Volume { slices: geometry.slices(), orientation: Orientation::of_normal(geometry.normal()), largest_gap }
}

/// A geometry that was read from a file, with its gaps where there are any.
pub(super) fn of_geometry(geometry: &VolumeGeometry) -> Assembly {
    // As far off the median as a real stack jitters (see the checks of the assembly).
    let even = geometry.slice_spacing_deviation_mm() <= 0.1 * geometry.slice_spacing_mm();
    volume(geometry, if even { 0 } else { largest_gap(geometry) })
}

/// How many slices of the median spacing fit into the largest gap; at least one, because the stack is not even.
fn largest_gap(geometry: &VolumeGeometry) -> usize {
    let widest = geometry.positions_mm().windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    let spacings = widest / geometry.slice_spacing_mm();
    (spacings.round() as usize).saturating_sub(1).max(1)
}
