//! Structures as label maps: one where none overlaps another, else as few as hold them all.

use std::sync::Arc;

use crate::volume::{CompactMask, LabelMap};

/// Label maps of structures. The structure of index `k` has the label `k + 1`.
pub struct Layers {
    /// At least one; labels of overlapping structures are in different ones.
    pub maps: Vec<LabelMap>,
    /// For each structure the index of its map.
    pub layer_of: Vec<usize>,
}

impl Layers {
    /// Puts each structure into the first map where its voxels are free.
    ///
    /// # Panics
    /// Without any structure, and where they lie on different grids: errors of the calling code.
    pub fn of(masks: &[&CompactMask]) -> Layers {
        let geometry = &masks[0].geometry;
        let empty = || LabelMap { geometry: Arc::clone(geometry), labels: ndarray::Array3::zeros(geometry.shape()) };
        let mut layers = Layers { maps: vec![empty()], layer_of: Vec::new() };
        for (index, mask) in masks.iter().enumerate() {
            let voxels = mask.to_mask().voxels;
            let is_free =
                |map: &LabelMap| !map.labels.iter().zip(&voxels).any(|(label, inside)| *inside && *label != 0);
            let layer = layers.maps.iter().position(is_free).unwrap_or_else(|| {
                layers.maps.push(empty());
                layers.maps.len() - 1
            });
            let label = u16::try_from(index + 1).expect("a pipeline has far fewer structures");
            let labels = layers.maps[layer].labels.iter_mut();
            labels.zip(&voxels).filter(|(_, inside)| **inside).for_each(|(place, _)| *place = label);
            layers.layer_of.push(layer);
        }
        layers
    }
}
