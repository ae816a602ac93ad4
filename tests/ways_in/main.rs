//! The ways in besides associations, against the running gateway: STOW-RS as clients and as hostile peers speak it, and a
//! watched folder with whole, growing, broken and repeated files, across kills and a full disk.

#[path = "../hostile/bytes.rs"]
#[allow(dead_code)]
mod bytes;
#[path = "../certificates/mod.rs"]
mod certificates;
mod folders;
mod gateway;
mod hostile;
mod http;
#[path = "../hostile/peer.rs"]
#[allow(dead_code)]
mod peer;
mod stow;
