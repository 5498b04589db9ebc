//! Any bytes in the place of a run's metrics are lines of them, or an error.
#![no_main]

#[path = "run.rs"]
mod run;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const NAME: &str = "metrics.jsonl";

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    let whole = run::whole(NAME);
    if size < 16 && whole.len() <= max_size {
        data[..whole.len()].copy_from_slice(whole);
        return whole.len();
    }
    fuzzer_mutate(data, size, max_size)
});

fuzz_target!(|bytes: &[u8]| run::go_on(NAME, bytes));
