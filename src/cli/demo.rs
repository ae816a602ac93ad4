//! `contourd demo`: a scanner, the gateway and a planning system on loopback, and what comes out, measured and drawn.

mod outcome;
mod players;
mod show;
mod stage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use super::{EXIT_FAILED, EXIT_OK};
use crate::phantom::{self, Identity, Phantom, Thorax};
use players::{Gateway, Overview, Planning};
use show::Show;
use stage::Stage;

/// Watch a CT go in and a structure set come out, on this machine alone.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// A folder with a CT series of your own; without it a phantom is made, whose truth is known
    input: Option<PathBuf>,
    /// Where everything of the demonstration goes; nothing outside is written
    #[arg(long, value_name = "DIR", default_value = "demo-out")]
    out: PathBuf,
    /// The phantom patient: 0 is the average one, every other number another body
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The folder whose pipelines and models are tried
    #[arg(long, value_name = "DIR", default_value = ".")]
    config: PathBuf,
}

/// What the scanner sends.
struct Images {
    files: Vec<PathBuf>,
    phantom: Option<Arc<Phantom>>,
}

impl DemoArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let result = runtime.block_on(async {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                result = self.play() => result,
                _ = tokio::signal::ctrl_c() => bail!("stopped; the gateway of the demonstration is stopped too"),
                _ = terminate.recv() => bail!("stopped; the gateway of the demonstration is stopped too"),
            }
        });
        // A rendering under way must not keep the process.
        runtime.shutdown_background();
        result
    }

    async fn play(&self) -> anyhow::Result<u8> {
        let (show, start) = (Show::new(), Instant::now());
        let stage = Stage::prepare(&self.out, &self.config)?;
        println!("contourd demo: everything lies in {}\n", stage.root().display());
        let images = self.images(&stage, &show).await?;
        let planning = Planning::start(&stage).await?;
        stage.write_configuration(players::free_port()?, planning.port())?;
        let mut gateway = Gateway::start(&stage, &show).await?;
        gateway.send(&images.files, &show).await?;
        let overview = gateway.wait(&show).await?;
        let result = self.tell(&stage, images, &planning, overview, &show).await;
        gateway.stop().await;
        planning.stop().await;
        println!("\n{:.0} s in all.", start.elapsed().as_secs_f64());
        result
    }

    /// Makes the phantom and its files, or finds the files of the user.
    async fn images(&self, stage: &Stage, show: &Show) -> anyhow::Result<Images> {
        if let Some(input) = &self.input {
            let (folder, step) = (input.clone(), show.step("scanner", "look for DICOM images", 0));
            let files = tokio::task::spawn_blocking(move || stage::dicom_files(&folder)).await??;
            step.done(&format!("{} DICOM images in {}", files.len(), input.display()));
            return Ok(Images { files, phantom: None });
        }
        let thorax = if self.seed == 0 { Thorax::standard() } else { Thorax::random(self.seed) };
        let (folder, slices) = (stage.scanner(), thorax.slices);
        let step = show.step("scanner", "make a thorax phantom", slices as u64);
        let bar = step.bar();
        let (phantom, files) = tokio::task::spawn_blocking(move || scan(&thorax, &folder, &bar)).await??;
        let [slices, rows, columns] = phantom.geometry.shape();
        step.done(&format!("a thorax phantom, {slices} slices of {rows} x {columns}"));
        Ok(Images { files, phantom: Some(Arc::new(phantom)) })
    }

    async fn tell(
        &self,
        stage: &Stage,
        images: Images,
        planning: &Planning,
        overview: Overview,
        show: &Show,
    ) -> anyhow::Result<u8> {
        for job in &overview.jobs {
            if let crate::job::JobState::Failed { cause } = &job.state {
                bail!("job {} failed: {cause}\n{}", job.id, stage.where_to_look());
            }
        }
        if overview.jobs.is_empty() {
            print!("{}", outcome::without_jobs(&overview));
            bail!("no pipeline made a structure set of what was sent\n{}", stage.where_to_look());
        }
        let received = planning.received();
        if received.is_empty() {
            bail!("the gateway says it has delivered, but no structure set arrived\n{}", stage.where_to_look());
        }
        let step = show.step("demo", "measure and draw what arrived", 0);
        let root = stage.root().to_owned();
        let configuration = stage.configuration();
        let measure = move || {
            outcome::measure(&root, &configuration, &images.files, images.phantom.as_deref(), &overview, &received)
        };
        let told = tokio::task::spawn_blocking(measure).await??;
        step.done("structure sets read back, measured and drawn");
        print!("{}", told.text);
        print!("{}", next_steps(&self.config));
        if told.misses.is_empty() {
            return Ok(EXIT_OK);
        }
        eprintln!("\nNot what was expected: {}\n{}", told.misses.join("; "), stage.where_to_look());
        Ok(EXIT_FAILED)
    }
}

fn scan(thorax: &Thorax, folder: &Path, bar: &indicatif::ProgressBar) -> anyhow::Result<(Phantom, Vec<PathBuf>)> {
    let phantom = phantom::render(thorax, |slices| bar.inc(slices as u64))?;
    let identity = Identity::of(thorax);
    let mut files = Vec::new();
    for (number, instance) in phantom::instances(&phantom, &identity).enumerate() {
        let path = folder.join(format!("ct{:04}.dcm", number + 1));
        std::fs::write(&path, instance?.1).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
    }
    Ok((phantom, files))
}

/// How long the gateway may take before the demonstration gives up.
const PATIENCE: Duration = Duration::from_secs(600);

fn next_steps(config: &Path) -> String {
    let file = |name: &str| config.join(name).display().to_string();
    let command = |name: &str| match config == Path::new(".") {
        true => format!("contourd {name}"),
        false => format!("contourd {name} --config {}", config.display()),
    };
    let lines = [
        ("contourd demo /folder/with/a/CT".to_owned(), "the same on your own series, still on this machine alone"),
        (file("ae-config/gateway.json"), "our AE title and port, and where images are stored"),
        (file("ae-config/peers/"), "one file for the scanner (may send), one for the planning system (may receive)"),
        (file("pipelines/"), "\"deliver\" of each pipeline names the file of the planning system"),
        (command("check"), "tells everything that is wrong in them"),
        ("contourd echo --to HOST:PORT".to_owned(), "asks whether the planning system answers"),
        (command("serve"), "starts the gateway; `contourd jobs` lists what it does"),
    ];
    let told: String = lines.iter().map(|(what, why)| format!("  {what:<36}  {why}\n")).collect();
    format!("\nNext, with your own scanner\n{told}")
}
