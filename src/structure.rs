//! Regions of interest: what each is called, what it means and how it is shown; it holds no voxels and no contours.

use std::fmt;

/// RT ROI Interpreted Type (PS3.3 C.8.8.8.1), the terms that an automatic contour may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoiType {
    External,
    Organ,
    Avoidance,
    Control,
    Support,
    Cavity,
    ContrastAgent,
    Gtv,
    Ctv,
    Ptv,
    /// No defined term applies (a spacer, a device): the attribute is written empty.
    Unspecified,
}

impl RoiType {
    /// Every type with the word that stands for it in configuration and, but for `UNSPECIFIED`, in DICOM.
    pub const ALL: [(&'static str, RoiType); 11] = [
        ("EXTERNAL", RoiType::External),
        ("ORGAN", RoiType::Organ),
        ("AVOIDANCE", RoiType::Avoidance),
        ("CONTROL", RoiType::Control),
        ("SUPPORT", RoiType::Support),
        ("CAVITY", RoiType::Cavity),
        ("CONTRAST_AGENT", RoiType::ContrastAgent),
        ("GTV", RoiType::Gtv),
        ("CTV", RoiType::Ctv),
        ("PTV", RoiType::Ptv),
        ("UNSPECIFIED", RoiType::Unspecified),
    ];

    /// The value of RT ROI Interpreted Type (3006,00A4); empty for [`RoiType::Unspecified`].
    pub fn dicom_term(self) -> &'static str {
        match self {
            RoiType::Unspecified => "",
            other => RoiType::ALL.iter().find(|(_, roi_type)| *roi_type == other).map_or("", |(term, _)| term),
        }
    }
}

/// A display colour, red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color(pub [u8; 3]);

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2])
    }
}

/// The side that a code leaves open, written as a modifier (PS3.16 CID 244).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Laterality {
    Left,
    Right,
    Both,
}

/// One item of a structure set as it will be called and shown.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiStyle {
    /// ROI Name, TG-263 where it has one; 1 to 16 characters by default of destinations.
    pub name: String,
    pub roi_type: RoiType,
    pub color: Color,
}
