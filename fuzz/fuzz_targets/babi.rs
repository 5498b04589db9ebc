//! Any bytes are stories or an error.
#![no_main]

#[path = "task.rs"]
mod task;

use libfuzzer_sys::fuzz_target;
use sparsam_train::TaskConfig;
use sparsam_train::task::Babi;

fuzz_target!(|bytes: &[u8]| {
    let data = task::folder().display().to_string();
    task::build("en-10k/qa1_x_train.txt", bytes, &TaskConfig::Babi(Babi { data, only: 1, ..Babi::default() }));
});
