//! Names of other programs to those of this one: ids, and TG-263 names of structures; it invents no meaning.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::limits::ID_LENGTH_MAX;
use crate::structure;

/// Roots of names that networks use, without the side, and the TG-263 root (AAPM 2018) or, where it has none, a name by
/// its rules. The list holds the 117 classes of TotalSegmentator's task `total` and usual spellings of public data sets.
const ROOTS: &[(&str, &str)] = &[
    ("adrenal_gland", "Glnd_Adrenal"),
    ("aorta", "A_Aorta"),
    ("atrial_appendage", "AtrialAppend"),
    ("autochthon", "Musc_Autochth"),
    ("bladder", "Bladder"),
    ("brachiocephalic_trunk", "A_Brachiocephls"),
    ("brachiocephalic_vein", "V_Brachioceph"),
    ("brain", "Brain"),
    ("brain_stem", "Brainstem"),
    ("brainstem", "Brainstem"),
    ("clavicula", "Clavicle"),
    ("colon", "Colon"),
    ("common_carotid_artery", "A_Carotid"),
    ("costal_cartilages", "Cartlg_Costal"),
    ("duodenum", "Duodenum"),
    ("esophagus", "Esophagus"),
    ("femur", "Femur"),
    ("gall_bladder", "Gallbladder"),
    ("gallbladder", "Gallbladder"),
    ("gluteus_maximus", "Musc_GlutMax"),
    ("gluteus_medius", "Musc_GlutMed"),
    ("gluteus_minimus", "Musc_GlutMin"),
    ("heart", "Heart"),
    ("hip", "Bone_Pelvic"),
    ("hippocampus", "Hippocampus"),
    ("humerus", "Humerus"),
    ("iliac_artery", "A_Iliac"),
    ("iliac_vena", "V_Iliac"),
    ("iliopsoas", "Musc_Iliopsoas"),
    ("inferior_vena_cava", "V_Venacava_I"),
    ("ivc", "V_Venacava_I"),
    ("kidney", "Kidney"),
    ("kidney_cyst", "Kidney_Cyst"),
    ("liver", "Liver"),
    ("lung", "Lung"),
    ("mandible", "Bone_Mandible"),
    ("myocardium", "Myocardium"),
    ("oesophagus", "Esophagus"),
    ("optic_nerve", "OpticNrv"),
    ("pancreas", "Pancreas"),
    ("parotid", "Parotid"),
    ("parotid_gland", "Parotid"),
    ("portal_and_splenic_veins", "V_PortalSplenic"),
    ("portal_vein_and_splenic_vein", "V_PortalSplenic"),
    ("prostate", "Prostate"),
    ("pulmonary_vein", "V_Pulmonary"),
    ("rectum", "Rectum"),
    ("sacrum", "Sacrum"),
    ("scapula", "Scapula"),
    ("skull", "Skull"),
    ("small_bowel", "Bowel_Small"),
    ("spinal_cord", "SpinalCord"),
    ("spleen", "Spleen"),
    ("sternum", "Sternum"),
    ("stomach", "Stomach"),
    ("subclavian_artery", "A_Subclavian"),
    ("submandibular_gland", "Glnd_Submand"),
    ("superior_vena_cava", "V_Venacava_S"),
    ("svc", "V_Venacava_S"),
    ("thyroid_gland", "Glnd_Thyroid"),
    ("trachea", "Trachea"),
    ("urinary_bladder", "Bladder"),
];

/// Lobes have names of their own; the side is in them.
const LOBES: &[(&str, &str)] = &[
    ("lung_upper_lobe_left", "Lung_LUL"),
    ("lung_lower_lobe_left", "Lung_LLL"),
    ("lung_upper_lobe_right", "Lung_RUL"),
    ("lung_middle_lobe_right", "Lung_RML"),
    ("lung_lower_lobe_right", "Lung_RLL"),
];

/// A name for files, steps and slots: what is not a letter, digit, `-`, `_` or `.` becomes `_`.
pub(super) fn id_of(text: &str) -> String {
    let legal = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' };
    let id: String = text.trim().chars().map(legal).take(ID_LENGTH_MAX).collect();
    let id = id.trim_start_matches(['.', '-', '_']).to_ascii_lowercase();
    if id.is_empty() { "unnamed".to_owned() } else { id }
}

/// Ids for texts, in their order, each another one, none of them `structures` (a word of steps).
pub(super) fn distinct_ids<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::from(["structures".to_owned()]);
    texts.map(|text| numbered(&id_of(text), ID_LENGTH_MAX, &mut taken)).collect()
}

/// The names and styles by which a pipeline delivers labels: TG-263 where the label is known, else the label itself as far
/// as planning systems take it (16 characters). The second value lists the labels that are not known.
pub(super) fn styles<'a>(labels: impl Iterator<Item = &'a str>) -> (Vec<(String, Value)>, Vec<String>) {
    let (mut taken, mut rules, mut unknown) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (index, label) in labels.enumerate() {
        let wanted = standard_name(label);
        if wanted.is_none() {
            unknown.push(label.to_owned());
        }
        let name = numbered(&wanted.unwrap_or_else(|| legal_name(label)), 16, &mut taken);
        let known = structure::lookup(&name).is_some();
        let rule = if known {
            json!({ "name": name })
        } else {
            json!({ "name": name, "type": kind_of(label), "color": color_of(index) })
        };
        rules.push((label.to_owned(), rule));
    }
    (rules, unknown)
}

/// The standard name of a label: a TG-263 name as it is, or one of [`ROOTS`] with its side.
pub(super) fn standard_name(label: &str) -> Option<String> {
    if let Some(known) = structure::lookup(label) {
        return Some(known.name.to_owned());
    }
    let folded: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if let Some((_, name)) = LOBES.iter().find(|(key, _)| *key == folded) {
        return Some((*name).to_owned());
    }
    let side = |word: &&str| ["left", "right", "l", "r"].contains(word);
    let words: Vec<&str> = folded.split('_').filter(|word| !word.is_empty()).collect();
    let sides: Vec<&str> = words.iter().copied().filter(|word| side(word)).collect();
    let root = words.iter().copied().filter(|word| !side(word)).collect::<Vec<_>>().join("_");
    let suffix = match sides.as_slice() {
        [] => "",
        [one] if one.starts_with('l') => "_L",
        [_] => "_R",
        _ => return None,
    };
    if let Some(number) = root.strip_prefix("rib_").and_then(|number| number.parse::<u8>().ok()) {
        return (!suffix.is_empty()).then(|| format!("Rib{number:02}{suffix}"));
    }
    if let Some(name) = vertebra(&root).filter(|_| suffix.is_empty()) {
        return Some(name);
    }
    let name = ROOTS.iter().find(|(key, _)| *key == root).map(|(_, name)| format!("{name}{suffix}"))?;
    // Both kidneys as one label have no side; a name that exists only with one is not made up without it.
    let one_sided = suffix.is_empty() && structure::lookup(&format!("{name}_L")).is_some();
    (!one_sided || structure::lookup(&name).is_some()).then_some(name)
}

fn vertebra(root: &str) -> Option<String> {
    let name = root.strip_prefix("vertebrae_").or_else(|| root.strip_prefix("vertebra_"))?;
    let (region, number) = name.split_at_checked(1)?;
    let number = number.parse::<u8>().ok()?;
    match region {
        "t" => Some(format!("VB_T{number:02}")),
        "c" | "l" | "s" => Some(format!("VB_{}{number}", region.to_ascii_uppercase())),
        _ => None,
    }
}

/// What planning systems take: letters, digits and underscores, 16 of them.
fn legal_name(label: &str) -> String {
    let folded: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name: String = folded.trim_matches('_').chars().take(16).collect();
    if name.is_empty() { "Structure".to_owned() } else { name }
}

/// The name, or with a number at its end where the name is taken (irrespective of case, as planning systems compare).
fn numbered(name: &str, longest: usize, taken: &mut BTreeSet<String>) -> String {
    let mut candidate: String = name.chars().take(longest).collect();
    let mut number = 2;
    while !taken.insert(candidate.to_ascii_lowercase()) {
        let tail = format!("_{number}");
        candidate = name.chars().take(longest - tail.len()).collect::<String>() + &tail;
        number += 1;
    }
    candidate
}

/// What a network finds of disease is not an organ, and not yet a target volume that a person has drawn.
fn kind_of(label: &str) -> &'static str {
    let folded = label.to_ascii_lowercase();
    let disease =
        ["tumor", "tumour", "lesion", "cancer", "cyst", "edema", "oedema", "necro", "nodule", "metast", "gtv"];
    if disease.iter().any(|word| folded.contains(word)) { "UNSPECIFIED" } else { "ORGAN" }
}

/// Colours that differ: steps of the golden angle around the circle of hues.
fn color_of(index: usize) -> [u8; 3] {
    let hue = (index as f64 * 137.507_764) % 360.0 / 60.0;
    let rising = (255.0 * (1.0 - (hue % 2.0 - 1.0).abs())).round() as u8;
    match hue as usize {
        0 => [255, rising, 40],
        1 => [rising, 255, 40],
        2 => [40, 255, rising],
        3 => [40, rising, 255],
        4 => [rising, 40, 255],
        _ => [255, 40, rising],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_usual_names_with_their_side() {
        for (label, name) in [
            ("spleen", Some("Spleen")),
            ("Right Kidney", Some("Kidney_R")),
            ("kidney_left", Some("Kidney_L")),
            ("vertebrae_T9", Some("VB_T09")),
            ("vertebrae_L5", Some("VB_L5")),
            ("rib_left_3", Some("Rib03_L")),
            ("lung_middle_lobe_right", Some("Lung_RML")),
            ("Lung_L", Some("Lung_L")),
            ("IVC", Some("V_Venacava_I")),
            ("kidney", None),
            ("whole tumor", None),
        ] {
            assert_eq!(standard_name(label).as_deref(), name, "{label}");
        }
    }

    #[test]
    fn names_of_one_set_differ_and_are_short() {
        let labels = ["a very long name of a structure", "a very long name of another", "A_very_long_name", "spleen"];
        let (rules, unknown) = styles(labels.into_iter());
        let names: Vec<&str> = rules.iter().filter_map(|(_, rule)| rule["name"].as_str()).collect();
        assert_eq!(names, ["a_very_long_name", "a_very_long_na_2", "A_very_long_na_3", "Spleen"]);
        assert_eq!(unknown.len(), 3);
    }

    #[test]
    fn ids_name_files() {
        assert_eq!(id_of("Task 09/Spleen"), "task_09_spleen");
        assert_eq!(distinct_ids(["T1", "t1", "structures"].into_iter()), ["t1", "t1_2", "structures_2"]);
    }
}
