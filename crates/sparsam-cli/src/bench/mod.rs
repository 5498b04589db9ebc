//! `sparsam bench`: what a step, a sequence and an index cost on this machine, beside what the paper measured.

mod figure;
pub mod index;
pub mod memory;
pub mod step;
mod trained;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};
use sparsam::index::IndexKind;
use sparsam::internal::{available_bytes, file};
use sparsam::memory::Footprint;
use sparsam::option::{Declared, OptionValue};
use sparsam::{Model, Network, NetworkConfig};
use sparsam_train::Machine;
use sparsam_train::plot::bytes as told_bytes;

use crate::display::{duration, grouped, live_line, print, tick};
use crate::failure::{INTERRUPTED, Mistake};
use crate::models::{has_index, is_linked};
use crate::settings::{Bench, BenchCommon, BenchModels};
use crate::shell::shell_word;
use crate::signals::{Asked, save_and_end_unless};
use crate::table;
use crate::train::use_threads;

/// Numbers in a word, W, as in the paper's measurements.
const WORD_SIZE: usize = 32;
/// Hidden units of the controller, as in the paper's measurements.
const HIDDEN: usize = 100;
/// Numbers into and out of the controller at each step; the paper does not give them, and they hardly matter.
const INPUT: usize = 10;
const OUTPUT: usize = 8;
/// Access heads.
const HEADS: usize = 4;
/// Words read by a head, K.
const READS: usize = 4;

/// Numbers of words.
const SIZES: &[usize] = &[64, 256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 10_000_000];
/// For the models with temporal links, whose dense ones take N² numbers.
const LINKED_SIZES: &[usize] = &[64, 128, 256, 512, 1 << 10, 1 << 11, 1 << 12];
const QUICK_LINKED_SIZES: &[usize] = &[64, 512, 1 << 11];

/// Share of the available memory that a measurement may take: what is left keeps the machine from swapping.
const SHARE_OF_MEMORY: f64 = 0.85;

/// Seconds that `--quick` takes at most, about.
const QUICK_SECONDS: f64 = 110.0;

/// Runs a benchmark.
pub fn run(settings: Bench) -> anyhow::Result<ExitCode> {
    match settings {
        Bench::Step(settings) => step::run(&settings),
        Bench::Memory(settings) => memory::run(&settings),
        Bench::Index(settings) => index::run(&settings),
        Bench::Point(settings) => memory::run_point(&settings),
    }
}

/// The dense model that a model is compared with.
fn dense(model: &str) -> &'static str {
    if is_linked(model) { "dnc" } else { "ntm" }
}

/// What a line in a picture is about: a model, and the index of a sparse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant {
    model: &'static str,
    index: Option<IndexKind>,
    /// Every word of the memory was stored before.
    full: bool,
}

impl Variant {
    /// The models' variants: a sparse model has one for each index.
    fn all(models: &[&'static str], indexes: &[IndexKind]) -> Vec<Self> {
        let of = |model: &'static str| -> Vec<Self> {
            if has_index(model) {
                indexes.iter().map(|index| Self { model, index: Some(*index), full: true }).collect()
            } else {
                vec![Self { model, index: None, full: true }]
            }
        };
        models.iter().flat_map(|model| of(model)).collect()
    }

    /// Those that are asked for.
    fn chosen(settings: &BenchModels) -> Vec<Self> {
        let mut variants = Self::all(&settings.models, &settings.common.indexes);
        if settings.empty {
            let sparse = variants.iter().filter(|variant| variant.index.is_some());
            let empty = sparse.map(|variant| Self { full: false, ..*variant });
            variants.extend(empty.collect::<Vec<_>>());
        }
        variants
    }

    /// The numbers of words to measure it with: those asked for, or all, or with `--quick` these.
    fn sizes<'a>(self, common: &'a BenchCommon, quick: &'a [usize]) -> &'a [usize] {
        match (&common.sizes[..], is_linked(self.model), common.quick) {
            (chosen, ..) if !chosen.is_empty() => chosen,
            (_, false, false) => SIZES,
            (_, false, true) => quick,
            (_, true, false) => LINKED_SIZES,
            (_, true, true) => QUICK_LINKED_SIZES,
        }
    }

    /// "SAM ivf", "NTM", "SAM linear, empty".
    fn name(self) -> String {
        let index = self.index.map_or(String::new(), |index| format!(" {}", index.name()));
        format!("{}{index}{}", self.model.to_uppercase(), if self.full { "" } else { ", empty" })
    }

    /// The memory, with those of the sizes that are measured which it has.
    fn memory(self, memory_size: usize) -> Model {
        let mut memory = Model::by_name(self.model).unwrap_or(Model::Lstm).with_memory_size(memory_size);
        for (name, value) in [("word_size", WORD_SIZE), ("heads", HEADS), ("reads", READS)] {
            memory.set_option(name, &value.to_value());
        }
        if let Some(index) = self.index {
            memory.set_option("index", &index.to_value());
        }
        memory
    }

    /// What the memory and the tape of so many steps take.
    fn footprint(self, memory_size: usize, steps: usize) -> Option<Footprint> {
        self.memory(memory_size).footprint(steps, size_of::<f32>())
    }

    fn network(self, memory_size: usize) -> Result<Network<f32>, sparsam::Error> {
        let memory = self.memory(memory_size);
        Network::new(NetworkConfig::new(INPUT, OUTPUT).with_hidden_size(HIDDEN).with_memory(memory), 1)
    }

    /// Bytes of one state of a dense memory; none for a sparse one.
    fn frame_bytes(self, memory_size: usize) -> Option<u128> {
        match self.footprint(memory_size, 1)? {
            Footprint::Dense { state } => Some(state),
            Footprint::Sparse { .. } => None,
        }
    }
}

/// The first to the last decile of what was measured.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    median: f64,
    first_decile: f64,
    first_quartile: f64,
    last_quartile: f64,
    last_decile: f64,
    repeats: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * values.len().saturating_sub(1) as f64;
            let [low, high] = [place.floor(), place.ceil()].map(|n| values.get(n as usize).copied().unwrap_or(0.0));
            low + (high - low) * place.fract()
        };
        Self {
            median: at(0.5),
            first_decile: at(0.1),
            first_quartile: at(0.25),
            last_quartile: at(0.75),
            last_decile: at(0.9),
            repeats: values.len(),
        }
    }
}

/// A point that was not measured, and why.
#[derive(Clone, Debug, Serialize)]
struct Skipped {
    series: String,
    words: usize,
    reason: String,
}

impl Skipped {
    fn line(&self) -> String {
        let Self { series, words, reason } = self;
        format!("left out: {series} with {} words: {reason}", grouped(*words as u64))
    }
}

/// What a benchmark writes and prints.
struct Report<'a> {
    name: &'static str,
    common: &'a BenchCommon,
    machine: Machine,
    options: Value,
    skipped: Vec<Skipped>,
    points: Vec<Value>,
    /// Every point was measured.
    complete: bool,
    bar: ProgressBar,
    asked: Asked,
    stop: Arc<AtomicBool>,
    /// Something long is done that has nothing to show yet: Ctrl-C ends it at once, and all before it is written.
    at_once: Arc<AtomicBool>,
    started: Instant,
}

impl<'a> Report<'a> {
    fn new(name: &'static str, common: &'a BenchCommon, options: Value) -> anyhow::Result<Self> {
        use_threads(common.threads)?;
        let bar = live_line(!common.json, "{spinner} {wide_msg} {elapsed}");
        tick(&bar, std::time::Duration::from_millis(500));
        let stop = Arc::new(AtomicBool::new(false));
        let at_once = Arc::new(AtomicBool::new(false));
        let asked = save_and_end_unless(
            &at_once,
            "stopped; what was measured before is written",
            &stop,
            bar.clone(),
            "ending this point, then writing",
        )
        .context("the system does not tell of signals, so that Ctrl-C would lose what was measured")?;
        Ok(Self {
            name,
            common,
            machine: Machine::here(),
            options,
            skipped: Vec::new(),
            points: Vec::new(),
            complete: false,
            bar,
            asked,
            stop,
            at_once,
            started: Instant::now(),
        })
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Does what has nothing to show until it is done; what was measured before must be written.
    fn at_once<R>(&self, work: impl FnOnce() -> R) -> R {
        self.at_once.store(true, Ordering::Relaxed);
        let result = work();
        self.at_once.store(false, Ordering::Relaxed);
        result
    }

    /// A line of the table, for a person.
    fn say(&self, line: &str) -> anyhow::Result<()> {
        if !self.common.json {
            self.bar.suspend(|| print(format!("{line}\n").as_bytes()))?;
        }
        Ok(())
    }

    /// What is being done.
    fn show(&self, doing: String) {
        self.bar.set_message(doing);
    }

    fn skip(&mut self, series: String, words: usize, reason: String) {
        self.skipped.push(Skipped { series, words, reason });
    }

    /// Refuses a size that was asked for and that nothing can be measured with, `planned` being those that can.
    fn check_sizes(&self, planned: impl Fn(usize) -> bool) -> anyhow::Result<()> {
        for size in self.common.sizes.iter().filter(|size| !planned(**size)) {
            if let Some(Skipped { series, reason, .. }) = self.skipped.iter().find(|skipped| skipped.words == *size) {
                let text = format!("--sizes {size} does not work: {series}: {reason}; choose fewer words");
                return Err(Mistake(text).into());
            }
        }
        Ok(())
    }

    /// Starts what is worth starting: says what is measured, what is left out and how long it takes, and makes the
    /// folder, so that a folder that cannot be written is found before an hour of measuring.
    fn begin(&self, subject: &str, full: &str, seconds: f64) -> anyhow::Result<()> {
        fs::create_dir_all(&self.common.output).with_context(|| in_folder(&self.common.output))?;
        self.write(&[])?;
        self.say(&format!("{subject}; {}", self.machine.line()))?;
        self.skipped.iter().try_for_each(|skipped| self.say(&skipped.line()))?;
        self.say(&format!("{full}; this takes {}\n", about(seconds)))
    }

    fn json(&self) -> Value {
        json!({
            "benchmark": self.name,
            "complete": self.complete,
            "machine": self.machine,
            "options": self.options,
            "skipped": self.skipped,
            "points": self.points,
        })
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.common.output.join(format!("{}{ending}", self.name))
    }

    /// Writes the JSON, the CSV and the pictures: endings of their names, and themselves.
    fn write(&self, pictures: &[(String, String)]) -> anyhow::Result<()> {
        let write = |ending: &str, text: &str| {
            let path = self.path(ending);
            file::replace(&path, text.as_bytes()).with_context(|| in_folder(&path))
        };
        write(".json", &format!("{:#}\n", self.json()))?;
        write(".csv", &table::csv(&self.points))?;
        pictures.iter().try_for_each(|(ending, svg)| write(ending, svg))
    }

    /// Says where everything is, or prints it, and how it ended.
    fn end(self, pictures: &[(String, String)]) -> anyhow::Result<ExitCode> {
        self.write(pictures)?;
        self.bar.finish_and_clear();
        if self.common.json {
            print(format!("{}\n", self.json()).as_bytes())?;
        } else {
            let endings = pictures.iter().map(|(ending, _)| ending.as_str());
            let files = endings.chain([".csv", ".json"]).map(|ending| shell_word(&self.path(ending)));
            let files = files.collect::<Vec<_>>().join(" ");
            let (time, how) =
                (duration(self.started.elapsed().as_secs_f64()), if self.complete { "took" } else { "stopped after" });
            self.say(&format!("\n{how} {time}; written: {files}"))?;
        }
        if self.complete {
            Ok(ExitCode::SUCCESS)
        } else {
            Ok(ExitCode::from(self.asked.status().unwrap_or(INTERRUPTED)))
        }
    }
}

fn in_folder(path: &Path) -> String {
    format!("{} cannot be written; choose another folder with --output", path.display())
}

/// Bytes that may be taken; as good as all where the system does not say what is available.
fn room() -> u128 {
    available_bytes().map_or(u128::MAX, |bytes| (bytes as f64 * SHARE_OF_MEMORY) as u128)
}

/// "it needs 38.4 GiB and 14.2 GiB are available".
fn no_room(bytes: u128) -> String {
    let available = available_bytes().unwrap_or(0);
    format!("it needs {} ({bytes} bytes), and {} are available", told_bytes(bytes as f64), told_bytes(available as f64))
}

/// What is not full where empty memories are measured as well.
fn but_empty(empty: bool) -> &'static str {
    if empty { ", but where \"empty\" is said" } else { "" }
}

/// "about 3m 20s".
fn about(seconds: f64) -> String {
    format!("about {}", duration(seconds.max(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::with_memory;

    #[test]
    fn the_spread_lies_around_the_median() {
        let spread = Spread::of((0..=10).rev().map(f64::from).collect());
        assert_eq!((spread.first_decile, spread.median, spread.last_decile, spread.repeats), (1.0, 5.0, 9.0, 11));
        assert_eq!(Spread::of(vec![3.0, 5.0]).median, 4.0);
        assert_eq!(Spread::of(Vec::new()).median, 0.0);
    }

    #[test]
    fn every_memory_is_measured_as_what_it_is() {
        // In the order of the pictures: those with links last, and of either the dense ones first.
        assert!(with_memory().is_sorted_by_key(|model| (is_linked(model), has_index(model))));
        assert_eq!(with_memory().len() + 1, Model::NAMES.len());
        for model in with_memory() {
            let index = has_index(model).then_some(IndexKind::Linear);
            let variant = Variant { model, index, full: true };
            let memory = variant.memory(4096);
            assert_eq!(memory.name(), model);
            let option = |name: &str| memory.option(name);
            assert_eq!(option("memory_size"), Some(4096usize.to_value()));
            assert_eq!(option("heads"), Some(HEADS.to_value()));
            assert!(index.is_none() || option("index") == Some(IndexKind::Linear.to_value()));
            let built = memory.build::<f32>().unwrap().unwrap();
            assert_eq!(variant.frame_bytes(4096).unwrap_or(0), built.tape_growth(1), "{model}");
        }
    }
}
