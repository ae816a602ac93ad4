//! Progress of the demonstration: bars on a terminal, a plain line for each finished step elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress is shown.
pub(super) struct Show {
    terminal: bool,
}

/// One step while it runs.
pub(super) struct Step {
    who: String,
    bar: ProgressBar,
    start: Instant,
}

impl Show {
    pub fn new() -> Show {
        Show { terminal: std::io::stderr().is_terminal() }
    }

    /// Begins a step of `who`; `length` is how much there is to do, 0 where that is not known.
    pub fn step(&self, who: &str, what: &str, length: u64) -> Step {
        let target = if self.terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let template = if length > 0 {
            "  {prefix:9} {msg}  {bar:30} {pos}/{len}"
        } else {
            "  {prefix:9} {msg}  {spinner} {elapsed}"
        };
        // A template that does not parse would only cost the bar its looks.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(who.to_owned());
        bar.set_message(what.to_owned());
        if length == 0 {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Step { who: who.to_owned(), bar, start: Instant::now() }
    }
}

impl Step {
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    pub fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Ends the step with a line that stays.
    pub fn done(self, what: &str) {
        self.bar.finish_and_clear();
        println!("  {:9} {what}  ({:.1} s)", self.who, self.start.elapsed().as_secs_f64());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
