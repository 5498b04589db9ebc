//! Any bytes are a saved state or an error, and what was loaded can be gone on from and saved again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use sparsam::state::{from_bytes, to_bytes};
use sparsam::{Model, Network, NetworkConfig, Runner};

const STEPS: usize = 5;

fn go_on(network: &Network<f32>, runner: &mut Runner<f32>) {
    let lengths = vec![STEPS; runner.rows()];
    let count = STEPS * runner.rows();
    runner.infer(network, &vec![0.5; count], &lengths, &mut vec![0.0; count]).expect("the shapes fit");
}

/// A network of each model with a state of it: bytes at random would hardly ever come to be a header.
static WHOLE: LazyLock<Vec<(Network<f32>, Vec<u8>)>> = LazyLock::new(|| {
    let models = Model::NAMES.iter().filter_map(|name| Model::by_name(name));
    let states = models.map(|memory| {
        let config = NetworkConfig::new(1, 1).with_hidden_size(1).with_memory(memory);
        let network = Network::new(config, 1).expect("such a network can be");
        let mut runner = Runner::new(&network, 2).expect("it fits");
        go_on(&network, &mut runner);
        let bytes = to_bytes(&mut runner).expect("it can be written");
        (network, bytes)
    });
    states.collect()
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let (_, whole) = &WHOLE[seed as usize % WHOLE.len()];
    if size < 16 && whole.len() <= max_size {
        data[..whole.len()].copy_from_slice(whole);
        return whole.len();
    }
    fuzzer_mutate(data, size, max_size)
});

fuzz_target!(|bytes: &[u8]| {
    for (network, _) in WHOLE.iter() {
        if let Ok(mut runner) = from_bytes::<f32>(bytes, network.config()) {
            to_bytes(&mut runner).expect("what was read can be written");
            go_on(network, &mut runner);
        }
    }
});
