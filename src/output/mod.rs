//! What a job hands on: RT Structure Sets, and masks for people with other tools; it writes no files.

pub mod derived;
pub mod nifti;
pub mod object;
pub mod picture;
pub mod registration;
pub mod report;
pub mod rtstruct;
pub mod run;
pub mod seg;
