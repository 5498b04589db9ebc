//! One step of the dense memories, forward and backward, beside this machine's copy bandwidth: R = 4, words of 32
//! numbers, one thread, the memory alone (no controller).
//!
//! Bytes are those that the models' documentation counts, words and weights; a copy of n bytes counts as 2 n, read and
//! written. "words in caches" is the size of what a whole episode goes over, its tape: where that fits a cache, figures above the copy's are
//! no mistake. `cargo bench --bench dense`; figures are medians of rounds in which all variants take turns.

use std::hint::black_box;
use std::time::Instant;

use sparsam::memory::{Memory, MemoryConfig, dam, ntm};
use sparsam::real::simd::level;

const HEADS: usize = 4;
const WORD_SIZE: usize = 32;
const ROUNDS: usize = 15;

/// What a step of all memories moves, in bytes: forward, backward.
type Traffic = (usize, usize);

struct Variant {
    name: &'static str,
    words: usize,
    batch: usize,
    steps: usize,
    traffic: Traffic,
    memories: Vec<Box<dyn Memory<f32>>>,
    forward: Vec<f64>,
    backward: Vec<f64>,
}

impl Variant {
    fn new(name: &'static str, config: &impl MemoryConfig, words: usize, batch: usize, numbers: Traffic) -> Self {
        // A tape of at most a GiB, at least three steps.
        let steps = ((1 << 30) / (words * batch * WORD_SIZE * 6)).clamp(3, 50);
        let bytes = |numbers: usize| numbers * words * batch * size_of::<f32>();
        Self {
            name,
            words,
            batch,
            steps,
            traffic: (bytes(numbers.0), bytes(numbers.1)),
            memories: (0..batch).map(|_| config.build().expect("it fits")).collect(),
            forward: Vec::new(),
            backward: Vec::new(),
        }
    }

    /// An episode on every memory; notes seconds per step of the whole batch.
    fn run(&mut self) {
        let (length, read_len) = (self.memories[0].interface_len(), self.memories[0].read_len());
        let interface = |step: usize| -> Vec<f32> {
            (0..length).map(|i| (((i * 7919 + step * 104_729) % 1009) as f32 / 504.5) - 1.0).collect()
        };
        let interfaces: Vec<Vec<f32>> = (0..self.steps).map(interface).collect();
        let mut read = vec![0.0; read_len];
        let mut gradient = vec![0.0; length];
        for memory in &mut self.memories {
            memory.start_episode();
        }
        let started = Instant::now();
        for interface in &interfaces {
            for memory in &mut self.memories {
                memory.step(interface, &mut read, true);
            }
        }
        self.forward.push(started.elapsed().as_secs_f64() / self.steps as f64);
        let started = Instant::now();
        for interface in interfaces.iter().rev() {
            for memory in &mut self.memories {
                memory.step_back(interface, &read, &mut gradient);
            }
        }
        self.backward.push(started.elapsed().as_secs_f64() / self.steps as f64);
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes per second, read and written, of a copy of 512 MiB, memory as a dense tape has it.
fn copy(from: &[u8], to: &mut [u8]) -> f64 {
    let started = Instant::now();
    black_box(&mut *to).copy_from_slice(black_box(from));
    black_box(&mut *to);
    2.0 * from.len() as f64 / started.elapsed().as_secs_f64()
}

fn main() {
    // `cargo test` runs benchmarks too; one round of the smallest shows that they work.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, sizes) = if measured { (ROUNDS, &[128, 2048, 65536][..]) } else { (1, &[128][..]) };
    let (w, r) = (WORD_SIZE, HEADS);
    let mut variants = Vec::new();
    for &memory_size in sizes {
        for batch in [1, 8] {
            let config = dam::Config { memory_size, word_size: w, heads: r, ..Default::default() };
            let traffic = (2 * w + 4 * r + 5, 3 * w + 4 * r);
            variants.push(Variant::new("DAM", &config, memory_size, batch, traffic));
            let config = ntm::Config { memory_size, word_size: w, heads: r };
            let traffic = (4 * w + 20 * r, 8 * w + 34 * r);
            variants.push(Variant::new("NTM", &config, memory_size, batch, traffic));
        }
    }
    let copied = if measured { 512 << 20 } else { 1 << 20 };
    let (from, mut to) = (vec![1u8; copied], vec![0u8; copied]);
    let mut copies = vec![copy(&from, &mut to)];
    for round in 0..=rounds {
        copies.push(copy(&from, &mut to));
        for variant in &mut variants {
            variant.run();
            if round == 0 {
                variant.forward.clear();
                variant.backward.clear();
            }
        }
    }
    let bandwidth = median(&mut copies[2..]);
    println!("R = {r}, W = {w}, f32, {:?}, one thread; copying 512 MiB moves {:.1} GB/s", level(), bandwidth / 1e9);
    println!(
        "{:<6}{:>7}{:>6}{:>6} | {:>11}{:>7}{:>8} | {:>11}{:>7}{:>8}",
        "model", "words", "batch", "steps", "forward µs", "GB/s", "÷ copy", "back µs", "GB/s", "÷ copy"
    );
    for Variant { name, words, batch, steps, traffic, mut forward, mut backward, .. } in variants {
        print!("{name:<6}{words:>7}{batch:>6}{steps:>6}");
        for (times, bytes) in [(&mut forward, traffic.0), (&mut backward, traffic.1)] {
            let seconds = median(times);
            let rate = bytes as f64 / seconds;
            print!(" | {:>11.1}{:>7.1}{:>8.2}", seconds * 1e6, rate / 1e9, rate / bandwidth);
        }
        println!();
    }
}
