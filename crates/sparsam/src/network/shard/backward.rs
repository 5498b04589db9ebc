//! A shard's backward pass: from the gradients of the outputs to those of the parameters and inputs, and the memories
//! restored on the way.

use std::ops::Range;

use super::{BLOCK, Call, PackedWeights, Place, Scratch, Shard, Sizes};
use crate::Real;
use crate::controller::{Rows, StepBack};
use crate::kernels::bytes::prefetch;
use crate::kernels::matrix::{View, multiply};
use crate::kernels::vector::{add, drop_negligible};
use crate::network::Parameters;
use crate::network::layers::Linear;
use crate::network::time_major::StepView;

impl<T: Real> Shard<T> {
    /// Starts the backward pass over the latest call that is in force, of which there must be one. With `carried`, the
    /// gradients of the state at its end are those that the pass over the call after it left; else they are zero.
    pub(super) fn prepare_back(&mut self, weights: &PackedWeights<T>, parameters: &Parameters<T>, carried: bool) {
        self.take_up_latest();
        if self.call.overwritten {
            self.restore_tape(weights, parameters);
        }
        if !carried {
            self.forget_carried();
        }
        self.scratch.interface.resize(self.sizes.interface, T::ZERO);
        self.call.overwritten = true;
        self.at_end = false;
    }

    /// Starts undoing the latest call that is in force, of which there must be one.
    pub(super) fn prepare_undo(&mut self) {
        self.take_up_latest();
        self.forget_carried();
        let Scratch { interface, zeros, .. } = &mut self.scratch;
        interface.resize(self.sizes.interface, T::ZERO);
        zeros.resize(self.sizes.interface.max(self.sizes.read), T::ZERO);
        self.at_end = false;
    }

    /// Undoes what the memories did in these steps, which precede those undone already. No gradient comes from any of them.
    pub(super) fn undo(&mut self, steps: Range<usize>) {
        let at_start = steps.start == 0;
        let Sizes { interface, read, .. } = self.sizes;
        let Scratch { interface: gradient, zeros, .. } = &mut self.scratch;
        for t in (steps.start..steps.end.min(self.call.steps)).rev() {
            for (memory, length) in self.memories.iter_mut().zip(&self.call.lengths) {
                if t < *length {
                    // Where no gradient comes from, the interface does not matter.
                    memory.step_back(&zeros[..interface], &zeros[..read], gradient);
                }
            }
        }
        if at_start {
            // 0 · NaN is NaN: without this, a NaN in the undone call would reach the gradients of the calls before it.
            for memory in &mut self.memories {
                memory.forget_gradients();
            }
        }
    }

    /// No gradient comes from later steps.
    fn forget_carried(&mut self) {
        let Scratch { carried_state, carried_cell, .. } = &mut self.scratch;
        for carried in [carried_state, carried_cell] {
            carried.step_mut(0).all().fill(T::ZERO);
        }
    }

    /// The backward pass over these steps, which precede those before; it undoes what the memories did in them.
    pub(super) fn advance_back(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        output_gradients: &[T],
        place: Place,
        gradients: &mut Parameters<T>,
        steps: Range<usize>,
    ) {
        let layers = self.sizes.layers.split(parameters.values());
        let mut gradients = self.sizes.layers.split_mut(gradients.values_mut());
        for t in (steps.start..steps.end.min(self.call.steps)).rev() {
            if t + 1 == self.call.steps || (t + 1) % BLOCK == 0 {
                let block = t / BLOCK * BLOCK..t + 1;
                self.outputs_back(layers.output, output_gradients, place, block, &mut gradients.output);
            }
            if let Some(before) = t.checked_sub(1) {
                // The processor itself asks for what lies behind what it was given, and these lie before.
                let Call { interfaces, tape, cells, .. } = &self.call;
                for array in [interfaces, tape, cells] {
                    prefetch(array.step(before).all());
                }
            }
            let mut state_gradients = self.scratch.state_gradients.step_mut(t % BLOCK);
            add(state_gradients.all(), self.scratch.carried_state.step(0).all());
            // Gradients vanish over a long sequence, but do not become 0 by themselves.
            drop_negligible(state_gradients.all());
            self.step_memories_back(weights, t);
            self.exchange_starts(0, t..t + 1);
            self.step_controllers_back(weights, t, gradients.controller);
            self.exchange_starts(0, t..t + 1);
        }
    }

    /// Ends the backward pass: adds to `gradients` those of the weights, which are products over time × rows.
    pub(super) fn finish_back(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &Parameters<T>,
        gradients: &mut Parameters<T>,
        with_inputs: bool,
    ) {
        let layers = self.sizes.layers.split(parameters.values());
        let mut gradients = self.sizes.layers.split_mut(gradients.values_mut());
        self.exchange_starts(0, 0..self.call.steps);
        let with_inputs = with_inputs || self.sizes.step.tokens() > 0;
        self.controllers_back(weights, layers.controller, gradients.controller, with_inputs);
        self.exchange_starts(0, 0..self.call.steps);
        self.embeddings_back(gradients.embedding);
        self.interfaces_back(&mut gradients.interface);
    }

    /// The backward pass of the output layer over a block of steps: adds the gradients of its weights, and writes those of
    /// \[h ; r\] at each of these steps.
    fn outputs_back(
        &mut self,
        layer: Linear<&[T]>,
        output_gradients: &[T],
        place: Place,
        block: Range<usize>,
        gradients: &mut Linear<&mut [T]>,
    ) {
        let Sizes { output, output_layer, state, .. } = self.sizes;
        let (first, count) = (block.start, block.len());
        let Scratch { output_gradients: own, seen, state_gradients, .. } = &mut self.scratch;
        state_gradients.fit(BLOCK);
        // Without a layer the outputs are \[h ; r\].
        let gathered = if output_layer { &mut *own } else { &mut *state_gradients };
        gathered.fit(BLOCK);
        for step in block {
            let of_batch = StepView::new(&output_gradients[place.range(step, self.rows, output)], output);
            let mut gathered = gathered.step_mut(step - first);
            for row in 0..self.rows {
                if step < self.call.lengths[row] {
                    gathered.row(row).copy_from_slice(of_batch.row(row));
                } else {
                    gathered.row(row).fill(T::ZERO);
                }
            }
        }
        let drops = !self.call.dropout_seeds.is_empty();
        if !output_layer {
            if drops {
                self.call.drop_out(self.sizes, first, state_gradients, count);
            }
            return;
        }
        let rows = count * self.rows;
        let of_outputs = View::new(own.steps(0..count), rows, output, output);
        let mut states = self.call.states.steps(first + 1..first + count + 1);
        if drops {
            seen.fit(BLOCK);
            seen.steps_mut(0..count).copy_from_slice(states);
            self.call.drop_out(self.sizes, first, seen, count);
            states = seen.steps(0..count);
        }
        let states = View::new(states, rows, state, state);
        multiply(of_outputs.transposed(), states, gradients.weight, state);
        for vector in own.steps(0..count).chunks_exact(output) {
            add(gradients.bias, vector);
        }
        let of_states = state_gradients.steps_mut(0..count);
        of_states.fill(T::ZERO);
        multiply(of_outputs, View::new(layer.weight, output, state, state), of_states, state);
        if drops {
            self.call.drop_out(self.sizes, first, state_gradients, count);
        }
    }

    /// The backward pass of the memories' step t: from the gradients of what was read to those of the interface, which take
    /// its place, and on to those of h.
    fn step_memories_back(&mut self, weights: &PackedWeights<T>, t: usize) {
        let Sizes { hidden, interface, state, .. } = self.sizes;
        if interface == 0 {
            return;
        }
        let mut state_gradients = self.scratch.state_gradients.step_mut(t % BLOCK);
        let mut interfaces = self.call.interfaces.step_mut(t);
        for (row, memory) in self.memories.iter_mut().enumerate() {
            let vector = interfaces.row(row);
            if t < self.call.lengths[row] {
                memory.step_back(vector, &state_gradients.row(row)[hidden..], &mut self.scratch.interface);
                vector.copy_from_slice(&self.scratch.interface);
                drop_negligible(vector);
            } else {
                vector.fill(T::ZERO);
            }
        }
        weights.interface_back.multiply_add(self.rows, interfaces.all(), interface, state_gradients.all(), state);
    }

    /// The backward pass of the controllers' step t: from the gradients of h and c to those of the tape, which take its
    /// place, and to what the step before gets.
    fn step_controllers_back(&mut self, weights: &PackedWeights<T>, t: usize, gradients: &mut [T]) {
        let hidden = self.sizes.hidden;
        let starts = self.starts_at(t..t + 1);
        let state_gradients = self.scratch.state_gradients.step(t % BLOCK);
        let mut carried_state = self.scratch.carried_state.step_mut(0);
        let mut carried_cell = self.scratch.carried_cell.step_mut(0);
        carried_state.all().fill(T::ZERO);
        let mut tape = self.call.tape.step_mut(t);
        for row in 0..self.rows {
            if t < self.call.lengths[row] {
                let step = StepBack {
                    hidden_before: &self.call.states.step(t).row(row)[..hidden],
                    cell_before: self.call.cells.step(t).row(row),
                    cell: self.call.cells.step(t + 1).row(row),
                    hidden_gradient: &state_gradients.row(row)[..hidden],
                    cell_gradient: carried_cell.row(row),
                    before_gradient: &mut carried_state.row(row)[..hidden],
                };
                weights.controller.step_back(tape.row(row), step, gradients);
            } else {
                tape.row(row).fill(T::ZERO);
                // Past its end a sequence stands still, and so does the gradient of its state.
                carried_state.row(row).copy_from_slice(state_gradients.row(row));
            }
        }
        weights.controller.recur_back(self.rows, tape.all(), carried_state.all());
        for start in &self.call.starts[starts] {
            carried_state.row(start.row).fill(T::ZERO);
            carried_cell.row(start.row).fill(T::ZERO);
        }
    }

    /// Adds the gradients of the controllers' parameters over all steps, and writes those of the inputs, if wanted.
    fn controllers_back(
        &mut self,
        weights: &PackedWeights<T>,
        parameters: &[T],
        gradients: &mut [T],
        with_inputs: bool,
    ) {
        let steps = self.call.steps;
        let input_gradients = with_inputs.then(|| {
            self.input_gradients.fit(steps);
            let input_gradients = self.input_gradients.steps_mut(0..steps);
            input_gradients.fill(T::ZERO);
            input_gradients
        });
        if steps > 0 {
            let rows = Rows {
                count: steps * self.rows,
                inputs: self.call.inputs.steps(0..steps),
                before: self.call.states.steps(0..steps),
                tape: self.call.tape.steps(0..steps),
            };
            weights.controller.finish_back(parameters, &rows, gradients, input_gradients);
        }
    }

    /// Adds the gradient of each input to those of its tokens' embeddings, step after step and row after row.
    fn embeddings_back(&mut self, gradients: &mut [T]) {
        let step = self.sizes.step;
        if step.tokens() == 0 || self.call.steps == 0 {
            return;
        }
        let of_inputs = self.input_gradients.steps(0..self.call.steps).chunks_exact(self.sizes.input);
        for (tokens, gradient) in self.call.tokens.chunks_exact(step.tokens()).zip(of_inputs) {
            step.embed_back(gradient, tokens, gradients);
        }
    }

    /// Adds the gradients of the interface layer over all steps.
    fn interfaces_back(&mut self, gradients: &mut Linear<&mut [T]>) {
        let Sizes { hidden, interface, state, .. } = self.sizes;
        if interface == 0 {
            return;
        }
        let (steps, count) = (self.call.steps, self.call.steps * self.rows);
        let of_interfaces = self.call.interfaces.steps(0..steps);
        let hidden_now = View::new(self.call.states.steps(1..steps + 1), count, hidden, state);
        multiply(
            View::new(of_interfaces, count, interface, interface).transposed(),
            hidden_now,
            gradients.weight,
            hidden,
        );
        for vector in of_interfaces.chunks_exact(interface) {
            add(gradients.bias, vector);
        }
    }
}
