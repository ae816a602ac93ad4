//! How well two contours of one structure agree; it does not judge them.

mod compare;
mod grid;
mod surface;
mod surfels;

pub use compare::{Comparison, Distances, compare};
pub use grid::{covering, of_planes};
pub use surface::SurfaceDistances;
