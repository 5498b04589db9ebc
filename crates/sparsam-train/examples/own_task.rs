//! A task of one's own: add two binary numbers of which one bit each comes in at a time, the lowest first.
//!
//! `cargo run --release -p sparsam-train --example own_task` trains on it for a few seconds, then measures numbers four
//! times as long.

use std::ops::RangeInclusive;
use std::sync::atomic::AtomicBool;

use sparsam::Model;
use sparsam::nn::optimiser::OptimiserConfig;
use sparsam_train::task::Own;
use sparsam_train::{Channels, Config, Draw, Event, Source, TargetKind, Task, TaskConfig, Trainer};

/// Two numbers of as many bits as the level says; their sum is wanted bit by bit, with a step more for what is carried.
struct Addition;

impl Task for Addition {
    fn name(&self) -> &'static str {
        "addition"
    }

    fn channels(&self) -> Channels {
        Channels { input_size: 2, output_size: 1, target_kind: TargetKind::Bits }
    }

    fn level_unit(&self) -> &'static str {
        "bits"
    }

    fn default_levels(&self) -> RangeInclusive<usize> {
        1..=8
    }

    fn possible_levels(&self) -> RangeInclusive<usize> {
        1..=1 << 20
    }

    fn steps(&self, level: usize) -> usize {
        level + 1
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let Draw { level, mut random, .. } = draw;
        let (mut steps, mut carried) = (0..=level, 0.0);
        // Each call adds the next time step, until none is left: a sequence of a million bits takes no more memory.
        Box::new(move |sequence| {
            let Some(step) = steps.next() else { return false };
            let mut bits = [0.0; 2];
            if step < level {
                random.bits(&mut bits);
            }
            let sum: f32 = bits[0] + bits[1] + carried;
            carried = (sum / 2.0).floor();
            sequence.step_with_bits(&[sum - 2.0 * carried]).copy_from_slice(&bits);
            true
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let task = TaskConfig::Own(Own { title: "addition".into() });
    let mut config = Config::default_for(task, Model::Lstm);
    config.network.hidden_size = 32;
    (config.batches, config.cooldown) = (1500, 375);
    config.optimiser = OptimiserConfig::adam(3e-3);
    let folder = std::env::temp_dir().join(format!("addition-{}", std::process::id()));
    let mut trainer = Trainer::with_task(config, Box::new(Addition), &folder)?;
    let mut watch = |event: Event<'_>| {
        if let Event::Evaluated { metrics, .. } = event {
            println!(
                "after {} sequences: {:.3} wrong bits per sequence",
                metrics.sequences,
                metrics.wrong.unwrap_or(0.0)
            );
        }
    };
    trainer.run(&mut watch, &AtomicBool::new(false))?;
    let long = trainer.evaluate(Some(32), 256)?;
    println!(
        "numbers of 32 bits, four times as long as any trained on: {:.3} wrong bits of 33",
        long.wrong.unwrap_or(0.0)
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
