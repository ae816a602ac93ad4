//! Filters of images for operations before the network: arithmetic on arrays, without parameters' names or geometry.

pub(in crate::infer) mod aggregate;
pub(in crate::infer) mod convolution;
pub(in crate::infer) mod curvature_flow;
pub(in crate::infer) mod gabor;
pub(in crate::infer) mod histogram_match;
pub(in crate::infer) mod kernels;
pub(in crate::infer) mod lattice;
pub(in crate::infer) mod median;
pub(in crate::infer) mod n4;
