//! Several trainings at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sparsam_train::Error;

/// Does `work` on each of these, `at_once` of them at a time, each with so many threads of its own, until `stop` is set.
///
/// # Errors
/// [`sparsam::Error::Threads`] if there are no threads to be had.
pub fn side_by_side<T: Sync>(
    all: &[T],
    at_once: usize,
    threads: usize,
    stop: &AtomicBool,
    work: &(dyn Fn(&T) + Sync),
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let fail = |error: Error| *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(all.len()) {
            let worker = || {
                let pool = match threads_of_its_own(threads) {
                    Ok(pool) => pool,
                    Err(error) => return fail(error),
                };
                while !stop.load(Ordering::Relaxed)
                    && let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    pool.install(|| work(one));
                }
            };
            if std::thread::Builder::new().spawn_scoped(scope, worker).is_err() {
                fail(no_threads(threads));
                break;
            }
        }
    });
    // What some could not do the others did, if there were any.
    let all_taken = next.into_inner() >= all.len();
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.filter(|_| !all_taken).map_or(Ok(()), Err)
}

/// Threads for one network.
///
/// # Errors
/// [`sparsam::Error::Threads`] if there are not as many to be had.
pub fn threads_of_its_own(threads: usize) -> Result<rayon::ThreadPool, Error> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|_| no_threads(threads))
}

fn no_threads(threads: usize) -> Error {
    let wanted = threads + 1;
    sparsam::Error::Threads {
        wanted,
        had: sparsam::internal::threads::obtainable(wanted),
        limit: sparsam::internal::threads::limit(),
    }
    .into()
}
