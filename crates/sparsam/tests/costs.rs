//! What steps, episodes and memories cost: no allocation per step, nothing proportional to the number of words.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Command;
use std::time::Instant;

use sparsam::memory::{sam, sdnc};
use sparsam::{Model, Network, NetworkConfig, Runner, Sequences};

/// Counts the calling thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The sparse models at the paper's sizes.
fn sparse(memory_size: usize) -> [Model; 2] {
    [
        Model::Sam(sam::Config { memory_size, ..Default::default() }),
        Model::Sdnc(sdnc::Config { memory_size, ..Default::default() }),
    ]
}

fn network(memory: Model) -> Network<f32> {
    let config = NetworkConfig::new(10, 8).with_hidden_size(100).with_memory(memory);
    Network::new(config, 1).expect("it fits")
}

fn inputs(steps: usize, rows: usize) -> Vec<f32> {
    (0..steps * rows * 10).map(|i| ((i * 7919 % 13) as f32 / 6.0) - 1.0).collect()
}

#[test]
fn a_step_allocates_nothing() {
    let options = Model::Sdnc(sdnc::Config { masked_content: true, sharpened_links: true, ..Default::default() });
    let models = Model::NAMES.iter().map(|name| Model::by_name(name).expect("a model"));
    for memory in models.chain([options]) {
        let network = network(memory);
        let mut runner = Runner::new(&network, 1).expect("it fits");
        let mut gradients = network.zeros();
        let mut allocations = |steps: usize| {
            let inputs = inputs(steps, 1);
            let mut outputs = vec![0.0; steps * 8];
            let before = ALLOCATIONS.get();
            runner.forward(&network, &inputs, &[steps], &mut outputs).expect("shapes fit");
            runner.backward(&network, &outputs, &mut gradients, None).expect("forward came before");
            let of_episode = ALLOCATIONS.get() - before;
            let before = ALLOCATIONS.get();
            runner.infer(&network, &inputs, &[steps], &mut outputs).expect("shapes fit");
            runner.reset();
            (of_episode, ALLOCATIONS.get() - before)
        };
        // Once, for the buffers to grow to the longest episode.
        allocations(320);
        let (half_block, block, ten_blocks) = (allocations(16), allocations(32), allocations(320));
        let name = network.config().memory.name();
        println!(
            "{name}: allocations in an episode and in a stream of 16, 32, 320 steps: {half_block:?}, {block:?}, {ten_blocks:?}"
        );
        // Only the products over 32 steps at once take a buffer each; steps take none.
        assert_eq!(block, half_block);
        assert!(ten_blocks.0 <= block.0 + 9 * 5 && ten_blocks.1 <= block.1 + 9 * 2);
    }
}

#[test]
fn a_billion_words_are_made_started_and_ended_at_once() {
    for memory in sparse(1_000_000_000) {
        let network = network(memory);
        let started = Instant::now();
        let mut runner = Runner::new(&network, 8).expect("address space is all it needs");
        let (inputs, mut outputs) = (inputs(20, 8), vec![0.0; 20 * 8 * 8]);
        runner.forward(&network, &inputs, &[20; 8], &mut outputs).expect("shapes fit");
        runner.backward(&network, &outputs, &mut network.zeros(), None).expect("forward came before");
        runner.infer(&network, &inputs, &[20; 8], &mut outputs).expect("shapes fit");
        runner.carry_gradients(true);
        for _ in 0..10 {
            runner.forward(&network, &inputs, &[20; 8], &mut outputs).expect("shapes fit");
        }
        for _ in 0..5 {
            runner.undo().expect("forward came before");
        }
        while runner.calls() > 0 {
            runner.backward(&network, &outputs, &mut network.zeros(), None).expect("forward came before");
        }
        runner.replay();
        runner.reset();
        // Clearing a billion words would take minutes and a terabyte.
        assert!(started.elapsed().as_secs_f64() < 5.0);
    }
}

#[test]
fn a_start_costs_what_was_touched() {
    for memory in sparse(1_000_000) {
        let network = network(memory);
        let mut runner = Runner::new(&network, 1).expect("it fits");
        let (inputs, mut outputs) = (inputs(300, 1), vec![0.0; 300 * 8]);
        let mut gradients = network.zeros();
        let mut seconds = |starts: &[bool]| {
            runner.reset();
            let started = Instant::now();
            let sequences = Sequences::new(&inputs, &[300]).with_starts(starts);
            runner.forward_sequences(&network, sequences, &mut outputs).expect("shapes fit");
            runner.backward(&network, &outputs, &mut gradients, None).expect("forward came before");
            runner.replay();
            runner.infer_sequences(&network, sequences, &mut outputs).expect("shapes fit");
            started.elapsed().as_secs_f64()
        };
        // Of three, the one that was disturbed least.
        let mut least = |starts: &[bool]| (0..3).map(|_| seconds(starts)).fold(f64::INFINITY, f64::min);
        let (without, with) = (least(&[false; 300]), least(&[true; 300]));
        println!("{}: {with:.4} s with a start at every step, {without:.4} s without", network.config().memory.name());
        // A million words of 32 numbers would take milliseconds each time.
        assert!(with < 4.0 * without, "{with} s and {without} s");
    }
}

/// Numbers of `/proc/self/status` in KiB.
#[cfg(target_os = "linux")]
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field of status");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}

/// Not a test of its own: what [`memory_is_small_and_flat`] runs in a process for each size.
#[cfg(target_os = "linux")]
#[test]
fn memory_of_an_episode() {
    let Some((name, size)) = std::env::var("SPARSAM_TEST_MODEL").ok().and_then(|model| {
        let (name, size) = model.split_once(' ')?;
        Some((name.to_owned(), size.parse().ok()?))
    }) else {
        return;
    };
    let network = network(sparse(size).into_iter().find(|model| model.name() == name).expect("a sparse model"));
    let mut runner = Runner::new(&network, 1).expect("it fits");
    let mut gradients = network.zeros();
    // Parameters and their gradient are there before; zeros alone would not be in physical memory yet.
    gradients.values_mut().fill(1.0);
    let (inputs, mut outputs) = (inputs(100, 1), vec![0.0; 100 * 8]);
    // Physical memory that is no file's: buffers stay at their largest, so that what is there afterwards is the peak.
    let before = status("RssAnon:");
    runner.forward(&network, &inputs, &[100], &mut outputs).expect("shapes fit");
    runner.backward(&network, &outputs, &mut gradients, None).expect("forward came before");
    println!("KiB: {}", status("RssAnon:") - before);
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_small_and_flat() {
    let measure = |model: &str, memory_size: usize| -> usize {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "memory_of_an_episode", "--nocapture", "--test-threads=1"])
            .env("SPARSAM_TEST_MODEL", format!("{model} {memory_size}"))
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.split("KiB: ").nth(1).expect("it prints what it measured");
        number.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    };
    for (model, limit) in [("sam", 1536), ("sdnc", 4096)] {
        let sizes = [64, 1_000, 1_000_000, 1_000_000_000];
        let measured = sizes.map(|size| measure(model, size));
        println!("{model}: KiB of an episode of 100 steps with {sizes:?} words: {measured:?}");
        assert!(measured.iter().all(|kib| *kib <= limit), "{measured:?}");
        // A smaller memory touches fewer words; beyond what an episode can touch, nothing grows.
        assert!(measured[3] <= measured[1] * 11 / 10 + 64, "{measured:?}");
        assert!(measured[3] <= measured[0] * 3 / 2, "{measured:?}");
    }
}
