//! contourd: a DICOM network node that receives image series, runs segmentation models and sends RT Structure Sets.
//!
//! # Code map
//!
//! The modules are declared in the order of the dependency table (`tests/architecture.rs`): a module may use only
//! modules below it. Words (`structure`, `volume`, `dicom`, `document`, `limits`) are used by all. Core modules take
//! values and return values: no sockets, files, clocks, environment, logging or threads of their own (rayon's data
//! parallelism is fine). Shell modules own the input and output and call the core.
//!
//! Invariants that hold everywhere:
//! - an instance is acknowledged only after its bytes and its directory entry are durable ([`spool`]);
//! - a transition of a job is recorded durably before it is acted on ([`node`], [`ledger`], [`daemon`]);
//! - geometry travels with pixels ([`volume`]); nothing is flipped "because it looked right";
//! - `ort` is named in [`onnx`] alone, SQLite in [`ledger`] alone, and only [`spool`] writes instances and objects.
#![forbid(unsafe_code)]
// A daemon that runs for months does not panic on input: `expect` states an invariant, `unwrap` states nothing.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::panic))]

pub mod cli;
pub mod cohort;
pub mod config;
pub mod daemon;
pub mod deliver;
pub mod folder;
pub mod ledger;
pub mod onnx;
pub mod receive;
pub mod retrieve;
pub mod spool;
pub mod tls;
pub mod wire;
pub mod worker;

// Core.
pub mod assemble;
pub mod contour;
pub mod dimse;
pub mod infer;
pub mod job;
pub mod node;
pub mod output;
pub mod phantom;
pub mod pipeline;
pub mod quality;
pub mod route;

// Words.
pub mod dicom;
pub mod document;
pub mod limits;
pub mod structure;
pub mod volume;
