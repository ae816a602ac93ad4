//! The table of cases, by what they are about.

mod commands;
mod content;
mod elements;
mod fragments;
mod opening;
mod pdus;
mod slow;

use std::net::TcpStream;

use crate::bytes::{AS_IMPLICIT, Request, image, store};
use crate::case::Case;
use crate::gateway::Gateway;
use crate::peer::{Answer, Peer};

pub use slow::slow;

/// What every part of the gateway does once, so that memory is compared with that of a gateway at work.
pub fn warm_up() -> Vec<Case> {
    (1..=8)
        .map(|number| {
            let instance = format!("1.2.3.1.{number}");
            Case::stored(
                format!("an ordinary image, {number}"),
                "PS3.4 B.2.3",
                AS_IMPLICIT,
                &instance,
                &image(&instance),
            )
        })
        .collect()
}

/// Those that are over at once.
pub fn quick() -> Vec<Case> {
    [opening::all(), pdus::all(), fragments::all(), commands::all(), elements::all(), content::all()]
        .into_iter()
        .flatten()
        .collect()
}

/// Leaks show in numbers: connections, associations and half stores that come and go without a word.
pub fn come_and_go(gateway: &Gateway, problems: &mut Vec<String>) {
    let within = std::time::Duration::from_secs(2);
    for round in 0..1_500 {
        match round % 5 {
            0 => drop(TcpStream::connect(gateway.address)),
            1 => Peer::connect(gateway.address, within).send(&Request::ordinary().bytes()[..20]),
            2 => drop(Peer::associated(gateway.address, "CT01", within)),
            3 => {
                let mut peer = Peer::associated(gateway.address, "CT01", within);
                peer.send(&crate::case::half_store("1.2.3.4"));
            }
            _ => {
                let mut peer = Peer::associated(gateway.address, "CT01", within);
                // A word that is not read makes the end a reset.
                peer.send(&[crate::bytes::echo(), store(AS_IMPLICIT, "1.2.3.4", b"no data set")].concat());
                if round % 2 == 0 && peer.answer() != Answer::Status(0) {
                    problems.push(format!("round {round}: an echo was not answered"));
                }
            }
        }
    }
}
