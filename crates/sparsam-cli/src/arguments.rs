//! The arguments as they are typed. What they mean together is decided in [`settings`](crate::settings).

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sparsam::Model;
use sparsam_train::TaskConfig;

use crate::options::Options;

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
  sparsam completions bash           Let the shell complete all this

Every verb explains itself: sparsam train --help";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train a network on a task and keep everything in a run folder
    Train(Train),
    /// Evaluate a trained network on fresh sequences
    Eval(Eval),
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
    /// Take the configuration from this file; flags overrule it. TASK and --model may then be left out, and must not
    /// contradict it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["task", "model", "run", "config"])]
    pub resume: Option<PathBuf>,
    /// The options that make a configuration.
    #[command(flatten)]
    pub options: Options,
    /// How to run.
    #[command(flatten)]
    pub common: Common,
    /// Print nothing but errors
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,
}

const TRAIN_EXAMPLES: &str = "\
Examples:
  sparsam train copy                               Ctrl-C saves
  sparsam train --resume runs/copy-sam-1           Go on where it stopped
  sparsam train copy --max-length 10 --batches 5000
  sparsam train recall --optimiser adam --seed 2
  sparsam train --config runs/copy-sam-1/config.toml
                                                   The same run once more
  sparsam train sort --json > sort.jsonl           For a program to read

What is left out takes the paper's value. Results do not depend on --threads.";

/// Arguments of `sparsam eval`.
#[derive(Args, Debug)]
#[command(after_help = EVAL_EXAMPLES)]
pub struct Eval {
    /// Folder of a run, or a checkpoint in one
    pub run: PathBuf,
    /// Level of the sequences, such as the number of vectors to copy [default: those trained on]
    #[arg(long)]
    pub level: Option<usize>,
    /// Number of sequences
    #[arg(long, default_value_t = 256)]
    pub sequences: u64,
    /// Which checkpoint [default: newest]
    #[arg(long, value_enum)]
    pub checkpoint: Option<Which>,
    /// Seed of the sequences
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How to run.
    #[command(flatten)]
    pub common: Common,
}

const EVAL_EXAMPLES: &str = "\
Examples:
  sparsam eval runs/copy-sam-1             As hard as in training
  sparsam eval runs/copy-sam-1 --level 40  Twice as long as any trained on
  sparsam eval runs/copy-sam-1 --checkpoint best --json";

/// A checkpoint of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The latest one
    Newest,
    /// The one with the lowest loss
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
