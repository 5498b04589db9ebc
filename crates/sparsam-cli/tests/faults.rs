//! Calls of the system that fail, as they do on real machines: after each, nothing that was earned is lost, and what is said
//! is a sentence that names the thing.
//!
//! A small library (`faults/inject.c`), preloaded into the command, makes the nth call of a kind fail with an error. A few
//! are tried unless `SPARSAM_LONG_TESTS` is set; then every call of every kind is, with every error that real systems give.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{sparsam, succeeds, text};
use tempfile::TempDir;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EXDEV: i32 = 18;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ENOLCK: i32 = 37;
const ENOSYS: i32 = 38;
const EOPNOTSUPP: i32 = 95;
const ESTALE: i32 = 116;
const EDQUOT: i32 = 122;

/// What each kind of call fails with.
const ERRORS: &[(&str, &[i32])] = &[
    ("open", &[EACCES, EMFILE, ENFILE, ENOSPC, EROFS, EIO, EDQUOT, ESTALE]),
    ("write", &[ENOSPC, EIO, EDQUOT]),
    ("read", &[EIO, ESTALE]),
    ("fsync", &[EINVAL, EIO, ENOSPC, ENOSYS, EOPNOTSUPP, EDQUOT]),
    ("rename", &[EBUSY, EXDEV, EPERM, EACCES, EIO, ENOSPC, EROFS, EINVAL]),
    ("ftruncate", &[EIO, EPERM, ENOSPC]),
    ("flock", &[ENOLCK, ENOSYS, EOPNOTSUPP, EINVAL, EIO]),
    ("mkdir", &[EACCES, ENOSPC, EROFS, EIO]),
    ("unlink", &[EACCES, EIO, ENOENT]),
];

/// The library that makes calls fail; none where there is no compiler.
fn library(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/inject.c");
    let library = folder.join("inject.so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl");
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", text(&output.stderr));
            Some(library)
        }
        Err(error) => {
            eprintln!("skipped: there is no C compiler ({error})");
            None
        }
    }
}

/// Everything that is tried, or a few of it.
fn long() -> bool {
    std::env::var_os("SPARSAM_LONG_TESTS").is_some()
}

struct Faults {
    folder: TempDir,
    library: PathBuf,
}

impl Faults {
    /// Runs the command with a call that fails. `part` is what the path of the file has.
    fn run(&self, arguments: &[&str], call: &str, part: &str, nth: usize, errno: i32) -> Output {
        let mut command = sparsam(self.folder.path(), arguments);
        command.env("LD_PRELOAD", &self.library).env("FAULT_CALL", call).env("FAULT_PATH", part);
        command.env("FAULT_NTH", nth.to_string()).env("FAULT_ERRNO", errno.to_string());
        command.output().unwrap()
    }

    /// How many calls of a kind there are.
    fn count(&self, arguments: &[&str], call: &str, part: &str) -> usize {
        let count = self.folder.path().join("count");
        let mut command = sparsam(self.folder.path(), arguments);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAULT_CALL", call)
            .env("FAULT_PATH", part)
            .env("FAULT_COUNT", &count);
        assert!(command.output().unwrap().status.success());
        let length = fs::metadata(&count).map_or(0, |about| about.len());
        let _ = fs::remove_file(&count);
        length as usize
    }

    fn restore(&self, name: &str) {
        let _ = fs::remove_dir_all(self.folder.path().join(name));
        let status = Command::new("cp").args(["-r", "kept", name]).current_dir(self.folder.path()).status();
        assert!(status.unwrap().success());
    }
}

/// What a run has learnt: the network, and the lines of what was measured without the clock.
fn learnt(run: &Path) -> (Vec<u8>, Vec<serde_json::Value>) {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().retain(|name, _| !name.contains("second"));
        line
    });
    (fs::read(run.join("checkpoints/newest.safetensors")).unwrap(), lines.collect())
}

/// One sentence, or none; never a panic or a signal.
#[track_caller]
fn is_said(output: &Output, what: &str) {
    let err = text(&output.stderr);
    assert!(output.status.code().is_some(), "{what} ended with {:?}: {err}", output.status);
    assert!(!err.contains("panicked"), "{what}: {err}");
    if !output.status.success() {
        let last = err.lines().last().unwrap_or_default();
        assert!(last.starts_with("sparsam: "), "{what} said {err:?}");
    }
}

const TASK: &[&str] = &[
    "--bits",
    "2",
    "--max-length",
    "2",
    "--hidden-size",
    "4",
    "--memory-size",
    "8",
    "--word-size",
    "3",
    "--heads",
    "1",
    "--cooldown",
    "0",
    "--evaluate-every",
    "4",
    "--checkpoint-every",
    "4",
    "--evaluation-sequences",
    "8",
    "--threads",
    "1",
];

#[test]
fn a_run_loses_nothing_whatever_fails() {
    let folder = TempDir::new().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let path = folder.path().to_owned();
    let train = |batches: &'static str, run: &'static str| {
        [&["train", "copy", "--quiet", "--batches", batches, "--run", run][..], TASK].concat()
    };
    succeeds(&path, &train("12", "whole"));
    succeeds(&path, &train("8", "kept"));
    let expected = learnt(&path.join("whole"));
    let faults = Faults { folder, library };
    let resume = ["train", "--quiet", "--resume", "run", "--batches", "12"];
    let mut tried = 0;
    for (call, errors) in ERRORS {
        faults.restore("run");
        let calls = faults.count(&resume, call, "/run/");
        let calls = if calls == 0 { faults.count(&resume, call, "run/") } else { calls };
        // All of them, or the first, the last and one between.
        let mut chosen: Vec<usize> = if long() { (1..=calls).collect() } else { vec![1, calls.div_ceil(2), calls] };
        chosen.retain(|nth| (1..=calls).contains(nth));
        chosen.dedup();
        for nth in chosen {
            let errors = if long() { errors } else { &errors[nth % errors.len()..][..1] };
            for errno in errors {
                faults.restore("run");
                let output = faults.run(&resume, call, "run/", nth, *errno);
                let what = format!("resuming, {call} number {nth} failing with {errno}");
                is_said(&output, &what);
                // What there was before is there, and goes on to the same end.
                let again = sparsam(faults.folder.path(), &resume).output().unwrap();
                assert!(again.status.success(), "after {what}: {}{}", text(&output.stderr), text(&again.stderr));
                assert!(learnt(&path.join("run")) == expected, "{what} changed what was learnt");
                let left = fs::read_dir(path.join("run/checkpoints")).unwrap().count();
                assert_eq!(left, 3, "{what} left files behind");
                tried += 1;
            }
        }
    }
    assert!(tried >= 15, "{tried}");
    println!("{tried} failures of a run, nothing lost");
}

#[test]
fn a_start_that_fails_says_why_and_can_be_made_again() {
    let folder = TempDir::new().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let faults = Faults { folder, library };
    let start = [&["train", "copy", "--quiet", "--batches", "4", "--run", "run"][..], TASK].concat();
    for (call, errors) in ERRORS {
        let calls = faults.count(&start, call, "run/");
        fs::remove_dir_all(faults.folder.path().join("run")).unwrap();
        for nth in if long() { (1..=calls).collect() } else { vec![1.min(calls), calls] } {
            for errno in if long() { errors } else { &errors[..1] } {
                let output = faults.run(&start, call, "run/", nth, *errno);
                let what = format!("starting, {call} number {nth} failing with {errno}");
                is_said(&output, &what);
                // The run begins, or it has begun and goes on.
                let again = sparsam(faults.folder.path(), &start).output().unwrap();
                if !again.status.success() {
                    succeeds(faults.folder.path(), &["train", "--resume", "run", "--quiet"]);
                }
                assert_eq!(learnt(&faults.folder.path().join("run")).1.len(), 1, "{what}");
                fs::remove_dir_all(faults.folder.path().join("run")).unwrap();
            }
        }
    }
}

#[test]
fn evaluations_and_data_say_what_cannot_be_read() {
    let folder = TempDir::new().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let path = folder.path().to_owned();
    let line = |number: usize| format!("{{\"inputs\": [[{number}], [0]], \"targets\": [null, {}]}}\n", number % 2);
    fs::write(path.join("mine.jsonl"), (0..20).map(line).collect::<String>()).unwrap();
    let network = ["--hidden-size", "4", "--memory-size", "8", "--word-size", "3", "--heads", "1", "--batches", "4"];
    succeeds(&path, &[&["train", "--data", "mine.jsonl", "--run", "run", "--quiet"][..], &network].concat());
    let faults = Faults { folder, library };
    for (arguments, part, name) in [
        (&["eval", "run"][..], "best.safetensors", "best.safetensors"),
        (&["eval", "run"], "mine.jsonl", "mine.jsonl"),
        (&["eval", "run"], "config.toml", "config.toml"),
        (&["eval", "run"], "task.json", "task.json"),
    ] {
        for (call, errors) in ERRORS.iter().filter(|(call, _)| ["open", "read"].contains(call)) {
            for errno in *errors {
                let output = faults.run(arguments, call, part, 1, *errno);
                let what = format!("{arguments:?}, {call} of {part} failing with {errno}");
                is_said(&output, &what);
                assert!(!output.status.success(), "{what}");
                assert!(text(&output.stderr).contains(name), "{what} said {}", text(&output.stderr));
            }
        }
    }
}

/// Folders that cannot be synced, files that cannot be locked: CIFS, FUSE, 9p and network drives of WSL.
#[test]
fn what_a_file_system_lacks_is_said_once_and_training_goes_on() {
    let folder = TempDir::new().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let faults = Faults { folder, library };
    for (number, (call, errno, said)) in [
        ("fsync", EINVAL, "cannot be synced"),
        ("fsync", ENOSYS, "cannot be synced"),
        ("flock", ENOLCK, "cannot be locked"),
        ("flock", EINVAL, "cannot be locked"),
        ("rename", EBUSY, "is written where it is"),
        ("rename", EPERM, "is written where it is"),
    ]
    .into_iter()
    .enumerate()
    {
        let run = format!("run{number}");
        let start = [&["train", "copy", "--quiet", "--batches", "12", "--run", &run][..], TASK].concat();
        let output = faults.run(&start, call, &run, 0, errno);
        let err = text(&output.stderr);
        assert!(output.status.success() && err.contains(said), "{call} failing with {errno} gave {err}");
        let about = err.lines().filter(|line| line.contains("the folder") && line.contains("/checkpoints ")).count();
        assert!(about <= 1, "{err}");
        succeeds(faults.folder.path(), &["eval", &run, "--sequences", "4"]);
    }
}

/// A stream whose memory goes on from file to file.
#[test]
fn a_stream_keeps_its_memory_whatever_fails() {
    let folder = TempDir::new().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let path = folder.path().to_owned();
    succeeds(&path, &[&["train", "copy", "--quiet", "--batches", "4", "--run", "kept"][..], TASK].concat());
    let faults = Faults { folder, library };
    let predict = ["predict", "kept", "--state", "stream.state"];
    let stream = |fault: Option<(&str, usize, i32)>| {
        let mut command = sparsam(&path, &predict);
        if let Some((call, nth, errno)) = fault {
            command.env("LD_PRELOAD", &faults.library).env("FAULT_CALL", call).env("FAULT_PATH", "stream.state");
            command.env("FAULT_NTH", nth.to_string()).env("FAULT_ERRNO", errno.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have ended before it reads.
        let _ = child.stdin.take().unwrap().write_all(b"[1,0,1,0]\n[0,1,0,0]\n");
        child.wait_with_output().unwrap()
    };
    assert!(stream(None).status.success());
    let state = path.join("stream.state");
    let (before, answers) = (fs::read(&state).unwrap(), stream(None).stdout);
    let after = fs::read(&state).unwrap();
    assert!(before != after && !answers.is_empty());
    let mut lost = 0;
    for (call, errors) in ERRORS {
        for nth in 1..=if long() { 4 } else { 2 } {
            for errno in if long() { errors } else { &errors[..1] } {
                fs::write(&state, &before).unwrap();
                let output = stream(Some((call, nth, *errno)));
                let what = format!("a stream, {call} number {nth} failing with {errno}");
                is_said(&output, &what);
                // It is the old one or the new one, and never less.
                let now = fs::read(&state).unwrap();
                assert!(now == before || now == after, "{what} left a state that is neither");
                if output.status.success() {
                    assert!(now == after && output.stdout == answers, "{what} succeeded, and lost something");
                } else {
                    lost += 1;
                    assert!(text(&output.stderr).contains("stream.state"), "{what}: {}", text(&output.stderr));
                }
            }
        }
    }
    assert!(lost >= 3, "{lost}");
}

#[test]
fn data_and_figures_say_what_cannot_be_read_or_written() {
    let folder = TempDir::new().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let path = folder.path().to_owned();
    fs::create_dir_all(path.join("data/en-10k")).unwrap();
    let story = "1 Mary moved to the garden.\n2 Where is Mary? \tgarden\t1\n";
    for part in ["train", "test"] {
        fs::write(path.join(format!("data/en-10k/qa1_single-supporting-fact_{part}.txt")), story.repeat(20)).unwrap();
    }
    let faults = Faults { folder, library };
    let name = "qa1_single-supporting-fact_train.txt";
    let figure = ["reproduce", "fig2", "--tasks", "copy", "--models", "lstm", "--seeds", "1", "--minutes", "0.01"];
    for (arguments, call, part) in [
        (&["data", "check", "babi"][..], "open", name),
        (&["data", "check", "babi"], "read", name),
        (&figure[..], "mkdir", "learning"),
        (&figure[..], "rename", "fig2.md"),
        (&figure[..], "rename", "fig2.json"),
    ] {
        // What only keeps a file from taking another's place is got around.
        for errno in if call == "rename" { &[EIO, ENOSPC, EROFS][..] } else { &[EACCES, EIO] } {
            let output = faults.run(arguments, call, part, 0, *errno);
            let what = format!("{arguments:?}, {call} of {part} failing with {errno}");
            is_said(&output, &what);
            let err = text(&output.stderr);
            assert!(!output.status.success() && err.contains(part), "{what} said {err}");
        }
    }
    // What was trained before is kept, and so the figure is soon there.
    succeeds(&path, &figure);
}
