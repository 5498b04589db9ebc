//! Dense Access Memory.

use sparsam::Model;
use sparsam::memory::{Memory, dam};

use crate::common::reference::{Reference, compare, cosine, oneplus, sigmoid, softmax};
use crate::common::{Numbers, check_gradients};

fn dam(memory_size: usize, word_size: usize, heads: usize) -> Model {
    Model::Dam(dam::Config { memory_size, word_size, heads, ..Default::default() })
}

struct Equations {
    config: dam::Config,
    memory: Vec<Vec<f64>>,
    usage: Vec<f64>,
    /// Per head, its read weights.
    read: Vec<Vec<f64>>,
}

impl Reference for Equations {
    fn step(&mut self, interface: &[f64]) -> Vec<f64> {
        let dam::Config { memory_size, word_size: w, heads, usage_discount } = self.config;
        let fields: Vec<&[f64]> = interface.chunks(2 * w + 3).collect();
        let mut by_usage: Vec<usize> = (0..memory_size).collect();
        // A stable sort keeps the lower word number first among equals.
        by_usage.sort_by(|a, b| self.usage[*a].total_cmp(&self.usage[*b]));
        let unused = &by_usage[..heads];
        let mut writes = Vec::new();
        for h in 0..heads {
            let (alpha, gamma) = (sigmoid(fields[h][2 * w + 1]), sigmoid(fields[h][2 * w + 2]));
            let mut weights: Vec<f64> = self.read[h].iter().map(|weight| alpha * gamma * weight).collect();
            weights[unused[h]] += alpha * (1.0 - gamma);
            writes.push(weights);
        }
        for word in unused {
            self.memory[*word].fill(0.0);
        }
        for h in 0..heads {
            for i in 0..memory_size {
                for j in 0..w {
                    self.memory[i][j] += writes[h][i] * fields[h][w + 1 + j];
                }
            }
        }
        let mut result = Vec::new();
        for h in 0..heads {
            let logits: Vec<f64> =
                self.memory.iter().map(|word| oneplus(fields[h][w]) * cosine(&fields[h][..w], word)).collect();
            self.read[h] = softmax(&logits);
            result.extend((0..w).map(|j| (0..memory_size).map(|i| self.read[h][i] * self.memory[i][j]).sum::<f64>()));
        }
        for i in 0..memory_size {
            self.usage[i] *= usage_discount;
            self.usage[i] += (0..heads).map(|h| writes[h][i] + self.read[h][i]).sum::<f64>();
        }
        result
    }
}

fn compare_dam(model: Model, sizes: [usize; 3], lengths: &[usize], seed: u64) {
    let Model::Dam(config) = &model else { unreachable!("only DAM comes here") };
    let reference = || -> Option<Box<dyn Reference>> {
        Some(Box::new(Equations {
            config: config.clone(),
            memory: vec![vec![0.0; config.word_size]; config.memory_size],
            usage: vec![0.0; config.memory_size],
            read: vec![vec![0.0; config.memory_size]; config.heads],
        }))
    };
    compare(model.clone(), reference, sizes, lengths, seed);
}

#[test]
fn agrees_with_its_equations() {
    for seed in 0..10 {
        compare_dam(dam(60, 6, 3), [3, 8, 2], &[30, 20, 7], seed);
        compare_dam(dam(5, 5, 2), [2, 6, 2], &[50], seed + 100);
        compare_dam(dam(4, 5, 4), [2, 6, 2], &[40, 2], seed + 200);
        compare_dam(dam(1, 2, 1), [2, 3, 1], &[9], seed + 300);
        compare_dam(dam(300, 33, 5), [2, 12, 2], &[66], seed + 400);
        compare_dam(dam(64, 16, 4), [2, 6, 2], &[20], seed + 500);
    }
}

#[test]
fn gradients_over_shapes_and_seeds() {
    for seed in 0..8 {
        check_gradients(dam(33, 5, 2), [3, 6, 2], &[], &[8, 5, 8], seed);
        check_gradients(dam(5, 4, 2), [2, 5, 2], &[], &[14, 9], seed + 50);
        check_gradients(dam(80, 17, 4), [2, 4, 3], &[], &[5], seed + 100);
        check_gradients(dam(1, 3, 1), [2, 3, 1], &[], &[5], seed + 150);
    }
    // Heads that do not come in fours, more rows than a shard holds, more steps than a block.
    check_gradients(dam(20, 3, 6), [2, 3, 2], &[], &[4, 2], 3);
    check_gradients(dam(30, 4, 2), [2, 4, 2], &[], &[4, 1, 3, 0, 5, 2], 7);
    check_gradients(dam(20, 4, 1), [2, 3, 1], &[], &[70, 33], 5);
}

#[test]
fn gradients_with_a_carried_state() {
    for seed in 0..6 {
        check_gradients(dam(33, 4, 2), [2, 5, 2], &[6, 3], &[6, 7], seed);
        check_gradients(dam(6, 4, 2), [2, 5, 2], &[9], &[8], seed + 50);
    }
}

#[test]
fn reads_stay_within_what_was_written() {
    // Read weights are a distribution and write weights sum to at most one a step and head, so with write words
    // within ±1 every number of a word stays within the number of writes, and what is read within the words.
    for (memory_size, heads) in [(5, 1), (33, 4), (100, 3)] {
        let config = dam::Config { memory_size, word_size: 7, heads, ..Default::default() };
        let mut memory = dam::Dam::<f32>::new(&config).expect("it fits");
        let mut numbers = Numbers::new(memory_size as u64);
        let mut read = vec![0.0; memory.read_len()];
        for step in 1..200 {
            let interface: Vec<f32> = (0..memory.interface_len()).map(|_| numbers.next() as f32).collect();
            memory.step(&interface, &mut read, step % 3 > 0);
            assert!(read.iter().all(|x| x.abs() <= (step * heads) as f32));
        }
    }
}
