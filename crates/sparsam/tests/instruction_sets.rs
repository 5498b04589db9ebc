//! Every instruction set that this processor has gives the same results, to rounding. A file of its own, because the
//! choice holds for the whole process.

mod common;

use common::{Batch, network};
use sparsam::internal::simd::{Level, best_level, level, use_level};
use sparsam::memory::{dam, dnc, ntm, sam};
use sparsam::{Model, Runner};

#[test]
fn every_instruction_set_gives_the_same_results() {
    let sam = sam::Config { memory_size: 100, word_size: 19, heads: 3, reads: 3, ..Default::default() };
    let dnc = dnc::Config { memory_size: 40, word_size: 19, heads: 5, ..Default::default() };
    let dam = dam::Config { memory_size: 90, word_size: 19, heads: 5, ..Default::default() };
    let ntm = ntm::Config { memory_size: 90, word_size: 19, heads: 5 };
    for model in [Model::Sam(sam), Model::Dnc(dnc), Model::Dam(dam), Model::Ntm(ntm)] {
        check(model);
    }
}

fn check(model: Model) {
    let name = model.name();
    let network = network(model, 5, 37, 6, 3);
    let batch = Batch::new(&network, &[40, 31, 7, 12, 20, 3, 9], 4);
    let mut results = Vec::new();
    for wanted in [Level::Plain, Level::Avx2, Level::Avx512] {
        use_level(wanted);
        assert!(level() <= best_level());
        let mut runner = Runner::new(&network, batch.rows).expect("it fits");
        let outputs = batch.forward(&mut runner, &network);
        let (gradients, inputs) = batch.backward(&mut runner, &network);
        results.push([&outputs[..], gradients.values(), &inputs].concat());
    }
    for other in &results[1..] {
        for (a, b) in results[0].iter().zip(other) {
            assert!((a - b).abs() < 1e-9 * (1.0 + a.abs()), "{name}: {a} {b}");
        }
    }
}
