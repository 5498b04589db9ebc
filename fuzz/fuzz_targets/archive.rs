//! Any bytes are an archive or an error: the first of them says which kind it is taken for.
#![no_main]

#[path = "task.rs"]
mod task;

use libfuzzer_sys::fuzz_target;
use sparsam_train::TaskConfig;
use sparsam_train::task::Babi;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let name = if kind % 2 == 0 { "x.tar.gz" } else { "x.zip" };
    let data = task::folder().join(name).display().to_string();
    task::build(name, bytes, &TaskConfig::Babi(Babi { data, only: 1, ..Babi::default() }));
});
