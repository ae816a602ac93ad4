//! How well two contours of one structure agree, and which dose and which values of the image a structure holds; it judges
//! none of them.

mod compare;
pub mod dose;
pub mod dvh;
mod grid;
mod plot;
mod surface;
mod surfels;
mod values;

pub use compare::{Comparison, Distances, compare};
pub use grid::{covering, of_planes};
pub use plot::svg;
pub use surface::SurfaceDistances;
pub use values::{Values, values};
