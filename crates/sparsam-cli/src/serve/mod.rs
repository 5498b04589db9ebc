//! `sparsam inspect --serve`: a page that follows a run's training, on this machine alone. The run's folder is read, never
//! written to and never locked, so that training goes on as if nobody looked.

mod http;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sparsam_page::LIVE;
use sparsam_train::{RunFolder, Units};

use crate::display::{print, tell_notices};
use crate::failure::{Mistake, eprintln_if_possible};
use crate::inspect::make;
use crate::settings::Serve;
use crate::signals::when_asked;
use crate::train::use_threads;
use http::{Request, Response, Server, Status};

/// Serves the page until it is interrupted.
pub fn run(settings: Serve) -> anyhow::Result<ExitCode> {
    // There is nothing to save, and no other way to end this well, whoever asks.
    when_asked(|_| std::process::exit(0));
    use_threads(settings.threads)?;
    let server = Server::bind(settings.port).map_err(|error| unbound(settings.port, error))?;
    let (folder, address) = (settings.folder.display(), server.address());
    let text = if settings.json {
        format!("{}\n", json!({"event": "serving", "run": folder.to_string(), "address": address}))
    } else {
        format!("{folder} is followed at {address} until Ctrl-C\n")
    };
    print(text.as_bytes())?;
    if RunFolder::open(&settings.folder).is_err() {
        eprintln_if_possible(&format!("sparsam: there is no run in {folder} yet; the page waits for it"));
    }
    let followed = Followed { settings, made: Mutex::default(), units: Mutex::default() };
    server.run(move |request| followed.answer(request))
}

/// Why a port cannot be had.
fn unbound(port: u16, error: io::Error) -> anyhow::Error {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "is taken",
        io::ErrorKind::PermissionDenied => "is kept for others by the system",
        _ => return anyhow::anyhow!("no port of 127.0.0.1 can be listened at: {error}"),
    };
    Mistake(format!("port {port} of 127.0.0.1 {why}; name another one, or leave it out for one that is free")).into()
}

/// A run, and the page of the sequence that was made last.
struct Followed {
    settings: Serve,
    made: Mutex<Option<Sequence>>,
    /// What the quantities of the task are counted in, with the stamp of what tells it: to find out may take reading the data.
    units: Mutex<Option<(String, Option<Units>)>>,
}

/// The page of a sequence.
struct Sequence {
    /// Of the files that it was made from.
    stamp: String,
    finished: Instant,
    response: Response,
}

impl Followed {
    fn answer(&self, request: &Request) -> Response {
        // Nothing else has a name here: no path leads to a file.
        match request.path.as_str() {
            "/" => Response::new("text/html; charset=utf-8", LIVE),
            "/run.json" => self.run(request),
            "/sequence.html" => self.sequence(),
            _ => Response::refusal(Status::NotFound, "there is nothing of this name"),
        }
    }

    /// What is known of the run by now.
    fn run(&self, request: &Request) -> Response {
        let folder = &self.settings.folder;
        // Before the files are read: what changes meanwhile is read again.
        let names = ["config.toml", "metrics.jsonl", "history.json"].map(|name| folder.join(name));
        let checkpoint = RunFolder::open(folder).ok().map(|run| run.checkpoint_path(self.settings.checkpoint));
        let files: Vec<&Path> = names.iter().chain(&checkpoint).map(PathBuf::as_path).collect();
        let tag = format!("\"{}\"", stamp(&files));
        let response = |value: String| Response::new("application/json", value);
        if request.has.as_ref() == Some(&tag) {
            // Who asks has it.
            return Response { tag: Some(tag), ..response(String::new()) };
        }
        match self.tell(checkpoint.as_deref(), &files) {
            Ok(value) => Response { tag: Some(tag), ..response(value.to_string()) },
            // Without a tag: what was in the way may go without a change of the files.
            Err(error) => response(json!({"state": "unreadable", "problem": format!("{error:#}")}).to_string()),
        }
    }

    fn tell(&self, checkpoint: Option<&Path>, files: &[&Path]) -> anyhow::Result<Value> {
        let folder = &self.settings.folder;
        let Ok(run) = RunFolder::open(folder) else {
            return Ok(json!({"state": "absent", "folder": folder.display().to_string()}));
        };
        let config = run.config()?;
        // Nothing of the training follows from it, and earlier versions kept none.
        let sessions = run.history().unwrap_or_default();
        let outcome = sessions.last().and_then(|session| session.outcome.as_deref());
        // The data of a task may be gone; its losses are shown all the same.
        let units = self.units(&run);
        let changed = files.iter().filter_map(|file| file.metadata().ok()?.modified().ok()).max();
        Ok(json!({
            "state": if outcome.is_some() { "ended" } else if sessions.is_empty() { "unknown" } else { "training" },
            "outcome": outcome,
            "folder": folder.display().to_string(),
            "title": format!("{} on {}", config.network.memory.name().to_uppercase(), config.task.name()),
            "batches": config.batches,
            "resumes": sessions.len().saturating_sub(1),
            "loss_axis": units.map_or_else(|| "loss".into(), Units::loss_axis),
            "level_unit": units.map_or("level", |units| units.level),
            "changed": changed.map(milliseconds),
            "sequence": checkpoint.filter(|path| path.exists()).map(|path| stamp(&[path])),
            "metrics": run.metrics()?,
        }))
    }

    fn units(&self, run: &RunFolder) -> Option<Units> {
        let stamp =
            stamp(&["config.toml", "task.json"].map(|name| run.path().join(name)).each_ref().map(PathBuf::as_path));
        let mut known = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, units)) if *of == stamp => *units,
            _ => {
                let units = run.units().ok();
                *known = Some((stamp, units));
                units
            }
        }
    }

    /// The page of the sequence, made anew if the checkpoint has changed. Several may ask at once: one makes it.
    fn sequence(&self) -> Response {
        let asked = Instant::now();
        let unavailable = |sentence: &str| Response::refusal(Status::ServiceUnavailable, sentence);
        let Serve { folder, checkpoint, shown, .. } = &self.settings;
        let run = match RunFolder::open(folder) {
            Ok(run) => run,
            Err(error) => return unavailable(&error.to_string()),
        };
        let path = run.checkpoint_path(*checkpoint);
        if !path.exists() {
            return unavailable("no checkpoint has been saved yet");
        }
        // A panic in between has left the page before.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&[&path, &folder.join("config.toml")]);
        // What was finished while this one waited is new enough, even if the run has been saved since.
        if let Some(made) = made.as_ref().filter(|made| made.stamp == stamp || made.finished > asked) {
            return made.response.clone();
        }
        let page = make(&run, &path, shown, None);
        tell_notices();
        match page {
            Ok(page) => {
                let response = Response::new("text/html; charset=utf-8", page.page.html);
                *made = Some(Sequence { stamp, finished: Instant::now(), response: response.clone() });
                response
            }
            Err(error) => unavailable(&format!("{error:#}")),
        }
    }
}

/// Stands for files as they are: what was written since has another.
fn stamp(files: &[&Path]) -> String {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let about = file.metadata().ok();
        (about.as_ref().map(|about| (about.len(), about.modified().ok()))).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Since 1970.
fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
