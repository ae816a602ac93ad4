//! Instances of one series become a volume, or the reasons why they do not; it reads no files and waits for nobody.
//!
//! Three steps, each usable by itself: [`placement()`] and [`spacing`] look at a series that is still arriving, [`plan()`]
//! decides from headers alone whether it makes a volume and how, [`load()`] decodes the pixels.

mod checks;
mod codec;
mod format;
mod frame;
mod load;
mod native;
mod placement;
mod plan;
mod series;
mod suv;
#[cfg(test)]
mod tests;

pub use checks::{Finding, Refusal};
pub use codec::{DECODABLE, decodable};
pub use format::Modality;
pub use load::{AssembleError, load};
pub use placement::{COINCIDENT_MM, Placement, Spacing, placement, spacing};
pub use plan::{Allowed, SeriesPlan, SliceSource, plan, plan_with};
pub use suv::to_suv_bw;
