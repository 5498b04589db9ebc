//! The arguments as they are typed. What they mean together is decided in [`settings`](crate::settings).

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sparsam::Model;
use sparsam::index::IndexKind;
use sparsam_train::data_sets::DATA_SETS;
use sparsam_train::{TaskConfig, task};

use crate::figure::Figure;
use crate::image::Format;
use crate::options::{MemoryOptions, Options, with_unit};

/// Words and queries of `bench index` are those of a trained network.
pub const TRAINED: &str = "trained";

/// Where words and queries of `bench index` may come from.
pub const QUERIES: [&str; 3] = ["clustered", "gaussian", TRAINED];

/// Recurrent networks with an external memory of millions of words, trained on an ordinary CPU
#[derive(Debug, Parser)]
#[command(name = "sparsam", version, arg_required_else_help = true, after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  sparsam train copy                 Train Sparse Access Memory to copy
  sparsam train recall --model lstm  Train the baseline without a memory
  sparsam eval runs/copy-sam-1       Measure a run on fresh sequences
  sparsam predict RUN new.jsonl      What a trained network answers to your own inputs
  sparsam inspect runs/copy-sam-1    See what its memory does at every step
  sparsam compare runs/copy-*        Compare runs, in a table and a picture
  sparsam bench step --quick         See what a step costs on this machine
  sparsam reproduce fig2 --quick     Let all models learn, beside each other
  sparsam completions bash           Let the shell complete all this

Every verb explains itself: sparsam train --help";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train a network on a task and keep everything in a run folder
    Train(Train),
    /// Evaluate a trained network on fresh sequences
    Eval(Eval),
    /// Put out what a trained network answers to inputs of your own
    Predict(Predict),
    /// Show a sequence going through a trained network, in a page for a browser
    Inspect(Inspect),
    /// Compare trained runs in a table and a picture
    Compare(Compare),
    /// List the runs in a folder
    Runs(Runs),
    /// Measure steps, memory and indexes on this machine, beside what the paper measured
    #[command(subcommand, after_help = BENCH_EXAMPLES)]
    Bench(Bench),
    /// Train what a figure or table of the paper shows, and draw it beside the paper's numbers
    Reproduce(Reproduce),
    /// Get the data sets that tasks are trained on, or check those that are there
    #[command(subcommand, after_help = DATA_EXAMPLES)]
    Data(Data),
    /// Write the completions for a shell
    #[command(after_help = "\
Examples:
  sparsam completions bash > ~/.local/share/bash-completion/completions/sparsam
  sparsam completions fish > ~/.config/fish/completions/sparsam.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Arguments of `sparsam train`.
#[derive(Args, Debug)]
#[command(after_help = TRAIN_EXAMPLES)]
pub struct Train {
    /// The task
    #[arg(value_parser = PossibleValuesParser::new(TaskConfig::NAMES))]
    pub task: Option<String>,
    /// The model [default: sam]
    #[arg(long, value_parser = PossibleValuesParser::new(Model::NAMES))]
    pub model: Option<String>,
    /// Folder for the run [default: runs/TASK-MODEL-SEED, or the next free name]
    #[arg(long, value_name = "FOLDER")]
    pub run: Option<PathBuf>,
    /// Train from each of these seeds, such as 1..5 or 1,2,7, in folders whose names end in the seed. The same command goes on
    /// where it stopped, and leaves alone what is trained
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = seeds, conflicts_with = "resume")]
    pub seeds: Vec<(u64, u64)>,
    /// Seeds trained at a time, each on one thread unless --threads says more
    #[arg(long, value_name = "COUNT", default_value_t = 1, requires = "seeds", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub jobs: u64,
    /// Take the configuration from this file; flags overrule it. TASK and --model may then be left out, and must not
    /// contradict it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["task", "model", "run", "config"])]
    pub resume: Option<PathBuf>,
    /// Start from the paper's settings as far as they are told instead of those found to learn best: RMSProp, a fixed limit
    /// of the gradient, weights all drawn alike
    #[arg(long, conflicts_with_all = ["config", "resume"])]
    pub paper: bool,
    /// The options that make a configuration.
    #[command(flatten)]
    pub options: Options,
    /// How to run.
    #[command(flatten)]
    pub common: Common,
    /// Print nothing but errors
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,
    /// Save and stop once nobody reads standard output any more [default: train on, and say so on standard error]
    #[arg(long)]
    pub stop_on_closed_output: bool,
}

const TRAIN_EXAMPLES: &str = "\
Examples:
  sparsam train copy                               Ctrl-C saves
  sparsam train --resume runs/copy-sam-1           Go on where it stopped
  sparsam train --resume runs/copy-sam-1 --until 0 Go on though it has learnt the task
  sparsam train copy --max-length 10 --batches 5000
  sparsam train recall --model sdnc --seed 2
  sparsam train copy --seeds 1..5 --jobs 2         Five runs, two at a time, their mean and spread
  sparsam train --config runs/copy-sam-1/config.toml
                                                   The same run once more
  sparsam train recall --curriculum                Sequences that grow as it learns
  sparsam train --data mine.npz                    Sequences of your own
  sparsam train --data mine.jsonl --validation other.jsonl --patience 10 --scale-inputs
  sparsam train --data novel.txt.gz --tokens chars A text of your own
  sparsam train sort --json > sort.jsonl           For a program to read

What is left out takes the value that was found to learn best. Results do not depend on --threads.

Ctrl-C, and the signals by which batch systems announce an end (SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU),
save and end. Exit status: 0 finished, 1 failed, 2 a mistake in what was asked for, 74 finished but
its output could not be printed, 75 saved after such a signal, 129 saved when the terminal closed,
130 saved after Ctrl-C.";

/// A seed, or the first and the last of several: 7 or 1..5.
fn seeds(text: &str) -> Result<(u64, u64), String> {
    let told = || format!("seeds are written as 1..5 or 1,2,7, at most {MOST_SEEDS} of them");
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| told());
    let (first, last) = (number(first)?, number(last.strip_prefix('=').unwrap_or(last))?);
    if last < first || last - first >= MOST_SEEDS { Err(told()) } else { Ok((first, last)) }
}

/// More seeds than these are a mistake.
const MOST_SEEDS: u64 = 1000;

/// Arguments of `sparsam eval`.
#[derive(Args, Debug)]
#[command(after_help = EVAL_EXAMPLES)]
pub struct Eval {
    /// Folder of a run, or a checkpoint in one
    pub run: PathBuf,
    /// Level of the sequences, such as the number of vectors to copy: 40, 64k or 10M (k is 1,024, M is 1,024 k) [default:
    /// those trained on of late]
    #[arg(long, value_parser = level)]
    pub level: Option<usize>,
    /// Number of sequences [default: 256; where they come from data, all that were held out]
    #[arg(long)]
    pub sequences: Option<u64>,
    /// Evaluate on the test files in this folder or archive instead of what was held out
    #[arg(long, value_name = "PATH")]
    pub test_files: Option<PathBuf>,
    /// Search exactly too, and tell what share of the words so found the memory's index missed; it takes longer
    #[arg(long)]
    pub compare_index: bool,
    /// Which checkpoint [default: best]
    #[arg(long, value_enum)]
    pub checkpoint: Option<Which>,
    /// Seed of the sequences
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The memory to evaluate with.
    #[command(flatten)]
    pub memory: MemoryOptions,
    /// How to run.
    #[command(flatten)]
    pub common: Common,
}

const EVAL_EXAMPLES: &str = "\
Examples:
  sparsam eval runs/copy-sam-1             As hard as in training
  sparsam eval runs/copy-sam-1 --level 40  Twice as long as any trained on
  sparsam eval runs/copy-sam-1 --checkpoint newest --json
  sparsam eval runs/recall-sam-1 --level 5000 --memory-size 8000000 --index ivf
                                           In a larger memory than in training
  sparsam eval runs/recall-sam-1 --level 5000 --memory-size 100000 --compare-index
                                           How often the index misses a word
  sparsam eval runs/babi-sdnc-1 --test-files tasks_1-20_v1-2.tar.gz
                                           On the official test questions

Sequences of any length run in the memory that the words they store take.";

/// Arguments of `sparsam predict`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam predict runs/sequences-sam-1 new.jsonl > answers.jsonl
  sparsam predict runs/sequences-sam-1 new.npz --logits
  tail -f events.jsonl | sparsam predict runs/sequences-sam-1 --state memory.safetensors
                                         A stream whose memory goes on, also after a restart

A file of sequences (.jsonl or .npz, as for sparsam train --data; targets may be missing) gives a
line for each: {\"outputs\": [...]}, one for each time step. A line of standard input is the inputs
of one time step, [0.5, ...], and gives one output. An output has the probabilities of its bits, or
of the classes, and what is most probable; or the numbers, where targets are such. For a run trained
on text the file is a text, and a line of standard input a token, \"a\".")]
pub struct Predict {
    /// Folder of a run, or a checkpoint in one
    pub run: PathBuf,
    /// File of sequences [default: time steps from standard input, one a line]
    pub file: Option<PathBuf>,
    /// Start the stream from the state in this file if it is there, and save it there at the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Add the numbers that the probabilities follow from
    #[arg(long)]
    pub logits: bool,
    /// Which checkpoint [default: best]
    #[arg(long, value_enum)]
    pub checkpoint: Option<Which>,
    /// Threads [default: one for each core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub threads: Option<u64>,
}

/// Arguments of `sparsam inspect`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam inspect runs/copy-sam-1              Writes runs/copy-sam-1/inspect.html
  sparsam inspect runs/copy-sam-1 --level 60 --failing
                                               A sequence with a wrong output, and why it is wrong
  sparsam inspect runs/recall-sam-1 --seed 2 --number 7 --out seventh.html
  sparsam inspect runs/sequences-sam-1 new.jsonl --number 3
  sparsam inspect runs/haystack-sam-1 --level 1M --written
                                               A million words, of which the network writes a few hundred
  sparsam inspect runs/copy-sam-1 --serve      Follows the training: a page that this machine serves to itself

The page is one file that needs no network access. It shows what came in and out, what each head wrote
and read, and which step wrote what another reads. It tells what it summarises of long sequences.")]
pub struct Inspect {
    /// Folder of a run, or a checkpoint in one
    pub run: PathBuf,
    /// File of sequences of your own, as for sparsam predict [default: one of the run's task]
    pub file: Option<PathBuf>,
    /// Level of the sequence, such as the number of vectors to copy [default: those trained on of late]
    #[arg(long, value_parser = level)]
    pub level: Option<usize>,
    /// Seed of the sequence
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Number of the sequence among those of its seed or file, from 0 on
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    pub number: u64,
    /// Take the first sequence from that number on at which an output is wrong, of 1,000 at most
    #[arg(long)]
    pub failing: bool,
    /// Show only the steps at which something is written or wanted: for a sequence of any length in a memory with a
    /// write threshold
    #[arg(long)]
    pub written: bool,
    /// Take the sequence from the test files in this folder or archive instead of what was held out
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    pub test_files: Option<PathBuf>,
    /// File for the page [default: inspect.html in the run's folder]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Follow the run's training in a page at this port of 127.0.0.1, or at a free one, until Ctrl-C; nothing is written
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0", conflicts_with = "out", value_parser = port)]
    pub serve: Option<u16>,
    /// Which checkpoint [default: best, with --serve newest]
    #[arg(long, value_enum)]
    pub checkpoint: Option<Which>,
    /// The memory to run with.
    #[command(flatten)]
    pub memory: MemoryOptions,
    /// How to run.
    #[command(flatten)]
    pub common: Common,
}

/// A port to serve at.
fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| {
        "a port is a number up to 65535, at which 127.0.0.1 and nowhere else is served; the run goes before --serve"
            .into()
    })
}

/// Arguments of `sparsam compare`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam compare runs/copy-sam-1 runs/copy-ntm-1
  sparsam compare runs/copy-*            Whatever differs becomes a line of its own
  sparsam compare runs --output copy.pdf  For a paper, as wide as a column of two
  sparsam compare runs --output copy.png --size page --x-axis linear
  sparsam compare runs --json

Runs that differ in nothing but their seed are one line: their mean, and the standard deviation
over the seeds. \"To a tenth\" is the median number of sequences until an evaluation first shows a
tenth of the loss of guessing.")]
pub struct Compare {
    /// Folders of runs, or a folder that holds some
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// File for the picture, whose ending says the format: .svg, .png or .pdf [default: compare.svg]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Format of the picture [default: as the ending of --output says]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// How large the picture is
    #[arg(long, value_enum, default_value_t = PictureSize::Column)]
    pub size: PictureSize,
    /// The axis of sequences [default: logarithmic if some learn in a tenth of the time that others are trained for]
    #[arg(long, value_name = "SCALE", value_enum)]
    pub x_axis: Option<AxisScale>,
    /// The axis of losses or levels [default: log]
    #[arg(long, value_name = "SCALE", value_enum)]
    pub y_axis: Option<AxisScale>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How large a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PictureSize {
    /// As wide as a column of a paper with two, 90 mm
    Column,
    /// As wide as a page, 190 mm
    Page,
}

/// How the numbers of an axis are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AxisScale {
    /// From 0
    Linear,
    /// By powers of ten
    Log,
}

/// Arguments of `sparsam runs`.
#[derive(Args, Debug)]
pub struct Runs {
    /// The folder
    #[arg(value_name = "FOLDER", default_value = "runs")]
    pub folder: PathBuf,
    /// Print JSON objects, one a line
    #[arg(long)]
    pub json: bool,
}

/// What to do with data sets.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Download the official files of a data set, or take them from this machine
    Fetch(DataFetch),
    /// Say what the files of a data set hold, and whether they are whole
    Check(DataCheck),
}

const DATA_EXAMPLES: &str = "\
Examples:
  sparsam data fetch babi                 Into the folder data, where sparsam train looks for it
  sparsam data fetch omniglot --from ~/Downloads
  sparsam data check omniglot --data /srv/data

Archives stay packed: tasks read out of them what they need.";

fn data_set_names() -> PossibleValuesParser {
    PossibleValuesParser::new(DATA_SETS.iter().map(|set| set.name))
}

/// Arguments of `sparsam data fetch`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam data fetch babi
  sparsam data fetch babi --from tasks_1-20_v1-2.tar.gz

An interrupted download goes on where it ended. Files are checked before they get their names: by
their MD5 sums where those are known (omniglot), and in any case by reading all that they hold.")]
pub struct DataFetch {
    /// The data set
    #[arg(value_parser = data_set_names())]
    pub name: String,
    /// Folder for the files
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    pub data: PathBuf,
    /// Take the files from this folder, or this file, instead of downloading them
    #[arg(long, value_name = "PATH")]
    pub from: Option<PathBuf>,
}

/// Arguments of `sparsam data check`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam data check babi
  sparsam data check omniglot --data /srv/data
  sparsam data check mine.jsonl")]
pub struct DataCheck {
    /// The data set, or a file of sequences of your own, .jsonl or .npz
    pub name: String,
    /// What the targets of the file are [default: what they look like]
    #[arg(long, value_parser = PossibleValuesParser::new(task::Targets::NAMES))]
    pub targets: Option<String>,
    /// Folder of the files
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    pub data: PathBuf,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Time of one step forward and back over numbers of words (the paper's figures 1a and 7a)
    Step(BenchStep),
    /// Physical memory of a sequence forward and back over numbers of words (the paper's figures 1b and 7b)
    Memory(BenchMemory),
    /// Words that indexes find against the time they take
    Index(BenchIndex),
    /// A point of `memory`, in a process of its own.
    #[command(hide = true)]
    Point(BenchPoint),
}

const BENCH_EXAMPLES: &str = "\
Examples:
  sparsam bench step --quick    The shape of the paper's figure 1a in two minutes
  sparsam bench memory --quick  The same for figure 1b
  sparsam bench index --quick   What each index finds, and how fast

Each prints a table and writes it as JSON and CSV, with a picture as SVG, into the folder bench.";

fn index_names() -> PossibleValuesParser {
    PossibleValuesParser::new(IndexKind::ALL.iter().map(|kind| kind.name()).filter(|name| *name != "auto"))
}

/// A level: 64, 16k or 1M, k being 1,024 and M being 1,024 k.
fn level(text: &str) -> Result<usize, String> {
    words(text).map_err(|_| "a level is a whole number, written as 64, 16k or 1M".into())
}

/// A number of words: 64, 16k or 1M, k being 1,024 and M being 1,024 k.
fn words(text: &str) -> Result<usize, String> {
    let number = with_unit(text).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| "a number of words is written as 64, 16k or 1M".into())
}

/// Arguments of every benchmark.
#[derive(Args, Debug)]
pub struct BenchCommon {
    /// Measure less, so that it takes two minutes at most
    #[arg(long)]
    pub quick: bool,
    /// Numbers of words, such as 64,16k,1M (k is 1,024, M is 1,024 k) [default: those of the paper, as far as they fit]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = words)]
    pub sizes: Vec<usize>,
    /// Indexes [default: all, with --quick those that store words fast]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = index_names())]
    pub indexes: Vec<String>,
    /// Repeats of every measurement, at most: what takes long is repeated less [default: 15, with --quick 5]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub repeats: Option<u64>,
    /// Folder for tables and pictures
    #[arg(long, value_name = "FOLDER", default_value = "bench")]
    pub output: PathBuf,
}

/// Arguments of benchmarks of models.
#[derive(Args, Debug)]
pub struct BenchModels {
    /// Models [default: all of them]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = PossibleValuesParser::new(crate::models::with_memory()))]
    pub models: Vec<String>,
    /// Measure sparse models with an empty memory as well
    #[arg(long)]
    pub empty: bool,
}

/// Arguments of `sparsam bench step`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam bench step --quick
  sparsam bench step --models sam,ntm --sizes 1k,16k,256k --threads 1
  sparsam bench step --models sdnc,dnc --output bench/dnc
  sparsam bench step --models sdnc,sam --indexes ivf --steps 100
  sparsam bench step --json > step.json

Batch 8, 100 hidden units, 4 heads, 4 words read by a head, words of 32 numbers. Every memory is
full of distinct words before the clock starts.")]
pub struct BenchStep {
    /// What is measured.
    #[command(flatten)]
    pub models: BenchModels,
    /// Time steps of a sequence, at most: what takes long has fewer [default: 100, with dnc and sdnc 10, as in the paper]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(2..=10_000))]
    pub steps: Option<u64>,
    /// What every benchmark takes.
    #[command(flatten)]
    pub bench: BenchCommon,
    /// How to run.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `sparsam bench memory`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam bench memory --quick
  sparsam bench memory --models ntm,sam --sizes 64,64k
  sparsam bench memory --empty --json > memory.json

One sequence of 100 steps forward and back (10 for DNC and SDNC), 100 hidden units, 4 heads, words
of 32 numbers. Every point is measured in a process of its own, as the operating system accounts
it. \"A sequence\" is what it took beyond what was there before it, \"in all\" includes network and
words. Dense states come in pages of 2 MiB, the first of which is there before, so that small ones
seem to take less than they do. Linux only.")]
pub struct BenchMemory {
    /// What is measured.
    #[command(flatten)]
    pub models: BenchModels,
    /// What every benchmark takes.
    #[command(flatten)]
    pub bench: BenchCommon,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `sparsam bench index`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam bench index --quick
  sparsam bench index --sizes 1M --indexes ivf,linear --rounds 3
  sparsam bench index --run runs/recall-sam-1 --level 1024 --sizes 64k --indexes linear,ivf
  sparsam bench index --json > index.json

The load of a step: 20 words change (in each of 4 heads one is replaced and four are moved a
little), then 4 queries for 4 words near stored ones; words of 32 numbers, one thread, every word
stored. Words lie in clusters, or without structure. With --run, words and queries are those of a
trained network, and \"wrong\" is what it gets wrong in a sequence with each index.")]
pub struct BenchIndex {
    /// Times that every word is overwritten before the load is measured again [default: 1, with --quick 0]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=1000))]
    pub rounds: Option<u64>,
    /// Where words and queries come from [default: clustered,gaussian, with --run trained]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = PossibleValuesParser::new(QUERIES))]
    pub queries: Vec<String>,
    /// Folder of a run of sam, whose network's words and queries are taken
    #[arg(long, value_name = "FOLDER")]
    pub run: Option<PathBuf>,
    /// Level of that network's sequences [default: the highest that its training came to]
    #[arg(long, value_name = "N", value_parser = level)]
    pub level: Option<usize>,
    /// Words that an approximate index compares with a query, about [default: 128 to 8192]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = words)]
    pub checks: Vec<usize>,
    /// What every benchmark takes.
    #[command(flatten)]
    pub bench: BenchCommon,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of a point of `sparsam bench memory`.
#[derive(Args, Debug)]
pub struct BenchPoint {
    /// The model.
    #[arg(long, value_parser = PossibleValuesParser::new(crate::models::with_memory()))]
    pub model: String,
    /// The index of a sparse one.
    #[arg(long, value_parser = index_names())]
    pub index: Option<String>,
    /// Words.
    #[arg(long, value_parser = words)]
    pub words: usize,
    /// Time steps.
    #[arg(long)]
    pub steps: usize,
    /// Leave the memory empty.
    #[arg(long)]
    pub empty: bool,
}

/// Arguments of `sparsam reproduce`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sparsam reproduce fig2 --quick         What learning looks like, in less than ten minutes
  sparsam reproduce fig2                 All of it; Ctrl-C saves, the same command goes on
  sparsam reproduce fig3 --tasks recall --models sam --seeds 1 --minutes 20
  sparsam reproduce fig8                 Tests the networks of fig3 on lists 20 times as long
  sparsam reproduce table1 --data /srv/data
  sparsam reproduce haystack --background novels.txt.gz --test-book another.txt.gz

fig2    loss over sequences: copy, recall, sort
fig3    how far a curriculum comes: copy, recall, sort
fig4    handwritten characters in one shot: needs sparsam data fetch omniglot
fig8    recall of lists far longer than those of training
table1  the bAbI tasks: needs sparsam data fetch babi
haystack  stories of bAbI in books of your own, up to ten million words, beside BABILong's numbers:
        needs sparsam data fetch babi

Every run is a folder as sparsam train makes it. The report covers all runs that are in the output
folder, whichever are asked for.")]
pub struct Reproduce {
    /// The figure or table
    #[arg(value_parser = PossibleValuesParser::new(Figure::ALL.map(Figure::name)))]
    pub figure: String,
    /// Train less, so that it takes less than ten minutes, and say what is left out
    #[arg(long)]
    pub quick: bool,
    /// Seeds of each model, from 1 on [default: 3 for fig2, fig3, fig8; 1 for fig4, table1, haystack]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: Option<u64>,
    /// Minutes to train each run for, at most, half of them on short sequences for haystack [default: none for fig2, haystack; 40
    /// for fig3, fig8; 120 for fig4; 300 for table1]
    #[arg(long, value_name = "X")]
    pub minutes: Option<f64>,
    /// Tasks [default: all of the figure's]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// Models [default: those that the figure is about]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub models: Vec<String>,
    /// Folder for reports and runs; those of --quick go into a folder quick in it
    #[arg(long, value_name = "FOLDER", default_value = "reproduce")]
    pub output: PathBuf,
    /// Folder of the data sets
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    pub data: PathBuf,
    /// haystack: the text that stories are scattered over, as it is or compressed with gzip
    #[arg(long, value_name = "FILE")]
    pub background: Option<PathBuf>,
    /// haystack: another text, for evaluations during training [default: the last tenth of the background]
    #[arg(long, value_name = "FILE")]
    pub validation: Option<PathBuf>,
    /// haystack: another text, for the tests [default: that of evaluations during training]
    #[arg(long, value_name = "FILE")]
    pub test_book: Option<PathBuf>,
    /// How to run: so many networks are trained at a time, each on one thread.
    #[command(flatten)]
    pub common: Common,
}

/// A checkpoint of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The latest one
    Newest,
    /// The one with the lowest loss on the sequences that networks are compared on
    Best,
}

/// Arguments of every verb that computes.
#[derive(Args, Debug)]
pub struct Common {
    /// Threads [default: one for each core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub threads: Option<u64>,
    /// Print JSON objects, one a line
    #[arg(long)]
    pub json: bool,
}
