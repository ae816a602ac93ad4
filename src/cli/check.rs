//! `contourd check`: reads the configuration as `serve` would, tells everything that is wrong, or what is configured.

use std::path::PathBuf;

use clap::Args;

use super::{EXIT_CONFIGURATION, EXIT_OK};
use crate::config::{self, Configuration, Peer, Place};
use crate::document::Problem;
use crate::pipeline::{Deliver, Mode};
use crate::tls::Clients;

/// Check the configuration: all that is wrong in all files, or a summary.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Print a document instead: the reference of the configuration (docs/configuration.md) or of models (docs/models.md),
    /// or the DICOM conformance statement (docs/conformance.md).
    #[arg(
        long, conflicts_with = "config", value_name = "PART", num_args = 0..=1, default_missing_value = "configuration",
        value_parser = ["configuration", "models", "conformance"]
    )]
    reference: Option<String>,
    /// Print the JSON Schema of one kind of file (schema/NAME.json) instead.
    #[arg(long, conflicts_with_all = ["config", "reference"], value_name = "NAME", value_parser = config::SCHEMAS)]
    schema: Option<String>,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The folder with ae-config, pipelines and models.
    #[arg(id = "config", long = "config", value_name = "DIR", default_value = ".")]
    pub(super) folder: PathBuf,
}

impl CheckArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let asked = match (&self.reference, &self.schema) {
            (Some(part), _) if part == "models" => Some(config::models_reference()),
            (Some(part), _) if part == "conformance" => Some(config::conformance()),
            (Some(_), _) => Some(config::reference()),
            (None, Some(name)) => config::schema(name),
            (None, None) => None,
        };
        if let Some(text) = asked {
            print!("{text}");
            return Ok(EXIT_OK);
        }
        match config::load(&self.config.folder) {
            Ok(configuration) => {
                print!("{}", summary(&configuration));
                Ok(EXIT_OK)
            }
            Err(problems) => {
                eprint!("{}", told(&problems));
                Ok(EXIT_CONFIGURATION)
            }
        }
    }
}

/// The problems, one a line, and how many there are.
pub(super) fn told(problems: &[Problem]) -> String {
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    text += &match problems.len() {
        1 => "1 problem\n".to_owned(),
        count => format!("{count} problems\n"),
    };
    text
}

fn summary(configuration: &Configuration) -> String {
    let gateway = &configuration.gateway;
    let titles: Vec<&str> = gateway.ae_titles.iter().map(|title| title.as_str()).collect();
    let mut lines = Vec::new();
    if let Some(port) = gateway.port {
        lines.push(format!("gateway    {} at {}, port {port}", titles.join(", "), gateway.bind));
    }
    if let Some(tls) = &gateway.tls {
        let word = Clients::ALL.iter().find(|(_, clients)| *clients == tls.clients).map_or("", |(word, _)| word);
        let (titles, bind, port) = (titles.join(", "), tls.bind.unwrap_or(gateway.bind), tls.port);
        lines.push(format!("gateway    {titles} at {bind}, port {port} with TLS, certificates of clients: {word}"));
    }
    for (file, (end, names)) in &configuration.tls.presented {
        let (day, names) = (end.strftime("%Y-%m-%d"), names.join(", "));
        lines.push(format!("presents   {file}, until {day}: {names}"));
    }
    lines.push(format!("storage    {}", configuration.storage_folder().display()));
    lines.extend(configuration.peers.values().map(peer));
    for model in configuration.models.values() {
        let (model, recipe) = (&model.value, model.value.recipe());
        lines.push(format!("model      {} {}: {}", model.id(), model.version(), recipe.structures().join(", ")));
    }
    for loaded in configuration.pipelines.values() {
        let pipeline = &loaded.value;
        let mode = Mode::ALL.iter().find(|(_, mode)| *mode == pipeline.mode()).map_or("", |(word, _)| word);
        let steps: Vec<&str> = pipeline
            .steps()
            .iter()
            .map(|step| step.action.model().map_or(step.id.as_str(), |model| model.name.as_str()))
            .collect();
        let structures: Vec<&str> = pipeline.structures().iter().map(|rule| rule.style.name.as_str()).collect();
        let one_of = |deliver: &Deliver| {
            let names: Vec<&str> = deliver.to.iter().map(|to| to.name.as_str()).collect();
            names.join(" or else ")
        };
        let to: Vec<String> = pipeline.deliver().iter().map(one_of).collect();
        let to = if to.is_empty() { "nobody".to_owned() } else { to.join(", ") };
        let (id, revision) = (pipeline.id(), pipeline.revision());
        let (steps, structures) = (steps.join(" -> "), structures.join(", "));
        lines.push(format!("pipeline   {id} revision {revision}, {mode}: {steps} -> {structures} -> {to}"));
    }
    lines.extend(configuration.tls.warnings(jiff::Timestamp::now()).iter().map(|told| format!("warning    {told}")));
    lines.push("no problems".to_owned());
    lines.join("\n") + "\n"
}

fn peer(peer: &Peer) -> String {
    let words = [(peer.may.send, "send"), (peer.may.receive, "receive"), (peer.may.query, "query")];
    let may: Vec<&str> = words.iter().filter(|(may, _)| *may).map(|(_, word)| *word).collect();
    let title = peer.ae_title.as_ref().map(ToString::to_string).unwrap_or_default();
    let place = match (&peer.place, &peer.address) {
        (Place::Folder(folder), _) => format!("folder {}", folder.display()),
        (Place::Web(web), _) => web.url.to_string(),
        (Place::Node, Some(address)) => {
            let tls = if peer.tls.is_some() { " with TLS" } else { "" };
            format!("{title} at {}:{}{tls}", address.host, address.port)
        }
        (Place::Node, None) => title,
    };
    format!("peer       {}: {place}, may {}", peer.name, may.join(", "))
}
