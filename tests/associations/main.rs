//! The receiver and the sender against scripted peers on raw sockets: each fault of the catalogue with the answer that it gets.

mod archive;
#[path = "../certificates/mod.rs"]
mod certificates;
mod commitment;
mod faults;
mod limits;
mod ordinary;
mod peer;
mod retrieving;
mod sending;
mod tls;
