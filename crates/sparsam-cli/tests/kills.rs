//! Kills at random moments, over all tasks: the run that goes on ends as one that was never killed, to the bit.
#![cfg(unix)]

mod common;
#[path = "common/stories.rs"]
mod stories;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{sparsam, succeeds};
use stories::write_babi;
use tempfile::TempDir;

/// Kills in all; `SPARSAM_KILLS` asks for another number.
const KILLS: usize = 100;

/// All that a run leaves, without what depends on the clock.
fn result(run: &Path) -> (Vec<u8>, Vec<u8>, Vec<serde_json::Value>) {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().retain(|name, _| !name.contains("second"));
        line
    });
    let checkpoint = |name| fs::read(run.join("checkpoints").join(name)).unwrap();
    (checkpoint("newest.safetensors"), checkpoint("best.safetensors"), lines.collect())
}

#[test]
fn a_hundred_kills_change_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    write_babi(&path.join("stories/en-10k"), "train", "is");
    let line = |number: usize| format!("{{\"inputs\": [[{number}], [0]], \"targets\": [null, {}]}}\n", number % 3);
    fs::write(path.join("mine.jsonl"), (0..30).map(line).collect::<String>()).unwrap();
    let mut tasks = vec![
        ("copy", "400", vec!["--bits", "3", "--max-length", "3"]),
        (
            "recall",
            "200",
            vec![
                "--min-items",
                "2",
                "--max-items",
                "3",
                "--curriculum",
                "--curriculum-start",
                "2",
                "--curriculum-end",
                "6",
            ],
        ),
        ("sort", "60", vec![]),
        ("babi", "200", vec!["--data", "stories"]),
        ("sequences", "400", vec!["--data", "mine.jsonl"]),
    ];
    let data = std::env::var("SPARSAM_DATA").unwrap_or_default();
    if data.is_empty() {
        eprintln!("omniglot is left out: SPARSAM_DATA names no folder with the real data");
    } else {
        tasks.push(("omniglot", "10", vec!["--data", &data, "--labels", "8", "--max-characters", "2"]));
    }
    let wanted = std::env::var("SPARSAM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let each = wanted / tasks.len() + 1;
    let mut random = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let mut all = 0;
    for (task, batches, options) in &tasks {
        let model = if all % 2 == 0 { "sam" } else { "sdnc" };
        let mut arguments = vec!["train", task, "--model", model, "--quiet", "--batches", batches];
        arguments.extend(["--hidden-size", "8", "--memory-size", "32", "--word-size", "4", "--threads", "1"]);
        arguments.extend(["--evaluate-every", "5", "--checkpoint-every", "3", "--evaluation-sequences", "8"]);
        arguments.extend(options);
        succeeds(path, &[&arguments[..], &["--run", "whole"]].concat());
        let expected = result(&path.join("whole"));
        let (mut kills, mut runs) = (0, 0);
        while kills < each {
            let name = format!("killed{runs}");
            runs += 1;
            let (first, again) =
                ([&arguments[..], &["--run", &name]].concat(), ["train", "--resume", &name, "--quiet"]);
            loop {
                // A kill before the configuration is written leaves no run to resume.
                let begun = path.join(&name).join("config.toml").is_file();
                let mut command = sparsam(path, if begun { &again } else { &first });
                let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
                if kills < each {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    std::thread::sleep(Duration::from_micros(8_000 + random % 60_000));
                }
                match child.try_wait().unwrap() {
                    None if kills < each => {
                        child.kill().unwrap();
                        child.wait().unwrap();
                        kills += 1;
                    }
                    _ => {
                        let output = child.wait_with_output().unwrap();
                        assert!(output.status.success(), "{task}: {}", String::from_utf8_lossy(&output.stderr));
                        break;
                    }
                }
            }
            assert!(result(&path.join(&name)) == expected, "{task}, killed {kills} times, ended otherwise");
            fs::remove_dir_all(path.join(&name)).unwrap();
        }
        all += kills;
        fs::remove_dir_all(path.join("whole")).unwrap();
    }
    println!("{all} kills over {} tasks, no bit of difference", tasks.len());
    assert!(all >= wanted);
}
