//! The differentiable neural computer.
//!
//! No gradient flows through the order in which words are allocated, nor through last step's write weights in the
//! usage. Plain finite differences would see both, so the gradients are compared with differences of the equations in
//! which these two are [`Constants`].

use sparsam::memory::dnc;
use sparsam::{Error, Model, Network, NetworkConfig};

use crate::common::reference::{Constants, EPSILON, Reference, compare, cosine, dot, oneplus, sigmoid, softmax};
use crate::common::{check_gradients, check_gradients_by_equations};

fn dnc(memory_size: usize, word_size: usize, heads: usize) -> dnc::Config {
    dnc::Config { memory_size, word_size, heads, ..Default::default() }
}

/// The eight combinations of options.
fn with_options(config: &dnc::Config) -> impl Iterator<Item = dnc::Config> {
    (0..8).map(|bits| dnc::Config {
        masked_content: bits & 1 > 0,
        sharpened_links: bits & 2 > 0,
        deallocation: bits & 4 > 0,
        ..config.clone()
    })
}

struct Equations {
    config: dnc::Config,
    constants: Constants,
    memory: Vec<Vec<f64>>,
    links: Vec<Vec<f64>>,
    usage: Vec<f64>,
    precedence: Vec<f64>,
    write: Vec<f64>,
    /// Read weights, head after head.
    read: Vec<Vec<f64>>,
}

impl Equations {
    fn new(config: &dnc::Config, constants: Constants) -> Self {
        let zeros = vec![0.0; config.memory_size];
        Self {
            config: config.clone(),
            constants,
            memory: vec![vec![0.0; config.word_size]; config.memory_size],
            links: vec![zeros.clone(); config.memory_size],
            usage: zeros.clone(),
            precedence: zeros.clone(),
            write: zeros.clone(),
            read: vec![zeros; config.heads],
        }
    }

    fn content(&self, key: &[f64], mask: &[f64], strength: f64) -> Vec<f64> {
        let masked = |word: &[f64]| -> Vec<f64> { word.iter().zip(mask).map(|(x, m)| x * m).collect() };
        let key = masked(key);
        let logits: Vec<f64> = self.memory.iter().map(|word| strength * cosine(&key, &masked(word))).collect();
        softmax(&logits)
    }

    fn allocation(&self) -> Vec<f64> {
        let usage: Vec<f64> = self.usage.iter().map(|u| EPSILON + (1.0 - EPSILON) * u).collect();
        let order = self.constants.get(|| {
            let mut order: Vec<usize> = (0..usage.len()).collect();
            // A stable sort keeps the lower word number first among equals.
            order.sort_by(|a, b| usage[*a].total_cmp(&usage[*b]));
            order.into_iter().map(|word| word as f64).collect()
        });
        let mut allocation = vec![0.0; usage.len()];
        let mut product = 1.0;
        for word in order {
            allocation[word as usize] = (1.0 - usage[word as usize]) * product;
            product *= usage[word as usize];
        }
        allocation
    }
}

/// Cuts an interface vector into its fields.
struct Cut<'a>(&'a [f64]);

impl<'a> Cut<'a> {
    fn take(&mut self, length: usize) -> &'a [f64] {
        let (field, rest) = self.0.split_at(length);
        self.0 = rest;
        field
    }
}

impl Reference for Equations {
    fn step(&mut self, interface: &[f64]) -> Vec<f64> {
        let dnc::Config { memory_size, word_size, heads, masked_content, sharpened_links, deallocation } = self.config;
        let mut fields = Cut(interface);
        let read_keys = fields.take(heads * word_size);
        let read_strengths = fields.take(heads);
        let write_key = fields.take(word_size);
        let write_strength = oneplus(fields.take(1)[0]);
        let erase: Vec<f64> = fields.take(word_size).iter().map(|x| sigmoid(*x)).collect();
        let write_word = fields.take(word_size);
        let free: Vec<f64> = fields.take(heads).iter().map(|x| sigmoid(*x)).collect();
        let allocation_gate = sigmoid(fields.take(1)[0]);
        let write_gate = sigmoid(fields.take(1)[0]);
        let modes: Vec<Vec<f64>> = fields.take(heads * 3).chunks(3).map(softmax).collect();
        let mut mask = || -> Vec<f64> {
            if masked_content {
                fields.take(word_size).iter().map(|x| sigmoid(*x)).collect()
            } else {
                vec![1.0; word_size]
            }
        };
        let read_masks: Vec<Vec<f64>> = (0..heads).map(|_| mask()).collect();
        let write_mask = mask();
        let sharpen = |distribution: Vec<f64>, strength: f64| -> Vec<f64> {
            let powers: Vec<f64> = distribution.iter().map(|x| (x + EPSILON).powf(strength)).collect();
            let sum: f64 = powers.iter().sum();
            powers.iter().map(|x| x / sum).collect()
        };
        let sharpness = if sharpened_links { fields.take(heads * 2) } else { &[] };
        assert!(fields.0.is_empty(), "the fields fill the interface");

        // The retention is a product over heads; the write weights in the usage carry no gradient.
        let retention: Vec<f64> =
            (0..memory_size).map(|i| (0..heads).map(|r| 1.0 - free[r] * self.read[r][i]).product()).collect();
        let written = self.constants.get(|| self.write.clone());
        for i in 0..memory_size {
            self.usage[i] = (self.usage[i] + written[i] - self.usage[i] * written[i]) * retention[i];
        }

        let by_content = self.content(write_key, &write_mask, write_strength);
        let by_allocation = self.allocation();
        self.write = (0..memory_size)
            .map(|i| write_gate * (allocation_gate * by_allocation[i] + (1.0 - allocation_gate) * by_content[i]))
            .collect();
        for (i, word) in self.memory.iter_mut().enumerate() {
            for j in 0..word_size {
                let kept = if deallocation { retention[i] * word[j] } else { word[j] };
                word[j] = kept * (1.0 - self.write[i] * erase[j]) + self.write[i] * write_word[j];
            }
        }

        for i in 0..memory_size {
            for j in 0..memory_size {
                let kept = (1.0 - self.write[i] - self.write[j]) * self.links[i][j];
                self.links[i][j] = if i == j { 0.0 } else { kept + self.write[i] * self.precedence[j] };
            }
        }
        let total: f64 = self.write.iter().sum();
        for i in 0..memory_size {
            self.precedence[i] = (1.0 - total) * self.precedence[i] + self.write[i];
        }

        let mut result = Vec::new();
        for r in 0..heads {
            let last = &self.read[r];
            let mut forward: Vec<f64> = self.links.iter().map(|row| dot(row, last)).collect();
            let mut backward: Vec<f64> =
                (0..memory_size).map(|j| (0..memory_size).map(|i| self.links[i][j] * last[i]).sum()).collect();
            if sharpened_links {
                backward = sharpen(backward, oneplus(sharpness[2 * r]));
                forward = sharpen(forward, oneplus(sharpness[2 * r + 1]));
            }
            let key = &read_keys[r * word_size..(r + 1) * word_size];
            let content = self.content(key, &read_masks[r], oneplus(read_strengths[r]));
            self.read[r] = (0..memory_size)
                .map(|i| modes[r][0] * backward[i] + modes[r][1] * content[i] + modes[r][2] * forward[i])
                .collect();
            for j in 0..word_size {
                result.push((0..memory_size).map(|i| self.read[r][i] * self.memory[i][j]).sum());
            }
        }
        result
    }
}

fn compare_dnc(config: &dnc::Config, sizes: [usize; 3], lengths: &[usize], seed: u64) {
    let reference = || -> Option<Box<dyn Reference>> { Some(Box::new(Equations::new(config, Constants::default()))) };
    compare(Model::Dnc(config.clone()), reference, sizes, lengths, seed);
}

fn check(config: &dnc::Config, sizes: [usize; 3], before: &[usize], lengths: &[usize], seed: u64) {
    check_with_starts(config, sizes, before, lengths, &[], seed);
}

fn check_with_starts(
    config: &dnc::Config,
    sizes: [usize; 3],
    before: &[usize],
    lengths: &[usize],
    starts: &[(usize, usize)],
    seed: u64,
) {
    let reference = |constants: Constants| -> Box<dyn Reference> { Box::new(Equations::new(config, constants)) };
    check_gradients_by_equations(Model::Dnc(config.clone()), reference, sizes, before, lengths, starts, seed);
}

#[test]
fn agrees_with_its_equations() {
    for seed in 0..6 {
        for config in [dnc(33, 6, 3), dnc(7, 5, 2), dnc(1, 2, 1), dnc(16, 16, 4), dnc(20, 33, 5), dnc(70, 3, 7)] {
            for config in with_options(&config) {
                compare_dnc(&config, [2, 8, 2], &[20, 7], seed);
            }
        }
        compare_dnc(&dnc(12, 4, 2), [3, 6, 2], &[90, 33], seed + 100);
    }
}

#[test]
fn gradients_over_shapes_and_seeds() {
    for seed in 0..6 {
        for memory_size in [1, 2, 5, 15, 16, 17, 33] {
            check(&dnc(memory_size, 5, 2), [2, 4, 2], &[], &[6, 3], seed);
        }
        check(&dnc(9, 17, 1), [2, 4, 2], &[], &[7], seed + 100);
        // Not seed 203: a key of one number comes so near to 0 there that it turns faster than differences follow.
        check(&dnc(6, 1, 4), [2, 4, 2], &[], &[9], seed + if seed < 3 { 200 } else { 300 });
    }
    // More rows than a shard holds, and more heads than a pass over the links.
    check(&dnc(8, 3, 2), [2, 4, 2], &[], &[4, 1, 3, 0, 5, 2], 7);
    for heads in 3..8 {
        check(&dnc(19, 2, heads), [2, 3, 2], &[], &[5], 8);
    }
}

#[test]
fn gradients_with_a_carried_state() {
    for seed in 0..6 {
        check(&dnc(11, 4, 2), [2, 5, 2], &[6, 3], &[6, 7], seed);
        check(&dnc(18, 3, 3), [2, 4, 2], &[9], &[5], seed + 50);
        let starts = [(0, 1), (2, 0), (3, 0), (5, 1)];
        check_with_starts(&dnc(11, 4, 2), [2, 5, 2], &[6, 3], &[8, 7], &starts, seed + 70);
    }
}

#[test]
fn gradients_with_every_option() {
    for seed in 0..3 {
        for config in with_options(&dnc(10, 5, 2)) {
            check(&config, [2, 4, 2], &[4, 2], &[5, 6], seed);
        }
        for config in with_options(&dnc(17, 3, 3)) {
            check(&config, [1, 3, 1], &[], &[6], seed);
        }
    }
}

/// What is cut is there to be seen: otherwise the tests above would show nothing about it.
#[test]
#[should_panic(expected = "but by differences")]
fn plain_differences_see_what_carries_no_gradient() {
    check_gradients(Model::Dnc(dnc(11, 4, 2)), [2, 5, 2], &[], &[6, 7], 1);
}

#[test]
fn gradients_through_several_blocks_of_steps() {
    check(&dnc(6, 3, 1), [2, 3, 1], &[], &[70, 33], 5);
}

#[test]
fn more_memory_than_the_machine_has_is_named() {
    let memory = Model::Dnc(dnc(1 << 24, 32, 4));
    let config = NetworkConfig::new(2, 1).with_hidden_size(3).with_memory(memory);
    let network = Network::<f32>::new(config, 1).expect("a network is small whatever its memory");
    let error = sparsam::Runner::new(&network, 1).err().expect("link matrices of 2⁴⁸ numbers do not fit");
    assert!(matches!(error, Error::MemoryDoesNotFit { .. }), "{error}");
}
