//! What each figure takes: which networks are trained on what, for how long, and on what they are tested.

use std::path::PathBuf;

use sparsam::Model;
use sparsam::index::IndexKind;
use sparsam::memory::Footprint;
use sparsam::nn::optimiser::OptimiserConfig;
use sparsam::option::{Declared, OptionValue};
use sparsam_train::{Config, CurriculumConfig, Metrics, RunFolder, TaskConfig};

use super::paper;
use crate::figure::{Figure, LONGEST_EXACT};
use crate::settings::Reproduce;

/// Minutes that `--quick` takes, about, however many runs and cores there are.
const QUICK_MINUTES: f64 = 8.0;

/// Characters in the longest episodes of training, and labels that there are.
const CHARACTERS: usize = 100;

/// Words of the dense models, as in the paper's curriculum.
const DENSE_WORDS: usize = 64;

/// Words of the sparse models in a curriculum, as in the paper: they take about as much physical memory.
const CURRICULUM_WORDS: usize = 2_000_000;

/// Words that an approximate index compares with a query in a curriculum, at most: what a network learns with fewer, once
/// there are thousands, is that it cannot rely on its memory.
const CURRICULUM_CHECKS: usize = 16_384;

/// Sequences in a batch of all figures but the second, whose axis is sequences: twice as many updates from as many as with
/// eight, at the same cost on one thread.
const SMALL_BATCH: usize = 4;

/// Sequences over which a curriculum's mean loss is taken: as many as tell one level from the next, so that little time is
/// spent on levels that have been learnt.
const CURRICULUM_EPISODES: u64 = 200;

/// The highest level of a curriculum: whoever reaches it has mastered the level before. A batch of such sequences takes
/// 2.6 GiB.
const LAST_LEVEL: usize = 16_384;

/// What a write costs in the two stages of training on haystacks: little while the stories are learnt, and then enough for gates to
/// stay shut on nearly all that is none.
const WRITE_COSTS: [f64; 2] = [3e-4, 5e-4];

/// Words in the shortest and the longest haystacks of the two stages: the stories are learnt in short ones, which take less time,
/// and what is learnt has to hold over long pauses then.
const HAYSTACK_WORDS: [[usize; 2]; 2] = [[16, 4 << 10], [256, 16 << 10]];

/// Batches of the two stages.
const HAYSTACK_BATCHES: [u64; 2] = [16_000, 6000];

/// What a figure is made of.
pub struct Plan {
    pub figure: Figure,
    pub runs: Vec<Run>,
    /// What is left out of all that the figure could show, a phrase each.
    pub left_out: Vec<String>,
}

/// A network that is trained and tested.
#[derive(Clone)]
pub struct Run {
    pub task: &'static str,
    /// The line in a picture that it belongs to: "SAM ivf".
    pub series: String,
    pub config: Config,
    /// Where it is kept.
    pub folder: PathBuf,
    /// Seconds of training at most.
    pub seconds: Option<f64>,
    /// The share of them, at the end, over which the learning rate falls to 0.
    pub cooldown: f64,
    /// Training ends after so many evaluations in a row that show [`MASTERED`] or less.
    pub evaluations_mastered: Option<usize>,
    /// The file that tests are made of, instead of what was held out.
    pub test_files: Option<PathBuf>,
    /// The run whose newest weights this one starts from, which is trained before it and not tested.
    pub starts_from: Option<Box<Run>>,
}

/// Wrong bits per sequence at which a task counts as mastered.
pub const MASTERED: f64 = 0.1;

impl Run {
    /// In a line.
    pub fn name(&self) -> String {
        format!("{}, {}", self.task, self.network())
    }

    /// The same without its task.
    pub fn network(&self) -> String {
        format!("{}, seed {}", self.series, self.config.seed)
    }

    /// The run that is trained before this one, unless this one has begun.
    pub fn first(&self) -> Option<&Self> {
        self.starts_from.as_deref().filter(|_| RunFolder::open(&self.folder).is_err())
    }

    /// Trains for so many seconds at most, half of them on what it starts from, if it starts from something.
    fn set_seconds(&mut self, seconds: f64) {
        let first = self.starts_from.as_mut();
        let share = if first.is_some() { 0.5 } else { 1.0 };
        if let Some(first) = first {
            first.seconds = Some(share * seconds);
        }
        self.seconds = Some(share * seconds);
    }

    /// Whether these metrics show that there is nothing more to learn.
    pub fn is_mastered(&self, metrics: &[Metrics]) -> bool {
        let mastered =
            metrics.iter().rev().take_while(|line| line.wrong.is_some_and(|wrong| wrong <= MASTERED)).count();
        self.evaluations_mastered.is_some_and(|wanted| mastered >= wanted)
    }

    /// Bits that a sequence wants on average, and so the loss of guessing; none where the curriculum decides.
    pub fn chance(&self) -> Option<f64> {
        match &self.config.task {
            TaskConfig::Copy(copy) => Some(copy.bits as f64 * (copy.min_length + copy.max_length) as f64 / 2.0),
            TaskConfig::Recall(recall) => Some((recall.bits * recall.item_length) as f64),
            TaskConfig::Sort(sort) => Some((sort.bits * sort.top) as f64),
            _ => None,
        }
    }
}

impl Plan {
    /// The whole plan of a figure, for these settings.
    pub fn new(settings: &Reproduce) -> Result<Self, sparsam_train::Error> {
        let figure = settings.figure;
        let mut runs = Vec::new();
        let indexes: &[IndexKind] = match figure {
            Figure::Fig2 | Figure::Fig3 | Figure::Fig8 if !settings.quick => &[IndexKind::Linear, IndexKind::Ivf],
            Figure::Fig2 | Figure::Fig3 | Figure::Fig8 => &[IndexKind::Ivf],
            Figure::Fig4 | Figure::Table1 | Figure::Haystack => &[IndexKind::Auto],
        };
        for task in figure.tasks().iter().copied().filter(|task| settings.tasks.contains(task)) {
            // Seed by seed, so that what is stopped early shows every model.
            for seed in 1..=settings.seeds {
                for model in &settings.models {
                    let indexes = if *model == "sam" { indexes } else { &[IndexKind::Auto] };
                    for index in indexes {
                        runs.push(run(settings, task, model, *index, seed)?);
                    }
                }
            }
        }
        let at_a_time = settings.threads.clamp(1, runs.len().max(1));
        let each = QUICK_MINUTES * 60.0 / runs.len().div_ceil(at_a_time).max(1) as f64;
        if settings.quick && settings.minutes.is_none() {
            runs.iter_mut().for_each(|run| run.set_seconds(each.floor()));
        }
        let left_out = left_out(settings, each);
        Ok(Self { figure, runs, left_out })
    }
}

/// What is not shown of all that the figure could show; `seconds` is what a run of the smaller version takes.
fn left_out(settings: &Reproduce, seconds: f64) -> Vec<String> {
    let (figure, quick) = (settings.figure, settings.quick);
    let mut phrases = Vec::new();
    let tasks: Vec<&str> = figure.tasks().iter().copied().filter(|task| !settings.tasks.contains(task)).collect();
    if !tasks.is_empty() {
        phrases.push(format!("the task {}", tasks.join(", ")));
    }
    let all = figure.models().iter().map(|(model, _)| *model);
    let models: Vec<&str> = all.filter(|model| !settings.models.contains(model)).collect();
    if !models.is_empty() {
        phrases.push(format!("the models {} (--models takes them)", models.join(", ")));
    }
    if quick && matches!(figure, Figure::Fig2 | Figure::Fig3 | Figure::Fig8) {
        phrases.push("SAM with the exact index".into());
    }
    let in_paper = paper::seeds(figure);
    if settings.seeds < in_paper {
        phrases.push(format!("{} of the paper's {in_paper} seeds", in_paper - settings.seeds));
    }
    if quick && settings.minutes.is_none() {
        phrases.push(format!("all training after the first {} of each run", crate::display::duration(seconds)));
    }
    if quick && figure == Figure::Haystack {
        phrases.push("books of more than 65,536 words, and most sequences of the others".into());
    }
    if figure == Figure::Fig8 {
        let exact =
            format!("lists of more than {} items for the exact index", crate::display::grouped(LONGEST_EXACT as u64));
        phrases.push(if quick { "lists of more than 20 times the length trained on".into() } else { exact });
    }
    phrases
}

fn run(
    settings: &Reproduce,
    task: &'static str,
    model: &'static str,
    index: IndexKind,
    seed: u64,
) -> Result<Run, sparsam_train::Error> {
    let figure = settings.figure;
    let (Some(mut options), Some(mut memory)) = (TaskConfig::by_name(task), Model::by_name(model)) else {
        let reason = "there is no such task or model".to_owned();
        return Err(sparsam_train::Error::Config { source_name: figure.name().into(), reason });
    };
    let curriculum = matches!(figure, Figure::Fig3 | Figure::Fig8);
    match &mut options {
        TaskConfig::Babi(babi) => {
            babi.data = settings.data.display().to_string();
            // Some thousand stories of a task are learnt by heart before all is learnt from them.
            babi.exchange_names = true;
        }
        TaskConfig::Haystack(haystack) => {
            let told =
                |book: &Option<PathBuf>| book.as_ref().map_or_else(String::new, |book| book.display().to_string());
            haystack.data = settings.data.display().to_string();
            (haystack.background, haystack.validation) =
                (told(&settings.books.background), told(&settings.books.validation));
            // Task 3 has a fifth of its official stories in some archives.
            haystack.tasks = "1,2,4,5".into();
            haystack.sentences = true;
            // As of babi: without it the stories are learnt by heart, and one of twenty that are new is answered wrongly.
            haystack.exchange_names = true;
            [haystack.min_words, haystack.max_words] = HAYSTACK_WORDS[0];
        }
        TaskConfig::Omniglot(omniglot) => {
            omniglot.data = settings.data.display().to_string();
            omniglot.labels = CHARACTERS;
        }
        // A curriculum draws from the shortest sequences on.
        // 48 bits to an item, as in the paper's figure 8: of thousands of items of 18 bits many are alike, or nearly.
        TaskConfig::Recall(recall) if curriculum => (recall.bits, recall.item_length) = (16, 3),
        TaskConfig::Sort(sort) if curriculum => (sort.count, sort.top) = (5, 4),
        _ => {}
    }
    memory = match memory.footprint(0, size_of::<f32>()) {
        Some(Footprint::Dense { .. }) => memory.with_memory_size(DENSE_WORDS),
        Some(Footprint::Sparse { .. }) if curriculum => memory.with_memory_size(CURRICULUM_WORDS),
        Some(Footprint::Sparse { .. }) if figure == Figure::Haystack => {
            // Nearly all that is read is not worth a word: gates that shut whole, and a reason to.
            memory.set_option("write_threshold", &0.1.to_value());
            memory.set_option("write_cost", &WRITE_COSTS[0].to_value());
            memory.with_memory_size(512)
        }
        Some(Footprint::Sparse { .. }) | None => memory,
    };
    memory.set_option("index", &index.to_value());
    if index == IndexKind::Ivf && curriculum {
        memory.set_option("index_checks", &CURRICULUM_CHECKS.to_value());
    }
    // A chain of soft steps along temporal links blurs: without this one of hundreds of steps breaks.
    if curriculum && task != "recall" {
        memory.set_option("sharpened_links", &true.to_value());
    }
    // How long a run is follows from its figure alone.
    let mut config = Config { seed, until: 0.0, cooldown: 0, ..Config::default_for(options, memory) };
    match figure {
        Figure::Fig2 => {
            config.batches = 30_000;
            (config.evaluate_every, config.checkpoint_every) = (100, 1000);
            // Sort is learnt no further than steps are small.
            config.cooldown = if task == "sort" { config.batches } else { 0 };
        }
        Figure::Fig3 | Figure::Fig8 => {
            // Chains of reads, as copy and sort take them, break at large steps once they are long.
            let (start, learning_rate_power) = if task == "recall" { (4, 0.25) } else { (8, 0.5) };
            config.curriculum = CurriculumConfig {
                on: true,
                threshold: 0.05,
                start,
                end: LAST_LEVEL,
                episodes: CURRICULUM_EPISODES,
                learning_rate_power,
            };
            (config.batch_size, config.batches) = (SMALL_BATCH, 1_000_000);
            (config.evaluate_every, config.evaluation_sequences, config.checkpoint_every) = (200, 16, 400);
        }
        Figure::Fig4 => {
            config.curriculum = CurriculumConfig { on: true, start: 4, end: CHARACTERS, ..config.curriculum };
            config.optimiser = OptimiserConfig::adam(1e-3);
            (config.batch_size, config.batches) = (SMALL_BATCH, 10_000_000);
            (config.evaluate_every, config.evaluation_sequences, config.checkpoint_every) = (2000, 128, 2000);
        }
        Figure::Table1 => {
            config.network.hidden_size = 128;
            config.optimiser = OptimiserConfig::adam(1e-3);
            (config.batch_size, config.batches) = (SMALL_BATCH, 1_000_000);
            (config.evaluate_every, config.evaluation_sequences, config.checkpoint_every) = (4000, 500, 4000);
        }
        Figure::Haystack => {
            config.network.hidden_size = 128;
            (config.batches, config.cooldown) = (HAYSTACK_BATCHES[0], HAYSTACK_BATCHES[0] / 4);
            (config.evaluate_every, config.evaluation_sequences, config.checkpoint_every) = (1000, 200, 500);
        }
    }
    let series = match (model, index) {
        ("sam", IndexKind::Auto) | (_, IndexKind::Auto) => model.to_uppercase(),
        (model, index) => format!("{} {}", model.to_uppercase(), index.name()),
    };
    let name = format!("{task}-{}-{seed}", series.to_lowercase().replace(' ', "-"));
    let mut run = Run {
        task,
        folder: settings.folder().join(figure.folder()).join(name),
        seconds: None,
        evaluations_mastered: (figure == Figure::Fig2).then_some(4),
        cooldown: if matches!(figure, Figure::Fig4 | Figure::Table1) { 0.25 } else { 0.0 },
        test_files: settings.books.test.clone(),
        starts_from: None,
        series,
        config,
    };
    if figure == Figure::Haystack {
        run = on_longer_haystacks(run);
    }
    if let Some(minutes) = settings.minutes.or(figure.minutes()) {
        run.set_seconds(60.0 * minutes);
    }
    Ok(run)
}

/// The run that goes on from this one in longer haystacks, until gates stay shut and what was learnt holds over longer pauses.
fn on_longer_haystacks(short: Run) -> Run {
    let mut long = short.clone();
    if let TaskConfig::Haystack(haystack) = &mut long.config.task {
        [haystack.min_words, haystack.max_words] = HAYSTACK_WORDS[1];
    }
    long.config.network.memory.set_option("write_cost", &WRITE_COSTS[1].to_value());
    (long.config.batches, long.config.cooldown) = (HAYSTACK_BATCHES[1], HAYSTACK_BATCHES[1] / 2);
    let name = long.folder.file_name().unwrap_or_default().display().to_string();
    let short = Run {
        folder: long.folder.with_file_name(format!("{name}-short")),
        series: format!("{} on short sequences", short.series),
        ..short
    };
    // The newest weights: gates shut better the longer it trains, which no evaluation in short sequences sees.
    long.config.start_from = short.folder.join("checkpoints/newest.safetensors").display().to_string();
    long.starts_from = Some(Box::new(short));
    long
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Books;

    fn settings(figure: Figure, quick: bool, threads: usize) -> Reproduce {
        let (tasks, models, seeds) = figure.defaults(quick);
        let (output, data, books) = ("reproduce".into(), "data".into(), Books::default());
        Reproduce { figure, quick, seeds, minutes: None, tasks, models, output, data, books, json: false, threads }
    }

    #[test]
    fn smaller_versions_take_less_than_ten_minutes() {
        for figure in Figure::ALL {
            for threads in [1, 2, 8] {
                let plan = Plan::new(&settings(figure, true, threads)).unwrap();
                let of = |run: &Run| {
                    run.starts_from.iter().map(AsRef::as_ref).chain([run]).filter_map(|run| run.seconds).sum::<f64>()
                };
                let seconds: f64 = plan.runs.iter().map(of).sum();
                let rounds = plan.runs.len().div_ceil(threads) as f64;
                let longest = of(&plan.runs[0]);
                assert!(seconds / threads as f64 <= 500.0 && rounds * longest <= 540.0, "{figure:?} {threads}");
                assert!(!plan.left_out.is_empty());
            }
        }
    }

    #[test]
    fn every_run_has_a_folder_of_its_own_and_a_configuration_that_works() {
        for figure in Figure::ALL {
            let plan = Plan::new(&settings(figure, false, 2)).unwrap();
            let runs: Vec<_> =
                plan.runs.iter().flat_map(|run| run.starts_from.as_deref().into_iter().chain([run])).collect();
            let mut folders: Vec<_> = runs.iter().map(|run| &run.folder).collect();
            folders.sort();
            folders.dedup();
            assert_eq!(folders.len(), runs.len());
            for run in runs {
                run.config.validate().unwrap();
            }
        }
    }

    #[test]
    fn figures_3_and_8_are_of_the_same_runs() {
        let of = |figure| Plan::new(&settings(figure, false, 2)).unwrap().runs;
        for run in of(Figure::Fig8) {
            let same = of(Figure::Fig3).into_iter().find(|other| other.folder == run.folder).unwrap();
            assert_eq!(same.config, run.config);
        }
    }

    #[test]
    fn a_task_is_mastered_after_several_evaluations_in_a_row() {
        let run = &Plan::new(&settings(Figure::Fig2, false, 2)).unwrap().runs[0];
        let line = |wrong: f64| {
            let text = format!(
                "{{\"batch\":1,\"sequences\":8,\"training_loss\":1,\"training_wrong\":1,\"gradient_norm\":1,\"loss\":1,\
                 \"wrong\":{wrong},\"seconds\":1,\"sequences_per_second\":1}}"
            );
            serde_json::from_str::<Metrics>(&text).unwrap()
        };
        let of = |wrong: &[f64]| run.is_mastered(&wrong.iter().map(|wrong| line(*wrong)).collect::<Vec<_>>());
        assert!(of(&[3.0, 0.1, 0.0, 0.0, 0.05]));
        assert!(!of(&[0.0, 0.0, 0.0, 0.0, 0.2]) && !of(&[0.0, 0.0, 0.0]));
    }
}
