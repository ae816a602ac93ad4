//! Inputs as an author writes them, right and wrong, and what is said about each.

use super::*;
use crate::document::{self, Problem};

/// The inputs, or the messages.
fn parse(text: &str) -> Result<Vec<Input>, Vec<String>> {
    let mut problems = Problems::of("p.json");
    let node = document::parse(text, &mut problems).expect("JSON");
    let inputs = parse_inputs(&node, &mut problems);
    let told: Vec<String> = problems.into_vec().iter().map(Problem::to_string).collect();
    if told.is_empty() { Ok(inputs) } else { Err(told) }
}

#[test]
fn reads_several_inputs_and_makes_the_first_the_primary() {
    let inputs = parse(
        r#"{"ct": {}, "pet": {"optional": true, "wait_s": 60, "pick": "first", "by": "study_date", "frame": "any"},
            "rs": {"structures": {"Lung_L": ["Lung_L", " lung_left "], "Lungs": {"union": ["lung_l", "lung_r"]}}}}"#,
    );
    let inputs = inputs.expect("the inputs are good");
    assert_eq!(inputs.iter().map(|input| input.primary).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!((inputs[0].picking, inputs[0].frame, inputs[0].optional), (Picking::default(), Frame::Same, false));
    let pet = &inputs[1];
    assert_eq!((pet.picking.pick, pet.picking.by, pet.frame), (Pick::First, By::StudyDate, Frame::Any));
    assert_eq!((pet.optional, pet.wait_s), (true, Some(60.0)));
    let rule = |label: &str, names: [&str; 2], union| AliasRule {
        label: label.to_owned(),
        names: names.map(str::to_owned).to_vec(),
        union,
    };
    let expected = [rule("Lung_L", ["Lung_L", "lung_left"], false), rule("Lungs", ["lung_l", "lung_r"], true)];
    assert_eq!(inputs[2].aliases(), expected);
    let inputs = parse(r#"{"pet": {}, "ct": {"primary": true}}"#).expect("good");
    assert_eq!(inputs.iter().map(|input| input.primary).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn tells_what_is_wrong_and_what_to_do() {
    for (text, expected) in [
        (
            r#"{"ct": {"optional": true}, "pet": {}}"#,
            r#"p.json:1: ct: found a primary input that is optional, expected one that is always there; remove "optional", or mark another input with "primary": true"#,
        ),
        (
            r#"{"rs": {"structures": {"A": ["a"]}}, "ct": {}}"#,
            r#"p.json:1: rs: found structures as the first input, expected images, whose grid the result has; let the images stand first, or mark them with "primary": true"#,
        ),
        (
            r#"{"ct": {"primary": true}, "pet": {"primary": true}}"#,
            "p.json:1: pet: found a second primary input, expected one, whose grid the result has",
        ),
        (
            r#"{"ct": {}, "pet": {"wait_s": 3}}"#,
            r#"p.json:1: pet.wait_s: found a wait for an input that must come, expected one for an optional input; add "optional": true, or remove it"#,
        ),
        (
            r#"{"ct": {}, "pet": {"pick": "newst"}}"#,
            r#"p.json:1: pet.pick: found "newst", expected one of first, last, newest, only; did you mean "newest"?"#,
        ),
        (
            r#"{"ct": {}, "pet": {"by": "study_date"}}"#,
            r#"p.json:1: pet.by: found "by" without "pick" first or last, expected a pick that has an order; add "pick": "last", or remove it"#,
        ),
        (
            r#"{"ct": {}, "pet": {"frame": "other"}}"#,
            r#"p.json:1: pet.frame: found "other", expected one of same, any"#,
        ),
        (
            r#"{"ct": {}, "pet": {"optionl": true}}"#,
            r#"p.json:1: pet.optionl: found the unknown key "optionl", expected only the keys all, any, none, slices, geometry, unit, volumes, structures, primary, optional, wait_s, pick, by, frame, drawn_on, fetch; did you mean "optional"?"#,
        ),
        (
            r#"{"ct": {}, "pet": {}, "rs": {"structures": {"A": ["a"]}, "drawn_on": "pett"}}"#,
            r#"p.json:1: rs: found "drawn_on": "pett", expected primary, any or an input of images: ct, pet"#,
        ),
        (
            r#"{"ct": {}, "pet": {"drawn_on": "ct"}}"#,
            r#"p.json:1: pet.drawn_on: found "drawn_on" of images, expected it beside "structures" only; remove it"#,
        ),
        (
            r#"{"ct": {}, "rs": {"structures": {"A": "a"}}}"#,
            r#"p.json:1: rs.structures.A: found the text "a", expected a list of the names that it may have, or {"union": [names]} to join them"#,
        ),
        (
            r#"{"ct": {}, "rs": {"structures": {"A": []}}}"#,
            "p.json:1: rs.structures.A: found 0 names, expected 1 to 256 names",
        ),
        (
            r#"{"ct": {}, "rs": {"structures": {"A": ["Heart", "HEART"]}}}"#,
            r#"p.json:1: rs.structures.A[1]: found "HEART" a second time, expected each name once: case makes no difference; remove it"#,
        ),
        (
            r#"{"ct": {}, "rs": {"structures": {"A:B": ["a"]}}}"#,
            r#"p.json:1: rs.structures.A:B: found "A:B", expected a name of 1 to 256 characters without a colon"#,
        ),
        (
            r#"{"ct": {}, "rs": {"structures": {"A": {"unoin": ["a"]}}}}"#,
            r#"p.json:1: rs.structures.A.unoin: found the unknown key "unoin", expected only the keys union; did you mean "union"?"#,
        ),
        (
            r#"{"ct": {}, "rs": {"structures": {}, "slices": {"min": 3}}}"#,
            r#"p.json:1: rs.slices: found a condition on images, expected none beside "structures"; remove it"#,
        ),
    ] {
        let told = parse(text).expect_err("something is wrong");
        assert!(told.contains(&expected.to_owned()), "{text}\n{told:#?}\n{expected}");
    }
}
