//! What the arguments mean together: whatever is wrong with them is found here, before anything is done.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
use sparsam::Model;
use sparsam::index::IndexKind;
use sparsam::option::{Declared, OptionValue, Value};
use sparsam_train::data::DataSet;
use sparsam_train::data_sets::DATA_SETS;
use sparsam_train::plot::Size;
use sparsam_train::{Checkpoint, Config, RunFolder, TaskConfig, task};

use crate::arguments::{self, Arguments, AxisScale, Common, DataCheck, DataFetch, PictureSize, Verb, Which};
use crate::failure::Mistake;
use crate::figure::Figure;
use crate::image::Format;
use crate::options::{MemoryOptions, Options};
use crate::shell::shell_word;
use crate::style::Style;

/// What to do.
pub enum Settings {
    Train(Train),
    Seeds(Seeds),
    Evaluate(Evaluate),
    Predict(Predict),
    Inspect(Inspect),
    Serve(Serve),
    Compare(Compare),
    Runs(Runs),
    Bench(Bench),
    Reproduce(Reproduce),
    Data(Data),
    /// Say what a file of sequences holds.
    CheckFile(Box<Config>),
    Completions(Shell),
}

/// What to train, and how to tell of it.
pub struct Train {
    pub start: Start,
    pub style: Style,
    pub threads: Option<usize>,
    /// Whether training stops once standard output cannot be written to.
    pub stop_on_closed_output: bool,
}

/// A training from one seed.
pub struct SeedRun {
    pub config: Config,
    pub folder: PathBuf,
}

/// What to train, and how.
pub struct Seeds {
    pub runs: Vec<SeedRun>,
    /// Trained at a time.
    pub jobs: usize,
    /// Of each.
    pub threads: Option<usize>,
    pub style: Style,
    pub stop_on_closed_output: bool,
}

/// Where training starts.
pub enum Start {
    /// In a folder, or else in a free one.
    New {
        config: Box<Config>,
        folder: Option<PathBuf>,
    },
    Resume {
        folder: PathBuf,
        batches: Option<u64>,
        cooldown: Option<u64>,
        until: Option<f64>,
        patience: Option<u64>,
    },
}

/// What to evaluate, and how to tell of it.
pub struct Evaluate {
    pub run: RunFolder,
    pub network: PathBuf,
    pub level: Option<usize>,
    pub sequences: Option<u64>,
    pub test_files: Option<PathBuf>,
    pub memory: MemoryOptions,
    pub compare_index: bool,
    pub seed: u64,
    pub json: bool,
    pub threads: Option<usize>,
}

/// Which network's outputs, and for what.
pub struct Predict {
    pub run: RunFolder,
    pub network: PathBuf,
    /// None for standard input.
    pub file: Option<PathBuf>,
    pub state: Option<PathBuf>,
    pub logits: bool,
    pub threads: Option<usize>,
}

/// Which sequence to show in which network, and where.
pub struct Inspect {
    pub run: RunFolder,
    pub network: PathBuf,
    pub shown: Shown,
    pub out: PathBuf,
    pub json: bool,
    pub threads: Option<usize>,
}

/// A sequence to show, and the memory to run it with.
pub struct Shown {
    /// None for a sequence of the run's task.
    pub file: Option<PathBuf>,
    pub level: Option<usize>,
    pub seed: u64,
    pub number: u64,
    /// Whether the first is wanted, from that number on, that has a wrong output.
    pub failing: bool,
    /// Whether only steps are shown at which something is written or wanted.
    pub written: bool,
    pub test_files: Option<PathBuf>,
    pub memory: MemoryOptions,
}

/// Which run to follow, and where.
pub struct Serve {
    /// There may be no run in it as yet.
    pub folder: PathBuf,
    /// The one whose sequence is shown.
    pub checkpoint: Checkpoint,
    pub shown: Shown,
    /// 0 for a free one.
    pub port: u16,
    pub json: bool,
    pub threads: Option<usize>,
}

/// What to compare, and where to draw it.
pub struct Compare {
    pub runs: Vec<PathBuf>,
    pub output: PathBuf,
    pub format: Format,
    pub size: Size,
    /// The scales of the axes; none for what suits the runs.
    pub axes: [Option<AxisScale>; 2],
    pub json: bool,
}

/// Which runs to list.
pub struct Runs {
    pub folder: PathBuf,
    pub json: bool,
}

/// Which figure to reproduce, and how much of it.
#[derive(Clone, Debug)]
pub struct Reproduce {
    pub figure: Figure,
    pub quick: bool,
    pub seeds: u64,
    /// Of training for each run, at most; none for the figure's own.
    pub minutes: Option<f64>,
    pub tasks: Vec<&'static str>,
    pub models: Vec<&'static str>,
    pub output: PathBuf,
    pub data: PathBuf,
    pub books: Books,
    pub json: bool,
    /// Networks trained at a time.
    pub threads: usize,
}

/// The texts that stories are scattered over.
#[derive(Clone, Debug, Default)]
pub struct Books {
    pub background: Option<PathBuf>,
    pub validation: Option<PathBuf>,
    pub test: Option<PathBuf>,
}

impl Reproduce {
    /// The folder of reports and runs: those of `--quick` are others.
    pub fn folder(&self) -> PathBuf {
        if self.quick { self.output.join("quick") } else { self.output.clone() }
    }
}

/// Which data set, and what to do with it.
pub struct Data {
    pub set: &'static DataSet,
    pub folder: PathBuf,
    pub action: DataAction,
}

/// What to do with a data set.
pub enum DataAction {
    Fetch { from: Option<PathBuf> },
    Check,
}

/// What to measure.
pub enum Bench {
    Step(BenchModels),
    Memory(BenchModels),
    Index(BenchIndex),
    Point(BenchPoint),
}

/// What every benchmark is told.
#[derive(Clone, Debug)]
pub struct BenchCommon {
    pub quick: bool,
    /// In rising order; empty for those that the benchmark chooses.
    pub sizes: Vec<usize>,
    pub indexes: Vec<IndexKind>,
    pub repeats: usize,
    pub output: PathBuf,
    pub json: bool,
    pub threads: Option<usize>,
}

/// Models to measure.
pub struct BenchModels {
    pub models: Vec<&'static str>,
    pub empty: bool,
    /// Time steps of a sequence, at most; none for the benchmark's own.
    pub steps: Option<usize>,
    pub common: BenchCommon,
}

/// Indexes to measure.
pub struct BenchIndex {
    pub rounds: usize,
    /// In rising order; empty for those that the benchmark chooses.
    pub checks: Vec<usize>,
    /// Where words and queries come from.
    pub queries: Vec<&'static str>,
    /// The run whose network they are of.
    pub run: Option<PathBuf>,
    pub level: Option<usize>,
    pub common: BenchCommon,
}

/// One point of the memory benchmark.
pub struct BenchPoint {
    pub model: &'static str,
    pub index: Option<IndexKind>,
    pub words: usize,
    pub steps: usize,
    pub empty: bool,
}

/// Leaves the surrounding function with a mistake.
macro_rules! mistake {
    ($($text:tt)*) => { return Err(Mistake(format!($($text)*)).into()) };
}

impl TryFrom<Arguments> for Settings {
    type Error = anyhow::Error;

    fn try_from(arguments: Arguments) -> anyhow::Result<Self> {
        match arguments.verb {
            Verb::Train(arguments) if !arguments.seeds.is_empty() => seeds(&arguments).map(Self::Seeds),
            Verb::Train(arguments) => train(arguments).map(Self::Train),
            Verb::Eval(arguments) => evaluate(arguments).map(Self::Evaluate),
            Verb::Predict(arguments) => predict(arguments).map(Self::Predict),
            Verb::Inspect(arguments) => inspect(arguments),
            Verb::Compare(arguments) => compare(arguments).map(Self::Compare),
            Verb::Runs(arguments::Runs { folder, json }) => Ok(Self::Runs(Runs { folder, json })),
            Verb::Bench(arguments) => bench(arguments).map(Self::Bench),
            Verb::Reproduce(arguments) => reproduce(arguments).map(Self::Reproduce),
            Verb::Data(arguments) => data(arguments),
            Verb::Completions { shell } => Ok(Self::Completions(shell)),
        }
    }
}

fn style(arguments: &arguments::Train) -> Style {
    match (arguments.common.json, arguments.quiet) {
        (true, _) => Style::Json,
        (_, true) => Style::Quiet,
        _ => Style::Human,
    }
}

fn seeds(arguments: &arguments::Train) -> anyhow::Result<Seeds> {
    if arguments.options.iter().any(|flag| flag == "seed") {
        mistake!("--seed is one, and --seeds are several; leave one of the two out");
    }
    let config = configure(arguments)?;
    let (task, model) = (config.task.name(), config.network.memory.name());
    let base = arguments.run.clone().unwrap_or_else(|| Path::new("runs").join(format!("{task}-{model}")));
    // Without a slash at its end, to which a number could not be added.
    let base: PathBuf = base.components().collect();
    let mut seeds: Vec<u64> = arguments.seeds.iter().flat_map(|(first, last)| *first..=*last).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mut runs = Vec::new();
    for seed in seeds {
        let mut folder = base.clone().into_os_string();
        folder.push(format!("-{seed}"));
        let folder = PathBuf::from(folder);
        if !can_hold_a_run(&folder) {
            mistake!("{} is a file; name other folders for the runs with --run", folder.display());
        }
        runs.push(SeedRun { config: Config { seed, ..config.clone() }, folder });
    }
    let stop_on_closed_output = arguments.stop_on_closed_output;
    let (style, threads) = (style(arguments), threads(&arguments.common));
    Ok(Seeds { runs, jobs: arguments.jobs as usize, threads, style, stop_on_closed_output })
}

fn train(arguments: arguments::Train) -> anyhow::Result<Train> {
    let style = style(&arguments);
    let start = match &arguments.resume {
        Some(folder) => resume(folder.clone(), &arguments.options)?,
        None => {
            let config = configure(&arguments)?;
            let folder = match arguments.run {
                Some(folder) if !can_hold_a_run(&folder) => {
                    mistake!("{} is a file; name a folder that is to hold the run", folder.display())
                }
                folder => folder,
            };
            Start::New { config: Box::new(config), folder }
        }
    };
    let stop_on_closed_output = arguments.stop_on_closed_output;
    Ok(Train { start, style, threads: threads(&arguments.common), stop_on_closed_output })
}

/// A run's configuration decides its result, so resuming keeps it; only its end may be moved.
fn resume(folder: PathBuf, options: &Options) -> anyhow::Result<Start> {
    check_exists(&folder)?;
    RunFolder::open(&folder)?;
    if let Some(flag) = options.iter().find(|flag| !["batches", "cooldown", "until", "patience"].contains(flag)) {
        mistake!(
            "--{flag} cannot change a run that has begun, only --batches, --cooldown, --until and --patience can; to start \
             another from its configuration: --config {} --{flag} ...",
            shell_word(&folder.join("config.toml"))
        );
    }
    let (batches, cooldown, until) = (options.whole("batches"), options.whole("cooldown"), options.number("until"));
    let patience = options.whole("patience");
    Ok(Start::Resume { folder, batches, cooldown, until, patience })
}

fn configure(arguments: &arguments::Train) -> anyhow::Result<Config> {
    let model = arguments.model.as_deref();
    let has = |name: &str| arguments.options.iter().any(|flag| flag == name);
    // Whoever names nothing but data means sequences, or a text, of their own.
    let own = if has("tokens") { "text" } else { "sequences" };
    let own = (arguments.config.is_none() && has("data")).then_some(own);
    if let (Some("sequences"), None, Some(data)) = (own, &arguments.task, arguments.options.text("data"))
        && [".txt", ".txt.gz"].iter().any(|end| data.to_lowercase().ends_with(end))
    {
        mistake!("--data {data} names a text: say what it is cut into, --tokens chars or --tokens words");
    }
    let task = arguments.task.as_deref().or(own);
    let base = match (&arguments.config, task) {
        (Some(file), _) if !file.is_file() => {
            if let Ok(about) = std::fs::metadata(file) {
                mistake!("{}: {}", file.display(), sparsam::internal::file::not_a_file(&about));
            }
            mistake!("there is no file {}; name a configuration, such as the config.toml of a run", file.display())
        }
        (Some(file), _) => Config::read(file, task, model)?,
        (None, Some(name)) => {
            let (task, model) = (TaskConfig::by_name(name), Model::by_name(model.unwrap_or("sam")));
            let (Some(task), Some(model)) = (task, model) else {
                mistake!("the task {name} or the model is not known");
            };
            if arguments.paper { Config::paper_for(task, model) } else { Config::default_for(task, model) }
        }
        (None, None) => mistake!(
            "there is nothing to train; name a task ({}), a --config file, or a run to --resume",
            TaskConfig::NAMES.join(", ")
        ),
    };
    arguments.options.apply(base)
}

fn can_hold_a_run(folder: &Path) -> bool {
    folder.is_dir() || !folder.exists()
}

fn evaluate(arguments: arguments::Eval) -> anyhow::Result<Evaluate> {
    let (run, network) = find_network(arguments.run, arguments.checkpoint)?;
    let Common { json, .. } = arguments.common;
    let threads = threads(&arguments.common);
    let (level, sequences, seed) = (arguments.level, arguments.sequences, arguments.seed);
    let (test_files, memory, compare_index) = (arguments.test_files, arguments.memory, arguments.compare_index);
    let model = run.config()?.network.memory;
    if compare_index && model.option("index").is_none() {
        mistake!("{} has no index that could miss anything; leave --compare-index out", model.name());
    }
    Ok(Evaluate { run, network, level, sequences, test_files, memory, compare_index, seed, json, threads })
}

/// The network that a run's folder, or a checkpoint in one, stands for, and its run.
fn find_network(path: PathBuf, checkpoint: Option<Which>) -> anyhow::Result<(RunFolder, PathBuf)> {
    check_exists(&path)?;
    if path.is_dir() {
        let run = RunFolder::open(&path)?;
        let which = match checkpoint {
            Some(Which::Newest) => Checkpoint::Newest,
            Some(Which::Best) => Checkpoint::Best,
            // There is none before the first evaluation.
            None if run.checkpoint_path(Checkpoint::Best).exists() => Checkpoint::Best,
            None => Checkpoint::Newest,
        };
        let network = run.checkpoint_path(which);
        if !network.exists() {
            mistake!(
                "{} is missing; train a little longer, until a checkpoint is saved: sparsam train --resume {}",
                network.display(),
                shell_word(&path)
            );
        }
        Ok((run, network))
    } else {
        if checkpoint.is_some() {
            mistake!("{} is a checkpoint already; leave --checkpoint out, or name its run", path.display());
        }
        // The run says which task the network was trained on.
        let folder = std::path::absolute(&path)?;
        let Some(folder) = folder.parent().and_then(Path::parent) else {
            mistake!("{} lies in no run; name the folder of a run", path.display());
        };
        Ok((RunFolder::open(folder)?, path))
    }
}

fn predict(arguments: arguments::Predict) -> anyhow::Result<Predict> {
    let (run, network) = find_network(arguments.run, arguments.checkpoint)?;
    let arguments::Predict { file, state, logits, threads, .. } = arguments;
    // As for many commands, - is standard input.
    let file = file.filter(|file| file != Path::new("-"));
    if file.is_some() && state.is_some() {
        mistake!("--state is of a stream from standard input; the sequences of a file each start with an empty memory");
    }
    Ok(Predict { run, network, file, state, logits, threads: threads.map(|threads| threads as usize) })
}

fn inspect(arguments: arguments::Inspect) -> anyhow::Result<Settings> {
    let threads = threads(&arguments.common);
    let arguments::Inspect {
        run,
        file,
        level,
        seed,
        number,
        failing,
        written,
        test_files,
        out,
        serve,
        checkpoint,
        memory,
        common,
        ..
    } = arguments;
    if file.is_some() && level.is_some() {
        mistake!(
            "--level is of a task's sequences, and those of a file are as they are; leave --level or the file out"
        );
    }
    let shown = Shown { file, level, seed, number, failing, written, test_files, memory };
    let json = common.json;
    if let Some(port) = serve {
        if run.is_file() {
            mistake!("--serve follows a run, and {} is a file; name the run's folder", run.display());
        }
        let checkpoint = match checkpoint {
            Some(Which::Best) => Checkpoint::Best,
            Some(Which::Newest) | None => Checkpoint::Newest,
        };
        return Ok(Settings::Serve(Serve { folder: run, checkpoint, shown, port, json, threads }));
    }
    let (run, network) = find_network(run, checkpoint)?;
    let out = out.unwrap_or_else(|| run.path().join("inspect.html"));
    if out.is_dir() {
        mistake!("{} is a folder; name a file for the page with --out", out.display());
    }
    Ok(Settings::Inspect(Inspect { run, network, shown, out, json, threads }))
}

fn compare(arguments: arguments::Compare) -> anyhow::Result<Compare> {
    let arguments::Compare { runs, output, format, size, x_axis, y_axis, json } = arguments;
    let format = match (format, &output) {
        (Some(format), _) => format,
        (None, Some(output)) => Format::of(output)?,
        (None, None) => Format::Svg,
    };
    let output = output.unwrap_or_else(|| PathBuf::from("compare").with_extension(format.ending()));
    let size = match size {
        PictureSize::Column => Size::Column,
        PictureSize::Page => Size::Page,
    };
    Ok(Compare { runs, output, format, size, axes: [x_axis, y_axis], json })
}

fn reproduce(arguments: arguments::Reproduce) -> anyhow::Result<Reproduce> {
    let threads = threads(&arguments.common);
    let arguments::Reproduce { figure, quick, seeds, minutes, tasks, models, output, data, common, .. } = &arguments;
    let (quick, minutes) = (*quick, *minutes);
    let Some(figure) = Figure::by_name(figure) else { mistake!("there is no figure {figure}") };
    let all_models: Vec<&'static str> = figure.models().iter().map(|(model, _)| *model).collect();
    let (own_tasks, own_models, own_seeds) = figure.defaults(quick);
    let chosen = |what: &str, names: &[String], all: &[&'static str]| -> anyhow::Result<Vec<&'static str>> {
        if let Some(name) = names.iter().find(|name| !all.contains(&name.as_str())) {
            mistake!("{} has no {what} {name}; choose from {}", figure.name(), all.join(", "));
        }
        Ok(all.iter().copied().filter(|one| names.iter().any(|name| name == one)).collect())
    };
    let mut tasks = chosen("task", tasks, figure.tasks())?;
    if tasks.is_empty() {
        tasks = own_tasks;
    }
    let mut models = chosen("model", models, &all_models)?;
    if models.is_empty() {
        models = own_models;
    }
    if let Some(minutes) = minutes
        && !(minutes > 0.0 && minutes.is_finite())
    {
        mistake!("--minutes {minutes} does not work: a run is trained for a time above 0");
    }
    if !can_hold_a_run(output) {
        mistake!("{} is a file; name a folder for the reports and runs with --output", output.display());
    }
    let seeds = seeds.unwrap_or(own_seeds);
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (output, data, json) = (output.clone(), data.clone(), common.json);
    let arguments::Reproduce { background, validation, test_book: test, .. } = arguments;
    let books = Books { background, validation, test };
    match (figure, &books) {
        (Figure::Haystack, Books { background: None, .. }) => {
            mistake!("haystack scatters stories over a text of your own; name it with --background")
        }
        (Figure::Haystack, _) | (_, Books { background: None, validation: None, test: None }) => {}
        _ => mistake!("--background, --validation and --test-book are for haystack, and not for {}", figure.name()),
    }
    Ok(Reproduce { figure, quick, seeds, minutes, tasks, models, output, data, books, json, threads })
}

fn data(arguments: arguments::Data) -> anyhow::Result<Settings> {
    let (name, folder, action) = match arguments {
        arguments::Data::Fetch(DataFetch { name, data, from }) => (name, data, DataAction::Fetch { from }),
        arguments::Data::Check(DataCheck { name, data, targets }) => {
            if DataSet::by_name(&name).is_none() && Path::new(&name).exists() {
                let targets = targets.and_then(|name| task::Targets::from_value(&Value::Text(name)));
                let own = task::Sequences { data: name, targets: targets.unwrap_or_default(), ..Default::default() };
                let config = Config::default_for(TaskConfig::Sequences(own), Model::Lstm);
                return Ok(Settings::CheckFile(Box::new(config)));
            }
            if targets.is_some() {
                mistake!("--targets says what the targets of a file are, and there is no file {name}");
            }
            (name, data, DataAction::Check)
        }
    };
    let Some(set) = DataSet::by_name(&name) else {
        let names: Vec<&str> = DATA_SETS.iter().map(|set| set.name).collect();
        mistake!("there is no data set and no file {name}; name a file of sequences, or one of {}", names.join(", "))
    };
    if let DataAction::Fetch { from: Some(from) } = &action
        && set.files.len() > 1
        && from.is_file()
    {
        mistake!("{name} has several files; name the folder that they are in with --from");
    }
    if folder.is_file() {
        mistake!("{} is a file; name a folder for the data", folder.display());
    }
    Ok(Settings::Data(Data { set, folder, action }))
}

fn bench(arguments: arguments::Bench) -> anyhow::Result<Bench> {
    let named = |names: &[String]| -> Vec<&'static str> {
        let wanted = |name: &&str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        crate::models::with_memory().into_iter().filter(wanted).collect()
    };
    let models = |arguments: arguments::BenchModels, steps: Option<u64>, common| {
        let arguments::BenchModels { models, empty } = arguments;
        BenchModels { models: named(&models), empty, steps: steps.map(|steps| steps as usize), common }
    };
    Ok(match arguments {
        arguments::Bench::Step(arguments) => {
            let (json, threads) = (arguments.common.json, threads(&arguments.common));
            let common = bench_common(arguments.bench, json, threads)?;
            Bench::Step(models(arguments.models, arguments.steps, common))
        }
        arguments::Bench::Memory(arguments) => {
            if !cfg!(target_os = "linux") {
                mistake!("bench memory asks the operating system as only Linux can be asked; run it on Linux");
            }
            let common = bench_common(arguments.bench, arguments.json, Some(1))?;
            Bench::Memory(models(arguments.models, None, common))
        }
        arguments::Bench::Index(arguments) => {
            let common = bench_common(arguments.bench, arguments.json, Some(1))?;
            if let Some(size) = common.sizes.iter().find(|size| **size < LEAST_INDEXED) {
                mistake!(
                    "--sizes {size} does not work: a step changes 20 words and looks for 4, so that an index is \
                          measured with at least {LEAST_INDEXED}"
                );
            }
            let mut checks = arguments.checks;
            if checks.contains(&0) {
                mistake!("--checks 0 does not work: an index compares a query with at least one word");
            }
            checks.sort_unstable();
            checks.dedup();
            let rounds = arguments.rounds.map_or(usize::from(!common.quick), |rounds| rounds as usize);
            let names: Vec<String> = match (&arguments.queries[..], &arguments.run) {
                ([], None) => arguments::QUERIES
                    .into_iter()
                    .filter(|name| *name != arguments::TRAINED)
                    .map(str::to_owned)
                    .collect(),
                ([], Some(_)) => vec![arguments::TRAINED.to_owned()],
                (chosen, _) => chosen.to_vec(),
            };
            let queries: Vec<_> =
                arguments::QUERIES.into_iter().filter(|name| names.iter().any(|chosen| chosen == name)).collect();
            match (&arguments.run, queries.contains(&arguments::TRAINED)) {
                (None, true) => mistake!("--queries trained needs --run and the folder of a run of sam"),
                (Some(run), true) => check_exists(run)?,
                (Some(_), false) => mistake!("--run is of use with --queries trained only; leave one of them out"),
                (None, false) if arguments.level.is_some() => {
                    mistake!("--level is of use with --run only; leave it out")
                }
                (None, false) => {}
            }
            let arguments::BenchIndex { run, level, .. } = arguments;
            Bench::Index(BenchIndex { rounds, checks, queries, run, level, common })
        }
        arguments::Bench::Point(arguments) => {
            let Some(model) = named(std::slice::from_ref(&arguments.model)).pop() else {
                mistake!("--model {} is not known", arguments.model);
            };
            let index = indexes(arguments.index.as_slice()).pop().filter(|_| arguments.index.is_some());
            let arguments::BenchPoint { words, steps, empty, .. } = arguments;
            Bench::Point(BenchPoint { model, index, words, steps, empty })
        }
    })
}

/// The fewest words that an index is measured with.
const LEAST_INDEXED: usize = 64;

/// Those of these names; all if there are none.
fn indexes(names: &[String]) -> Vec<IndexKind> {
    let all = IndexKind::ALL.iter().copied().filter(|kind| kind.name() != "auto");
    all.filter(|kind| names.is_empty() || names.iter().any(|name| name == kind.name())).collect()
}

fn bench_common(arguments: arguments::BenchCommon, json: bool, threads: Option<usize>) -> anyhow::Result<BenchCommon> {
    let arguments::BenchCommon { quick, mut sizes, indexes: names, repeats, output } = arguments;
    if !can_hold_a_run(&output) {
        mistake!("{} is a file; name a folder for the tables and pictures with --output", output.display());
    }
    sizes.sort_unstable();
    sizes.dedup();
    let most = (1 << 31) - 2;
    if let Some(size) = sizes.iter().find(|size| !(4..=most).contains(*size)) {
        mistake!("--sizes {size} does not work: a memory of 4 heads has from 4 to {most} words");
    }
    let repeats = repeats.map_or(if quick { 5 } else { 15 }, |repeats| repeats as usize);
    let mut indexes = indexes(&names);
    if quick && names.is_empty() {
        // Storing words takes these indexes longer than all else takes together.
        indexes.retain(|kind| !["lsh", "hnsw"].contains(&kind.name()));
    }
    Ok(BenchCommon { quick, sizes, indexes, repeats, output, json, threads })
}

fn check_exists(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        mistake!("there is no {}; name the folder of a run, such as one under runs/", path.display());
    }
    Ok(())
}

fn threads(common: &Common) -> Option<usize> {
    common.threads.and_then(|threads| threads.try_into().ok())
}
