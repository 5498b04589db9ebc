//! Threads: as many as were asked for, or as there are to be had.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rayon::prelude::*;

use super::notice::note;
use crate::Error;

/// Who shares the work of calls. Results do not depend on it.
#[derive(Clone, Debug, Default)]
pub enum Workers {
    /// The threads of the current rayon pool.
    #[default]
    Current,
    /// The calling thread alone.
    Here,
    /// These threads.
    Pool(Arc<rayon::ThreadPool>),
}

impl Workers {
    /// So many threads; the calling thread alone for one. If there are fewer to be had, these, which is
    /// [noted](super::notice), unless they were asked for.
    ///
    /// # Errors
    /// [`Error::Threads`] if there are not as many to be had as were asked for.
    pub fn new(wanted: usize, asked: bool) -> Result<Self, Error> {
        if wanted <= 1 {
            return Ok(Self::Here);
        }
        let had = obtainable(wanted);
        let refused = || Error::Threads { wanted, had, limit: limit() };
        if had < wanted {
            if asked {
                return Err(refused());
            }
            note_fewer(had, wanted);
        }
        if had <= 1 {
            return Ok(Self::Here);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(had).build().map_err(|_| refused())?;
        Ok(Self::Pool(Arc::new(pool)))
    }

    /// Whether there is nobody to share it with.
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Here)
    }

    /// Lets `work` find these threads as the current pool.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Pool(pool) => pool.install(work),
            Self::Current | Self::Here => work(),
        }
    }

    /// Runs over parts, each on one of the threads; a single one right here.
    pub fn for_each<V: Send>(&self, parts: &mut [V], run: impl Fn(usize, &mut V) + Send + Sync) {
        if parts.len() == 1 || self.is_alone() {
            parts.iter_mut().enumerate().for_each(|(number, part)| run(number, part));
        } else {
            self.install(|| parts.par_iter_mut().enumerate().for_each(|(number, part)| run(number, part)));
        }
    }
}

/// As many threads as the environment asks for by `RAYON_NUM_THREADS`.
pub fn asked_by_environment() -> Option<usize> {
    std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()).filter(|threads| *threads > 0)
}

/// One for each core.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Makes the threads that all work is shared out over: as many as are asked for, else as the environment says
/// (`RAYON_NUM_THREADS`), else one for each core. Results do not depend on their number: of those that nobody asked for there
/// may be fewer, which is [noted](super::notice), and if there is none and `here` allows it, the calling thread does all the
/// work. Threads that are there already stay.
///
/// # Errors
/// [`Error::Threads`] if there are not as many to be had as were asked for.
pub fn prepare(asked: Option<usize>, here: bool) -> Result<(), Error> {
    let asked = asked.filter(|threads| *threads > 0).or_else(asked_by_environment);
    let wanted = asked.unwrap_or_else(cores);
    let had = obtainable(wanted);
    let refused = || Error::Threads { wanted, had, limit: limit() };
    if had < wanted && (asked.is_some() || (had == 0 && !here)) {
        return Err(refused());
    }
    let builder = rayon::ThreadPoolBuilder::new();
    let builder = match had {
        0 => builder.num_threads(1).use_current_thread(),
        _ => builder.num_threads(had),
    };
    if had < wanted {
        note_fewer(had, wanted);
    }
    match builder.build_global() {
        Ok(()) => Ok(()),
        // That it was made before has no source.
        Err(error) => match std::error::Error::source(&error) {
            Some(_) => Err(refused()),
            None => Ok(()),
        },
    }
}

fn note_fewer(had: usize, wanted: usize) {
    note("threads", std::path::Path::new("/"), || {
        let used = had.max(1);
        format!(
            "the system gives this process {had} more threads{}, so that it uses {used} instead of {wanted}",
            limit()
        )
    });
}

/// How many more threads there are to be had, up to so many.
pub fn obtainable(most: usize) -> usize {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let mut waiting = Vec::new();
    while waiting.len() < most {
        let gate = Arc::clone(&gate);
        match thread::Builder::new().spawn(move || drop(gate.lock())) {
            Ok(thread) => waiting.push(thread),
            Err(_) => break,
        }
    }
    drop(closed);
    let had = waiting.len();
    for thread in waiting {
        // None of them can panic.
        let _ = thread.join();
    }
    if had < most {
        // A thread counts for a moment longer than it runs.
        thread::sleep(Duration::from_millis(20));
    }
    had
}

/// The limits on threads that this process is under, for a sentence; empty if none is known.
pub fn limit() -> String {
    let mut limits = Vec::new();
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        if let Some(most) = getrlimit(Resource::Nproc).current {
            limits.push(format!("ulimit -u is {most}"));
        }
        if let Some(most) = getrlimit(Resource::As).current {
            limits.push(format!("ulimit -v is {} kB", most >> 10));
        }
    }
    if let Some(most) = most_processes() {
        limits.push(format!("its control group allows {most}"));
    }
    if limits.is_empty() { String::new() } else { format!(" ({})", limits.join(", ")) }
}

/// How many processes and threads the control groups allow, in either version.
fn most_processes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let files = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            "pids" => "/sys/fs/cgroup/pids",
            _ => return None,
        };
        std::fs::read_to_string(format!("{root}{path}/pids.max")).ok()?.trim().parse::<u64>().ok()
    });
    files.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_shares_the_work_does_all_of_it() {
        let pool = Workers::new(3, true).unwrap();
        assert!(matches!(&pool, Workers::Pool(pool) if pool.current_num_threads() == 3));
        assert!(Workers::new(1, true).unwrap().is_alone());
        for workers in [pool, Workers::Here, Workers::Current] {
            for count in [0, 1, 17] {
                let mut parts = vec![1; count];
                workers.for_each(&mut parts, |number, part| *part += number);
                assert_eq!(parts, (1..=count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn threads_are_counted_and_more_than_there_are_is_an_error() {
        assert_eq!(obtainable(3), 3);
        let error = Error::Threads { wanted: 8, had: 2, limit: " (ulimit -u is 4)".into() };
        let sentence = "8 threads cannot be had: the system gives this process 2 more (ulimit -u is 4); choose fewer";
        assert_eq!(error.to_string(), sentence);
    }
}
