//! `sparsam compare` and `sparsam runs`: what trained runs have come to, beside each other.
//!
//! Runs whose configurations differ in nothing but the seed are one group: a line of the table, and one of the picture
//! with a band from the best to the worst of its seeds. A group's name tells what differs from the other groups.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use sparsam_train::plot::{Axis, Line, Panel, Picture, Unit};
use sparsam_train::{Config, Metrics, Per, RunFolder, Units};

use crate::arguments::AxisScale;
use crate::display::{amount, duration, grouped, print, tell_notices, told_guessing};
use crate::failure::Mistake;
use crate::image::encode;
use crate::settings::{Compare, Runs};
use crate::shell::shell_word;
use crate::signals::end_at_once;
use crate::table::row;

/// A run as far as it has come.
struct Run {
    folder: PathBuf,
    config: Config,
    metrics: Vec<Metrics>,
    /// The configuration as a place and a value for each field.
    fields: BTreeMap<String, String>,
}

impl Run {
    fn open(folder: &RunFolder) -> anyhow::Result<Self> {
        let config = folder.config()?;
        let fields = fields(&config)?;
        Ok(Self { folder: folder.path().to_owned(), metrics: folder.metrics()?, config, fields })
    }

    fn is_learnt(&self) -> bool {
        let last: Vec<_> = self.metrics.iter().rev().take(2).collect();
        // With a curriculum it has learnt it at the last level.
        let level = self.config.curriculum.on.then_some(self.config.curriculum.end);
        let right = |line: &Metrics| line.wrong.is_some_and(|wrong| wrong <= self.config.until);
        let learnt = |line: &&Metrics| right(line) && level.is_none_or(|_| line.level == level);
        self.config.until > 0.0 && last.len() == 2 && last.iter().all(learnt)
    }

    /// Sequences until an evaluation first shows this share of the loss of guessing.
    fn reached(&self, share: f64) -> Option<u64> {
        let there = |line: &&Metrics| line.guessing.is_some_and(|guessing| line.loss <= share * guessing);
        self.metrics.iter().find(there).map(|line| line.sequences)
    }

    /// The metrics after so many sequences. What has learnt its task stays as it was.
    fn at(&self, sequences: u64) -> Option<&Metrics> {
        let found = self.metrics.binary_search_by_key(&sequences, |line| line.sequences);
        match found {
            Ok(place) => Some(&self.metrics[place]),
            Err(place) if place == self.metrics.len() && self.is_learnt() => self.metrics.last(),
            Err(_) => None,
        }
    }
}

/// The fields of a configuration as texts.
fn fields(config: &Config) -> Result<BTreeMap<String, String>, sparsam_train::Error> {
    let told = |value: toml::Value| match value {
        toml::Value::String(text) => text,
        value => value.to_string(),
    };
    Ok(config.fields()?.into_iter().map(|(name, value)| (name, told(value))).collect())
}

/// The runs of these folders, or of the folders in them, in the order in which they are named.
fn open(folders: &[PathBuf]) -> anyhow::Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for folder in folders {
        let found = match RunFolder::open(folder) {
            Ok(run) => vec![run],
            Err(error) => {
                let within = runs_in(folder)?;
                if within.is_empty() {
                    return Err(error.into());
                }
                within
            }
        };
        for run in found {
            let same = |other: &Run| fs::canonicalize(&other.folder).ok() == fs::canonicalize(run.path()).ok();
            if !runs.iter().any(same) {
                runs.push(Run::open(&run)?);
            }
        }
    }
    Ok(runs)
}

/// The runs in a folder, by name.
fn runs_in(folder: &Path) -> anyhow::Result<Vec<RunFolder>> {
    if !folder.is_dir() {
        return Err(Mistake(format!("there is no folder {}; name the folders of runs", folder.display())).into());
    }
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths.iter().filter_map(|path| RunFolder::open(path).ok()).collect())
}

/// Runs that differ in nothing but their seed.
struct Group {
    name: String,
    runs: Vec<Run>,
}

/// The field that seeds differ in.
const SEED: &str = "seed";
const MODEL: &str = "network.memory.model";

fn group(runs: Vec<Run>) -> Vec<Group> {
    let mut groups: Vec<(BTreeMap<String, String>, Vec<Run>)> = Vec::new();
    for run in runs {
        let mut fields = run.fields.clone();
        fields.remove(SEED);
        match groups.iter_mut().find(|group| group.0 == fields) {
            Some(group) => group.1.push(run),
            None => groups.push((fields, vec![run])),
        }
    }
    let all: Vec<BTreeMap<String, String>> = groups.iter().map(|group| group.0.clone()).collect();
    let model = |fields: &BTreeMap<String, String>| fields.get(MODEL).cloned().unwrap_or_default();
    let models_differ = all.iter().any(|fields| model(fields) != model(&all[0]));
    // What follows from the model alone tells nothing more.
    let differs = |name: &&String| {
        name.as_str() != MODEL
            && all.iter().any(|a| all.iter().any(|b| model(a) == model(b) && a.get(*name) != b.get(*name)))
    };
    let mut names: Vec<&String> = all.iter().flat_map(BTreeMap::keys).filter(differs).collect();
    names.sort();
    names.dedup();
    groups
        .into_iter()
        .map(|(fields, runs)| {
            let mut parts = Vec::new();
            if models_differ || names.is_empty() {
                parts.push(model(&fields).to_uppercase());
            }
            for name in &names {
                let short = name.rsplit('.').next().unwrap_or(name).replace('_', " ");
                let value = fields.get(*name).map_or("none", String::as_str);
                parts.push(if short == "kind" { value.to_owned() } else { format!("{short} {value}") });
            }
            Group { name: parts.join(", "), runs }
        })
        .collect()
}

/// The mean and the standard deviation of numbers; none of the second for a single one.
fn spread(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()))
}

/// The middle of counts, some of which were never reached.
fn median(mut values: Vec<Option<u64>>) -> Option<u64> {
    values.sort_by_key(|value| value.unwrap_or(u64::MAX));
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(u64::midpoint((*low)?, (*high)?))
}

/// What stands in a line of the table.
struct Summary {
    name: String,
    seeds: Vec<u64>,
    folders: Vec<PathBuf>,
    sequences: u64,
    loss: (f64, Option<f64>),
    lowest: (f64, Option<f64>),
    guessing: Option<f64>,
    wrong: Option<(f64, Option<f64>)>,
    right: Option<(f64, Option<f64>)>,
    tenth: Option<u64>,
    hundredth: Option<u64>,
    seconds: f64,
    level: Option<usize>,
}

impl Group {
    /// None before the first evaluation of any of its runs.
    fn summary(&self) -> Option<Summary> {
        let runs: Vec<_> = self.runs.iter().filter_map(|run| Some((run, run.metrics.last()?))).collect();
        if runs.is_empty() {
            return None;
        }
        let of =
            |value: &dyn Fn(&Metrics) -> f64| spread(&runs.iter().map(|(_, last)| value(last)).collect::<Vec<_>>());
        let lowest = |run: &Run| run.metrics.iter().map(|line| line.loss).fold(f64::INFINITY, f64::min);
        let wrongs: Option<Vec<f64>> = runs.iter().map(|(_, last)| last.wrong).collect();
        let rights: Option<Vec<f64>> = runs.iter().map(|(_, last)| last.right).collect();
        Some(Summary {
            name: self.name.clone(),
            seeds: runs.iter().map(|(run, _)| run.config.seed).collect(),
            folders: runs.iter().map(|(run, _)| run.folder.clone()).collect(),
            sequences: runs.iter().map(|(_, last)| last.sequences).max()?,
            loss: of(&|line| line.loss),
            lowest: spread(&runs.iter().map(|(run, _)| lowest(run)).collect::<Vec<_>>()),
            guessing: runs.iter().find_map(|(_, last)| last.guessing),
            wrong: wrongs.map(|wrongs| spread(&wrongs)),
            right: rights.map(|rights| spread(&rights)),
            tenth: median(runs.iter().map(|(run, _)| run.reached(0.1)).collect()),
            hundredth: median(runs.iter().map(|(run, _)| run.reached(0.01)).collect()),
            seconds: runs.iter().map(|(_, last)| last.seconds).sum(),
            level: runs.iter().filter_map(|(_, last)| last.level).max(),
        })
    }

    /// The mean over the seeds, and the lowest and highest, at each number of sequences at which all of them were
    /// evaluated.
    fn line(&self, value: &dyn Fn(&Metrics) -> Option<f64>) -> Line {
        // One that has just been started has nothing to show, and hides nothing.
        let runs: Vec<&Run> = self.runs.iter().filter(|run| !run.metrics.is_empty()).collect();
        let longest = runs.iter().max_by_key(|run| run.metrics.last().map_or(0, |line| line.sequences));
        let (mut points, mut band) = (Vec::new(), Vec::new());
        for line in longest.map_or(&[][..], |run| &run.metrics) {
            let values: Option<Vec<f64>> = runs.iter().map(|run| run.at(line.sequences).and_then(value)).collect();
            let Some(values) = values.filter(|values| values.iter().all(|value| value.is_finite())) else { continue };
            points.push((line.sequences as f64, spread(&values).0));
            let extremes = values.iter().fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(*x), high.max(*x)));
            band.push(extremes);
        }
        let band = if runs.len() > 1 { band } else { Vec::new() };
        Line { band, ..Line::new(self.name.as_str(), points) }
    }
}

/// Compares runs.
pub fn run(settings: &Compare) -> anyhow::Result<ExitCode> {
    end_at_once(|| ());
    let runs = open(&settings.runs)?;
    let first = &runs.first().context("there are no runs")?.config.task;
    if let Some(other) = runs.iter().find(|run| run.config.task.name() != first.name()) {
        let (a, b) = (first.name(), other.config.task.name());
        let text = format!("runs of {a} and of {b} cannot be compared; name runs of one task");
        return Err(Mistake(text).into());
    }
    let (task, name) = (runs[0].config.task.clone(), first.name());
    // A task whose data is elsewhere can still be compared.
    let units = RunFolder::open(&runs[0].folder)?.units().ok();
    let groups = group(runs);
    let results: Vec<Summary> = groups.iter().filter_map(Group::summary).collect();
    if results.is_empty() {
        let text = "none of these runs has been evaluated yet; train them a little longer";
        return Err(Mistake(text.into()).into());
    }
    let guessing = results
        .iter()
        .filter_map(|result| result.guessing)
        .fold(None, |most: Option<f64>, value| Some(most.map_or(value, |most| most.max(value))));
    let curriculum = results.iter().any(|result| result.level.is_some());
    let picture = picture(settings, name, &groups, &results, guessing.filter(|_| !curriculum), units);
    let path = &settings.output;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    sparsam::internal::file::replace(path, &encode(&picture, settings.format)?)
        .with_context(|| path.display().to_string())?;
    tell_notices();
    let text = if settings.json {
        let groups: Vec<Value> = results.iter().map(Summary::to_json).collect();
        let unit = units.map(Units::loss);
        let picture = path.display().to_string();
        format!("{}\n", json!({"task": name, "options": task, "unit": unit, "groups": groups, "picture": picture}))
    } else {
        format!("{}\npicture: {}\n", table(&results, units, curriculum), shell_word(path))
    };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The mean and spread of runs that differ in nothing but their seed, in a line and for a program.
pub fn spread_of(folders: &[PathBuf]) -> anyhow::Result<(String, Value)> {
    let units = folders.first().and_then(|folder| RunFolder::open(folder).ok()?.units().ok());
    let groups = group(open(folders)?);
    let results: Vec<Summary> = groups.iter().filter_map(Group::summary).collect();
    let text = results.iter().map(|result| result.line(units)).collect::<Vec<_>>().join("\n");
    Ok((text, results.iter().map(Summary::to_json).collect()))
}

fn picture(
    settings: &Compare,
    task: &str,
    groups: &[Group],
    results: &[Summary],
    guessing: Option<f64>,
    units: Option<Units>,
) -> Picture {
    let curriculum = results.iter().any(|result| result.level.is_some());
    let loss = |line: &Metrics| Some(line.loss);
    let level = |line: &Metrics| line.level.map(|level| level as f64);
    let value: &dyn Fn(&Metrics) -> Option<f64> = if curriculum { &level } else { &loss };
    let mut lines: Vec<Line> = groups.iter().map(|group| group.line(value)).collect();
    let places = || lines.iter().flat_map(|line| &line.points).map(|point| point.0);
    let (first, last) = (places().fold(f64::INFINITY, f64::min), places().fold(0.0, f64::max));
    let learnt = results.iter().filter_map(|result| result.tenth).min();
    let soon = learnt.is_some_and(|sequences| sequences as f64 <= last / 10.0);
    let x = match settings.axes[0] {
        Some(AxisScale::Log) => Unit::Length,
        None if soon && !curriculum => Unit::Length,
        Some(AxisScale::Linear) | None => Unit::Count,
    };
    if let Some(guessing) = guessing {
        lines.push(Line::guessing(guessing, if x == Unit::Count { 0.0 } else { first }, last));
    }
    let seeds = groups.iter().map(|group| group.runs.len()).max().unwrap_or(1);
    let bands = if seeds > 1 { "means over the seeds, bands from the best to the worst" } else { "one seed each" };
    let (label, unit) = if curriculum {
        ("highest level trained on".into(), Unit::Length)
    } else {
        (units.map_or_else(|| "loss".into(), Units::loss_axis), Unit::Loss)
    };
    let unit = if settings.axes[1] == Some(AxisScale::Linear) { Unit::Count } else { unit };
    // What is so rarely wrong is learnt.
    let least = guessing.map(|guessing| 10f64.powf((1e-4 * guessing).log10().floor()));
    Picture {
        title: format!("{task}: {}", if curriculum { "how far a curriculum comes" } else { "loss of fresh sequences" }),
        subtitle: match groups {
            [group] => format!("{}; {bands}", group.name),
            _ => bands.into(),
        },
        x: Axis::new("sequences trained on", x),
        panels: vec![Panel { y: Axis { least, ..Axis::new(label, unit) }, lines, marks: Vec::new() }],
        size: settings.size,
    }
}

impl Summary {
    /// "5 seeds: loss 0.0053 ± 0.0031 of 84.0 bits, 0.0120 ± 0.0050 bits wrong, 99.6 ± 0.4 % of sequences right".
    fn line(&self, units: Option<Units>) -> String {
        let seeds = self.seeds.len();
        let mut text = format!("{seeds} seed{}: loss {}", if seeds == 1 { "" } else { "s" }, with_deviation(self.loss));
        if let Some(units) = units {
            let guessing = self.guessing.map_or_else(String::new, |loss| format!(" of {}", told_guessing(loss, units)));
            text.push_str(&format!("{guessing} {}", units.loss()));
            match self.wrong.zip(units.wrong()) {
                Some((wrong, what)) if units.per == Per::Sequence => {
                    text.push_str(&format!(", {} {what} wrong", with_deviation(wrong)));
                }
                Some(((share, deviation), what)) => {
                    text.push_str(&format!(", {} of {what} wrong", with_percent(share, deviation)));
                }
                None => {}
            }
        }
        if let Some((share, deviation)) = self.right {
            text.push_str(&format!(", {} of sequences right", with_percent(share, deviation)));
        }
        let spread = if seeds > 1 { " (mean ± standard deviation over the seeds)" } else { "" };
        text + spread
    }

    fn to_json(&self) -> Value {
        let folders: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        json!({
            "name": self.name, "seeds": self.seeds, "folders": folders, "sequences": self.sequences,
            "loss": self.loss.0, "loss_deviation": self.loss.1,
            "lowest_loss": self.lowest.0, "lowest_loss_deviation": self.lowest.1, "guessing": self.guessing,
            "wrong": self.wrong.map(|wrong| wrong.0), "wrong_deviation": self.wrong.and_then(|wrong| wrong.1),
            "right": self.right.map(|right| right.0), "right_deviation": self.right.and_then(|right| right.1),
            "sequences_to_a_tenth": self.tenth, "sequences_to_a_hundredth": self.hundredth,
            "seconds": self.seconds, "level": self.level,
        })
    }
}

fn with_deviation((mean, deviation): (f64, Option<f64>)) -> String {
    deviation.map_or_else(|| amount(mean), |deviation| format!("{} ± {}", amount(mean), amount(deviation)))
}

fn with_percent(share: f64, deviation: Option<f64>) -> String {
    let deviation = deviation.map_or_else(String::new, |deviation| format!(" ± {:.1}", 100.0 * deviation));
    format!("{:.1}{deviation} %", 100.0 * share)
}

fn table(results: &[Summary], units: Option<Units>, curriculum: bool) -> String {
    let of_sequences = units.is_none_or(|units| units.per == Per::Sequence);
    let wrong = units.map_or_else(|| Some("outputs".into()), Units::wrong);
    let reached = |sequences: Option<u64>| sequences.map_or_else(|| "-".into(), grouped);
    let mut lines = vec![vec![
        "runs".to_owned(),
        "seeds".into(),
        "sequences".into(),
        match units.map(Units::loss) {
            Some(unit) if unit.starts_with("bits") => format!("loss, {unit}"),
            Some(unit) => format!("mean {unit}"),
            None => "loss".into(),
        },
        "lowest".into(),
        "guessing".into(),
        wrong.as_ref().map_or_else(String::new, |wrong| format!("{wrong} wrong")),
        if of_sequences { "all right".into() } else { String::new() },
        if curriculum { "level".into() } else { "to a tenth".into() },
        if curriculum { String::new() } else { "to a hundredth".into() },
        "time".into(),
    ]];
    for result in results {
        let right = result.right.map(|(mean, deviation)| with_percent(mean, deviation));
        lines.push(vec![
            result.name.clone(),
            result.seeds.len().to_string(),
            grouped(result.sequences),
            with_deviation(result.loss),
            with_deviation(result.lowest),
            result.guessing.map_or_else(
                || "-".into(),
                |guessing| units.map_or_else(|| amount(guessing), |units| told_guessing(guessing, units)),
            ),
            match result.wrong {
                _ if wrong.is_none() => String::new(),
                Some(wrong) if of_sequences => with_deviation(wrong),
                Some((share, deviation)) => with_percent(share, deviation),
                None => "-".into(),
            },
            if of_sequences { right.unwrap_or_else(|| "-".into()) } else { String::new() },
            if curriculum { reached(result.level.map(|level| level as u64)) } else { reached(result.tenth) },
            if curriculum { String::new() } else { reached(result.hundredth) },
            duration(result.seconds),
        ]);
    }
    aligned(&lines)
}

/// Cells in columns, the first to the left and the others to the right. Columns that are empty are left out.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let cells: Vec<(&str, usize, bool)> = (0..columns)
            .filter(|column| widths[*column] > 0)
            .map(|column| (cells[column].as_str(), widths[column], column > 0))
            .collect();
        row(&cells) + "\n"
    };
    lines.iter().map(line).collect()
}

/// Lists runs.
pub fn list(settings: &Runs) -> anyhow::Result<ExitCode> {
    end_at_once(|| ());
    let runs = runs_in(&settings.folder)?;
    if runs.is_empty() {
        let folder = settings.folder.display();
        return Err(Mistake(format!("there are no runs in {folder}; train one: sparsam train copy")).into());
    }
    let mut lines =
        vec![["run", "task", "model", "seed", "batches", "of", "loss", "wrong", "time"].map(str::to_owned).to_vec()];
    let mut values = Vec::new();
    for folder in &runs {
        // One run that cannot be read does not hide the others.
        let run = match Run::open(folder) {
            Ok(run) => run,
            Err(error) => {
                let text = format!("{error}");
                values.push(json!({"run": folder.path().display().to_string(), "error": text}));
                lines.push(vec![
                    shell_word(folder.path()),
                    text,
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
                continue;
            }
        };
        let last = run.metrics.last();
        let (task, model) = (run.config.task.name(), run.config.network.memory.name());
        values.push(json!({
            "run": run.folder.display().to_string(), "task": task, "model": model, "seed": run.config.seed,
            "batch": last.map(|line| line.batch), "batches": run.config.batches, "learnt": run.is_learnt(),
            "loss": last.map(|line| line.loss), "wrong": last.and_then(|line| line.wrong),
            "seconds": last.map(|line| line.seconds),
        }));
        let told = |value: &dyn Fn(&Metrics) -> String| last.map_or_else(|| "-".to_owned(), value);
        lines.push(vec![
            shell_word(&run.folder),
            task.into(),
            model.into(),
            run.config.seed.to_string(),
            told(&|line| grouped(line.batch)),
            if run.is_learnt() { "learnt".into() } else { grouped(run.config.batches) },
            told(&|line| amount(line.loss)),
            told(&|line| line.wrong.map_or_else(|| "-".into(), amount)),
            told(&|line| duration(line.seconds)),
        ]);
    }
    let text = if settings.json { values.iter().map(|value| format!("{value}\n")).collect() } else { aligned(&lines) };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(model: &str, change: impl FnOnce(&mut Config), losses: &[f64]) -> Run {
        let copy = sparsam_train::TaskConfig::by_name("copy").unwrap();
        let mut config = Config::default_for(copy, sparsam::Model::by_name(model).unwrap());
        change(&mut config);
        let fields = fields(&config).unwrap();
        let line = |(number, loss): (usize, &f64)| {
            let sequences = 100 * (number as u64 + 1);
            let text = format!(
                "{{\"batch\":1,\"sequences\":{sequences},\"training_loss\":1,\"training_wrong\":1,\"gradient_norm\":1,\
                 \"loss\":{loss},\"guessing\":84,\"wrong\":{loss},\"seconds\":2,\"sequences_per_second\":1}}"
            );
            serde_json::from_str::<Metrics>(&text).unwrap()
        };
        Run { folder: "runs/a".into(), metrics: losses.iter().enumerate().map(line).collect(), config, fields }
    }

    #[test]
    fn a_group_is_named_by_what_differs() {
        let runs = vec![
            run("sam", |_| (), &[40.0, 8.0]),
            run("sam", |config| config.seed = 2, &[20.0, 4.0]),
            run("sam", |config| config.batch_size = 16, &[1.0]),
            run("ntm", |_| (), &[1.0]),
        ];
        let groups = group(runs);
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["SAM, batch size 8", "SAM, batch size 16", "NTM, batch size 8"]);
        assert_eq!(groups[0].runs.len(), 2);
        let result = groups[0].summary().unwrap();
        assert_eq!((result.loss.0, result.tenth, result.hundredth), (6.0, Some(200), None));
        assert!((result.loss.1.unwrap() - 8f64.sqrt()).abs() < 1e-12);
        let line = groups[0].line(&|line| Some(line.loss));
        assert_eq!((line.points, line.band), (vec![(100.0, 30.0), (200.0, 6.0)], vec![(20.0, 40.0), (4.0, 8.0)]));
        let alone = group(vec![run("sdnc", |_| (), &[1.0])]);
        assert_eq!(alone[0].name, "SDNC");
    }

    #[test]
    fn what_has_learnt_its_task_stays_so_and_what_was_stopped_ends() {
        let learnt = run("sam", |config| config.until = 0.1, &[30.0, 0.0, 0.0]);
        let longer = run("sam", |config| (config.until, config.seed) = (0.1, 2), &[30.0, 10.0, 2.0, 0.5]);
        let of = |runs| group(runs)[0].line(&|line| Some(line.loss)).points;
        assert_eq!(of(vec![learnt, longer])[3], (400.0, 0.25));
        let stopped = run("sam", |config| config.until = 0.1, &[30.0, 10.0]);
        let longer = run("sam", |config| (config.until, config.seed) = (0.1, 2), &[30.0, 10.0, 2.0, 0.5]);
        assert_eq!(of(vec![stopped, longer]).len(), 2);
    }

    #[test]
    fn a_median_of_what_was_mostly_reached_is_one() {
        assert_eq!(median(vec![Some(3), None, Some(1)]), Some(3));
        assert_eq!(median(vec![Some(3), None]), None);
        assert_eq!(median(vec![Some(3), Some(1)]), Some(2));
        assert_eq!(median(Vec::new()), None);
    }
}
