//! Asks a node what it would accept: associates, writes down the answers, releases.

use dicom_ul::pdu::{PresentationContextResultReason, UserVariableItem};

use super::Destination;
use super::association::{Association, Offer};
use crate::limits::PRESENTATION_CONTEXTS_MAX;

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
