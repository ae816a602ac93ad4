//! The files of networks that a model names, with their digests; it opens none.

use crate::document::{Fields, Node, Problems};
use crate::limits::{ID_LENGTH_MAX, MODEL_NETWORKS_MAX};

use super::window::View;

/// One ONNX file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// Its name, in the folder of the model.
    pub file: String,
    /// SHA-256, 64 lower-case hexadecimal digits; `None` while its weights are not installed.
    pub sha256: Option<String>,
    /// The view that it was trained for; `None`: all.
    pub(in crate::infer) view: Option<View>,
}

/// Takes `file` and `sha256`, or `networks`, out of the fields of a stage.
pub(super) fn parse_networks(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<NetworkFile> {
    let node = fields.node();
    let (file, digest, list) = (fields.optional("file"), fields.optional("sha256"), fields.optional("networks"));
    let Some(list) = list else {
        if file.is_none() || digest.is_none() {
            let expected = "the keys \"file\" and \"sha256\", or \"networks\"";
            let found = if file.is_none() { "no \"file\"" } else { "no \"sha256\"" };
            problems.add(node, found, expected);
        }
        let file = file.and_then(|file| parse_file(file, problems));
        let digest = digest.and_then(|digest| parse_digest(digest, problems));
        return file.zip(digest).map(|(file, sha256)| NetworkFile { file, sha256, view: None }).into_iter().collect();
    };
    if file.is_some() || digest.is_some() {
        problems.add_with_cure(list, "\"networks\" beside \"file\"", "one of them", "move the file into the list");
    }
    let items = list.array(problems).unwrap_or_default();
    if items.is_empty() || items.len() > MODEL_NETWORKS_MAX {
        problems.add(list, list.describe(), format!("1 to {MODEL_NETWORKS_MAX} networks"));
    }
    items.iter().filter_map(|item| parse_one(item, problems)).collect()
}

fn parse_one(node: &Node, problems: &mut Problems) -> Option<NetworkFile> {
    let mut fields = node.object(problems)?;
    let file = fields.required("file", problems).and_then(|file| parse_file(file, problems));
    let sha256 = fields.required("sha256", problems).and_then(|digest| parse_digest(digest, problems));
    let view = fields.optional("view").map(|view| view.choice(&View::WORDS, problems));
    fields.finish(problems);
    let view = match view {
        Some(view) => Some(view?),
        None => None,
    };
    Some(NetworkFile { file: file?, sha256: sha256?, view })
}

/// A plain file name: a model never reaches outside its folder.
fn parse_file(node: &Node, problems: &mut Problems) -> Option<String> {
    let name = node.text(problems)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let plain = !name.is_empty() && name.len() <= ID_LENGTH_MAX && name.bytes().all(legal) && !name.starts_with('.');
    if !plain || !name.ends_with(".onnx") {
        problems.add(node, node.describe(), "the name of an .onnx file in the same folder");
        return None;
    }
    Some(name.to_owned())
}

/// A digest, or `null` for weights that are not installed.
fn parse_digest(node: &Node, problems: &mut Problems) -> Option<Option<String>> {
    if node.value == crate::document::Value::Null {
        return Some(None);
    }
    let digest = node.text(problems)?.to_ascii_lowercase();
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let cure = "take what `sha256sum` prints for the file, or null until `contourd model install` puts it in place";
        problems.add_with_cure(node, node.describe(), "64 hexadecimal digits", cure);
        return None;
    }
    Some(Some(digest))
}
