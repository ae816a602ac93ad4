//! Names of models and structures: CERR's labels as TG-263 names, file names as ids; it changes no label of a model.

use serde_json::{Value as Json, json};

use crate::limits::ID_LENGTH_MAX;
use crate::structure;

/// Labels of published CERR models and their names in TG-263, where the two differ by more than case.
const TG_263: [(&str, &str); 54] = [
    ("AORTA", "A_Aorta"),
    ("LA", "Atrium_L"),
    ("RA", "Atrium_R"),
    ("LV", "Ventricle_L"),
    ("RV", "Ventricle_R"),
    ("ATRIA", "Atrium"),
    ("VENTRICLES", "Ventricle"),
    ("PA", "A_Pulmonary"),
    ("SVC", "V_Venacava_S"),
    ("IVC", "V_Venacava_I"),
    ("Inferior_vena_cava", "V_Venacava_I"),
    ("Superior_vena_cava", "V_Venacava_S"),
    ("Left_masseter", "Musc_Masseter_L"),
    ("Right_masseter", "Musc_Masseter_R"),
    ("Left_medial_pterygoid", "Pterygoid_Med_L"),
    ("Right_medial_pterygoid", "Pterygoid_Med_R"),
    ("Larynx_DLabV3", "Larynx"),
    ("Constrictor_muscle", "Musc_Constrict"),
    ("Left_Parotid", "Parotid_L"),
    ("Right_Parotid", "Parotid_R"),
    ("Left_Submandibular", "Glnd_Submand_L"),
    ("Right_Submandibular", "Glnd_Submand_R"),
    ("Mandible", "Bone_Mandible"),
    ("Brain_stem", "Brainstem"),
    ("Spinal_cord", "SpinalCord"),
    ("Cord", "SpinalCord"),
    ("Oral_cavity", "Cavity_Oral"),
    ("Lung_Left", "Lung_L"),
    ("Lung_Right", "Lung_R"),
    ("lung_r", "Lung_R"),
    ("Lung", "Lungs"),
    ("PBT", "AirWay_Prox"),
    ("Bladder_O_DLV3", "Bladder"),
    ("Rectum_O_DLV3", "Rectum"),
    ("Penile_Bulb_DLV3", "PenileBulb"),
    ("Urethra_Foley_DLV3", "Urethra"),
    ("CTV_PROST_DLV3", "Prostate"),
    ("Bowel_Lg_DLV3", "Bowel_Large"),
    ("Rectal_Spacer_DLV3", "Rectal_Spacer"),
    ("Bladder_O", "Bladder"),
    ("Rectum_O", "Rectum"),
    ("Penile_Bulb", "PenileBulb"),
    ("Bowel_lg", "Bowel_Large"),
    ("Bowel_sm", "Bowel_Small"),
    ("Bowel_sm_CBCT", "Bowel_Small"),
    ("Bowel_sm_planCT", "Bowel_Small"),
    ("Kidney_Left", "Kidney_L"),
    ("Kidney_Right", "Kidney_R"),
    ("Adrenal_gland_Left", "Glnd_Adrenal_L"),
    ("Adrenal_gland_Right", "Glnd_Adrenal_R"),
    ("portal_splenic_vein", "V_PortalSplenic"),
    ("Stomach_duo_CBCT", "Stomach_Duo"),
    ("lung_nodules", "LungNodules"),
    ("Brain_mets", "BrainMets"),
];

/// Colours for structures that no table knows, one after the other.
const COLORS: [[u8; 3]; 6] =
    [[230, 60, 60], [60, 160, 230], [240, 190, 40], [150, 90, 200], [60, 190, 110], [230, 120, 170]];

fn folded(label: &str) -> String {
    label.trim().to_ascii_lowercase().replace([' ', '-'], "_")
}

/// The name that a planning system should see: TG-263 where it is known, else the label without what systems refuse.
pub(super) fn standard(label: &str) -> String {
    let key = folded(label);
    if let Some((_, name)) = TG_263.iter().find(|(known, _)| folded(known) == key) {
        return (*name).to_owned();
    }
    if let Some(known) = structure::lookup(label.trim()) {
        return known.name.to_owned();
    }
    let legal = |c: char| if c.is_ascii_alphanumeric() || "_-+~^.()".contains(c) { c } else { '_' };
    label.trim().chars().map(legal).take(16).collect()
}

/// The rule of one structure of a pipeline: name, and type and colour where no table gives them.
pub(super) fn rule(label: &str, taken: &mut Vec<String>) -> Json {
    let mut name = standard(label);
    let is_taken = |name: &str, taken: &[String]| taken.iter().any(|other| other.eq_ignore_ascii_case(name));
    // Two labels of one name would be one structure for a planning system.
    if name.is_empty() || is_taken(&name, taken) {
        let number = (2..).find(|number| !is_taken(&numbered(&name, *number), taken)).unwrap_or(2);
        name = numbered(&name, number);
    }
    taken.push(name.clone());
    if structure::lookup(&name).is_some() {
        return json!({"name": name});
    }
    let key = folded(label);
    let has = |parts: &[&str]| parts.iter().any(|part| key.contains(part));
    let kind = if key.starts_with("ctv") {
        "CTV"
    } else if key.starts_with("ptv") {
        "PTV"
    } else if has(&["gtv", "tumor", "tumour", "nodule", "met", "lesion"]) {
        "GTV"
    } else {
        "ORGAN"
    };
    let color = COLORS[(taken.len() - 1) % COLORS.len()];
    json!({"name": name, "type": kind, "color": color})
}

/// The rule of what is found any number of times.
pub(super) fn rule_of_parts(taken: &mut Vec<String>) -> Json {
    let name = "Lesion_#";
    taken.push(name.to_owned());
    json!({"name": name, "each": true, "type": "GTV", "color": COLORS[(taken.len() - 1) % COLORS.len()]})
}

fn numbered(name: &str, number: usize) -> String {
    let ending = format!("_{number}");
    let stem: String = name.chars().take(16 - ending.len()).collect();
    if stem.is_empty() { format!("ROI{ending}") } else { format!("{stem}{ending}") }
}

/// The name of the algorithm: that of the file without its ending.
pub(super) fn algorithm(file: &str) -> String {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stem = name.strip_suffix(".json").unwrap_or(name);
    stem.replace("_config", "").trim_matches('_').to_owned()
}

/// An id in lower case with hyphens.
pub(super) fn id(algorithm: &str) -> String {
    let mut id = String::new();
    for c in algorithm.chars() {
        if c.is_ascii_alphanumeric() {
            id.push(c.to_ascii_lowercase());
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    id.truncate(ID_LENGTH_MAX);
    let id = id.trim_end_matches('-');
    if id.is_empty() { "model".to_owned() } else { id.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{NameRules, RoiStyle, RoiType, check_names};

    #[test]
    fn labels_become_names_that_planning_systems_take() {
        let labels =
            ["Left Parotid", "Cord", "lung_l", "lung nodules", "HEART", "structure_name1", "Gross tumor volume (T2)"];
        let names: Vec<String> = labels.iter().map(|label| standard(label)).collect();
        let expected =
            ["Parotid_L", "SpinalCord", "Lung_L", "LungNodules", "Heart", "structure_name1", "Gross_tumor_volu"];
        assert_eq!(names, expected);
        let style =
            |name: &String| RoiStyle { name: name.clone(), roi_type: RoiType::Organ, color: structure::Color([0; 3]) };
        assert_eq!(check_names(&names.iter().map(style).collect::<Vec<_>>(), NameRules::default()), []);
    }

    #[test]
    fn every_name_of_the_table_is_short_enough_and_two_labels_never_share_one() {
        assert!(TG_263.iter().all(|(_, name)| name.len() <= 16));
        let mut taken = Vec::new();
        let rules = ["Cord", "Spinal cord", "Lesion"].map(|label| rule(label, &mut taken));
        assert_eq!(taken, ["SpinalCord", "SpinalCord_2", "Lesion"]);
        assert_eq!(rules[2]["type"], "GTV");
    }

    #[test]
    fn ids_are_made_of_file_names() {
        for (file, expected) in [
            ("a/CT_HeartStructure_DeepLab_config.json", "ct-heartstructure-deeplab"),
            ("CT_Atria_DeepLab_config_new1.json", "ct-atria-deeplab-new1"),
            ("2DMR_Brain_VNet_config.json", "2dmr-brain-vnet"),
            ("__config.json", "model"),
        ] {
            assert_eq!(id(&algorithm(file)), expected);
        }
    }
}
