//! The coded concepts of a report (PS3.16 TID 1500, 1411, 1419, 1600, 4019), and what the values of an image are.

use crate::structure::Code;

const fn dcm(value: &'static str, meaning: &'static str) -> Code {
    Code::new(value, "DCM", meaning)
}

const fn sct(value: &'static str, meaning: &'static str) -> Code {
    Code::new(value, "SCT", meaning)
}

const fn unit(value: &'static str, meaning: &'static str) -> Code {
    Code::new(value, "UCUM", meaning)
}

pub const REPORT: Code = dcm("126000", "Imaging Measurement Report");
pub const LANGUAGE: Code = dcm("121049", "Language of Content Item and Descendants");
pub const ENGLISH: Code = Code::new("en", "RFC5646", "English");
pub const OBSERVER_TYPE: Code = dcm("121005", "Observer Type");
pub const DEVICE: Code = dcm("121007", "Device");
pub const DEVICE_UID: Code = dcm("121012", "Device Observer UID");
pub const DEVICE_NAME: Code = dcm("121013", "Device Observer Name");
pub const DEVICE_MANUFACTURER: Code = dcm("121014", "Device Observer Manufacturer");
pub const DEVICE_MODEL: Code = dcm("121015", "Device Observer Model Name");
pub const PROCEDURE_REPORTED: Code = dcm("121058", "Procedure reported");
pub const IMAGE_LIBRARY: Code = dcm("111028", "Image Library");
pub const IMAGE_LIBRARY_GROUP: Code = dcm("126200", "Image Library Group");
pub const MODALITY: Code = dcm("121139", "Modality");
pub const FRAME_OF_REFERENCE_UID: Code = dcm("112227", "Frame of Reference UID");
pub const MEASUREMENTS: Code = dcm("126010", "Imaging Measurements");
pub const MEASUREMENT_GROUP: Code = dcm("125007", "Measurement Group");
pub const TRACKING_IDENTIFIER: Code = dcm("112039", "Tracking Identifier");
pub const TRACKING_UID: Code = dcm("112040", "Tracking Unique Identifier");
pub const FINDING_CATEGORY: Code = sct("276214006", "Finding category");
pub const FINDING: Code = dcm("121071", "Finding");
pub const FINDING_SITE: Code = sct("363698007", "Finding Site");
pub const LATERALITY: Code = sct("272741003", "Laterality");
pub const ALGORITHM_NAME: Code = dcm("111001", "Algorithm Name");
pub const ALGORITHM_VERSION: Code = dcm("111003", "Algorithm Version");
pub const ALGORITHM_PARAMETERS: Code = dcm("111002", "Algorithm Parameters");
pub const REFERENCED_SEGMENT: Code = dcm("121191", "Referenced Segment");
pub const SOURCE_SERIES: Code = dcm("121232", "Source Series for Segmentation");
pub const IMAGE_REGION: Code = dcm("111030", "Image Region");
pub const SOURCE: Code = sct("260753009", "Source");
pub const COMMENT: Code = dcm("121106", "Comment");
pub const VOLUME: Code = sct("118565006", "Volume");
pub const CUBIC_CENTIMETER: Code = unit("cm3", "cubic centimeter");
pub const DERIVATION: Code = dcm("121401", "Derivation");
pub const MEAN: Code = sct("373098007", "Mean");
pub const STANDARD_DEVIATION: Code = sct("386136009", "Standard Deviation");
pub const MINIMUM: Code = sct("255605001", "Minimum");
pub const MAXIMUM: Code = sct("56851009", "Maximum");
pub const MEDIAN: Code = sct("373099004", "Median");

/// What the values of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// CT: attenuation in Hounsfield units.
    Hounsfield,
    /// MR: signal in the arbitrary unit of the scanner.
    MrSignal,
    /// PET: standardised uptake value by body weight, g/ml.
    SuvBw,
    /// PET: activity concentration, Bq/ml.
    Becquerel,
    /// PET in a unit of its maker.
    PetOther,
}

impl Quantity {
    /// What PET is in, by Units (0054,1001) and SUV Type (0054,1006).
    pub fn of_pet(units: &str, suv_type: &str) -> Quantity {
        match (units.trim(), suv_type.trim()) {
            ("BQML", _) => Quantity::Becquerel,
            ("GML", "" | "BW") => Quantity::SuvBw,
            _ => Quantity::PetOther,
        }
    }

    /// The name of a measurement of it.
    pub const fn concept(self) -> Code {
        match self {
            Quantity::Hounsfield => dcm("112031", "Attenuation Coefficient"),
            Quantity::MrSignal => dcm("110852", "MR signal intensity"),
            Quantity::SuvBw => dcm("126401", "SUVbw"),
            Quantity::Becquerel | Quantity::PetOther => dcm("110821", "Nuclear Medicine Tomographic Activity"),
        }
    }

    /// The unit, in UCUM.
    pub const fn unit(self) -> Code {
        match self {
            Quantity::Hounsfield => unit("[hnsf'U]", "Hounsfield unit"),
            Quantity::MrSignal => unit("[arb'U]", "arbitrary unit"),
            Quantity::SuvBw => unit("g/ml{SUVbw}", "Standardized Uptake Value body weight"),
            Quantity::Becquerel => unit("Bq/ml", "Becquerels/milliliter"),
            Quantity::PetOther => unit("1", "no units"),
        }
    }

    /// PS3.16 CID 29.
    pub const fn modality(self) -> Code {
        match self {
            Quantity::Hounsfield => dcm("CT", "Computed Tomography"),
            Quantity::MrSignal => dcm("MR", "Magnetic Resonance"),
            Quantity::SuvBw | Quantity::Becquerel | Quantity::PetOther => dcm("PT", "Positron emission tomography"),
        }
    }

    /// PS3.16 CID 100. The images do not say which part of the body they show.
    pub const fn procedure(self) -> Code {
        match self {
            Quantity::Hounsfield => Code::new("25045-6", "LN", "CT unspecified body region"),
            Quantity::MrSignal => Code::new("25056-3", "LN", "MR unspecified body region"),
            Quantity::SuvBw | Quantity::Becquerel | Quantity::PetOther => {
                Code::new("44136-0", "LN", "PET unspecified body region")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn pet_is_what_its_units_say() {
        assert_eq!(Quantity::of_pet("BQML", ""), Quantity::Becquerel);
        assert_eq!(Quantity::of_pet("GML ", "BW"), Quantity::SuvBw);
        // SUV by lean body mass is not SUV by body weight.
        assert_eq!(Quantity::of_pet("GML", "LBM"), Quantity::PetOther);
        assert_eq!(Quantity::of_pet("CNTS", ""), Quantity::PetOther);
    }
}
