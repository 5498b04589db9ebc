//! Sparse Access Memory.

use sparsam::Model;
use sparsam::memory::sam;

use crate::common::reference::{Reference, compare, cosine, oneplus, sigmoid, softmax, write_gate};
use crate::common::{Kinds, check_gradients};

pub fn sam(memory_size: usize, word_size: usize, heads: usize, reads: usize) -> Model {
    Model::Sam(sam::Config { memory_size, word_size, heads, reads, ..Default::default() })
}

struct DenseSam {
    config: sam::Config,
    memory: Vec<Vec<f64>>,
    /// Words, least recently accessed first.
    order: Vec<usize>,
    /// Per head, what it read last: words and weights.
    read: Vec<Vec<(usize, f64)>>,
}

impl Reference for DenseSam {
    fn step(&mut self, interface: &[f64]) -> Vec<f64> {
        let sam::Config { memory_size, word_size: w, heads, reads, access_threshold, write_threshold, .. } =
            self.config;
        let (fields, masks) = interface.split_at(heads * (2 * w + 3));
        let fields: Vec<&[f64]> = fields.chunks(2 * w + 3).collect();
        let unused: Vec<usize> = self.order[..heads].to_vec();
        let mut writes: Vec<Vec<(usize, f64)>> = Vec::new();
        for h in 0..heads {
            let alpha = write_gate(fields[h][2 * w + 1], write_threshold);
            let gamma = sigmoid(fields[h][2 * w + 2]);
            let mut weights: Vec<(usize, f64)> =
                self.read[h].iter().map(|(word, weight)| (*word, alpha * gamma * weight)).collect();
            weights.push((unused[h], alpha * (1.0 - gamma)));
            writes.push(weights);
        }
        for word in &unused {
            self.memory[*word].fill(0.0);
        }
        for h in 0..heads {
            for (word, weight) in &writes[h] {
                for j in 0..w {
                    self.memory[*word][j] += weight * fields[h][w + 1 + j];
                }
            }
        }
        let mut result = Vec::new();
        for h in 0..heads {
            let mask: Vec<f64> = match self.config.masked_content {
                true => masks[h * w..(h + 1) * w].iter().map(|x| sigmoid(*x)).collect(),
                false => vec![1.0; w],
            };
            let masked = |word: &[f64]| -> Vec<f64> { word.iter().zip(&mask).map(|(x, m)| x * m).collect() };
            let key = masked(&fields[h][..w]);
            // Words are chosen by the products with them, and weighed by the masked cosines.
            let query = masked(&key);
            let mut all: Vec<(usize, f64)> =
                (0..memory_size).map(|word| (word, cosine(&query, &self.memory[word]))).collect();
            // A stable sort keeps the lower word number first among equals.
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            all.truncate(reads);
            let strength = oneplus(fields[h][w]);
            let logits: Vec<f64> =
                all.iter().map(|(word, _)| strength * cosine(&key, &masked(&self.memory[*word]))).collect();
            self.read[h] = all.iter().map(|x| x.0).zip(softmax(&logits)).collect();
            for j in 0..w {
                result.push(self.read[h].iter().map(|(word, weight)| weight * self.memory[*word][j]).sum());
            }
        }
        let occurring: Vec<(usize, f64)> = writes.concat().into_iter().chain(self.read.concat()).collect();
        let mut total = vec![0.0; memory_size];
        for (word, weight) in &occurring {
            total[*word] += weight;
        }
        for (word, _) in &occurring {
            if total[*word] > access_threshold {
                self.order.retain(|other| other != word);
                self.order.push(*word);
            }
        }
        result
    }
}

/// With write gates that are shut below a half.
fn shut(model: Model) -> Model {
    let Model::Sam(config) = model else { unreachable!("only SAM comes here") };
    Model::Sam(sam::Config { write_threshold: 0.5, ..config })
}

fn masked(model: Model) -> Model {
    let Model::Sam(config) = model else { unreachable!("only SAM comes here") };
    Model::Sam(sam::Config { masked_content: true, ..config })
}

/// With writes that cost something, but for those of gates that are shut.
fn costly(model: Model) -> Model {
    let Model::Sam(config) = shut(model) else { unreachable!("only SAM comes here") };
    Model::Sam(sam::Config { write_cost: 0.25, ..config })
}

/// Compares SAM beside any controller with its restatement.
pub fn compare_sam(kinds: impl Into<Kinds>, sizes: [usize; 3], lengths: &[usize], seed: u64) {
    let kinds = kinds.into();
    let Model::Sam(config) = &kinds.memory else { unreachable!("only SAM comes here") };
    let reference = || -> Option<Box<dyn Reference>> {
        Some(Box::new(DenseSam {
            config: config.clone(),
            memory: vec![vec![0.0; config.word_size]; config.memory_size],
            order: (0..config.memory_size).collect(),
            read: vec![Vec::new(); config.heads],
        }))
    };
    compare(kinds.clone(), reference, sizes, lengths, seed);
}

#[test]
fn agrees_with_its_equations() {
    for seed in 0..20 {
        compare_sam(sam(60, 6, 3, 3), [3, 8, 2], &[30, 20, 7], seed);
        compare_sam(sam(7, 5, 2, 3), [2, 6, 2], &[50], seed + 100);
        compare_sam(sam(4, 5, 4, 6), [2, 6, 2], &[40, 2], seed + 200);
        compare_sam(sam(1, 2, 1, 1), [2, 3, 1], &[9], seed + 300);
        compare_sam(sam(300, 33, 4, 4), [2, 12, 2], &[66], seed + 400);
        compare_sam(shut(sam(60, 6, 3, 3)), [3, 8, 2], &[30, 20, 7], seed + 500);
        compare_sam(masked(sam(60, 6, 3, 3)), [3, 8, 2], &[30, 20, 7], seed + 600);
        compare_sam(masked(sam(5, 5, 2, 6)), [2, 6, 2], &[20, 2], seed + 700);
    }
}

#[test]
fn gradients_over_shapes_and_seeds() {
    for seed in 0..12 {
        check_gradients(sam(40, 5, 2, 3), [3, 6, 2], &[], &[8, 5, 8], seed);
        check_gradients(sam(1000, 17, 3, 2), [2, 4, 3], &[], &[6], seed + 100);
        check_gradients(shut(sam(40, 5, 2, 3)), [3, 6, 2], &[], &[8, 5, 8], seed + 200);
        check_gradients(masked(sam(40, 5, 2, 3)), [3, 6, 2], &[], &[8, 5, 8], seed + 300);
        check_gradients(costly(sam(40, 5, 2, 3)), [3, 6, 2], &[6, 3], &[8, 5], seed + 400);
    }
    // More rows than a shard holds.
    check_gradients(sam(30, 4, 2, 2), [2, 4, 2], &[], &[4, 1, 3, 0, 5, 2], 7);
}

#[test]
fn without_an_output_layer() {
    for seed in 0..4 {
        compare_sam(sam(40, 5, 2, 3), [3, 6, 0], &[40, 3, 8, 5, 0], seed);
        check_gradients(sam(40, 5, 2, 3), [3, 6, 0], &[], &[8, 5, 8, 2, 3], seed);
    }
}

#[test]
fn gradients_in_episodes_longer_than_its_memory() {
    for seed in 0..8 {
        check_gradients(sam(5, 4, 2, 2), [2, 5, 2], &[], &[14, 9], seed);
        check_gradients(sam(3, 3, 3, 2), [2, 4, 1], &[], &[9], seed + 50);
    }
}

#[test]
fn gradients_of_heads_that_read_every_word() {
    for seed in 0..6 {
        check_gradients(sam(4, 3, 2, 4), [2, 4, 2], &[], &[9, 3], seed);
        check_gradients(sam(3, 3, 2, 9), [2, 4, 2], &[], &[7], seed + 50);
        check_gradients(sam(1, 3, 1, 1), [2, 3, 1], &[], &[5], seed + 70);
    }
}

#[test]
fn gradients_with_a_carried_state() {
    for seed in 0..8 {
        check_gradients(sam(30, 4, 2, 3), [2, 5, 2], &[6, 3], &[6, 7], seed);
        check_gradients(sam(6, 4, 2, 3), [2, 5, 2], &[9], &[8], seed + 50);
    }
}

#[test]
fn gradients_through_several_blocks_of_steps() {
    check_gradients(sam(200, 4, 1, 2), [2, 3, 1], &[], &[70, 33], 5);
}
