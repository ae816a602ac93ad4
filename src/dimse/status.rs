//! What became of a request, and the one function that turns it into a status (PS3.4 B.2.3, PS3.7 C); nothing else
//! of the program writes a status.

use std::fmt;

/// A status as it is sent (0000,0900).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

/// Every way in which a request can end here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The connection works (C-ECHO).
    Verified,
    /// The instance is durable.
    Stored,
    /// The same bytes were durable already.
    Identical,
    /// Other bytes are stored under this SOP Instance UID; the first are kept.
    Different,
    /// The disk is full, below its floor or failing.
    OutOfResources,
    /// The instance is larger than the limit.
    TooLarge,
    /// The SOP class of the data set is not that of the command or of the presentation context.
    SopClassMismatch,
    /// The SOP Instance UID of the data set is not that of the command.
    SopInstanceMismatch,
    /// The data set cannot be followed.
    Unreadable,
    /// The data set ends in the middle.
    Truncated,
    /// The data set lacks a UID, or has one that is none.
    Unidentified,
    /// The data set is deeper, or has more elements, than the limits.
    TooComplex,
    /// The SOP class is not stored here.
    SopClassNotSupported,
    /// The transfer syntax is none that is stored here; over an association it would not have been accepted.
    TransferSyntaxNotSupported,
    /// The instance is of another study than that of the request (PS3.18 10.5.1).
    StudyMismatch,
    /// This caller may not store.
    NotAuthorized,
    /// An instance that was not asked for came where we retrieve (C-GET).
    NotAskedFor,
    /// The operation is none of this service.
    UnrecognizedOperation,
    /// The command lacks an argument, or has one of the wrong kind.
    MistypedArgument,
    /// The request is recorded durably; what becomes of it is told later (N-ACTION), or the report was taken.
    Accepted,
    /// This caller may not ask for storage commitment.
    CommitmentNotAuthorized,
    /// The request names another SOP class than that of its service.
    NoSuchSopClass,
    /// The request names another SOP instance than the well-known one.
    NoSuchSopInstance,
    /// The service has no action of this number.
    NoSuchAction,
    /// The service has no event of this number.
    NoSuchEventType,
    /// The data set of the request lacks what the service requires, or names what is not known here.
    InvalidArgument,
    /// The Transaction UID is that of an earlier request for other instances.
    DuplicateTransaction,
    /// More was asked for than is allowed at a time.
    ResourceLimitation,
    /// A defect of this program.
    ProcessingFailure,
}

impl Outcome {
    /// Every outcome, for the tables of tests and documentation.
    pub const ALL: [Outcome; 29] = [
        Outcome::Verified,
        Outcome::Stored,
        Outcome::Identical,
        Outcome::Different,
        Outcome::OutOfResources,
        Outcome::TooLarge,
        Outcome::SopClassMismatch,
        Outcome::SopInstanceMismatch,
        Outcome::Unreadable,
        Outcome::Truncated,
        Outcome::Unidentified,
        Outcome::TooComplex,
        Outcome::SopClassNotSupported,
        Outcome::TransferSyntaxNotSupported,
        Outcome::StudyMismatch,
        Outcome::NotAuthorized,
        Outcome::NotAskedFor,
        Outcome::UnrecognizedOperation,
        Outcome::MistypedArgument,
        Outcome::Accepted,
        Outcome::CommitmentNotAuthorized,
        Outcome::NoSuchSopClass,
        Outcome::NoSuchSopInstance,
        Outcome::NoSuchAction,
        Outcome::NoSuchEventType,
        Outcome::InvalidArgument,
        Outcome::DuplicateTransaction,
        Outcome::ResourceLimitation,
        Outcome::ProcessingFailure,
    ];

    /// The status and the Error Comment (0000,0902; at most 64 characters) of the response.
    ///
    /// A7xx is for our own trouble: senders try again. Cxxx and A9xx are for bad content: senders give up. Neither may
    /// stand for the other. PS3.7 C.5.9 gives 0110 to failures that have no better word.
    pub fn status(self) -> (Status, &'static str) {
        let (code, comment) = match self {
            Outcome::Verified | Outcome::Stored | Outcome::Identical | Outcome::Accepted => (0x0000, ""),
            Outcome::Different => (0x0111, "other bytes are stored under this SOP Instance UID"),
            Outcome::OutOfResources => (0xA700, "storage is full or failing; try again later"),
            Outcome::TooLarge => (0xA700, "the instance is larger than the limit"),
            Outcome::SopClassMismatch => (0xA900, "SOP Class UID of data set differs from command"),
            Outcome::SopInstanceMismatch => (0xA900, "SOP Instance UID of data set differs from command"),
            Outcome::Unreadable => (0xC000, "the data set cannot be read"),
            Outcome::Truncated => (0xC001, "the data set ends in the middle"),
            Outcome::Unidentified => (0xC002, "a UID of the data set is missing or no UID"),
            Outcome::TooComplex => (0xC003, "the data set is nested too deep or has too many elements"),
            Outcome::SopClassNotSupported => (0x0122, "this SOP class is not stored here"),
            // PS3.18 I.2.2 has this number for it.
            Outcome::TransferSyntaxNotSupported => (0xC122, "this transfer syntax is not stored here"),
            // PS3.18 has no number for it; this is that of dcm4chee.
            Outcome::StudyMismatch => (0xC409, "the instance is of another study than that of the request"),
            Outcome::NotAuthorized => (0x0124, "this AE title may not store here"),
            Outcome::NotAskedFor => (0x0124, "this instance was not asked for"),
            Outcome::UnrecognizedOperation => (0x0211, "unrecognized operation"),
            Outcome::MistypedArgument => (0x0212, "an argument of the command is missing or no UID"),
            Outcome::CommitmentNotAuthorized => (0x0124, "this AE title may not ask for storage commitment"),
            Outcome::NoSuchSopClass => (0x0118, "the SOP class is not that of this service"),
            Outcome::NoSuchSopInstance => (0x0112, "the SOP instance is not the well-known one"),
            Outcome::NoSuchAction => (0x0123, "the service has action 1 alone"),
            Outcome::NoSuchEventType => (0x0113, "the service has events 1 and 2 alone"),
            Outcome::InvalidArgument => (0x0115, "the data set lacks something or names what is not known"),
            Outcome::DuplicateTransaction => (0x0131, "this Transaction UID was used for other instances"),
            Outcome::ResourceLimitation => (0x0213, "too much at a time; ask in parts, or later"),
            Outcome::ProcessingFailure => (0x0110, "processing failure; see the log of the gateway"),
        };
        (Status(code), comment)
    }

    /// Whether the sender may forget the instance.
    pub fn is_success(self) -> bool {
        self.status().0.is_success()
    }
}

impl Status {
    /// 0000: done.
    pub fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Done, with a remark: Bxxx, and 0001, 0107, 0116 of PS3.7 C.
    pub fn is_warning(self) -> bool {
        self.0 & 0xF000 == 0xB000 || matches!(self.0, 0x0001 | 0x0107 | 0x0116)
    }

    /// Whether trying again later can help: out of resources, or a limit or trouble of the peer's own.
    pub fn is_transient(self) -> bool {
        self.0 & 0xFF00 == 0xA700 || matches!(self.0, 0x0110 | 0x0210 | 0x0213)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X}", self.0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_durable_outcomes_are_success() {
        let good: Vec<Outcome> = Outcome::ALL.into_iter().filter(|outcome| outcome.is_success()).collect();
        assert_eq!(good, [Outcome::Verified, Outcome::Stored, Outcome::Identical, Outcome::Accepted]);
    }

    #[test]
    fn every_failure_has_a_comment_that_fits() {
        for outcome in Outcome::ALL {
            let (status, comment) = outcome.status();
            assert!(comment.len() <= 64, "{outcome:?}");
            assert_eq!(comment.is_empty(), status.is_success(), "{outcome:?}");
            assert!(!status.is_warning(), "{outcome:?} would tell the sender that the instance is safe");
        }
    }

    #[test]
    fn own_trouble_is_transient_and_bad_content_is_not() {
        for outcome in Outcome::ALL.into_iter().filter(|outcome| !outcome.is_success()) {
            let ours =
                [Outcome::OutOfResources, Outcome::TooLarge, Outcome::ResourceLimitation, Outcome::ProcessingFailure]
                    .contains(&outcome);
            assert_eq!(outcome.status().0.is_transient(), ours, "{outcome:?}");
        }
    }
}
