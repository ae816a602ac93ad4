//! What the stored values of an image mean: size, bits, sign, rescale and padding (PS3.3 C.7.6.3); it decodes nothing.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::dicom::Instance;
use crate::dicom::instance::{f64s, integer, items, text};

/// The images that become volumes. The unit of the values follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Modality {
    /// Values in HU.
    Ct,
    /// Values in the arbitrary unit of the scanner.
    Mr,
    /// Values in the unit that Units (0054,1001) states, until [`super::to_suv_bw`].
    Pet,
}

impl Modality {
    /// The value of Modality (0008,0060): `CT`, `MR` or `PT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Modality::Ct => "CT",
            Modality::Mr => "MR",
            Modality::Pet => "PT",
        }
    }

    /// Reads the value of Modality (0008,0060); none for what makes no volume here.
    pub fn parse(text: &str) -> Option<Modality> {
        [Modality::Ct, Modality::Mr, Modality::Pet].into_iter().find(|modality| modality.as_str() == text)
    }

    /// The modality of an image SOP class, classic, enhanced or converted (PS3.4 B.5); none for all other classes.
    pub fn of_sop_class(uid: &str) -> Option<Modality> {
        match uid.strip_prefix("1.2.840.10008.5.1.4.1.1.")? {
            "2" | "2.1" | "2.2" => Some(Modality::Ct),
            "4" | "4.1" | "4.4" => Some(Modality::Mr),
            "128" | "130" | "128.1" => Some(Modality::Pet),
            _ => None,
        }
    }

    /// What takes the place of padding, which is outside of what was measured: air for CT, nothing otherwise.
    pub(super) fn lowest(self) -> f32 {
        match self {
            Modality::Ct => -1024.0,
            Modality::Mr | Modality::Pet => 0.0,
        }
    }
}

/// Whether geometry and rescale are in functional groups (PS3.3 C.7.6.16).
pub(super) fn is_multi_frame(sop_class_uid: &str) -> bool {
    let class = sop_class_uid.strip_prefix("1.2.840.10008.5.1.4.1.1.");
    matches!(class, Some("2.1" | "2.2" | "4.1" | "4.4" | "130" | "128.1"))
}

/// How one sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PixelFormat {
    pub rows: usize,
    pub columns: usize,
    pub frames: usize,
    pub bits_allocated: u16,
    pub bits_stored: u16,
    pub high_bit: u16,
    pub signed: bool,
}

impl PixelFormat {
    /// Reads the format; none when an attribute is missing or contradicts another.
    pub fn of(instance: &Instance) -> Option<PixelFormat> {
        let small = |tag| instance.integer(tag).and_then(|n| u16::try_from(n).ok());
        let bits_allocated = small(tags::BITS_ALLOCATED)?;
        let bits_stored = small(tags::BITS_STORED)?;
        let high_bit = small(tags::HIGH_BIT).unwrap_or(bits_stored.saturating_sub(1));
        let frames = match instance.integer(tags::NUMBER_OF_FRAMES) {
            None => 1,
            Some(n) => usize::try_from(n).ok()?,
        };
        let format = PixelFormat {
            rows: usize::from(small(tags::ROWS)?),
            columns: usize::from(small(tags::COLUMNS)?),
            frames,
            bits_allocated,
            bits_stored,
            high_bit,
            signed: match instance.integer(tags::PIXEL_REPRESENTATION)? {
                0 => false,
                1 => true,
                _ => return None,
            },
        };
        let legal = matches!(bits_allocated, 8 | 16 | 32)
            && (1..=bits_allocated).contains(&bits_stored)
            && high_bit < bits_allocated
            && high_bit + 1 >= bits_stored;
        legal.then_some(format)
    }

    /// How many samples one frame has.
    pub fn samples(&self) -> usize {
        self.rows * self.columns
    }

    /// Length of one native frame in bytes.
    pub fn frame_bytes(&self) -> usize {
        self.samples() * usize::from(self.bits_allocated / 8)
    }

    /// The attributes as text, for messages.
    pub fn describe(instance: &Instance) -> String {
        let show = |tag| instance.integer(tag).map_or("none".to_owned(), |n: i64| n.to_string());
        format!(
            "{} rows, {} columns, bits allocated {}, stored {}, high bit {}, pixel representation {}",
            show(tags::ROWS),
            show(tags::COLUMNS),
            show(tags::BITS_ALLOCATED),
            show(tags::BITS_STORED),
            show(tags::HIGH_BIT),
            show(tags::PIXEL_REPRESENTATION)
        )
    }
}

/// The linear modality transformation: stored value x slope + intercept (PS3.3 C.11.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rescale {
    pub slope: f64,
    pub intercept: f64,
}

/// Slope and intercept of a data set or of the item of a functional group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FoundRescale {
    Absent,
    Illegal,
    Linear(Rescale),
}

pub(super) fn rescale(object: &InMemDicomObject) -> FoundRescale {
    let number = |tag| match (text(object, tag), f64s(object, tag)) {
        (None, _) => Ok(None),
        (Some(_), Some(values)) => Ok(values.first().copied()),
        (Some(_), None) => Err(()),
    };
    match (number(tags::RESCALE_SLOPE), number(tags::RESCALE_INTERCEPT)) {
        (Ok(None), Ok(None)) => FoundRescale::Absent,
        (Ok(Some(slope)), Ok(Some(intercept))) if slope != 0.0 && slope.abs() < 1e12 && intercept.abs() < 1e12 => {
            FoundRescale::Linear(Rescale { slope, intercept })
        }
        _ => FoundRescale::Illegal,
    }
}

/// The stored values that stand for "nothing was measured here", both ends included (PS3.3 C.7.5.1.1.2, C.7.6.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Padding {
    pub low: i64,
    pub high: i64,
}

/// Pixel Padding Value and its Range Limit. Their VR follows Pixel Representation, but Implicit VR and careless
/// writers say US for signed values: the bits are what counts.
pub(super) fn padding(instance: &Instance, format: &PixelFormat) -> Option<Padding> {
    let stored = |tag| {
        let value = instance.integer(tag)?;
        let is_wrapped = format.signed && format.bits_allocated == 16 && value > i64::from(i16::MAX);
        Some(if is_wrapped { value - (1 << 16) } else { value })
    };
    let value = stored(tags::PIXEL_PADDING_VALUE)?;
    let limit = stored(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
    Some(Padding { low: value.min(limit), high: value.max(limit) })
}

/// Whether padding can be told from tissue. Some CT writers state 0 although 0 is water: honouring it would punch
/// holes of air into the patient, so only padding at or below -900 HU or at or above 3,000 HU is taken.
pub(super) fn is_plausible(padding: Padding, rescale: Rescale, modality: Modality) -> bool {
    let hu = |stored: i64| stored as f64 * rescale.slope + rescale.intercept;
    let (a, b) = (hu(padding.low), hu(padding.high));
    modality != Modality::Ct || a.max(b) <= -900.0 || a.min(b) >= 3000.0
}

/// The item of a functional group macro for one frame: its own, or the shared one (PS3.3 C.7.6.16.1).
pub(super) fn functional_group(
    header: &InMemDicomObject,
    frame: usize,
    macro_tag: dicom_core::Tag,
) -> Option<&InMemDicomObject> {
    let own = items(header, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(frame);
    let shared = items(header, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    let find = |group: &'_ InMemDicomObject| !items(group, macro_tag).is_empty();
    let group = own.filter(|group| find(group)).or(shared)?;
    items(group, macro_tag).first()
}

/// Whether the values need a table instead of a line; no image of the three modalities may have one in practice.
pub(super) fn has_lookup_table(header: &InMemDicomObject) -> bool {
    !items(header, tags::MODALITY_LUT_SEQUENCE).is_empty()
}

/// Number of an integer attribute of an item, for keys that split a series.
pub(super) fn key(object: &InMemDicomObject, tag: dicom_core::Tag) -> Option<String> {
    integer(object, tag).map(|n| n.to_string()).or_else(|| text(object, tag))
}
