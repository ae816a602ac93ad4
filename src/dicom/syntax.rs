//! How a data set is encoded, from its transfer syntax (PS3.5 10); it decodes no pixels.

use super::Uid;

/// The encoding of the elements of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// Elements carry their VR.
    pub explicit: bool,
    pub big_endian: bool,
    /// The bytes after the file meta group are a raw DEFLATE stream (PS3.5 A.5).
    pub deflated: bool,
}

pub const IMPLICIT_LITTLE: &str = "1.2.840.10008.1.2";
pub const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
pub const EXPLICIT_BIG: &str = "1.2.840.10008.1.2.2";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

impl Syntax {
    /// The encoding that a transfer syntax stands for. All that DICOM has added since the first three is Explicit VR
    /// Little Endian; private ones are not known (some of them mix byte orders), and neither are those whose data
    /// set does not hold its own pixels (JPIP).
    pub fn of(transfer_syntax_uid: &Uid) -> Option<Syntax> {
        let little = Syntax { explicit: true, big_endian: false, deflated: false };
        match transfer_syntax_uid.as_str() {
            IMPLICIT_LITTLE => Some(Syntax { explicit: false, ..little }),
            EXPLICIT_LITTLE => Some(little),
            EXPLICIT_BIG => Some(Syntax { big_endian: true, ..little }),
            DEFLATED => Some(Syntax { deflated: true, ..little }),
            "1.2.840.10008.1.2.4.94" | "1.2.840.10008.1.2.4.95" => None,
            "1.2.840.10008.1.2.4.204" | "1.2.840.10008.1.2.4.205" => None,
            "1.2.840.10008.1.2.5" => Some(little),
            other if other.starts_with("1.2.840.10008.1.2.4.") => Some(little),
            _ => None,
        }
    }

    /// The transfer syntax of a data set that came without one, from its first bytes: a small even group and then
    /// either two capital letters or a length.
    pub fn guess(first: &[u8]) -> Option<&'static str> {
        let &[a, b, c, d, e, f, g, h] = first.get(..8)?.first_chunk()?;
        let has_vr = e.is_ascii_uppercase() && f.is_ascii_uppercase();
        let little = u16::from_le_bytes([a, b]);
        let big = u16::from_be_bytes([a, b]);
        let plausible = |group: u16| (2..=0x20).contains(&group) && group.is_multiple_of(2);
        let short = u16::from_le_bytes([g, h]) == 0 && u16::from_le_bytes([c, d]) < 0x100;
        match (plausible(little), plausible(big), has_vr) {
            (true, _, true) => Some(EXPLICIT_LITTLE),
            (_, true, true) => Some(EXPLICIT_BIG),
            (true, _, false) if short => Some(IMPLICIT_LITTLE),
            _ => None,
        }
    }
}
