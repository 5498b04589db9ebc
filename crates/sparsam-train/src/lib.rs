//! Tasks, the training loop and the run folder.
//!
//! A [`Task`] makes sequences with targets; a [`Trainer`] trains a network on them and keeps everything in
//! a [`RunFolder`], from which it resumes bit for bit; [`evaluate`] measures a network on sequences it has not seen.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::atomic::AtomicBool;
//! use sparsam_train::{Config, Event, TaskConfig, Trainer};
//!
//! # fn main() -> Result<(), sparsam_train::Error> {
//! let copy = TaskConfig::by_name("copy").expect("copy is a task");
//! let sam = sparsam::Model::by_name("sam").expect("sam is a model");
//! let mut trainer = Trainer::new(Config::default_for(copy, sam), Path::new("runs/copy"))?;
//! let mut watch = |event: Event<'_>| {
//!     if let Event::Evaluated { metrics, .. } = event {
//!         println!("{} bits per sequence", metrics.loss);
//!     }
//! };
//! trainer.run(&mut watch, &AtomicBool::new(false))?;
//! # Ok(())
//! # }
//! ```

mod batch;
mod config;
mod curriculum;
mod curve;
pub mod data;
pub mod data_sets;
mod error;
mod evaluation;
mod machine;
mod metrics;
#[doc(hidden)]
pub mod plot;
mod random;
mod run_folder;
mod sequence;
pub mod task;
pub mod tensorboard;
mod training;

pub use batch::{Batch, Sampler};
pub use config::{Config, NetworkOptions};
pub use curriculum::CurriculumConfig;
pub use curve::draw as draw_curve;
pub use error::{Error, way_out};
pub use evaluation::{
    CategoryScore, Cost, Evaluation, EvaluationOptions, evaluate, evaluate_measured, evaluate_until, share,
};
pub use machine::Machine;
pub use metrics::{Metrics, Units};
pub use random::{Random, Stream};
pub use run_folder::{Best, Checkpoint, RunFolder, Session, load_network, task_to_train};
pub use sequence::{Guess, Per, Sequence, Target, TargetKind};
pub use task::{Categories, ChannelNames, Channels, Draw, Given, InputReader, Source, Task, TaskConfig};
pub use training::{BatchReport, Event, Observer, Outcome, Trainer};
