//! Any bytes are lines of sequences or an error.
#![no_main]

#[path = "task.rs"]
mod task;

use libfuzzer_sys::fuzz_target;
use sparsam_train::TaskConfig;
use sparsam_train::task::Sequences;

fuzz_target!(|bytes: &[u8]| {
    let data = task::folder().join("x.jsonl").display().to_string();
    task::build("x.jsonl", bytes, &TaskConfig::Sequences(Sequences { data }));
});
