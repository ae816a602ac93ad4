//! The definition of a model, `model.json`: what it is, and the recipe by which it is applied; it reads no files.

use super::parse_id;
use crate::document::{Fields, Node, Problems};
use crate::infer::Recipe;
use crate::limits::MODEL_TEXT_LENGTH_MAX;

/// A checked model definition. Whether the network file exists and has the digest is for whoever reads the folder.
#[derive(Clone)]
pub struct Model {
    id: String,
    name: String,
    version: String,
    licence: String,
    reference: String,
    intended_use: String,
    algorithm: Algorithm,
    recipe: Recipe,
}

/// The family of the algorithm, for Segmentation Algorithm Identification and for people (PS3.16 CID 7162).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Learned from data: (123109, DCM, "Artificial Intelligence").
    ArtificialIntelligence,
    /// Written down by people: thresholds, morphology.
    Deterministic,
}

impl Algorithm {
    /// Every family with its word.
    pub const WORDS: [(&'static str, Algorithm); 2] =
        [("artificial_intelligence", Algorithm::ArtificialIntelligence), ("deterministic", Algorithm::Deterministic)];
}

impl Model {
    /// Parses one `model.json`. All problems are told at once; `None` when there are any.
    pub fn parse(node: &Node, problems: &mut Problems) -> Option<Model> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        fields.optional("$schema");
        // What an importer found and no run needs: kept for people, whatever it is.
        fields.optional("origin");
        fields.optional("weights").and_then(|weights| weights.text(problems));
        let id = fields.required("id", problems).and_then(|id| parse_id(id, problems));
        let name = text(&mut fields, "name", problems);
        let version = text(&mut fields, "version", problems);
        let licence = text(&mut fields, "licence", problems);
        let reference = text(&mut fields, "reference", problems);
        let intended_use = text(&mut fields, "intended_use", problems);
        let algorithm =
            fields.required("algorithm", problems).and_then(|word| word.choice(&Algorithm::WORDS, problems));
        let recipe = Recipe::parse(&mut fields, problems);
        fields.finish(problems);
        if problems.count() > before {
            return None;
        }
        Some(Model {
            id: id?,
            name: name?,
            version: version?,
            licence: licence?,
            reference: reference?,
            intended_use: intended_use?,
            algorithm: algorithm?,
            recipe: recipe?,
        })
    }

    /// The name of its folder, by which pipelines refer to it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name for people, and for the structure set's algorithm name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version for people, and for the structure set's algorithm version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 digests of its networks, in their order, with commas between; a network without weights has none.
    pub fn digests(&self) -> String {
        let digests: Vec<&str> =
            self.recipe.networks().iter().filter_map(|network| network.sha256.as_deref()).collect();
        digests.join(",")
    }

    /// Whether the digests of all its networks are known, which they are once its weights were installed.
    pub fn is_installed(&self) -> bool {
        self.recipe.networks().iter().all(|network| network.sha256.is_some())
    }

    /// Licence of the network, an SPDX expression where there is one.
    pub fn licence(&self) -> &str {
        &self.licence
    }

    /// Where the method is described.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// What it may be used for, and what not.
    pub fn intended_use(&self) -> &str {
        &self.intended_use
    }

    /// The family of the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How it is applied.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
}

fn text<'a>(fields: &mut Fields<'a>, key: &'a str, problems: &mut Problems) -> Option<String> {
    let node = fields.required(key, problems)?;
    let text = node.text(problems)?;
    if text.is_empty() || text.len() > MODEL_TEXT_LENGTH_MAX {
        problems.add(node, format!("a text of {} bytes", text.len()), format!("1 to {MODEL_TEXT_LENGTH_MAX} bytes"));
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problem};

    const GOOD: &str = r#"{
      "id": "m", "name": "M", "version": "1", "file": "model.onnx", "licence": "Apache-2.0",
      "sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
      "reference": "none", "intended_use": "tests", "algorithm": "deterministic",
      "inputs": {"ct": {"pre": [{"op": "clip", "low": -1000, "high": 1000}]}},
      "tensor": {"layout": "NCDHW"},
      "window": {"patch": [32, "all", "all"], "overlap": 0.5, "blend": "gaussian"},
      "output": {"activation": "softmax", "decision": "argmax", "labels": {"a": 1, "b": 2}},
      "post": {"c": [{"op": "take", "of": ["a", "b"]}, {"op": "largest_component"}]},
      "structures": ["c", "a"]
    }"#;

    fn check(text: &str) -> (Option<Model>, Vec<String>) {
        let mut problems = Problems::of("model.json");
        let model = document::parse(text, &mut problems).and_then(|node| Model::parse(&node, &mut problems));
        (model, problems.into_vec().iter().map(Problem::to_string).collect())
    }

    #[test]
    fn takes_a_whole_definition() {
        let (model, told) = check(GOOD);
        assert_eq!(told, Vec::<String>::new());
        let model = model.expect("a model");
        assert_eq!(model.recipe().structures(), ["c", "a"]);
        assert_eq!(model.recipe().input_names().collect::<Vec<_>>(), ["ct"]);
        assert_eq!(model.algorithm(), Algorithm::Deterministic);
    }

    #[test]
    fn tells_every_problem_at_once() {
        let bad = GOOD
            .replace("\"model.onnx\"", "\"../model.onnx\"")
            .replace("0123456789abcdef\"", "\"")
            .replace("\"gaussian\"", "\"gausian\"")
            .replace("[\"a\", \"b\"]", "[\"a\", \"B\"]")
            .replace("\"licence\"", "\"license\"");
        let (model, told) = check(&bad);
        assert!(model.is_none());
        let expected = [
            "file: found the text \"../model.onnx\"",
            "64 hexadecimal digits",
            "found no \"licence\"",
            "did you mean \"gaussian\"?",
            "post.c[0].of[1]: found \"B\", expected one of a, b; did you mean \"b\"?",
            "license: found the unknown key \"license\"",
        ];
        for part in expected {
            assert!(told.iter().any(|line| line.contains(part)), "{part} in {told:#?}");
        }
    }

    #[test]
    fn refuses_structures_that_nothing_makes() {
        let (_, told) = check(&GOOD.replace("[\"c\", \"a\"]", "[\"lung\"]"));
        assert_eq!(told, ["model.json:10: structures[0]: found \"lung\", expected one of a, b, c"]);
    }
}
