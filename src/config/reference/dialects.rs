//! The part of the reference about dialects and templates: keys, the values of every dialect, and where they come from.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Key, Object, key, words};
use crate::config::dialect;
use crate::contour::Holes;
use crate::limits::{COORDINATE_DECIMALS_MAX, TOLERANCE_PIXELS_MAX};
use crate::output::rtstruct::DIALECTS;
use crate::pipeline::WORDS;

pub(super) fn objects() -> Vec<Object> {
    let of_like = "that of `like`";
    let keys: Vec<Key> = vec![
        key("like", words(&dialect::words()), "`generic`", "the dialect whose values hold where nothing else is said"),
        key(
            "name_length",
            "8 to 64",
            of_like,
            "most characters of a structure's name; longer ones are shortened and told",
        ),
        key("name_spaces", "`true`, `false`", of_like, "whether names may have spaces inside; else they become `_`"),
        key("side_first", "`true`, `false`", "`false`", "names of TG-263 in reverse order: `L_Lung` for `Lung_L`"),
        key(
            "rename",
            "object: a name by the name in the pipeline; of `each` by that of the part, such as `GTVn1`",
            "none",
            "the site's own names, `{\"Lung_L\": \"Lunge_li\"}`",
        ),
        key("label_length", "1 to 16", of_like, "most characters of the Structure Set Label"),
        key(
            "contour_points",
            "16 to 10000000, or `null`",
            of_like,
            "points of one contour above which it is simplified; what then still has more is sent and told",
        ),
        key(
            "tolerance_pixels",
            format!("0 to {TOLERANCE_PIXELS_MAX}"),
            of_like,
            "how far simplifying may move a contour, in pixels; up to this no voxel changes",
        ),
        key(
            "holes",
            words(&Holes::ALL),
            of_like,
            "how structures with holes are written; a pipeline may say otherwise",
        ),
        key(
            "decimals",
            format!("1 to {COORDINATE_DECIMALS_MAX}"),
            of_like,
            "of coordinates in mm within a plane, one more on oblique planes; along the normal the image is repeated",
        ),
        key("empty", "`true`, `false`", of_like, "whether structures without contours are listed"),
        key("roi_creator", "`true`, `false`", of_like, "whether ROI Creator Sequence (3006,004D) names the device"),
    ];
    vec![(
        "dialect",
        "In a peer, in the place of a word. Destinations with the same choices share one structure set; others get \
         their own, with UIDs of its own.",
        keys,
    )]
}

/// The values of every dialect, and their sources.
pub(super) fn table() -> String {
    let mut text =
        "\n## Dialects\n\nWhere a maker publishes nothing, a dialect has the generic value as a precaution; \
                    commission each destination.\n\n| value |"
            .to_owned();
    // Writing to a String cannot fail.
    for entry in DIALECTS {
        let _ = write!(text, " `{}` |", entry.word);
    }
    text += "\n| --- |";
    text += &" --- |".repeat(DIALECTS.len());
    text += "\n";
    let columns: Vec<_> = DIALECTS.iter().map(|entry| entry.values()).collect();
    let mut sources: BTreeMap<(usize, &str), Vec<&str>> = BTreeMap::new();
    for row in 0..columns[0].len() {
        let _ = write!(text, "| `{}` |", columns[0][row].0);
        for (entry, column) in DIALECTS.iter().zip(&columns) {
            let (_, value, source) = &column[row];
            let _ = write!(text, " {value} |");
            sources.entry((row, source)).or_default().push(entry.word);
        }
        text += "\n";
    }
    text += "\n";
    for ((row, source), entries) in sources {
        let whose = if entries.len() == DIALECTS.len() { "all".to_owned() } else { entries.join(", ") };
        let _ = writeln!(text, "- `{}` of {whose}: {source}", columns[0][row].0);
    }
    text
}

/// A step that settles an overlap: a test parses it.
const OWNER: &str = r#"{ "id": "owned", "post": {
    "Lungs": [{"op": "take", "of": ["oar:Lungs"]}, {"op": "yields_to", "of": ["oar:Heart", "oar:GTV"]}] } }"#;

/// How structures that claim the same voxels are told apart.
pub(super) fn overlaps() -> String {
    format!(
        "\n## Overlaps\n\nA model with one label for each voxel makes no overlaps; several models together may, and so \
         does a model with overlapping labels. Structures may overlap in a structure set (a GTV lies in a lung), so nothing \
         is cut by itself. Where one is to own what several claim, a step says so: the operation `yields_to` takes from a \
         structure what the named ones claim too, always or where they are deeper (`docs/models.md`).\n\n```json\n{OWNER}\n\
         ```\n\n`structures` then names `owned:Lungs` in the place of `oar:Lungs`.\n"
    )
}

/// The words of templates.
pub(super) fn templates() -> String {
    let mut text = "\n## Templates\n\nText with words in braces: ".to_owned();
    text += &WORDS.iter().map(|(word, meaning)| format!("`{{{word}}}` ({meaning})")).collect::<Vec<_>>().join(", ");
    text += ". Lengths are those when they are filled in, and are checked when the file is read.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::OWNER;
    use crate::document::{self, Problems};
    use crate::pipeline::Pipeline;

    #[test]
    fn the_step_that_settles_an_overlap_is_one() {
        let text = format!(
            r#"{{"id": "p", "revision": 1, "mode": "shadow", "inputs": {{"ct": {{"slices": {{"min": 3}}}}}},
                "steps": [{{"id": "oar", "model": "oar", "in": {{"scan": "ct"}}}}, {OWNER}],
                "structures": {{"owned:Lungs": {{"name": "Lungs"}}}}, "outputs": [{{"rtstruct": {{"label": "A"}}}}]}}"#
        );
        let mut problems = Problems::of("p.json");
        let node = document::parse(&text, &mut problems).expect("JSON");
        let pipeline = Pipeline::parse(&node, &mut problems);
        assert!(pipeline.is_some(), "{:?}", problems.into_vec());
    }
}
