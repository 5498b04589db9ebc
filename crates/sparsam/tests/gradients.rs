//! Gradients of every parameter and input against finite differences in double precision.

mod common;

use common::check_gradients;
use sparsam::Model;
use sparsam::memory::sam;

fn sam(memory_size: usize, word_size: usize, heads: usize, reads: usize) -> Model {
    Model::Sam(sam::Config { memory_size, word_size, heads, reads, ..Default::default() })
}

#[test]
fn lstm() {
    check_gradients(Model::Lstm, [3, 5, 2], &[], &[7, 4, 0], 1);
    check_gradients(Model::Lstm, [1, 17, 3], &[3, 2], &[1, 5], 2);
}

#[test]
fn sam_over_shapes_and_seeds() {
    for seed in 0..12 {
        check_gradients(sam(40, 5, 2, 3), [3, 6, 2], &[], &[8, 5, 8], seed);
        check_gradients(sam(1000, 17, 3, 2), [2, 4, 3], &[], &[6], seed + 100);
    }
    // More rows than a shard holds.
    check_gradients(sam(30, 4, 2, 2), [2, 4, 2], &[], &[4, 1, 3, 0, 5, 2], 7);
}

#[test]
fn sam_in_episodes_longer_than_its_memory() {
    for seed in 0..8 {
        check_gradients(sam(5, 4, 2, 2), [2, 5, 2], &[], &[14, 9], seed);
        check_gradients(sam(3, 3, 3, 2), [2, 4, 1], &[], &[9], seed + 50);
    }
}

#[test]
fn sam_that_reads_every_word() {
    for seed in 0..6 {
        check_gradients(sam(4, 3, 2, 4), [2, 4, 2], &[], &[9, 3], seed);
        check_gradients(sam(3, 3, 2, 9), [2, 4, 2], &[], &[7], seed + 50);
        check_gradients(sam(1, 3, 1, 1), [2, 3, 1], &[], &[5], seed + 70);
    }
}

#[test]
fn sam_with_a_carried_state() {
    for seed in 0..8 {
        check_gradients(sam(30, 4, 2, 3), [2, 5, 2], &[6, 3], &[6, 7], seed);
        check_gradients(sam(6, 4, 2, 3), [2, 5, 2], &[9], &[8], seed + 50);
    }
}

#[test]
fn sam_through_several_blocks_of_steps() {
    check_gradients(sam(200, 4, 1, 2), [2, 3, 1], &[], &[70, 33], 5);
}
