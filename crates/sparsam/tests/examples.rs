//! The examples run.

#[path = "../examples/memory_alone.rs"]
mod memory_alone;
#[path = "../examples/save_and_resume.rs"]
mod save_and_resume;
#[path = "../examples/stream.rs"]
mod stream;
#[path = "../examples/train.rs"]
mod train;

#[test]
fn a_network_is_trained() {
    train::main().unwrap();
}

#[test]
fn a_network_runs_over_a_stream() {
    stream::main().unwrap();
}

#[test]
fn training_goes_on_from_files() {
    save_and_resume::main().unwrap();
}

#[test]
fn a_memory_runs_alone() {
    memory_alone::main().unwrap();
}
