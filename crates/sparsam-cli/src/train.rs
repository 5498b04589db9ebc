//! `sparsam train`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use sparsam_train::{Config, Outcome, Trainer, Units};

use crate::display::{Display, grouped, tell_notices};
use crate::failure::OUTPUT_LOST;
use crate::settings::{Start, Train};
use crate::shell::shell_word;
use crate::signals::save_and_end;

/// Trains until the end, or until it is asked to end.
pub fn run(settings: Train) -> anyhow::Result<ExitCode> {
    use_threads(settings.threads)?;
    let mut trainer = match settings.start {
        Start::New { config, folder: Some(folder) } => Trainer::new(*config, &folder)?,
        Start::New { config, folder: None } => in_free_folder(&config)?,
        Start::Resume { folder, batches, cooldown, until, patience } => {
            let mut trainer = Trainer::resume(&folder)?;
            if batches.is_some() || cooldown.is_some() || until.is_some() || patience.is_some() {
                let Config { batches: had, cooldown: fell, until: ended, patience: waited, .. } = *trainer.config();
                // Whoever gives more to a run that has learnt its task wants it to go on.
                let ended = if trainer.has_learnt() { 0.0 } else { ended };
                let waited = if trainer.is_no_better() { 0 } else { waited };
                let (until, patience) = (until.unwrap_or(ended), patience.unwrap_or(waited));
                trainer.set_end(batches.unwrap_or(had), cooldown.unwrap_or(fell), until, patience)?;
            }
            trainer
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let (task, units) = (trainer.task().name(), Units::of(trainer.task()));
    let unread = settings.stop_on_closed_output.then(|| stop.clone());
    let mut display = Display::new(settings.style, task, units, unread);
    let asked = save_and_end(&stop, display.bar(), "finishing the batch, then saving")
        .context("the system does not tell of signals, so that Ctrl-C would save nothing")?;

    let outcome = trainer.run(&mut display, &stop);
    let lost = display.close();
    let status = match outcome? {
        Outcome::Stopped => asked.status(),
        Outcome::Finished | Outcome::Learnt | Outcome::NoBetter => None,
    };
    let Some(status) = status else {
        return Ok(if lost { ExitCode::from(OUTPUT_LOST) } else { ExitCode::SUCCESS });
    };
    let folder = shell_word(trainer.folder());
    let batches = grouped(trainer.batch());
    let _ = writeln!(
        std::io::stderr(),
        "stopped after {batches} batches, all saved; to go on: sparsam train --resume {folder}"
    );
    Ok(ExitCode::from(status))
}

/// Starts a run in `runs/TASK-MODEL-SEED`, with a number behind it if there is such a run already. Another command may take
/// the same name meanwhile, as the jobs of an array that start together do: then the next one is tried.
fn in_free_folder(config: &Config) -> anyhow::Result<Trainer> {
    let name = format!("{}-{}-{}", config.task.name(), config.network.memory.name(), config.seed);
    let numbered = (2u64..).map(|number| format!("{name}-{number}"));
    let folders = std::iter::once(name.clone()).chain(numbered).map(|name| Path::new("runs").join(name));
    for folder in folders.filter(|folder| !folder.exists()) {
        match Trainer::new(config.clone(), &folder) {
            Err(sparsam_train::Error::RunExists { .. } | sparsam_train::Error::Locked { .. }) => {}
            started => return Ok(started?),
        }
    }
    unreachable!("there are more names than folders")
}

/// Uses so many threads for everything to come.
pub fn use_threads(threads: Option<usize>) -> anyhow::Result<()> {
    sparsam::internal::threads::prepare(threads, true).map_err(sparsam_train::Error::from)?;
    tell_notices();
    Ok(())
}
