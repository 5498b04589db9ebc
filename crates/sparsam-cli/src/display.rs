//! How the course of training is told: a live line on a terminal, plain lines elsewhere, JSON for a program.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use sparsam_train::{BatchReport, Best, Event, Metrics, Observer, Outcome, Per, TargetKind, Units};

pub use sparsam_train::plot::grouped;

use crate::failure::{Unprinted, eprintln_if_possible};
use crate::shell::shell_word;
use crate::style::Style;

/// Off a terminal something is said at least this often, so that a log shows that training is alive.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// A program that reads hears of batches this often; every single one would be a flood.
pub const BETWEEN_BATCHES: Duration = Duration::from_secs(1);

/// Writes to standard output.
///
/// # Errors
/// [`Unprinted`] says why it cannot be written to.
pub fn print(bytes: &[u8]) -> Result<(), Unprinted> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Unprinted)
}

/// Tells on standard error what the library noted.
pub fn tell_notices() {
    for text in sparsam::internal::notice::take() {
        eprintln_if_possible(&format!("sparsam: {text}"));
    }
}

/// Standard output, above a live line on standard error. That something could not be printed is told of once.
pub struct Voice {
    bar: ProgressBar,
    /// To be set once nothing more can be printed, if training is to stop then.
    stop: Option<Arc<AtomicBool>>,
    unread: AtomicBool,
}

impl Voice {
    /// `stop`, if there is one, is set when nobody reads any more.
    pub fn new(bar: ProgressBar, stop: Option<Arc<AtomicBool>>) -> Self {
        Self { bar, stop, unread: AtomicBool::new(false) }
    }

    /// Prints a line, or several.
    pub fn say(&self, text: &str) {
        if self.is_unread() {
            return;
        }
        if let Err(error) = self.bar.suspend(|| print(format!("{text}\n").as_bytes())) {
            self.unread.store(true, Ordering::Relaxed);
            let then = if self.stop.is_some() { "training saves and stops" } else { "training goes on without it" };
            self.warn(&format!("{error}; {then}"));
            if let Some(stop) = &self.stop {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Tells of something on standard error.
    pub fn warn(&self, text: &str) {
        self.bar.suspend(|| eprintln_if_possible(&format!("sparsam: {text}")));
    }

    /// Whether something could not be printed.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }
}

/// Tells of a run of training.
pub struct Display {
    style: Style,
    /// The live line; hidden unless standard error is a terminal.
    bar: ProgressBar,
    voice: Voice,
    units: Units,
    task: &'static str,
    folder: PathBuf,
    latest_metrics: Option<Metrics>,
    latest_batch: Option<BatchReport>,
    last_word: Instant,
}

impl Display {
    /// `stop`, if there is one, is set when nobody reads any more.
    pub fn new(style: Style, task: &'static str, units: Units, stop: Option<Arc<AtomicBool>>) -> Self {
        let bar = live_line(style == Style::Human, "{prefix} {bar:16} {wide_msg}");
        let last_word = Instant::now();
        Self {
            style,
            voice: Voice::new(bar.clone(), stop),
            bar,
            units,
            task,
            folder: PathBuf::new(),
            latest_metrics: None,
            latest_batch: None,
            last_word,
        }
    }

    /// The live line, for others that write to the terminal.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Ends the live line; whether something could not be printed.
    pub fn close(self) -> bool {
        self.bar.finish_and_clear();
        self.voice.is_unread()
    }

    fn line(&mut self, text: &str) {
        self.last_word = Instant::now();
        self.voice.say(text);
    }

    fn human(&mut self, event: Event<'_>) {
        match event {
            Event::Started { folder, config, parameters, batch } => {
                self.bar.set_length(config.batches);
                self.bar.set_position(batch);
                self.bar.set_prefix(self.task);
                let model = config.network.memory.name();
                self.folder = folder.to_owned();
                let folder = folder.display();
                let parameters = grouped(parameters as u64);
                // Whoever meant other targets sees so at once.
                let targets = match self.units.kind {
                    TargetKind::Numbers => ", whose targets are numbers (mean squared error),",
                    TargetKind::Bits | TargetKind::Classes => "",
                };
                self.line(&format!("training {model} ({parameters} parameters) on {}{targets} in {folder}", self.task));
                if batch > 0 {
                    self.line(&format!("going on after batch {} of {}", grouped(batch), grouped(config.batches)));
                }
            }
            Event::Batch(report) => {
                self.latest_batch = Some(*report);
                self.bar.set_position(report.batch);
                if !self.bar.is_hidden() {
                    self.bar.set_message(live(report, self.units));
                } else if self.last_word.elapsed() >= LONGEST_SILENCE {
                    let loss = told_loss(report.running_loss, None, Some(report.running_guessing), self.units);
                    let wrong = told_wrong(report.running_wrong, ", ", self.units);
                    self.line(&plain(report, &format!("training {loss}{wrong}"), self.units));
                }
            }
            Event::Evaluated { metrics, .. } => {
                self.latest_metrics = Some(metrics.clone());
                // On a terminal it stays above the live line.
                if let Some(report) = self.latest_batch {
                    let errors = metrics.mean_error.map(|mean| {
                        let failed = metrics.failed.map_or_else(String::new, |failed| format!(", {failed} failed"));
                        format!("; mean error {:.1} %{failed}", 100.0 * mean)
                    });
                    let text = plain(&report, &measured_by(metrics, self.units), self.units);
                    self.line(&(text + &errors.unwrap_or_default()));
                }
            }
            Event::Saved { .. } | Event::Notice { .. } => {}
            Event::Ended { outcome: Outcome::Stopped, .. } => {}
            Event::Ended { outcome, batch, sequences, best } => self.ended(outcome, batch, sequences, best),
        }
    }

    /// The last lines, once there is nothing left to train: how it ended, and how the best network does, before the newest.
    fn ended(&mut self, outcome: Outcome, batch: u64, sequences: u64, best: Option<&Best>) {
        let newest = self.latest_metrics.take();
        let time = newest.as_ref().map_or_else(String::new, |line| format!(" in {}", duration(line.seconds)));
        let (batches, sequences) = (grouped(batch), grouped(sequences));
        self.line(&match outcome {
            Outcome::Learnt => format!("learnt {} after {sequences} sequences, {batches} batches{time}", self.task),
            Outcome::NoBetter => format!("no lower loss for long: ended after {batches} batches{time}"),
            Outcome::Finished | Outcome::Stopped => format!("finished {batches} batches{time}"),
        });
        if let Some(Best { batch, evaluation, .. }) = best {
            let sequences = format!("{} sequences", grouped(evaluation.sequences));
            let right = evaluation.right.zip(evaluation.right_error);
            let (loss, guessing, wrong) = (evaluation.loss, Some(evaluation.guessing), evaluation.wrong);
            let errors = evaluation.mean_error().map(|mean| format!("; mean error {:.1} %", 100.0 * mean));
            let text = measured(loss, None, guessing, wrong, right, &sequences, self.units);
            self.line(&format!("best, after {} batches: {text}{}", grouped(*batch), errors.unwrap_or_default()));
        }
        if let Some(newest) = newest.filter(|newest| best.is_none_or(|best| best.batch != newest.batch)) {
            let text = measured_by(&newest, self.units);
            self.line(&format!("newest, after {} batches: {text}", grouped(newest.batch)));
        }
        let folder = shell_word(&self.folder);
        self.line(&format!("measure the best on sequences of any length: sparsam eval {folder}"));
    }

    fn json(&mut self, event: Event<'_>) {
        if matches!(event, Event::Batch(_)) && self.last_word.elapsed() < BETWEEN_BATCHES {
            return;
        }
        self.line(&to_json(event).to_string());
    }
}

/// An event as a program reads it.
pub fn to_json(event: Event<'_>) -> Value {
    match event {
        Event::Started { folder, config, parameters, batch } => json!({
            "event": "started",
            "folder": folder.display().to_string(),
            "task": config.task.name(),
            "model": config.network.memory.name(),
            "parameters": parameters,
            "batch": batch,
            "batches": config.batches,
            "resume": format!("sparsam train --resume {}", shell_word(folder)),
        }),
        Event::Batch(report) => with_name("batch", serde_json::to_value(report)),
        Event::Evaluated { metrics, best } => {
            let mut value = with_name("evaluated", serde_json::to_value(metrics));
            value["best"] = best.into();
            value
        }
        Event::Notice { text } => json!({"event": "notice", "text": text}),
        Event::Saved { batch, path } => {
            json!({"event": "saved", "batch": batch, "path": path.display().to_string()})
        }
        Event::Ended { outcome, batch, sequences, best } => {
            json!({"event": "ended", "outcome": outcome.name(), "batch": batch, "sequences": sequences, "best": best})
        }
    }
}

impl Observer for Display {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Notice { text } = event {
            self.voice.warn(text);
        }
        match self.style {
            Style::Human => self.human(event),
            Style::Json => self.json(event),
            Style::Quiet => {}
        }
    }
}

/// A line on standard error that is drawn anew again and again; hidden unless that is a terminal.
pub fn live_line(wanted: bool, template: &str) -> ProgressBar {
    if !wanted || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    // A fixed template is either always right or never; without it the line is merely plainer.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Has a line that is shown drawn anew so often, by a thread if one is to be had.
pub fn tick(bar: &ProgressBar, interval: Duration) {
    if !bar.is_hidden() && sparsam::internal::threads::obtainable(1) == 1 {
        bar.enable_steady_tick(interval);
    }
}

/// The live line of an evaluation.
#[derive(Clone)]
pub struct EvaluationLine {
    bar: ProgressBar,
}

impl EvaluationLine {
    /// A line that is yet to begin; hidden if a program reads.
    pub fn new(json: bool) -> Self {
        Self { bar: live_line(!json, "{prefix} {bar:16} {msg}, {elapsed}") }
    }

    /// Shows the line for the first time, for so many sequences.
    pub fn begin(&self, task: &'static str, sequences: u64) {
        self.bar.set_length(sequences);
        self.bar.set_prefix(task);
        self.show(0);
        // A batch of long sequences takes minutes; meanwhile the clock shows that it is being worked on.
        tick(&self.bar, Duration::from_secs(1));
    }

    /// Shows how many sequences are done.
    pub fn show(&self, done: u64) {
        let sequences = self.bar.length().unwrap_or(0);
        self.bar.set_message(format!("{}/{} sequences", grouped(done), grouped(sequences)));
        self.bar.set_position(done);
    }

    /// Removes the line.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn with_name(name: &str, value: serde_json::Result<Value>) -> Value {
    let mut value = value.unwrap_or_else(|_| json!({}));
    value["event"] = name.into();
    value
}

/// The live line behind the bar.
fn live(report: &BatchReport, units: Units) -> String {
    format!(
        "{}/{}  {}{}{}  {} sequences/s  {} left",
        grouped(report.batch),
        grouped(report.batches),
        report.level.map_or_else(String::new, |level| format!("up to {} {}  ", grouped(level as u64), units.level)),
        told_loss(report.running_loss, None, Some(report.running_guessing), units),
        told_wrong(report.running_wrong, "  ", units),
        rate(report.sequences_per_second),
        duration(report.seconds_left),
    )
}

/// A line of a log that tells this of a batch.
fn plain(report: &BatchReport, text: &str, units: Units) -> String {
    format!(
        "batch {} of {}{}: {text}; {} sequences/s, {} left",
        grouped(report.batch),
        grouped(report.batches),
        report.level.map_or_else(String::new, |level| format!(", up to {} {}", grouped(level as u64), units.level)),
        rate(report.sequences_per_second),
        duration(report.seconds_left),
    )
}

/// What an evaluation during training measured.
pub fn measured_by(line: &Metrics, units: Units) -> String {
    measured(line.loss, None, line.guessing, line.wrong, line.right.zip(line.right_error), "sequences", units)
}

/// What an evaluation measured, the loss with its standard error if that is given; `right` is a share of these sequences, and
/// its standard error.
pub fn measured(
    loss: f64,
    loss_error: Option<f64>,
    guessing: Option<f64>,
    wrong: Option<f64>,
    right: Option<(f64, f64)>,
    sequences: &str,
    units: Units,
) -> String {
    let right =
        right.map_or_else(String::new, |(right, error)| format!(", {} of {sequences} right", percent(right, error)));
    format!("{}{}{right}", told_loss(loss, loss_error, guessing, units), told_wrong(wrong, ", ", units))
}

/// "loss 0.05 of 84.0 bits", "mean squared error 0.01 of 2.3 for their mean".
fn told_loss(loss: f64, error: Option<f64>, guessing: Option<f64>, units: Units) -> String {
    let guessed = guessing.map_or_else(String::new, |guessing| format!(" of {}", told_guessing(guessing, units)));
    let error = error.map_or_else(String::new, |error| format!(" ± {}", amount(error)));
    let loss = amount(loss);
    match units.kind {
        TargetKind::Numbers => format!("mean squared error {loss}{error}{guessed} for their mean"),
        TargetKind::Bits | TargetKind::Classes => format!("loss {loss}{error}{guessed} {}", units.loss()),
    }
}

/// The loss of guessing.
pub fn told_guessing(guessing: f64, units: Units) -> String {
    match (units.kind, units.per) {
        (TargetKind::Bits | TargetKind::Classes, Per::Sequence) => format!("{guessing:.1}"),
        _ => amount(guessing),
    }
}

/// What is wrong, after what stands before it; nothing where no output is right or wrong.
fn told_wrong(wrong: Option<f64>, before: &str, units: Units) -> String {
    let Some((wrong, what)) = wrong.zip(units.wrong()) else { return String::new() };
    match units.per {
        Per::Sequence => format!("{before}{} {what} wrong", amount(wrong)),
        Per::Target(_) => format!("{before}{:.1} % of {what} wrong", 100.0 * wrong),
    }
}

/// A loss or a number of wrong outputs, to about three digits.
pub fn amount(value: f64) -> String {
    match value.abs() {
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.1.. => format!("{value:.3}"),
        0.001.. => format!("{value:.4}"),
        0.0 => "0".into(),
        _ => format!("{value:.1e}"),
    }
}

/// A share and its standard error in percent: 99.6 ± 0.4 %.
pub fn percent(share: f64, error: f64) -> String {
    let digits = if error < 0.001 { 2 } else { 1 };
    format!("{:.digits$} ± {:.digits$} %", 100.0 * share, 100.0 * error)
}

/// Long sequences are fewer than one a second.
fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.2}") } else { format!("{per_second:.0}") }
}

/// A length of time in its two largest units: 2m 13s.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_have_the_units_of_their_targets() {
        let units = |kind, per| Units { kind, per, level: "sequences" };
        let (bits, classes) = (units(TargetKind::Bits, Per::Sequence), TargetKind::Classes);
        let told = measured(0.05, None, Some(84.0), Some(0.012), Some((0.996, 0.004)), "sequences", bits);
        assert_eq!(told, "loss 0.0500 of 84.0 bits, 0.0120 bits wrong, 99.6 ± 0.4 % of sequences right");
        let characters = units(classes, Per::Target("character"));
        let told = measured(2.13, Some(0.02), Some(4.307), Some(0.471), None, "sequences", characters);
        assert_eq!(told, "loss 2.13 ± 0.0200 of 4.31 bits a character, 47.1 % of characters wrong");
        let numbers = units(TargetKind::Numbers, Per::Target("number"));
        let told = measured(0.012, None, Some(0.35), None, None, "sequences", numbers);
        assert_eq!(told, "mean squared error 0.0120 of 0.350 for their mean");
    }

    #[test]
    fn counts_and_times_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let times = [0.4, 59.6, 133.0, 3600.0, 90_000.0, f64::INFINITY].map(duration);
        assert_eq!(times[..5], ["0s", "1m 0s", "2m 13s", "1h 0m", "1d 1h"]);
        let amounts = [84.04, 1.234, 0.5, 0.01234, 0.0, 3.21e-5, f64::NAN].map(amount);
        assert_eq!(amounts, ["84.0", "1.23", "0.500", "0.0123", "0", "3.2e-5", "NaN"]);
        assert_eq!([percent(0.996, 0.004), percent(1.0, 0.0005)], ["99.6 ± 0.4 %", "100.00 ± 0.05 %"]);
    }
}
