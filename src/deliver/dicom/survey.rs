//! Asks a node what it would accept: associates, writes down the answers, releases.

use std::time::Duration;

use dicom_ul::pdu::{PresentationContextResultReason, UserVariableItem};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Destination;
use super::association::{Association, Offer};
use crate::deliver::connect;
use crate::limits::PRESENTATION_CONTEXTS_MAX;
use crate::tls::{self, Agreed, Presented};

/// What a node answers to an association request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// For each proposal, in its order: nothing where it was accepted, else why not.
    pub refused: Vec<Option<&'static str>>,
    pub implementation_class_uid: Option<String>,
    pub implementation_version_name: Option<String>,
    /// The longest P-DATA-TF that it takes; 0 for any.
    pub max_pdu: Option<u32>,
}

/// Proposes pairs of abstract and transfer syntax, at most 128, each in a presentation context of its own.
///
/// # Errors
/// Why there is no association, with what can be done about it.
pub async fn survey(destination: &Destination, proposals: &[(&str, &str)]) -> Result<Survey, String> {
    let proposals = &proposals[..proposals.len().min(PRESENTATION_CONTEXTS_MAX)];
    let offers: Vec<Offer> = proposals.iter().map(|(class, syntax)| Offer::new(class, syntax)).collect();
    let association = Association::open(destination, &offers).await.map_err(|failure| failure.to_string())?;
    let answer = association.answer.clone();
    association.release().await;
    let result = |index: usize| {
        // Numbered 1, 3, 5, ... as they were proposed.
        let found = answer.presentation_contexts.iter().find(|result| usize::from(result.id) == 2 * index + 1);
        found.map_or(Some("not answered"), |result| why(&result.reason))
    };
    let mut survey = Survey {
        refused: (0..proposals.len()).map(result).collect(),
        implementation_class_uid: None,
        implementation_version_name: None,
        max_pdu: None,
    };
    for item in &answer.user_variables {
        match item {
            UserVariableItem::MaxLength(length) => survey.max_pdu = Some(*length),
            UserVariableItem::ImplementationClassUID(uid) => survey.implementation_class_uid = Some(uid.clone()),
            UserVariableItem::ImplementationVersionName(name) => {
                survey.implementation_version_name = Some(name.clone());
            }
            _ => {}
        }
    }
    Ok(survey)
}

/// PS3.8 table 9-18.
fn why(reason: &PresentationContextResultReason) -> Option<&'static str> {
    match reason {
        PresentationContextResultReason::Acceptance => None,
        PresentationContextResultReason::UserRejection => Some("rejected by the user"),
        PresentationContextResultReason::NoReason => Some("rejected without a reason"),
        PresentationContextResultReason::AbstractSyntaxNotSupported => Some("SOP class not supported"),
        PresentationContextResultReason::TransferSyntaxesNotSupported => Some("transfer syntax not supported"),
    }
}

/// The addresses of the host.
///
/// # Errors
/// Why the name leads nowhere.
pub async fn resolve(destination: &Destination) -> Result<Vec<String>, String> {
    let asked = lookup_host((destination.host.as_str(), destination.port));
    let limit = destination.connect_timeout;
    let found = timeout(limit, asked).await.map_err(|_| format!("no answer of the name service within {limit:?}"))?;
    let mut addresses: Vec<String> = found.map_err(|error| error.to_string())?.map(|at| at.ip().to_string()).collect();
    addresses.dedup();
    Ok(addresses)
}

/// Opens a TCP connection and closes it; says from which address of ours to which of theirs.
///
/// # Errors
/// Why there is no connection.
pub async fn reach(destination: &Destination) -> Result<(String, String), String> {
    let stream = tcp(destination).await?;
    let ours = stream.local_addr().map_or_else(|error| error.to_string(), |address| address.ip().to_string());
    let theirs = stream.peer_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    Ok((ours, theirs))
}

/// Shakes hands as for a delivery and closes; `None` for a destination without TLS.
///
/// # Errors
/// Why there is no connection with TLS, with what can be done about it.
pub async fn shake(destination: &Destination) -> Result<Option<Agreed>, String> {
    connect::connect((&destination.host, destination.port), destination.tls.as_ref(), destination.connect_timeout)
        .await
        .map(|stream| stream.agreed())
        .map_err(|failure| failure.to_string())
}

/// The certificates that the host presents, believed or not; nothing is sent.
///
/// # Errors
/// None came.
pub async fn presented(destination: &Destination) -> Result<Vec<Presented>, String> {
    let stream = tcp(destination).await?;
    let limit = destination.connect_timeout;
    let looked = timeout(limit, tls::inspect(stream, &destination.host)).await;
    looked.map_err(|_| silent(limit))?.map_err(|error| tls::explain_handshake(&error))
}

async fn tcp(destination: &Destination) -> Result<TcpStream, String> {
    let limit = destination.connect_timeout;
    let connecting = TcpStream::connect((destination.host.as_str(), destination.port));
    timeout(limit, connecting).await.map_err(|_| silent(limit))?.map_err(|error| error.to_string())
}

fn silent(limit: Duration) -> String {
    format!("no answer within {limit:?}")
}
