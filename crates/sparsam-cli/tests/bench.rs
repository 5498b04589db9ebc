//! `sparsam bench` as a user meets it, on sizes that take no time.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use common::{is_mistake, send, sparsam, succeeds, text};
use serde_json::Value;
use tempfile::TempDir;

fn report(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(format!("bench/{name}.json"))).unwrap()).unwrap()
}

/// The CSV has as many lines as there are points, and a header; each of the pictures is one.
#[track_caller]
fn is_written(folder: &Path, name: &str, points: usize, pictures: &[&str]) {
    let csv = fs::read_to_string(folder.join(format!("bench/{name}.csv"))).unwrap();
    assert_eq!(csv.lines().count(), points + 1, "{csv}");
    for picture in pictures {
        let svg = fs::read_to_string(folder.join(format!("bench/{picture}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{picture}");
    }
}

#[test]
fn steps_are_timed() {
    let folder = TempDir::new().unwrap();
    let arguments = "bench step --sizes 16,1k --models ntm,sam,sdnc --indexes linear --empty --repeats 2 --steps 7";
    let out = succeeds(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    for part in ["full of distinct words", "this takes about", "SAM linear, empty", "1,024", "bench/step-dnc.svg"] {
        assert!(out.contains(part), "{part} is not in {out}");
    }
    let report = report(folder.path(), "step");
    let points = report["points"].as_array().unwrap();
    assert_eq!((points.len(), &report["complete"]), (10, &Value::Bool(true)));
    assert!(report["machine"]["cores"].as_u64() > Some(0) && report["options"]["batch"] == 8);
    for point in points {
        let spread = &point["seconds"];
        assert!(spread["median"].as_f64().unwrap() > 0.0 && spread["repeats"] == 2, "{point}");
        assert_eq!(point["steps"], 7, "{point}");
        assert_eq!(point["speedup"].is_number(), point["model"] != "sdnc", "{point}");
    }
    is_written(folder.path(), "step", 10, &["step", "step-dnc"]);
}

#[test]
fn indexes_are_measured() {
    let folder = TempDir::new().unwrap();
    let arguments = ["bench", "index", "--sizes", "300", "--checks", "200", "--repeats", "2", "--rounds", "2"];
    let out = succeeds(folder.path(), &arguments);
    assert!(out.contains("300 words, clustered") && out.contains("after 2 rounds"), "{out}");
    assert!(out.contains("of nothing but looking at the clock"), "{out}");
    let report = report(folder.path(), "index");
    let points = report["points"].as_array().unwrap();
    for point in points {
        let exact = point["index"] == "linear";
        assert!(point["recall"].as_f64().unwrap() > if exact { 0.999 } else { 0.3 }, "{point}");
        assert!(point["recall_after"].is_number() && point["worst_update_seconds"].as_f64().unwrap() > 0.0);
        assert!(point["longest_pause_seconds"].as_f64().unwrap() > 0.0);
    }
    for kind in sparsam::index::IndexKind::ALL.iter().map(|kind| kind.name()).filter(|name| *name != "auto") {
        assert!(points.iter().any(|point| point["index"] == kind), "{kind}");
    }
    is_written(folder.path(), "index", points.len(), &["index-clustered", "index-gaussian"]);
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_measured_in_processes_of_their_own() {
    let folder = TempDir::new().unwrap();
    let arguments =
        ["bench", "memory", "--quick", "--sizes", "64,2k", "--models", "ntm,sam,dnc,sdnc", "--indexes", "linear"];
    let out = succeeds(folder.path(), &arguments);
    assert!(out.contains("full of distinct words") && out.contains("240 in Rae et al. 2016"), "{out}");
    let report = report(folder.path(), "memory");
    let points = report["points"].as_array().unwrap();
    let bytes = |series: &str, words: u64| {
        let point = points.iter().find(|point| point["series"] == series && point["words"] == words).unwrap();
        point["bytes"].as_f64().unwrap()
    };
    // A hundred states of 2,048 × 48 numbers, but for those that share a huge page with the first; and a few words.
    assert!(bytes("NTM", 2048) > 90.0 * 2048.0 * 48.0 * 4.0 && bytes("SAM linear", 2048) < 4e6);
    assert!(bytes("DNC", 2048) > 1.5e8 && bytes("SDNC linear", 2048) < 8e6);
    is_written(folder.path(), "memory", 8, &["memory", "memory-dnc"]);
}

#[test]
fn json_is_printed_for_a_program() {
    let folder = TempDir::new().unwrap();
    let arguments =
        ["bench", "step", "--quick", "--sizes", "64", "--models", "dam", "--repeats", "1", "--json", "--threads", "1"];
    let printed: Value = serde_json::from_str(&succeeds(folder.path(), &arguments)).unwrap();
    assert_eq!(printed, report(folder.path(), "step"));
    assert_eq!((&printed["benchmark"], &printed["machine"]["threads"]), (&Value::from("step"), &Value::from(1)));
}

#[test]
fn mistakes_get_a_sentence_and_leave_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    is_mistake(path, &["bench", "step", "--sizes", "sixty"], &["sixty", "64, 16k or 1M"]);
    is_mistake(path, &["bench", "step", "--sizes", "3"], &["--sizes 3", "4 heads"]);
    is_mistake(path, &["bench", "step", "--sizes", "3000M"], &["--sizes 3145728000", "2147483646"]);
    is_mistake(
        path,
        &["bench", "step", "--models", "ntm", "--sizes", "64,2000M"],
        &["--sizes 2097152000", "NTM", "TiB"],
    );
    is_mistake(path, &["bench", "step", "--models", "elephant"], &["elephant", "sdnc"]);
    is_mistake(path, &["bench", "index", "--indexes", "alphabet"], &["alphabet", "linear"]);
    is_mistake(path, &["bench", "index", "--sizes", "2000M"], &["--sizes 2097152000", "it needs", "available"]);
    is_mistake(path, &["bench", "index", "--sizes", "20"], &["--sizes 20", "64"]);
    is_mistake(path, &["bench", "index", "--checks", "0"], &["--checks 0"]);
    is_mistake(path, &["bench", "index", "--queries", "trained"], &["--queries trained", "--run"]);
    is_mistake(path, &["bench", "index", "--run", "runs/none"], &["runs/none"]);
    is_mistake(path, &["bench", "index", "--level", "4"], &["--level", "--run"]);
    is_mistake(path, &["bench", "step", "--repeats", "0"], &["--repeats"]);
    #[cfg(target_os = "linux")]
    is_mistake(path, &["bench", "memory", "--models", "ntm", "--sizes", "2000M"], &["--sizes 2097152000", "it needs"]);
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    fs::write(path.join("file"), "").unwrap();
    is_mistake(path, &["bench", "step", "--output", "file"], &["file is a file", "--output"]);
}

#[cfg(unix)]
#[test]
fn what_was_measured_before_ctrl_c_is_written() {
    use std::io::{BufRead, BufReader};

    let folder = TempDir::new().unwrap();
    let arguments =
        ["bench", "step", "--models", "sam", "--indexes", "linear", "--sizes", "64,64k,128k,256k", "--repeats", "200"];
    let mut child = sparsam(folder.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("SAM linear")).expect("the first size is told");
    std::thread::spawn(move || lines.for_each(drop));
    send(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    // Whether it was measuring then, or storing words.
    let err = text(&output.stderr);
    assert!(err.contains("Ctrl-C again quits at once") || err.contains("what was measured before is written"), "{err}");
    let report = report(folder.path(), "step");
    assert_eq!((&report["complete"], &report["points"][0]["words"]), (&Value::Bool(false), &Value::from(64)));
}

#[test]
fn help_explains_every_benchmark() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        &["bench", "--help"][..],
        &["bench", "step", "--help"],
        &["bench", "memory", "--help"],
        &["bench", "index", "--help"],
    ] {
        let out = succeeds(folder.path(), arguments);
        assert!(out.contains("Examples:\n  sparsam bench "), "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 100) && !out.contains("  point"), "{out}");
    }
}
