//! DICOM messages as values: PDUs, command sets, statuses and the acceptance of associations; it moves no bytes.
//!
//! The A-ASSOCIATE PDUs are encoded and decoded by `dicom-ul`; P-DATA is cut here, without copies and within limits,
//! and so are the four small PDUs, because a peer's odd reason code is no ground to lose its answer.

mod acceptance;
mod caller;
mod command;
pub mod commitment;
pub mod find;
mod message;
mod pdu;
mod status;
pub mod syntaxes;
mod web_caller;

pub use acceptance::{Acceptance, Context, Negotiated, Refusal, Rejection, negotiate, peer_max_pdu, user_variables};
pub use caller::{Caller, Certificate, CertificateRule, Fingerprint, FingerprintError, Network, NetworkError, Origin};
pub use command::{
    Command, CommandError, CommandSet, EchoRequest, NormalizedRequest, Response, StoreRequest, SubOperations,
};
pub use message::{MessageError, Part, Reassembly};
pub use pdu::{
    AbortReason, Pdu, PduError, Pdv, Pdvs, decode_pdu, encode_abort, encode_data, encode_message, encode_pdu,
    encode_reject, fragment_bytes,
};
pub use status::{Outcome, Status};
pub use web_caller::{Credentials, WebCaller, WebRefusal};

use crate::dicom::Uid;

/// Implementation Class UID (PS3.7 D.3.3.2) of this program.
pub fn implementation_class_uid() -> Uid {
    Uid::derived(["contourd", "implementation class"])
}

/// Implementation Version Name (PS3.7 D.3.3.2), 1 to 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "CONTOURD_0";
