//! `sparsam eval`.

use std::process::ExitCode;

use serde_json::json;
use sparsam::checkpoint;

use crate::display::{grouped, print};
use crate::settings::Evaluate;
use crate::train::use_threads;

/// Measures a network on sequences that it has not seen.
pub fn run(settings: &Evaluate) -> anyhow::Result<ExitCode> {
    use_threads(settings.threads)?;
    let config = settings.run.config()?;
    let task = config.task.build()?;
    let network = checkpoint::load(&settings.network).map_err(sparsam_train::Error::from)?;
    let levels = settings.level.map(|level| level..=level);
    let rows = config.batch_size;
    let found = sparsam_train::evaluate(&network, &*task, levels.clone(), settings.sequences, rows, settings.seed)?;

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
