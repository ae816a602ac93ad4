//! Instances of one series become a volume, or the reasons why they do not; it reads no files and waits for nobody.
//!
//! Steps, each usable by itself: [`placement()`], [`phase()`] and [`spacing`] look at a series that is still arriving,
//! [`volumes()`] sorts its images and decides from headers alone which volumes they make and how, [`plan()`] expects one,
//! [`load()`] decodes the pixels.

mod checks;
mod codec;
mod format;
mod frame;
mod load;
mod native;
mod phase;
mod pieces;
mod placement;
mod plan;
mod series;
mod suv;
#[cfg(test)]
mod tests;
mod volumes;

pub use checks::{Finding, Refusal};
pub use codec::{DECODABLE, decodable};
pub use format::Modality;
pub use load::{AssembleError, load};
pub use phase::{Part, Phase, phase, split};
pub use placement::{COINCIDENT_MM, Placement, Spacing, placement, spacing};
pub use plan::{Allowed, SeriesPlan, SliceSource, plan, plan_with};
pub use suv::to_suv_bw;
pub use volumes::{ONE_STACK, VolumeOf, plan_frames, plan_part, volumes};
