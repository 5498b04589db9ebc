//! The sparse DNC's temporal links: the update and the heads' reads along them, in one step of one sequence, at
//! K_L = 8, R = 4, K = 4, N = 1,000,000. The paper (Rae et al. 2016, supplement D) reports 100 µs for them.
//!
//! Each head reads what the links give it both ways and four words that were written lately, as a trained head would;
//! the write head writes to all that the heads read, and to a new word.
//!
//! `cargo bench --bench links`

use std::time::Instant;

use sparsam::internal::{Direction, Links};

const MEMORY_SIZE: usize = 1_000_000;
const LINKS: usize = 8;
const HEADS: usize = 4;
const READS: usize = 4;
const STEPS: usize = 200;

/// Numbers that look random, from a linear congruence.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Adds a weight to a word's, wherever it stands.
fn add(entries: &mut Vec<(u32, f32)>, word: u32, weight: f32) {
    match entries.iter_mut().find(|entry| entry.0 == word) {
        Some(entry) => entry.1 += weight,
        None => entries.push((word, weight)),
    }
}

/// Microseconds of the updates, of the reads along links, and of undoing, per step of an episode.
fn episode(links: &mut Links<f32>, seed: u64) -> [f64; 3] {
    let mut state = seed;
    let mut read = vec![(Vec::new(), Vec::new()); HEADS];
    let mut times = [0.0; 3];
    let mut write = Vec::new();
    links.start_episode();
    for step in 0..STEPS {
        write.clear();
        for (words, weights) in &read {
            for (word, weight) in Iterator::zip(words.iter(), weights) {
                add(&mut write, *word, 0.5 * weight / HEADS as f32);
            }
        }
        add(&mut write, step as u32, 0.3);
        let started = Instant::now();
        links.update(write.iter().copied(), true);
        times[0] += started.elapsed().as_secs_f64();
        for (words, weights) in &mut read {
            let mut union: Vec<(u32, f32)> = Vec::new();
            for direction in [Direction::Backward, Direction::Forward] {
                let started = Instant::now();
                let found = links.follow(direction, words, weights, READS);
                times[1] += started.elapsed().as_secs_f64();
                for (word, weight) in found {
                    add(&mut union, *word, 0.3 * weight);
                }
            }
            for _ in 0..READS {
                add(&mut union, (step - random(&mut state) % (step + 1).min(50)) as u32, 0.1);
            }
            (*words, *weights) = union.into_iter().unzip();
        }
    }
    let started = Instant::now();
    for _ in 0..STEPS {
        links.undo_update();
    }
    times[2] += started.elapsed().as_secs_f64();
    times.map(|time| time * 1e6 / STEPS as f64)
}

fn main() {
    // `cargo test` runs benchmarks too; one round shows that they work.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 200 } else { 1 };
    let mut links = Links::new(MEMORY_SIZE, LINKS).expect("address space is there");
    let mut times = vec![Vec::new(); 4];
    for round in 0..rounds {
        let [update, follow, undo] = episode(&mut links, round);
        for (times, time) in times.iter_mut().zip([update, follow, update + follow, undo]) {
            times.push(time);
        }
    }
    println!(
        "N = {MEMORY_SIZE}, K_L = {LINKS}, R = {HEADS}, K = {READS}; medians of {rounds} episodes of {STEPS} steps"
    );
    for (name, times) in ["update", "reads along links", "both", "undoing the update"].iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("{name:<20} {:>6.2} µs a step", times[times.len() / 2]);
    }
}
