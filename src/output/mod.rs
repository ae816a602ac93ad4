//! What a job hands on: RT Structure Sets, and masks for people with other tools; it writes no files.

pub mod csv;
pub mod derived;
mod format;
pub mod grid;
pub mod layers;
pub mod nifti;
pub mod nrrd;
pub mod object;
pub mod picture;
pub mod planc;
pub mod registration;
pub mod report;
pub mod rtstruct;
pub mod run;
pub mod seg;

pub use format::Format;
