//! Any bytes are arrays of sequences or an error.
#![no_main]

#[path = "task.rs"]
mod task;

use libfuzzer_sys::fuzz_target;
use sparsam_train::TaskConfig;
use sparsam_train::task::Sequences;

fuzz_target!(|bytes: &[u8]| {
    let data = task::folder().join("x.npz").display().to_string();
    task::build("x.npz", bytes, &TaskConfig::Sequences(Sequences { data }));
});
