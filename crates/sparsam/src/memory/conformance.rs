//! The conformance test of every memory: the [order of calls](super), to the bit.

use proptest::prelude::*;

use super::Memory;
use crate::Arrays;

/// An interface vector that is different at each step.
pub fn interface(length: usize, step: usize, seed: u64) -> Vec<f32> {
    (0..length).map(|i| ((i + 31 * step) as f32 * 12.9898 + seed as f32 * 0.71).sin() * 3.0).collect()
}

/// Bits of numbers.
pub fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// What happens to a memory: steps without a tape, steps with one, all of them back, forth, part of the way back, and
/// on from there.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    streamed: usize,
    steps: usize,
    kept: usize,
    more: usize,
    /// Bit s, from the lowest on and over again: the memory is restarted before step s.
    restarts: u16,
    seed: u64,
}

/// Random lives.
pub fn life() -> impl Strategy<Value = Life> {
    (0usize..8, 1usize..25, 0usize..25, 0usize..10, 0u64..1000, any::<u16>(), any::<u16>()).prop_map(
        |(streamed, steps, kept, more, seed, one, other)| Life {
            streamed,
            steps,
            kept: kept.min(steps),
            more,
            // A quarter of the steps.
            restarts: one & other,
            seed,
        },
    )
}

/// Steps forth and back with numbers in the interface that are infinite or none, and gradients that are none: all that is
/// asked is that nothing panics.
pub fn carry_what_is_not_a_number(memory: &mut impl Memory<f32>) {
    let (length, mut read) = (memory.interface_len(), vec![0.0; memory.read_len()]);
    for step in 0..40 {
        let mut vector = interface(length, step, 1);
        vector[step % length] = [f32::NAN, f32::INFINITY][step % 2];
        memory.step(&vector, &mut read, true);
    }
    for step in (0..40).rev() {
        memory.step_back(&interface(length, step, 1), &vec![f32::NAN; read.len()], &mut vec![0.0; length]);
    }
}

impl Life {
    /// Lives it. `state` gives everything that a later step could depend on.
    pub fn check<M: Memory<f32>>(self, make: impl Fn() -> M, state: impl Fn(&mut M) -> Vec<Vec<u32>>) {
        self.check_restarts(&make, &state);
        let Life { streamed, steps, kept, more, seed, .. } = self;
        let mut memory = make();
        let fresh = state(&mut memory);
        let (length, mut read) = (memory.interface_len(), vec![0.0; memory.read_len()]);
        for step in 0..streamed {
            memory.step(&interface(length, step, seed + 1), &mut read, false);
        }
        memory.start_episode();
        let mut states = vec![state(&mut memory)];
        for step in 0..steps {
            memory.step(&interface(length, step, seed), &mut read, true);
            states.push(state(&mut memory));
        }
        let back = |memory: &mut M, step: usize| {
            let reads = interface(memory.read_len(), step, seed + 2);
            memory.step_back(&interface(length, step, seed), &reads, &mut vec![0.0; length]);
        };
        for step in (0..steps).rev() {
            back(&mut memory, step);
            // Looking on the way lets an index catch up; the memory must not need that.
            if step % 3 == 0 {
                assert_eq!(state(&mut memory), states[step], "after going back to step {step}");
            }
        }
        assert_eq!(state(&mut memory), states[0], "after going back");
        let mut gradients = vec![vec![0.0; length]; steps];
        for _ in 0..2 {
            memory.replay();
            assert_eq!(state(&mut memory), states[steps], "after a replay");
            let mut again = gradients.clone();
            for (step, gradient) in again.iter_mut().enumerate().rev() {
                let reads = interface(memory.read_len(), step, seed + 6);
                memory.step_back(&interface(length, step, seed), &reads, gradient);
            }
            if gradients.iter().flatten().any(|x| *x != 0.0) {
                assert_eq!(again, gradients, "going back twice gives the same gradients");
            }
            gradients = again;
        }
        memory.replay();
        assert_eq!(state(&mut memory), states[steps], "after a replay");

        for step in (kept..steps).rev() {
            back(&mut memory, step);
        }
        if seed.is_multiple_of(2) {
            memory.forget_undone();
            let now = state(&mut memory);
            memory.replay();
            assert_eq!(state(&mut memory), now, "what was forgotten is not replayed");
        }
        for step in 0..more {
            memory.step(&interface(length, step, seed + 3), &mut read, true);
        }
        let mut other = make();
        for step in 0..streamed {
            other.step(&interface(length, step, seed + 1), &mut read, false);
        }
        for step in 0..kept {
            other.step(&interface(length, step, seed), &mut read, false);
        }
        for step in 0..more {
            other.step(&interface(length, step, seed + 3), &mut read, false);
        }
        assert_eq!(state(&mut memory), state(&mut other), "on from step {kept}, against a stream");

        // Saved with a tape, into a memory that holds something else.
        let mut saved = Arrays::default();
        memory.save(&mut saved);
        for step in 0..steps {
            other.step(&interface(length, step, seed + 4), &mut read, true);
        }
        other.load(&mut saved.clone()).expect("it was saved by a memory of the same configuration");
        assert_eq!(state(&mut memory), state(&mut other), "what was saved comes back");
        other.replay();
        for step in 0..kept {
            other.step(&interface(length, step, seed + 5), &mut read, true);
        }
        for step in (0..kept).rev() {
            let reads = interface(other.read_len(), step, seed + 2);
            other.step_back(&interface(length, step, seed + 5), &reads, &mut vec![0.0; length]);
        }
        let mut again = Arrays::default();
        other.save(&mut again);
        assert_eq!(again, saved, "going back leads to what was loaded");
        other.reset();
        assert_eq!(state(&mut other), fresh, "after a reset of what was loaded");

        // A reset in the middle of going back; after it the memory lives as one just made.
        if more > 0 {
            let reads = interface(memory.read_len(), 0, seed + 2);
            memory.step_back(&interface(length, more - 1, seed + 3), &reads, &mut vec![0.0; length]);
        }
        memory.reset();
        assert_eq!(state(&mut memory), fresh, "after a reset");
        memory.replay();
        assert_eq!(state(&mut memory), fresh, "a reset leaves nothing to replay");
        let mut again = make();
        for memory in [&mut memory, &mut again] {
            for step in 0..steps {
                memory.step(&interface(length, step, seed), &mut read, true);
            }
            for step in (kept..steps).rev() {
                back(memory, step);
            }
            for step in 0..more {
                memory.step(&interface(length, step, seed + 3), &mut read, true);
            }
        }
        assert_eq!(state(&mut memory), state(&mut again), "after a reset, as if just made");

        let content = |word: usize, numbers: &mut [f32]| numbers.copy_from_slice(&interface(numbers.len(), word, seed));
        memory.fill(&mut |word, numbers| content(word, numbers));
        let filled = state(&mut memory);
        assert_ne!(filled, fresh);
        for step in 0..steps {
            memory.step(&interface(length, step, seed), &mut read, true);
        }
        for step in (0..steps).rev() {
            back(&mut memory, step);
        }
        assert_eq!(state(&mut memory), filled, "after going back to a filled memory");
        let mut other = make();
        other.fill(&mut |word, numbers| content(word, numbers));
        assert_eq!(state(&mut other), filled, "whatever stood there before, a filled memory holds what it was given");
        memory.reset();
        assert_eq!(state(&mut memory), fresh, "after a reset of a filled memory");
    }

    /// Lives it with restarts, beside a memory that has no tape and is reset where the other is restarted.
    fn check_restarts<M: Memory<f32>>(self, make: impl Fn() -> M, state: impl Fn(&mut M) -> Vec<Vec<u32>>) {
        let Life { streamed, steps, kept, more, restarts, seed } = self;
        let (mut memory, mut other) = (make(), make());
        let fresh = state(&mut memory);
        let (length, mut read) = (memory.interface_len(), vec![0.0; memory.read_len()]);
        let mut read_again = read.clone();
        let restarted = |step: usize| restarts >> (step % 16) & 1 == 1;
        for step in 0..streamed {
            memory.step(&interface(length, step, seed + 1), &mut read, false);
            other.step(&interface(length, step, seed + 1), &mut read, false);
        }
        // Of the episode's steps each; the state before it, and before the restart if there is one.
        let mut states = Vec::new();
        let mut step_both = |memory: &mut M, other: &mut M, step: usize, seed: u64| {
            if restarted(step) {
                memory.restart();
                other.reset();
                assert_eq!(state(memory), fresh, "after a restart before step {step}");
                if step.is_multiple_of(5) {
                    memory.restart();
                }
            }
            memory.step(&interface(length, step, seed), &mut read, true);
            other.step(&interface(length, step, seed), &mut read_again, false);
            assert_eq!(bits(&read), bits(&read_again), "what step {step} reads");
            assert_eq!(state(memory), state(other), "after step {step}");
        };
        for step in 0..steps {
            states.push(state(&mut memory));
            step_both(&mut memory, &mut other, step, seed);
        }
        let end = state(&mut memory);
        let back = |memory: &mut M, step: usize, seed: u64| {
            let mut gradient = vec![0.0; length];
            memory.step_back(
                &interface(length, step, seed),
                &interface(memory.read_len(), step, seed + 2),
                &mut gradient,
            );
            bits(&gradient)
        };
        let mut gradients = vec![Vec::new(); steps];
        for round in 0..2 {
            for step in (0..steps).rev() {
                let gradient = back(&mut memory, step, seed);
                assert!(round == 0 || gradient == gradients[step], "going back twice over step {step}");
                gradients[step] = gradient;
                if round == 1 || step % 3 == 0 {
                    assert_eq!(state(&mut memory), states[step], "after going back to step {step}");
                }
            }
            memory.replay();
            assert_eq!(state(&mut memory), end, "after a replay");
        }
        // The steps since the latest restart have the gradients that a new memory gives.
        if let Some(first) = (0..steps).rev().find(|step| restarted(*step)) {
            let (mut new, mut read) = (make(), vec![0.0; memory.read_len()]);
            for step in first..steps {
                new.step(&interface(length, step, seed), &mut read, true);
            }
            for step in (first..steps).rev() {
                assert_eq!(back(&mut new, step, seed), gradients[step], "gradient of step {step} since step {first}");
            }
        }

        for step in (kept..steps).rev() {
            back(&mut memory, step, seed);
        }
        // A memory that is saved on the way back, and gone on with in another direction.
        let mut saved = Arrays::default();
        memory.save(&mut saved);
        other.load(&mut saved).expect("it was saved by a memory of the same configuration");
        if seed.is_multiple_of(2) {
            memory.forget_undone();
            memory.replay();
            assert_eq!(state(&mut memory), state(&mut other), "what was forgotten is not replayed");
        }
        for step in 0..more {
            step_both(&mut memory, &mut other, step, seed + 3);
        }
        memory.restart();
        assert_eq!(state(&mut memory), fresh, "after a last restart");
        for step in (0..more).rev() {
            back(&mut memory, step, seed + 3);
        }
        for step in (0..kept).rev() {
            back(&mut memory, step, seed);
        }
        if kept + more > 0 {
            assert_eq!(state(&mut memory), states[0], "after going back to the start");
        }
        memory.replay();
        assert_eq!(state(&mut memory), fresh, "the last restart is redone as well");
        memory.reset();
        assert_eq!(state(&mut memory), fresh, "after a reset");
        memory.replay();
        assert_eq!(state(&mut memory), fresh, "a reset leaves nothing to replay");
    }
}
