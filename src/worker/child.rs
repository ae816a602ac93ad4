//! The worker process: takes orders from standard input until it ends, and works them off one by one.

use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use super::{Report, WorkOrder};

/// Works until standard input ends. When the daemon is gone, in whatever way, the input ends and the process exits at
/// once, in the middle of a job too: nobody waits for it any more, and the next daemon starts its own.
///
/// `run` does one job and reports progress by its second argument; its error is the cause of the failure.
///
/// # Errors
/// When standard input or output fails.
pub fn serve(mut run: impl FnMut(&WorkOrder, &mut dyn FnMut(&str, f32)) -> Report) -> io::Result<()> {
    let (orders, inbox) = mpsc::sync_channel::<String>(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if orders.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    for line in inbox {
        let report = match serde_json::from_str::<WorkOrder>(&line) {
            Ok(order) => {
                let mut progress = |stage: &str, fraction: f32| {
                    // An error here means that the daemon is gone; the input thread ends the process.
                    let _ = say(&Report::Progress { stage: stage.to_owned(), fraction });
                };
                catch_unwind(AssertUnwindSafe(|| run(&order, &mut progress))).unwrap_or_else(|_| {
                    // The message is on standard error already. What a panic left behind is not trusted with more.
                    std::process::exit(101)
                })
            }
            Err(error) => Report::Failed { cause: format!("the order could not be read: {error}") },
        };
        say(&report)?;
    }
    Ok(())
}

fn say(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_string(report)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}
