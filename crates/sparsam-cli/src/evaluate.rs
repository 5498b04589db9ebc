//! `sparsam eval`.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use sparsam::checkpoint;
use sparsam_train::evaluate_watched;

use crate::display::{EvaluationLine, grouped, print};
use crate::failure::INTERRUPTED;
use crate::settings::Evaluate;
use crate::train::use_threads;

/// Measures a network on sequences that it has not seen.
pub fn run(settings: &Evaluate) -> anyhow::Result<ExitCode> {
    // Nothing is kept that would have to be saved: the answer to Ctrl-C is to be gone.
    let line = EvaluationLine::new(settings.json, settings.sequences);
    let shown = line.clone();
    ctrlc::set_handler(move || {
        shown.end();
        std::process::exit(INTERRUPTED.into());
    })
    .context("the system does not tell of Ctrl-C")?;
    use_threads(settings.threads)?;
    let config = settings.run.config()?;
    let task = config.task.build()?;
    let network = checkpoint::load(&settings.network).map_err(sparsam_train::Error::from)?;
    let levels = settings.level.map(|level| level..=level);
    let rows = config.batch_size;
    let (sequences, seed) = (settings.sequences, settings.seed);
    line.begin(task.name());
    let mut watch = |done| line.show(done);
    let found = evaluate_watched(&network, &*task, levels.clone(), sequences, rows, seed, &mut watch);
    line.end();
    let found = found?;

    let levels = levels.unwrap_or_else(|| task.default_levels());
    let (first, last) = levels.into_inner();
    let (unit, wrong_unit, model) = (task.level_unit(), task.target_kind().unit(), config.network.memory.name());
    let line = if settings.json {
        let value = json!({
            "event": "evaluated",
            "checkpoint": settings.network.display().to_string(),
            "task": task.name(),
            "model": model,
            "first_level": first,
            "last_level": last,
            "sequences": found.sequences,
            "seed": settings.seed,
            "loss": found.loss,
            "wrong": found.wrong,
        });
        value.to_string()
    } else {
        let levels = if first == last { grouped(first as u64) } else { format!("{first} to {last}") };
        format!(
            "{model} on {}, {} fresh sequences of {levels} {unit}: {:.4} bits and {:.4} wrong {wrong_unit} per sequence",
            task.name(),
            grouped(found.sequences),
            found.loss,
            found.wrong,
        )
    };
    print(format!("{line}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
