//! A shard's steps forward: controllers, memories, outputs.

use std::ops::Range;

use super::passes::Traced;
use super::{BLOCK, PackedWeights, Place, Shard, Sizes, Start};
use crate::controller::Step;
use crate::kernels::matrix::{View, multiply};
use crate::network::embedding::NO_TOKEN;
use crate::network::layers::Linear;
use crate::network::time_major::TimeMajor;
use crate::network::{Parameters, Sequences};
use crate::{Arrays, Error, Real};

impl<T: Real> Shard<T> {
    /// Starts a run from the state as it stands, onto the tape: what the controllers make of all inputs alone. With `behind`
    /// the tape keeps the calls that are in force, of which there is one at least.
    pub(super) fn prepare(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        sequences: Sequences<'_, T>,
        place: Place,
        behind: bool,
    ) {
        if behind {
            self.start_call();
        } else {
            self.start_episode();
        }
        let steps = self.start_pass(sequences, place);
        self.call.dropout = sequences.dropout;
        if self.call.dropout.is_on() {
            self.call.dropout_seeds.extend_from_slice(&sequences.dropout_seeds[place.first_row..][..self.rows]);
        }
        self.take_inputs(weights, parameters, sequences.inputs, place, 0, steps);
        self.call.steps = 0;
    }

    /// Runs over these steps of a run that was [prepared](Self::prepare), which follow those before.
    pub(super) fn advance(&mut self, weights: &PackedWeights<T>, parameters: &Parameters<T>, steps: Range<usize>) {
        let end = steps.end.min(self.longest());
        self.step_all(weights, parameters, 0, steps.start.min(end)..end, true);
        self.call.steps = end;
    }

    /// Keeps the outputs of the steps that were run over.
    pub(super) fn finish(&mut self, parameters: &Parameters<T>) {
        self.put_out(self.sizes.layers.split(parameters.values()).output, 0, self.call.steps);
    }

    /// Runs over all steps without a tape, in memory that does not grow with their number (the outputs aside).
    pub(super) fn infer(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        sequences: Sequences<'_, T>,
        place: Place,
    ) {
        self.start_episode();
        let steps = self.start_pass(sequences, place);
        for first in (0..steps).step_by(BLOCK) {
            let count = BLOCK.min(steps - first);
            self.run(weights, parameters, sequences.inputs, place, first, count, false);
            self.call.steps = count;
            self.start_episode();
        }
    }

    /// Runs one step without a tape, of sequences of these lengths, and hands over what each row's memory did.
    pub(super) fn trace(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        sequences: Sequences<'_, T>,
        place: Place,
        step: usize,
        traced: &mut Traced<'_, T>,
    ) -> Result<(), Error> {
        if step == 0 {
            self.start_episode();
            self.start_pass(sequences, place);
        }
        if step >= self.longest() {
            return Ok(());
        }
        self.run(weights, parameters, sequences.inputs, place, step, 1, true);
        self.call.steps = 1;
        for (row, memory) in self.memories.iter().enumerate() {
            if step < self.call.lengths[row] {
                let mut arrays = Arrays::default();
                memory.trace(self.call.interfaces.step(0).row(row), &mut arrays);
                traced(row, arrays)?;
            }
        }
        self.start_episode();
        Ok(())
    }

    /// Starts a pass of as many steps as the longest of the shard's rows has, which it gives.
    fn start_pass(&mut self, sequences: Sequences<'_, T>, place: Place) -> usize {
        self.call.lengths.copy_from_slice(&sequences.lengths[place.first_row..place.first_row + self.rows]);
        let steps = self.longest();
        self.call.starts.clear();
        self.call.dropout_seeds.clear();
        if let Some(starts) = sequences.starts {
            for step in 0..steps {
                let of_rows = starts[place.range(step, self.rows, 1)].iter().zip(&self.call.lengths).enumerate();
                let starting = of_rows.filter(|(_, (start, length))| **start && step < **length);
                self.call.starts.extend(starting.map(|(row, _)| Start { step, row }));
            }
        }
        self.outputs.fit(steps);
        steps
    }

    /// Steps of the longest of its rows' sequences.
    fn longest(&self) -> usize {
        self.call.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Runs steps `first..first + count` of the sequences; arrays other than the outputs hold just these.
    fn run(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        inputs: &[T],
        place: Place,
        first: usize,
        count: usize,
        record: bool,
    ) {
        self.take_inputs(weights, parameters, inputs, place, first, count);
        self.step_all(weights, parameters, first, 0..count, record);
        self.put_out(self.sizes.layers.split(parameters.values()).output, first, count);
    }

    /// Makes room for steps `first..first + count` of the sequences, and lets the controllers begin with their inputs.
    fn take_inputs(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        inputs: &[T],
        place: Place,
        first: usize,
        count: usize,
    ) {
        for array in [&mut self.call.inputs, &mut self.call.tape, &mut self.call.interfaces] {
            array.fit(count);
        }
        for array in [&mut self.call.cells, &mut self.call.states] {
            array.fit(count + 1);
        }
        let layers = self.sizes.layers.split(parameters.values());
        self.call.tokens.clear();
        for t in 0..count {
            let tokens = self.sizes.step.tokens();
            if tokens > 0 {
                let of_batch = &inputs[place.range(first + t, self.rows, tokens)];
                self.take_tokens(layers.embedding, of_batch, first, t);
                continue;
            }
            let of_batch = &inputs[place.range(first + t, self.rows, self.sizes.input)];
            self.call.inputs.step_mut(t).all().copy_from_slice(of_batch);
            // What stands past the end of a sequence may be no numbers, and a gradient of 0 times these would be none.
            for row in (0..self.rows).filter(|row| first + t >= self.call.lengths[*row]) {
                self.call.inputs.step_mut(t).row(row).fill(T::ZERO);
            }
        }
        weights.controller.start(
            layers.controller,
            self.call.inputs.steps(0..count),
            self.call.tape.steps_mut(0..count),
        );
    }

    /// Takes the embeddings of the tokens of step t, which is step `first + t` of the sequences; 0 past the end of one. Which
    /// tokens there are was checked.
    fn take_tokens(&mut self, embedding: &[T], tokens: &[T], first: usize, t: usize) {
        let step = self.sizes.step;
        let mut inputs = self.call.inputs.step_mut(t);
        for (row, tokens) in tokens.chunks_exact(step.tokens()).enumerate() {
            let there = first + t < self.call.lengths[row];
            let start = self.call.tokens.len();
            self.call.tokens.extend(tokens.iter().map(|token| match token.to_f64() {
                // Padding is below 0.
                token if there && token >= 0.0 => token as u32,
                _ => NO_TOKEN,
            }));
            step.embed(embedding, &self.call.tokens[start..], inputs.row(row));
        }
    }

    /// Runs over steps whose inputs were taken; step t is step `first + t` of the sequences.
    fn step_all(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        first: usize,
        steps: Range<usize>,
        record: bool,
    ) {
        let bias = self.sizes.layers.split(parameters.values()).interface.bias;
        for t in steps {
            self.exchange_starts(first, t..t + 1);
            self.step_controllers(weights, first, t);
            self.exchange_starts(first, t..t + 1);
            self.step_memories(weights, bias, first, t, record);
        }
    }

    /// Step t of the controllers, which is step `first + t` of their sequences.
    fn step_controllers(&mut self, weights: &PackedWeights<T>, first: usize, t: usize) {
        let hidden = self.sizes.hidden;
        let (states_before, mut states) = self.call.states.step_and_next(t);
        let (cells_before, mut cells) = self.call.cells.step_and_next(t);
        let mut tape = self.call.tape.step_mut(t);
        weights.controller.recur(self.rows, states_before.all(), tape.all());
        for row in 0..self.rows {
            let (before, now) = (states_before.row(row), states.row(row));
            let (cell_before, cell) = (cells_before.row(row), cells.row(row));
            if first + t < self.call.lengths[row] {
                let step = Step { hidden_before: &before[..hidden], cell_before, cell, hidden: &mut now[..hidden] };
                weights.controller.step(tape.row(row), step);
            } else {
                // Past its end a sequence stands still.
                cell.copy_from_slice(cell_before);
                now.copy_from_slice(before);
            }
        }
    }

    /// The interface vectors of step t, from h.
    fn make_interfaces(&mut self, weights: &PackedWeights<T>, bias: &[T], t: usize) {
        let Sizes { interface, state, .. } = self.sizes;
        let (states, mut interfaces) = (self.call.states.step(t + 1), self.call.interfaces.step_mut(t));
        for row in 0..self.rows {
            interfaces.row(row).copy_from_slice(bias);
        }
        weights.interface.multiply_add(self.rows, states.all(), state, interfaces.all(), interface);
    }

    /// Makes the tape of the present call again, as it was before the backward pass left gradients in it. The memories are not
    /// asked: what they read stands in the states.
    pub(super) fn restore_tape(&mut self, weights: &PackedWeights<T>, parameters: &Parameters<T>) {
        let (steps, layers) = (self.call.steps, self.sizes.layers.split(parameters.values()));
        let tape = self.call.tape.steps_mut(0..steps);
        weights.controller.start(layers.controller, self.call.inputs.steps(0..steps), tape);
        for t in 0..steps {
            self.exchange_starts(0, t..t + 1);
            self.step_controllers(weights, 0, t);
            self.exchange_starts(0, t..t + 1);
            if self.sizes.interface > 0 {
                self.make_interfaces(weights, layers.interface.bias, t);
            }
        }
        self.call.overwritten = false;
    }

    /// Step t of the memories, which is step `first + t` of their sequences: the interface from h, and what is read.
    fn step_memories(&mut self, weights: &PackedWeights<T>, bias: &[T], first: usize, t: usize, record: bool) {
        let Sizes { hidden, interface, .. } = self.sizes;
        if interface == 0 {
            return;
        }
        self.make_interfaces(weights, bias, t);
        let starts = self.starts_at(first + t..first + t + 1);
        let (mut states, mut interfaces) = (self.call.states.step_mut(t + 1), self.call.interfaces.step_mut(t));
        for start in &self.call.starts[starts] {
            let memory = &mut self.memories[start.row];
            if record { memory.restart() } else { memory.reset() }
        }
        for (row, memory) in self.memories.iter_mut().enumerate() {
            if first + t < self.call.lengths[row] {
                memory.step(interfaces.row(row), &mut states.row(row)[hidden..], record);
            }
        }
    }

    /// The outputs of steps `first..first + count`, whose states are the latest `count`; 0 past the end of a sequence.
    fn put_out(&mut self, layer: Linear<&[T]>, first: usize, count: usize) {
        let Sizes { output, output_layer, state, .. } = self.sizes;
        // What is left out is left out of a copy, a block at a time.
        let drops = !self.call.dropout_seeds.is_empty();
        let at_once = if drops { BLOCK } else { count.max(1) };
        for start in (0..count).step_by(at_once) {
            let end = (start + at_once).min(count);
            let mut states = self.call.states.steps(start + 1..end + 1);
            if drops {
                let seen = &mut self.scratch.seen;
                seen.fit(BLOCK);
                seen.steps_mut(0..end - start).copy_from_slice(states);
                self.call.drop_out(self.sizes, first + start, seen, end - start);
                states = seen.steps(0..end - start);
            }
            let outputs = self.outputs.steps_mut(first + start..first + end);
            if output_layer {
                for outputs in outputs.chunks_exact_mut(output) {
                    outputs.copy_from_slice(layer.bias);
                }
                let states = View::new(states, (end - start) * self.rows, state, state);
                multiply(states, View::new(layer.weight, output, state, state).transposed(), outputs, output);
            } else {
                outputs.copy_from_slice(states);
            }
        }
        for step in first..first + count {
            for row in (0..self.rows).filter(|row| step >= self.call.lengths[*row]) {
                self.outputs.step_mut(step).row(row).fill(T::ZERO);
            }
        }
    }

    /// Copies the outputs of the latest run to their place in the batch's; those past the shard's longest sequence are 0.
    pub fn write_outputs(&self, place: Place, outputs: &mut [T]) {
        self.write(&self.outputs, self.sizes.output, place, outputs);
    }

    /// Copies the gradients of the inputs to their place in the batch's; 0 for tokens, which have none.
    pub fn write_input_gradients(&self, place: Place, gradients: &mut [T]) {
        if self.sizes.step.tokens() > 0 {
            return gradients.fill(T::ZERO);
        }
        self.write(&self.input_gradients, self.sizes.input, place, gradients);
    }

    fn write(&self, from: &TimeMajor<T>, width: usize, place: Place, to: &mut [T]) {
        let steps = self.longest();
        for t in 0..to.len() / (place.batch * width) {
            let to = &mut to[place.range(t, self.rows, width)];
            if t < steps {
                to.copy_from_slice(from.step(t).all());
            } else {
                to.fill(T::ZERO);
            }
        }
    }
}
