//! The neural Turing machine.

use sparsam::Model;
use sparsam::memory::ntm;

use crate::common::check_gradients;
use crate::common::reference::{Reference, compare, cosine, oneplus, sigmoid, softmax};

fn ntm(memory_size: usize, word_size: usize, heads: usize) -> Model {
    Model::Ntm(ntm::Config { memory_size, word_size, heads })
}

struct Equations {
    config: ntm::Config,
    memory: Vec<Vec<f64>>,
    /// Per head, of its reads and of its writes.
    weights: Vec<[Vec<f64>; 2]>,
}

/// One addressing: its fields, the memory, and the weights of the step before.
fn address(fields: &[f64], memory: &[Vec<f64>], before: &[f64]) -> Vec<f64> {
    let (n, w) = (memory.len(), fields.len() - 6);
    let (strength, gate) = (fields[w].exp().ln_1p(), sigmoid(fields[w + 1]));
    let (shift, sharpening) = (softmax(&fields[w + 2..w + 5]), oneplus(fields[w + 5]));
    let logits: Vec<f64> = memory.iter().map(|word| strength * cosine(&fields[..w], word)).collect();
    let content = softmax(&logits);
    let interpolated: Vec<f64> = (0..n).map(|i| gate * content[i] + (1.0 - gate) * before[i]).collect();
    // A circular convolution with the distribution over shifts by -1, 0 and +1.
    let mut shifted = vec![0.0; n];
    for (i, weight) in interpolated.iter().enumerate() {
        for (d, share) in [(n - 1, shift[0]), (0, shift[1]), (1, shift[2])] {
            shifted[(i + d) % n] += share * weight;
        }
    }
    let powers: Vec<f64> = shifted.iter().map(|weight| (weight + 1e-16).powf(sharpening)).collect();
    let sum: f64 = powers.iter().sum();
    let weights: Vec<f64> = powers.iter().map(|power| power / sum).collect();
    assert!(weights.iter().all(|weight| *weight >= 0.0) && weights.iter().sum::<f64>() < 1.0 + 1e-12);
    weights
}

impl Reference for Equations {
    fn step(&mut self, interface: &[f64]) -> Vec<f64> {
        let ntm::Config { memory_size, word_size: w, .. } = self.config;
        let fields: Vec<&[f64]> = interface.chunks(4 * w + 12).collect();
        for (fields, weights) in fields.iter().zip(&mut self.weights) {
            weights[1] = address(&fields[w + 6..2 * w + 12], &self.memory, &weights[1]);
        }
        for i in 0..memory_size {
            for j in 0..w {
                let (mut kept, mut added) = (1.0, 0.0);
                for (fields, weights) in fields.iter().zip(&self.weights) {
                    kept *= 1.0 - weights[1][i] * sigmoid(fields[2 * w + 12 + j]);
                    added += weights[1][i] * fields[3 * w + 12 + j];
                }
                self.memory[i][j] = self.memory[i][j] * kept + added;
            }
        }
        let mut result = Vec::new();
        for (fields, weights) in fields.iter().zip(&mut self.weights) {
            weights[0] = address(&fields[..w + 6], &self.memory, &weights[0]);
            result.extend((0..w).map(|j| (0..memory_size).map(|i| weights[0][i] * self.memory[i][j]).sum::<f64>()));
        }
        result
    }
}

fn compare_ntm(model: Model, sizes: [usize; 3], lengths: &[usize], seed: u64) {
    let Model::Ntm(config) = &model else { unreachable!("only the NTM comes here") };
    let mut start = vec![0.0; config.memory_size];
    start[0] = 1.0;
    let reference = || -> Option<Box<dyn Reference>> {
        Some(Box::new(Equations {
            config: config.clone(),
            memory: vec![vec![1e-6; config.word_size]; config.memory_size],
            weights: vec![[start.clone(), start.clone()]; config.heads],
        }))
    };
    compare(model.clone(), reference, sizes, lengths, seed);
}

#[test]
fn agrees_with_its_equations() {
    for seed in 0..10 {
        compare_ntm(ntm(60, 6, 3), [3, 8, 2], &[30, 20, 7], seed);
        compare_ntm(ntm(5, 5, 2), [2, 6, 2], &[50], seed + 100);
        compare_ntm(ntm(4, 5, 4), [2, 6, 2], &[40, 2], seed + 200);
        compare_ntm(ntm(1, 2, 1), [2, 3, 1], &[9], seed + 300);
        compare_ntm(ntm(2, 2, 3), [2, 3, 1], &[9], seed + 350);
        compare_ntm(ntm(300, 33, 5), [2, 12, 2], &[35], seed + 400);
        compare_ntm(ntm(64, 16, 4), [2, 6, 2], &[20], seed + 500);
        compare_ntm(ntm(65, 3, 1), [2, 6, 2], &[20], seed + 600);
    }
}

#[test]
fn gradients_over_shapes_and_seeds() {
    for seed in 0..8 {
        check_gradients(ntm(33, 5, 2), [3, 6, 2], &[], &[8, 5, 8], seed);
        check_gradients(ntm(5, 4, 2), [2, 5, 2], &[], &[14, 9], seed + 50);
        check_gradients(ntm(80, 17, 4), [2, 4, 3], &[], &[5], seed + 100);
        check_gradients(ntm(1, 3, 1), [2, 3, 1], &[], &[5], seed + 150);
        check_gradients(ntm(2, 3, 1), [2, 3, 1], &[], &[5], seed + 150);
    }
    // Heads that do not come in fours, words at the border of a strip, more rows than a shard holds, more steps than a
    // block.
    check_gradients(ntm(20, 3, 6), [2, 3, 2], &[], &[4, 2], 3);
    check_gradients(ntm(64, 3, 5), [2, 3, 2], &[], &[4], 4);
    check_gradients(ntm(65, 3, 1), [2, 3, 2], &[], &[4], 5);
    check_gradients(ntm(30, 4, 2), [2, 4, 2], &[], &[4, 1, 3, 0, 5, 2], 7);
    check_gradients(ntm(20, 4, 1), [2, 3, 1], &[], &[70, 33], 5);
}

#[test]
fn gradients_with_a_carried_state() {
    for seed in 0..6 {
        check_gradients(ntm(33, 4, 2), [2, 5, 2], &[6, 3], &[6, 7], seed);
        check_gradients(ntm(6, 4, 2), [2, 5, 2], &[9], &[8], seed + 50);
    }
}
