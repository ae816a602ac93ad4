//! A series as it is matched: its headers, how it came, and what the assembly makes of it.

use std::collections::BTreeSet;

use dicom_object::InMemDicomObject;

use crate::assemble::{Allowed, Refusal, SeriesPlan, VolumeOf, plan_part, plan_with, volumes};
use crate::dicom::{AeTitle, Instance, Uid};
use crate::limits::VOLUME_SLICES_MIN;
use crate::pipeline::Orientation;
use crate::volume::VolumeGeometry;

/// A series, or one volume of it, as it is matched.
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

/// One volume of a series, or all of a series that makes none.
pub struct Seen<'a> {
    pub view: SeriesView<'a>,
    /// How it becomes a volume, gaps or not.
    pub plan: Option<SeriesPlan>,
    /// Its part of the series; `None` for the whole series.
    pub part: Option<VolumeOf>,
}

impl Seen<'_> {
    /// What tells it from the other volumes of its series, for people; empty for the whole series.
    pub fn label(&self) -> &str {
        self.part.as_ref().map_or("", |part| part.label.as_str())
    }
}

/// The volumes of a series as they are matched, at least one view. Conditions are asked of the images of a volume, not of
/// what lies beside it in the series.
pub fn see<'a>(instances: &'a [Instance], arrivals: Option<&'a [Arrival]>) -> Vec<Seen<'a>> {
    let refusals = match volumes(instances, Allowed::default()) {
        Ok(volumes) => return volumes.into_iter().map(|one| seen(instances, arrivals, one)).collect(),
        Err(refusals) => refusals,
    };
    let plan = plan_with(instances, UNEVEN).ok();
    let assembly = assembly(plan.as_ref(), &refusals);
    let instances = match &plan {
        Some(plan) => views(instances, images_of(plan)),
        None => views(instances, 0..instances.len()),
    };
    vec![Seen { view: SeriesView { instances, arrivals, assembly }, plan, part: None }]
}

/// A stack with gaps is a volume here, because a pipeline may allow gaps; the strict reasons stay for all others.
const UNEVEN: Allowed = Allowed { uneven_spacing: true, slices_min: VOLUME_SLICES_MIN };

fn seen<'a>(instances: &'a [Instance], arrivals: Option<&'a [Arrival]>, one: VolumeOf) -> Seen<'a> {
    let (plan, assembly) = match &one.plan {
        Ok(plan) => (Some(plan.clone()), volume(&plan.geometry, 0)),
        Err(refusals) => {
            let plan = plan_part(instances, &one, UNEVEN).ok();
            let assembly = assembly(plan.as_ref(), refusals);
            (plan, assembly)
        }
    };
    let members = match (&plan, one.is_whole()) {
        (Some(plan), true) => images_of(plan),
        _ => one.instances.clone(),
    };
    let view = SeriesView { instances: views(instances, members), arrivals, assembly };
    Seen { view, plan, part: (!one.is_whole()).then_some(one) }
}

fn assembly(plan: Option<&SeriesPlan>, refusals: &[Refusal]) -> Assembly {
    match plan {
        Some(plan) => volume(&plan.geometry, largest_gap(&plan.geometry)),
        None => Assembly::Refused(refusals.iter().map(ToString::to_string).collect()),
    }
}

/// Indices of the instances that a volume is made of.
fn images_of(plan: &SeriesPlan) -> Vec<usize> {
    plan.slices.iter().map(|slice| slice.instance).collect::<BTreeSet<_>>().into_iter().collect()
}

fn views(instances: &[Instance], members: impl IntoIterator<Item = usize>) -> Vec<InstanceView<'_>> {
    let view = |index: usize| {
        let one = &instances[index];
        InstanceView { sop_instance_uid: &one.sop_instance_uid, header: &one.header }
    };
    members.into_iter().map(view).collect()
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
