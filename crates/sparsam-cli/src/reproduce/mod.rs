//! `sparsam reproduce`: the figures and tables of Rae et al. 2016, and one of ours, trained here and drawn beside what was
//! published.

mod paper;
mod plan;
mod report;
mod train;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use sparsam_train::{Given, Machine};

use crate::display::{LONGEST_SILENCE, Voice, duration, grouped, live_line, tick};
use crate::failure::OUTPUT_LOST;
use crate::figure::Figure;
use crate::settings::Reproduce;
use crate::side_by_side::threads_of_its_own;
use crate::signals::save_and_end;
use crate::train::use_threads;

use plan::{Plan, Run};
use report::Report;
use train::{News, Trained};

/// Trains what is missing of a figure, and writes its report.
pub fn run(settings: &Reproduce) -> anyhow::Result<ExitCode> {
    let (figure, started) = (settings.figure, Instant::now());
    // Networks are trained on threads of their own.
    use_threads(Some(1))?;
    let plan = Plan::new(settings)?;
    let folder = settings.folder();
    fs::create_dir_all(&folder)
        .with_context(|| format!("{} cannot be written; choose another folder with --output", folder.display()))?;
    // Data that are not there are told of before anything is trained.
    for task in figure.tasks() {
        if let Some(run) = plan.runs.iter().find(|run| run.task == *task && run.config.task.reads_files()) {
            let built = run.config.task.build()?;
            if let Some(files) = &run.test_files {
                let kept = built.kept();
                let given = Given { kept: kept.as_ref(), evaluation_files: Some(files), ..Given::default() };
                run.config.task.build_with(given)?;
            }
        }
    }
    let teller = Teller::new(settings, &plan);
    let stop = Arc::new(AtomicBool::new(false));
    let asked = save_and_end(&stop, teller.bar.clone(), "finishing the batches, then saving")
        .context("the system does not tell of signals, so that Ctrl-C would save nothing")?;

    let mut remaining = Vec::new();
    let mut kept = 0;
    for run in &plan.runs {
        // What cannot be read fails when it is opened, and is told of then.
        match train::so_far(figure, settings.quick, run) {
            Ok(Some(Trained { done: true, .. })) => kept += 1,
            _ => remaining.push(run.clone()),
        }
    }
    let seconds = if remaining.is_empty() { 0.0 } else { estimate(settings, &remaining, &folder)? };
    teller.begin(&plan, kept, seconds);
    train::all(figure, settings.quick, &remaining, settings.threads, &stop, &|news| teller.hear(&news))?;

    let report = Report::of(settings, &plan)?;
    let files = report.write(&folder)?;
    let stopped = stop.load(Ordering::Relaxed);
    let failures = teller.end(&report, &files, started.elapsed().as_secs_f64(), stopped);
    Ok(match asked.status().filter(|_| stopped) {
        Some(status) => ExitCode::from(status),
        None if !failures.is_empty() => {
            anyhow::bail!("{} of {} runs failed: {}", failures.len(), plan.runs.len(), failures.join("; "))
        }
        _ if teller.voice.is_unread() => ExitCode::from(OUTPUT_LOST),
        _ => ExitCode::SUCCESS,
    })
}

/// Seconds that training what remains takes at most, about, without the tests. Where only the number of batches ends a
/// run, a few of its kind are trained for it.
fn estimate(settings: &Reproduce, runs: &[Run], folder: &Path) -> anyhow::Result<f64> {
    // Another command may do the same in this folder.
    let scratch = folder.join(format!(".estimate-{}", std::process::id()));
    let mut kinds: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    // A network is trained on one thread.
    let pool = threads_of_its_own(1)?;
    // When each of those that train is free again.
    let mut free = vec![0.0; settings.threads.min(runs.len())];
    for run in runs {
        let mut left = 0.0;
        for run in run.first().into_iter().chain([run]) {
            let trained = train::so_far(settings.figure, settings.quick, run).ok().flatten();
            let line = trained.as_ref().and_then(|trained| trained.metrics.last());
            let (batch, seconds) = line.map_or((0, 0.0), |line| (line.batch, line.seconds));
            left += match run.seconds {
                Some(most) => (most - seconds).max(0.0),
                None => {
                    let kind = (run.task, run.series.as_str());
                    let each = match kinds.get(&kind) {
                        Some(each) => *each,
                        None => pool.install(|| train::seconds_per_batch(run, &scratch))?,
                    };
                    kinds.insert(kind, each);
                    each * run.config.batches.saturating_sub(batch) as f64
                }
            };
        }
        if let Some(first) = free.iter_mut().min_by(|one, other| f64::total_cmp(one, other)) {
            *first += left;
        }
    }
    if scratch.exists() {
        let _ = fs::remove_dir_all(&scratch);
    }
    Ok(free.into_iter().fold(0.0, f64::max))
}

/// Tells how far everything is: a live line on a terminal, plain lines elsewhere, JSON for a program.
struct Teller {
    json: bool,
    threads: usize,
    bar: indicatif::ProgressBar,
    voice: Voice,
    /// The command that goes on where this one stops.
    command: String,
    state: Mutex<State>,
}

struct State {
    /// What is being done with each run that is being trained or tested.
    current: BTreeMap<String, String>,
    ended: usize,
    of: usize,
    failures: Vec<String>,
    last_word: Instant,
}

impl Teller {
    fn new(settings: &Reproduce, plan: &Plan) -> Self {
        let bar = live_line(!settings.json, "{spinner} {wide_msg} {elapsed}");
        tick(&bar, Duration::from_millis(500));
        let state = State {
            current: BTreeMap::new(),
            ended: 0,
            of: plan.runs.len(),
            failures: Vec::new(),
            last_word: Instant::now(),
        };
        Self {
            json: settings.json,
            threads: settings.threads,
            voice: Voice::new(bar.clone(), None),
            bar,
            command: report::command(settings),
            state: Mutex::new(state),
        }
    }

    fn say(&self, text: &str, value: Value) {
        if self.json { self.voice.say(&value.to_string()) } else { self.voice.say(text) }
    }

    fn begin(&self, plan: &Plan, kept: usize, seconds: f64) {
        let (title, runs) = (plan.figure.title(), plan.runs.len());
        let machine = Machine { threads: self.threads, ..Machine::here() };
        let tests = if matches!(plan.figure, Figure::Fig2 | Figure::Fig3) { "" } else { ", and the tests" };
        if let Ok(mut state) = self.state.lock() {
            state.ended = kept;
        }
        let done = if kept > 0 { format!(", {kept} of them done") } else { String::new() };
        let time = if kept == runs {
            "nothing is left to train".to_owned()
        } else {
            format!("this takes {} at most, about{tests}", duration(seconds))
        };
        let mut text = format!("{title}; {}\n{runs} runs{done}; {time}", machine.line());
        if !plan.left_out.is_empty() {
            text.push_str(&format!("\nleft out: {}", plan.left_out.join("; ")));
        }
        let figure = plan.figure.name();
        let value = json!({
            "event": "started", "figure": figure, "runs": runs, "done": kept, "seconds": seconds,
            "left_out": plan.left_out, "machine": machine,
        });
        self.say(&text, value);
    }

    fn hear(&self, news: &News<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let told = match news {
            News::Trained { run, batch, share } => {
                let doing = format!("{} {:.0} %", run.name(), 100.0 * share);
                state.forget_first(run);
                state.current.insert(run.name(), doing);
                let value = json!({"event": "training", "run": run.name(), "batch": batch, "share": share});
                let line = format!("{} of {} runs done; now {}", state.ended, state.of, state.doing());
                self.bar.set_message(line.clone());
                let silent = state.last_word.elapsed() >= LONGEST_SILENCE;
                (silent && (self.json || self.bar.is_hidden())).then_some((line, value))
            }
            News::Testing { run, test } => {
                let level = test.level.map_or_else(|| "what was held out".into(), |level| grouped(level as u64));
                let doing = format!("{} tested on {level}", run.name());
                state.current.insert(run.name(), doing);
                self.bar.set_message(format!("{} of {} runs done; now {}", state.ended, state.of, state.doing()));
                None
            }
            News::Notice(text) => {
                self.voice.warn(text);
                None
            }
            News::Ended { run, result } => {
                state.forget_first(run);
                state.current.remove(&run.name());
                match result {
                    Ok(trained) if trained.done => {
                        state.ended += 1;
                        let how = trained.metrics.last().map_or_else(String::new, report::line);
                        let text = format!("{}: {how} ({} of {})", run.name(), state.ended, state.of);
                        let value = json!({"event": "ended", "run": run.name(), "folder": run.folder,
                            "metrics": trained.metrics.last(), "tests": trained.tests});
                        Some((text, value))
                    }
                    Ok(_) => None,
                    Err(error) => {
                        let text = format!("{} failed: {error}", run.name());
                        state.failures.push(text.clone());
                        let value = json!({"event": "failed", "run": run.name(), "reason": error.to_string()});
                        Some((text, value))
                    }
                }
            }
        };
        if let Some((text, value)) = told {
            state.last_word = Instant::now();
            self.say(&text, value);
        }
    }

    /// Says what came of it; gives what failed.
    fn end(&self, report: &Report, files: &[String], seconds: f64, stopped: bool) -> Vec<String> {
        self.bar.finish_and_clear();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = format!("\n{}\n", report.text);
        let (time, files_told) = (duration(seconds), files.join(" "));
        if stopped {
            text.push_str(&format!("stopped after {time}, all saved; to go on: {}\n", self.command));
        } else if !state.failures.is_empty() {
            let failures = state.failures.len();
            text.push_str(&format!("took {time}; {failures} failed\n"));
        } else {
            text.push_str(&format!("took {time}\n"));
        }
        text.push_str(&format!("written: {files_told}"));
        let outcome = if stopped { "stopped" } else { "finished" };
        let value = json!({
            "event": "finished", "outcome": outcome, "files": files, "failures": state.failures, "report": report.json,
        });
        self.say(&text, value);
        state.failures.clone()
    }
}

impl State {
    /// What a run starts from is over once that run goes on.
    fn forget_first(&mut self, run: &Run) {
        if let Some(first) = &run.starts_from {
            self.current.remove(&first.name());
        }
    }

    fn doing(&self) -> String {
        self.current.values().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}
