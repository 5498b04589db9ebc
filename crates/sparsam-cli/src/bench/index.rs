//! `sparsam bench index`: the words that indexes find against the time they take, under the load of a memory.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use sparsam::index::{Found, Index, IndexKind};
use sparsam::internal::{Distribution, Sample};
use sparsam_train::RunFolder;
use sparsam_train::plot::{Axis, Line, Panel, Picture, Size, Unit, draw, seconds, words as short};

use super::trained::{Recording, Trained};
use super::{HEADS, QUICK_SECONDS, READS, Report, Spread, WORD_SIZE, no_room, room};
use crate::arguments::TRAINED;
use crate::display::grouped;
use crate::process::status_bytes;
use crate::settings::BenchIndex;
use crate::table::{ratio, row};
use crate::train::use_threads;

/// Words that a step replaces, one in each head.
const REPLACED: usize = HEADS;
/// Words that a step moves a little: what each head read last.
const MOVED: usize = HEADS * READS;

const SIZES: &[usize] = &[1 << 16, 1 << 20];
const QUICK_SIZES: &[usize] = &[1 << 16, 1 << 18];
const CHECKS: &[usize] = &[128, 256, 512, 1024, 2048, 4096, 8192];
const QUICK_CHECKS: &[usize] = &[256, 1024, 4096];

/// Steps of a repeat, at most, and how many of all steps' queries are answered exactly for the recall.
const STEPS: usize = 100;
const EXACT_STEPS: usize = 240;
/// What a repeat takes at most, about.
const SECONDS_OF_REPEAT: f64 = 1.0;

/// Seconds for which the clock alone is watched: the longest update of millions is as long as the machine's own pauses.
const CLOCK_SECONDS: f64 = 3.0;
const QUICK_CLOCK_SECONDS: f64 = 1.0;

/// Where words and queries come from: their names as arguments, how pictures tell, and how words are made.
const QUERIES: [(&str, &str, Option<Distribution>); 3] = [
    ("clustered", "words in clusters", Some(Distribution::Clustered)),
    ("gaussian", "words without structure", Some(Distribution::Gaussian)),
    (TRAINED, "words and queries of a trained network", None),
];

/// One measured point.
#[derive(Clone, Debug, Serialize)]
struct Point {
    series: String,
    index: &'static str,
    distribution: &'static str,
    words: usize,
    /// Words that a query is compared with, about, if chosen; none for the index's own choice.
    checks: Option<usize>,
    /// Share of the four most similar words that were found.
    recall: f64,
    /// Words and means that a query was compared with; none for an index that does not count.
    compared: Option<f64>,
    /// Wrong outputs in a sequence, if words and queries are those of a trained network.
    wrong: Option<f64>,
    /// Of the load of a step.
    seconds: Spread,
    /// Its medians' parts.
    update_seconds: f64,
    query_seconds: f64,
    /// The exact index's median over this one.
    speedup: Option<f64>,
    /// After every word was overwritten so many times: the same once more.
    rounds: usize,
    recall_after: Option<f64>,
    seconds_after: Option<f64>,
    /// Of the updates that overwrote every word; of those that stored them where there were no rounds.
    worst_update_seconds: f64,
    mean_update_seconds: f64,
    /// The longest that the machine paused when nothing was done but to look at the clock.
    longest_pause_seconds: f64,
    bytes_per_word: Option<f64>,
}

/// What an index is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    pub kind: IndexKind,
    pub checks: Option<usize>,
}

impl Variant {
    fn is_exact(self) -> bool {
        self.kind == IndexKind::Linear
    }
}

/// A step of the load: words with what they become, then queries.
#[derive(Clone)]
pub struct Step {
    pub words: Vec<u32>,
    /// Word after word.
    pub contents: Vec<f32>,
    /// Query after query.
    pub queries: Vec<f32>,
    /// The words that are most similar to each query, where they were looked for.
    pub exact: Option<Vec<u32>>,
}

/// The steps of a load.
struct Load {
    steps: Vec<Step>,
}

/// Where words come from.
enum Source {
    /// They are made from their numbers.
    Sample(Sample),
    /// A network wrote them.
    Trained(Recording),
}

/// A memory of words.
struct Words {
    source: Source,
    count: usize,
    contents: Vec<f32>,
}

impl Words {
    fn new(source: Source, count: usize) -> Self {
        Self { source, count, contents: vec![0.0; count * WORD_SIZE] }
    }

    fn sample(distribution: Distribution, count: usize) -> Self {
        Self::new(Source::Sample(Sample::new(distribution, count, 1)), count)
    }

    fn content(&self, word: usize) -> &[f32] {
        &self.contents[word * WORD_SIZE..][..WORD_SIZE]
    }

    fn content_mut(&mut self, word: usize) -> &mut [f32] {
        &mut self.contents[word * WORD_SIZE..][..WORD_SIZE]
    }

    /// Where the words of a network's last sequence stand after some rounds of overwriting: this many words further on.
    fn shift(&self, round: usize) -> usize {
        round * (self.count / 3 + 1) % self.count
    }

    /// Writes a word as it is after some rounds.
    fn write(&mut self, round: usize, word: usize) {
        let place = (word + self.count - self.shift(round)) % self.count;
        let content = &mut self.contents[word * WORD_SIZE..][..WORD_SIZE];
        match &self.source {
            // No two words ever have the same number.
            Source::Sample(sample) => sample.word((round * self.count + word) as u64, content),
            Source::Trained(Recording { words, first, .. }) => {
                let written = if place * WORD_SIZE < first.len() {
                    &first[place * WORD_SIZE..]
                } else {
                    let others = words.len() / WORD_SIZE;
                    // Each round in another order.
                    &words[(place - first.len() / WORD_SIZE + round * 7919) % others * WORD_SIZE..]
                };
                content.copy_from_slice(&written[..WORD_SIZE]);
            }
        }
    }

    fn write_all(&mut self, round: usize) {
        for word in 0..self.count {
            self.write(round, word);
        }
    }
}

/// Numbers below a bound that look random, the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }
}

/// All words, each once, far from one to the next: multiples of an odd number, cut to a power of two.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    let size = count.next_power_of_two();
    (0..size).map(move |n| n.wrapping_mul(0x9e37_79b1) & (size - 1)).filter(move |word| *word < count)
}

/// Runs the benchmark.
pub fn run(settings: &BenchIndex) -> anyhow::Result<ExitCode> {
    let common = &settings.common;
    use_threads(common.threads)?;
    let checks = match (&settings.checks[..], common.quick) {
        ([], true) => QUICK_CHECKS,
        ([], false) => CHECKS,
        (chosen, _) => chosen,
    };
    let sizes = match (&common.sizes[..], common.quick) {
        ([], true) => QUICK_SIZES,
        ([], false) => SIZES,
        (chosen, _) => chosen,
    };
    let options = json!({
        "word_size": WORD_SIZE, "replaced": REPLACED, "moved": MOVED, "queries": HEADS, "limit": READS,
        "checks": checks, "source": settings.queries, "run": settings.run, "level": settings.level, "rounds": settings.rounds, "repeats": common.repeats, "quick": common.quick,
    });
    let trained = match &settings.run {
        Some(run) if settings.queries.contains(&TRAINED) => Some(Trained::new(&RunFolder::open(run)?, settings.level)?),
        _ => None,
    };
    let mut report = Report::new("index", common, options)?;
    let mut variants = Vec::new();
    for kind in &common.indexes {
        variants.push(Variant { kind: *kind, checks: None });
        if *kind != IndexKind::Linear {
            variants.extend(checks.iter().map(|checks| Variant { kind: *kind, checks: Some(*checks) }));
        }
    }
    let mut cases = Vec::new();
    for words in sizes {
        let of_kind = variants.iter().map(|variant| bytes(variant.kind)).max().unwrap_or(0);
        // The words, the exact index beside the one that is measured, and the load.
        let bytes = (*words as u128) * (4 * WORD_SIZE as u128 + bytes(IndexKind::Linear) + of_kind) + (64 << 20);
        if bytes <= room() {
            cases.push(*words);
        } else {
            report.skip("the indexes".into(), *words, no_room(bytes));
        }
    }
    report.check_sizes(|size| cases.contains(&size))?;
    let mut total = estimate(&report, &variants, &cases, settings)?;
    // Efforts can be left out of a curve; what an index finds as it is chosen cannot.
    while common.quick
        && total > QUICK_SECONDS
        && let Some(last) = variants.iter().rposition(|variant| variant.checks.is_some())
    {
        let Variant { kind, checks } = variants.remove(last);
        let checks = checks.unwrap_or(0);
        let reason = format!("two minutes are too short for {checks} checks; leave --quick out for them");
        report.skip(kind.name().into(), cases.last().copied().unwrap_or(0), reason);
        total = estimate(&report, &variants, &cases, settings)?;
    }
    let changed = REPLACED + MOVED;
    let subject = format!("the load of a step: {changed} words change, then {HEADS} queries for {READS} words");
    report.begin(&subject, "every word is stored before the clock starts", total)?;
    let mut points = Vec::new();
    for words in cases {
        for (name, _, distribution) in QUERIES.iter().filter(|queries| settings.queries.contains(&queries.0)) {
            if report.stopped() {
                break;
            }
            report.say(&format!("{} words, {name}", grouped(words as u64)))?;
            let source = match (distribution, &trained) {
                (Some(distribution), _) => Source::Sample(Sample::new(*distribution, words, 1)),
                (None, Some(trained)) => {
                    report.show(format!("{} words, {name}: running the network", grouped(words as u64)));
                    let recording = report.at_once(|| trained.record(words, STEPS * (common.repeats + 1) + 1))?;
                    Source::Trained(recording)
                }
                (None, None) => continue,
            };
            let words = Words::new(source, words);
            measure(&mut report, &variants, (name, trained.as_ref()), words, settings, &mut points)?;
            report.say("")?;
        }
    }
    report.complete = !report.stopped();
    let pictures = pictures(&report, &points);
    report.end(&pictures)
}

/// Bytes that an index may take for a word: the exact one its copy, others no more than that twice.
fn bytes(kind: IndexKind) -> u128 {
    let copy = 4 * WORD_SIZE as u128 + 12;
    if kind == IndexKind::Linear { copy } else { 2 * copy }
}

/// How long everything takes, from small memories.
fn estimate(report: &Report<'_>, variants: &[Variant], sizes: &[usize], settings: &BenchIndex) -> anyhow::Result<f64> {
    const WORDS: usize = 1 << 12;
    report.show("measuring small memories to see how long it will take".into());
    let mut total = 0.0;
    let repeats = settings.common.repeats;
    let mut words = Words::sample(Distribution::Gaussian, WORDS);
    words.write_all(0);
    let loads = [load(&mut words, 0, 20, 0)?];
    let mut of_kinds: Vec<(IndexKind, f64, f64)> = Vec::new();
    for variant in variants {
        let known = of_kinds.iter().find(|of| of.0 == variant.kind).copied();
        let (_, update, step) = match known {
            Some(known) => known,
            None => {
                words.write_all(0);
                let (mut index, worst) = built(*variant, &words)?;
                let ran = run_load(&mut *index, &mut words, &loads[0].steps);
                of_kinds.push((variant.kind, worst.mean, ran.total()));
                of_kinds[of_kinds.len() - 1]
            }
        };
        for size in sizes {
            let times = *size as f64 / WORDS as f64;
            let (update, step) = if variant.is_exact() {
                (update, step * times)
            } else {
                let effort = variant.checks.map_or(1.0, |checks| (checks as f64 / 2048.0).max(0.3));
                (update * (1.0 + 0.15 * times.log2().max(0.0)), step * effort * (1.0 + 0.15 * times.log2().max(0.0)))
            };
            // Words are made, too, which takes about a microsecond.
            let store = *size as f64 * (update + 1e-6) * (1 + settings.rounds) as f64;
            let loads = if settings.rounds > 0 { 2.0 } else { 1.0 };
            let measured = steps_of_repeat(step) as f64 * step * (repeats + 1) as f64;
            let exact = if variant.is_exact() { loads * EXACT_STEPS as f64 * step } else { 0.0 };
            total += 2.0 * (store + loads * measured + exact);
        }
    }
    let cases = (sizes.len() * settings.queries.len()) as f64;
    Ok(total + cases * clock_seconds(settings.common.quick))
}

/// Steps of a repeat of an index whose step takes so many seconds.
fn steps_of_repeat(step: f64) -> usize {
    ((SECONDS_OF_REPEAT / step.max(1e-9)) as usize).clamp(5, STEPS)
}

/// The steps of a load on the memory as it stands after some rounds, with what an exact index finds at `exact` of
/// them. Leaves the memory changed.
fn load(words: &mut Words, round: usize, steps: usize, exact: usize) -> anyhow::Result<Load> {
    let mut random = Random(17 + round as u64);
    // Numbers that no word had before.
    let mut fresh = 1 << 48;
    let mut reference = None;
    if exact > 0 {
        reference = Some(built(Variant { kind: IndexKind::Linear, checks: None }, words)?.0);
    }
    let mut found = Found::default();
    let mut all = Vec::with_capacity(steps);
    for number in 0..steps {
        let mut step = match &words.source {
            Source::Sample(sample) => made(*sample, words, &mut random, &mut fresh),
            Source::Trained(Recording { steps, .. }) => {
                let Some(step) = steps.get(number) else { break };
                let shift = words.shift(round);
                let moved = step.words.iter().map(|word| ((*word as usize + shift) % words.count) as u32).collect();
                Step { words: moved, ..step.clone() }
            }
        };
        for (word, content) in step.words.iter().zip(step.contents.chunks_exact(WORD_SIZE)) {
            words.content_mut(*word as usize).copy_from_slice(content);
            if let Some(reference) = &mut reference {
                reference.update(*word, &words.contents);
            }
        }
        // As many as wanted, evenly over all steps.
        let wanted = (number + 1) * exact / steps > number * exact / steps;
        if let Some(reference) = &mut reference
            && wanted
        {
            found.start(HEADS, READS);
            reference.search(&words.contents, &step.queries, &mut found);
            step.exact = Some((0..HEADS).flat_map(|query| found.words(query).to_vec()).collect());
        }
        all.push(step);
    }
    Ok(Load { steps: all })
}

/// A step that replaces and moves words, then asks for others, all chosen at random.
fn made(sample: Sample, words: &Words, random: &mut Random, fresh: &mut u64) -> Step {
    let mut step = Step { words: Vec::new(), contents: Vec::new(), queries: Vec::new(), exact: None };
    while step.words.len() < REPLACED + MOVED {
        let word = random.below(words.count) as u32;
        if !step.words.contains(&word) {
            step.words.push(word);
        }
    }
    for (place, word) in step.words.iter().enumerate() {
        *fresh += 1;
        let mut content = words.content(*word as usize).to_vec();
        if place < REPLACED {
            sample.word(*fresh, &mut content);
        } else {
            sample.near(*fresh, &mut content);
        }
        step.contents.extend(content);
    }
    for _ in 0..HEADS {
        *fresh += 1;
        let word = random.below(words.count) as u32;
        let content = match step.words.iter().position(|changed| *changed == word) {
            Some(place) => &step.contents[place * WORD_SIZE..][..WORD_SIZE],
            None => words.content(word as usize),
        };
        let mut query = content.to_vec();
        sample.near(*fresh, &mut query);
        step.queries.extend(query);
    }
    step
}

fn clock_seconds(quick: bool) -> f64 {
    if quick { QUICK_CLOCK_SECONDS } else { CLOCK_SECONDS }
}

/// The longest time between two looks at the clock, of all within so many seconds: what other processes, the system and
/// the host of a virtual machine take at once.
fn longest_pause(seconds: f64) -> f64 {
    let started = Instant::now();
    let (mut last, mut longest) = (Duration::ZERO, Duration::ZERO);
    while last.as_secs_f64() < seconds {
        let now = started.elapsed();
        longest = longest.max(now - last);
        last = now;
    }
    longest.as_secs_f64()
}

/// How long updates took.
#[derive(Clone, Copy, Debug, Default)]
struct Updates {
    mean: f64,
    worst: f64,
}

/// Notes how long each update takes.
fn timed(updates: impl Iterator<Item = Duration>) -> Updates {
    let (mut sum, mut worst, mut count) = (Duration::ZERO, Duration::ZERO, 0u32);
    for update in updates {
        sum += update;
        worst = worst.max(update);
        count += 1;
    }
    Updates { mean: sum.as_secs_f64() / f64::from(count.max(1)), worst: worst.as_secs_f64() }
}

/// An index of all words, stored in no order.
fn built(variant: Variant, words: &Words) -> anyhow::Result<(Box<dyn Index<f32>>, Updates)> {
    let index = variant.kind.build::<f32>(words.count, WORD_SIZE, variant.checks.unwrap_or(0));
    let mut index = index.map_err(sparsam_train::Error::from)?;
    let updates = timed(shuffled(words.count).map(|word| {
        let started = Instant::now();
        index.update(word as u32, &words.contents);
        started.elapsed()
    }));
    Ok((index, updates))
}

/// Overwrites every word, in no order, so many times.
fn overwrite(index: &mut dyn Index<f32>, words: &mut Words, rounds: usize, stop: &dyn Fn() -> bool) -> Updates {
    let mut slowest = Updates::default();
    for round in 1..=rounds {
        let updates = timed(shuffled(words.count).take_while(|word| word % 4096 != 0 || !stop()).map(|word| {
            words.write(round, word);
            let started = Instant::now();
            index.update(word as u32, &words.contents);
            started.elapsed()
        }));
        slowest = Updates { mean: updates.mean, worst: slowest.worst.max(updates.worst) };
    }
    slowest
}

/// Seconds of a step of a load, and the share of words found.
#[derive(Clone, Copy, Debug, Default)]
struct Ran {
    updates: f64,
    queries: f64,
    found: usize,
    wanted: usize,
    /// Words and means that all queries of all steps were compared with.
    compared: usize,
}

impl Ran {
    fn total(self) -> f64 {
        self.updates + self.queries
    }
}

/// Runs steps of a load.
fn run_load(index: &mut dyn Index<f32>, words: &mut Words, steps: &[Step]) -> Ran {
    let mut ran = Ran::default();
    let mut found = Found::default();
    for step in steps {
        for (word, content) in step.words.iter().zip(step.contents.chunks_exact(WORD_SIZE)) {
            words.content_mut(*word as usize).copy_from_slice(content);
        }
        let started = Instant::now();
        for word in &step.words {
            index.update(*word, &words.contents);
        }
        let updated = Instant::now();
        found.start(HEADS, READS);
        index.search(&words.contents, &step.queries, &mut found);
        ran.queries += updated.elapsed().as_secs_f64();
        ran.updates += (updated - started).as_secs_f64();
        ran.compared += found.compared();
        if let Some(exact) = &step.exact {
            ran.wanted += exact.len();
            for (query, exact) in exact.chunks_exact(READS).enumerate() {
                ran.found += exact.iter().filter(|word| found.words(query).contains(word)).count();
            }
        }
    }
    let count = steps.len().max(1) as f64;
    Ran { updates: ran.updates / count, queries: ran.queries / count, ..ran }
}

/// What a load gave.
struct Outcome {
    times: Spread,
    updates: f64,
    queries: f64,
    recall: f64,
    /// Words and means that a query was compared with.
    compared: f64,
}

/// Runs a load in repeats, the first without the clock. An index that takes long gets fewer steps in each.
fn run_repeats(
    index: &mut dyn Index<f32>,
    words: &mut Words,
    load: &Load,
    repeats: usize,
    stop: &dyn Fn() -> bool,
) -> Outcome {
    let first = run_load(index, words, &load.steps[..1]);
    let of_repeat = steps_of_repeat(first.total()).min(load.steps.len() / (repeats + 1)).max(1);
    let mut all = Vec::new();
    let (mut found, mut wanted) = (first.found, first.wanted);
    let (mut compared, mut queries) = (first.compared, HEADS);
    for steps in load.steps[1..].chunks(of_repeat).take(repeats + 1) {
        if stop() && all.len() > 1 {
            break;
        }
        let ran = run_load(index, words, steps);
        (found, wanted) = (found + ran.found, wanted + ran.wanted);
        (compared, queries) = (compared + ran.compared, queries + HEADS * steps.len());
        all.push(ran);
    }
    if all.len() > 1 {
        all.remove(0);
    }
    let spread = |of: fn(&Ran) -> f64| Spread::of(all.iter().map(of).collect());
    Outcome {
        times: spread(|ran| ran.total()),
        updates: spread(|ran| ran.updates).median,
        queries: spread(|ran| ran.queries).median,
        // The exact index may not get as far as to the first step that was answered beforehand.
        recall: if wanted == 0 { f64::NAN } else { found as f64 / wanted as f64 },
        compared: compared as f64 / queries.max(1) as f64,
    }
}

/// Measures all indexes on words that lie in one way.
fn measure(
    report: &mut Report<'_>,
    variants: &[Variant],
    (name, trained): (&'static str, Option<&Trained>),
    mut words: Words,
    settings: &BenchIndex,
    points: &mut Vec<Point>,
) -> anyhow::Result<()> {
    let BenchIndex { rounds, common, .. } = settings;
    let count = words.count;
    let stop = report.stop.clone();
    let stopped = move || stop.load(Ordering::Relaxed);
    let steps = STEPS * (common.repeats + 1) + 1;
    report.show("looking at the clock".into());
    let seconds_of_clock = clock_seconds(common.quick);
    let longest_pause_seconds = longest_pause(seconds_of_clock);
    report.say(&format!(
        "the machine alone: within {seconds_of_clock:.0} s of nothing but looking at the clock, it paused for up to {}",
        seconds(longest_pause_seconds)
    ))?;
    report.say(&header(*rounds, trained))?;
    let mut loads = Vec::new();
    // Answers come first and not in between: looking for them would empty the caches.
    for round in if *rounds > 0 { vec![0, *rounds] } else { vec![0] } {
        report.show(format!("{} words, {name}: exact answers", grouped(count as u64)));
        report.at_once(|| words.write_all(round));
        loads.push(report.at_once(|| load(&mut words, round, steps, EXACT_STEPS))?);
    }
    let mut exact = None;
    for variant in variants {
        if stopped() {
            break;
        }
        let kind = variant.kind.name();
        let doing = |what: &str| {
            let checks = variant.checks.map_or(String::new(), |checks| format!(" with {checks} checks"));
            format!("{} words, {name}: {kind}{checks}, {what}", grouped(count as u64))
        };
        report.show(doing("storing every word"));
        report.at_once(|| words.write_all(0));
        let before = status_bytes("RssAnon");
        let (mut index, stored) = report.at_once(|| built(*variant, &words))?;
        let taken = before.zip(status_bytes("RssAnon")).map(|(before, after)| after.saturating_sub(before) as f64);
        report.show(doing("the load"));
        let outcome = run_repeats(&mut *index, &mut words, &loads[0], common.repeats, &stopped);
        let (mut updates, mut after) = (stored, None);
        if *rounds > 0 && !stopped() {
            report.show(doing("overwriting every word"));
            updates = overwrite(&mut *index, &mut words, *rounds, &stopped);
            if !stopped() {
                report.show(doing("the load once more"));
                after = Some(run_repeats(&mut *index, &mut words, &loads[1], common.repeats, &stopped));
            }
        }
        let mut wrong = None;
        if let Some(trained) = trained
            && !stopped()
        {
            report.show(doing("the network with it"));
            wrong = report.at_once(|| trained.wrong(*variant))?;
        }
        if variant.is_exact() {
            exact = Some(outcome.times.median);
        }
        let recall = |outcome: &Outcome| if variant.is_exact() { 1.0 } else { outcome.recall };
        let point = Point {
            series: kind.into(),
            index: kind,
            distribution: name,
            words: count,
            checks: variant.checks,
            recall: recall(&outcome),
            compared: Some(outcome.compared).filter(|compared| *compared > 0.0),
            wrong,
            update_seconds: outcome.updates,
            query_seconds: outcome.queries,
            speedup: exact.map(|exact| exact / outcome.times.median),
            seconds: outcome.times,
            rounds: *rounds,
            recall_after: after.as_ref().map(recall),
            seconds_after: after.as_ref().map(|after| after.times.median),
            worst_update_seconds: updates.worst,
            mean_update_seconds: updates.mean,
            longest_pause_seconds,
            // Smaller ones are made of memory that the process had already.
            bytes_per_word: taken.filter(|_| count >= 1 << 18).map(|bytes| bytes / count as f64),
        };
        report.say(&line(&point))?;
        points.push(point);
        report.points = points.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
        report.write(&pictures(report, points))?;
    }
    Ok(())
}

fn cells(cells: [&str; 12]) -> String {
    let widths = [10, 7, 8, 9, 9, 19, 9, 9, 8, 16, 12, 7];
    let cells: Vec<_> = cells.iter().zip(widths).enumerate().map(|(n, (text, width))| (*text, width, n > 0)).collect();
    row(&cells)
}

fn header(rounds: usize, trained: Option<&Trained>) -> String {
    let after = if rounds == 1 { "after a round".into() } else { format!("after {rounds} rounds") };
    let after = if rounds == 0 { "" } else { &after };
    let wrong = if trained.is_some() { "wrong" } else { "" };
    let names = [
        "index",
        "checks",
        "recall@4",
        "compared",
        "a load",
        "deciles",
        "updates",
        "queries",
        "linear ÷",
        after,
        "worst update",
        wrong,
    ];
    cells(names)
}

fn line(point: &Point) -> String {
    let share = |share: f64| if share.is_nan() { "-".into() } else { format!("{:.1} %", 100.0 * share) };
    let spread = &point.seconds;
    let after = point.recall_after.zip(point.seconds_after);
    let checks = match point.checks {
        Some(checks) => checks.to_string(),
        None if point.index == IndexKind::Linear.name() => "all".into(),
        None => "default".into(),
    };
    cells([
        &point.series,
        &checks,
        &share(point.recall),
        &point.compared.map_or_else(|| "-".into(), |compared| grouped(compared.round() as u64)),
        &seconds(spread.median),
        &format!("{} to {}", seconds(spread.first_decile), seconds(spread.last_decile)),
        &seconds(point.update_seconds),
        &seconds(point.query_seconds),
        &point.speedup.map_or_else(|| "-".into(), ratio),
        &after.map_or_else(String::new, |(recall, time)| format!("{} {}", share(recall), seconds(time))),
        &seconds(point.worst_update_seconds),
        &point.wrong.map_or_else(String::new, |wrong| format!("{wrong:.2}")),
    ])
}

fn pictures(report: &Report<'_>, points: &[Point]) -> Vec<(String, String)> {
    let mut pictures = Vec::new();
    for (distribution, how, _) in QUERIES {
        let here: Vec<_> = points.iter().filter(|point| point.distribution == distribution).collect();
        let Some(most) = here.iter().map(|point| point.words).max() else { continue };
        let mut lines: Vec<Line> = Vec::new();
        for point in here {
            let name = format!("{}, {}", point.series, short(point.words));
            let place = (point.seconds.median, point.recall);
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push(place),
                None => lines.push(Line { faint: point.words < most, ..Line::new(name, vec![place]) }),
            }
        }
        for line in &mut lines {
            // In the order of effort, which finds more; times vary.
            line.points.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)));
        }
        let picture = Picture {
            title: format!("What an index finds, and how long a step's load takes it: {how}"),
            subtitle: format!(
                "{} updates and {HEADS} queries for {READS} words, every word stored; {}, one thread",
                REPLACED + MOVED,
                report.machine.processor
            ),
            x: Axis::new("time of a step's load", Unit::Seconds),
            panels: vec![Panel {
                y: Axis::new("most similar words that were found (recall@4)", Unit::Share),
                lines,
                marks: Vec::new(),
            }],
            size: Size::Page,
        };
        pictures.push((format!("-{distribution}.svg"), draw(&picture)));
    }
    pictures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_once() {
        for count in [1, 2, 64, 100, 4097] {
            let mut all: Vec<usize> = shuffled(count).collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_exact_index_finds_everything_that_a_load_asks_for() {
        let mut words = Words::sample(Distribution::Clustered, 300);
        words.write_all(2);
        let load = load(&mut words, 2, 30, 10).unwrap();
        assert_eq!(load.steps.iter().filter(|step| step.exact.is_some()).count(), 10);
        words.write_all(2);
        let (mut index, _) = built(Variant { kind: IndexKind::Linear, checks: None }, &words).unwrap();
        let ran = run_load(&mut *index, &mut words, &load.steps);
        assert_eq!((ran.found, ran.wanted), (10 * HEADS * READS, 10 * HEADS * READS));
        assert!(ran.updates > 0.0 && ran.queries > 0.0);
    }

    #[test]
    fn overwriting_leaves_the_words_that_the_load_after_it_starts_from() {
        let mut words = Words::sample(Distribution::Gaussian, 100);
        words.write_all(0);
        let (mut index, _) = built(Variant { kind: IndexKind::Ivf, checks: None }, &words).unwrap();
        overwrite(&mut *index, &mut words, 3, &|| false);
        let overwritten = words.contents.clone();
        words.write_all(3);
        assert_eq!(words.contents, overwritten);
    }
}
