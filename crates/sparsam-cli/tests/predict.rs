//! `sparsam predict`, `sparsam compare` and `sparsam runs` as a user meets them.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use common::{is_mistake, run, sparsam, succeeds, text};
use serde_json::{Value, json};

/// Twelve sequences of two numbers, whose class at the end is which of them was larger at first.
fn write_sequences(path: &Path) {
    let lines = (0..12).map(|number| {
        let (a, b) = (f64::from(number % 5) / 4.0, f64::from(number % 3) / 2.0);
        let targets = json!([null, null, u8::from(a > b)]);
        format!("{}\n", json!({"inputs": [[a, b], [0.5, 0.25], [0.0, 0.0]], "targets": targets}))
    });
    fs::write(path, lines.collect::<String>()).unwrap();
}

const TRAIN: &[&str] =
    &["train", "--data", "mine.jsonl", "--hidden-size", "8", "--memory-size", "32", "--word-size", "4"];

fn train(folder: &Path, more: &[&str]) {
    write_sequences(&folder.join("mine.jsonl"));
    succeeds(folder, &[TRAIN, more].concat());
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_predicted_gives_the_score_of_eval() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, &["--run", "run", "--batches", "30"]);
    let evaluated = succeeds(folder, &["eval", "run", "--test-files", "mine.jsonl", "--json"]);
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    let answers = lines(&succeeds(folder, &["predict", "run", "mine.jsonl", "--logits"]));
    let wanted = lines(&fs::read_to_string(folder.join("mine.jsonl")).unwrap());
    assert_eq!(answers.len(), wanted.len());
    let (mut loss, mut wrong) = (0.0, 0);
    for (answer, wanted) in answers.iter().zip(&wanted) {
        let outputs = answer["outputs"].as_array().unwrap();
        assert_eq!(outputs.len(), 3);
        let (output, class) = (&outputs[2], wanted["targets"][2].as_u64().unwrap() as usize);
        let logits: Vec<f64> = output["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let probability = output["probabilities"][class].as_f64().unwrap();
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        assert!((logits[class].exp() / sum - probability).abs() < 1e-12);
        loss -= probability.log2();
        wrong += u32::from(output["class"] != json!(class));
    }
    assert!((loss / 12.0 - evaluated["loss"].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(f64::from(wrong) / 12.0, evaluated["wrong"].as_f64().unwrap());

    // Without targets, and without the data that the run was trained on.
    let bare = json!({"inputs": wanted[3]["inputs"]});
    fs::write(folder.join("new.jsonl"), format!("{bare}\n")).unwrap();
    fs::remove_file(folder.join("mine.jsonl")).unwrap();
    let alone = lines(&succeeds(folder, &["predict", "run", "new.jsonl", "--logits"]));
    assert_eq!(alone, [answers[3].clone()]);
    fs::write(folder.join("new.jsonl"), "{\"inputs\": [[1.0]]}\n").unwrap();
    is_mistake(folder, &["predict", "run", "new.jsonl"], &["new.jsonl", "1 inputs", "2 were expected"]);
    is_mistake(folder, &["predict", "run", "none.jsonl"], &["none.jsonl", "there is no such file"]);
    is_mistake(folder, &["predict", "run", "new.jsonl", "--state", "s"], &["--state", "standard input"]);
}

#[test]
fn a_stream_goes_on_where_its_state_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, &["--run", "run", "--batches", "5", "--index", "linear"]);
    let stream = |input: &str, more: &[&str]| {
        let mut child = sparsam(folder, &[&["predict", "run", "--logits"], more].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end at a bad line before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    let steps: Vec<String> = (0..6).map(|n| format!("[{}, 0.5]\n", f64::from(n) / 4.0)).collect();
    let whole = stream(&steps.concat(), &[]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let first = stream(&steps[..2].concat(), &["--state", "memory"]);
    let bad = stream(&format!("\n{{\"input\": [0.5, 0.5]}}\n{}[1.0]\n", ""), &["--state", "other"]);
    let second = stream(&steps[2..].concat(), &["--state", "memory"]);
    assert_eq!(text(&first.stdout) + &text(&second.stdout), text(&whole.stdout));
    assert_eq!(lines(&text(&whole.stdout)).len(), 6);
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("line 3: it has 1 numbers where the network takes 2"), "{}", text(&bad.stderr));
    assert!(folder.join("other").exists(), "what was earned before a bad line is kept");
}

#[test]
fn runs_are_compared_by_what_differs_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    is_mistake(folder, &["runs"], &["there is no folder runs"]);
    for (name, more) in [("a", &["--seed", "1"][..]), ("b", &["--seed", "2"]), ("c", &["--batch-size", "4"])] {
        let flags = ["--run", &format!("runs/{name}"), "--batches", "8", "--evaluate-every", "4"];
        train(folder, &[&flags, more].concat());
    }
    let shown = succeeds(folder, &["compare", "runs"]);
    assert!(shown.contains("batch size 8") && shown.contains("batch size 4"), "{shown}");
    assert!(fs::read_to_string(folder.join("compare.svg")).unwrap().contains("guessing"));
    let told: Value = serde_json::from_str(&succeeds(folder, &["compare", "runs/a", "runs/b", "--json"])).unwrap();
    let groups = told["groups"].as_array().unwrap();
    assert_eq!((groups.len(), &groups[0]["seeds"], &groups[0]["name"]), (1, &json!([1, 2]), &json!("SAM")));
    assert_eq!(lines(&succeeds(folder, &["runs", "--json"])).len(), 3);
    assert!(succeeds(folder, &["runs"]).lines().count() == 4);
    is_mistake(folder, &["compare", "nowhere"], &["nowhere"]);
    // Data that has gone hides nothing.
    fs::remove_file(folder.join("mine.jsonl")).unwrap();
    assert!(run(folder, &["compare", "runs/c", "--output", "pictures/c.svg"]).status.success());
    assert!(folder.join("pictures/c.svg").exists());
}
