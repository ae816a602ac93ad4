//! Decides what an A-ASSOCIATE-RQ is answered (PS3.8 7.1.1, 9.3.3, 9.3.4); it sends nothing and counts nothing.

use std::collections::{BTreeMap, HashSet};

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, RequestorRoles, UserVariableItem,
};
use thiserror::Error;

use super::caller::{Caller, Origin, Rights, identify};
use super::pdu::AbortReason;
use super::syntaxes::{self, WITHOUT_PIXELS};
use super::{IMPLEMENTATION_VERSION_NAME, implementation_class_uid};
use crate::assemble::DECODABLE;
use crate::dicom::{AeTitle, Uid};
use crate::limits::{PDU_BYTES_MAX, PRESENTATION_CONTEXTS_MAX};

/// Who may open an association, and for what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acceptance {
    /// Our own titles; a caller has to name one of them.
    pub called: Vec<AeTitle>,
    /// The peers that are known, by the title that they call with.
    pub callers: BTreeMap<AeTitle, Vec<Caller>>,
    /// What a peer may do that is not known; `None` rejects it.
    pub unknown_caller: Option<Caller>,
    /// The longest P-DATA-TF that we take, in bytes of its PDU length field.
    pub max_pdu: u32,
}

/// A presentation context that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    pub id: u8,
    pub abstract_syntax: String,
    pub transfer_syntax: Uid,
}

/// An association that is accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Negotiated {
    pub calling: AeTitle,
    pub called: AeTitle,
    /// Whose association it is, for the limits: the name of the peer, or the title of one that is not known.
    pub caller: String,
    /// Most associations of this caller at the same time, where it has a limit of its own.
    pub associations_max: Option<usize>,
    pub may_send: bool,
    /// As which peer it may ask for storage commitment, and as which ones it may report on ours.
    pub commits_as: Option<String>,
    pub reports_as: Vec<String>,
    pub contexts: Vec<Context>,
    /// The longest P-DATA-TF that the peer takes; "no limit" is our own maximum.
    pub peer_max_pdu: u32,
    pub answer: AssociationAC,
}

impl Negotiated {
    /// The accepted context with this number.
    pub fn context(&self, id: u8) -> Option<&Context> {
        self.contexts.iter().find(|context| context.id == id)
    }
}

/// How a request is turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Reject(Rejection),
    /// The request itself breaks PS3.8 9.3.2.
    Abort(AbortReason),
}

/// The A-ASSOCIATE-RJ that are sent (PS3.8 table 9-21).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    #[error("the application context is not DICOM's")]
    ApplicationContext,
    #[error("no peer of ae-config/peers has this calling AE title")]
    CallingAeTitle,
    #[error("the peers with this calling AE title may not call from this address; see \"from\" in ae-config/peers")]
    CallingAddress,
    #[error(
        "the peer with this calling AE title has to present a certificate, and presented none; it must call by TLS"
    )]
    NoCertificate,
    #[error("the certificate is not that of a peer with this calling AE title; see \"certificate\" in ae-config/peers")]
    CallingCertificate,
    #[error("the called AE title is not ours; see \"ae_titles\" in ae-config/gateway.json")]
    CalledAeTitle,
    #[error("the request offers no presentation context")]
    NoContext,
    #[error("the protocol version is not 1")]
    ProtocolVersion,
    #[error("as many associations are open as all peers together may have; see \"limits\" in ae-config/gateway.json")]
    LocalLimit,
    #[error("as many associations are open as this peer may have; see \"associations\" in its file")]
    PeerLimit,
}

impl Rejection {
    /// Every rejection, for the conformance statement.
    pub const ALL: [Rejection; 10] = [
        Rejection::ApplicationContext,
        Rejection::CallingAeTitle,
        Rejection::CallingAddress,
        Rejection::NoCertificate,
        Rejection::CallingCertificate,
        Rejection::CalledAeTitle,
        Rejection::NoContext,
        Rejection::ProtocolVersion,
        Rejection::PeerLimit,
        Rejection::LocalLimit,
    ];

    /// Result, source and reason.
    pub fn numbers(self) -> (u8, u8, u8) {
        match self {
            Rejection::ApplicationContext => (1, 1, 2),
            // The caller learns no more than that: which rule it broke is for our log.
            Rejection::CallingAeTitle
            | Rejection::CallingAddress
            | Rejection::NoCertificate
            | Rejection::CallingCertificate => (1, 1, 3),
            Rejection::CalledAeTitle => (1, 1, 7),
            Rejection::NoContext => (1, 2, 1),
            Rejection::ProtocolVersion => (1, 2, 2),
            // Reason 2 of source 3 is "local limit exceeded", 1 "temporary congestion".
            Rejection::LocalLimit | Rejection::PeerLimit => (2, 3, 2),
        }
    }
}

/// Answers a request.
///
/// An association whose contexts are all refused is accepted nevertheless, as PS3.8 7.1.1.14 has it: the requestor
/// learns why from the results.
///
/// # Errors
/// The request is rejected or aborted.
pub fn negotiate(request: &AssociationRQ, acceptance: &Acceptance, origin: Origin<'_>) -> Result<Negotiated, Refusal> {
    check_contexts(&request.presentation_contexts)?;
    // PS3.8 9.3.2: only bit 0 is tested.
    if request.protocol_version & 1 == 0 {
        return Err(Refusal::Reject(Rejection::ProtocolVersion));
    }
    if request.application_context_name.trim_end_matches(['\0', ' ']) != syntaxes::APPLICATION_CONTEXT {
        return Err(Refusal::Reject(Rejection::ApplicationContext));
    }
    let reject = |rejection| move |_| Refusal::Reject(rejection);
    let calling: AeTitle = request.calling_ae_title.parse().map_err(reject(Rejection::CallingAeTitle))?;
    let called: AeTitle = request.called_ae_title.parse().map_err(reject(Rejection::CalledAeTitle))?;
    if !acceptance.called.contains(&called) {
        return Err(Refusal::Reject(Rejection::CalledAeTitle));
    }
    let known = acceptance.callers.get(&calling).map(Vec::as_slice);
    let known = known.or(acceptance.unknown_caller.as_ref().map(std::slice::from_ref)).unwrap_or_default();
    let (caller, rights) = identify(known, origin).map_err(Refusal::Reject)?;
    if request.presentation_contexts.is_empty() {
        return Err(Refusal::Reject(Rejection::NoContext));
    }
    let commits = rights.commit.is_some() || !rights.report.is_empty();
    let results: Vec<_> = request.presentation_contexts.iter().map(|proposed| choose(proposed, commits)).collect();
    let mut answer = answer(request, results.clone(), acceptance.max_pdu);
    answer.user_variables.extend(roles(&request.user_variables, &rights));
    let contexts = results.iter().zip(&request.presentation_contexts).filter_map(accepted).collect();
    let name = |caller: &Caller| if caller.name.is_empty() { calling.to_string() } else { caller.name.clone() };
    Ok(Negotiated {
        caller: name(caller),
        associations_max: caller.associations_max,
        may_send: rights.send,
        commits_as: rights.commit.map(name),
        reports_as: rights.report.into_iter().map(name).collect(),
        contexts,
        peer_max_pdu: peer_max_pdu(&request.user_variables),
        answer,
        calling,
        called,
    })
}

/// Context numbers are odd and different (PS3.8 9.3.2.2), so that there are at most 128.
fn check_contexts(proposed: &[PresentationContextProposed]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    let legal = proposed.len() <= PRESENTATION_CONTEXTS_MAX
        && proposed.iter().all(|context| context.id % 2 == 1 && seen.insert(context.id));
    if legal { Ok(()) } else { Err(Refusal::Abort(AbortReason::InvalidParameter)) }
}

/// The first of our transfer syntaxes that the requestor offers, not the first of its own (PS3.8 9.3.3.2 leaves the
/// choice to us): uncompressed before compressed, because it costs no decoding later, lossless before lossy. What
/// cannot be decoded is not accepted, so that the sender decompresses it or its operator learns of it.
fn choose(proposed: &PresentationContextProposed, commits: bool) -> PresentationContextResult {
    let offered = |syntax: &str| proposed.transfer_syntaxes.iter().any(|offer| trim(offer) == syntax);
    let abstract_syntax = trim(&proposed.abstract_syntax);
    let is_service = syntaxes::SERVICES.iter().any(|service| service.uid == abstract_syntax && service.scp.is_some());
    let wanted = if is_service && (abstract_syntax != syntaxes::STORAGE_COMMITMENT || commits) {
        WITHOUT_PIXELS
    } else if syntaxes::storage_name(abstract_syntax).is_some() {
        DECODABLE
    } else {
        return result(proposed.id, PresentationContextResultReason::AbstractSyntaxNotSupported, None);
    };
    match wanted.iter().find(|(syntax, _)| offered(syntax)) {
        Some((syntax, _)) => result(proposed.id, PresentationContextResultReason::Acceptance, Some(syntax)),
        None => result(proposed.id, PresentationContextResultReason::TransferSyntaxesNotSupported, None),
    }
}

/// The answer to a proposal of roles for storage commitment (PS3.7 D.3.3.4): a requestor that reports is its SCP, one
/// that asks its SCU. We take back what it may not, and never give what it did not propose. Other classes keep the
/// default roles when they are not answered.
fn roles(proposed: &[UserVariableItem], rights: &Rights<'_>) -> Option<UserVariableItem> {
    let proposed = proposed.iter().find_map(|item| match item {
        UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) => {
            (trim(uid) == syntaxes::STORAGE_COMMITMENT).then_some(*roles)
        }
        _ => None,
    })?;
    let roles =
        RequestorRoles { scu: proposed.scu && rights.commit.is_some(), scp: proposed.scp && !rights.report.is_empty() };
    Some(UserVariableItem::ScuScpRoleSelectionSubItem(syntaxes::STORAGE_COMMITMENT.to_owned(), roles))
}

/// A result without acceptance still holds a transfer syntax item, which means nothing (PS3.8 9.3.3.2).
fn result(id: u8, reason: PresentationContextResultReason, syntax: Option<&str>) -> PresentationContextResult {
    let transfer_syntax = syntax.unwrap_or(syntaxes::IMPLICIT_VR_LITTLE_ENDIAN).to_owned();
    PresentationContextResult { id, reason, transfer_syntax }
}

fn accepted((result, proposed): (&PresentationContextResult, &PresentationContextProposed)) -> Option<Context> {
    if result.reason != PresentationContextResultReason::Acceptance {
        return None;
    }
    let transfer_syntax = result.transfer_syntax.parse().ok()?;
    Some(Context { id: result.id, abstract_syntax: trim(&proposed.abstract_syntax).to_owned(), transfer_syntax })
}

fn answer(request: &AssociationRQ, results: Vec<PresentationContextResult>, max_pdu: u32) -> AssociationAC {
    AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title.clone(),
        application_context_name: syntaxes::APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        // Other roles, asynchronous operations and extended negotiation stay at their defaults when they are not answered
        // (PS3.7 D.3.3).
        user_variables: user_variables(max_pdu),
    }
}

/// The user information that we send in requests and answers.
pub fn user_variables(max_pdu: u32) -> Vec<UserVariableItem> {
    vec![
        UserVariableItem::MaxLength(max_pdu.min(PDU_BYTES_MAX)),
        UserVariableItem::ImplementationClassUID(implementation_class_uid().to_string()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
    ]
}

/// What the peer takes at most; 0 and absence mean no limit (PS3.8 D.1).
pub fn peer_max_pdu(variables: &[UserVariableItem]) -> u32 {
    let told = variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    match told {
        None | Some(0) => PDU_BYTES_MAX,
        Some(length) => length.min(PDU_BYTES_MAX),
    }
}

/// UIDs of syntaxes come padded from some peers, against PS3.8 F.1.
fn trim(uid: &str) -> &str {
    uid.trim_end_matches(['\0', ' '])
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
    const HERE: Origin<'_> = Origin { address: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate: None };

    fn title(text: &str) -> AeTitle {
        text.parse().expect("a legal title")
    }

    fn acceptance() -> Acceptance {
        let known = Caller { name: "ct".to_owned(), may_send: true, ..Caller::default() };
        let bound = Caller { from: vec!["10.0.0.1".parse().expect("an address")], ..Caller::default() };
        Acceptance {
            called: vec![title("CONTOURD")],
            callers: [(title("CT01"), vec![known]), (title("BOUND"), vec![bound])].into(),
            max_pdu: 65_536,
            ..Acceptance::default()
        }
    }

    fn request(contexts: &[(u8, &str, &[&str])]) -> AssociationRQ {
        AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "CT01".to_owned(),
            called_ae_title: "CONTOURD".to_owned(),
            application_context_name: syntaxes::APPLICATION_CONTEXT.to_owned(),
            presentation_contexts: contexts
                .iter()
                .map(|(id, abstract_syntax, transfer)| PresentationContextProposed {
                    id: *id,
                    abstract_syntax: (*abstract_syntax).to_owned(),
                    transfer_syntaxes: transfer.iter().map(|syntax| (*syntax).to_owned()).collect(),
                })
                .collect(),
            user_variables: vec![UserVariableItem::MaxLength(0)],
        }
    }

    fn check(change: impl FnOnce(&mut AssociationRQ)) -> Result<Negotiated, Refusal> {
        let mut request = request(&[(1, CT, &[syntaxes::IMPLICIT_VR_LITTLE_ENDIAN])]);
        change(&mut request);
        negotiate(&request, &acceptance(), HERE)
    }

    fn numbers(result: Result<Negotiated, Refusal>) -> (u8, u8, u8) {
        match result {
            Err(Refusal::Reject(rejection)) => rejection.numbers(),
            other => panic!("expected a rejection, found {other:?}"),
        }
    }

    #[test]
    fn rejects_with_the_numbers_of_the_standard() {
        assert_eq!(numbers(check(|rq| rq.calling_ae_title = "OTHER".into())), (1, 1, 3));
        assert_eq!(numbers(check(|rq| rq.calling_ae_title = "ct01".into())), (1, 1, 3));
        assert_eq!(numbers(check(|rq| rq.calling_ae_title = "CT\u{1b}01".into())), (1, 1, 3));
        assert_eq!(numbers(check(|rq| rq.calling_ae_title = "BOUND".into())), (1, 1, 3));
        assert_eq!(numbers(check(|rq| rq.called_ae_title = "ANY-SCP".into())), (1, 1, 7));
        assert_eq!(numbers(check(|rq| rq.application_context_name = "1.2".into())), (1, 1, 2));
        assert_eq!(numbers(check(|rq| rq.protocol_version = 2)), (1, 2, 2));
        assert_eq!(numbers(check(|rq| rq.presentation_contexts.clear())), (1, 2, 1));
    }

    #[test]
    fn tests_only_bit_zero_of_the_version() {
        assert!(check(|rq| rq.protocol_version = 3).is_ok());
    }

    #[test]
    fn aborts_even_and_repeated_context_numbers() {
        let invalid = Some(Refusal::Abort(AbortReason::InvalidParameter));
        assert_eq!(check(|rq| rq.presentation_contexts[0].id = 2).err(), invalid);
        let repeat = |rq: &mut AssociationRQ| rq.presentation_contexts.push(rq.presentation_contexts[0].clone());
        assert_eq!(check(repeat).err(), invalid);
    }

    #[test]
    fn follows_our_order_of_transfer_syntaxes() {
        let offer = ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"];
        let contexts: [(u8, &str, &[&str]); 4] =
            [(1, CT, &offer), (3, CT, &offer[..1]), (5, CT, &["1.2.3"]), (7, "1.2.3", &offer)];
        let found = negotiate(&request(&contexts), &acceptance(), HERE).expect("accepted");
        let chosen: Vec<_> = found.contexts.iter().map(|c| (c.id, c.transfer_syntax.as_str())).collect();
        assert_eq!(chosen, [(1, "1.2.840.10008.1.2.1"), (3, "1.2.840.10008.1.2.4.50")]);
        let reasons: Vec<u8> = found.answer.presentation_contexts.iter().map(|r| r.reason.clone() as u8).collect();
        assert_eq!(reasons, [0, 0, 4, 3]);
    }

    #[test]
    fn offers_storage_commitment_to_those_who_may_and_answers_roles() {
        let commitment: [(u8, &str, &[&str]); 1] =
            [(1, syntaxes::STORAGE_COMMITMENT, &[syntaxes::IMPLICIT_VR_LITTLE_ENDIAN])];
        let check = |commit: bool, report: bool, proposed: Option<(bool, bool)>| {
            let mut acceptance = acceptance();
            let caller = Caller { may_commit: commit, may_report: report, ..Caller::default() };
            acceptance.callers.insert(title("CT01"), vec![caller]);
            let mut request = request(&commitment);
            let item = proposed.map(|(scu, scp)| {
                let uid = format!("{}\0", syntaxes::STORAGE_COMMITMENT);
                UserVariableItem::ScuScpRoleSelectionSubItem(uid, RequestorRoles { scu, scp })
            });
            request.user_variables.extend(item);
            let found = negotiate(&request, &acceptance, HERE).expect("accepted");
            let answered = found.answer.user_variables.iter().find_map(|item| match item {
                UserVariableItem::ScuScpRoleSelectionSubItem(_, roles) => Some((roles.scu, roles.scp)),
                _ => None,
            });
            (found.contexts.len(), answered)
        };
        assert_eq!(check(false, false, None), (0, None), "nobody by default");
        assert_eq!(check(true, false, None), (1, None));
        assert_eq!(check(false, true, Some((false, true))), (1, Some((false, true))));
        assert_eq!(check(true, false, Some((true, true))), (1, Some((true, false))), "only taken back");
        assert_eq!(check(true, true, Some((true, false))), (1, Some((true, false))), "never given");
    }

    #[test]
    fn takes_no_limit_for_our_own() {
        let found = check(|_| ()).expect("accepted");
        assert_eq!(found.peer_max_pdu, PDU_BYTES_MAX);
        assert_eq!((found.may_send, found.caller.as_str()), (true, "ct"));
    }
}
