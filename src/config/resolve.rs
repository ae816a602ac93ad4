//! Holds the files against each other: identities, references, network files; and chooses which version is used.

use std::collections::BTreeMap;
use std::path::Path;

use super::loader::{Digests, Kind, stem};
use super::tls::Files;
use super::ways_in::check_folders;
use super::{Gateway, Loaded, Peer, Place};
use crate::document::{Node, Problem, Problems, Value, nearest};
use crate::pipeline::{Action, Mode, Model, OnFailure, Output, Pipeline, Reference, SENDER, Step};

type Chosen<T> = BTreeMap<String, Loaded<T>>;

/// For each file the version on disk when the check finds nothing, else the one before when it still holds.
fn choose<T>(
    kind: Kind<T>,
    problems: &mut Vec<Problem>,
    mut check: impl FnMut(&Loaded<T>, &mut Problems, &Chosen<T>),
) -> Chosen<T> {
    let mut chosen = Chosen::new();
    for (file, versions) in kind {
        let mut passes = |loaded: &Loaded<T>, chosen: &Chosen<T>| {
            let mut told = Problems::of(file.as_str());
            check(loaded, &mut told, chosen);
            (told.is_empty(), told.into_vec())
        };
        let (good, told) = versions.now.as_ref().map_or((false, Vec::new()), |now| passes(now, &chosen));
        problems.extend(told);
        let used = if good { versions.now } else { versions.before.filter(|before| passes(before, &chosen).0) };
        if let Some(used) = used {
            chosen.insert(file, used);
        }
    }
    chosen
}

pub(super) fn check_gateway(kind: Kind<Gateway>, tls: &mut Files, problems: &mut Vec<Problem>) -> Chosen<Gateway> {
    choose(kind, problems, |loaded, told, _| {
        tls.check_gateway(loaded, told);
        check_folders(loaded, tls.path(Path::new("")).as_path(), told);
    })
}

/// A destination that is ourselves would feed us our own results.
pub(super) fn check_peers(
    kind: Kind<Peer>,
    gateway: Option<&Loaded<Gateway>>,
    tls: &mut Files,
    problems: &mut Vec<Problem>,
) -> Chosen<Peer> {
    choose(kind, problems, |loaded, told, chosen| {
        let peer = &loaded.value;
        let same = |other: &&Loaded<Peer>| other.value.name.eq_ignore_ascii_case(&peer.name);
        if let Some(other) = chosen.values().find(same) {
            told.add(
                &loaded.document,
                format!("the name {:?} beside {}", peer.name, other.file),
                "names that differ by more than case",
            );
        }
        tls.check_peer(loaded, gateway.map(|gateway| &*gateway.value), told);
        let Some(gateway) = gateway else { return };
        if let Place::Folder(folder) = &peer.place {
            let (own, storage) = (tls.path(folder), tls.path(&gateway.value.storage_folder));
            if own.starts_with(&storage) || storage.starts_with(&own) {
                let found = format!("{}, which is or holds the storage folder, or lies in it", folder.display());
                told.add(at(&loaded.document, &["folder"]), found, "another folder");
            }
        }
        let Some(ae_title) = &peer.ae_title else { return };
        let ours = gateway.value.ae_titles.contains(ae_title);
        let ports = [gateway.value.port, gateway.value.tls.as_ref().map(|tls| tls.port)];
        let own = peer.address.as_ref().map(|address| address.port).filter(|port| ports.contains(&Some(*port)));
        if let (true, Some(port)) = (ours, own) {
            let found = format!("{ae_title} at our port {port}: this gateway itself");
            told.add(at(&loaded.document, &["ae_title"]), found, "another node");
        }
    })
}

pub(super) fn check_models(
    kind: Kind<Model>,
    folder: &Path,
    digests: &mut Digests,
    problems: &mut Vec<Problem>,
) -> Chosen<Model> {
    choose(kind, problems, |loaded, told, chosen| {
        let model = &loaded.value;
        let place = loaded.file.split('/').nth(1).unwrap_or_default();
        check_id(
            loaded,
            model.id(),
            place,
            "folder",
            chosen.values().map(|other| (other.value.id(), other.file.as_str())),
            told,
        );
        for network in model.recipe().networks() {
            let Some(expected) = &network.sha256 else { continue };
            check_network(loaded, &format!("models/{place}/{}", network.file), expected, folder, digests, told);
        }
    })
}

/// The file of a network is there and has its digest.
fn check_network(
    loaded: &Loaded<Model>,
    file: &str,
    expected: &str,
    folder: &Path,
    digests: &mut Digests,
    told: &mut Problems,
) {
    let name = file.rsplit('/').next().unwrap_or(file);
    let place = network_of(&loaded.document, name).unwrap_or(&loaded.document);
    match digests.of(&folder.join(file)) {
        Ok(digest) if digest == expected => {}
        Ok(digest) => told.add_with_cure(
            at(place, &["sha256"]),
            format!("{expected}, which is not the digest of {file}"),
            digest,
            "put the right file there, or the digest of this one after it was checked",
        ),
        Err(error) => {
            told.add(at(place, &["file"]), format!("{file} ({error})"), "the network, an ONNX file that can be read");
        }
    }
}

/// The object of a model that names a file of a network: the model itself, one of its list, or one of `previous`.
fn network_of<'a>(node: &'a Node, file: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Object(fields) => {
            let named = fields
                .iter()
                .any(|(key, inner)| key == "file" && matches!(&inner.value, Value::String(text) if text == file));
            let inside = |key: &str| matches!(key, "networks" | "previous");
            let deeper = || fields.iter().filter(|(key, _)| inside(key)).find_map(|(_, inner)| network_of(inner, file));
            if named { Some(node) } else { deeper() }
        }
        Value::Array(items) => items.iter().find_map(|item| network_of(item, file)),
        _ => None,
    }
}

pub(super) fn check_pipelines(
    kind: Kind<Pipeline>,
    gateway: Option<&Loaded<Gateway>>,
    (peers, models, bad): (&Chosen<Peer>, &Chosen<Model>, &[String]),
    problems: &mut Vec<Problem>,
) -> Chosen<Pipeline> {
    choose(kind, problems, |loaded, told, chosen| {
        let others = chosen.values().map(|other| (other.value.id(), other.file.as_str()));
        check_id(loaded, loaded.value.id(), stem(&loaded.file), "file", others, told);
        check_titles(loaded, gateway, peers, told);
        check_destinations(&loaded.value, peers, bad, told);
        check_sources(loaded, peers, bad, told);
        check_steps(&loaded.value, models, bad, told);
        check_images(&loaded.value, models, told);
        check_weights(&loaded.value, models, told);
    })
}

/// An id is that of the file or folder, and no other file has it (some file systems ignore case).
fn check_id<'a, T>(
    loaded: &Loaded<T>,
    id: &str,
    place: &str,
    what: &str,
    mut others: impl Iterator<Item = (&'a str, &'a str)>,
    told: &mut Problems,
) {
    let node = at(&loaded.document, &["id"]);
    if id != place {
        told.add_with_cure(node, format!("{id:?}"), format!("{place:?}, the name of the {what}"), "rename one of them");
    } else if let Some((_, file)) = others.find(|(other, _)| other.eq_ignore_ascii_case(id)) {
        told.add(node, format!("{id:?}, which {file} has but for case"), "ids that differ by more than case");
    }
}

/// A title that nobody has would make a condition that never holds.
fn check_titles(
    loaded: &Loaded<Pipeline>,
    gateway: Option<&Loaded<Gateway>>,
    peers: &Chosen<Peer>,
    told: &mut Problems,
) {
    let when = loaded.value.when();
    let ours: Vec<&str> =
        gateway.iter().flat_map(|gateway| &gateway.value.ae_titles).map(|title| title.as_str()).collect();
    let senders = peers.values().filter(|peer| peer.value.may.send).filter_map(|peer| peer.value.ae_title.as_ref());
    let senders: Vec<&str> = senders.map(|title| title.as_str()).collect();
    let mut check = |key: &str, titles: &[crate::dicom::AeTitle], known: &[&str], expected: &str| {
        for (index, title) in titles.iter().enumerate().filter(|(_, title)| !known.contains(&title.as_str())) {
            let node = item(at(&loaded.document, &["when", key]), index);
            unknown(node, title.as_str(), known, expected, told);
        }
    };
    if gateway.is_some() {
        check("called_ae", &when.called_ae, &ours, "one of our titles in ae-config/gateway.json");
    }
    check("calling_ae", &when.calling_ae, &senders, "the title of a peer that may send");
}

/// `bad` are the files of peers and models that cannot be used, which say themselves why.
fn check_destinations(pipeline: &Pipeline, peers: &Chosen<Peer>, bad: &[String], told: &mut Problems) {
    let names: Vec<&str> = peers.values().map(|peer| peer.value.name.as_str()).collect();
    for to in pipeline.deliver().iter().flat_map(|deliver| &deliver.to) {
        let node = node_of(to);
        match peers.values().find(|peer| peer.value.name == to.name) {
            None if to.name == SENDER => {}
            None if in_bad(to, "peer", &format!("ae-config/peers/{}.json", to.name), bad, told) => {}
            None => unknown(&node, &to.name, &names, "a peer of ae-config/peers", told),
            Some(peer) if to.name == SENDER => {
                let found = format!("{SENDER:?}, the word for whoever sent the series, beside {}", peer.file);
                told.add_with_cure(&node, found, "no peer of that name", "give the peer another name");
            }
            Some(peer) if !peer.value.may.receive => {
                let found = format!("{:?}, which may not receive", to.name);
                let cure = format!("add \"receive\" to \"may\" of {}", peer.file);
                told.add_with_cure(&node, found, "a peer that may receive", cure);
            }
            Some(_) => {}
        }
    }
}

/// Peers that are asked: for the number of instances, and for inputs that are missing.
fn check_sources(loaded: &Loaded<Pipeline>, peers: &Chosen<Peer>, bad: &[String], told: &mut Problems) {
    let pipeline = &loaded.value;
    let asked = pipeline.complete().ask.iter().map(|name| (at(&loaded.document, &["complete", "ask"]), name, false));
    let fetched = pipeline.inputs().iter().filter_map(|input| {
        let from = &input.fetch.as_ref()?.from;
        Some((at(&loaded.document, &["inputs", &input.name, "fetch", "from"]), from, true))
    });
    for (node, name, fetches) in asked.chain(fetched) {
        if !bad.contains(&format!("ae-config/peers/{name}.json")) {
            check_source(node, name, fetches, peers, told);
        }
    }
}

/// The peer that the gateway asks where a pipeline names none.
pub(super) fn check_gateway_source(
    gateway: &Loaded<Gateway>,
    peers: &Chosen<Peer>,
    bad: &[String],
    problems: &mut Vec<Problem>,
) {
    let Some(name) = &gateway.value.complete_ask else { return };
    if !bad.contains(&format!("ae-config/peers/{name}.json")) {
        let mut told = Problems::of(gateway.file.as_str());
        check_source(at(&gateway.document, &["complete", "ask"]), name, false, peers, &mut told);
        problems.extend(told.into_vec());
    }
}

/// A peer that is called: by C-FIND alone, or to fetch from it.
fn check_source(node: &Node, name: &str, fetches: bool, peers: &Chosen<Peer>, told: &mut Problems) {
    let names: Vec<&str> = peers.values().map(|peer| peer.value.name.as_str()).collect();
    match peers.values().find(|peer| peer.value.name == *name) {
        None => unknown(node, name, &names, "a peer of ae-config/peers", told),
        Some(peer) if fetches && peer.value.retrieve.is_none() => {
            let cure = format!("add \"retrieve\": \"get\" or \"move\" to {}", peer.file);
            let expected = "a peer from which series are fetched";
            told.add_with_cure(node, format!("{name:?}, which has no \"retrieve\""), expected, cure);
        }
        Some(peer) if peer.value.address.is_none() => {
            let cure = format!("add \"host\" and \"port\" to {}", peer.file);
            told.add_with_cure(node, format!("{name:?}, which has no address"), "a peer that can be asked", cure);
        }
        Some(_) => {}
    }
}

/// Tells that the file which a name stands for is one of those that cannot be used.
fn in_bad(reference: &Reference, what: &str, file: &str, bad: &[String], told: &mut Problems) -> bool {
    let is_bad = bad.iter().any(|other| other == file);
    if is_bad {
        let found = format!("{:?}, in whose file something is wrong", reference.name);
        told.add_with_cure(&node_of(reference), found, format!("a {what} that can be used"), format!("mend {file}"));
    }
    is_bad
}

fn check_steps(pipeline: &Pipeline, models: &Chosen<Model>, bad: &[String], told: &mut Problems) {
    let ids: Vec<&str> = models.values().map(|model| model.value.id()).collect();
    let named = |reference: &Reference| models.values().find(|model| model.value.id() == reference.name);
    for step in pipeline.steps() {
        let model = step.action.model().and_then(named);
        check_optional(step, pipeline, model, told);
        let Some(reference) = step.action.model() else { continue };
        let file = format!("models/{}/model.json", reference.name);
        match named(reference) {
            None if in_bad(reference, "model", &file, bad, told) => {}
            None => unknown(&node_of(reference), &reference.name, &ids, "a model of the folder models", told),
            Some(model) => check_slots(step, reference, model, told),
        }
    }
    let wanted = pipeline.steps().iter().flat_map(|step| step.structures.iter().map(|(_, artefact)| artefact));
    for artefact in wanted.chain(pipeline.structures().iter().map(|rule| &rule.source)) {
        let Some(maker) = pipeline.steps().iter().find(|step| step.id == artefact.step) else { continue };
        let (labels, whose): (Vec<&str>, String) = match &maker.action {
            Action::Model(reference) => {
                let Some(model) = named(reference) else { continue };
                (model.value.recipe().structures().iter().map(String::as_str).collect(), model.file.clone())
            }
            Action::Post(between) => (between.structures().collect(), format!("the step {}", maker.id)),
        };
        if !labels.contains(&artefact.label.as_str()) {
            let node = Node { value: Value::Null, line: artefact.line, path: artefact.path.clone() };
            unknown(&node, &artefact.label, &labels, &format!("a structure of {whose}"), told);
        }
    }
}

/// Outputs that are images of a model: that it makes them, and of the right kind.
fn check_images(pipeline: &Pipeline, models: &Chosen<Model>, told: &mut Problems) {
    for output in pipeline.outputs() {
        let (of, wanted) = match output {
            Output::Registration(output) => (&output.of, true),
            Output::DerivedImage(output) => (&output.of, false),
            _ => continue,
        };
        let step = pipeline.steps().iter().find(|step| step.id == of.step);
        let Some(reference) = step.and_then(|step| step.action.model()) else { continue };
        let Some(model) = models.values().find(|model| model.value.id() == reference.name) else { continue };
        let of_kind = |(name, deforms)| (deforms == wanted).then_some(name);
        let names: Vec<&str> = model.value.recipe().images().filter_map(of_kind).collect();
        if !names.contains(&of.label.as_str()) {
            let node = Node { value: Value::Null, line: of.line, path: of.path.clone() };
            let what = if wanted { "a deformation" } else { "an image" };
            unknown(&node, &of.label, &names, &format!("{what} that {} makes (\"images\")", model.file), told);
        }
    }
}

/// A step that must not fail needs nothing that may not come; what the model can do without is not needed.
fn check_optional(step: &Step, pipeline: &Pipeline, model: Option<&Loaded<Model>>, told: &mut Problems) {
    if step.on_failure == OnFailure::Skip {
        return;
    }
    let recipe = model.map(|model| model.value.recipe());
    let spares_image = |name: &str| recipe.is_some_and(|recipe| recipe.is_optional(name));
    let spares = |name: &str| {
        recipe.is_some_and(|recipe| recipe.structure_inputs().iter().any(|one| one.optional && one.name == name))
    };
    let images = step.images.iter().filter(|(name, _)| !spares_image(name));
    let images = images.map(|(_, image)| (&image.name, image.line, &image.path));
    let structures = step.structures.iter().filter(|(name, _)| !spares(name));
    let structures = structures.map(|(_, artefact)| (&artefact.step, artefact.line, &artefact.path));
    for (name, line, path) in images.chain(structures) {
        if pipeline.inputs().iter().any(|input| input.name == *name && input.optional) {
            let node = Node { value: Value::Null, line, path: path.clone() };
            let expected = "\"on_failure\": \"skip\" for the step: it cannot run when that input does not come";
            told.add(&node, format!("the optional input {name:?} in a step that must not fail"), expected);
        }
    }
}

/// The images and structures that the model needs, each once, and no others.
fn check_slots(step: &Step, reference: &Reference, model: &Loaded<Model>, told: &mut Problems) {
    let recipe = model.value.recipe();
    let images: Vec<&str> = recipe.input_names().collect();
    let structures: Vec<&str> = recipe.structure_inputs().iter().map(|structure| structure.name.as_str()).collect();
    for (slot, input) in step.images.iter().filter(|(slot, _)| !images.contains(&slot.as_str())) {
        unknown(&node_of(input), slot, &images, &format!("an image of {}", model.file), told);
    }
    for (name, artefact) in step.structures.iter().filter(|(name, _)| !structures.contains(&name.as_str())) {
        let node = Node { value: Value::Null, line: artefact.line, path: artefact.path.clone() };
        unknown(&node, name, &structures, &format!("a structure that {} needs", model.file), told);
    }
    let node = node_of(reference);
    let needed = |image: &&&str| !recipe.is_optional(image);
    for image in images.iter().filter(needed).filter(|image| !step.images.iter().any(|(slot, _)| slot == *image)) {
        told.add(
            &node,
            format!("no image {image:?} in \"in\""),
            format!("all images of {}: {}", model.file, images.join(", ")),
        );
    }
    let needed = recipe.structure_inputs().iter().filter(|structure| !structure.optional);
    let needed: Vec<&str> = needed.map(|structure| structure.name.as_str()).collect();
    for name in needed.iter().filter(|name| !step.structures.iter().any(|(given, _)| given == *name)) {
        told.add(
            &node,
            format!("no structure {name:?} in \"in\""),
            format!("all structures that {} needs: {}", model.file, structures.join(", ")),
        );
    }
}

fn unknown(node: &Node, found: &str, known: &[&str], expected: &str, told: &mut Problems) {
    let list = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
    let (text, expected) = (format!("{found:?}"), format!("{expected} ({list})"));
    match nearest(found, known) {
        Some(name) => told.add_with_cure(node, text, expected, format!("did you mean {name:?}?")),
        None => told.add(node, text, expected),
    }
}

fn node_of(reference: &Reference) -> Node {
    Node { value: Value::Null, line: reference.line, path: reference.path.clone() }
}

/// The node under these keys, or the deepest that is there.
pub(super) fn at<'a>(document: &'a Node, keys: &[&str]) -> &'a Node {
    keys.iter().fold(document, |node, key| match &node.value {
        Value::Object(fields) => fields.iter().find(|(name, _)| name == key).map_or(node, |(_, inner)| inner),
        _ => node,
    })
}

pub(super) fn item(node: &Node, index: usize) -> &Node {
    match &node.value {
        Value::Array(items) => items.get(index).unwrap_or(node),
        _ => node,
    }
}

/// A pipeline that runs needs the weights of its models; one that rests does not.
fn check_weights(pipeline: &Pipeline, models: &Chosen<Model>, told: &mut Problems) {
    if pipeline.mode() == Mode::Off {
        return;
    }
    for step in pipeline.steps() {
        let Some(reference) = step.action.model() else { continue };
        let model = models.values().find(|model| model.value.id() == reference.name && !model.value.is_installed());
        if let Some(model) = model {
            let cure = format!("run `contourd model install {} FILE.onnx`, or set \"mode\" to \"off\"", reference.name);
            let found = format!("{:?}, whose weights are not installed", reference.name);
            told.add_with_cure(
                &node_of(reference),
                found,
                format!("the digests of its networks in {}", model.file),
                cure,
            );
        }
    }
}
