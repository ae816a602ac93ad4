//! The commands of `contourd`, one file each; it parses arguments, sets up the log and maps results to exit codes.

mod check;
mod commitments;
mod compare;
mod demo;
mod discover;
mod doctor;
mod dvh;
mod echo;
mod explain;
mod import;
mod jobs;
mod model;
mod names;
mod pull;
mod receive;
mod retry;
mod segment;
mod send;
mod serve;
mod show;
mod structures;
mod tls;
mod worker;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::config;
use crate::daemon::LEDGER_FILE;
use crate::job::Job;
use crate::ledger::Ledger;

/// Everything went as asked.
pub const EXIT_OK: u8 = 0;
/// What was asked for could not be done; the reason is on standard error.
pub const EXIT_FAILED: u8 = 1;
/// Somebody asked to stop (SIGINT and 128, as shells say it); what is finished is kept.
pub const EXIT_INTERRUPTED: u8 = 130;
/// The configuration is bad (`EX_CONFIG` of sysexits.h); nothing was started.
pub const EXIT_CONFIGURATION: u8 = 78;

/// A DICOM network node that contours.
#[derive(Debug, Parser)]
#[command(name = "contourd", version, about, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

// The table of commands: a new one is a file, a variant here and an arm in `dispatch`.
#[derive(Debug, Subcommand)]
enum Command {
    Check(check::CheckArgs),
    Commitments(commitments::CommitmentsArgs),
    Compare(compare::CompareArgs),
    Demo(demo::DemoArgs),
    Doctor(doctor::DoctorArgs),
    Dvh(dvh::DvhArgs),
    Echo(echo::EchoArgs),
    Explain(explain::ExplainArgs),
    Import(import::ImportArgs),
    Jobs(jobs::JobsArgs),
    Model(model::ModelArgs),
    Names(names::NamesArgs),
    Pull(pull::PullArgs),
    #[command(hide = true)]
    Receive(receive::ReceiveArgs),
    Retry(retry::RetryArgs),
    Segment(segment::SegmentArgs),
    Send(send::SendArgs),
    Serve(serve::ServeArgs),
    Show(show::ShowArgs),
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// Parses the command line of this process and runs the command.
pub fn main() -> ExitCode {
    let line = CommandLine::parse();
    log_to_stderr(&line.command);
    match dispatch(line.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("contourd: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Check(args) => args.run(),
        Command::Commitments(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Demo(args) => args.run(),
        Command::Doctor(args) => args.run(),
        Command::Dvh(args) => args.run(),
        Command::Echo(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Import(args) => args.run(),
        Command::Jobs(args) => args.run(),
        Command::Model(args) => args.run(),
        Command::Names(args) => args.run(),
        Command::Pull(args) => args.run(),
        Command::Receive(args) => args.run(),
        Command::Retry(args) => args.run(),
        Command::Segment(args) => args.run(),
        Command::Send(args) => args.run(),
        Command::Serve(args) => args.run(),
        Command::Show(args) => args.run(),
        Command::Worker(args) => args.run(),
    }
}

/// Human lines on a terminal, one JSON object a line elsewhere (systemd's journal); `CONTOURD_LOG` filters.
fn log_to_stderr(command: &Command) {
    // The demonstration tells its story itself; what its own receiver logs would only disturb it.
    let default = if matches!(command, Command::Demo(_)) { "warn" } else { "info,ort=warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CONTOURD_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(format!("{default},dicom_parser=error,dicom_encoding=error"))
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}

/// The ledger of the gateway that is configured in a folder; it may be running.
fn open_ledger(folder: &Path) -> anyhow::Result<Ledger> {
    let storage = match config::Loader::new(folder).load() {
        Ok(configuration) => configuration.storage_folder(),
        Err(problems) => bail!("{}", check::told(&problems).trim_end()),
    };
    Ok(Ledger::open_existing(&storage.join(LEDGER_FILE))?)
}

/// The one job whose name begins so.
fn find_job(ledger: &Ledger, beginning: &str) -> anyhow::Result<Job> {
    let mut found = ledger.jobs_beginning(beginning)?;
    match (found.pop(), found.pop()) {
        (Some(job), None) => Ok(job),
        (Some(_), Some(_)) => bail!("more than one job begins with {beginning:?}; give more of its name"),
        (None, _) => bail!("no job begins with {beginning:?}; `contourd jobs` lists them"),
    }
}
