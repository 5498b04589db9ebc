//! What came of a figure: tables as Markdown, pictures as SVG, and all of it as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use sparsam::internal::file;
use sparsam_train::plot::{Axis, Line, Mark, Panel, Picture, Size, Unit, draw};
use sparsam_train::{Machine, Metrics, TaskConfig, share};

use super::paper;
use super::plan::{MASTERED, Plan, Run};
use super::train::{Tested, Trained, limit, so_far};
use crate::display::{duration, grouped};
use crate::figure::Figure;
use crate::settings::{Books, Reproduce};
use crate::shell::shell_word;

/// Losses and wrong bits below this are drawn as this.
const LEAST_LOSS: f64 = 1e-3;
const LEAST_WRONG: f64 = 1e-2;

/// What came of a figure.
pub struct Report {
    figure: Figure,
    /// Markdown.
    pub text: String,
    /// Names and contents.
    pictures: Vec<(String, String)>,
    pub json: Value,
}

/// A run with what came of it.
struct Found {
    run: Run,
    trained: Trained,
    /// What it started from, where it starts from another run.
    first: Option<Trained>,
}

/// The runs of a line in a picture.
struct Series<'a> {
    name: &'a str,
    runs: Vec<&'a Found>,
}

impl Report {
    /// Of all runs in the output folder that belong to the figure, those asked for and others.
    pub fn of(settings: &Reproduce, plan: &Plan) -> anyhow::Result<Self> {
        let figure = plan.figure;
        let (mut found, mut unreadable, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
        for mut run in Plan::new(&everything(settings, plan))?.runs {
            match plan.runs.iter().find(|asked| asked.folder == run.folder) {
                Some(asked) => run = asked.clone(),
                // It may have been given another time than the figure's own.
                None => run.seconds = limit(&run).or(run.seconds),
            }
            // What cannot be read of it is told of when the run is trained.
            let first = run.starts_from.as_ref().and_then(|first| so_far(figure, settings.quick, first).ok().flatten());
            match so_far(figure, settings.quick, &run) {
                Ok(Some(trained)) if !trained.metrics.is_empty() => {
                    if !trained.done {
                        unfinished.push(run.name());
                    }
                    found.push(Found { run, trained, first });
                }
                Ok(_) => {
                    unfinished.extend(run.starts_from.as_ref().filter(|_| first.is_some()).map(|first| first.name()))
                }
                Err(error) => unreadable.push(format!("{}: {error}", run.name())),
            }
        }
        let mut report = Self { figure, text: String::new(), pictures: Vec::new(), json: Value::Null };
        report.text = format!("# {}\n\n", figure.title());
        let machine = Machine { threads: settings.threads, ..Machine::here() };
        let _ =
            writeln!(report.text, "`{}`; {}; a network is trained on one thread\n", command(settings), machine.line());
        if !plan.left_out.is_empty() {
            let _ = writeln!(report.text, "* Left out: {}.", plan.left_out.join("; "));
        }
        if !unfinished.is_empty() {
            let _ = writeln!(report.text, "* Not at their end: {}.", unfinished.join("; "));
        }
        if !unreadable.is_empty() {
            let _ = writeln!(report.text, "* Not readable: {}.", unreadable.join("; "));
        }
        if report.text.ends_with(".\n") {
            report.text.push('\n');
        }
        match figure {
            Figure::Fig2 => report.learning(&found),
            Figure::Fig3 => report.curriculum(&found),
            Figure::Fig4 => report.omniglot(&found),
            Figure::Fig8 => report.long_lists(&found),
            Figure::Table1 => report.babi(&found),
            Figure::Haystack => report.haystack(&found),
        }
        let runs: Vec<Value> = found
            .iter()
            .map(|Found { run, trained, first }| {
                let mut value = json!({
                    "task": run.task, "series": run.series, "seed": run.config.seed, "done": trained.done,
                    "config": run.config, "metrics": trained.metrics, "tests": trained.tests,
                });
                if let Some((first, config)) = first.as_ref().zip(run.starts_from.as_ref().map(|first| &first.config)) {
                    value["first"] = json!({"config": config, "metrics": first.metrics});
                }
                value
            })
            .collect();
        report.json = json!({
            "figure": figure.name(), "command": command(settings), "machine": machine,
            "left_out": plan.left_out, "runs": runs,
        });
        Ok(report)
    }

    /// Writes all files into a folder; where they are.
    pub fn write(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let name = self.figure.name();
        let mut written = Vec::new();
        let mut write = |name: String, text: &str| {
            let path = folder.join(&name);
            written.push(shell_word(&path));
            file::replace(&path, text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
        };
        write(format!("{name}.md"), &self.text)?;
        write(format!("{name}.json"), &format!("{:#}\n", self.json))?;
        for (name, svg) in &self.pictures {
            write(name.clone(), svg)?;
        }
        Ok(written)
    }

    fn picture(&mut self, name: String, picture: &Picture) {
        let _ = writeln!(self.text, "![{}]({name})\n", picture.title);
        self.pictures.push((name, draw(picture)));
    }

    /// The picture of what changes during training.
    fn course(&mut self, name: String, title: String, subtitle: String, y: Axis, lines: Vec<Line>, mark: Option<Mark>) {
        let x = Axis::new("sequences trained on", Unit::Count);
        let panels = vec![Panel { y, lines, marks: mark.into_iter().collect() }];
        self.picture(name, &Picture { title, subtitle, x, panels, size: Size::Page });
    }

    /// A table in Markdown.
    fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        let _ = writeln!(self.text, "| {} |\n|{}", header.join(" | "), "---|".repeat(header.len()));
        for row in rows {
            let _ = writeln!(self.text, "| {} |", row.join(" | "));
        }
        self.text.push('\n');
    }

    fn learning(&mut self, found: &[Found]) {
        let _ = writeln!(
            self.text,
            "Loss in bits per fresh sequence: mean of the seeds, and from the lowest to the highest. A run ends when four \
             evaluations in a row show at most {MASTERED} wrong bits, and counts with its last loss from then on. \
             Sequences until an evaluation first shows a tenth and a hundredth of the loss of guessing, one number for \
             each seed.\n\n{}\n",
            paper::FIG2
        );
        for task in self.figure.tasks() {
            let series = series(found, task);
            let Some(first) = series.first().and_then(|series| series.runs.first()) else { continue };
            let chance = first.run.chance().unwrap_or(1.0);
            let _ = writeln!(self.text, "## {task}: {chance:.0} bits for guessing\n");
            let mut lines: Vec<Line> = series.iter().map(|series| series.line(|line| line.loss)).collect();
            lines.extend(guessing(&lines, chance));
            let (name, title) = (format!("fig2-{task}.svg"), format!("{task}: loss of fresh sequences"));
            let y = Axis { least: Some(LEAST_LOSS), ..Axis::new("loss, bits per sequence", Unit::Loss) };
            self.course(name, title, seeds_told(&series), y, lines, None);
            let rows: Vec<Vec<String>> = series
                .iter()
                .map(|series| {
                    let until = |loss: f64| series.each(|found| first_time(found, |line| line.loss <= loss));
                    vec![
                        series.name.into(),
                        series.runs.len().to_string(),
                        until(chance / 10.0),
                        until(chance / 100.0),
                        series.each(|found| found.trained.metrics.last().map(|line| format!("{:.2}", line.loss))),
                        series.each(|found| found.trained.metrics.last().map(|line| grouped(line.sequences))),
                        milliseconds(series),
                    ]
                })
                .collect();
            let header = ["model", "seeds", "to a tenth", "to a hundredth", "last loss", "sequences in all", "ms each"];
            self.table(&header, &rows);
        }
    }

    fn curriculum(&mut self, found: &[Found]) {
        let Some(curriculum) = found.first().map(|found| found.run.config.curriculum) else { return };
        let _ = writeln!(
            self.text,
            "The highest level that sequences are drawn from. It doubles whenever the mean loss of {} of them, from all \
             levels up to it, is below {} bits for each bit wanted.\n\n{}\n",
            grouped(curriculum.episodes),
            curriculum.threshold,
            paper::FIG3
        );
        for task in self.figure.tasks() {
            let series = series(found, task);
            if series.is_empty() {
                continue;
            }
            let _ = writeln!(self.text, "## {task}\n");
            let level = |line: &Metrics| line.level.unwrap_or(1) as f64;
            let lines = series.iter().map(|series| series.line(level)).collect();
            let ivf = series.iter().find(|series| *task == "recall" && series.name == "SAM ivf");
            let mark = ivf.and_then(|series| {
                let end = series.line(level).points.last()?.0;
                let text = "Rae et al. 2016: past 4000".into();
                Some(Mark { of: series.name.into(), text, point: (end, 4000.0) })
            });
            let (name, title) = (format!("fig3-{task}.svg"), format!("{task}: how far the curriculum comes"));
            let y = Axis::new("highest level", Unit::Words);
            self.course(name, title, seeds_told(&series), y, lines, mark);
            let rows: Vec<Vec<String>> = series
                .iter()
                .map(|series| {
                    let reached = |found: &Found| found.trained.metrics.last().and_then(|line| line.level);
                    vec![
                        series.name.into(),
                        series.runs.len().to_string(),
                        series.each(|found| reached(found).map(|level| grouped(level as u64))),
                        series.each(|found| {
                            let level = reached(found);
                            first_time(found, |line| line.level == level)
                        }),
                        series.each(|found| found.trained.metrics.last().map(|line| grouped(line.sequences))),
                        series.each(|found| found.trained.metrics.last().map(|line| duration(line.seconds))),
                    ]
                })
                .collect();
            self.table(&["model", "seeds", "highest level", "reached after", "sequences in all", "training"], &rows);
        }
    }

    fn long_lists(&mut self, found: &[Found]) {
        let series = series(found, "recall");
        let tested: Vec<&Found> = series.iter().flat_map(|series| series.runs.iter().copied()).collect();
        let chance = tested.first().and_then(|found| found.run.chance()).unwrap_or(0.0);
        let _ = writeln!(
            self.text,
            "Networks of figure 3, tested on lists of other lengths: bits of the {chance:.0} wanted that are wrong \
             (guessing: {:.0}).\n\n{}\n",
            chance / 2.0,
            paper::FIG8
        );
        let lines = series.iter().flat_map(|series| {
            series.runs.iter().filter(|found| !found.trained.tests.is_empty()).map(move |found| {
                let point = |test: &Tested| (test.level.unwrap_or(0) as f64, test.wrong);
                Line::new(found.run.network(), found.trained.tests.iter().map(point).collect())
            })
        });
        let mut lines: Vec<Line> = lines.collect();
        if !lines.is_empty() {
            lines.extend(guessing(&lines, chance / 2.0));
            let y = Axis { least: Some(LEAST_WRONG), ..Axis::new("wrong bits per answer", Unit::Loss) };
            self.picture(
                "fig8.svg".into(),
                &Picture {
                    title: "recall: lists longer than those of training".into(),
                    subtitle: format!("guessing: {:.0} wrong bits", chance / 2.0),
                    x: Axis::new("items in the list", Unit::Length),
                    panels: vec![Panel { y, lines, marks: Vec::new() }],
                    size: Size::Page,
                },
            );
        }
        let mut rows = Vec::new();
        for found in &tested {
            let trained = found.trained.metrics.iter().filter_map(|line| line.level).max().unwrap_or(0);
            for test in &found.trained.tests {
                let level = test.level.unwrap_or(0);
                rows.push(vec![
                    found.run.network(),
                    grouped(trained as u64),
                    grouped(level as u64),
                    format!("{:.3}×", level as f64 / trained.max(1) as f64).replace(".000", ""),
                    grouped(test.sequences),
                    format!("{:.2}", test.wrong),
                    format!("{:.2}", test.loss),
                    duration(test.seconds),
                ]);
            }
        }
        let header = ["model", "trained up to", "items", "", "lists", "wrong bits", "loss, bits", "took"];
        self.table(&header, &rows);
    }

    fn omniglot(&mut self, found: &[Found]) {
        let series = series(found, "omniglot");
        let _ = writeln!(
            self.text,
            "Characters of alphabets that were never trained on, ten presentations of each: those of the evaluation set if it \
             is there, else of every fifth alphabet of the background set. The error is the share of wrong labels of the \
             network as it was at the end.\n\n{}\n",
            paper::FIG4
        );
        let overall = |test: &Tested| mean(test.errors.iter().filter_map(|(_, error, _)| *error));
        let lines: Vec<Line> =
            series.iter().map(|series| series.tested(|test| Some((test.level? as f64, overall(test)?)))).collect();
        let marks = paper::FIG4_ERRORS.iter().filter(|(of, ..)| series.iter().any(|series| series.name == *of));
        let marks = marks.map(|(of, characters, error, told)| Mark {
            of: (*of).into(),
            text: format!("Rae et al. 2016: {told}"),
            point: (*characters, *error),
        });
        self.picture(
            "fig4.svg".into(),
            &Picture {
                title: "Omniglot: error over the number of characters".into(),
                subtitle: seeds_told(&series),
                x: Axis::new("characters in an episode", Unit::Words),
                panels: vec![Panel { y: Axis::new("wrong labels", Unit::Error), lines, marks: marks.collect() }],
                size: Size::Page,
            },
        );
        let mut rows = Vec::new();
        for series in &series {
            for found in &series.runs {
                let level = found.trained.metrics.last().and_then(|line| line.level).unwrap_or(0);
                let sequences = found.trained.metrics.last().map_or(0, |line| line.sequences);
                for test in &found.trained.tests {
                    let instance = |number: usize| {
                        let error = test.errors.get(number - 1).and_then(|(_, error, _)| *error);
                        error.map_or_else(String::new, |error| format!("{:.1}", 100.0 * error))
                    };
                    rows.push(vec![
                        found.run.network(),
                        grouped(sequences),
                        grouped(level as u64),
                        test.level.unwrap_or(0).to_string(),
                        overall(test).map_or_else(String::new, |error| format!("{:.1}", 100.0 * error)),
                        instance(1),
                        instance(2),
                        instance(5),
                        instance(10),
                    ]);
                }
            }
        }
        let header =
            ["model", "episodes trained", "up to", "characters", "error, %", "1st instance", "2nd", "5th", "10th"];
        self.table(&header, &rows);
        let lines: Vec<Line> = series.iter().map(|series| series.line(|line| line.mean_error.unwrap_or(1.0))).collect();
        let title = "Omniglot: error during training".into();
        let subtitle = "characters held out, as many as in training at that time".into();
        self.course("fig4-training.svg".into(), title, subtitle, Axis::new("wrong labels", Unit::Error), lines, None);
    }

    fn haystack(&mut self, found: &[Found]) {
        let series = series(found, "haystack");
        let _ = writeln!(
            self.text,
            "Stories held out of training, scattered over a book, and a question at the end: answers right in %, with the standard \
             error. One network for all tasks, as it was at the end of its training. In training, names in the stories were exchanged \
             within their kind (ours).\n"
        );
        let words = |run: &Run| match &run.config.task {
            TaskConfig::Haystack(haystack) => {
                let [least, most] = [haystack.min_words, haystack.max_words].map(|words| grouped(words as u64));
                format!("{least} to {most}")
            }
            _ => String::new(),
        };
        let trained = |run: &Run, trained: &Trained| {
            let line = trained.metrics.last()?;
            Some(format!("with {} words {}", words(run), self::line(line)))
        };
        for Found { run, trained: long, first } in found {
            let short = run.starts_from.as_ref().zip(first.as_ref());
            let stages: Vec<String> =
                short.and_then(|(run, short)| trained(run, short)).into_iter().chain(trained(run, long)).collect();
            let _ = writeln!(self.text, "* {}: {}", run.network(), stages.join("; from its newest weights on: "));
        }
        let _ = writeln!(self.text, "\n{}\n", paper::BABILONG);
        let right = |test: &Tested| Some(1.0 - mean(test.errors.iter().filter_map(|(_, error, _)| *error))?);
        let mut lines: Vec<Line> =
            series.iter().map(|series| series.tested(|test| Some((test.level? as f64, right(test)?)))).collect();
        let tests = || found.iter().flat_map(|found| &found.trained.tests);
        // The tasks are called "1 single-supporting-fact".
        let names: Vec<&str> =
            tests().next().map_or(Vec::new(), |test| test.errors.iter().map(|(name, ..)| name.as_str()).collect());
        let numbers: Vec<usize> = names
            .iter()
            .filter_map(|name| name.split(' ').next()?.parse().ok())
            .filter(|task| (1..=5).contains(task))
            .collect();
        for (name, tokens, all) in paper::BABILONG_RIGHT {
            let Some(share) = mean(numbers.iter().map(|task| all[task - 1] / 100.0)) else { continue };
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push((tokens, share)),
                None => lines.push(Line::new(name, vec![(tokens, share)])),
            }
        }
        self.picture(
            "haystack.svg".into(),
            &Picture {
                title: "answers right, mean of the tasks, over the length of the book".into(),
                subtitle: format!("{}; others as published for BABILong", seeds_told(&series)),
                x: Axis::new("words (others: tokens)", Unit::Length),
                panels: vec![Panel { y: Axis::new("right", Unit::Error), lines, marks: Vec::new() }],
                size: Size::Page,
            },
        );
        let mut header = vec!["", "words", "sequences"];
        header.extend(&names);
        header.extend(["words written", "µs a step", "seconds a sequence"]);
        let mut rows = Vec::new();
        for found in series.iter().flat_map(|series| &series.runs) {
            for test in &found.trained.tests {
                let mut row =
                    vec![found.run.network(), grouped(test.level.unwrap_or(0) as u64), grouped(test.sequences)];
                row.extend(test.errors.iter().map(|(_, error, answers)| {
                    let Some(error) = error else { return String::new() };
                    let (share, error) = share((*answers as f64 * (1.0 - error)).round() as u64, *answers);
                    format!("{:.1} ± {:.1}", 100.0 * share, 100.0 * error)
                }));
                row.push(test.words_written.map_or_else(String::new, |words| grouped(words.round() as u64)));
                row.push(format!("{:.1}", 1e6 * test.step_seconds / test.steps.max(1) as f64));
                row.push(format!("{:.3}", test.step_seconds / test.sequences as f64));
                rows.push(row);
            }
        }
        for (name, tokens, all) in paper::BABILONG_RIGHT {
            let mut row = vec![name.to_owned(), grouped(tokens as u64), String::new()];
            row.extend(numbers.iter().map(|task| format!("{:.1}", all[task - 1])));
            row.extend([String::new(), String::new(), String::new()]);
            rows.push(row);
        }
        self.table(&header, &rows);
        let lines: Vec<Line> = series.iter().map(|series| series.line(|line| line.mean_error.unwrap_or(1.0))).collect();
        let (name, title) = ("haystack-training.svg".into(), "wrong answers during training".into());
        self.course(name, title, seeds_told(&series), Axis::new("wrong answers", Unit::Error), lines, None);
    }

    fn babi(&mut self, found: &[Found]) {
        let series = series(found, "babi");
        let _ = writeln!(
            self.text,
            "One network on all tasks of en-10k, as it was at the end of its training; error in % on the stories held out of \
             the training files, a tenth. In training the names in stories are exchanged within their kind (ours). A task with more than 5 % counts as failed.\n\n{}\n",
            paper::TABLE1
        );
        let lines: Vec<Line> = series.iter().map(|series| series.line(|line| line.mean_error.unwrap_or(1.0))).collect();
        let title = "bAbI: mean error of the 20 tasks during training".into();
        self.course(
            "table1.svg".into(),
            title,
            seeds_told(&series),
            Axis::new("wrong answers", Unit::Error),
            lines,
            None,
        );
        let runs: Vec<(&Found, &Tested)> = series
            .iter()
            .flat_map(|series| series.runs.iter())
            .filter_map(|found| Some((*found, found.trained.tests.first()?)))
            .collect();
        if !runs.is_empty() {
            let names: Vec<String> = runs.iter().map(|(found, _)| found.run.network()).collect();
            let mut header: Vec<&str> = vec!["task"];
            header.extend(names.iter().map(String::as_str));
            header.push("SDNC in the paper, mean");
            let percent = |error: Option<f64>| error.map_or_else(String::new, |error| format!("{:.1}", 100.0 * error));
            let mut rows = Vec::new();
            let tasks = runs.first().map_or(0, |(_, test)| test.errors.len());
            for task in 0..tasks {
                let mut row = vec![runs.first().map_or_else(String::new, |(_, test)| test.errors[task].0.clone())];
                row.extend(runs.iter().map(|(_, test)| percent(test.errors.get(task).and_then(|of| of.1))));
                let hard = paper::SDNC_HARD.iter().find(|(number, _)| *number as usize == task + 1);
                row.push(hard.map_or_else(|| "under 2".into(), |(_, error)| format!("{error:.1}")));
                rows.push(row);
            }
            let errors = |test: &Tested| test.errors.iter().filter_map(|of| of.1).collect::<Vec<_>>();
            let mut row = vec!["**mean**".to_owned()];
            row.extend(runs.iter().map(|(_, test)| percent(mean(errors(test).into_iter()))));
            row.push(format!("{:.1}", paper::SDNC.mean_error));
            rows.push(row);
            let mut row = vec!["**failed**".to_owned()];
            row.extend(
                runs.iter().map(|(_, test)| errors(test).iter().filter(|error| **error > 0.05).count().to_string()),
            );
            row.push(format!("{:.1}", paper::SDNC.mean_failed));
            rows.push(row);
            let mut row = vec!["stories trained on".to_owned()];
            row.extend(runs.iter().map(|(found, _)| {
                found.trained.metrics.last().map_or_else(String::new, |line| grouped(line.sequences))
            }));
            row.push(String::new());
            rows.push(row);
            self.table(&header, &rows);
        }
        let rows: Vec<Vec<String>> = paper::BABI
            .iter()
            .map(|of| {
                vec![
                    of.model.into(),
                    format!("{:.1}", of.best_error),
                    of.best_failed.to_string(),
                    format!("{:.1} ± {:.1}", of.mean_error, of.deviation),
                    format!("{:.1}", of.mean_failed),
                ]
            })
            .collect();
        self.table(&["in the paper", "best run, error in %", "failed", "mean of 15 runs", "failed"], &rows);
    }
}

/// The settings of all that a figure can be about, with every seed that has a folder.
fn everything(settings: &Reproduce, plan: &Plan) -> Reproduce {
    let figure = settings.figure;
    let folder = plan.runs.first().and_then(|run| run.folder.parent());
    let names = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let seed = |name: std::ffi::OsString| name.to_str()?.rsplit('-').next()?.parse::<u64>().ok();
    let seeds = names.filter_map(|entry| seed(entry.file_name())).filter(|seed| *seed <= 1000).max();
    Reproduce {
        tasks: figure.tasks().to_vec(),
        models: figure.models().iter().map(|(model, _)| *model).collect(),
        seeds: settings.seeds.max(seeds.unwrap_or(0)),
        minutes: None,
        ..settings.clone()
    }
}

/// The command with these settings, as it can be typed into a shell.
pub fn command(settings: &Reproduce) -> String {
    let Reproduce { figure, quick, seeds, minutes, tasks, models, output, data, books, .. } = settings;
    let mut command = format!("sparsam reproduce {}", figure.name());
    let (own_tasks, own_models, own_seeds) = figure.defaults(*quick);
    if *quick {
        command.push_str(" --quick");
    }
    if *tasks != own_tasks {
        let _ = write!(command, " --tasks {}", tasks.join(","));
    }
    if *models != own_models {
        let _ = write!(command, " --models {}", models.join(","));
    }
    if *seeds != own_seeds {
        let _ = write!(command, " --seeds {seeds}");
    }
    if let Some(minutes) = minutes {
        let _ = write!(command, " --minutes {minutes}");
    }
    for (flag, path, default) in [("--output", output, "reproduce"), ("--data", data, "data")] {
        if path != Path::new(default) {
            let _ = write!(command, " {flag} {}", shell_word(path));
        }
    }
    let Books { background, validation, test } = books;
    for (flag, book) in [("--background", background), ("--validation", validation), ("--test-book", test)] {
        if let Some(book) = book {
            let _ = write!(command, " {flag} {}", shell_word(book));
        }
    }
    command
}

/// An evaluation in a few words.
pub fn line(metrics: &Metrics) -> String {
    let sequences = grouped(metrics.sequences);
    let level = metrics.level.map_or_else(String::new, |level| format!(", up to level {}", grouped(level as u64)));
    let error = metrics.mean_error.map_or_else(String::new, |error| format!(", error {:.1} %", 100.0 * error));
    format!("{:.3} bits{error} after {sequences} sequences{level}, {}", metrics.loss, duration(metrics.seconds))
}

/// The runs of a task, line by line, in the order of the plan.
fn series<'a>(found: &'a [Found], task: &str) -> Vec<Series<'a>> {
    let mut all: Vec<Series<'a>> = Vec::new();
    for one in found.iter().filter(|found| found.run.task == task) {
        match all.iter_mut().find(|series| series.name == one.run.series) {
            Some(series) => series.runs.push(one),
            None => all.push(Series { name: &one.run.series, runs: vec![one] }),
        }
    }
    all
}

impl Series<'_> {
    /// The mean over the runs wherever any was evaluated, and the spread. A run that mastered its task counts with what it
    /// had last from then on; the line ends where the first of the others does.
    fn line(&self, of: impl Fn(&Metrics) -> f64) -> Line {
        let runs = self.runs.iter().map(|found| Course {
            points: found.trained.metrics.iter().map(|line| (line.sequences as f64, of(line))).collect(),
            goes_on: found.run.is_mastered(&found.trained.metrics),
        });
        mean_line(self.name, &runs.collect::<Vec<_>>())
    }

    /// The same for what tests showed, where all runs were tested.
    fn tested(&self, of: impl Fn(&Tested) -> Option<(f64, f64)>) -> Line {
        let runs = self
            .runs
            .iter()
            .map(|found| Course { points: found.trained.tests.iter().filter_map(&of).collect(), goes_on: false });
        mean_line(self.name, &runs.collect::<Vec<_>>())
    }

    /// Something of each run, one behind the other.
    fn each(&self, of: impl Fn(&Found) -> Option<String>) -> String {
        let all: Vec<String> = self.runs.iter().map(|found| of(found).unwrap_or_else(|| "–".into())).collect();
        all.join(" · ")
    }
}

/// What one run showed, in rising order.
struct Course {
    points: Vec<(f64, f64)>,
    /// What it had last holds from then on.
    goes_on: bool,
}

/// The mean of several courses and, if there are several, their spread, from where all have begun to where the first of
/// those that do not go on ends.
fn mean_line(name: &str, runs: &[Course]) -> Line {
    let end = runs.iter().filter(|run| !run.goes_on).map(|run| run.points.last().map_or(0.0, |point| point.0));
    let end = end.fold(f64::INFINITY, f64::min);
    let mut places: Vec<f64> = runs.iter().flat_map(|run| run.points.iter().map(|point| point.0)).collect();
    places.retain(|place| *place <= end);
    places.sort_by(f64::total_cmp);
    places.dedup();
    let (mut points, mut band) = (Vec::new(), Vec::new());
    for place in places {
        let at = |run: &Course| run.points.iter().rev().find(|point| point.0 <= place).map(|point| point.1);
        let values: Vec<f64> = runs.iter().filter_map(at).collect();
        if values.len() == runs.len() {
            points.push((place, values.iter().sum::<f64>() / values.len() as f64));
            band.push(extremes(&values));
        }
    }
    if runs.len() < 2 {
        band.clear();
    }
    Line { band, ..Line::new(name, points) }
}

/// The line for what guessing comes to, as far as the others go.
fn guessing(lines: &[Line], value: f64) -> Option<Line> {
    let places = || lines.iter().flat_map(|line| &line.points).map(|point| point.0);
    let (first, last) = (places().reduce(f64::min)?, places().reduce(f64::max)?);
    Some(Line::guessing(value, first, last))
}

fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sequences trained on when an evaluation first showed this.
fn first_time(found: &Found, shows: impl Fn(&Metrics) -> bool) -> Option<String> {
    found.trained.metrics.iter().find(|line| shows(line)).map(|line| grouped(line.sequences))
}

/// Milliseconds that a sequence takes in training, evaluations included, the median of the runs.
fn milliseconds(series: &Series<'_>) -> String {
    let mut all: Vec<f64> = series
        .runs
        .iter()
        .filter_map(|found| found.trained.metrics.last())
        .map(|line| 1e3 * line.seconds / line.sequences.max(1) as f64)
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).map_or_else(String::new, |value| format!("{value:.2}"))
}

/// "mean of 3 seeds, from the lowest to the highest".
fn seeds_told(series: &[Series<'_>]) -> String {
    let counts: Vec<usize> = series.iter().map(|series| series.runs.len()).collect();
    let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
    match (least, most) {
        (1, 1) => "one seed".into(),
        (least, most) if least == most => format!("mean of {most} seeds, from the lowest to the highest"),
        (least, most) => format!("mean of {least} to {most} seeds, from the lowest to the highest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(points: &[(f64, f64)], goes_on: bool) -> Course {
        Course { points: points.to_vec(), goes_on }
    }

    #[test]
    fn a_mean_ends_with_the_first_run_that_was_cut_off() {
        let mastered = course(&[(8.0, 4.0), (16.0, 1.0)], true);
        let whole = course(&[(8.0, 6.0), (16.0, 5.0), (24.0, 3.0), (32.0, 2.0)], false);
        let line = mean_line("SAM", &[mastered, whole]);
        assert_eq!(line.points, [(8.0, 5.0), (16.0, 3.0), (24.0, 2.0), (32.0, 1.5)]);
        assert_eq!(line.band[2..], [(1.0, 3.0), (1.0, 2.0)]);

        let stopped = course(&[(8.0, 80.0), (16.0, 70.0)], false);
        let whole = course(&[(8.0, 60.0), (16.0, 50.0), (24.0, 3.0)], false);
        assert_eq!(mean_line("SAM", &[stopped, whole]).points, [(8.0, 70.0), (16.0, 60.0)]);
        let alone = mean_line("SAM", &[course(&[(8.0, 4.0), (16.0, 1.0)], false)]);
        assert!(alone.points.len() == 2 && alone.band.is_empty());
        assert!(mean_line("SAM", &[course(&[], false), course(&[(8.0, 4.0)], true)]).points.is_empty());
    }
}
