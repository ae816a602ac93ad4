//! Destinations besides DICOM nodes: folders and DICOMweb servers, by themselves and behind the whole gateway; those that
//! take the place of others, and the sender of a series.

#[path = "../certificates/mod.rs"]
mod certificates;
mod flow;
#[path = "../gateway/mod.rs"]
mod gateway;
mod server;
mod web;
