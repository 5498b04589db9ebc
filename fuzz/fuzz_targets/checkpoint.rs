//! Any bytes are a checkpoint or an error, and a checkpoint can be written again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use sparsam::checkpoint::{Extra, from_bytes, to_bytes};
use sparsam::{Model, Network, NetworkConfig};

/// A whole file of each model: bytes at random would hardly ever come to be a header.
static WHOLE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let models = Model::NAMES.iter().filter_map(|name| Model::by_name(name));
    let files = models.map(|memory| {
        let config = NetworkConfig::new(1, 1).with_hidden_size(1).with_memory(memory);
        let extra = Extra { tensors: vec![("training.moment".into(), vec![1.0; 3])], ..Default::default() };
        to_bytes(&Network::<f32>::new(config, 1).expect("such a network can be"), &extra).expect("it can be written")
    });
    files.collect()
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let whole = &WHOLE[seed as usize % WHOLE.len()];
    if size < 16 && whole.len() <= max_size {
        data[..whole.len()].copy_from_slice(whole);
        return whole.len();
    }
    fuzzer_mutate(data, size, max_size)
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok((network, extra)) = from_bytes::<f32>(bytes) {
        let written = to_bytes(&network, &extra).expect("what was read can be written");
        let (again, _) = from_bytes::<f32>(&written).expect("what was written can be read");
        assert_eq!(again.config(), network.config());
    }
});
