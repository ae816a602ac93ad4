//! `contourd import monai`: reads the folder of a MONAI bundle; what it means is for the importer.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::{IntoArgs, digest, read_optional};
use crate::cli::{EXIT_CONFIGURATION, EXIT_OK};
use crate::pipeline::import::monai::{self, Bundle, Options};

/// Import a MONAI bundle, with its network as models/model.onnx (models/export/monai_bundle.py writes it).
#[derive(Debug, Args)]
pub(super) struct MonaiArgs {
    /// The bundle: the folder with configs/inference.json and configs/metadata.json.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The name of the model. [default: that of the folder]
    #[arg(long)]
    id: Option<String>,
    /// How the network sees the image, for bundles without Orientationd: letters such as RAS.
    #[arg(long)]
    orientation: Option<String>,
    #[command(flatten)]
    into: IntoArgs,
}

impl MonaiArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let folder = self.bundle.canonicalize().with_context(|| format!("{}", self.bundle.display()))?;
        let inference = configuration(&folder, "inference")?;
        let metadata = configuration(&folder, "metadata")?;
        let export = read_optional(&folder.join("models/export.json"))?;
        let network = folder.join("models/model.onnx");
        let network = if network.is_file() { Some(digest(&network)?) } else { None };
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let bundle = Bundle {
            folder: &name,
            inference: &inference,
            metadata: &metadata,
            export: export.as_deref(),
            network: network.as_deref().map(|digest| ("models/model.onnx", digest)),
        };
        let options = Options { id: self.id.clone(), orientation: self.orientation.clone() };
        match monai::import(&bundle, &options) {
            Ok(imported) => {
                let beside = folder.parent().unwrap_or(Path::new("."));
                self.into.write(&folder.display().to_string(), &imported, beside)?;
                Ok(EXIT_OK)
            }
            Err(problems) => {
                eprint!("{}", crate::cli::check::told(&problems));
                Ok(EXIT_CONFIGURATION)
            }
        }
    }
}

/// A configuration as JSON. Bundles may have it as YAML, which MONAI itself turns into JSON.
fn configuration(folder: &Path, name: &str) -> anyhow::Result<String> {
    let json = folder.join(format!("configs/{name}.json"));
    if let Some(text) = read_optional(&json)? {
        return Ok(text);
    }
    for extension in ["yaml", "yml"] {
        let yaml = folder.join(format!("configs/{name}.{extension}"));
        if yaml.is_file() {
            bail!(
                "{}: found YAML, expected {}; write it with MONAI: python -c \"from monai.bundle import ConfigParser as C; \
                 C.export_config_file(C.load_config_file('{}'), '{}', indent=2)\"",
                yaml.display(),
                json.display(),
                yaml.display(),
                json.display()
            );
        }
    }
    bail!("{}: found no configs/{name}.json, expected a MONAI bundle", folder.display())
}
