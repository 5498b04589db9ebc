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

/// Sequences of numbers of different lengths, some steps without a target.
fn write_numbers(path: &Path, count: u32) {
    let line = |number: u32| {
        let steps: Vec<f64> = (0..3 + number % 3).map(|step| f64::from((7 * number + 3 * step) % 11) * 40.0).collect();
        let inputs: Vec<_> = steps.iter().map(|x| [*x, 0.5]).collect();
        let targets: Vec<Value> = (1..=steps.len())
            .map(|step| if step == 2 { Value::Null } else { json!([steps[..step].iter().sum::<f64>() / 100.0, -1.5]) })
            .collect();
        format!("{}\n", json!({"inputs": inputs, "targets": targets}))
    };
    fs::write(path, (0..count).map(line).collect::<String>()).unwrap();
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn evaluated(folder: &Path, more: &[&str]) -> Value {
    serde_json::from_str(&succeeds(folder, &[&["eval", "run", "--json"], more].concat())).unwrap()
}

#[test]
fn predicted_numbers_give_the_score_of_eval() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_numbers(&folder.join("mine.jsonl"), 30);
    write_numbers(&folder.join("other.jsonl"), 7);
    let told = succeeds(
        folder,
        &[TRAIN, &["--run", "run", "--batches", "40", "--validation", "other.jsonl", "--scale-inputs"]].concat(),
    );
    assert!(told.contains("on sequences, whose targets are numbers (mean squared error), in run"), "{told}");
    assert!(told.contains("mean squared error ") && told.contains(" for their mean"), "{told}");
    let score = evaluated(folder, &["--test-files", "mine.jsonl"]);
    let answers = lines(&succeeds(folder, &["predict", "run", "mine.jsonl"]));
    let (mut squares, mut guessed, mut count) = (0.0, 0.0, 0u64);
    let kept: Value = serde_json::from_str(&fs::read_to_string(folder.join("run/task.json")).unwrap()).unwrap();
    let means = numbers(&kept["means"]);
    for (answer, wanted) in answers.iter().zip(lines(&fs::read_to_string(folder.join("mine.jsonl")).unwrap())) {
        for (output, target) in answer["outputs"].as_array().unwrap().iter().zip(wanted["targets"].as_array().unwrap())
        {
            if target.is_null() {
                continue;
            }
            for ((y, target), mean) in numbers(&output["numbers"]).iter().zip(numbers(target)).zip(&means) {
                // As the network knows them.
                let target = target as f32;
                squares += f64::from(*y as f32 - target).powi(2);
                guessed += f64::from(target - *mean as f32).powi(2);
                count += 1;
            }
        }
    }
    assert_eq!(score["targets"], count);
    assert!((squares / count as f64 / score["loss"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{squares} {score}");
    assert!((guessed / count as f64 / score["guessing"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert_eq!(
        (&score["unit"], &score["wrong"], &score["right"]),
        (&json!("squared error"), &Value::Null, &Value::Null)
    );
    // Validation is on the file named, all of it.
    assert_eq!(evaluated(folder, &[])["sequences"], 7);
    let held_out = evaluated(folder, &["--test-files", "other.jsonl"]);
    assert_eq!(evaluated(folder, &[])["loss"], held_out["loss"]);
    let table = succeeds(folder, &["compare", "run"]);
    assert!(
        table.contains("mean squared error") && !table.contains("wrong") && !table.contains("all right"),
        "{table}"
    );
    assert!(succeeds(folder, &["runs", "."]).contains("sequences"));
    // A run of it is not resumed with another file of validation.
    write_numbers(&folder.join("other.jsonl"), 8);
    is_mistake(folder, &["train", "--resume", "run", "--batches", "50"], &["the data of the task have changed"]);
}

#[test]
fn a_file_is_checked_as_training_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_numbers(&folder.join("mine.jsonl"), 20);
    let told = succeeds(folder, &["data", "check", "mine.jsonl"]);
    let expected =
        "inputs of 2 numbers, targets of 2 numbers, at most 5 time steps in a sequence; 2 sequences held out\n";
    assert_eq!(told, expected);
    is_mistake(folder, &["data", "check", "mine.jsonl", "--targets", "bits"], &["line 1: ", "bits of 0 or 1"]);
    is_mistake(folder, &["data", "check", "none.jsonl"], &["no data set and no file none.jsonl", "babi, omniglot"]);
}

#[test]
fn inputs_far_from_1_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_numbers(&folder.join("mine.jsonl"), 20);
    let flags = [TRAIN, &["--run", "run", "--batches", "2"]].concat();
    let told = run(folder, &flags);
    assert!(
        text(&told.stderr).contains("mine.jsonl: number 0 of the inputs lies from 0 to 400; --scale-inputs brings all"),
        "{}",
        text(&told.stderr)
    );
}

#[test]
fn predicted_characters_give_the_score_of_eval() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = |number: u32| format!("{} and {} is {}\n", number % 9, number % 4, number % 9 + number % 4);
    fs::write(folder.join("mine.txt"), (0..200).map(line).collect::<String>()).unwrap();
    // It has a character that is not known.
    fs::write(folder.join("other.txt"), (7..20).map(line).collect::<String>() + "?!").unwrap();
    is_mistake(folder, &["train", "--data", "mine.txt"], &["mine.txt", "--tokens chars or --tokens words"]);
    let small = ["--hidden-size", "8", "--memory-size", "32", "--word-size", "4", "--length", "16"];
    let flags =
        ["train", "--data", "mine.txt", "--tokens", "chars", "--run", "run", "--batches", "30", "--patience", "9"];
    let told = succeeds(folder, &[&flags[..], &small].concat());
    assert!(told.contains(" bits a character, ") && told.contains(" % of characters wrong"), "{told}");
    let score = evaluated(folder, &["--test-files", "other.txt"]);
    let answers = lines(&succeeds(folder, &["predict", "run", "other.txt"]));
    let kept: Value = serde_json::from_str(&fs::read_to_string(folder.join("run/task.json")).unwrap()).unwrap();
    let names: Vec<&str> = kept["vocabulary"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let counts = numbers(&kept["counts"]);
    let total: f64 = counts.iter().map(|count| count + 1.0).sum();
    let letters: Vec<String> =
        fs::read_to_string(folder.join("other.txt")).unwrap().chars().map(String::from).collect();
    let outputs: Vec<&Value> = answers.iter().flat_map(|line| line["outputs"].as_array().unwrap()).collect();
    assert_eq!((outputs.len(), answers.len()), (letters.len(), letters.len().div_ceil(16)));
    let (mut loss, mut guessed, mut wrong) = (0.0, 0.0, 0);
    for (output, next) in outputs.iter().zip(&letters[1..]) {
        let class = names.iter().position(|name| name == next).unwrap_or(0);
        loss -= output["probabilities"][class].as_f64().unwrap().log2();
        guessed -= ((counts[class] + 1.0) / total).log2();
        wrong += u32::from(output["class"] != class);
        assert_eq!(output["token"].as_str().unwrap_or(""), names[output["class"].as_u64().unwrap() as usize]);
    }
    let count = (letters.len() - 1) as f64;
    assert!((loss / count / score["loss"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{loss} {count} {score}");
    assert!((guessed / count / score["guessing"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert_eq!(score["wrong"], f64::from(wrong) / count);
    assert_eq!((&score["unit"], &score["right"]), (&json!("bits a character"), &Value::Null));
    // In one long piece the memory goes on.
    let long = succeeds(folder, &["eval", "run", "--test-files", "other.txt", "--level", "1000"]);
    assert!(long.contains("1 sequences of 1,000 characters: loss "), "{long}");
    // A stream of characters, as texts or as numbers.
    let stream = |input: &str| {
        let mut child = sparsam(folder, &["predict", "run"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let seven = names.iter().position(|name| *name == "7").unwrap();
    let told = lines(&text(&stream(&format!("\"7\"\n{{\"input\": {seven}}}\n")).stdout));
    assert_eq!((told.len(), &told[0]["token"]), (2, &outputs[0]["token"]));
    let same = numbers(&told[0]["probabilities"]).into_iter().zip(numbers(&outputs[0]["probabilities"]));
    assert!(same.into_iter().all(|(one, other)| (one - other).abs() < 1e-6));
    assert!(text(&stream("99\n").stderr).contains("line 1: there is no token 99; the network knows"));
}

#[test]
fn predicted_classes_of_tokens_give_the_score_of_eval() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = |number: u64| {
        let tokens = [number % 5, (number + 2) % 7, 3];
        format!("{}\n", json!({"tokens": tokens, "target": (tokens[0] + tokens[1]) % 3}))
    };
    fs::write(folder.join("mine.jsonl"), (0..20).map(line).collect::<String>()).unwrap();
    succeeds(folder, &[TRAIN, &["--run", "run", "--batches", "20", "--embedding-size", "6"]].concat());
    let score = evaluated(folder, &["--test-files", "mine.jsonl"]);
    let answers = lines(&succeeds(folder, &["predict", "run", "mine.jsonl"]));
    let wanted = lines(&fs::read_to_string(folder.join("mine.jsonl")).unwrap());
    let (mut loss, mut right) = (0.0, 0);
    for (answer, wanted) in answers.iter().zip(&wanted) {
        let (output, class) = (&answer["outputs"][2], wanted["target"].as_u64().unwrap() as usize);
        loss -= output["probabilities"][class].as_f64().unwrap().log2();
        right += u32::from(output["class"] == class);
    }
    assert!((loss / 20.0 / score["loss"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert_eq!(score["right"], f64::from(right) / 20.0);
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
    for (more, file, begins) in [
        (&["--output", "c.png"][..], "c.png", &b"\x89PNG"[..]),
        (&["--output", "c.pdf", "--size", "page", "--x-axis", "log", "--y-axis", "linear"], "c.pdf", b"%PDF-"),
        (&["--format", "pdf"], "compare.pdf", b"%PDF-"),
        (&["--format", "png", "--output", "c.picture"], "c.picture", b"\x89PNG"),
    ] {
        assert!(run(folder, &[&["compare", "runs"], more].concat()).status.success(), "{more:?}");
        assert!(fs::read(folder.join(file)).unwrap().starts_with(begins), "{more:?}");
    }
    is_mistake(folder, &["compare", "runs", "--output", "c.jpg"], &[".jpg", ".svg, .png or .pdf"]);
}
