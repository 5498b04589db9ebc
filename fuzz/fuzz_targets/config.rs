//! Any text is a configuration of a run or an error, and a configuration can be written and read again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use sparsam::Model;
use sparsam_train::{Config, TaskConfig};

/// The defaults of each task with each model: text at random would hardly ever name a field.
static WHOLE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let models = || Model::NAMES.iter().filter_map(|name| Model::by_name(name));
    let tasks = TaskConfig::NAMES.iter().filter_map(|name| TaskConfig::by_name(name));
    let configs = tasks.flat_map(|task| models().map(move |model| Config::default_for(task.clone(), model)));
    configs.map(|config| config.to_toml().expect("the defaults can be written")).collect()
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let whole = WHOLE[seed as usize % WHOLE.len()].as_bytes();
    if size < 16 && whole.len() <= max_size {
        data[..whole.len()].copy_from_slice(whole);
        return whole.len();
    }
    fuzzer_mutate(data, size, max_size)
});

fuzz_target!(|text: &str| {
    if let Ok(config) = Config::from_toml(text, "fuzz", None, None) {
        let written = config.to_toml().expect("what was read can be written");
        let again = Config::from_toml(&written, "fuzz", None, None).expect("what was written can be read");
        assert_eq!(again, config);
    }
});
