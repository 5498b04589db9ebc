//! What targets of run folders share: a run of a few batches, in which one file is put in the place of another.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sparsam::Model;
use sparsam::memory::sam;
use sparsam_train::task::Copy;
use sparsam_train::{Config, RunFolder, TaskConfig, Trainer};

/// The files of a run that goes on, by name.
static WHOLE: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let folder = folder();
    let memory = Model::from(sam::Config { memory_size: 8, word_size: 2, heads: 1, reads: 2, ..Default::default() });
    let task = TaskConfig::Copy(Copy { bits: 1, min_length: 1, max_length: 2 });
    let mut config =
        Config { batches: 6, batch_size: 1, evaluate_every: 2, cooldown: 0, ..Config::default_for(task, memory) };
    config.network.hidden_size = 2;
    config.evaluation_sequences = 2;
    let mut trainer = Trainer::new(config, &folder).expect("a run can be started");
    for _ in 0..2 {
        trainer.step().expect("a batch can be trained on");
    }
    trainer.save().expect("a run can be saved");
    drop(trainer);
    let names = ["config.toml", "metrics.jsonl", "checkpoints/resume.safetensors"];
    names.map(|name| (name, fs::read(folder.join(name)).unwrap_or_default())).to_vec()
});

/// A folder of this process, in memory where the system has such.
fn folder() -> PathBuf {
    let shared = Path::new("/dev/shm");
    let root = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    root.join(format!("sparsam-fuzz-run-{}", std::process::id()))
}

/// What the run has as this file.
pub fn whole(name: &str) -> &'static [u8] {
    WHOLE.iter().find(|(of, _)| *of == name).map(|(_, bytes)| &bytes[..]).expect("a run has such a file")
}

/// Puts these bytes into a file of the run and goes on with it: it works, or there is an error of one line.
pub fn go_on(name: &str, bytes: &[u8]) {
    for (of, whole) in WHOLE.iter() {
        let bytes = if *of == name { bytes } else { whole };
        fs::write(folder().join(of), bytes).expect("the file can be written");
    }
    let one_line = |error: sparsam_train::Error| assert!(!error.to_string().contains('\n'), "{error}");
    if let Err(error) = RunFolder::open(&folder()).and_then(|run| run.metrics()) {
        one_line(error);
    }
    match Trainer::resume(&folder()) {
        Ok(mut trainer) => {
            if let Err(error) = trainer.step().and_then(|_| trainer.save()) {
                one_line(error);
            }
        }
        Err(error) => one_line(error),
    }
}
