//! `sparsam bench step`: time of one step of a batch, forward and back, over numbers of words.

use std::process::ExitCode;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use sparsam::index::IndexKind;
use sparsam::internal::{Distribution, Sample};
use sparsam::{Error, Network, Parameters, Runner};
use sparsam_train::plot::{Unit, seconds};

use super::figure::{Figure, InPaper, Place, Subject};
use super::{
    HEADS, HIDDEN, INPUT, OUTPUT, QUICK_SECONDS, READS, Report, Spread, Variant, WORD_SIZE, about, but_empty, dense,
    no_room, room,
};
use crate::display::grouped;
use crate::models::is_linked;
use crate::process::status_bytes;
use crate::settings::BenchModels;
use crate::table::{ratio, row};
use crate::train::use_threads;

/// Sequences at a time, as in the paper.
const BATCH: usize = 8;

const QUICK_SIZES: &[usize] = &[64, 1 << 10, 1 << 14, 1 << 18, 1 << 20];

/// Seconds after which `--quick` starts nothing that does not end at once.
const LATEST_QUICK_SECONDS: f64 = QUICK_SECONDS + 15.0;

/// Time steps of a sequence, at most; those of models with links as in the paper.
const STEPS: usize = 100;
const LINKED_STEPS: usize = 10;
/// Bytes that the states of a dense memory should take at most, for which the steps are chosen.
const TAPE_BYTES: u128 = 4 << 30;
/// What is timed at once takes so long at least, so that the clock does not count.
const SHORTEST: f64 = 0.02;

/// What it takes to get a byte of memory from the system, with all others of its page.
const SECONDS_OF_BYTE: f64 = 0.5e-9;

const PAPER: [InPaper; 3] = [
    InPaper { series: "NTM", words: 1 << 20, value: 12.0, told: "NTM 12 s" },
    InPaper { series: "SAM linear", words: 1 << 20, value: 0.12, told: "SAM linear under 120 ms" },
    InPaper { series: "SAM kd-forest", words: 1 << 20, value: 0.007, told: "SAM k-d trees 7 ms" },
];

/// One measured point.
#[derive(Clone, Debug, Serialize)]
struct Point {
    series: String,
    model: &'static str,
    index: Option<&'static str>,
    words: usize,
    /// Every word was stored before the clock started.
    full: bool,
    batch: usize,
    /// Time steps of a sequence.
    steps: usize,
    /// Of one step of the whole batch, forward and back.
    seconds: Spread,
    /// The dense model's median over this one.
    speedup: Option<f64>,
    fill_seconds: f64,
}

/// What a variant costs, from two sizes that are measured before anything else.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Words, and seconds of a step.
    small: (f64, f64),
    large: (f64, f64),
    /// Seconds to store a word of every row.
    store: f64,
}

impl Cost {
    /// Seconds of a step, about.
    fn step(&self, variant: Variant, words: usize) -> f64 {
        let (words, (small, large)) = (words as f64, (self.small, self.large));
        let slope = ((large.1 - small.1) / (large.0 - small.0)).max(0.0);
        if words <= large.0 {
            return (small.1 + (words - small.0) * slope).max(small.1);
        }
        let times = words / large.0;
        match variant.index {
            // Links between all pairs of words.
            None if is_linked(variant.model) => large.1 * times * times,
            _ if !variant.full => large.1,
            // Trees and hash tables grow by a level, and out of the caches.
            Some(index) if index != IndexKind::Linear => large.1 * (1.0 + 0.15 * times.log2()),
            Some(_) | None => large.1 + (words - large.0) * slope,
        }
    }

    fn fill(&self, variant: Variant, words: usize) -> f64 {
        if variant.full { 1.5 * self.store * words as f64 } else { 0.0 }
    }
}

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    variant: Variant,
    words: usize,
    steps: usize,
    repeats: usize,
    bytes: u128,
    /// How long it will take, about.
    seconds: f64,
}

/// A network with its batch, ready to run.
struct Measured {
    plan: Plan,
    network: Network<f32>,
    runner: Runner<f32>,
    gradients: Parameters<f32>,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
    fill_seconds: f64,
    times: Vec<f64>,
}

impl Measured {
    fn new(plan: Plan) -> Result<Self, Error> {
        let network = plan.variant.network(plan.words)?;
        let mut runner = Runner::new(&network, BATCH)?;
        let started = Instant::now();
        if plan.variant.full {
            fill_shared(&mut runner, plan.words);
        }
        let fill_seconds = started.elapsed().as_secs_f64();
        let (gradients, inputs) = (network.zeros(), inputs(plan.steps, BATCH));
        let outputs = vec![0.0; plan.steps * BATCH * OUTPUT];
        Ok(Self { plan, network, runner, gradients, inputs, outputs, fill_seconds, times: Vec::new() })
    }

    /// Seconds of a step, from one sequence forward and back.
    fn episode(&mut self) -> Result<f64, Error> {
        let steps = self.plan.steps;
        let started = Instant::now();
        self.runner.forward(&self.network, &self.inputs, &[steps; BATCH], &mut self.outputs)?;
        self.runner.backward(&self.network, &self.outputs, &mut self.gradients, None)?;
        Ok(started.elapsed().as_secs_f64() / steps as f64)
    }

    /// The same from as many sequences as the clock needs.
    fn sample(&mut self) -> Result<f64, Error> {
        let (mut sum, mut count) = (0.0, 0);
        while count == 0 || sum * (self.plan.steps as f64) < SHORTEST {
            sum += self.episode()?;
            count += 1;
        }
        Ok(sum / f64::from(count))
    }
}

/// Inputs of a batch, bits.
pub(super) fn inputs(steps: usize, rows: usize) -> Vec<f32> {
    (0..steps * rows * INPUT).map(|i| (i * 7919 % 2) as f32).collect()
}

/// Most words for which there is one set for all rows: making a word takes longer than storing it.
const SHARED: usize = 1 << 20;

/// Stores words without structure, none twice in a memory. Rows have the same words, if not too many, each from another
/// one on.
fn fill_shared(runner: &mut Runner<f32>, words: usize) {
    if words > SHARED {
        return fill(runner, words);
    }
    let sample = Sample::new(Distribution::Gaussian, words, 1);
    let mut shared = vec![0.0; words * WORD_SIZE];
    shared.par_chunks_mut(WORD_SIZE).enumerate().for_each(|(word, numbers)| sample.word(word as u64, numbers));
    let rows = runner.rows();
    runner.fill(|row, word, numbers| {
        let from = (word + row * words / rows) % words;
        numbers.copy_from_slice(&shared[from * WORD_SIZE..][..WORD_SIZE]);
    });
}

/// Stores a word without structure everywhere, none twice.
pub(super) fn fill(runner: &mut Runner<f32>, words: usize) {
    let sample = |row: usize| Sample::new(Distribution::Gaussian, words, row as u64 + 1);
    runner.fill(|row, word, numbers| sample(row).word(word as u64, numbers));
}

/// Runs the benchmark.
pub fn run(settings: &BenchModels) -> anyhow::Result<ExitCode> {
    let common = &settings.common;
    use_threads(common.threads)?;
    let variants = Variant::chosen(settings);
    let options = json!({
        "batch": BATCH, "hidden_size": HIDDEN, "heads": HEADS, "reads": READS, "word_size": WORD_SIZE,
        "input_size": INPUT, "output_size": OUTPUT, "quick": common.quick, "repeats": common.repeats,
        "words": "distinct, normal and independent; every memory full of them before the clock starts unless full is false",
    });
    let mut report = Report::new("step", common, options)?;
    report.show("measuring small memories to see how long it will take".into());
    let mut plans = Vec::new();
    for variant in &variants {
        let sizes = variant.sizes(common, QUICK_SIZES);
        if report.stopped() || sizes.is_empty() {
            continue;
        }
        let cost = calibrate(*variant)?;
        let per_word = sizes.last().map_or(Ok(0.0), |largest| bytes_of_index(*variant, *largest))?;
        for words in sizes {
            match plan(*variant, *words, &cost, per_word, settings) {
                Ok(plan) => plans.push(plan),
                Err(reason) => report.skip(variant.name(), *words, reason),
            }
        }
    }
    report.check_sizes(|size| plans.iter().any(|plan| plan.words == size))?;
    if common.quick {
        for dropped in shorten(&mut plans, QUICK_SECONDS - report.started.elapsed().as_secs_f64()) {
            let reason = format!("it takes {}; leave --quick out for it", about(dropped.seconds));
            report.skip(dropped.variant.name(), dropped.words, reason);
        }
    }
    let total: f64 = plans.iter().map(|plan| plan.seconds).sum();
    report.begin(
        &format!("one step forward and back of {BATCH} sequences"),
        &format!("every memory is full of distinct words before the clock starts{}", but_empty(settings.empty)),
        total,
    )?;
    for header in lines(&[]) {
        report.say(&header)?;
    }
    let points = measure(&mut report, &plans)?;
    report.complete = !report.stopped();
    let (figure, places) = (figure(&report), places(&points));
    for line in figure.beside_the_paper(&places) {
        report.say(&line)?;
    }
    report.end(&figure.pictures(&places))
}

/// Measures two small memories.
fn calibrate(variant: Variant) -> Result<Cost, Error> {
    let sizes = if variant.index.is_none() && is_linked(variant.model) { [64, 256] } else { [256, 4096] };
    let mut measured = [(0.0, 0.0); 2];
    let mut store = 0.0;
    for (words, measured) in sizes.into_iter().zip(&mut measured) {
        let plan = Plan { variant, words, steps: 10, repeats: 1, bytes: 0, seconds: 0.0 };
        let mut runs = Measured::new(plan)?;
        store = runs.fill_seconds / words as f64;
        let mut least = f64::INFINITY;
        for _ in 0..6 {
            least = least.min(runs.episode()?);
        }
        *measured = (words as f64, least);
    }
    Ok(Cost { small: measured[0], large: measured[1], store })
}

/// Bytes that the index of a sparse memory takes for each word, from a small one where that matters.
fn bytes_of_index(variant: Variant, largest: usize) -> Result<f64, Error> {
    const FIRST: usize = 1 << 16;
    const WORDS: usize = 1 << 18;
    // The exact index has a copy of every word, and a norm and two numbers for it.
    let copy = (4 * WORD_SIZE + 12) as f64;
    let Some(kind) = variant.index.filter(|_| variant.full) else { return Ok(0.0) };
    if kind == IndexKind::Linear || largest <= WORDS {
        return Ok(copy);
    }
    let sample = Sample::new(Distribution::Gaussian, WORDS, 1);
    let mut contents = vec![0.0; WORDS * WORD_SIZE];
    for (number, word) in contents.chunks_exact_mut(WORD_SIZE).enumerate() {
        sample.word(number as u64, word);
    }
    let mut index = kind.build::<f32>(WORDS, WORD_SIZE, 0)?;
    let mut before = None;
    for number in 0..WORDS {
        // What it takes at the start, and what of it was free before, is not that of a word.
        if number == FIRST {
            before = status_bytes("RssAnon");
        }
        index.update(number as u32, &contents);
    }
    let taken = before.zip(status_bytes("RssAnon")).map(|(before, after)| after.saturating_sub(before) as f64);
    Ok(taken.map_or(copy, |bytes| 1.1 * bytes / (WORDS - FIRST) as f64))
}

/// How to measure a point; or why it cannot be.
fn plan(variant: Variant, words: usize, cost: &Cost, index_bytes: f64, settings: &BenchModels) -> Result<Plan, String> {
    let quick = settings.common.quick;
    let linked = is_linked(variant.model);
    let most_steps = settings.steps.unwrap_or(if linked { LINKED_STEPS } else { STEPS });
    let least_steps = if quick && !linked { 2 } else { LINKED_STEPS.min(most_steps) };
    let step = cost.step(variant, words);
    let room = room();
    // A sequence of about a second.
    let by_time = (if quick { 0.4 } else { 1.0 } / step) as usize;
    let (steps, bytes) = match variant.frame_bytes(words) {
        Some(frame) => {
            let frame = frame.max(1) * BATCH as u128;
            // The state at the start and as many numbers of gradients come to those of the steps.
            let by_room = (TAPE_BYTES.min(room) / frame).saturating_sub(2);
            let steps = most_steps.min(by_time.max(least_steps)).min(by_room as usize).max(2);
            (steps, frame * (steps as u128 + 2))
        }
        None => {
            let of_word = if variant.full { (4 * WORD_SIZE + 16) as f64 + index_bytes } else { 0.0 };
            let steps = by_time.clamp(LINKED_STEPS.min(most_steps), most_steps);
            // The tapes, and whatever else does not grow with the words.
            (steps, (of_word * words as f64 * BATCH as f64) as u128 + (64 << 20))
        }
    };
    if bytes > room {
        return Err(no_room(bytes));
    }
    let budget = if quick { 2.0 } else { 20.0 };
    let sample = (step * steps as f64).max(SHORTEST);
    let repeats = settings.common.repeats.min(((budget / sample) as usize).max(3));
    let seconds = cost.fill(variant, words) + sample * (repeats + 1) as f64 + bytes as f64 * SECONDS_OF_BYTE;
    Ok(Plan { variant, words, steps, repeats, bytes, seconds })
}

/// Takes out what takes longest until the rest takes no longer than so many seconds. The ends of the lines that the
/// picture is about stay longest.
fn shorten(plans: &mut Vec<Plan>, seconds: f64) -> Vec<Plan> {
    const OF_AN_END: f64 = 0.25;
    let weight = |plans: &[Plan], plan: &Plan| {
        let is_end = plans.iter().all(|other| other.variant != plan.variant || other.words <= plan.words);
        let is_subject = match plan.variant.index {
            Some(index) => index != IndexKind::Linear,
            None => plan.variant.model == dense(plan.variant.model),
        };
        plan.seconds * if is_end && is_subject { OF_AN_END } else { 1.0 }
    };
    let mut dropped = Vec::new();
    while plans.len() > 1 && plans.iter().map(|plan| plan.seconds).sum::<f64>() > seconds {
        let of = |place: &usize| weight(plans, &plans[*place]);
        let longest = (0..plans.len()).max_by(|a, b| of(a).total_cmp(&of(b))).unwrap_or(0);
        dropped.push(plans.remove(longest));
    }
    dropped
}

/// Measures everything, size by size; within a size variants take turns as far as they fit beside each other.
fn measure(report: &mut Report<'_>, plans: &[Plan]) -> anyhow::Result<Vec<Point>> {
    let mut sizes: Vec<usize> = plans.iter().map(|plan| plan.words).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut points: Vec<Point> = Vec::new();
    for words in sizes {
        let mut left: Vec<Plan> = plans.iter().filter(|plan| plan.words == words).copied().collect();
        let mut here = Vec::new();
        let told = report.skipped.len();
        while !left.is_empty() && !report.stopped() {
            if report.common.quick {
                // A machine that others use as well takes longer than it was estimated to.
                let remaining = LATEST_QUICK_SECONDS - report.started.elapsed().as_secs_f64();
                let late: Vec<Plan> = left.extract_if(.., |plan| plan.seconds > remaining).collect();
                for plan in late {
                    let reason = "the two minutes are over; leave --quick out for it".into();
                    report.skip(plan.variant.name(), plan.words, reason);
                }
            }
            let (mut taken, mut group) = (0, Vec::new());
            left.retain(|plan| {
                let fits = group.is_empty() || taken + plan.bytes <= room() / 2;
                if fits {
                    taken += plan.bytes;
                    group.push(*plan);
                }
                !fits
            });
            here.extend(measure_group(report, &group)?);
            let so_far = points.iter().chain(&here);
            report.points = so_far.map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
            report.write(&[])?;
        }
        let order = |point: &Point| plans.iter().position(|p| p.variant.name() == point.series && p.words == words);
        here.sort_by_key(order);
        let medians: Vec<(&str, f64)> = here.iter().map(|point| (point.model, point.seconds.median)).collect();
        for point in &mut here {
            let of_dense = medians.iter().find(|(model, _)| *model == dense(point.model));
            point.speedup = of_dense.map(|(_, median)| median / point.seconds.median);
        }
        for line in &lines(&here)[1..] {
            report.say(line)?;
        }
        for late in &report.skipped[told..] {
            report.say(&late.line())?;
        }
        points.extend(here);
        report.points = points.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
        report.write(&figure(report).pictures(&places(&points)))?;
    }
    Ok(points)
}

fn measure_group(report: &mut Report<'_>, group: &[Plan]) -> anyhow::Result<Vec<Point>> {
    let stop = report.stop.clone();
    let stopped = move || stop.load(std::sync::atomic::Ordering::Relaxed);
    let mut all = Vec::new();
    for plan in group {
        let (name, size) = (plan.variant.name(), grouped(plan.words as u64));
        report.show(format!("{name}: storing {size} words in each of {BATCH} memories"));
        let measured = report.at_once(|| {
            let mut measured = Measured::new(*plan)?;
            // Once without the clock: pages come from the system, caches and buffers fill.
            measured.episode().map(|_| measured)
        });
        match measured {
            Ok(measured) => all.push(measured),
            // What others took meanwhile.
            Err(
                error @ (Error::MemoryDoesNotFit { .. } | Error::TapeDoesNotFit { .. } | Error::MappingRefused { .. }),
            ) => {
                report.skip(name, plan.words, error.to_string());
            }
            Err(error) => return Err(sparsam_train::Error::from(error).into()),
        }
    }
    let rounds = all.iter().map(|measured| measured.plan.repeats).max().unwrap_or(0);
    for round in 0..rounds {
        for measured in &mut all {
            if stopped() || measured.times.len() >= measured.plan.repeats {
                continue;
            }
            let (name, words) = (measured.plan.variant.name(), grouped(measured.plan.words as u64));
            report.show(format!("{name} with {words} words: round {} of {rounds}", round + 1));
            let time = measured.sample().map_err(sparsam_train::Error::from)?;
            measured.times.push(time);
        }
    }
    let point = |measured: Measured| {
        let Plan { variant, words, steps, .. } = measured.plan;
        Point {
            series: variant.name(),
            model: variant.model,
            index: variant.index.map(IndexKind::name),
            words,
            full: variant.full,
            batch: BATCH,
            steps,
            seconds: Spread::of(measured.times),
            speedup: None,
            fill_seconds: measured.fill_seconds,
        }
    };
    // A point without a measurement was interrupted before it had one.
    Ok(all.into_iter().filter(|measured| !measured.times.is_empty()).map(point).collect())
}

/// The table: its header, then a line for each point.
fn lines(points: &[Point]) -> Vec<String> {
    let line = |cells: [&str; 7]| {
        let [words, name, steps, step, deciles, repeats, speedup] = cells;
        row(&[
            (words, 10, true),
            (name, 22, false),
            (steps, 5, true),
            (step, 9, true),
            (deciles, 21, true),
            (repeats, 7, true),
            (speedup, 14, true),
        ])
    };
    let header = ["words", "model", "T", "a step", "first to last decile", "repeats", "NTM/DNC ÷ it"];
    let mut lines = vec![line(header)];
    for (number, point) in points.iter().enumerate() {
        let words = if number == 0 { grouped(point.words as u64) } else { String::new() };
        let spread = &point.seconds;
        lines.push(line([
            &words,
            &point.series,
            &point.steps.to_string(),
            &seconds(spread.median),
            &format!("{} to {}", seconds(spread.first_decile), seconds(spread.last_decile)),
            &spread.repeats.to_string(),
            &point.speedup.map_or_else(|| "-".into(), ratio),
        ]));
    }
    lines
}

fn places<'a>(points: &'a [Point]) -> Vec<Place<'a>> {
    let place = |point: &'a Point| {
        let Point { series, model, words, full, seconds, speedup, .. } = point;
        Place { series, model, words: *words, full: *full, value: seconds.median, of_dense: *speedup }
    };
    points.iter().map(place).collect()
}

fn figure(report: &Report<'_>) -> Figure {
    let (processor, threads) = (&report.machine.processor, report.machine.threads);
    let label = "time of a step";
    Figure {
        paper: &PAPER,
        subjects: [
            Subject { title: "One step forward and back: dense and sparse memories", label },
            Subject { title: "One step with temporal links, forward and back: DNC and SDNC", label },
        ],
        subtitle: format!("batch {BATCH}, memories full of distinct words; {processor}, {threads} threads"),
        unit: Unit::Seconds,
        tell: seconds,
        more: "as long as",
        more_in_paper: 440.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(model: &'static str, index: Option<IndexKind>) -> Variant {
        Variant { model, index, full: true }
    }

    fn settings(quick: bool) -> BenchModels {
        let common = crate::settings::BenchCommon {
            quick,
            sizes: Vec::new(),
            indexes: IndexKind::ALL.to_vec(),
            repeats: 5,
            output: "bench".into(),
            json: false,
            threads: None,
        };
        BenchModels { models: vec!["ntm", "sam"], empty: false, steps: None, common }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_bytes_it_needs() {
        let cost = Cost { small: (256.0, 1e-4), large: (4096.0, 1e-3), store: 1e-6 };
        let plan = |variant, words| plan(variant, words, &cost, 140.0, &settings(false));
        let dense = plan(variant("ntm", None), 1 << 30).unwrap_err();
        assert!(dense.starts_with("it needs ") && dense.contains("TiB") && dense.contains("available"), "{dense}");
        assert!(plan(variant("sam", Some(IndexKind::Linear)), 1 << 30).is_err());
        // Empty, it needs nothing.
        assert!(plan(Variant { full: false, ..variant("sam", Some(IndexKind::Linear)) }, 1 << 30).is_ok());
        let small = plan(variant("ntm", None), 64).unwrap();
        assert_eq!((small.steps, small.repeats), (STEPS, 5));
    }

    #[test]
    fn a_quick_run_leaves_out_what_takes_longest() {
        let plan = |model, words, seconds| {
            let variant = variant(model, (model == "sam").then_some(IndexKind::Ivf));
            Plan { variant, words, steps: 1, repeats: 1, bytes: 0, seconds }
        };
        let mut plans = vec![plan("sam", 1, 5.0), plan("sam", 3, 50.0), plan("ntm", 2, 20.0), plan("dam", 3, 40.0)];
        let dropped = shorten(&mut plans, 80.0);
        let names: Vec<_> = dropped.iter().map(|plan| (plan.variant.model, plan.words)).collect();
        assert_eq!((names, plans.len()), (vec![("dam", 3)], 3));
        assert_eq!(shorten(&mut plans, 0.0).len(), 2);
    }

    #[test]
    fn costs_grow_as_the_models_do() {
        let cost = Cost { small: (256.0, 1e-3), large: (4096.0, 2e-3), store: 1e-6 };
        let at = |variant| cost.step(variant, 1 << 20) / cost.step(variant, 4096);
        assert!(at(variant("ntm", None)) > 100.0);
        assert!(at(variant("dnc", None)) > 10_000.0);
        assert!(at(variant("sam", Some(IndexKind::Ivf))) < 10.0);
        assert!(at(variant("sam", Some(IndexKind::Linear))) > 100.0);
    }
}
