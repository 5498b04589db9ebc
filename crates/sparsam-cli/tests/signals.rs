//! Signals, outputs that nobody reads, files that go away: nothing hangs, and nothing that was learnt is lost.
#![cfg(unix)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{is_mistake, run, send, sparsam, succeeds, text};
use tempfile::TempDir;

const SMALL: &[&str] = &[
    "train",
    "copy",
    "--bits",
    "3",
    "--max-length",
    "3",
    "--hidden-size",
    "8",
    "--memory-size",
    "32",
    "--word-size",
    "4",
    "--cooldown",
    "0",
    "--threads",
    "1",
];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [SMALL, more].concat()
}

/// Starts a command, and waits for the first line that it prints.
fn start(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    child
}

/// Waits for the end of a command, but not for good.
#[track_caller]
fn ends_within(mut child: Child, seconds: u64) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed().as_secs() >= seconds {
            child.kill().unwrap();
            panic!("it still ran after {seconds} s");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn batch(run: &Path) -> u64 {
    let bytes = fs::read(run.join("checkpoints/resume.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let progress = header["__metadata__"]["training.progress"].as_str().unwrap();
    serde_json::from_str::<serde_json::Value>(progress).unwrap()["batch"].as_u64().unwrap()
}

/// Waits until a run has learnt something, however busy the machine is: until it was evaluated for the first time.
fn wait_for_evaluation(run: &Path) {
    let started = Instant::now();
    while fs::metadata(run.join("metrics.jsonl")).map_or(0, |about| about.len()) == 0 {
        assert!(started.elapsed().as_secs() < 60, "nothing was learnt in {}", run.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Batches without end.
const EVALUATED: &[&str] = &["--batches", "100000000", "--evaluate-every", "20", "--checkpoint-every", "1000000"];

const ENDLESS: &[&str] = &["--batches", "100000000", "--evaluate-every", "1000000", "--checkpoint-every", "1000000"];

#[test]
fn every_signal_that_announces_an_end_saves_with_a_status_of_its_kind() {
    let folder = TempDir::new().unwrap();
    for (signal, status) in [("HUP", 129), ("INT", 130), ("TERM", 75), ("USR1", 75), ("USR2", 75), ("XCPU", 75)] {
        let child = start(&mut sparsam(folder.path(), &small(&[EVALUATED, &["--run", signal]].concat())));
        wait_for_evaluation(&folder.path().join(signal));
        send(&child, &format!("-{signal}"));
        let output = ends_within(child, 20);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{signal}: {err}");
        let again = if signal == "INT" { "Ctrl-C again quits at once" } else { "Ctrl-C twice quits at once" };
        assert!(err.contains(again) && err.contains("all saved; to go on: sparsam train --resume"), "{err}");
        assert!(batch(&folder.path().join(signal)) > 0);
    }
}

#[test]
fn a_terminal_that_closes_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let times = if std::env::var_os("SPARSAM_LONG_TESTS").is_some() { 100 } else { 5 };
    for number in 0..times {
        let name = format!("run{number}");
        let child = start(&mut sparsam(folder.path(), &small(&[ENDLESS, &["--run", &name]].concat())));
        std::thread::sleep(Duration::from_millis(60 + number % 7 * 10));
        // The kernel's, then the shell's.
        send(&child, "-HUP");
        send(&child, "-HUP");
        let output = ends_within(child, 20);
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(129) && err.contains("all saved"), "{:?}: {err}", output.status);
        fs::remove_dir_all(folder.path().join(name)).unwrap();
    }
}

/// With a shell in a terminal of the system's (`terminal.py`).
#[test]
fn a_real_terminal_that_closes_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let times = if std::env::var_os("SPARSAM_LONG_TESTS").is_some() { 100 } else { 3 };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(env!("CARGO_BIN_EXE_sparsam")).arg(folder.path()).arg(times.to_string());
    match command.output() {
        Ok(output) => {
            let out = text(&output.stdout);
            assert!(out.ends_with(&format!("{times} of {times} saved\n")), "{out}{}", text(&output.stderr));
        }
        Err(error) => eprintln!("skipped: there is no python3 ({error})"),
    }
}

#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new("sh");
    command.current_dir(folder.path()).arg("-c").arg("trap '' HUP INT; exec \"$@\"").arg("sh");
    command.arg(env!("CARGO_BIN_EXE_sparsam")).args(small(&[ENDLESS, &["--run", "run"]].concat()));
    let mut child = start(&mut command);
    for signal in ["-HUP", "-INT", "-INT", "-HUP"] {
        send(&child, signal);
        std::thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "it ended on {signal}");
    }
    send(&child, "-TERM");
    assert_eq!(ends_within(child, 20).status.code(), Some(75));
}

/// Batches so long that a stop would wait for them.
const LONG_BATCHES: &[&str] = &[
    "train",
    "recall",
    "--min-items",
    "20000",
    "--max-items",
    "20000",
    "--batch-size",
    "4",
    "--hidden-size",
    "64",
    "--memory-size",
    "4096",
    "--threads",
    "1",
];

#[test]
fn a_second_ctrl_c_quits_at_once_and_no_other_signal_does() {
    let folder = TempDir::new().unwrap();
    let mut tries = 0;
    let mut child = loop {
        let run = format!("run-{tries}");
        let mut child = start(&mut sparsam(folder.path(), &[LONG_BATCHES, &["--run", &run]].concat()));
        // The first line comes before the first batch: asked to end between them, it ends at once, as it should. On a
        // busy machine it takes some time to come to the batch.
        std::thread::sleep(Duration::from_millis(300) * (1 + tries));
        send(&child, "-TERM");
        std::thread::sleep(Duration::from_millis(60));
        if child.try_wait().unwrap().is_none() {
            break child;
        }
        tries += 1;
        assert!(tries < 10, "it quit on -TERM");
    };
    for signal in ["-HUP", "-HUP", "-INT"] {
        send(&child, signal);
        std::thread::sleep(Duration::from_millis(60));
        assert!(child.try_wait().unwrap().is_none(), "it quit on {signal}");
    }
    let sent = Instant::now();
    send(&child, "-INT");
    let output = ends_within(child, 20);
    assert_eq!(output.status.code(), Some(130));
    assert!(sent.elapsed() < Duration::from_secs(10) && !text(&output.stderr).contains("all saved"));
}

#[test]
fn a_stop_during_an_evaluation_saves_at_once_and_the_evaluation_comes_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let settings = ["--batches", "40", "--evaluate-every", "20", "--checkpoint-every", "1000", "--run"];
    // An evaluation of minutes, whose sequences are read by name from the configuration.
    let slow = small(&[&["--evaluation-sequences", "100000000"][..], &settings, &["slow"]].concat());
    // On a busy machine it takes some time to come to it.
    for time in 0.. {
        let mut command = if time == 0 { sparsam(path, &slow) } else { sparsam(path, &["train", "--resume", "slow"]) };
        let child = start(&mut command);
        std::thread::sleep(Duration::from_millis(1500));
        send(&child, "-TERM");
        let sent = Instant::now();
        let output = ends_within(child, 30);
        assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
        assert!(sent.elapsed() < Duration::from_secs(20), "{:?}", sent.elapsed());
        if batch(&path.join("slow")) == 20 {
            break;
        }
        assert!(time < 20, "it never came to the evaluation");
    }
    assert_eq!(fs::metadata(path.join("slow/metrics.jsonl")).unwrap().len(), 0);
    // Going on begins with that evaluation, and so ends in the same place.
    let child =
        sparsam(path, &["train", "--resume", "slow"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(800));
    send(&child, "-TERM");
    assert_eq!(ends_within(child, 30).status.code(), Some(75));
    assert_eq!(batch(&path.join("slow")), 20);
}

#[test]
fn a_reader_that_leaves_is_told_and_training_goes_on_unless_told_otherwise() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let leave = |arguments: &[&str]| {
        let mut command = sparsam(path, arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        ends_within(child, 60)
    };
    for json in [&[][..], &["--json"]] {
        let all = small(&[&["--batches", "400", "--evaluate-every", "20", "--run", "all"][..], json].concat());
        let output = leave(&all);
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), err.lines().count()), (Some(74), 1), "{err}");
        assert!(err.contains("nobody reads standard output any more; training goes on without it"), "{err}");
        assert_eq!(fs::read_to_string(path.join("all/metrics.jsonl")).unwrap().lines().count(), 20);
        fs::remove_dir_all(path.join("all")).unwrap();
    }
    let stops = ["--batches", "1000000", "--evaluate-every", "20", "--run", "stops", "--stop-on-closed-output"];
    let output = leave(&small(&stops));
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(74) && err.contains("training saves and stops"), "{err}");
    assert!(batch(&path.join("stops")) > 0);
    // What is said once is lost as well, and that is no success.
    let mut closed = sparsam(path, &["eval", "stops", "--sequences", "4"]);
    let output = closed.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap()).output().unwrap();
    assert!(output.status.code() == Some(74) && text(&output.stderr).contains("free some space"), "{output:?}");
}

#[test]
fn metrics_that_are_removed_do_not_end_a_run() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let settings = ["--batches", "100000000", "--evaluate-every", "50", "--checkpoint-every", "50", "--run", "run"];
    let child = start(&mut sparsam(path, &small(&settings)));
    let metrics = path.join("run/metrics.jsonl");
    let lines = || fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
    let wait = |at_least: usize| {
        let started = Instant::now();
        while lines() < at_least {
            assert!(started.elapsed().as_secs() < 60);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait(2);
    fs::remove_file(&metrics).unwrap();
    // Written once more, with the lines that it had.
    wait(4);
    send(&child, "-INT");
    let output = ends_within(child, 20);
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(130) && err.contains("was written once more"), "{err}");
    let there = lines();
    succeeds(path, &["eval", "run", "--sequences", "4"]);
    // Removed in between, it is begun anew, and that is said.
    fs::remove_file(&metrics).unwrap();
    succeeds(path, &["eval", "run", "--sequences", "4"]);
    let end = (batch(&path.join("run")) + 100).to_string();
    let output = run(path, &["train", "--resume", "run", "--batches", &end]);
    assert!(
        output.status.success() && text(&output.stderr).contains("goes on without its earlier lines"),
        "{output:?}"
    );
    assert!((1..=3).contains(&lines()) && there > 3);
    // Cut off, it is damaged, and the way out is named.
    let text_of = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, &text_of[..text_of.len() / 2]).unwrap();
    let output = run(path, &["train", "--resume", "run"]);
    assert!(text(&output.stderr).contains("or remove it to go on without the lines that it had"), "{output:?}");
}

#[test]
fn six_that_start_at_once_have_six_folders() {
    let folder = TempDir::new().unwrap();
    let arguments = small(&["--batches", "20", "--evaluate-every", "20", "--quiet"]);
    let start = || sparsam(folder.path(), &arguments).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<Child> = (0..6).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let runs = fs::read_dir(folder.path().join("runs")).unwrap().map(|entry| entry.unwrap().path());
    let finished = runs.filter(|run| batch(run) == 20).count();
    assert_eq!(finished, 6);
}

#[test]
fn named_pipes_are_refused_by_name_and_never_waited_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    succeeds(path, &small(&["--batches", "2", "--run", "a", "--quiet"]));
    fs::create_dir_all(path.join("data/en-10k")).unwrap();
    fs::create_dir_all(path.join("data/images_background/A/c")).unwrap();
    for name in
        ["x.npz", "x.jsonl", "x.toml", "data/en-10k/qa1_x_train.txt", "data/images_background/A/c/x.png", "checkpoint"]
    {
        assert!(Command::new("mkfifo").arg(path.join(name)).status().unwrap().success());
    }
    fs::create_dir_all(path.join("a/checkpoints")).unwrap();
    fs::rename(path.join("checkpoint"), path.join("a/checkpoints/pipe.safetensors")).unwrap();
    let started = Instant::now();
    for (arguments, name) in [
        (&["train", "--data", "x.npz"][..], "x.npz"),
        (&["train", "--data", "x.jsonl"], "x.jsonl"),
        (&["train", "--config", "x.toml"], "x.toml"),
        (&["train", "babi", "--only", "1"], "qa1_x_train.txt"),
        (&["train", "omniglot"], "x.png"),
        (&["eval", "a/checkpoints/pipe.safetensors"], "pipe.safetensors"),
        (&["data", "check", "babi"], "qa1_x_train.txt"),
    ] {
        is_mistake(path, arguments, &[name, "it is a named pipe, where a file was expected"]);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// Runs of before checksums go on, and say that they have none.
#[test]
fn a_run_of_before_checksums_goes_on() {
    let folder = TempDir::new().unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compatibility/before-checksums");
    assert!(Command::new("cp").arg("-r").args([&kept, &folder.path().join("run")]).status().unwrap().success());
    let output = run(folder.path(), &["eval", "run", "--sequences", "4"]);
    assert!(
        output.status.success() && text(&output.stderr).contains("best.safetensors has no checksums"),
        "{output:?}"
    );
    let output = run(folder.path(), &["train", "--resume", "run", "--batches", "60"]);
    assert!(
        output.status.success() && text(&output.stderr).contains("resume.safetensors has no checksums"),
        "{output:?}"
    );
    // From now on they have.
    let output = run(folder.path(), &["eval", "run", "--sequences", "4", "--checkpoint", "newest"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let newest = folder.path().join("run/checkpoints/newest.safetensors");
    let mut bytes = fs::read(&newest).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 0x10;
    fs::write(&newest, bytes).unwrap();
    let output = run(folder.path(), &["eval", "run", "--checkpoint", "newest"]);
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("newest.safetensors") && err.contains("checksum"), "{err}");
}

/// The job script of docs/reliability.md, with a scheduler of two lines.
#[test]
fn the_job_script_of_the_documentation_resumes_itself() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reliability.md")).unwrap();
    let script = guide.split("```sh\n").find(|block| block.contains("#SBATCH")).unwrap().split("```").next().unwrap();
    let settings = small(&["--batches", "100000000", "--evaluate-every", "1000000"])[2..].join(" ");
    fs::write(path.join("job.sh"), script.replace("train recall --run", &format!("train copy {settings} --run")))
        .unwrap();
    let stub = |name: &str, text: &str| {
        fs::write(path.join(name), text).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(path.join(name)).status().unwrap().success());
    };
    // srun sends the signal of --signal to what it runs.
    stub("srun", "#!/bin/sh\n\"$@\" & job=$!\nsleep 1\nkill -USR1 $job\nwait $job\n");
    stub("scontrol", "#!/bin/sh\necho \"$@\" >>requeued\n");
    stub("sparsam", &format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_sparsam")));
    let mut before = 0;
    for time in 1..=2 {
        let mut job = Command::new("bash");
        job.current_dir(path).arg("job.sh").env("SLURM_JOB_ID", "17");
        job.env("PATH", format!("{}:{}", path.display(), std::env::var("PATH").unwrap()));
        let output = job.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(fs::read_to_string(path.join("requeued")).unwrap(), "requeue 17\n".repeat(time));
        let run = fs::read_dir(path.join("runs")).unwrap().next().unwrap().unwrap().path();
        let now = batch(&run);
        assert!(now > before, "{now} batches after the second job, {before} after the first");
        before = now;
    }
}

/// What is not a signal that asks for an end is as everywhere.
#[test]
fn a_kill_is_a_kill() {
    let folder = TempDir::new().unwrap();
    let child = start(&mut sparsam(folder.path(), &small(&[ENDLESS, &["--run", "run"]].concat())));
    send(&child, "-KILL");
    let mut output = ends_within(child, 20);
    assert_eq!(output.status.signal(), Some(9));
    output.stdout.clear();
    let mut lock = fs::File::open(folder.path().join("run/.lock")).unwrap();
    lock.read_to_end(&mut output.stdout).unwrap();
}
