//! Signals that ask for an end, and how a command follows them.
//!
//! Whoever starts a command may have it ignore a signal: `nohup` the closing of the terminal, a script Ctrl-C for what it
//! runs in the background. What is ignored at the start stays ignored.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::ProgressBar;
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::failure::{INTERRUPTED, TOLD_TO_END, eprintln_if_possible};

/// Ctrl-C, the closing of the terminal, and what batch systems send before they end a job.
#[cfg(unix)]
const ENDS: [i32; 6] = {
    use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};
    [SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU]
};
#[cfg(not(unix))]
const ENDS: [i32; 2] = [SIGINT, signal_hook::consts::SIGTERM];

#[cfg(unix)]
const SIGXCPU: i32 = libc::SIGXCPU;

/// What was asked for.
#[derive(Clone)]
pub struct Asked {
    /// The latest signal; 0 if there was none.
    signal: Arc<AtomicUsize>,
}

impl Asked {
    /// The exit status of a command that was asked to end, and saved; none if it was not.
    pub fn status(&self) -> Option<u8> {
        let signal = self.signal.load(Ordering::Relaxed) as i32;
        (signal != 0).then(|| status(signal))
    }
}

fn status(signal: i32) -> u8 {
    match signal {
        SIGINT => INTERRUPTED,
        // As shells tell of it.
        #[cfg(unix)]
        signal_hook::consts::SIGHUP => 129,
        _ => TOLD_TO_END,
    }
}

/// From now on a signal that asks for an end sets `stop`, and it is said what is being `done` still. Only a second Ctrl-C
/// quits at once: a terminal that closes sends its signal twice.
///
/// # Errors
/// What the system says if it does not tell of signals.
pub fn save_and_end(stop: &Arc<AtomicBool>, bar: ProgressBar, done: &'static str) -> io::Result<Asked> {
    save_and_end_unless(&Arc::default(), "", stop, bar, done)
}

/// [`save_and_end`], but while `nothing_to_save` is set the command ends at once, and says what it has `ended` with.
///
/// # Errors
/// As [`save_and_end`].
pub fn save_and_end_unless(
    nothing_to_save: &Arc<AtomicBool>,
    ended: &'static str,
    stop: &Arc<AtomicBool>,
    bar: ProgressBar,
    done: &'static str,
) -> io::Result<Asked> {
    let asked = Asked { signal: Arc::default() };
    quit_at_the_second_interrupt()?;
    let ends: Vec<i32> = ENDS.into_iter().filter(|signal| !is_ignored(*signal)).collect();
    for signal in &ends {
        flag::register_usize(*signal, Arc::clone(&asked.signal), *signal as usize)?;
        flag::register(*signal, Arc::clone(stop))?;
    }
    let nothing_to_save = Arc::clone(nothing_to_save);
    when_first(ends, move |signal| {
        if nothing_to_save.load(Ordering::Relaxed) {
            bar.suspend(|| eprintln_if_possible(ended));
            std::process::exit(status(signal).into());
        }
        let again = if signal == SIGINT { "Ctrl-C again" } else { "Ctrl-C twice" };
        bar.suspend(|| eprintln_if_possible(&format!("{done}; {again} quits at once")));
    });
    Ok(asked)
}

/// From now on a signal that asks for an end ends the command at once, after `last`.
pub fn end_at_once(last: impl FnOnce() + Send + 'static) {
    when_asked(move |status| {
        last();
        std::process::exit(status.into());
    });
}

/// From now on a second Ctrl-C quits at once.
///
/// # Errors
/// What the system says if it does not tell of signals.
pub fn quit_at_the_second_interrupt() -> io::Result<()> {
    if is_ignored(SIGINT) {
        return Ok(());
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    // Looks at the flag before the next line sets it.
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(&interrupted))?;
    flag::register(SIGINT, interrupted)?;
    Ok(())
}

/// From now on the first signal that asks for an end calls this, with the exit status that the command should then have.
pub fn when_asked(then: impl FnOnce(u8) + Send + 'static) {
    let ends = ENDS.into_iter().filter(|signal| !is_ignored(*signal)).collect();
    when_first(ends, move |signal| then(status(signal)));
}

/// Lets a thread wait for the first of these signals. Where there is none to be had, signals do what they do otherwise.
#[cfg(unix)]
fn when_first(signals: Vec<i32>, then: impl FnOnce(i32) + Send + 'static) {
    // The thread first: once it is told of signals, they have lost what they do by themselves.
    let waits = move || {
        let Ok(mut told) = signal_hook::iterator::Signals::new(signals) else { return };
        if let Some(signal) = told.forever().next() {
            then(signal);
        }
    };
    let _ = std::thread::Builder::new().name("signals".into()).spawn(waits);
}

#[cfg(not(unix))]
fn when_first(_: Vec<i32>, _: impl FnOnce(i32) + Send + 'static) {}

/// A file that may not grow any more is an error of writing, and not the end of the program.
pub fn allow_errors_of_size() {
    #[cfg(unix)]
    {
        // Whoever asked for the signal gets it: it is only heard, and nothing is done about it.
        let _ = flag::register(libc::SIGXFSZ, Arc::default());
    }
}

/// Whether the program was started with this signal ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: `sigaction` with no new action only writes the present one into the structure, for which any bytes will do.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut present) == 0 && present.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn is_ignored(_: i32) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        // The standard library ignores the first for every program, and nobody the second.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGWINCH));
    }

    #[test]
    fn each_kind_of_end_has_a_status() {
        let statuses = ENDS.map(status);
        assert_eq!(statuses, [129, INTERRUPTED, TOLD_TO_END, TOLD_TO_END, TOLD_TO_END, TOLD_TO_END]);
        let asked = Asked { signal: Arc::default() };
        assert_eq!(asked.status(), None);
        asked.signal.store(SIGINT as usize, Ordering::Relaxed);
        assert_eq!(asked.status(), Some(130));
    }
}
