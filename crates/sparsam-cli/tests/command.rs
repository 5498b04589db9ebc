//! `sparsam train` and `sparsam eval` as a user meets them.

mod common;
#[path = "common/stories.rs"]
mod stories;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use common::{is_mistake, run, send, sparsam, succeeds, text};
use stories::write_babi;
use tempfile::TempDir;

/// A task small enough that hundreds of batches take no time.
const SMALL: &[&str] = &[
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
    // A run that is given more batches later goes on as one that had them from the start.
    "--cooldown",
    "0",
];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "copy"], SMALL, more].concat()
}

/// The parameters and what was measured of them: what two equal runs share, whatever the clock said.
fn result(run: &Path) -> (Vec<u8>, Vec<u8>, Vec<serde_json::Value>) {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let metrics = metrics.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.retain(|name, _| !name.contains("second"));
        line
    });
    let checkpoint = |name| fs::read(run.join("checkpoints").join(name)).unwrap();
    (checkpoint("newest.safetensors"), checkpoint("best.safetensors"), metrics.collect())
}

/// The first line of a run's metrics.
fn metrics_line(run: &Path) -> String {
    fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().next().unwrap().to_owned()
}

/// Starts training with JSON on its output, and waits for `lines` of the evaluations.
#[cfg(unix)]
fn start_and_wait(folder: &Path, arguments: &[&str], lines: usize) -> Child {
    let mut command = sparsam(folder, arguments);
    let mut child = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..lines {
        output
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("\"evaluated\""))
            .expect("training ended too soon");
    }
    // The rest must be read, or the pipe would fill up, or close.
    std::thread::spawn(move || output.for_each(drop));
    child
}

#[test]
fn a_network_is_trained_and_evaluated() {
    let folder = TempDir::new().unwrap();
    let batches = ["--batches", "600", "--evaluate-every", "200", "--optimiser", "adam", "--learning-rate", "0.01"];
    let out = succeeds(folder.path(), &small(&batches));
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("training sam (") && lines[0].ends_with("on copy in runs/copy-sam-1"), "{out}");
    assert!(lines[1].starts_with("batch 200 of 600: ") && lines[1].contains(" of sequences right; "), "{out}");
    assert!(lines[4].starts_with("finished 600 batches in "), "{out}");
    assert!(lines[5].starts_with("best, after ") && lines[5].ends_with(" % of 1,024 sequences right"), "{out}");
    // The newest is told of where it is another.
    let newest = !lines[5].starts_with("best, after 600 batches: ");
    assert!(!newest || lines[6].starts_with("newest, after 600 batches: loss "), "{out}");
    assert_eq!(
        lines.len(),
        7 + usize::from(newest),
        "off a terminal there are a line at the start, each evaluation, three or four at the end: {out}"
    );

    let run = folder.path().join("runs/copy-sam-1");
    for file in ["config.toml", "metrics.jsonl", "curve.svg", "checkpoints/newest.safetensors"] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    let bits = |line: &str| -> f64 {
        let after = line.split(": loss ").nth(1).unwrap();
        after.split(' ').next().unwrap().parse().unwrap()
    };
    // Six bits on average, each worth one bit to who knows nothing.
    let newest = ["eval", "runs/copy-sam-1", "--sequences", "1000", "--checkpoint", "newest"];
    let out = succeeds(folder.path(), &newest);
    assert!(
        out.starts_with("sam on copy (newest, after 600 batches), 1,000 fresh sequences of 1 to 3 vectors: "),
        "{out}"
    );
    let trained = bits(&out);
    assert!(trained < 4.0, "{trained} bits per sequence were learnt nothing from");
    let longer = succeeds(folder.path(), &["eval", "runs/copy-sam-1/", "--level", "6"]);
    let best = lines[5].split(':').next().unwrap();
    assert!(longer.starts_with(&format!("sam on copy ({best}), 256 fresh sequences of 6 vectors: ")), "{longer}");
    assert!(bits(&longer) > trained);
    let file = "runs/copy-sam-1/checkpoints/newest.safetensors";
    assert_eq!(bits(&succeeds(folder.path(), &["eval", file, "--sequences", "1000"])), trained);
    let other = bits(&succeeds(folder.path(), &["eval", file, "--sequences", "1000", "--seed", "2"]));
    assert!(other != trained && (other - trained).abs() < 1.0, "{other} {trained}");

    // What the parameters do not depend on may differ from training; a million words are more than are written.
    let memory = ["--memory-size", "5000", "--index", "linear"];
    let exact = succeeds(folder.path(), &[&["eval", file, "--sequences", "1000"][..], &memory].concat());
    assert!((bits(&exact) - trained).abs() < 0.1, "{exact}");
    let json = succeeds(folder.path(), &[&["eval", file, "--sequences", "8", "--json"][..], &memory].concat());
    assert!(json.contains("\"memory_size\":5000") && json.contains("\"index\":\"linear\""), "{json}");
    // Of an exact index nothing is missed, and what is read is what it was.
    let compared =
        succeeds(folder.path(), &[&["eval", file, "--sequences", "1000", "--compare-index"][..], &memory].concat());
    assert_eq!(bits(&compared), bits(&exact));
    assert!(compared.contains("; the index missed 0.00 % of words (0 of "), "{compared}");
    is_mistake(folder.path(), &["eval", file, "--memory-size", "0"], &["--memory-size 0 does not work"]);
    is_mistake(folder.path(), &["eval", file, "--heads", "2"], &["--heads"]);

    // The name is taken now; the next free one is found.
    let out = succeeds(folder.path(), &small(&["--batches", "2", "--quiet"]));
    assert_eq!(out, "");
    assert!(folder.path().join("runs/copy-sam-1-2/config.toml").is_file());
}

#[test]
fn every_task_trains_with_every_model() {
    let folder = TempDir::new().unwrap();
    let makes = |task: &&&str| sparsam_train::TaskConfig::by_name(task).is_some_and(|task| !task.reads_files());
    for task in sparsam_train::TaskConfig::NAMES.iter().filter(makes) {
        for model in sparsam::Model::NAMES {
            let name = format!("{task} {model}");
            succeeds(folder.path(), &["train", task, "--model", model, "--batches", "2", "--run", &name]);
            succeeds(folder.path(), &["eval", &name, "--sequences", "2"]);
        }
    }
}

#[test]
fn numbers_and_flags_are_written_as_elsewhere() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let flags = ["train", "copy", "--memory-size", "1k", "--lr", "3e-3", "--optimizer", "rmsprop", "--batches", "2"];
    succeeds(path, &[&flags[..], &["--run", "run", "--quiet"]].concat());
    let config = fs::read_to_string(path.join("run/config.toml")).unwrap();
    for line in ["memory_size = 1024", "learning_rate = 0.003", "kind = \"rmsprop\""] {
        assert!(config.contains(line), "{line} is not in {config}");
    }
}

#[test]
fn every_controller_is_trained_resumed_and_evaluated() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for controller in sparsam::ControllerKind::NAMES {
        for model in ["sam", "lstm"] {
            let name = format!("{controller} {model}");
            let all = ["train", "copy", "--model", model, "--controller", controller, "--hidden-size", "8"];
            // The longer run is evaluated where the shorter one ends, and its rate does not fall before.
            let all = [&all[..], &["--cooldown", "0", "--evaluate-every", "10"]].concat();
            succeeds(path, &[&all[..], &["--batches", "20", "--run", "whole"]].concat());
            succeeds(path, &[&all[..], &["--batches", "10", "--run", &name]].concat());
            succeeds(path, &["train", "--resume", &name, "--batches", "20"]);
            let checkpoint = |run: &str| fs::read(path.join(run).join("checkpoints/newest.safetensors")).unwrap();
            assert_eq!(checkpoint(&name).len(), checkpoint("whole").len());
            assert_eq!(result(&path.join(&name)).2.last(), result(&path.join("whole")).2.last(), "{name}");
            let config = fs::read_to_string(path.join(&name).join("config.toml")).unwrap();
            assert!(config.contains(&format!("controller = \"{controller}\"\n")), "{config}");
            succeeds(path, &["eval", &name, "--sequences", "2"]);
            fs::remove_dir_all(path.join("whole")).unwrap();
        }
    }
    is_mistake(path, &["train", "copy", "--controller", "elephant"], &["elephant", "gru", "layer_norm_lstm"]);
}

#[test]
fn stories_are_learnt_and_other_files_evaluated() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    write_babi(&path.join("data/en-10k"), "train", "is");
    let network = ["--hidden-size", "16", "--memory-size", "64", "--word-size", "8", "--seed", "3"];
    let training = ["--optimiser", "adam", "--batches", "150", "--evaluate-every", "75", "--run", "whole"];
    let out = succeeds(path, &[&["train", "babi", "--model", "sdnc"][..], &network, &training].concat());
    assert!(out.lines().any(|line| line.contains("mean error") && line.contains("failed")), "{out}");
    let line = fs::read_to_string(path.join("whole/metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    assert!(line["errors"].as_array().unwrap().len() == 20 && line["mean_error"].as_f64().unwrap() < 0.5, "{line}");

    let out = succeeds(path, &["eval", "whole"]);
    assert!(out.starts_with("sdnc on babi (best, after ") && out.contains(" batches), 40 stories: "), "{out}");
    let [.., last, took] = out.lines().collect::<Vec<_>>()[..] else { panic!("{out}") };
    assert!(
        out.lines().count() == 23 && last.starts_with("mean error of the tasks ") && last.ends_with(" of 20"),
        "{out}"
    );
    // Stories of five steps, forty of them, as words.
    assert!(took.starts_with("600 steps in ") && took.contains(" of 64 words written to in a sequence"), "{took}");
    write_babi(&path.join("other"), "test", "is");
    fs::remove_dir_all(path.join("data")).unwrap();
    let out = succeeds(path, &["eval", "whole", "--test-files", "other", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(line["sequences"] == 400 && line["categories"][0]["answers"] == 40, "{out}");
    write_babi(&path.join("strange"), "test", "sleeps");
    is_mistake(path, &["eval", "whole", "--test-files", "strange"], &["qa1_a-task_test.txt: line 3", "sleeps"]);
    is_mistake(path, &["eval", "whole", "--test-files", "none"], &["none: there is no such file"]);
    is_mistake(path, &["train", "babi"], &["data: there is no such file or folder"]);
    is_mistake(
        path,
        &["train", "--resume", "whole"],
        &["data: it is neither in the working directory nor", "config.toml"],
    );

    // Words that changed under a run would be other words to its network.
    write_babi(&path.join("data/en-10k"), "train", "sleeps");
    is_mistake(path, &["train", "--resume", "whole", "--batches", "160"], &["whole", "data of the task have changed"]);
    succeeds(path, &small(&["--batches", "2", "--run", "a"]));
    is_mistake(path, &["eval", "a", "--test-files", "other"], &["test_files = other", "makes its sequences"]);
}

#[test]
fn sequences_of_ones_own_are_learnt() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    // Which of two inputs was 1 at the first step?
    let line = |number: usize| {
        let inputs = [[number % 2, 1 - number % 2], [0, 0], [0, 0]];
        format!("{}\n", serde_json::json!({"inputs": inputs, "targets": [null, null, number % 2]}))
    };
    let lines = |numbers: std::ops::Range<usize>| numbers.map(line).collect::<String>();
    fs::write(path.join("mine.jsonl"), lines(0..40)).unwrap();
    fs::write(path.join("other.jsonl"), lines(0..6)).unwrap();
    let settings = ["--hidden-size", "8", "--memory-size", "16", "--batches", "150", "--optimiser", "adam"];
    let out = succeeds(path, &[&["train", "--data", "mine.jsonl", "--learning-rate", "0.01"][..], &settings].concat());
    assert!(out.contains("on sequences in runs/sequences-sam-1"), "{out}");
    let out = succeeds(path, &["eval", "runs/sequences-sam-1", "--test-files", "other.jsonl"]);
    assert!(out.contains(" batches), 6 sequences: ") && out.contains(" 0 classes wrong, 100.0 ± 7.1 % of"), "{out}");
    // From elsewhere the data are found above the run.
    let elsewhere = TempDir::new().unwrap();
    let there = path.join("runs/sequences-sam-1");
    let there = there.to_str().unwrap();
    let out = succeeds(elsewhere.path(), &["eval", there]);
    assert!(out.contains(" batches), 4 sequences: "), "{out}");
    succeeds(elsewhere.path(), &["train", "--resume", there, "--batches", "151"]);
    fs::rename(path.join("mine.jsonl"), path.join("yours.jsonl")).unwrap();
    is_mistake(elsewhere.path(), &["eval", there], &["mine.jsonl: it is neither in the working directory nor"]);
    is_mistake(path, &["train", "sequences"], &["data = \"\"", ".jsonl or .npz"]);
    is_mistake(path, &["train", "--data", "none.npz"], &["none.npz: there is no such file"]);
    fs::write(path.join("bad.jsonl"), lines(0..9) + "{}\n").unwrap();
    is_mistake(path, &["train", "--data", "bad.jsonl"], &["bad.jsonl: line 10: ", "was expected"]);
}

#[test]
fn data_are_taken_and_checked() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    is_mistake(path, &["data", "check", "babi"], &["data/tasks_1-20_v1-2.tar.gz", "missing", "sparsam data fetch"]);
    let zips = ["data/images_background.zip: it is missing", "; and data/images_evaluation.zip: it is missing"];
    is_mistake(path, &["data", "check", "omniglot"], &zips);
    is_mistake(path, &["data", "fetch", "babi", "--from", "none"], &["none", "no such file"]);
    is_mistake(path, &["data", "fetch", "cifar"], &["cifar", "babi, omniglot"]);
    fs::write(path.join("tasks_1-20_v1-2.tar.gz"), "rubbish").unwrap();
    is_mistake(path, &["data", "fetch", "babi", "--from", "."], &["tasks_1-20_v1-2.tar.gz: it is no whole archive"]);
    is_mistake(path, &["data", "fetch", "omniglot", "--from", "tasks_1-20_v1-2.tar.gz"], &["several files", "folder"]);
    is_mistake(path, &["train", "omniglot"], &["data: it holds no images_background.zip", "sparsam data fetch"]);
    let Some(data) = std::env::var_os("SPARSAM_DATA") else {
        eprintln!("skipped: SPARSAM_DATA names no folder with the real data");
        return;
    };
    let out = succeeds(path, &["data", "fetch", "babi", "--from", data.to_str().unwrap()]);
    assert!(out.contains(" stories of 20 tasks in en-10k, and test files of 0; ") && out.contains("SHA-256"), "{out}");
    assert_eq!(succeeds(path, &["data", "check", "babi"]), out);
    assert_eq!(fs::read_dir(path.join("data")).unwrap().count(), 1);
    let settings = ["--only", "1", "--hidden-size", "8", "--memory-size", "32", "--batches", "2"];
    succeeds(path, &[&["train", "babi"][..], &settings].concat());
    let output = run(path, &["data", "check", "omniglot", "--data", data.to_str().unwrap()]);
    let out = text(&output.stdout);
    assert!(out.starts_with("images_background.zip: 19280 drawings of 964 characters"), "{out}");
}

#[test]
fn a_configuration_alone_starts_the_same_run_again() {
    let folder = TempDir::new().unwrap();
    let settings = ["--batches", "30", "--evaluate-every", "10", "--seed", "5", "--clip-norm", "0.3", "--run", "a"];
    succeeds(folder.path(), &small(&settings));
    succeeds(folder.path(), &["train", "--config", "a/config.toml", "--run", "b", "--threads", "1"]);
    assert_eq!(result(&folder.path().join("a")), result(&folder.path().join("b")));
    let config = |run: &str| fs::read_to_string(folder.path().join(run).join("config.toml")).unwrap();
    assert_eq!(config("a"), config("b"));

    // A flag overrules the file, and the file the defaults.
    succeeds(folder.path(), &["train", "--config", "a/config.toml", "--run", "c", "--seed", "6", "--batches", "3"]);
    assert_eq!(config("c"), config("a").replace("seed = 5", "seed = 6").replace("batches = 30", "batches = 3"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_ends_as_one_that_was_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let settings = ["--batches", "3000", "--evaluate-every", "100", "--checkpoint-every", "150"];
    succeeds(path, &small(&[&settings[..], &["--run", "whole"]].concat()));

    let child = start_and_wait(path, &small(&[&settings[..], &["--run", "stopped"]].concat()), 2);
    send(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("to go on: sparsam train --resume stopped"), "{err}");
    succeeds(path, &["train", "--resume", "stopped", "--quiet"]);
    assert_eq!(result(&path.join("stopped")), result(&path.join("whole")));

    let mut child = start_and_wait(path, &small(&[&settings[..], &["--run", "killed"]].concat()), 4);
    send(&child, "-KILL");
    child.wait().unwrap();
    let out = succeeds(path, &["train", "--resume", "killed"]);
    assert!(out.contains("going on after batch"), "{out}");
    assert_eq!(result(&path.join("killed")), result(&path.join("whole")));

    // A finished run goes on if it is given more to do.
    succeeds(path, &["train", "--resume", "killed", "--batches", "3100"]);
    assert_eq!(result(&path.join("killed")).2.len(), 31);
    is_mistake(path, &["train", "--resume", "killed", "--batches", "3000"], &["3000", "3100 were trained already"]);
}

#[test]
fn a_run_that_has_learnt_ends_and_goes_on_if_asked() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    // So many bits are wrong from the first.
    let settings = ["--batches", "60", "--evaluate-every", "10", "--until", "9", "--run", "a"];
    let out = succeeds(path, &small(&settings));
    assert!(out.lines().any(|line| line.starts_with("learnt copy after 160 sequences, 20 batches in ")), "{out}");
    assert!(out.lines().last().unwrap().ends_with("sparsam eval a"), "{out}");
    let out = succeeds(path, &["train", "--resume", "a", "--json"]);
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert!(last["event"] == "ended" && last["outcome"] == "learnt" && last["sequences"] == 160, "{out}");
    assert!(last["best"]["batch"].is_number() && last["best"]["evaluation"]["sequences"] == 1024, "{out}");
    is_mistake(path, &["train", "--resume", "a", "--until", "-1"], &["until = -1", "a number from 0 to 1000000000000"]);

    succeeds(path, &["train", "--resume", "a", "--batches", "40"]);
    let config = || fs::read_to_string(path.join("a/config.toml")).unwrap();
    assert!(config().contains("batches = 40\n") && config().contains("until = 0.0\n"), "{}", config());
    succeeds(path, &["train", "--resume", "a", "--batches", "60"]);
    succeeds(path, &small(&[&settings[..4], &["--until", "0", "--run", "b"]].concat()));
    assert_eq!(result(&path.join("a")), result(&path.join("b")));
}

#[cfg(unix)]
#[test]
fn an_interrupted_evaluation_ends_at_once() {
    let folder = TempDir::new().unwrap();
    succeeds(folder.path(), &small(&["--batches", "2", "--run", "a"]));
    let arguments = ["eval", "a", "--level", "10000", "--sequences", "1000000000"];
    let mut command = sparsam(folder.path(), &arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Nothing tells off a terminal that it has begun.
    std::thread::sleep(std::time::Duration::from_secs(2));
    send(&child, "-INT");
    let sent = std::time::Instant::now();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(sent.elapsed().as_secs() < 2, "it took {:?}", sent.elapsed());
    assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), String::new()));
}

#[test]
fn json_lines_are_json() {
    let folder = TempDir::new().unwrap();
    let out = succeeds(folder.path(), &small(&["--batches", "20", "--evaluate-every", "10", "--json"]));
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).filter(|e| *e != "batch").collect();
    assert_eq!(events, ["started", "evaluated", "evaluated", "saved", "ended"]);
    assert_eq!(lines[0]["folder"], "runs/copy-sam-1");
    assert_eq!(lines.last().unwrap()["outcome"], "finished");
    let evaluated = lines.iter().find(|line| line["event"] == "evaluated").unwrap();
    assert!(evaluated["batch"] == 10 && evaluated["loss"].is_number() && evaluated["best"].is_boolean());

    let out = succeeds(folder.path(), &["eval", "runs/copy-sam-1", "--level", "2", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(line["loss"].as_f64().unwrap() > 0.0 && line["first_level"] == 2 && line["last_level"] == 2);
    // Two vectors of three bits.
    assert!(line["guessing"] == 6.0 && line["loss_error"].as_f64().unwrap() > 0.0, "{line}");
    assert!((0.0..1.0).contains(&line["right"].as_f64().unwrap()) && line["right_error"].is_number(), "{line}");
    for line in
        [evaluated.clone(), serde_json::from_str(&metrics_line(&folder.path().join("runs/copy-sam-1"))).unwrap()]
    {
        assert!((3.0..9.0).contains(&line["guessing"].as_f64().unwrap()) && line["right"].is_number(), "{line}");
    }
}

#[test]
fn mistakes_get_a_sentence_and_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    is_mistake(path, &["train", "juggle"], &["juggle", "copy, recall, sort"]);
    is_mistake(path, &["train"], &["copy, recall, sort", "--config", "--resume"]);
    is_mistake(path, &["train", "copy", "--model", "elephant"], &["elephant", "lstm", "sam"]);
    is_mistake(path, &["train", "copy", "--sed", "3"], &["--sed", "--seed"]);
    is_mistake(path, &["train", "copy", "--seed", "three"], &["--seed", "three", "a whole number", "16k"]);
    is_mistake(path, &["train", "copy", "--seed", "-3"], &["--seed", "-3", "a whole number from 0"]);
    is_mistake(path, &["train", "copy", "--hidden-size", "0"], &["--hidden-size 0", "at least 1"]);
    is_mistake(path, &["train", "copy", "--hidden-size", "4611686018427387905"], &["--hidden-size 46"]);
    is_mistake(path, &["train", "copy", "--word-size", "4611686018427387905"], &["--word-size 46"]);
    is_mistake(path, &["train", "copy", "--batch-size", "4611686018427387905"], &["batch"]);
    is_mistake(path, &["train", "copy", "--memory-size", "3"], &["--memory-size 3", "4 heads"]);
    is_mistake(path, &["train", "copy", "--min-length", "9", "--max-length", "8"], &["--min-length 9"]);
    is_mistake(path, &["train", "copy", "--model", "lstm", "--reads", "3"], &["--reads", "lstm"]);
    is_mistake(path, &["train", "sort", "--count", "3"], &["top = 16", "a count of at least 16", "raise count"]);
    is_mistake(path, &["train", "sort", "--max-items", "3"], &["--max-items", "the task sort", "--count"]);
    is_mistake(path, &["train", "copy", "--learning-rate", "-1"], &["--learning-rate -1"]);
    is_mistake(path, &["train", "copy", "--index", "alphabet"], &["alphabet", "linear"]);
    is_mistake(path, &["train", "copy", "--optimiser", "sgd"], &["sgd", "rmsprop, adam"]);
    is_mistake(path, &["train", "copy", "--threads", "0"], &["--threads"]);
    is_mistake(path, &["train", "copy", "--config", "none.toml"], &["none.toml", "config.toml"]);
    is_mistake(path, &["train", "--resume", "none"], &["none", "runs/"]);
    is_mistake(path, &["train", "--resume", "."], &["config.toml is missing"]);
    is_mistake(path, &["train", "copy", "--resume", "none"], &["--resume"]);
    is_mistake(path, &["eval", "none"], &["none", "runs/"]);
    is_mistake(path, &["eval", "."], &["config.toml is missing"]);
    is_mistake(path, &["frobnicate"], &["frobnicate"]);
    is_mistake(path, &["completions", "fishes"], &["fishes", "bash"]);
    fs::write(path.join("bad.toml"), "[task]\nname = 'copy'\nlenght = 3\n").unwrap();
    is_mistake(path, &["train", "--config", "bad.toml"], &["bad.toml", "lenght"]);
    assert!(!path.join("runs").exists(), "a mistake must leave nothing behind");

    succeeds(path, &small(&["--batches", "2", "--run", "a"]));
    is_mistake(path, &small(&["--run", "a"]), &["a already holds a run", "resume"]);
    is_mistake(path, &small(&["--run", "bad.toml"]), &["bad.toml is a file"]);
    is_mistake(path, &["train", "--resume", "a", "--seed", "3"], &["--seed", "--batches", "--config a/config.toml"]);
    is_mistake(path, &["eval", "a", "--level", "0"], &["level = 0", "vectors"]);
    is_mistake(path, &["eval", "a", "--level", "100000000"], &["level = 100000000"]);
    is_mistake(path, &["eval", "a", "--sequences", "0"], &["sequences"]);
    is_mistake(path, &["eval", "bad.toml"], &["config.toml is missing"]);
    fs::remove_file(path.join("a/checkpoints/best.safetensors")).unwrap();
    is_mistake(path, &["eval", "a", "--checkpoint", "best"], &["best.safetensors is missing"]);
    assert!(succeeds(path, &["eval", "a"]).starts_with("sam on copy (newest, after 2 batches), "));
}

#[test]
fn a_damaged_checkpoint_is_a_failure_that_names_the_file() {
    let folder = TempDir::new().unwrap();
    succeeds(folder.path(), &small(&["--batches", "2", "--run", "a"]));
    let file = folder.path().join("a/checkpoints/newest.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let output = run(folder.path(), &["eval", "a", "--checkpoint", "newest"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("newest.safetensors") && err.contains("cut off") && err.lines().count() == 1, "{err}");
}

#[test]
fn help_and_completions_are_there() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        &["--help"][..],
        &["train", "--help"],
        &["eval", "--help"],
        &["data", "--help"],
        &["data", "fetch", "--help"],
        &["data", "check", "--help"],
        &["completions", "--help"],
    ] {
        let out = succeeds(folder.path(), arguments);
        assert!(out.contains("Examples:\n  sparsam "), "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    }
    assert!(succeeds(folder.path(), &["--version"]).starts_with("sparsam "));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let out = succeeds(folder.path(), &["completions", shell]);
        assert!(out.contains("memory-size") && out.contains("recall"), "{shell}");
    }
}

#[test]
fn seeds_are_trained_side_by_side_as_they_are_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let end = ["--batches", "12", "--evaluate-every", "6", "--checkpoint-every", "6"];
    let seeds = |more: &[&str]| succeeds(path, &small(&[&end, more].concat()));
    let shown = seeds(&["--seeds", "1..2,5", "--jobs", "2"]);
    for part in ["seed 5, batch 12: loss ", "3 seeds: loss ", " ± ", "sparsam compare runs/copy-sam-1 runs/copy-sam-2 "]
    {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    seeds(&["--seed", "5", "--run", "alone"]);
    assert!(result(&path.join("runs/copy-sam-5")) == result(&path.join("alone")));
    // What has ended is left alone, and goes on to another end.
    let before = fs::read(path.join("runs/copy-sam-1/history.json")).unwrap();
    let shown = seeds(&["--seeds", "1..2"]);
    assert!(shown.starts_with("2 seeds: loss "), "{shown}");
    assert!(fs::read(path.join("runs/copy-sam-1/history.json")).unwrap() == before);
    let longer = ["--batches", "18", "--evaluate-every", "6", "--checkpoint-every", "6"];
    let shown = succeeds(path, &small(&[&longer[..], &["--seeds", "5"]].concat()));
    assert!(shown.contains("training from batch 12 on") && shown.contains("1 seed: loss "), "{shown}");
    succeeds(path, &small(&[&longer[..], &["--seed", "5", "--run", "longer"]].concat()));
    assert!(result(&path.join("runs/copy-sam-5")) == result(&path.join("longer")));

    // A learning rate that has fallen towards one end has not fallen towards another.
    let falling = |more: [&'static str; 4]| {
        let mut flags = small(&[&["--evaluate-every", "6", "--run", "falling"], &more[..]].concat());
        let place = flags.iter().position(|flag| *flag == "--cooldown").unwrap();
        flags[place + 1] = "6";
        flags
    };
    succeeds(path, &falling(["--batches", "12", "--seeds", "3"]));
    let trained = result(&path.join("falling-3"));
    for batches in ["18", "6"] {
        let told = ["falling-3", "12 batches", "--resume"];
        is_mistake(path, &falling(["--batches", batches, "--seeds", "3,4"]), &told);
    }
    assert!(result(&path.join("falling-3")) == trained && !path.join("falling-4").exists());

    let told = seeds(&["--seeds", "7,8", "--run", "mine/a/", "--json"]);
    let last: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((last["event"].as_str(), &last["result"][0]["seeds"]), (Some("seeds"), &serde_json::json!([7, 8])));
    assert!(path.join("mine/a-7/config.toml").exists() && !path.join("mine/a").exists());

    is_mistake(path, &small(&["--seeds", "1,9", "--batch-size", "3"]), &["runs/copy-sam-1", "batch_size is 8, not 3"]);
    assert!(!path.join("runs/copy-sam-9").exists());
    for (more, told) in [
        (&["--seeds", "3..1"][..], "1..5 or 1,2,7"),
        (&["--seeds", "1..x"], "1..5 or 1,2,7"),
        (&["--seeds", "1..2", "--seed", "3"], "--seed is one"),
        (&["--jobs", "2"], "--seeds"),
    ] {
        is_mistake(path, &small(more), &[told]);
    }
}

#[cfg(unix)]
#[test]
fn seeds_that_were_stopped_go_on_with_the_same_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let flags = ["--seeds", "1,2", "--jobs", "2", "--batches", "4000", "--evaluate-every", "100", "--until", "0"];
    let child = start_and_wait(path, &small(&flags), 2);
    send(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stderr).contains("the same command goes on"), "{}", text(&output.stderr));
    succeeds(path, &small(&flags));
    succeeds(
        path,
        &small(&["--seed", "2", "--batches", "4000", "--evaluate-every", "100", "--until", "0", "--run", "alone"]),
    );
    assert!(result(&path.join("runs/copy-sam-2")) == result(&path.join("alone")));
}
