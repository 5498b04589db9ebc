//! `sparsam train --seeds`: the same training from several seeds, one after the other or side by side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use sparsam_train::{Config, Error, Event, Outcome, RunFolder, Trainer, Units, task_to_train};

use crate::compare::spread_of;
use crate::display::{
    BETWEEN_BATCHES, LONGEST_SILENCE, Voice, grouped, live_line, measured_by, tell_notices, tick, to_json,
};
use crate::failure::OUTPUT_LOST;
use crate::settings::{SeedRun, Seeds};
use crate::shell::shell_word;
use crate::side_by_side::side_by_side;
use crate::signals::save_and_end;
use crate::style::Style;
use crate::train::use_threads;

/// Trains them all as far as they are not trained yet, and tells their mean and spread.
pub fn run(settings: &Seeds) -> anyhow::Result<ExitCode> {
    let Seeds { runs, jobs, threads, style, .. } = settings;
    use_threads(if *jobs > 1 { Some(1) } else { *threads })?;
    // What cannot be trained, and what a folder holds that is another run, is told of before anything is trained.
    if let Some(run) = runs.first() {
        run.config.validate_with(&*task_to_train(&run.config)?)?;
    }
    let mut remaining = Vec::new();
    for run in runs {
        if !is_over(run)? {
            remaining.push(run);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let teller = Teller::new(settings, runs.len() - remaining.len(), &stop);
    let asked = save_and_end(&stop, teller.bar.clone(), "finishing the batches, then saving")
        .context("the system does not tell of signals, so that Ctrl-C would save nothing")?;
    let work = |run: &&SeedRun| {
        let outcome = open(run).and_then(|mut trainer| {
            let units = Units::of(trainer.task());
            trainer.run(&mut |event: Event<'_>| teller.hear(run.config.seed, units, event), &stop)
        });
        teller.end(run.config.seed, &outcome);
    };
    if *jobs > 1 {
        side_by_side(&remaining, *jobs, threads.unwrap_or(1), &stop, &work)?;
    } else {
        remaining.iter().take_while(|_| !stop.load(Ordering::Relaxed)).for_each(work);
    }
    teller.bar.finish_and_clear();
    tell_notices();

    let state = teller.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let folders: Vec<PathBuf> = runs.iter().map(|run| run.folder.clone()).collect();
    if let Some(first) = state.failures.first() {
        anyhow::bail!("{} of {} runs failed; the first of them: {first}", state.failures.len(), runs.len());
    }
    if state.ended < runs.len() {
        let done = format!("stopped with {} of {} runs done, all saved", state.ended, runs.len());
        teller.voice.warn(&format!("{done}; the same command goes on"));
        return Ok(asked.status().map_or(ExitCode::from(OUTPUT_LOST), ExitCode::from));
    }
    let (text, value) = spread_of(&folders)?;
    let command: Vec<String> = folders.iter().map(|folder| shell_word(folder)).collect();
    let command = format!("sparsam compare {}", command.join(" "));
    match style {
        Style::Human => teller.voice.say(&format!("{text}\nbeside others: {command}")),
        Style::Json => teller.voice.say(&json!({"event": "seeds", "result": value, "compare": command}).to_string()),
        Style::Quiet => {}
    }
    Ok(if teller.voice.is_unread() { ExitCode::from(OUTPUT_LOST) } else { ExitCode::SUCCESS })
}

/// Whether nothing is left to train.
///
/// # Errors
/// [`Error::Config`] if the folder holds a run of another configuration, or one that can no longer become what this one is.
fn is_over(run: &SeedRun) -> Result<bool, Error> {
    let Ok(folder) = RunFolder::open(&run.folder) else { return Ok(false) };
    let kept = folder.config()?;
    let Config { batches, cooldown, until, patience, .. } = kept;
    // How a run ends can change while it is under way.
    let expected = Config { batches, cooldown, until, patience, ..run.config.clone() };
    if let Some((field, here, wanted)) = kept.difference(&expected)? {
        let reason = format!(
            "its {field} is {here}, not {wanted}: it is a run of another configuration; name other folders with --run, or \
             remove it"
        );
        return Err(Error::Config { source_name: run.folder.display().to_string(), reason });
    }
    // A learning rate that has begun to fall towards one end cannot have fallen towards another.
    let other_end = (kept.batches, kept.cooldown) != (run.config.batches, run.config.cooldown);
    let trained = folder.metrics()?.last().map_or(0, |line| line.batch);
    if other_end
        && trained
            > kept
                .batches
                .saturating_sub(kept.cooldown)
                .min(run.config.batches - run.config.cooldown.min(run.config.batches))
    {
        let reason = format!(
            "it was trained for {trained} batches with batches = {} and cooldown = {}, and is no longer the same training as \
             one with {} and {}; name other folders with --run, or go on with it by --resume",
            kept.batches, kept.cooldown, run.config.batches, run.config.cooldown
        );
        return Err(Error::Config { source_name: run.folder.display().to_string(), reason });
    }
    let ended = folder.history().unwrap_or_default().pop().and_then(|session| session.outcome);
    let well = ended.is_some_and(|outcome| outcome != Outcome::Stopped.name());
    Ok(well && kept.difference(&run.config)?.is_none())
}

/// Begins a run, or goes on with it.
fn open(run: &SeedRun) -> Result<Trainer, Error> {
    let Ok(folder) = RunFolder::open(&run.folder) else {
        return Trainer::new(run.config.clone(), &run.folder);
    };
    let differs = folder.config()?.difference(&run.config)?.is_some();
    let mut trainer = Trainer::resume(&run.folder)?;
    if differs {
        let Config { batches, cooldown, until, patience, .. } = run.config;
        trainer.set_end(batches, cooldown, until, patience)?;
    }
    Ok(trainer)
}

/// Tells how far everything is.
struct Teller {
    style: Style,
    bar: indicatif::ProgressBar,
    voice: Voice,
    runs: usize,
    state: Mutex<State>,
}

struct State {
    /// How far each seed is that is being trained.
    current: BTreeMap<u64, String>,
    ended: usize,
    failures: Vec<String>,
    last_word: Instant,
}

impl Teller {
    fn new(settings: &Seeds, ended: usize, stop: &Arc<AtomicBool>) -> Self {
        let bar = live_line(settings.style == Style::Human, "{spinner} {wide_msg} {elapsed}");
        tick(&bar, Duration::from_millis(500));
        let unread = settings.stop_on_closed_output.then(|| Arc::clone(stop));
        let state = State { current: BTreeMap::new(), ended, failures: Vec::new(), last_word: Instant::now() };
        Self {
            style: settings.style,
            voice: Voice::new(bar.clone(), unread),
            bar,
            runs: settings.runs.len(),
            state: Mutex::new(state),
        }
    }

    fn hear(&self, seed: u64, units: Units, event: Event<'_>) {
        if let Event::Notice { text } = event {
            // Whichever run hears of it; a text that concerns a run names its folder.
            self.voice.warn(text);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match self.style {
            Style::Quiet => None,
            Style::Json => {
                let soon = matches!(event, Event::Batch(_)) && state.last_word.elapsed() < BETWEEN_BATCHES;
                let mut value = to_json(event);
                value["seed"] = seed.into();
                (!soon).then(|| value.to_string())
            }
            Style::Human => self.human(&mut state, seed, units, event),
        };
        if let Some(text) = text {
            state.last_word = Instant::now();
            self.voice.say(&text);
        }
    }

    fn human(&self, state: &mut State, seed: u64, units: Units, event: Event<'_>) -> Option<String> {
        match event {
            Event::Started { folder, batch, .. } => {
                let from = if batch > 0 { format!(" from batch {} on", grouped(batch)) } else { String::new() };
                Some(format!("seed {seed}: training{from} in {}", folder.display()))
            }
            Event::Batch(report) => {
                let share = 100.0 * report.batch as f64 / report.batches as f64;
                state.current.insert(seed, format!("seed {seed} {share:.0} %"));
                let doing: Vec<&str> = state.current.values().map(String::as_str).collect();
                let line = format!("{} of {} runs done; now {}", state.ended, self.runs, doing.join(", "));
                self.bar.set_message(line.clone());
                (self.bar.is_hidden() && state.last_word.elapsed() >= LONGEST_SILENCE).then_some(line)
            }
            Event::Evaluated { metrics, .. } => {
                Some(format!("seed {seed}, batch {}: {}", grouped(metrics.batch), measured_by(metrics, units)))
            }
            Event::Ended { outcome, batch, .. } if outcome != Outcome::Stopped => {
                Some(format!("seed {seed}: {} after {} batches", outcome.name(), grouped(batch)))
            }
            Event::Ended { .. } | Event::Saved { .. } | Event::Notice { .. } => None,
        }
    }

    fn end(&self, seed: u64, outcome: &Result<Outcome, Error>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.current.remove(&seed);
        match outcome {
            Ok(Outcome::Stopped) => {}
            Ok(_) => state.ended += 1,
            Err(error) => {
                self.voice.warn(&format!("seed {seed} failed: {error}"));
                state.failures.push(format!("seed {seed}: {error}"));
            }
        }
    }
}
