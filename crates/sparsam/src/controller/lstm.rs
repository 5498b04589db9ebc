//! The elementwise part of an LSTM (Hochreiter and Schmidhuber 1997, with forget gates), forward and backward.
//!
//! Gates stand in PyTorch's order: input i, forget f, candidate g, output o.

use crate::kernels::simd::vector_fn;

vector_fn! {
    /// One step of one sequence: c = f c' + i g, h = o tanh(c). `gates` holds the 4H sums of the gates and is left with
    /// their activations, which [`cell_back`] takes; `previous_cell`, `cell` and `hidden` hold H numbers.
    pub fn cell<T, I>(gates: &mut [T], previous_cell: &[T], cell: &mut [T], hidden: &mut [T]) {
        let size = hidden.len();
        let (input_forget, candidate_output) = gates[..4 * size].split_at_mut(2 * size);
        let (candidate, output) = candidate_output.split_at_mut(size);
        for x in input_forget.iter_mut() {
            *x = x.sigmoid();
        }
        for x in candidate.iter_mut() {
            *x = x.tanh();
        }
        for x in output.iter_mut() {
            *x = x.sigmoid();
        }
        let (input, forget) = input_forget.split_at(size);
        let (previous_cell, cell) = (&previous_cell[..size], &mut cell[..size]);
        for j in 0..size {
            cell[j] = forget[j] * previous_cell[j] + input[j] * candidate[j];
        }
        for j in 0..size {
            hidden[j] = output[j] * cell[j].tanh();
        }
    }
}

vector_fn! {
    /// The gradient of [`cell`]. Takes the activations in `gates` and leaves there the gradient of the sums; takes in
    /// `cell_gradient` what came from the step after and leaves there what goes to the step before.
    pub fn cell_back<T, I>(
        gates: &mut [T],
        previous_cell: &[T],
        cell: &[T],
        hidden_gradient: &[T],
        cell_gradient: &mut [T],
    ) {
        let size = cell.len();
        let (input, rest) = gates[..4 * size].split_at_mut(size);
        let (forget, rest) = rest.split_at_mut(size);
        let (candidate, output) = rest.split_at_mut(size);
        let (previous_cell, hidden_gradient) = (&previous_cell[..size], &hidden_gradient[..size]);
        let cell_gradient = &mut cell_gradient[..size];
        for j in 0..size {
            let (o, squashed, dh) = (output[j], cell[j].tanh(), hidden_gradient[j]);
            output[j] = dh * squashed * o * (T::ONE - o);
            cell_gradient[j] += dh * o * (T::ONE - squashed * squashed);
        }
        for j in 0..size {
            let (i, f, g, dc) = (input[j], forget[j], candidate[j], cell_gradient[j]);
            input[j] = dc * g * i * (T::ONE - i);
            forget[j] = dc * previous_cell[j] * f * (T::ONE - f);
            candidate[j] = dc * i * (T::ONE - g * g);
            cell_gradient[j] = dc * f;
        }
    }
}
