//! Gradients that pass from call to call: those of pieces are those of the whole, and whatever happens in between.

mod common;

use std::ops::Range;

use common::{Batch, Numbers, models, network, saved, with_starts, with_threads};
use sparsam::{ControllerKind, Error, Model, Network, Runner, Sequences};

/// Some steps of a batch.
fn piece(batch: &Batch, steps: Range<usize>) -> Batch {
    let cut = |all: &[f64]| {
        let width = all.len() / batch.steps;
        all[steps.start * width..steps.end * width].to_vec()
    };
    let starts = if batch.starts.is_empty() { &[][..] } else { &batch.starts };
    let of_step = starts.len() / batch.steps;
    Batch {
        rows: batch.rows,
        steps: steps.len(),
        inputs: cut(&batch.inputs),
        lengths: batch.lengths.iter().map(|length| length.saturating_sub(steps.start).min(steps.len())).collect(),
        starts: starts[steps.start * of_step..steps.end * of_step].to_vec(),
        loss_weights: cut(&batch.loss_weights),
    }
}

/// A batch in pieces, one of them without a step.
fn pieces(batch: &Batch) -> Vec<Batch> {
    let borders = [0, 1, 12, 12, 13, 20, batch.steps];
    borders.windows(2).map(|pair| piece(batch, pair[0]..pair[1])).collect()
}

/// Goes back through all calls: the gradients of the parameters, and of the inputs of all pieces.
fn back(runner: &mut Runner<f64>, network: &Network<f64>, pieces: &[Batch]) -> (Vec<f64>, Vec<f64>) {
    let mut gradients = network.zeros();
    let mut inputs = Vec::new();
    for (number, piece) in pieces.iter().enumerate().rev() {
        assert_eq!(runner.calls(), number + 1);
        let mut of_piece = vec![f64::NAN; piece.inputs.len()];
        runner.backward(network, &piece.loss_weights, &mut gradients, Some(&mut of_piece)).expect("there is a tape");
        inputs.push(of_piece);
    }
    inputs.reverse();
    (gradients.values().to_vec(), inputs.concat())
}

/// Measured against the largest.
fn are_close(one: &[f64], other: &[f64], limit: f64) -> bool {
    let largest = one.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| (a - b).abs() <= limit * largest)
}

fn carrying(network: &Network<f64>, rows: usize) -> Runner<f64> {
    let mut runner = Runner::new(network, rows).expect("it fits");
    runner.carry_gradients(true);
    runner
}

#[test]
fn pieces_have_the_gradients_of_the_whole() {
    for model in models() {
        // With layer normalisation every step adds to a difference.
        let limit = if model.controller == ControllerKind::LayerNormLstm { 1e-9 } else { 1e-12 };
        let what = format!("{model:?}");
        let network = network(model, 3, 8, 2, 50);
        let lengths = [25, 11, 14, 25, 0, 22];
        let before = Batch::new(&network, &[9, 4, 30, 7, 0, 12], 51);
        for batch in [Batch::new(&network, &lengths, 52), with_starts(&network, &lengths, 53)] {
            let mut whole = Runner::new(&network, batch.rows).expect("it fits");
            before.infer(&mut whole, &network);
            let outputs = batch.forward(&mut whole, &network);
            let (gradients, inputs) = batch.backward(&mut whole, &network);

            let (mut runner, pieces) = (carrying(&network, batch.rows), pieces(&batch));
            before.infer(&mut runner, &network);
            let start = saved(&mut runner);
            let in_pieces: Vec<f64> = pieces.iter().flat_map(|piece| piece.forward(&mut runner, &network)).collect();
            let end = saved(&mut runner);
            assert!(are_close(&in_pieces, &outputs, limit), "outputs: {what}");
            let first = back(&mut runner, &network, &pieces);
            assert!(are_close(&first.0, gradients.values(), limit), "parameters: {what}");
            assert!(are_close(&first.1, &inputs, limit), "inputs: {what}");
            assert!(saved(&mut runner) == start, "going back restores every bit: {what}");
            runner.replay();
            assert!(saved(&mut runner) == end, "and replaying as well: {what}");
            assert!(back(&mut runner, &network, &pieces) == first, "going back again gives the same: {what}");

            // On from the end, with all that came before still on the tape.
            runner.replay();
            let on = before.forward(&mut runner, &network);
            assert_eq!(runner.calls(), pieces.len() + 1);
            let mut other = Runner::new(&network, batch.rows).expect("it fits");
            before.infer(&mut other, &network);
            for piece in &pieces {
                piece.forward(&mut other, &network);
            }
            assert_eq!(before.forward(&mut other, &network), on, "{what}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for model in models() {
        let network = network(model, 3, 10, 2, 54);
        let lengths: Vec<usize> = (0..19).map(|row| (row * 7) % 23 + 3).collect();
        let pieces = pieces(&with_starts(&network, &lengths, 55));
        let run = || {
            let mut runner = carrying(&network, lengths.len());
            let outputs: Vec<f64> = pieces.iter().flat_map(|piece| piece.forward(&mut runner, &network)).collect();
            let (gradients, inputs) = back(&mut runner, &network, &pieces);
            [outputs, gradients, inputs].concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let one = with_threads(1, run);
        assert!([2, 3].into_iter().all(|threads| one == with_threads(threads, run)));
    }
}

/// Gradients that flow through a restatement's constants have none by definition: those models are compared with their
/// restatements, over one call (tests/models), and here with one call.
fn has_all_gradients(model: &Model) -> bool {
    !matches!(model, Model::Sdnc(_) | Model::Dnc(_))
}

#[test]
fn differences_through_a_border_and_to_a_learnt_first_state() {
    for model in models().into_iter().filter(|model| has_all_gradients(&model.memory)) {
        let what = format!("{model:?}");
        let network = network(model, 2, 4, 2, 56);
        let (first, second) = (Batch::new(&network, &[3, 1, 2], 57), Batch::new(&network, &[2, 3, 0], 58));
        let mut held = Numbers::new(59).vector(3 * network.config().controller_len());
        let mut runner = carrying(&network, 3);
        runner.set_controllers(&held).expect("it fits");
        assert_eq!(runner.controllers(), held);
        first.forward(&mut runner, &network);
        second.forward(&mut runner, &network);
        // The loss is that of the second call alone, and of what its controllers hold after it.
        let of_end = Numbers::new(60).vector(held.len());
        runner.set_controller_gradients(&of_end).expect("it fits");
        let mut gradients = network.zeros();
        runner.backward(&network, &second.loss_weights, &mut gradients, None).expect("there is a tape");
        let mut over_first = vec![0.0; first.inputs.len()];
        let none = vec![0.0; first.loss_weights.len()];
        runner.backward(&network, &none, &mut gradients, Some(&mut over_first)).expect("there is a tape");
        let over_held = runner.controller_gradients();
        assert!(over_first.iter().chain(&over_held).any(|gradient| *gradient != 0.0));

        let mut inputs = first.inputs.clone();
        let loss = |held: &[f64], inputs: &[f64]| {
            let mut runner = Runner::new(&network, 3).expect("it fits");
            runner.set_controllers(held).expect("it fits");
            let mut outputs = vec![0.0; first.loss_weights.len()];
            runner.infer(&network, inputs, &first.lengths, &mut outputs).expect("it fits");
            let outputs = second.infer(&mut runner, &network);
            let end: f64 = runner.controllers().iter().zip(&of_end).map(|(x, weight)| x * weight).sum();
            second.loss(&outputs) + end
        };
        let step = 1e-6;
        let check = |name: &str, place: usize, gradient: f64, above: f64, below: f64| {
            let numeric = (above - below) / (2.0 * step);
            let error = (gradient - numeric).abs() / (1.0 + gradient.abs().max(numeric.abs()));
            assert!(error < 2e-7, "{name}[{place}]: {gradient} but by differences {numeric} ({what})");
        };
        for place in 0..inputs.len() {
            let value = inputs[place];
            let mut at = |value: f64| {
                inputs[place] = value;
                loss(&held, &inputs)
            };
            let (above, below) = (at(value + step), at(value - step));
            at(value);
            check("input", place, over_first[place], above, below);
        }
        for place in 0..held.len() {
            let value = held[place];
            let mut at = |value: f64| {
                held[place] = value;
                loss(&held, &inputs)
            };
            let (above, below) = (at(value + step), at(value - step));
            at(value);
            check("first state", place, over_held[place], above, below);
        }
    }
}

#[test]
fn calls_that_are_undone_count_for_nothing() {
    for model in models() {
        let network = network(model, 3, 8, 2, 61);
        let batch = with_starts(&network, &[25, 11, 14, 25, 0, 22], 62);
        let pieces = pieces(&batch);
        let mut alone = carrying(&network, batch.rows);
        for piece in &pieces[..2] {
            piece.forward(&mut alone, &network);
        }
        let middle = saved(&mut alone);
        let expected = back(&mut alone, &network, &pieces[..2]);

        let mut runner = carrying(&network, batch.rows);
        for piece in &pieces {
            piece.forward(&mut runner, &network);
        }
        let end = saved(&mut runner);
        // Before anything was gone back through, and after all of it was.
        for _ in 0..2 {
            for _ in &pieces[2..] {
                runner.undo().expect("there is a tape");
            }
            assert!(saved(&mut runner) == middle);
            assert!(back(&mut runner, &network, &pieces[..2]) == expected);
            assert!(runner.controllers().iter().all(|x| *x == 0.0), "as new");
            runner.replay();
            assert!(saved(&mut runner) == end);
            back(&mut runner, &network, &pieces);
            runner.replay();
        }
    }
}

#[test]
fn what_was_undone_is_forgotten_by_a_call_from_there() {
    for model in models() {
        let network = network(model, 3, 8, 2, 63);
        let batch = with_starts(&network, &[25, 11, 14, 25, 0, 22], 64);
        let pieces = pieces(&batch);
        // Rows that do not move are not to come back to where they were either.
        let other = Batch::new(&network, &[7, 0, 3, 0, 2, 0], 65);
        // The last of them is undone, or leaves gradients that nobody takes.
        for parity in [0, 1] {
            let [mut runner, mut fresh] = [(); 2].map(|()| carrying(&network, batch.rows));
            for piece in &pieces {
                piece.forward(&mut runner, &network);
            }
            for (number, piece) in pieces.iter().enumerate().skip(3).rev() {
                if number % 2 == parity {
                    runner.replay();
                    while runner.calls() > number {
                        runner.undo().expect("there is a tape");
                    }
                } else {
                    let mut gradients = network.zeros();
                    runner.backward(&network, &piece.loss_weights, &mut gradients, None).expect("there is a tape");
                }
            }
            for piece in &pieces[..3] {
                piece.forward(&mut fresh, &network);
            }
            let both = [&mut runner, &mut fresh];
            let all = both.map(|runner| {
                let outputs = other.forward(runner, &network);
                let end = saved(runner);
                let borders = [0..1, 1..12, 12..12];
                let calls: Vec<_> =
                    borders.map(|steps| piece(&batch, steps)).into_iter().chain([piece(&other, 0..7)]).collect();
                let found = (outputs, back(runner, &network, &calls), saved(runner));
                runner.replay();
                assert!(saved(runner) == end);
                found
            });
            assert!(all[0] == all[1]);
        }
    }
}

#[test]
fn what_was_undone_may_have_held_what_is_no_number() {
    for model in models() {
        let network = network(model, 3, 8, 2, 70);
        let batch = with_starts(&network, &[12, 4, 7, 12, 0], 71);
        let mut broken = Batch::new(&network, &[3, 3, 0, 3, 3], 72);
        let [mut runner, mut fresh] = [(); 2].map(|()| carrying(&network, batch.rows));
        let outputs = batch.forward(&mut runner, &network);
        assert!(batch.forward(&mut fresh, &network) == outputs);
        broken.inputs[1] = f64::NAN;
        broken.forward(&mut runner, &network);
        runner.undo().expect("there is a tape");
        let calls = [piece(&batch, 0..batch.steps)];
        let expected = back(&mut fresh, &network, &calls);
        assert!(expected.0.iter().all(|x| x.is_finite()));
        assert!(back(&mut runner, &network, &calls) == expected);
    }
}

#[test]
fn the_tape_ends_where_it_is_cut() {
    for model in models() {
        let network = network(model, 3, 8, 2, 66);
        let batch = Batch::new(&network, &[12, 4, 7, 12, 0], 67);
        type Cut<'a> = &'a dyn Fn(&mut Runner<f64>);
        let cuts: [Cut<'_>; 4] = [
            &Runner::detach,
            &|runner| {
                let saved = runner.save_row(3);
                runner.load_row(3, saved).expect("it was saved");
            },
            &|runner| {
                let held = runner.controllers();
                runner.set_controllers(&held).expect("it fits");
            },
            &|runner| {
                Batch::new(&network, &[0; 5], 0).infer(runner, &network);
            },
        ];
        let mut expected = Runner::new(&network, 5).expect("it fits");
        batch.forward(&mut expected, &network);
        let start = saved(&mut expected);
        batch.forward(&mut expected, &network);
        let (gradients, inputs) = batch.backward(&mut expected, &network);
        for cut in cuts {
            let mut runner = carrying(&network, 5);
            batch.forward(&mut runner, &network);
            assert_eq!(runner.calls(), 1);
            cut(&mut runner);
            assert_eq!(runner.calls(), 0);
            batch.forward(&mut runner, &network);
            assert_eq!(runner.calls(), 1);
            let (again, inputs_again) = batch.backward(&mut runner, &network);
            assert!(again.values() == gradients.values() && inputs_again == inputs);
            assert!(saved(&mut runner) == start);
            let error = runner.backward(&network, &batch.loss_weights, &mut network.zeros(), None).unwrap_err();
            assert_eq!(error.to_string(), "backward needs a forward before it: there is no tape");
        }
    }
}

#[test]
fn each_call_is_gone_back_through_with_its_own_parameters() {
    let model = models().remove(1);
    let (first, second) = (network(model.clone(), 3, 8, 2, 68), network(model, 3, 8, 2, 69));
    let batch = Batch::new(&first, &[6, 4], 70);
    let mut runner = carrying(&first, 2);
    batch.forward(&mut runner, &first);
    batch.forward(&mut runner, &second);
    let mut gradients = first.zeros();
    let error = runner.backward(&first, &batch.loss_weights, &mut gradients, None).unwrap_err();
    assert_eq!(error.to_string(), "backward needs the parameters that forward ran with; they were changed in between");
    let none = vec![0.0; batch.loss_weights.len()];
    runner.backward(&second, &none, &mut gradients, None).expect("there is a tape");
    runner.backward(&first, &batch.loss_weights, &mut gradients, None).expect("there is a tape");
    let mut alone = Runner::new(&first, 2).expect("it fits");
    batch.forward(&mut alone, &first);
    let (expected, _) = batch.backward(&mut alone, &first);
    assert!(are_close(gradients.values(), expected.values(), 1e-12));
}

#[test]
fn calls_that_are_ended_and_calls_in_the_wrong_order() {
    for model in models() {
        let network = network(model, 3, 8, 2, 71);
        let batch = Batch::new(&network, &[400, 11, 97, 0, 64, 33], 72);
        let mut runner = carrying(&network, batch.rows);
        assert!(matches!(runner.undo(), Err(Error::Order(_))));
        batch.forward(&mut runner, &network);
        batch.forward(&mut runner, &network);
        let (end, pieces) = (saved(&mut runner), [piece(&batch, 0..400), piece(&batch, 0..400)]);
        let expected = back(&mut runner, &network, &pieces);
        runner.replay();

        // A backward pass and an undoing that are ended leave all as it was, to be gone back through again.
        runner.listen(Some(Box::new(|| false)));
        let mut gradients = network.zeros();
        let ended = runner.backward(&network, &batch.loss_weights, &mut gradients, None);
        assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
        assert!(saved(&mut runner) == end && runner.calls() == 2);
        let ended = runner.undo();
        assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
        assert!(saved(&mut runner) == end && runner.calls() == 2);
        runner.listen(None);
        let mut gradients = network.zeros();
        runner.backward(&network, &batch.loss_weights, &mut gradients, None).expect("there is a tape");
        assert!(matches!(runner.undo(), Err(Error::Order(_))), "it would lose gradients");
        runner.replay();
        assert!(back(&mut runner, &network, &pieces) == expected);

        // A forward that is ended leaves no tape.
        runner.replay();
        runner.listen(Some(Box::new(|| false)));
        let mut outputs = vec![0.0; batch.loss_weights.len()];
        let sequences = Sequences::new(&batch.inputs, &batch.lengths);
        let ended = runner.forward_sequences(&network, sequences, &mut outputs);
        assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
        assert_eq!(runner.calls(), 0);
        let error = runner.set_controllers(&[0.0]).unwrap_err().to_string();
        assert!(error.starts_with("states has length 1, where "), "{error}");
    }
}
