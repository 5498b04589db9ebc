//! `sparsam eval`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use sparsam_train::{CategoryScore, Cost, Evaluation, EvaluationOptions, Task, Units, evaluate_measured, load_network};

use crate::display::{EvaluationLine, amount, duration, grouped, measured, print, tell_notices};
use crate::process::status_bytes;
use crate::settings::Evaluate;
use crate::signals::end_at_once;
use crate::train::use_threads;

/// Sequences of an evaluation unless told otherwise, where there are always fresh ones.
const SEQUENCES: u64 = 256;

/// Measures a network on sequences that it has not seen.
pub fn run(settings: &Evaluate) -> anyhow::Result<ExitCode> {
    // Nothing is kept that would have to be saved: the answer to Ctrl-C is to be gone.
    let line = EvaluationLine::new(settings.json);
    let shown = line.clone();
    end_at_once(move || shown.end());
    use_threads(settings.threads)?;
    let config = settings.run.config()?;
    let task = settings.run.task(settings.test_files.as_deref())?;
    let (network, batch) = load_network(&settings.network)?;
    tell_notices();
    let name = settings.network.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut asked = config.clone();
    asked.network.memory = network.config().memory.clone();
    let network = network.with_memory(settings.memory.apply(asked)?.network.memory)?;
    let levels = match settings.level {
        Some(level) => level..=level,
        None => settings.run.levels(&*task)?,
    };
    let all = settings.level.map_or_else(|| task.evaluation_sequences(), |level| task.evaluation_sequences_of(level));
    let sequences = settings.sequences.or(all).unwrap_or(SEQUENCES);
    let units = Units::of(&*task);
    line.begin(task.name(), sequences);
    let mut watch = |done| line.show(done);
    let options = EvaluationOptions {
        levels: Some(levels.clone()),
        sequences,
        batch_size: config.batch_size,
        seed: settings.seed,
        compare_index: settings.compare_index,
    };
    let found = evaluate_measured(&network, &*task, &options, &mut watch);
    line.end();
    let (found, cost) = found?;

    let (first, last) = levels.into_inner();
    let model = config.network.memory.name();
    let text = if settings.json {
        let mut value = json!({
            "event": "evaluated",
            "checkpoint": settings.network.display().to_string(),
            "which": name,
            "batch": batch,
            "task": task.name(),
            "model": model,
            "memory": network.config().memory,
            "first_level": first,
            "last_level": last,
            "sequences": found.sequences,
            "seed": settings.seed,
            "targets": found.targets,
            "unit": units.loss(),
            "loss": found.loss,
            "loss_error": found.loss_error,
            "guessing": found.guessing,
            "wrong": found.wrong,
            "right": found.right,
            "right_error": found.right_error,
        });
        value["steps"] = cost.steps.into();
        value["seconds"] = cost.time.as_secs_f64().into();
        // An exact search after each would be among them.
        value["search_seconds"] = cost.search_misses.is_none().then_some(cost.search_time.as_secs_f64()).into();
        value["words_written"] = cost.words_written.into();
        if let Some(misses) = cost.search_misses {
            (value["words_wanted"], value["words_missed"]) = (misses.wanted.into(), misses.missed.into());
        }
        value["peak_bytes"] = peak_bytes().into();
        if let Some(mean) = found.mean_error() {
            value["mean_error"] = mean.into();
            value["categories"] = serde_json::to_value(&found.categories)?;
        }
        format!("{value}\n")
    } else {
        let unit = task.level_unit();
        let which = if task.evaluation_sequences().is_some() && task.possible_levels().end() > &1 {
            format!("{} sequences of {} {unit}", grouped(found.sequences), grouped(last as u64))
        } else if task.evaluation_sequences().is_some() {
            format!("{} {unit}", grouped(found.sequences))
        } else if first == last {
            format!("{} fresh sequences of {} {unit}", grouped(found.sequences), grouped(first as u64))
        } else {
            format!("{} fresh sequences of {first} to {last} {unit}", grouped(found.sequences))
        };
        let checkpoint = match batch {
            Some(batch) => format!("{name}, after {} batches", grouped(batch)),
            None => name,
        };
        let right = found.right.zip(found.right_error);
        let (error, guessing) = (found.loss_error, Some(found.guessing));
        format!(
            "{model} on {} ({checkpoint}), {which}: {}\n{}{}\n",
            task.name(),
            measured(found.loss, error, guessing, found.wrong, right, "sequences", units),
            table(&*task, &found),
            took(&cost, network.config().memory.memory_size()),
        )
    };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What it took, in a line: time, what of it went into searches, memory.
fn took(cost: &Cost, memory_size: usize) -> String {
    let Cost { steps, time, search_time, words_written, search_misses } = *cost;
    let each = |time: Duration| 1e6 * time.as_secs_f64() / steps.max(1) as f64;
    let mut text =
        format!("{} steps in {}, {} µs each", grouped(steps), duration(time.as_secs_f64()), amount(each(time)));
    if let Some(words) = words_written {
        // Writing to a string cannot fail.
        if search_misses.is_none() {
            let _ = write!(text, ", searches {} µs (summed over threads)", amount(each(search_time)));
        }
        let words = grouped(words.round() as u64);
        let _ = write!(text, "; {words} of {} words written to in a sequence", grouped(memory_size as u64));
    }
    if let Some(misses) = search_misses {
        let share = 100.0 * misses.missed as f64 / misses.wanted.max(1) as f64;
        let (missed, wanted) = (grouped(misses.missed), grouped(misses.wanted));
        let _ = write!(text, "; the index missed {share:.2} % of words ({missed} of {wanted})");
    }
    if let Some(bytes) = peak_bytes() {
        let _ = write!(text, "; {:.0} MB of memory in use at most", bytes as f64 / 1e6);
    }
    text
}

/// What the program took of the memory of this machine at most, where the system tells.
fn peak_bytes() -> Option<u64> {
    status_bytes("VmHWM")
}

/// The errors of the task's categories, a line each, and what they come to.
fn table(task: &dyn Task, found: &Evaluation) -> String {
    let (Some(categories), Some(mean)) = (task.categories(), found.mean_error()) else { return String::new() };
    let unit = categories.unit;
    let width = categories.names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for score in found.categories.iter().filter(|score| score.answers > 0) {
        let CategoryScore { name, answers, wrong } = score;
        let (error, answers) = (100.0 * *wrong as f64 / *answers as f64, grouped(*answers));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{unit} {name:width$}  {error:6.2} % of {answers} answers wrong");
    }
    let _ = write!(text, "mean error of the {unit}s {:.2} %", 100.0 * mean);
    if let Some(above) = categories.failed_above {
        let count = found.categories.iter().filter(|score| score.answers > 0).count();
        let _ = write!(text, "; failed (above {:.0} %) {} of {count}", 100.0 * above, found.failed(above));
    }
    text.push('\n');
    text
}
