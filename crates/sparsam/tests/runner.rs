//! The life of a runner's state: what is kept, cleared and restored, and that threads change nothing.

mod common;

use common::{Batch, Numbers, check_gradients_with_starts, models, network, of_row, saved, with_starts, with_threads};
use sparsam::index::IndexKind;
use sparsam::memory::sam;

use sparsam::{Arrays, ControllerKind, Error, Model, NO_WORD, Network, NetworkConfig, Runner, Sequences, Values};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for model in models() {
        let network = network(model, 3, 10, 2, 1);
        let lengths: Vec<usize> = (0..19).map(|row| (row * 7) % 23).collect();
        let batch = Batch::new(&network, &lengths, 2);
        let run = || {
            let mut runner = Runner::new(&network, batch.rows).expect("it fits");
            let outputs = batch.forward(&mut runner, &network);
            let (gradients, inputs) = batch.backward(&mut runner, &network);
            [&outputs[..], gradients.values(), &inputs].concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let one = with_threads(1, run);
        for threads in [2, 3, 7] {
            assert!(one == with_threads(threads, run), "{threads} threads");
        }
    }
}

#[test]
fn backward_restores_what_forward_started_from() {
    for model in models() {
        let network = network(model, 3, 8, 2, 3);
        let batch = Batch::new(&network, &[20, 11, 20, 5, 1], 4);
        let mut runner = Runner::new(&network, batch.rows).expect("it fits");
        let fresh = batch.forward(&mut runner, &network);
        batch.backward(&mut runner, &network);
        assert_eq!(batch.forward(&mut runner, &network), fresh);
        // A carried state is restored just so.
        let carried = batch.forward(&mut runner, &network);
        assert_ne!(carried, fresh);
        batch.backward(&mut runner, &network);
        assert_eq!(batch.forward(&mut runner, &network), carried);
        runner.reset();
        assert_eq!(batch.forward(&mut runner, &network), fresh);
    }
}

#[test]
fn a_filled_memory_is_restored_until_it_is_reset() {
    for model in models() {
        let network = network(model, 3, 8, 2, 24);
        let batch = Batch::new(&network, &[20, 11, 20, 5, 1, 9], 25);
        let word = |row: usize, word: usize, numbers: &mut [f64]| {
            numbers.copy_from_slice(&Numbers::new((1000 * row + word) as u64).vector(numbers.len()));
        };
        let mut runner = Runner::new(&network, batch.rows).expect("it fits");
        let fresh = batch.forward(&mut runner, &network);
        runner.fill(word);
        let filled = batch.forward(&mut runner, &network);
        batch.backward(&mut runner, &network);
        assert_eq!(batch.forward(&mut runner, &network), filled);
        // Whatever the number of threads, each row has the words that were meant for it.
        with_threads(3, || runner.fill(word));
        assert_eq!(batch.forward(&mut runner, &network), filled);
        runner.fill(|row, number, numbers| word(row + 1, number, numbers));
        let others = batch.forward(&mut runner, &network);
        let has_memory = network.config().memory != Model::Lstm;
        assert_eq!((filled != fresh, others != filled), (has_memory, has_memory));
        runner.reset();
        assert_eq!(batch.forward(&mut runner, &network), fresh);
    }
}

/// Says no when it is asked for the last time.
fn until_asked(times: usize) -> Box<dyn FnMut() -> bool + Send> {
    let mut asked = 0;
    Box::new(move || {
        asked += 1;
        asked < times
    })
}

#[test]
fn calls_that_are_listened_to_give_the_same_bits() {
    for model in models() {
        let network = network(model, 3, 8, 2, 30);
        let batch = Batch::new(&network, &[150, 11, 97, 0, 64, 33], 31);
        let mut runner = Runner::new(&network, batch.rows).expect("it fits");
        let outputs = batch.forward(&mut runner, &network);
        let gradients = batch.backward(&mut runner, &network);
        runner.listen(Some(until_asked(usize::MAX)));
        assert_eq!(batch.forward(&mut runner, &network), outputs);
        let (again, inputs) = batch.backward(&mut runner, &network);
        assert!(again.values() == gradients.0.values() && inputs == gradients.1);
        runner.reset();
        let inferred = batch.infer(&mut runner, &network);
        runner.listen(None);
        runner.reset();
        assert_eq!(batch.infer(&mut runner, &network), inferred);
    }
}

/// Products of other numbers of rows may be summed in another order, and every step adds to the difference.
fn are_close(one: &[Arrays<f64>], other: &[Arrays<f64>]) -> bool {
    let close = |one: &[f64], other: &[f64]| one.iter().zip(other).all(|(x, y)| (x - y).abs() < 1e-6);
    one.iter().zip(other).all(|(one, other)| {
        one.iter().zip(other.iter()).all(|((_, one), (_, other))| match (one.values(), other.values()) {
            (Values::Real(one), Values::Real(other)) => one.len() == other.len() && close(one, other),
            (one, other) => one == other,
        })
    })
}

#[test]
fn calls_that_are_ended_leave_the_state_they_came_to() {
    for model in models() {
        let network = network(model, 3, 8, 2, 32);
        let batch = Batch::new(&network, &[4000, 11, 97, 0, 64, 33], 33);
        let (inputs, lengths) = (&batch.inputs, &batch.lengths);
        let rows = batch.rows;
        let saved = |runner: &mut Runner<f64>| (0..rows).map(|row| runner.save_row(row)).collect::<Vec<_>>();
        let fresh = || Runner::new(&network, rows).expect("it fits");
        for times in [1, 2] {
            for call in ["forward", "infer", "trace"] {
                let mut runner = fresh();
                runner.listen(Some(until_asked(times)));
                let run = |runner: &mut Runner<f64>, inputs: &[f64], lengths: &[usize], outputs: &mut [f64]| match call
                {
                    "forward" => runner.forward(&network, inputs, lengths, outputs),
                    "infer" => runner.infer(&network, inputs, lengths, outputs),
                    _ => runner.trace(&network, inputs, lengths, outputs).map(|_| ()),
                };
                let mut whole = vec![1.0; 4000 * rows * 2];
                run(&mut fresh(), inputs, lengths, &mut whole).expect("it fits");
                let mut outputs = vec![1.0; whole.len()];
                let ended = run(&mut runner, inputs, lengths, &mut outputs);
                let Err(Error::Interrupted { steps }) = ended else { panic!("{call} gave {ended:?}") };
                assert!(0 < steps && steps < 4000, "{steps}");
                let known = steps * rows * 2;
                assert!(outputs[known..].iter().all(|x| *x == 0.0), "{call}");
                let mut differences = outputs.iter().zip(&whole[..known]).map(|(x, y)| (x - y).abs());
                assert!(differences.all(|x| if call == "forward" { x < 1e-9 } else { x == 0.0 }), "{call}");
                // The state is that after as many steps, and there is nothing to go back through.
                let mut other = fresh();
                let first: Vec<usize> = lengths.iter().map(|length| *length.min(&steps)).collect();
                run(&mut other, &inputs[..steps * rows * 3], &first, &mut outputs[..known]).expect("it fits");
                let (one, two) = (saved(&mut runner), saved(&mut other));
                assert!(if call == "forward" { are_close(&one, &two) } else { one == two }, "{call}");
                let mut gradients = network.zeros();
                let back = runner.backward(&network, &whole, &mut gradients, None);
                assert!(matches!(back, Err(Error::Order(_))), "{back:?}");
            }
            let mut runner = fresh();
            batch.forward(&mut runner, &network);
            let after = saved(&mut runner);
            runner.listen(Some(until_asked(times)));
            let mut gradients = network.zeros();
            let ended = runner.backward(&network, &batch.loss_weights, &mut gradients, None);
            assert!(matches!(ended, Err(Error::Interrupted { steps: 1.. })), "{ended:?}");
            assert!(saved(&mut runner) == after);
        }
    }
}

#[test]
fn replay_carries_on_as_if_nothing_had_gone_back() {
    for model in models() {
        let network = network(model, 3, 8, 2, 5);
        let first = Batch::new(&network, &[9, 4, 40, 0, 3], 6);
        let second = Batch::new(&network, &[5, 6, 7, 8, 9], 7);
        let mut straight = Runner::new(&network, 5).expect("it fits");
        first.forward(&mut straight, &network);
        let expected = second.forward(&mut straight, &network);
        let mut runner = Runner::new(&network, 5).expect("it fits");
        first.forward(&mut runner, &network);
        first.backward(&mut runner, &network);
        runner.replay();
        assert_eq!(second.forward(&mut runner, &network), expected);
        runner.replay();
        second.backward(&mut runner, &network);
        runner.replay();
        runner.reset();
        first.infer(&mut runner, &network);
        assert_eq!(second.forward(&mut runner, &network), expected);
    }
}

#[test]
fn a_stream_gives_what_a_whole_sequence_gives() {
    for model in models() {
        let network = network(model, 3, 8, 2, 8);
        let batch = Batch::new(&network, &[70; 3], 9);
        let mut runner = Runner::new(&network, 3).expect("it fits");
        let whole = batch.forward(&mut runner, &network);
        batch.backward(&mut runner, &network);
        for (inputs, expected) in batch.inputs.chunks(3 * 3).zip(whole.chunks(3 * 2)) {
            let mut outputs = [0.0; 6];
            runner.infer(&network, inputs, &[1; 3], &mut outputs).expect("shapes fit");
            for (a, b) in outputs.iter().zip(expected) {
                assert!((a - b).abs() < 1e-10);
            }
        }
    }
}

#[test]
fn a_row_is_reset_alone() {
    for model in models() {
        let network = network(model, 3, 8, 2, 10);
        let batch = Batch::new(&network, &[12; 6], 11);
        let mut runner = Runner::new(&network, 6).expect("it fits");
        let fresh = batch.infer(&mut runner, &network);
        let mut other = Runner::new(&network, 6).expect("it fits");
        batch.infer(&mut other, &network);
        runner.reset_row(4);
        let (mixed, carried) = (batch.infer(&mut runner, &network), batch.infer(&mut other, &network));
        for (i, value) in mixed.iter().enumerate() {
            let row = i / 2 % 6;
            assert_eq!(*value, if row == 4 { fresh[i] } else { carried[i] }, "row {row}");
        }
    }
}

#[test]
fn a_row_reset_between_passes_leaves_the_others_where_they_stand() {
    for model in models() {
        let network = network(model, 3, 8, 2, 20);
        let batch = Batch::new(&network, &[7; 6], 21);
        let mut runner = Runner::new(&network, 6).expect("it fits");
        let fresh = batch.forward(&mut runner, &network);
        let carried = {
            let mut other = Runner::new(&network, 6).expect("it fits");
            batch.infer(&mut other, &network);
            batch.infer(&mut other, &network)
        };
        // After a forward the others stand at its end; there is no tape any more for any of them.
        runner.reset_row(0);
        let mut inputs = vec![0.0; batch.inputs.len()];
        let gone = runner.backward(&network, &batch.loss_weights, &mut network.zeros(), Some(&mut inputs));
        assert!(matches!(gone, Err(Error::Order(_))));
        runner.replay();
        let mixed = batch.forward(&mut runner, &network);
        for (i, value) in mixed.iter().enumerate() {
            let expected = if i / 2 % 6 == 0 { fresh[i] } else { carried[i] };
            assert!((value - expected).abs() < 1e-12);
        }
        // After a backward they stand at its start, and stay there.
        runner.reset();
        batch.forward(&mut runner, &network);
        batch.backward(&mut runner, &network);
        runner.reset_row(5);
        runner.replay();
        assert_eq!(batch.forward(&mut runner, &network), fresh);
    }
}

/// Subnormal numbers would make each step of a long sequence several times as slow as one of a short one.
#[test]
fn gradients_that_vanish_end_with_zero() {
    for model in models() {
        let config =
            NetworkConfig::new(2, 1).with_hidden_size(12).with_controller(model.controller).with_memory(model.memory);
        let network = Network::<f32>::new(config, 5).expect("it fits");
        let steps = 1500;
        let inputs: Vec<f32> = (0..2 * steps).map(|i| ((i * 7919) % 13) as f32 / 13.0).collect();
        let mut outputs = vec![0.0; steps];
        let mut runner = Runner::new(&network, 1).expect("it fits");
        runner.forward(&network, &inputs, &[steps], &mut outputs).expect("shapes fit");
        // Only the last step's output is wanted.
        outputs.fill(0.0);
        outputs[steps - 1] = 1.0;
        let (mut gradients, mut input_gradients) = (network.zeros(), vec![0.0; 2 * steps]);
        runner.backward(&network, &outputs, &mut gradients, Some(&mut input_gradients)).expect("there is a tape");
        let name = network.config().memory.name();
        assert!(!input_gradients.iter().any(|x| x.is_subnormal()), "{name}");
        assert!(input_gradients[2 * steps - 2..].iter().all(|x| *x != 0.0), "{name}");
        // What is normalised is not made smaller from step to step.
        if name == "lstm" && network.config().controller != ControllerKind::LayerNormLstm {
            assert!(input_gradients[..steps].iter().all(|x| *x == 0.0), "{name}");
        }
    }
}

#[test]
fn sequences_of_no_steps_pass_forth_and_back() {
    for model in models() {
        let network = network(model, 3, 8, 2, 22);
        let mut runner = Runner::new(&network, 5).expect("it fits");
        for batch in [Batch::new(&network, &[0; 5], 23), Batch::new(&network, &[0, 0, 0, 0, 3], 23)] {
            batch.forward(&mut runner, &network);
            batch.backward(&mut runner, &network);
        }
    }
}

#[test]
fn rows_do_not_see_each_other() {
    for model in models() {
        let network = network(model, 2, 7, 2, 12);
        let lengths = [9, 3, 14, 1, 6];
        let batch = Batch::new(&network, &lengths, 13);
        let mut runner = Runner::new(&network, 5).expect("it fits");
        let together = batch.forward(&mut runner, &network);
        for row in 0..5 {
            let inputs: Vec<f64> = batch.inputs.chunks(2).skip(row).step_by(5).flatten().copied().collect();
            let mut alone = vec![0.0; batch.steps * 2];
            Runner::new(&network, 1)
                .and_then(|mut runner| runner.forward(&network, &inputs, &lengths[row..=row], &mut alone))
                .expect("shapes fit");
            let of_row = together.chunks(2).skip(row).step_by(5).flatten();
            assert!(of_row.zip(&alone).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }
}

/// What the rows of a batch give when each is run alone, in the parts into which its starts cut it.
struct InParts {
    /// Of each row.
    outputs: Vec<Vec<f64>>,
    inputs: Vec<Vec<f64>>,
    states: Vec<Arrays<f64>>,
    /// The sum over all.
    gradients: Vec<f64>,
}

impl InParts {
    fn run(network: &Network<f64>, batch: &Batch, from: &[Arrays<f64>]) -> Self {
        let mut gradients = network.zeros();
        let (width, input_size) = (network.config().output_len(), network.config().input_size);
        let [mut all_outputs, mut all_inputs] = [Vec::new(), Vec::new()];
        let mut states = Vec::new();
        for row in 0..batch.rows {
            let mut runner = Runner::new(network, 1).expect("it fits");
            runner.load_row(0, from[row].clone()).expect("it was saved");
            let (inputs, weights) =
                (batch.inputs_of(row, input_size), of_row(&batch.loss_weights, width, row, batch.rows));
            let (mut outputs, mut input_gradients) =
                (vec![0.0; batch.steps * width], vec![0.0; batch.steps * input_size]);
            for (number, part) in batch.parts(row).into_iter().enumerate() {
                if number > 0 {
                    runner.reset_row(0);
                }
                let (of_inputs, of_outputs) =
                    (part.start * input_size..part.end * input_size, part.start * width..part.end * width);
                let inputs = &inputs[of_inputs.clone()];
                runner.forward(network, inputs, &[part.len()], &mut outputs[of_outputs.clone()]).expect("it fits");
                let to = Some(&mut input_gradients[of_inputs]);
                runner.backward(network, &weights[of_outputs], &mut gradients, to).expect("there is a tape");
                runner.replay();
            }
            states.push(runner.save_row(0));
            all_outputs.push(outputs);
            all_inputs.push(input_gradients);
        }
        let gradients = gradients.values().to_vec();
        Self { outputs: all_outputs, inputs: all_inputs, states, gradients }
    }
}

#[test]
fn a_start_is_a_cut() {
    // Measured against the largest: with layer normalisation a gradient is a sum of others a thousand times as large.
    let close = |one: &[f64], other: &[f64], limit: f64| {
        let largest = one.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| (a - b).abs() <= limit * largest)
    };
    for model in models() {
        let what = format!("{model:?}");
        // With layer normalisation every step adds to a difference.
        let limit = if model.controller == ControllerKind::LayerNormLstm { 1e-9 } else { 1e-12 };
        let network = network(model, 3, 8, 2, 40);
        let before = Batch::new(&network, &[9, 4, 30, 7, 0, 12], 41);
        let batch = with_starts(&network, &[40, 11, 35, 40, 0, 33], 42);
        let mut runner = Runner::new(&network, batch.rows).expect("it fits");
        before.infer(&mut runner, &network);
        let start = saved(&mut runner);
        let parts = InParts::run(&network, &batch, &start);

        let outputs = batch.forward(&mut runner, &network);
        let end = saved(&mut runner);
        let (gradients, inputs) = batch.backward(&mut runner, &network);
        assert!(saved(&mut runner) == start, "going back restores every bit: {what}");
        runner.replay();
        assert!(saved(&mut runner) == end, "and replaying them as well: {what}");
        for (row, (part_outputs, part_inputs)) in parts.outputs.iter().zip(&parts.inputs).enumerate() {
            assert!(close(&of_row(&outputs, 2, row, batch.rows), part_outputs, limit), "outputs of row {row}: {what}");
            assert!(close(&of_row(&inputs, 3, row, batch.rows), part_inputs, limit), "gradients of row {row}: {what}");
        }
        assert!(close(gradients.values(), &parts.gradients, 1e-10), "{what}");
        assert!(are_close(&end, &parts.states), "{what}");

        // Once more, and from there on: nothing is left of what was gone back over.
        let on = before.forward(&mut runner, &network);
        let mut other = Runner::new(&network, batch.rows).expect("it fits");
        before.infer(&mut other, &network);
        assert_eq!(batch.forward(&mut other, &network), outputs);
        assert_eq!(before.forward(&mut other, &network), on);

        let restored = |runner: &mut Runner<f64>| {
            for (row, arrays) in start.iter().enumerate() {
                runner.load_row(row, arrays.clone()).expect("it was saved");
            }
        };
        restored(&mut other);
        let inferred = batch.infer(&mut other, &network);
        assert!(close(&inferred, &outputs, limit), "{what}");
        assert!(are_close(&saved(&mut other), &parts.states), "{what}");
        restored(&mut other);
        let mut traced = vec![0.0; outputs.len()];
        other.trace_sequences(&network, batch.sequences(), &mut traced).expect("it fits");
        assert!(close(&traced, &outputs, limit), "{what}");
        for call in 0..2 {
            restored(&mut other);
            other.listen(Some(until_asked(usize::MAX)));
            if call == 0 {
                assert_eq!(batch.forward(&mut other, &network), outputs);
                let (again, inputs_again) = batch.backward(&mut other, &network);
                assert!(again.values() == gradients.values() && inputs_again == inputs, "{what}");
            } else {
                assert_eq!(batch.infer(&mut other, &network), inferred);
            }
            other.listen(None);
        }
    }
}

/// Where the products are the same, so is every bit.
#[test]
fn a_start_in_a_stream_is_a_reset() {
    for model in models() {
        let network = network(model, 3, 8, 2, 44);
        let batch = with_starts(&network, &[25; 6], 45);
        let [mut starting, mut reset] = [(); 2].map(|()| Runner::new(&network, 6).expect("it fits"));
        for (step, inputs) in batch.inputs.chunks(6 * 3).enumerate() {
            let starts = &batch.starts[step * 6..][..6];
            let [mut one, mut other] = [[0.0; 12]; 2];
            let sequences = Sequences::new(inputs, &[1; 6]).with_starts(starts);
            starting.infer_sequences(&network, sequences, &mut one).expect("it fits");
            (0..6).filter(|row| starts[*row]).for_each(|row| reset.reset_row(row));
            reset.infer(&network, inputs, &[1; 6], &mut other).expect("it fits");
            assert_eq!(one, other);
        }
        assert!(saved(&mut starting) == saved(&mut reset));
    }
}

#[test]
fn starts_give_the_same_bits_on_any_number_of_threads() {
    for model in models() {
        let network = network(model, 3, 10, 2, 46);
        let lengths: Vec<usize> = (0..19).map(|row| (row * 7) % 23).collect();
        let batch = with_starts(&network, &lengths, 47);
        let run = || {
            let mut runner = Runner::new(&network, batch.rows).expect("it fits");
            let outputs = batch.forward(&mut runner, &network);
            let (gradients, inputs) = batch.backward(&mut runner, &network);
            [&outputs[..], gradients.values(), &inputs].concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let one = with_threads(1, run);
        assert!([2, 3, 7].into_iter().all(|threads| one == with_threads(threads, run)));
    }
}

#[test]
fn gradients_with_starts() {
    for seed in 0..3 {
        for model in models() {
            // A restatement that knows what carries no gradient is what those are compared with (tests/models).
            if matches!(model.memory, Model::Sdnc(_) | Model::Dnc(_)) {
                continue;
            }
            // With layer normalisation, over more steps differences do not follow any more (tests/models/controllers.rs).
            let (before, lengths, starts) = if model.controller == ControllerKind::LayerNormLstm {
                ([0; 5], [4, 3, 0, 1, 3], [(0, 1), (2, 0), (3, 0), (3, 1), (1, 4), (2, 4)])
            } else {
                ([3, 2, 1, 0, 4], [6, 4, 0, 1, 3], [(0, 1), (2, 0), (3, 0), (5, 1), (1, 4), (2, 4)])
            };
            check_gradients_with_starts(model, [2, 4, 2], &before, &lengths, &starts, seed);
        }
    }
}

#[test]
fn approximate_indexes_are_gone_back_over_starts_with() {
    for index in [IndexKind::Ivf, IndexKind::KdForest, IndexKind::Lsh] {
        let config = sam::Config { memory_size: 300, word_size: 8, index, ..Default::default() };
        let network = network(Model::Sam(config), 3, 8, 2, 48);
        let batch = with_starts(&network, &[60, 11, 35, 40], 49);
        let mut runner = Runner::new(&network, batch.rows).expect("it fits");
        batch.infer(&mut runner, &network);
        let start = saved(&mut runner);
        batch.forward(&mut runner, &network);
        let end = saved(&mut runner);
        let (gradients, _) = batch.backward(&mut runner, &network);
        assert!(gradients.values().iter().all(|x| x.is_finite()));
        assert!(saved(&mut runner) == start);
        runner.replay();
        assert!(saved(&mut runner) == end);
    }
}

/// A 0 times what is no number is none; what comes past the end of a sequence is not to be multiplied with anything.
#[test]
fn what_stands_past_the_end_of_a_sequence_does_not_matter() {
    for model in models() {
        let network = network(model, 3, 8, 2, 50);
        let mut batch = with_starts(&network, &[20, 11, 20, 5, 0, 1], 51);
        let mut runner = Runner::new(&network, batch.rows).expect("it fits");
        let run = |runner: &mut Runner<f64>, batch: &Batch| {
            let outputs = batch.forward(runner, &network);
            let (gradients, inputs) = batch.backward(runner, &network);
            [outputs, gradients.values().to_vec(), inputs, batch.infer(runner, &network)].concat()
        };
        let expected = run(&mut runner, &batch);
        assert!(expected.iter().all(|x| x.is_finite()));
        for (place, value) in batch.inputs.iter_mut().enumerate() {
            let (step, row) = (place / (3 * batch.rows), place / 3 % batch.rows);
            if step >= batch.lengths[row] {
                *value = [f64::NAN, f64::INFINITY][place % 2];
            }
        }
        runner.reset();
        assert_eq!(run(&mut runner, &batch), expected);
    }
}

#[test]
fn new_parameters_are_used_at_once() {
    let mut network = network(models().remove(1), 2, 5, 2, 14);
    let batch = Batch::new(&network, &[8], 15);
    let mut runner = Runner::new(&network, 1).expect("it fits");
    let old = batch.forward(&mut runner, &network);
    network.parameters_mut().values_mut()[3] += 0.5;
    let stale = runner.backward(&network, &batch.loss_weights, &mut network.zeros(), None);
    assert!(matches!(stale, Err(Error::Order(_))));
    runner.reset();
    let new = batch.forward(&mut runner, &network);
    assert_ne!(old, new);
    assert_eq!(new, batch.forward(&mut Runner::new(&network, 1).expect("it fits"), &network));
}

#[test]
fn arguments_that_do_not_fit_are_named() {
    let network: Network<f64> = network(models().remove(1), 3, 5, 2, 16);
    let mut runner = Runner::new(&network, 2).expect("it fits");
    let inputs = Numbers::new(1).vector(4 * 2 * 3);
    let mut outputs = vec![0.0; 4 * 2 * 2];
    let says = |result: Result<(), Error>, what: &str| {
        let error = result.expect_err("it does not fit").to_string();
        assert!(error.contains(what), "{error}");
    };
    says(runner.forward(&network, &inputs[1..], &[4, 4], &mut outputs), "inputs");
    says(runner.forward(&network, &inputs, &[4, 4], &mut outputs[1..]), "outputs");
    says(runner.forward(&network, &inputs, &[4], &mut outputs), "lengths");
    says(runner.forward(&network, &inputs, &[4, 5], &mut outputs), "sequence 1 has length 5");
    let starts = Sequences::new(&inputs, &[4, 4]).with_starts(&[false; 7]);
    says(runner.forward_sequences(&network, starts, &mut outputs), "starts has length 7, where 8 was expected (4 time");
    says(runner.infer_sequences(&network, starts, &mut outputs), "starts");
    says(runner.trace_sequences(&network, starts, &mut outputs).map(|_| ()), "starts");
    says(runner.backward(&network, &outputs, &mut network.zeros(), None), "forward before it");
    runner.forward(&network, &inputs, &[4, 0], &mut outputs).expect("it fits");
    says(runner.backward(&network, &outputs[1..], &mut network.zeros(), None), "output_gradients");
    says(runner.backward(&network, &outputs, &mut network.zeros(), Some(&mut [0.0; 3])), "input_gradients");
    runner.backward(&network, &outputs, &mut network.zeros(), None).expect("the tape is still there");
    says(runner.backward(&network, &outputs, &mut network.zeros(), None), "forward before it");
    let other = common::network(Model::Lstm, 3, 5, 2, 16);
    says(runner.forward(&other, &inputs, &[4, 4], &mut outputs), "configuration");
    assert!(Runner::new(&network, 0).is_err());
}

#[test]
fn a_trace_is_an_inference_that_is_looked_at() {
    for model in models() {
        let network = network(model, 3, 8, 2, 30);
        let batch = Batch::new(&network, &[20, 0, 7, 20, 1, 12], 31);
        let [mut traced, mut plain] = [(); 2].map(|()| Runner::new(&network, batch.rows).expect("it fits"));
        for _ in 0..2 {
            let expected = batch.infer(&mut plain, &network);
            let mut outputs = vec![f64::NAN; expected.len()];
            let arrays =
                traced.trace(&network, &batch.inputs, &batch.lengths, &mut outputs).expect("shapes and room fit");
            // Inputs are multiplied step by step here, and many at once there.
            assert!(outputs.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9));
            let error = traced.backward(&network, &outputs, &mut network.zeros(), None);
            assert!(matches!(error, Err(Error::Order(_))), "a trace leaves no tape");

            for (name, array) in arrays.iter() {
                assert_eq!(array.shape()[..2], [20, 6], "{name}");
                let width: usize = array.shape()[2..].iter().product();
                for (place, step) in (7..20).map(|step| (step * 6 + 2, step)) {
                    let nothing = match array.values() {
                        Values::Real(values) => values[place * width..][..width].iter().all(|x| *x == 0.0),
                        Values::Whole(words) => words[place * width..][..width].iter().all(|w| *w == NO_WORD),
                    };
                    assert!(nothing, "{name} past the end of row 2, at step {step}");
                }
            }
            check_reads(&arrays, &traced.save_row(3));
        }
        let has_memory = network.config().memory != Model::Lstm;
        let mut outputs = vec![0.0; 6 * 2];
        let arrays = traced.trace(&network, &[0.5; 6 * 3], &[1; 6], &mut outputs).expect("shapes fit");
        assert_eq!(arrays.get("read_weights").is_some(), has_memory);
        let none = traced.trace(&network, &[], &[0; 6], &mut []).expect("nothing fits");
        assert_eq!(none.iter().count(), 0);
    }
}

/// What row 3 read at the last of 20 steps is what the traced words hold, by the traced weights.
fn check_reads(arrays: &Arrays<f64>, row: &Arrays<f64>) {
    let real = |arrays: &Arrays<f64>, name: &str| match arrays.get(name).map(|array| array.values()) {
        Some(Values::Real(values)) => values.clone(),
        _ => Vec::new(),
    };
    let whole = |arrays: &Arrays<f64>, name: &str| match arrays.get(name).map(|array| array.values()) {
        Some(Values::Whole(values)) => values.clone(),
        _ => Vec::new(),
    };
    let Some(shape) = arrays.get("read_weights").map(|array| array.shape()) else { return };
    let (heads, places) = (shape[2], shape[3]);
    let last = ((19 * 6) + 3) * heads * places;
    let (weights, contents) = (real(arrays, "read_weights"), real(row, "contents"));
    let (words, written) = (whole(arrays, "read_words"), whole(row, "words"));
    let size = row.get("contents").map_or(0, |array| array.shape()[1]);
    for (head, read) in real(row, "controller.read").chunks(size).enumerate() {
        let mut sum = vec![0.0; size];
        for place in 0..places {
            let number = last + head * places + place;
            // Sparse memories name words, and keep those that were written; dense ones have them all.
            let held = match words.get(number) {
                None => Some(place),
                Some(word) => written.iter().position(|written| written == word),
            };
            if let Some(held) = held {
                for (sum, content) in sum.iter_mut().zip(&contents[held * size..]) {
                    *sum += weights[number] * content;
                }
            }
        }
        assert!(sum.iter().zip(read).all(|(a, b)| (a - b).abs() < 1e-9), "{sum:?} but {read:?}");
    }
}
