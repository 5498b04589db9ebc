//! Trains and tests the networks of a plan, several at a time, each on a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sparsam::Network;
use sparsam::memory::Footprint;
use sparsam_train::{
    Checkpoint, Config, Error, EvaluationOptions, Event, Metrics, Outcome, RunFolder, Trainer, evaluate_until,
};

use super::plan::Run;
use crate::figure::{Figure, Test};
use crate::side_by_side::side_by_side;

/// How a run ended, in its folder.
const RESULT: &str = "result.json";

/// Time steps that a memory has room for in tests, at most: networks that write seldom need less, and those that write at every step
/// overwrite what they wrote, as they do in training.
const LONGEST_ROOM: usize = 1 << 20;

/// Seed of the sequences that networks are tested on.
const TEST_SEED: u64 = 1;

/// A network as far as it was trained and tested.
pub struct Trained {
    pub metrics: Vec<Metrics>,
    pub tests: Vec<Tested>,
    /// Nothing remains to be done.
    pub done: bool,
}

/// What a test showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    pub level: Option<usize>,
    pub sequences: u64,
    /// Bits per sequence.
    pub loss: f64,
    /// Wrong bits or classes per sequence.
    pub wrong: f64,
    /// Error and number of answers in each of the task's categories.
    pub errors: Vec<(String, Option<f64>, u64)>,
    pub seconds: f64,
    /// Of these, what the network took for its steps; 0 in what an earlier version kept.
    #[serde(default)]
    pub step_seconds: f64,
    /// Of all sequences together; 0 in what an earlier version kept.
    #[serde(default)]
    pub steps: u64,
    /// In a sequence, on average; none of a dense memory.
    #[serde(default)]
    pub words_written: Option<f64>,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ending {
    batch: u64,
    /// Seconds that it was to be trained for, at most.
    seconds: Option<f64>,
    tests: Vec<Tested>,
    /// The file that they were made of, instead of what was held out.
    #[serde(default)]
    test_files: Option<PathBuf>,
}

impl Ending {
    /// What is kept of a run; what cannot be read is found out again, as are tests of other files.
    fn read(run: &Run) -> Option<Self> {
        let bytes = sparsam::internal::file::read(&run.folder.join(RESULT)).ok()?;
        let mut ending: Self = serde_json::from_slice(&bytes).ok()?;
        if ending.test_files != run.test_files {
            ending.tests.clear();
        }
        Some(ending)
    }

    fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(RESULT);
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        sparsam::internal::file::replace(&path, &text).map_err(|source| Error::Io { path, source })
    }

    /// Whether a run that ended so has no more training to do.
    fn is_end_of(&self, run: &Run, metrics: &[Metrics]) -> bool {
        let in_time = self.seconds.is_some_and(|had| run.seconds.is_some_and(|most| had >= most));
        in_time || self.batch >= run.config.batches || run.is_mastered(metrics)
    }
}

/// What to tell of while networks are trained.
pub enum News<'a> {
    Trained {
        run: &'a Run,
        batch: u64,
        share: f64,
    },
    Testing {
        run: &'a Run,
        test: Test,
    },
    Ended {
        run: &'a Run,
        result: Result<&'a Trained, &'a Error>,
    },
    /// Something that is to be known and ends nothing.
    Notice(&'a str),
}

/// Trains and tests what remains of all runs, `workers` at a time, until `stop` is set. Tells whatever happens.
///
/// A run that fails is told of; the others go on.
pub fn all(
    figure: Figure,
    quick: bool,
    runs: &[Run],
    workers: usize,
    stop: &AtomicBool,
    news: &(dyn Fn(News<'_>) + Sync),
) -> Result<(), Error> {
    // One thread for each network: as many are trained at a time as there are cores, and none waits.
    side_by_side(runs, workers, 1, stop, &|run| {
        let result = one(figure, quick, run, stop, news);
        news(News::Ended { run, result: result.as_ref() });
    })
}

/// Trains and tests what remains of one run, and before it of the one that it starts from.
fn one(
    figure: Figure,
    quick: bool,
    run: &Run,
    stop: &AtomicBool,
    news: &(dyn Fn(News<'_>) + Sync),
) -> Result<Trained, Error> {
    if let Some(first) = run.first()
        && let (metrics, None) = trained(first, stop, news)?
    {
        return Ok(Trained { metrics, tests: Vec::new(), done: false });
    }
    let (metrics, ending) = trained(run, stop, news)?;
    let Some(mut ending) = ending else { return Ok(Trained { metrics, tests: Vec::new(), done: false }) };
    let mut done = true;
    for test in figure.tests(quick, &run.config, &metrics) {
        if ending.tests.iter().any(|tested| tested.level == test.level) {
            continue;
        }
        if stop.load(Ordering::Relaxed) {
            done = false;
            break;
        }
        news(News::Testing { run, test });
        let Some(found) = tested(run, test, stop)? else {
            done = false;
            break;
        };
        ending.tests.push(found);
        ending.write(&run.folder)?;
    }
    Ok(Trained { metrics, tests: ending.tests, done })
}

/// Trains what remains of one run: how it ended, if it did, with the tests that there are of this network.
fn trained(
    run: &Run,
    stop: &AtomicBool,
    news: &(dyn Fn(News<'_>) + Sync),
) -> Result<(Vec<Metrics>, Option<Ending>), Error> {
    let mut trainer = open(run)?;
    let before = Ending::read(run).filter(|ending| ending.batch == trainer.batch());
    let mut over = before.as_ref().is_some_and(|ending| ending.is_end_of(run, trainer.metrics()));
    if !over {
        // The last share of the time; a cooldown of the plan's own is of batches, and has nothing to do with it.
        let cooling = run.cooldown > 0.0 && trainer.config().cooldown > 0;
        let until = run.seconds.filter(|_| !cooling).map(|most| most * (1.0 - run.cooldown));
        over = train(run, &mut trainer, until, stop, news)?;
        if let (true, false, Some(most)) = (over, cooling, run.seconds)
            && run.cooldown > 0.0
        {
            let last = batches_in(most - trainer.seconds(), &trainer);
            trainer.set_end(trainer.batch() + last, last, run.config.until, 0)?;
            over = train(run, &mut trainer, None, stop, news)?;
        }
        // What was learnt since the last evaluation counts as well.
        if over && trainer.metrics().last().is_none_or(|line| line.batch < trainer.batch()) {
            trainer.evaluate_and_save(&mut |_: Event<'_>| ())?;
        }
    }
    let (metrics, batch) = (trainer.metrics().to_vec(), trainer.batch());
    drop(trainer);
    if !over {
        return Ok((metrics, None));
    }
    // What was tested before is of another network if there was training since.
    let tests = before.filter(|ending| ending.batch == batch).map_or(Vec::new(), |ending| ending.tests);
    let ending = Ending { batch, seconds: run.seconds, tests, test_files: run.test_files.clone() };
    ending.write(&run.folder)?;
    Ok((metrics, Some(ending)))
}

/// Trains until so many seconds of training, the run's last batch, or until its task is mastered; says whether it came to
/// that, and was not told to stop before.
fn train(
    run: &Run,
    trainer: &mut Trainer,
    until: Option<f64>,
    stop: &AtomicBool,
    news: &(dyn Fn(News<'_>) + Sync),
) -> Result<bool, Error> {
    let (mut over, ended) = (false, AtomicBool::new(false));
    let (trained, started) = (trainer.seconds(), Instant::now());
    let mut metrics = trainer.metrics().to_vec();
    let mut observer = |event: Event<'_>| match event {
        Event::Batch(report) => {
            let seconds = trained + started.elapsed().as_secs_f64();
            let of_batches = report.batch as f64 / report.batches as f64;
            let share = run.seconds.map_or(of_batches, |most| of_batches.max(seconds / most)).min(1.0);
            news(News::Trained { run, batch: report.batch, share });
            over |= until.is_some_and(|until| seconds >= until);
            ended.fetch_or(over || stop.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        Event::Evaluated { metrics: line, .. } => {
            metrics.push(line.clone());
            over |= run.is_mastered(&metrics);
            ended.fetch_or(over, Ordering::Relaxed);
        }
        Event::Notice { text } => news(News::Notice(text)),
        _ => {}
    };
    let outcome = trainer.run(&mut observer, &ended)?;
    Ok(over || outcome == Outcome::Finished)
}

/// Batches that there is time for in so many seconds, at the rate of late; one at least.
fn batches_in(seconds: f64, trainer: &Trainer) -> u64 {
    let (batches, took) = match trainer.metrics() {
        [.., before, last] => (last.batch - before.batch, last.seconds - before.seconds),
        _ => (trainer.batch(), trainer.seconds()),
    };
    (seconds * batches as f64 / took.max(1e-9)).max(1.0) as u64
}

/// Begins a run, or goes on with it.
fn open(run: &Run) -> Result<Trainer, Error> {
    let Ok(folder) = RunFolder::open(&run.folder) else {
        return Trainer::new(run.config.clone(), &run.folder);
    };
    let kept = folder.config()?;
    if let Some(misfit) = misfit(run, &kept)? {
        let reason =
            format!("{misfit}: it is of other options or another version; choose another --output, or remove it");
        return Err(Error::Config { source_name: run.folder.display().to_string(), reason });
    }
    let mut trainer = Trainer::resume(&run.folder)?;
    let cooling = kept.cooldown > 0 && trainer.batch() < kept.batches;
    if kept.batches < run.config.batches && !cooling {
        trainer.set_end(run.config.batches, run.config.cooldown, run.config.until, 0)?;
    }
    Ok(trainer)
}

/// Tests the network of a run; none if it is told to stop.
fn tested(run: &Run, test: Test, stop: &AtomicBool) -> Result<Option<Tested>, Error> {
    let started = Instant::now();
    let folder = RunFolder::open(&run.folder)?;
    // The best one did best on a few sequences: where one in a hundred fails, that is luck.
    let (task, network) = (folder.task(run.test_files.as_deref())?, folder.network(Checkpoint::Newest)?);
    let network = match test.level {
        Some(level) => with_room(network, task.steps(level).min(LONGEST_ROOM))?,
        None => network,
    };
    let sequences = test.sequences.or(task.evaluation_sequences()).unwrap_or(256);
    let options = EvaluationOptions {
        levels: test.level.map(|level| level..=level),
        sequences,
        // Few at a time: long sequences fill the memories.
        batch_size: run.config.batch_size.min(4),
        seed: TEST_SEED,
        compare_index: false,
    };
    let found = evaluate_until(&network, &*task, &options, &mut |_| (), stop)?;
    let Some((found, cost)) = found else { return Ok(None) };
    let errors = found.categories.iter().map(|score| (score.name.clone(), score.error(), score.answers)).collect();
    let (loss, wrong, seconds) = (found.loss, found.wrong.unwrap_or(0.0), started.elapsed().as_secs_f64());
    let (steps, step_seconds, words_written) = (cost.steps, cost.time.as_secs_f64(), cost.words_written);
    Ok(Some(Tested { level: test.level, sequences, loss, wrong, errors, seconds, step_seconds, steps, words_written }))
}

/// The network with a memory that so many steps do not fill, if it is sparse: parameters do not depend on its size, and what
/// is tested is finding words, not losing them.
fn with_room(network: Network<f32>, steps: usize) -> Result<Network<f32>, Error> {
    let memory = &network.config().memory;
    let (Some(config), Some(Footprint::Sparse { .. })) = (memory.config(), memory.footprint(steps, size_of::<f32>()))
    else {
        return Ok(network);
    };
    let wanted = config.writers() * steps;
    if config.memory_size() >= wanted {
        return Ok(network);
    }
    Ok(network.with_memory(memory.with_memory_size(wanted))?)
}

/// What is kept of a run, without training; none if it has not begun or is of other options.
pub fn so_far(figure: Figure, quick: bool, run: &Run) -> Result<Option<Trained>, Error> {
    let Ok(folder) = RunFolder::open(&run.folder) else { return Ok(None) };
    if misfit(run, &folder.config()?)?.is_some() {
        return Ok(None);
    }
    let metrics = folder.metrics()?;
    let batch = metrics.last().map_or(0, |line| line.batch);
    let ending = Ending::read(run).filter(|ending| ending.batch >= batch);
    let over = ending.as_ref().is_some_and(|ending| ending.is_end_of(run, &metrics));
    let tests = ending.map_or(Vec::new(), |ending| ending.tests);
    let tested = figure.tests(quick, &run.config, &metrics).len() <= tests.len();
    Ok(Some(Trained { metrics, tests, done: over && tested }))
}

/// Seconds that a run was trained for at most when it last ended, if it has.
pub fn limit(run: &Run) -> Option<f64> {
    Ending::read(run)?.seconds
}

/// How the configuration that a run was begun with differs from the one it should have; its end may, and the place of the
/// run that it starts from.
fn misfit(run: &Run, kept: &Config) -> Result<Option<String>, Error> {
    // RUN/checkpoints/newest.safetensors, wherever the folder of all runs lies.
    let place = |config: &Config| -> Vec<_> {
        Path::new(&config.start_from).components().rev().take(3).map(|part| part.as_os_str().to_owned()).collect()
    };
    let wanted = if place(kept) == place(&run.config) { kept } else { &run.config };
    let start_from = wanted.start_from.clone();
    let expected = Config { batches: kept.batches, cooldown: kept.cooldown, start_from, ..run.config.clone() };
    Ok(kept.difference(&expected)?.map(|(field, here, wanted)| format!("its {field} is {here}, not {wanted}")))
}

/// Seconds that a batch takes: as its run took, or as a few batches take now, trained in a folder that is then removed.
pub fn seconds_per_batch(run: &Run, scratch: &Path) -> Result<f64, Error> {
    const LEAST: f64 = 0.5;
    if let Ok(folder) = RunFolder::open(&run.folder)
        && let Some(line) = folder.metrics()?.last()
    {
        return Ok(line.seconds / line.batch.max(1) as f64);
    }
    let folder: PathBuf = scratch.join(run.folder.file_name().unwrap_or_default());
    let remove = || {
        std::fs::remove_dir_all(&folder).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(Error::Io { path: folder.clone(), source: error }),
        })
    };
    remove()?;
    // The run that it starts from may not be there yet; new weights take as long, or longer: they write at every step.
    let mut trainer = Trainer::new(Config { start_from: String::new(), ..run.config.clone() }, &folder)?;
    // The first batch makes room for all the others.
    trainer.step()?;
    let (started, mut batches) = (Instant::now(), 0.0);
    while started.elapsed().as_secs_f64() < LEAST {
        trainer.step()?;
        batches += 1.0;
    }
    let seconds = started.elapsed().as_secs_f64() / batches;
    drop(trainer);
    remove()?;
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use sparsam::Model;

    use super::*;

    #[test]
    fn long_sequences_do_not_fill_the_memory() {
        for (model, first, words) in [("sam", 20, 40), ("sdnc", 5, 10), ("dam", 4, 4), ("lstm", 0, 0)] {
            let memory = Model::by_name(model).unwrap().with_memory_size(first);
            let sizes = sparsam::NetworkConfig::new(2, 2).with_hidden_size(3).with_memory(memory);
            let network = Network::new(sizes, 1).unwrap();
            let roomy = with_room(network.clone(), 10).unwrap();
            assert_eq!(roomy.parameters(), network.parameters());
            let found = roomy.config().memory.memory_size();
            assert_eq!(found, words);
            assert_eq!(with_room(roomy.clone(), 9).unwrap().config(), roomy.config());
        }
    }
}
