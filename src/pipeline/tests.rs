//! Pipelines as an author writes them, right and wrong, and what is said about each; it reads no files.

use super::*;
use crate::document::{self, Problem, Problems};

const GOOD: &str = r#"{
  "id": "thorax", "revision": 3, "mode": "live",
  "when": {"called_ae": ["CONTOURD"]},
  "inputs": {"ct": {"all": [{"tag": "Modality", "eq": "CT"}], "slices": {"min": 30}, "geometry": {"orientation": "axial"}}},
  "complete": {"quiet_s": 5},
  "steps": [{"id": "heart", "model": "ct-heart", "in": {"scan": "ct", "structures": ["lungs:Lung_L", "lungs:Lung_R"]}},
            {"id": "lungs", "model": "ct-lung", "in": {"scan": "ct"}}],
  "structures": {"lungs:Lung_L": {"name": "Lung_L", "type": "ORGAN", "color": [0, 128, 255]}},
  "outputs": [{"rtstruct": {"label": "AUTO"}}],
  "deliver": [{"to": "eclipse"}]
}"#;

/// The messages for the good file with one part replaced.
fn check(part: &str, by: &str) -> Vec<String> {
    assert!(GOOD.contains(part), "{part}");
    let mut problems = Problems::of("p.json");
    let node = document::parse(&GOOD.replacen(part, by, 1), &mut problems).expect("JSON");
    let pipeline = Pipeline::parse(&node, &mut problems);
    assert_eq!(pipeline.is_some(), problems.is_empty());
    problems.into_vec().iter().map(Problem::to_string).collect()
}

fn good() -> Pipeline {
    let mut problems = Problems::of("p.json");
    let node = document::parse(GOOD, &mut problems).expect("JSON");
    Pipeline::parse(&node, &mut problems).expect("the file is good")
}

#[test]
fn reads_a_pipeline_and_orders_its_steps() {
    let pipeline = good();
    assert_eq!((pipeline.id(), pipeline.revision(), pipeline.mode()), ("thorax", 3, Mode::Live));
    let ids: Vec<&str> = pipeline.steps().iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["lungs", "heart"]);
    assert!(matches!(&pipeline.primary().wants, Wants::Image { slices, .. } if slices.min == 30));
    assert_eq!(pipeline.deliver()[0].to[0].line, 10);
    let complete = pipeline.complete().over(&Completeness::default());
    assert_eq!((complete.quiet_s, complete.max_wait_s), (5.0, 900.0));
}

#[test]
fn refuses_cycles_and_what_is_not_there() {
    for (part, by, expected) in [
        (
            r#""model": "ct-lung", "in": {"scan": "ct"}"#,
            r#""model": "ct-lung", "in": {"scan": "ct", "structures": ["heart:Heart"]}"#,
            "p.json:6: steps: found a cycle: heart needs lungs needs heart, expected steps that need only what other steps made before; break the cycle",
        ),
        (
            r#""scan": "ct", "structures""#,
            r#""scan": "pet", "structures""#,
            r#"p.json:6: steps[0].in.scan: found the input "pet", expected one of the inputs of this file: ct"#,
        ),
        (
            r#""lungs:Lung_L", "lungs:Lung_R""#,
            r#""lung:Lung_L""#,
            r#"p.json:6: steps[0].in.structures[0]: found the step "lung", expected one of the steps of this file: heart, lungs; did you mean "lungs"?"#,
        ),
        (
            r#"{"lungs:Lung_L": "#,
            r#"{"lngs:Lung_L": "#,
            r#"p.json:8: structures.lngs:Lung_L: found the step "lngs", expected one of the steps of this file: lungs, heart; did you mean "lungs"?"#,
        ),
        (
            r#""id": "lungs", "model""#,
            r#""id": "heart", "model""#,
            r#"p.json:7: steps[1]: found the step "heart" a second time, expected each id once"#,
        ),
        (
            r#""model": "ct-lung", "in""#,
            r#""op": "margin", "model": "ct-lung", "in""#,
            r#"p.json:7: steps[1]: found several of them, expected one of "model", "post" (operations on structures) and "op" (one operation)"#,
        ),
        (
            r#""model": "ct-lung", "in": {"scan": "ct"}"#,
            r#""op": "grow", "radius_mm": 3, "in": "heart:Heart""#,
            r#"p.json:7: steps[1]: found no "as" beside "op", expected the name of the structure that it makes"#,
        ),
        (
            r#""model": "ct-lung", "in": {"scan": "ct"}"#,
            r#""op": "grow", "radius": 3, "in": "heart:Heart", "as": "Lung_L""#,
            r#"p.json:7: steps[1].radius: found the unknown key "radius", expected only the keys op, radius_mm, combine; did you mean "radius_mm"?"#,
        ),
        (
            r#""model": "ct-lung", "in": {"scan": "ct"}"#,
            r#""post": {"Lung_L": [{"op": "take", "of": ["Lung_R"]}]}"#,
            r#"p.json:7: steps[1].post.Lung_L[0].of[0]: found "Lung_R", expected one of "#,
        ),
        (
            r#""model": "ct-lung", "in": {"scan": "ct"}"#,
            r#""post": {"Lung_L": [{"op": "take", "of": ["hart:Heart"]}]}"#,
            r#"p.json:7: steps[1].post.Lung_L[0].of[0]: found the step "hart", expected one of the steps of this file: heart, lungs; did you mean "heart"?"#,
        ),
        (
            r#""model": "ct-lung", "in": {"scan": "ct"}"#,
            r#""post": {"Lung_L": [{"op": "take", "of": ["heart:Heart"]}]}"#,
            "p.json:6: steps: found a cycle: heart needs lungs needs heart, expected steps that need only what other steps made before; break the cycle",
        ),
        (
            r#""model": "ct-lung", "in""#,
            r#""model": "ct-lung", "on_failure": "ignore", "in""#,
            r#"p.json:7: steps[1].on_failure: found "ignore", expected one of fail, skip"#,
        ),
        (
            r#"["lungs:Lung_L", "lungs:Lung_R"]"#,
            r#"["lungs:Lung_L", "other:Lung_L"]"#,
            r#"p.json:6: steps[0].in.structures[1]: found the structure "Lung_L" a second time, expected each name once; name them in an object: {"name in the model": "step:Label"}"#,
        ),
    ] {
        let told = check(part, by);
        assert!(told.iter().any(|line| line.starts_with(expected)), "{by}\n{told:#?}");
    }
}

#[test]
fn refuses_each_bad_value_at_its_place() {
    for (part, by, expected) in [
        (
            r#""id": "thorax""#,
            r#""id": "../x""#,
            "p.json:2: id: found the text \"../x\", expected a name of 1 to 64 letters, digits, '-', '_' or '.', not first a '.'",
        ),
        (
            r#""revision": 3"#,
            r#""revision": 0"#,
            "p.json:2: revision: found the number 0, expected a whole number from 1 to 4294967295",
        ),
        (
            r#""mode": "live""#,
            r#""mode": "lve""#,
            r#"p.json:2: mode: found "lve", expected one of live, shadow, off; did you mean "live"?"#,
        ),
        (
            r#"["CONTOURD"]"#,
            r#"["A TITLE THAT IS TOO LONG"]"#,
            r#"p.json:3: when.called_ae[0]: found the text "A TITLE THAT IS TOO LONG" (found an AE title of 24 characters, expected at most 16), expected an AE title"#,
        ),
        (
            r#"["CONTOURD"]"#,
            "[]",
            "p.json:3: when.called_ae: found an empty list, expected at least one AE title; leave the key out to accept every one",
        ),
        (
            r#"{"min": 30}"#,
            r#"{"min": 30, "max": 20}"#,
            "p.json:4: inputs.ct.slices: found min 30 above max 20, expected min up to max; swap them",
        ),
        (
            r#""axial""#,
            r#""axail""#,
            r#"p.json:4: inputs.ct.geometry.orientation: found "axail", expected one of axial, coronal, sagittal, any; did you mean "axial"?"#,
        ),
        (
            r#"{"quiet_s": 5}"#,
            r#"{"quiet_s": -5}"#,
            "p.json:5: complete.quiet_s: found the number -5, expected a number from 0 to 604800",
        ),
        (
            r#"{"quiet_s": 5}"#,
            r#"{"quiet_s": 5, "on_timeout": "drop"}"#,
            r#"p.json:5: complete.on_timeout: found "drop", expected one of hold, run, discard"#,
        ),
        (
            r#""name": "Lung_L""#,
            r#""name": "A_name_of_65_characters_is_longer_than_an_attribute_of_DICOM_can_""#,
            r#"p.json:8: structures.lungs:Lung_L: found the name A_name_of_65_characters_is_longer_than_an_attribute_of_DICOM_can_ of 65 characters, expected at most 64; shorten it"#,
        ),
        (
            r#""type": "ORGAN""#,
            r#""type": "ORGANS""#,
            r#"p.json:8: structures.lungs:Lung_L.type: found "ORGANS", expected one of EXTERNAL, ORGAN, AVOIDANCE, CONTROL, SUPPORT, CAVITY, CONTRAST_AGENT, GTV, CTV, PTV, UNSPECIFIED; did you mean "ORGAN"?"#,
        ),
        (
            "[0, 128, 255]",
            "[0, 128, 256]",
            "p.json:8: structures.lungs:Lung_L.color[2]: found the number 256, expected a whole number from 0 to 255",
        ),
        (
            "[0, 128, 255]",
            "[0, 128]",
            "p.json:8: structures.lungs:Lung_L.color: found an array of 2, expected an array of 3: red, green, blue",
        ),
        (
            r#"{"rtstruct": {"label": "AUTO"}}"#,
            "",
            r#"p.json:9: outputs: found no output, expected at least one, such as {"rtstruct": {"label": "AUTO"}}"#,
        ),
        (
            r#"{"label": "AUTO"}"#,
            r#"{"label": "AUTO", "holes": "cut"}"#,
            r#"p.json:9: outputs[0].rtstruct.holes: found "cut", expected one of keyhole, xor"#,
        ),
        (
            r#"{"label": "AUTO"}"#,
            r#"{"label": "{pipline}"}"#,
            r#"p.json:9: outputs[0].rtstruct.label: found {pipline}, expected one of {pipeline}, {revision}, {model}, {date}, {time}; did you mean {pipeline}?"#,
        ),
        (
            r#"{"label": "AUTO"}"#,
            r#"{"label": "{date}_{time}_AI"}"#,
            r#"p.json:9: outputs[0].rtstruct: found the label "20000101_000000_AI" of 18 characters when it is filled in, expected 1 to 16"#,
        ),
        (
            r#"{"rtstruct": {"label": "AUTO"}}"#,
            r#"{"rtstruct": {"label": "AUTO"}}, {"rtstruct": {"label": "auto"}}"#,
            r#"p.json:9: outputs[1]: found the label "auto" a second time, expected structure sets with labels of their own"#,
        ),
        (
            r#"{"label": "AUTO"}"#,
            r#"{"label": "AUTO", "steps": ["lung"]}"#,
            r#"p.json:9: outputs[0].rtstruct.steps[0]: found the step "lung", expected one of the steps of the structures of this file: lungs; did you mean "lungs"?"#,
        ),
        (
            r#"{"label": "AUTO"}"#,
            r#"{"label": "AUTO", "structures": []}"#,
            "p.json:9: outputs[0].rtstruct.structures: found an empty list, expected at least one; leave the key out for all structures",
        ),
        (
            r#"[{"to": "eclipse"}]"#,
            "[]",
            r#"p.json:1: found no destination, expected at least one in "deliver" of a live pipeline; name a peer, or set "mode" to "shadow""#,
        ),
        (
            r#"[{"to": "eclipse"}]"#,
            r#"[{"to": "eclipse"}, {"to": "eclipse"}]"#,
            r#"p.json:10: deliver[1]: found the peer "eclipse" a second time, expected each destination once"#,
        ),
        (
            r#""deliver""#,
            r#""detsinations""#,
            r#"p.json:10: detsinations: found the unknown key "detsinations", expected only the keys $schema, description, id, revision, mode, when, same, inputs, complete, steps, structures, outputs, cpu_instead, deliver"#,
        ),
    ] {
        let told = check(part, by);
        assert!(told.contains(&expected.to_owned()), "{by}\n{told:#?}");
    }
    let twice = r#"{"lungs:Lung_R": {"name": "LUNG_l", "type": "ORGAN", "color": [0, 0, 0]}, "lungs:Lung_L": "#;
    assert!(check(r#"{"lungs:Lung_L": "#, twice)[0].contains("differs from structure 0 at most in case"));
}

#[test]
fn takes_type_and_color_of_tg_263_names_and_asks_for_those_of_others() {
    let (part, by) = (r#""name": "Lung_L", "type": "ORGAN", "color": [0, 128, 255]"#, r#""name": "Lung_L""#);
    assert_eq!(check(part, by), [""; 0]);
    assert_eq!(
        check(part, r#""name": "Zzz_L""#),
        [
            r#"p.json:8: structures.lungs:Lung_L: found no "type", expected the key "type""#,
            r#"p.json:8: structures.lungs:Lung_L: found no "color", expected the key "color""#,
        ]
    );
}

#[test]
fn says_all_that_is_wrong_at_once() {
    let mut problems = Problems::of("p.json");
    let text = r#"{
  "id": "x", "revision": "1", "mode": "on",
  "inputs": {"ct": {"all": [{"tag": "Modalty", "eq": "CT"}, {"tag": "KVP", "between": [9, 1]}]}},
  "steps": [{"id": "a", "in": {}}],
  "structures": {"a": {}}, "outputs": [{}], "deliver": "pacs", "more": 1
}"#;
    let node = document::parse(text, &mut problems).expect("JSON");
    assert!(Pipeline::parse(&node, &mut problems).is_none());
    let told: Vec<String> = problems.into_vec().iter().map(Problem::to_string).collect();
    let expected = [
        r#"p.json:2: revision: found the text "1", expected a whole number from 1 to 4294967295"#,
        r#"p.json:2: mode: found "on", expected one of live, shadow, off"#,
        r#"p.json:3: inputs.ct.all[0].tag: found "Modalty", expected a DICOM keyword such as SeriesDescription, or (gggg,eeee); did you mean "Modality"?"#,
        "p.json:3: inputs.ct.all[1].between: found 9 before 1, expected the lower bound first; swap them",
        r#"p.json:4: steps[0]: found no "model", expected one of "model", "post" (operations on structures) and "op" (one operation)"#,
        r#"p.json:5: structures.a: found "a", expected a step and a label of its model, such as "lungs:Lung_L""#,
        r#"p.json:5: structures.a: found no "name", expected the key "name""#,
        r#"p.json:5: structures.a: found no "type", expected the key "type""#,
        r#"p.json:5: structures.a: found no "color", expected the key "color""#,
        r#"p.json:5: outputs[0]: found no "rtstruct", expected the key "rtstruct""#,
        r#"p.json:5: deliver: found the text "pacs", expected an array"#,
        r#"p.json:5: more: found the unknown key "more", expected only the keys $schema, description, id, revision, mode, when, same, inputs, complete, steps, structures, outputs, cpu_instead, deliver; did you mean "mode"?"#,
    ];
    assert_eq!(told, expected);
}

const DRAWN: &str = r#""inputs": {"rs": {"optional": true, "structures": {"Lung_L": ["lung left"], "Lung_R": ["lung right"]}}, "ct": {"primary": true,"#;

/// The good file with structures that come with the images, and with these steps.
fn with_drawn(steps: &str) -> Result<Pipeline, Vec<String>> {
    let start = GOOD.find("\"steps\"").expect("steps");
    let end = GOOD.find("\"structures\": {\"lungs").expect("structures");
    let text = format!("{}\"steps\": {steps},\n  {}", &GOOD[..start], &GOOD[end..]);
    let text = text.replace(r#""inputs": {"ct": {"#, DRAWN);
    let mut problems = Problems::of("p.json");
    let node = document::parse(&text, &mut problems).expect("JSON");
    let pipeline = Pipeline::parse(&node, &mut problems);
    pipeline.ok_or_else(|| problems.into_vec().iter().map(Problem::to_string).collect())
}

#[test]
fn steps_take_structures_of_steps_and_inputs() {
    let pipeline = with_drawn(
        r#"[{"id": "heart", "model": "m", "on_failure": "skip",
             "in": {"scan": "ct", "structures": {"left": "rs:Lung_L", "right": "lungs:Lung_R"}}},
            {"id": "lungs", "op": "grow", "radius_mm": 3, "in": ["rs:Lung_L", "rs:Lung_R"], "as": "Lung_L", "on_failure": "skip"}]"#,
    );
    let pipeline = pipeline.unwrap_or_else(|told| panic!("{told:#?}"));
    let [lungs, heart] = pipeline.steps() else { panic!("two steps") };
    assert_eq!((lungs.id.as_str(), heart.id.as_str()), ("lungs", "heart"));
    let names: Vec<&str> = heart.structures.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["left", "right"]);
    let names: Vec<&str> = lungs.structures.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["rs:Lung_L", "rs:Lung_R"]);
    assert!(matches!(&lungs.action, Action::Post(made) if made.structures().eq(["Lung_L"])));
    assert_eq!((heart.on_failure, pipeline.primary().name.as_str()), (OnFailure::Skip, "ct"));
}

#[test]
fn tells_mistakes_about_inputs_of_structures() {
    let model = |rest: &str| format!(r#"[{{"id": "lungs", "model": "m", {rest}}}]"#);
    for (steps, expected) in [
        (
            model(r#""in": {"scan": "rs"}"#),
            r#"steps[0].in.scan: found the input "rs", which holds structures, expected an input of images"#,
        ),
        (
            model(r#""in": {"scan": "ct", "structures": ["rs:Lung_LL"]}"#),
            r#"steps[0].in.structures[0]: found the structure "Lung_LL", expected one of the structures of the input rs of this file: Lung_L, Lung_R; did you mean "Lung_L"?"#,
        ),
        (
            r#"[{"id": "rs", "model": "m", "in": {"scan": "ct"}}]"#.to_owned(),
            r#"steps[0]: found the step "rs", expected another name: an input of structures is called so"#,
        ),
        (
            r#"[{"id": "lungs", "post": {"A": [{"op": "take", "of": ["rs:Lung_L"]}]}, "in": {"scan": "ct"}}]"#
                .to_owned(),
            r#"steps[0].in: found "in" beside "post", expected it beside "model" or "op"; remove it: the operations name what they take as "step:Label""#,
        ),
    ] {
        let told = with_drawn(&steps).map(|_| ()).expect_err("something is wrong");
        assert!(told.iter().any(|line| line.ends_with(expected)), "{steps}\n{told:#?}");
    }
}
