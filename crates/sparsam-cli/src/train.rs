//! `sparsam train`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::ProgressBar;
use sparsam_train::{Config, Outcome, Trainer, Units};

use crate::display::{Display, grouped};
use crate::failure::INTERRUPTED;
use crate::settings::{Start, Train};
use crate::shell::shell_word;

/// Trains until the end or Ctrl-C.
pub fn run(settings: Train) -> anyhow::Result<ExitCode> {
    use_threads(settings.threads)?;
    let mut trainer = match settings.start {
        Start::New { config, folder } => Trainer::new(*config, &folder)?,
        Start::Resume { folder, batches, cooldown, until } => {
            let mut trainer = Trainer::resume(&folder)?;
            if batches.is_some() || cooldown.is_some() || until.is_some() {
                let Config { batches: had, cooldown: fell, until: ended, .. } = *trainer.config();
                // Whoever gives more to a run that has learnt its task wants it to go on.
                let ended = if trainer.has_learnt() { 0.0 } else { ended };
                trainer.set_end(batches.unwrap_or(had), cooldown.unwrap_or(fell), until.unwrap_or(ended))?;
            }
            trainer
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let (task, units) = (trainer.task().name(), Units::of(trainer.task()));
    let mut display = Display::new(settings.style, task, units, stop.clone());
    let interrupted = Arc::new(AtomicBool::new(false));
    stop_on_signal(stop.clone(), interrupted.clone(), display.bar(), "finishing the batch, then saving")?;

    let outcome = trainer.run(&mut display, &stop);
    display.close()?;
    if outcome? != Outcome::Stopped || !interrupted.load(Ordering::Relaxed) {
        return Ok(ExitCode::SUCCESS);
    }
    let folder = shell_word(trainer.folder());
    let batches = grouped(trainer.batch());
    let _ = writeln!(
        std::io::stderr(),
        "stopped after {batches} batches, all saved; to go on: sparsam train --resume {folder}"
    );
    Ok(ExitCode::from(INTERRUPTED))
}

/// The first signal sets both flags and says what is being `done` still; the second quits at once, which what is on the
/// disk survives.
pub fn stop_on_signal(
    stop: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
    bar: ProgressBar,
    done: &'static str,
) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        stop.store(true, Ordering::Relaxed);
        bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{done}; Ctrl-C again quits at once");
        });
    })
    .context("the system does not tell of Ctrl-C")
}

/// Uses so many threads for everything to come.
pub fn use_threads(threads: Option<usize>) -> anyhow::Result<()> {
    if let Some(threads) = threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global().with_context(|| format!("--threads {threads} does not work here; choose fewer"))?;
    }
    Ok(())
}
