//! The threads that batches are shared out over: those of this process, and as many as PyTorch uses.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use sparsam::internal::threads::{Workers, asked_by_environment, cores};

use crate::failure::exception;

/// The threads of the latest call that needed some, and whose they are.
static LATEST: Mutex<Option<Latest>> = Mutex::new(None);

struct Latest {
    process: u32,
    count: usize,
    workers: Workers,
}

/// As many threads as `RAYON_NUM_THREADS` says, else `usual`, else as `OMP_NUM_THREADS` says, else one for each core. They
/// are made once; a process that was forked makes its own, since none of its parent's runs there.
///
/// # Errors
/// `RuntimeError` if those that were asked for are not to be had.
pub fn prepare(usual: Option<usize>) -> PyResult<()> {
    let asked = asked_by_environment();
    let count = asked.or(usual).or_else(of_openmp).unwrap_or_else(cores);
    let process = std::process::id();
    let mut latest = current();
    if latest.as_ref().is_some_and(|latest| latest.process == process && latest.count == count) {
        return Ok(());
    }
    let workers = Workers::new(count, asked.is_some()).map_err(exception)?;
    let before = latest.replace(Latest { process, count, workers });
    if before.as_ref().is_some_and(|before| before.process != process) {
        // To end threads that are not there would wait for them.
        std::mem::forget(before);
    }
    Ok(())
}

/// The threads of the latest call that needed some; the calling thread alone if there was none in this process.
pub fn latest() -> Workers {
    match &*current() {
        Some(latest) if latest.process == std::process::id() => latest.workers.clone(),
        _ => Workers::Here,
    }
}

fn current() -> MutexGuard<'static, Option<Latest>> {
    LATEST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `OMP_NUM_THREADS` may have a number for each level of nesting.
fn of_openmp() -> Option<usize> {
    let text = std::env::var("OMP_NUM_THREADS").ok()?;
    text.split(',').next()?.trim().parse().ok().filter(|threads| *threads > 0)
}
