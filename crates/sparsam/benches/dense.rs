//! One step of the dense memories, forward and backward, beside this machine's copy bandwidth: R = 4, words of 32
//! numbers, one thread, the memory alone (no controller).
//!
//! Bytes are those that the models' documentation counts, words and weights. "÷ copy" compares bytes per second with
//! those of copying 512 MiB in one call (n bytes copied count as 2 n). That call writes past the caches, which
//! halves what a write costs, and no step can do so with words that it reads again: so "÷ bare" compares with bare passes that read,
//! write, copy strip by strip, and update in place just the bytes that the step does. Where an episode, whose tape is
//! what a step writes, fits the caches, figures above 1 are no mistake.
//!
//! `cargo bench --bench dense`; figures are the best of rounds in which all variants take turns, since
//! whatever else runs on a machine can only slow a pass down.

use std::hint::black_box;
use std::time::Instant;

use sparsam::internal::simd::level;
use sparsam::memory::{Memory, MemoryConfig, dam, ntm};

const HEADS: usize = 4;
const WORD_SIZE: usize = 32;
const ROUNDS: usize = 15;

/// Numbers that a step moves for each word of the memory, or bytes, by the kind of pass.
#[derive(Clone, Copy)]
struct Traffic {
    read: usize,
    written: usize,
    copied: usize,
    updated: usize,
}

impl Traffic {
    fn times(self, factor: usize) -> Self {
        let Self { read, written, copied, updated } = self;
        Self { read: read * factor, written: written * factor, copied: copied * factor, updated: updated * factor }
    }

    /// Numbers or bytes, read and written.
    fn total(self) -> usize {
        self.read + self.written + 2 * (self.copied + self.updated)
    }
}

/// Bytes per second of passes over 512 MiB that do nothing else; of those copied and updated, each counted once.
#[derive(Default)]
struct Bare {
    call: Vec<f64>,
    read: Vec<f64>,
    written: Vec<f64>,
    copied: Vec<f64>,
    updated: Vec<f64>,
}

impl Bare {
    fn run(&mut self, from: &mut [f32], to: &mut [f32]) {
        let bytes = size_of_val(from) as f64;
        let rate = |pass: &mut dyn FnMut()| {
            let started = Instant::now();
            pass();
            bytes / started.elapsed().as_secs_f64()
        };
        self.call.push(rate(&mut || black_box(&mut *to).copy_from_slice(black_box(from))));
        self.copied.push(rate(&mut || {
            for (to, from) in to.chunks_mut(64 * WORD_SIZE).zip(from.chunks(64 * WORD_SIZE)) {
                black_box(to).copy_from_slice(black_box(from));
            }
        }));
        self.read.push(rate(&mut || {
            let mut sums = [0.0; 64];
            for numbers in from.as_chunks::<64>().0 {
                for (sum, number) in sums.iter_mut().zip(numbers) {
                    *sum += number;
                }
            }
            black_box(sums);
        }));
        self.written.push(rate(&mut || {
            for to in to.chunks_mut(64 * WORD_SIZE) {
                black_box(to).fill(1.0);
            }
        }));
        self.updated.push(rate(&mut || {
            for number in black_box(&mut *from) {
                *number += 1.0;
            }
        }));
    }

    /// Seconds that these bytes take.
    fn seconds(&self, of: Traffic) -> f64 {
        let parts = [
            (of.read, &self.read),
            (of.written, &self.written),
            (of.copied, &self.copied),
            (of.updated, &self.updated),
        ];
        parts.into_iter().map(|(bytes, rates)| bytes as f64 / most(rates)).sum()
    }
}

struct Variant {
    name: &'static str,
    words: usize,
    batch: usize,
    steps: usize,
    forward_traffic: Traffic,
    backward_traffic: Traffic,
    memories: Vec<Box<dyn Memory<f32>>>,
    forward: Vec<f64>,
    backward: Vec<f64>,
}

impl Variant {
    fn new(name: &'static str, config: &impl MemoryConfig, words: usize, batch: usize, numbers: [Traffic; 2]) -> Self {
        // A tape of at most a GiB, at least three steps.
        let steps = ((1 << 30) / (words * batch * WORD_SIZE * 6)).clamp(3, 50);
        let [forward_traffic, backward_traffic] =
            numbers.map(|numbers| numbers.times(words * batch * size_of::<f32>()));
        Self {
            name,
            words,
            batch,
            steps,
            forward_traffic,
            backward_traffic,
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

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn main() {
    // `cargo test` runs benchmarks too; one round of the smallest shows that they work.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, sizes) = if measured { (ROUNDS, &[128, 2048, 65536][..]) } else { (1, &[128][..]) };
    let (w, r) = (WORD_SIZE, HEADS);
    let dam_traffic = [
        Traffic { read: 1, written: 0, copied: w + r + 1, updated: r + 1 },
        Traffic { read: w + 2 * r, written: 0, copied: 0, updated: w + r },
    ];
    let ntm_traffic = [
        Traffic { read: 2 * w, written: 2 * r, copied: w + 2 * r, updated: 6 * r },
        Traffic { read: 4 * w + 19 * r, written: 2 * r, copied: 2 * r, updated: 2 * w + 2 * r },
    ];
    assert_eq!(dam_traffic.map(Traffic::total), [2 * w + 4 * r + 5, 3 * w + 4 * r]);
    assert_eq!(ntm_traffic.map(Traffic::total), [4 * w + 18 * r, 8 * w + 29 * r]);
    let mut variants = Vec::new();
    for &memory_size in sizes {
        for batch in [1, 8] {
            let config = dam::Config { memory_size, word_size: w, heads: r, ..Default::default() };
            variants.push(Variant::new("DAM", &config, memory_size, batch, dam_traffic));
            let config = ntm::Config { memory_size, word_size: w, heads: r };
            variants.push(Variant::new("NTM", &config, memory_size, batch, ntm_traffic));
        }
    }
    let numbers = if measured { 128 << 20 } else { 1 << 18 };
    let (mut from, mut to) = (vec![1.0; numbers], vec![0.0; numbers]);
    let mut bare = Bare::default();
    Bare::default().run(&mut from, &mut to);
    for round in 0..=rounds {
        bare.run(&mut from, &mut to);
        for variant in &mut variants {
            // Short episodes again and again: what ran before them has the caches at first.
            let started = Instant::now();
            variant.run();
            while measured && started.elapsed().as_millis() < 20 {
                variant.run();
            }
            // The first time, the tape's memory comes from the system.
            if round == 0 {
                variant.forward.clear();
                variant.backward.clear();
            }
        }
    }
    let copy = 2.0 * most(&bare.call);
    println!("R = {r}, W = {w}, f32, {:?}, one thread", level());
    println!(
        "bare passes over 512 MiB, GB/s: copy in one call {:.1}, copy by strips {:.1}, update {:.1}, read {:.1}, write {:.1}",
        copy / 1e9,
        2.0 * most(&bare.copied) / 1e9,
        2.0 * most(&bare.updated) / 1e9,
        most(&bare.read) / 1e9,
        most(&bare.written) / 1e9,
    );
    println!("{:<6}{:>6}{:>6} |{:^36}|{:^36}", "", "", "", "forward", "backward");
    print!("{:<6}{:>6}{:>6}", "model", "words", "batch");
    println!("{0} {0}", format!(" |{:>10}{:>8}{:>8}{:>8}", "µs", "GB/s", "÷ copy", "÷ bare"));
    for variant in variants {
        let Variant { name, words, batch, forward_traffic, backward_traffic, forward, backward, .. } = variant;
        print!("{name:<6}{words:>6}{batch:>6}");
        for (times, bytes) in [(&forward, forward_traffic), (&backward, backward_traffic)] {
            let seconds = least(times);
            let rate = bytes.total() as f64 / seconds;
            let of_bare = bare.seconds(bytes) / seconds;
            print!(" |{:>10.1}{:>8.1}{:>8.2}{of_bare:>8.2} ", seconds * 1e6, rate / 1e9, rate / copy);
        }
        println!();
    }
}
