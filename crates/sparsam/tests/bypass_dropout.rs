//! Hidden units that the output does not see, with every model.

mod common;

use common::{Batch, Kinds, Numbers, models, network, with_threads};
use sparsam::{ControllerKind, Error, Network, Parameters, Runner};

const SEEDS: [u64; 6] = [0x9e37_79b9, 7 << 40, 1 << 63, 0xdead_beef, 12345 << 20, u64::MAX];

/// Longer than a block of outputs, and of several shards.
const LENGTHS: [usize; 6] = [40, 11, 35, 40, 0, 33];

fn forward(
    batch: &Batch,
    runner: &mut Runner<f64>,
    network: &Network<f64>,
    probability: f64,
    seeds: &[u64],
) -> Vec<f64> {
    let mut outputs = vec![f64::NAN; batch.steps * batch.rows * network.config().output_len()];
    let sequences = batch.sequences().with_bypass_dropout(probability, seeds);
    runner.forward_sequences(network, sequences, &mut outputs).unwrap();
    outputs
}

/// Outputs, gradients of the parameters and of the inputs.
fn both(network: &Network<f64>, batch: &Batch, probability: f64) -> (Vec<f64>, Parameters<f64>, Vec<f64>) {
    let mut runner = Runner::new(network, batch.rows).unwrap();
    let outputs = forward(batch, &mut runner, network, probability, &SEEDS[..batch.rows]);
    let (gradients, input_gradients) = batch.backward(&mut runner, network);
    (outputs, gradients, input_gradients)
}

#[test]
fn units_are_left_out_at_random_and_nothing_else_changes() {
    for kinds in models() {
        // Without an output layer the output is [h ; r] as it would see it.
        let network = network(kinds.clone(), 3, 20, 0, 81);
        let batch = Batch::new(&network, &LENGTHS, 82);
        let (plain, _, _) = both(&network, &batch, 0.0);
        let (dropped, _, _) = both(&network, &batch, 0.25);
        let width = network.config().output_len();
        let (mut left_out, mut units) = (0, 0);
        for (place, (plain, dropped)) in plain.chunks(width).zip(dropped.chunks(width)).enumerate() {
            let (step, row) = (place / batch.rows, place % batch.rows);
            assert_eq!(plain[20..], dropped[20..]);
            for (plain, dropped) in plain.iter().zip(dropped).take(20) {
                if step < LENGTHS[row] {
                    left_out += usize::from(*dropped == 0.0);
                    units += 1;
                }
                assert!(*dropped == 0.0 || (dropped - plain / 0.75).abs() < 1e-12, "{dropped} of {plain}");
            }
        }
        let share = left_out as f64 / units as f64;
        assert!((share - 0.25).abs() < 0.03, "{share} of {kinds:?}");
    }
}

#[test]
fn gradients_go_to_what_is_seen() {
    for kinds in models() {
        let network = network(kinds, 3, 20, 0, 87);
        let mut batch = Batch::new(&network, &LENGTHS, 88);
        let (plain, ..) = both(&network, &batch, 0.0);
        let (dropped, gradients, input_gradients) = both(&network, &batch, 0.25);
        // The same loss without dropout, which gives each unit the weight that it has with it.
        for ((weight, plain), dropped) in batch.loss_weights.iter_mut().zip(&plain).zip(&dropped) {
            *weight *= if plain == dropped { 1.0 } else { (dropped / plain).round() / 0.75 };
        }
        let (_, expected, expected_of_inputs) = both(&network, &batch, 0.0);
        let found = gradients.values().iter().chain(&input_gradients);
        for (found, expected) in found.zip(expected.values().iter().chain(&expected_of_inputs)) {
            assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{found} {expected}");
        }
    }
}

#[test]
fn gradients_agree_with_differences() {
    // In these memories some of what depends on the parameters has no gradient by definition; and five hidden units that are
    // nearly alike, once normalised, change too fast for differences.
    let whole = |kinds: &Kinds| {
        !["dnc", "sdnc"].contains(&kinds.memory.name()) && kinds.controller != ControllerKind::LayerNormLstm
    };
    for (number, kinds) in models().into_iter().filter(whole).enumerate() {
        for output in [0, 2] {
            let seed = 90 + number as u64;
            let mut network = network(kinds.clone(), 2, 5, output, seed);
            let mut batch = Batch::new(&network, &[9, 6], seed + 1);
            let (_, gradients, input_gradients) = both(&network, &batch, 0.4);
            let step = 1e-6;
            let close = |analytic: f64, numeric: f64, what: &str| {
                let error = (analytic - numeric).abs() / (1.0 + analytic.abs().max(numeric.abs()));
                assert!(error < 2e-7, "{what}: {analytic} but by differences {numeric} ({kinds:?}, {output} outputs)");
            };
            let loss = |network: &Network<f64>, batch: &Batch| {
                let mut runner = Runner::new(network, batch.rows).unwrap();
                batch.loss(&forward(batch, &mut runner, network, 0.4, &SEEDS[..2]))
            };
            let mut numbers = Numbers::new(seed);
            for place in 0..gradients.values().len() {
                if numbers.next() > 0.0 {
                    continue;
                }
                let value = network.parameters().values()[place];
                let mut at = |value: f64| {
                    network.parameters_mut().values_mut()[place] = value;
                    loss(&network, &batch)
                };
                let numeric = (at(value + step) - at(value - step)) / (2.0 * step);
                at(value);
                close(gradients.values()[place], numeric, &format!("parameter {place}"));
            }
            for place in 0..batch.inputs.len() {
                let value = batch.inputs[place];
                let mut at = |value: f64| {
                    batch.inputs[place] = value;
                    loss(&network, &batch)
                };
                let numeric = (at(value + step) - at(value - step)) / (2.0 * step);
                at(value);
                close(input_gradients[place], numeric, &format!("input {place}"));
            }
        }
    }
}

#[test]
fn it_is_the_same_on_any_number_of_threads_and_gone_at_the_next_call() {
    for kinds in models() {
        let network = network(kinds, 3, 8, 2, 83);
        let batch = Batch::new(&network, &LENGTHS, 84);
        let (outputs, gradients, _) = with_threads(1, || both(&network, &batch, 0.5));
        let others = with_threads(3, || both(&network, &batch, 0.5));
        assert!(outputs == others.0 && gradients.values() == others.1.values());

        let mut runner = Runner::new(&network, batch.rows).unwrap();
        let plain = batch.forward(&mut runner, &network);
        let (expected, _) = batch.backward(&mut runner, &network);
        runner.reset();
        assert_eq!(forward(&batch, &mut runner, &network, 0.5, &SEEDS), outputs);
        assert_ne!(outputs, plain);
        runner.reset();
        assert_eq!(batch.forward(&mut runner, &network), plain);
        let (found, _) = batch.backward(&mut runner, &network);
        assert_eq!(found.values(), expected.values());
        runner.reset();
        let mut inferred = vec![f64::NAN; outputs.len()];
        let sequences = batch.sequences().with_bypass_dropout(0.5, &SEEDS);
        runner.infer_sequences(&network, sequences, &mut inferred).unwrap();
        assert_eq!(inferred, batch.infer(&mut Runner::new(&network, batch.rows).unwrap(), &network));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let network = network(Kinds::from(sparsam::Model::Lstm), 3, 8, 2, 85);
    let batch = Batch::new(&network, &[4, 3], 86);
    let mut runner = Runner::new(&network, 2).unwrap();
    let mut outputs = vec![0.0; 16];
    for (probability, seeds, expected) in
        [(1.0, &SEEDS[..2], "bypass_dropout"), (-0.1, &SEEDS[..2], "bypass_dropout"), (f64::NAN, &SEEDS[..2], "NaN")]
    {
        let sequences = batch.sequences().with_bypass_dropout(probability, seeds);
        let error = runner.forward_sequences(&network, sequences, &mut outputs).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let sequences = batch.sequences().with_bypass_dropout(0.5, &SEEDS);
    let error = runner.forward_sequences(&network, sequences, &mut outputs).unwrap_err();
    assert!(matches!(error, Error::Shape { what: "seeds of dropout", found: 6, expected: 2, .. }), "{error}");
}
