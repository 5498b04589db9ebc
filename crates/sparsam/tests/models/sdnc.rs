//! The sparse DNC.
//!
//! Links and precedence are constants to the gradient, so it is compared with differences of the equations in which
//! they are [`Constants`].

use sparsam::Model;
use sparsam::memory::sdnc;

use crate::common::reference::{Constants, EPSILON, Reference, compare, cosine, oneplus, sigmoid, softmax, write_gate};
use crate::common::{check_gradients, check_gradients_by_equations};

fn sdnc(memory_size: usize, word_size: usize, heads: usize, reads: usize, links: usize) -> sdnc::Config {
    sdnc::Config { memory_size, word_size, heads, reads, links, ..Default::default() }
}

struct Equations {
    config: sdnc::Config,
    constants: Constants,
    memory: Vec<Vec<f64>>,
    /// Words, least recently accessed first.
    order: Vec<usize>,
    /// N and P, row after row.
    links: [Vec<f64>; 2],
    precedence: Vec<f64>,
    /// Per head, what it read last: words and weights.
    read: Vec<Vec<(usize, f64)>>,
}

impl Equations {
    fn new(config: &sdnc::Config, constants: Constants) -> Self {
        let words = config.memory_size;
        Self {
            config: config.clone(),
            constants,
            memory: vec![vec![0.0; config.word_size]; words],
            order: (0..words).collect(),
            links: [vec![0.0; words * words], vec![0.0; words * words]],
            precedence: vec![0.0; words],
            read: vec![Vec::new(); config.heads],
        }
    }

    fn update_links(&mut self, write: &[f64]) {
        let words = write.len();
        let [after, before] = &mut self.links;
        let p = &self.precedence;
        for i in 0..words {
            if write[i] > 0.0 {
                for j in 0..words {
                    if i != j {
                        after[i * words + j] = (1.0 - write[i]) * after[i * words + j] + write[i] * p[j];
                        before[j * words + i] = (1.0 - write[i]) * before[j * words + i] + write[i] * p[j];
                    }
                }
            }
        }
        let total: f64 = write.iter().sum();
        for (p, w) in self.precedence.iter_mut().zip(write) {
            *p = (1.0 - total) * *p + w;
        }
        let rows = after.chunks_mut(words).chain(before.chunks_mut(words)).chain([&mut self.precedence[..]]);
        for row in rows {
            let kept = largest(row, self.config.links);
            for (j, value) in row.iter_mut().enumerate() {
                if !kept.iter().any(|entry| entry.0 == j) {
                    *value = 0.0;
                }
            }
        }
    }
}

/// The largest positive entries, largest first, ties to the lower number.
fn largest(row: &[f64], limit: usize) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = row.iter().copied().enumerate().filter(|entry| entry.1 > 0.0).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(limit);
    all
}

impl Reference for Equations {
    fn step(&mut self, interface: &[f64]) -> Vec<f64> {
        let sdnc::Config { memory_size, word_size: w, heads, reads, access_threshold, write_threshold, .. } =
            self.config;
        let (of_heads, of_write) = interface.split_at(heads * (w + 4));
        let (of_write, options) = of_write.split_at(w + 2);
        let (masks, sharpness) = options.split_at(if self.config.masked_content { heads * w } else { 0 });
        assert_eq!(sharpness.len(), if self.config.sharpened_links { 2 * heads } else { 0 });
        let (alpha, gamma) = (write_gate(of_write[w], write_threshold), sigmoid(of_write[w + 1]));
        let unused = self.order[0];
        let mut occurring: Vec<(usize, f64)> = Vec::new();
        for (word, weight) in self.read.concat() {
            occurring.push((word, alpha * gamma * weight / heads as f64));
        }
        occurring.push((unused, alpha * (1.0 - gamma)));
        let mut write = vec![0.0; memory_size];
        for (word, weight) in &occurring {
            write[*word] += weight;
        }
        self.memory[unused].fill(0.0);
        for (word, weight) in self.memory.iter_mut().zip(&write) {
            for j in 0..w {
                word[j] += weight * of_write[j];
            }
        }
        self.update_links(&write);
        let constants = self.constants.get(|| [&self.links[0][..], &self.links[1], &self.precedence].concat());
        let (after, rest) = constants.split_at(memory_size * memory_size);
        let (before, precedence) = rest.split_at(memory_size * memory_size);
        self.links = [after.to_vec(), before.to_vec()];
        self.precedence = precedence.to_vec();

        let mut result = Vec::new();
        for (h, fields) in of_heads.chunks(w + 4).enumerate() {
            let follow = |links: &[f64]| {
                let reached: Vec<f64> = links
                    .chunks(memory_size)
                    .map(|row| self.read[h].iter().map(|(word, weight)| row[*word] * weight).sum())
                    .collect();
                largest(&reached, reads)
            };
            let sharpen = |mut entries: Vec<(usize, f64)>, place: usize| {
                if self.config.sharpened_links {
                    let power = oneplus(sharpness[2 * h + place]);
                    let sum: f64 = entries.iter().map(|entry| (entry.1 + EPSILON).powf(power)).sum();
                    for entry in &mut entries {
                        entry.1 = (entry.1 + EPSILON).powf(power) / sum;
                    }
                }
                entries
            };
            let mask: Vec<f64> = match masks.chunks(w).nth(h) {
                Some(mask) => mask.iter().map(|x| sigmoid(*x)).collect(),
                None => vec![1.0; w],
            };
            let seen = |vector: &[f64]| -> Vec<f64> { vector.iter().zip(&mask).map(|(x, m)| x * m).collect() };
            let key = seen(&fields[..w]);
            let mut content: Vec<(usize, f64)> =
                (0..memory_size).map(|word| (word, cosine(&seen(&key), &self.memory[word]))).collect();
            content.sort_by(|a, b| b.1.total_cmp(&a.1));
            content.truncate(reads);
            let logits: Vec<f64> =
                content.iter().map(|entry| oneplus(fields[w]) * cosine(&key, &seen(&self.memory[entry.0]))).collect();
            let content: Vec<(usize, f64)> = content.iter().map(|x| x.0).zip(softmax(&logits)).collect();
            let modes = softmax(&fields[w + 1..]);
            let mut read: Vec<(usize, f64)> = Vec::new();
            let found = [sharpen(follow(&self.links[1]), 0), content, sharpen(follow(&self.links[0]), 1)];
            for (found, mode) in found.iter().zip(modes) {
                for (word, weight) in found {
                    match read.iter_mut().find(|entry| entry.0 == *word) {
                        Some(entry) => entry.1 += mode * weight,
                        None => read.push((*word, mode * weight)),
                    }
                }
            }
            for j in 0..w {
                result.push(read.iter().map(|(word, weight)| weight * self.memory[*word][j]).sum());
            }
            self.read[h] = read;
        }

        occurring.extend(self.read.concat());
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

fn compare_sdnc(config: sdnc::Config, sizes: [usize; 3], lengths: &[usize], seed: u64) {
    let reference = || -> Option<Box<dyn Reference>> { Some(Box::new(Equations::new(&config, Constants::default()))) };
    compare(Model::Sdnc(config.clone()), reference, sizes, lengths, seed);
}

#[test]
fn agrees_with_its_equations() {
    for seed in 0..12 {
        compare_sdnc(sdnc(40, 6, 3, 3, 4), [3, 8, 2], &[30, 20, 7], seed);
        compare_sdnc(sdnc(9, 5, 2, 2, 2), [2, 6, 2], &[60], seed + 100);
        compare_sdnc(sdnc(5, 4, 2, 1, 1), [2, 6, 2], &[40, 3], seed + 200);
        compare_sdnc(sdnc(60, 17, 4, 4, 8), [2, 9, 2], &[50], seed + 300);
        compare_sdnc(sdnc(1, 3, 1, 2, 1), [2, 4, 1], &[12], seed + 400);
    }
}

/// Each option alone, and two of them.
fn with_options(config: &sdnc::Config) -> [sdnc::Config; 4] {
    let options = [(true, false, 0.0), (false, true, 0.0), (true, true, 0.0), (false, false, 0.5)];
    options.map(|(masked_content, sharpened_links, write_threshold)| sdnc::Config {
        masked_content,
        sharpened_links,
        write_threshold,
        ..config.clone()
    })
}

#[test]
fn agrees_with_its_equations_with_options() {
    for seed in 0..6 {
        for config in with_options(&sdnc(20, 5, 2, 3, 4)) {
            compare_sdnc(config, [2, 6, 2], &[30, 4], seed);
        }
        compare_sdnc(sdnc(48, 5, 2, 9, 10), [2, 6, 2], &[40, 4], seed);
    }
}

/// Where nothing is ever cut away, the links are those of the dense equations.
#[test]
fn agrees_with_dense_links_where_nothing_is_cut() {
    for seed in 0..12 {
        compare_sdnc(sdnc(7, 5, 2, 7, 7), [2, 6, 2], &[40, 11], seed);
    }
}

#[test]
fn gradients_over_shapes_and_seeds() {
    let check_with_starts = |config: sdnc::Config, sizes, before: &[usize], lengths: &[usize], starts: &[_], seed| {
        let reference = |constants| -> Box<dyn Reference> { Box::new(Equations::new(&config, constants)) };
        check_gradients_by_equations(Model::Sdnc(config.clone()), reference, sizes, before, lengths, starts, seed);
    };
    let check = |config: sdnc::Config, sizes, before: &[usize], lengths: &[usize], seed| {
        check_with_starts(config, sizes, before, lengths, &[], seed);
    };
    for seed in 0..6 {
        check(sdnc(30, 5, 2, 3, 4), [2, 5, 2], &[], &[9, 5], seed);
        check(sdnc(6, 4, 2, 2, 2), [2, 5, 2], &[], &[14], seed + 100);
        check(sdnc(4, 3, 2, 5, 3), [2, 4, 1], &[], &[9, 2], seed + 200);
        check(sdnc(12, 17, 1, 2, 2), [2, 4, 2], &[], &[8], seed + 300);
        check(sdnc(20, 4, 2, 3, 3), [2, 5, 2], &[6, 3], &[6, 7], seed + 400);
        // Heads whose words are more than are compared at once.
        check(sdnc(48, 4, 2, 9, 10), [2, 5, 2], &[], &[24], seed + 700);
        // What a write costs: the links, through which no gradient flows, come in with the second step.
        let costly = sdnc::Config { write_threshold: 0.4, write_cost: 0.25, ..sdnc(10, 4, 2, 2, 3) };
        check_gradients(Model::Sdnc(costly), [2, 4, 1], &[], &[1; 9], seed + 800);
        for config in with_options(&sdnc(10, 4, 2, 2, 3)) {
            check(config, [2, 4, 1], &[], &[9], seed + 500);
        }
        let starts = [(0, 1), (2, 0), (3, 0), (5, 1)];
        check_with_starts(sdnc(12, 4, 2, 2, 3), [2, 5, 2], &[6, 3], &[8, 7], &starts, seed + 600);
    }
}
