//! The instances of a series, sorted out for the checks: which are images, their frames, and the stack they form.

use std::collections::BTreeSet;
use std::sync::Arc;

use dicom_dictionary_std::tags;

use super::Allowed;
use super::format::{Modality, PixelFormat};
use super::frame::{Frame, frames};
use super::placement::{COINCIDENT_MM, of_positions, same_orientation};
use crate::dicom::Instance;
use crate::limits::SLICES_MAX;
use crate::volume::dot;

/// All that the checks look at. It is made from any instances, legal or not.
pub(super) struct Series<'a> {
    pub instances: &'a [Instance],
    pub allowed: Allowed,
    /// Indices of the instances that take part.
    pub images: Vec<usize>,
    /// Indices of those that do not, because others are the images: objects of other classes, localizers.
    pub others: Vec<usize>,
    pub localizers: Vec<usize>,
    /// Of the first image.
    pub modality: Option<Modality>,
    /// By instance index; none where the attributes are missing or contradict each other.
    pub formats: Arc<[Option<PixelFormat>]>,
    pub frames: Vec<Frame>,
    /// None while a frame lacks its place or the orientations differ.
    pub stack: Option<Stack>,
    /// It is a part of a series whose instances have been checked for their identity.
    pub is_part: bool,
}

/// Frames in the order of their positions along the normal.
pub(super) struct Stack {
    /// Indices of frames, one for each position, ascending.
    pub order: Vec<usize>,
    /// Positions of `order` along the normal of the first frame, in mm.
    pub positions_mm: Vec<f64>,
    /// Frames left out because another one holds the same pixels at the same place.
    pub repeated: Vec<usize>,
    /// Pairs of frames at the same place with different pixels.
    pub clashes: Vec<(usize, usize)>,
    pub median_mm: f64,
}

impl<'a> Series<'a> {
    pub fn new(instances: &'a [Instance], allowed: Allowed) -> Series<'a> {
        let modality_of = |i: usize| Modality::of_sop_class(instances[i].sop_class_uid.as_str());
        let (classed, others): (Vec<usize>, Vec<usize>) = (0..instances.len()).partition(|&i| modality_of(i).is_some());
        let (localizers, images): (Vec<usize>, Vec<usize>) =
            classed.into_iter().partition(|&i| is_localizer(&instances[i]));
        // One more than allowed is enough to be refused.
        let frames = images.iter().flat_map(|&i| frames(i, &instances[i])).take(SLICES_MAX + 1).collect();
        let formats = instances.iter().map(PixelFormat::of).collect();
        Series { others, localizers, ..Series::of_images(instances, allowed, formats, images, frames) }
    }

    /// Some frames of a series as if they were all of it.
    pub fn of_frames(instances: &'a [Instance], allowed: Allowed, frames: Vec<Frame>) -> Series<'a> {
        let formats = instances.iter().map(PixelFormat::of).collect();
        Series::of_images(instances, allowed, formats, images_of(&frames), frames)
    }

    /// As [`Series::of_frames`], of a series that was looked at: what is known of its instances is not asked again.
    pub fn part(&self, frames: Vec<Frame>) -> Series<'a> {
        let formats = Arc::clone(&self.formats);
        let part = Series::of_images(self.instances, self.allowed, formats, images_of(&frames), frames);
        Series { is_part: true, ..part }
    }

    fn of_images(
        instances: &'a [Instance],
        allowed: Allowed,
        formats: Arc<[Option<PixelFormat>]>,
        images: Vec<usize>,
        frames: Vec<Frame>,
    ) -> Series<'a> {
        let modality = images.first().and_then(|&i| Modality::of_sop_class(instances[i].sop_class_uid.as_str()));
        let stack = Stack::of(&frames, instances);
        let (others, localizers, is_part) = (Vec::new(), Vec::new(), false);
        Series { instances, allowed, images, others, localizers, modality, formats, frames, stack, is_part }
    }
}

fn images_of(frames: &[Frame]) -> Vec<usize> {
    frames.iter().map(|frame| frame.instance).collect::<BTreeSet<_>>().into_iter().collect()
}

fn is_localizer(instance: &Instance) -> bool {
    let image_type = instance.text(tags::IMAGE_TYPE).unwrap_or_default();
    image_type.split('\\').any(|value| value.trim() == "LOCALIZER")
}

impl Stack {
    fn of(frames: &[Frame], instances: &[Instance]) -> Option<Stack> {
        let first = frames.first()?.placement.as_ref()?;
        let mut placed = Vec::with_capacity(frames.len());
        for (index, frame) in frames.iter().enumerate() {
            let placement = frame.placement.as_ref().filter(|other| same_orientation(first, other))?;
            placed.push((dot(first.normal, placement.origin), index));
        }
        // Of coincident slices the one with the lowest instance number comes first and is kept.
        let number = |index: usize| instances[frames[index].instance].integer(tags::INSTANCE_NUMBER);
        placed.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut stack = Stack {
            order: Vec::new(),
            positions_mm: Vec::new(),
            repeated: Vec::new(),
            clashes: Vec::new(),
            median_mm: 0.0,
        };
        for group in placed.chunk_by(|a, b| b.0 - a.0 < COINCIDENT_MM) {
            let mut members: Vec<usize> = group.iter().map(|&(_, index)| index).collect();
            members.sort_by_key(|&index| (number(index).unwrap_or(i64::MAX), index));
            let kept = members[0];
            for &other in &members[1..] {
                if same_pixels(&frames[kept], &frames[other], instances) {
                    stack.repeated.push(other);
                } else {
                    stack.clashes.push((kept, other));
                }
            }
            stack.order.push(kept);
            stack.positions_mm.push(group[0].0);
        }
        stack.median_mm = of_positions(stack.positions_mm.clone()).median_mm;
        Some(stack)
    }
}

/// Whether two frames at one place are the same image sent under two UIDs.
fn same_pixels(a: &Frame, b: &Frame, instances: &[Instance]) -> bool {
    let (one, other) = (&instances[a.instance], &instances[b.instance]);
    let digest = |instance: &Instance| instance.pixel_data.as_ref().map(|pixels| pixels.digest);
    let places = a.placement.as_ref().zip(b.placement.as_ref());
    let apart = places
        .map_or(f64::INFINITY, |(p, q)| p.origin.iter().zip(&q.origin).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max));
    a.instance != b.instance
        && a.index == b.index
        && a.rescale == b.rescale
        && apart < COINCIDENT_MM
        && digest(one).is_some()
        && digest(one) == digest(other)
        && one.transfer_syntax_uid == other.transfer_syntax_uid
}
