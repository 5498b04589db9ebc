//! The plain LSTM.

use sparsam::Model;

use crate::common::check_gradients;
use crate::common::reference::compare;

#[test]
fn agrees_with_its_equations() {
    compare(Model::Lstm, || None, [3, 9, 2], &[7, 12, 0, 1, 40], 1);
    compare(Model::Lstm, || None, [3, 9, 0], &[7, 12, 0, 1, 40], 1);
}

#[test]
fn gradients_over_shapes_and_seeds() {
    check_gradients(Model::Lstm, [3, 5, 2], &[], &[7, 4, 0], 1);
    check_gradients(Model::Lstm, [1, 17, 3], &[3, 2], &[1, 5], 2);
}
