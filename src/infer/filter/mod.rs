//! Filters of images for operations before the network: arithmetic on arrays, without parameters' names or geometry.

pub(in crate::infer) mod curvature_flow;
pub(in crate::infer) mod histogram_match;
