//! `sparsam bench memory`: physical memory of a sequence, forward and back, over numbers of words. Every point is
//! measured in a process of its own, as the operating system accounts it.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparsam::index::IndexKind;
use sparsam::{Error, Network, Parameters, Runner};
use sparsam_train::plot::{Unit, bytes};

use super::figure::{Figure, InPaper, Place, Subject};
use super::step::{fill, inputs};
use super::{
    HEADS, HIDDEN, INPUT, OUTPUT, QUICK_SECONDS, READS, Report, Variant, WORD_SIZE, about, but_empty, dense, no_room,
    room,
};
use crate::display::{grouped, print};
use crate::failure::Mistake;
use crate::models::is_linked;
use crate::process::status_bytes;
use crate::settings::{BenchModels, BenchPoint};
use crate::table::{ratio, row};

const QUICK_SIZES: &[usize] = &[64, 1 << 10, 1 << 14, 1 << 16];

/// Time steps, as in the paper.
const STEPS: usize = 100;
const LINKED_STEPS: usize = 10;

/// What the paper measured beyond the initial memory.
const PAPER: [InPaper; 3] = [
    InPaper { series: "NTM", words: 1 << 16, value: 29.0 * (1u64 << 30) as f64, told: "NTM 29 GiB" },
    InPaper { series: "NTM", words: 64, value: 30.0 * (1 << 20) as f64, told: "NTM about 30 MiB" },
    InPaper { series: "SAM linear", words: 1 << 16, value: 7.8 * (1 << 20) as f64, told: "SAM 7.8 MiB" },
];

/// What a process measured of itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Measured {
    /// Physical memory of the program before it had a network.
    program_bytes: u64,
    /// Physical memory before the sequence, and at its most during it.
    before_bytes: u64,
    peak_bytes: u64,
    seconds: f64,
}

/// One measured point.
#[derive(Clone, Debug, Serialize)]
struct Point {
    series: String,
    model: &'static str,
    index: Option<&'static str>,
    words: usize,
    /// Every word was stored before the sequence.
    full: bool,
    steps: usize,
    /// Physical memory of the sequence: at its most, less what there was before.
    bytes: f64,
    /// First to last of the repeats.
    least_bytes: f64,
    most_bytes: f64,
    /// Physical memory of network, memory and sequence, at its most.
    total_bytes: f64,
    repeats: usize,
    /// The dense model's sequence over this one.
    saving: Option<f64>,
    /// The same of all memory.
    total_saving: Option<f64>,
}

fn steps(model: &str) -> usize {
    if is_linked(model) { LINKED_STEPS } else { STEPS }
}

/// Runs the benchmark.
pub fn run(settings: &BenchModels) -> anyhow::Result<ExitCode> {
    let common = &settings.common;
    let variants = Variant::chosen(settings);
    let repeats = common.repeats.min(if common.quick { 1 } else { 3 });
    let options = json!({
        "batch": 1, "hidden_size": HIDDEN, "heads": HEADS, "reads": READS, "word_size": WORD_SIZE,
        "input_size": INPUT, "output_size": OUTPUT, "quick": common.quick, "repeats": repeats,
        "words": "distinct, normal and independent; the memory full of them before the sequence unless full is false",
    });
    let mut report = Report::new("memory", common, options)?;
    let mut plans = Vec::new();
    for variant in &variants {
        for words in variant.sizes(common, QUICK_SIZES) {
            let needed = needed(*variant, *words);
            let seconds = cost(*variant, *words);
            if needed > room() {
                report.skip(variant.name(), *words, no_room(needed));
            } else if common.quick && seconds > QUICK_SECONDS / 4.0 {
                let reason = format!("it takes {}; leave --quick out for it", about(seconds));
                report.skip(variant.name(), *words, reason);
            } else {
                plans.push((*variant, *words, seconds));
            }
        }
    }
    report.check_sizes(|size| plans.iter().any(|(_, words, _)| *words == size))?;
    let total: f64 = plans.iter().map(|(.., seconds)| seconds * repeats as f64).sum();
    report.begin(
        &format!("physical memory of one sequence forward and back, {STEPS} steps, {LINKED_STEPS} for DNC and SDNC"),
        &format!("every memory is full of distinct words before the sequence{}", but_empty(settings.empty)),
        total,
    )?;
    report.say(&cells(["words", "model", "T", "a sequence", "", "NTM/DNC ÷ it", "in all", "NTM/DNC ÷ it"]))?;

    plans.sort_by_key(|(_, words, _)| *words);
    let mut points: Vec<Point> = Vec::new();
    for (variant, words, _) in plans {
        let mut all = Vec::new();
        for _ in 0..repeats {
            if report.stopped() {
                break;
            }
            report.show(format!("{} with {} words", variant.name(), grouped(words as u64)));
            match measured(variant, words) {
                Ok(measured) => all.push(measured),
                // A signal for all processes of the terminal ended the child.
                Err(_) if report.stopped() => break,
                Err(error) => return Err(error),
            }
        }
        if all.is_empty() {
            continue;
        }
        let mut taken: Vec<f64> =
            all.iter().map(|one| one.peak_bytes.saturating_sub(one.before_bytes) as f64).collect();
        taken.sort_by(f64::total_cmp);
        let mut totals: Vec<f64> =
            all.iter().map(|one| one.peak_bytes.saturating_sub(one.program_bytes) as f64).collect();
        totals.sort_by(f64::total_cmp);
        let (bytes, total_bytes) = (taken[taken.len() / 2], totals[totals.len() / 2]);
        let dense = dense(variant.model);
        let this = Some((variant.model, bytes, total_bytes)).filter(|this| this.0 == dense);
        let of_dense = points.iter().find(|point| point.model == dense && point.words == words);
        let of_dense = this.or(of_dense.map(|point| (point.model, point.bytes, point.total_bytes)));
        let point = Point {
            series: variant.name(),
            model: variant.model,
            index: variant.index.map(IndexKind::name),
            words,
            full: variant.full,
            steps: steps(variant.model),
            bytes,
            least_bytes: taken[0],
            most_bytes: taken[taken.len() - 1],
            total_bytes,
            repeats: all.len(),
            saving: of_dense.map(|(_, of_dense, _)| of_dense / bytes.max(1.0)),
            total_saving: of_dense.map(|(.., of_dense)| of_dense / total_bytes.max(1.0)),
        };
        report.say(&line(&point, points.last().is_none_or(|last| last.words != words)))?;
        points.push(point);
        report.points = points.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
        report.write(&figure(&report).pictures(&places(&points)))?;
    }
    report.complete = !report.stopped();
    let (figure, places) = (figure(&report), places(&points));
    for line in figure.beside_the_paper(&places) {
        report.say(&line)?;
    }
    report.end(&figure.pictures(&places))
}

/// Bytes of physical memory that a point takes, about.
fn needed(variant: Variant, words: usize) -> u128 {
    const REST: u128 = 64 << 20;
    match variant.frame_bytes(words) {
        Some(frame) => frame * (steps(variant.model) as u128 + 2) + REST,
        None if !variant.full => REST,
        // Words, and an index that has a copy of them.
        None => words as u128 * (8 * WORD_SIZE as u128 + 32) + REST,
    }
}

/// Seconds that a point takes, about: a dense one goes over its states, a full one stores its words.
fn cost(variant: Variant, words: usize) -> f64 {
    let words_stored = if variant.full { words as f64 * 5e-6 } else { 0.0 };
    let states = variant.frame_bytes(words).map_or(0.0, |frame| (frame as f64 * steps(variant.model) as f64) * 2e-9);
    0.2 + words_stored + states
}

/// Measures a point in a process of its own.
fn measured(variant: Variant, words: usize) -> anyhow::Result<Measured> {
    let mut command = Command::new(std::env::current_exe().context("the command does not find itself")?);
    command.args(["bench", "point", "--model", variant.model, "--words", &words.to_string()]);
    command.args(["--steps", &steps(variant.model).to_string()]);
    if let Some(index) = variant.index {
        command.args(["--index", index.name()]);
    }
    if !variant.full {
        command.arg("--empty");
    }
    let output = command.stdin(Stdio::null()).output().context("a process for the measurement cannot be started")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("sparsam: ");
        let words = grouped(words as u64);
        let (name, status) = (variant.name(), output.status);
        anyhow::bail!("measuring {name} with {words} words ended ({status}): {said}");
    }
    serde_json::from_slice(&output.stdout).context("a process for the measurement said something else")
}

/// Runs one sequence in this process and prints what the system accounted to it.
pub fn run_point(settings: &BenchPoint) -> anyhow::Result<ExitCode> {
    let variant = Variant { model: settings.model, index: settings.index, full: !settings.empty };
    let measured = measure_here(variant, settings.words, settings.steps).map_err(sparsam_train::Error::from)?;
    let measured = measured
        .ok_or_else(|| Mistake("the system does not account memory in /proc/self/status; run it on Linux".into()))?;
    print(format!("{}\n", serde_json::to_string(&measured)?).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn measure_here(variant: Variant, words: usize, steps: usize) -> Result<Option<Measured>, Error> {
    // A small one goes first, so that the program's own code is in memory before. It stays, so that nothing of its
    // memory is used again.
    let small = variant.network(64)?;
    let mut before_it = Sequence::new(&small, 2)?;
    fill(&mut before_it.runner, 64);
    before_it.run(&small)?;
    let program = status_bytes("VmRSS");

    let network = variant.network(words)?;
    let mut sequence = Sequence::new(&network, steps)?;
    if variant.full {
        fill(&mut sequence.runner, words);
    }
    reset_peak();
    let started = Instant::now();
    let before = status_bytes("VmRSS");
    sequence.run(&network)?;
    let seconds = started.elapsed().as_secs_f64();
    // Where the peak could not be reset, one before the sequence is no higher than what stands at its start.
    let measured = program.zip(before).zip(status_bytes("VmHWM"));
    Ok(measured.map(|((program_bytes, before_bytes), peak_bytes)| Measured {
        program_bytes,
        before_bytes,
        peak_bytes,
        seconds,
    }))
}

/// One sequence with all that is there before it: parameters' gradients, inputs and outputs.
struct Sequence {
    runner: Runner<f32>,
    gradients: Parameters<f32>,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

impl Sequence {
    fn new(network: &Network<f32>, steps: usize) -> Result<Self, Error> {
        let (runner, inputs, mut outputs) = (Runner::new(network, 1)?, inputs(steps, 1), vec![0.0; steps * OUTPUT]);
        let mut gradients = network.zeros();
        // Zeros alone would not be in physical memory yet.
        outputs.fill(1.0);
        gradients.values_mut().fill(1.0);
        Ok(Self { runner, gradients, inputs, outputs })
    }

    /// Forward and back.
    fn run(&mut self, network: &Network<f32>) -> Result<(), Error> {
        self.runner.forward(network, &self.inputs, &[self.outputs.len() / OUTPUT], &mut self.outputs)?;
        self.runner.backward(network, &self.outputs, &mut self.gradients, None)
    }
}

/// Lets the system's account of the most memory start from what there is now, where it may be.
fn reset_peak() {
    // Some sandboxes forbid it; the peak is that since the process started then, which the sequence's exceeds.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn cells(cells: [&str; 8]) -> String {
    let widths = [10, 22, 5, 10, 23, 14, 9, 14];
    let right = |number| number != 1;
    let cells: Vec<_> =
        cells.iter().zip(widths).enumerate().map(|(number, (text, width))| (*text, width, right(number))).collect();
    row(&cells)
}

fn line(point: &Point, first: bool) -> String {
    let range = format!("{} to {}", bytes(point.least_bytes), bytes(point.most_bytes));
    let words = if first { grouped(point.words as u64) } else { String::new() };
    let times = |times: Option<f64>| times.map_or_else(|| "-".into(), ratio);
    cells([
        &words,
        &point.series,
        &point.steps.to_string(),
        &bytes(point.bytes),
        if point.repeats > 1 { &range } else { "" },
        &times(point.saving),
        &bytes(point.total_bytes),
        &times(point.total_saving),
    ])
}

fn places<'a>(points: &'a [Point]) -> Vec<Place<'a>> {
    let place = |point: &'a Point| {
        let Point { series, model, words, full, bytes, total_bytes, saving, total_saving, .. } = point;
        // The paper compares models with links by all of their memory.
        let (value, of_dense) = if is_linked(model) { (*total_bytes, *total_saving) } else { (*bytes, *saving) };
        Place { series, model, words: *words, full: *full, value, of_dense }
    };
    points.iter().map(place).collect()
}

fn figure(report: &Report<'_>) -> Figure {
    let version = &report.machine.sparsam;
    Figure {
        paper: &PAPER,
        subjects: [
            Subject {
                title: "Memory of a sequence of 100 steps: dense and sparse memories",
                label: "memory beyond that before the sequence",
            },
            Subject { title: "Memory of ten steps with temporal links: DNC and SDNC", label: "memory in all" },
        ],
        subtitle: format!("one sequence forward and back, memory full of distinct words; sparsam {version}"),
        unit: Unit::Bytes,
        tell: bytes,
        more: "the memory in all of",
        more_in_paper: 240.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_sequences_need_every_state() {
        let ntm = Variant { model: "ntm", index: None, full: true };
        // 48 numbers a word, 100 steps.
        assert!(needed(ntm, 1 << 20) > (100 * 48 * 4) << 20);
        let sam = Variant { model: "sam", index: Some(IndexKind::Linear), full: true };
        assert!(needed(sam, 1 << 20) < 1 << 30);
        assert!(needed(Variant { full: false, ..sam }, 1 << 30) < 1 << 30);
        assert!(cost(ntm, 1 << 20) > cost(sam, 1 << 20));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_process_takes_is_measured() {
        let sam = Variant { model: "sam", index: Some(IndexKind::Linear), full: false };
        let measured = measure_here(sam, 1000, 20).unwrap().unwrap();
        assert!(measured.before_bytes > 0 && measured.peak_bytes >= measured.before_bytes);
    }
}
