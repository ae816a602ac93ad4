//! How well two contours of one structure agree, and which dose a structure receives; it judges neither.

mod compare;
pub mod dose;
pub mod dvh;
mod grid;
mod plot;
mod surface;
mod surfels;

pub use compare::{Comparison, Distances, compare};
pub use grid::{covering, of_planes};
pub use plot::svg;
pub use surface::SurfaceDistances;
