//! `sparsam inspect` as a user meets it. What the page shows is tested in a browser (`make page-test`).

mod common;

use std::fs;

use common::{is_mistake, run, succeeds};
use serde_json::{Value, json};

#[test]
fn a_page_is_written_and_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let small = ["--hidden-size", "8", "--memory-size", "32", "--word-size", "4", "--quiet", "--batches", "5"];
    succeeds(folder, &[&["train", "copy", "--run", "run"], &small[..]].concat());

    let printed = succeeds(folder, &["inspect", "run", "--level", "5", "--number", "3"]);
    assert_eq!(printed.lines().last(), Some("run/inspect.html"));
    assert!(printed.starts_with("sam on copy, sequence 3: 12 time steps, "), "{printed}");
    let page = fs::read_to_string(folder.join("run/inspect.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("\"start flag\"") && page.contains("5 vectors"));

    // The same sequences as those of an evaluation.
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&succeeds(folder, arguments)).unwrap() };
    let wrong =
        |number: &str| json(&["inspect", "run", "--level", "9", "--number", number, "--json"])["wrong"].as_f64();
    let evaluated = json(&["eval", "run", "--level", "9", "--sequences", "2", "--json"]);
    assert_eq!((wrong("0").unwrap() + wrong("1").unwrap()) / 2.0, evaluated["wrong"].as_f64().unwrap());
    let failing = json(&["inspect", "run", "--failing", "--level", "9", "--json", "--out", "failing.html"]);
    assert_eq!((&failing["page"], &failing["wanted"]), (&json!("failing.html"), &json!(72)));
    assert!(failing["wrong"].as_u64().unwrap() > 0);

    let step = json!([0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    fs::write(folder.join("mine.jsonl"), format!("{}\n", json!({"inputs": [step, step]}))).unwrap();
    let own = json(&["inspect", "run", "mine.jsonl", "--out", "mine.html", "--json"]);
    assert_eq!((&own["steps"], &own["wrong"]), (&json!(2), &Value::Null));

    is_mistake(folder, &["inspect", "run", "--level", "0"], &["level = 0", "vectors from 1"]);
    is_mistake(folder, &["inspect", "run", "--out", "."], &[". is a folder", "--out"]);
    is_mistake(folder, &["inspect", "run", "mine.jsonl", "--number", "1"], &["--number 1", "1 sequences"]);
    is_mistake(
        folder,
        &["inspect", "run", "--number", "18446744073709551615"],
        &["--number", "18446744073709551615 is not in"],
    );
    is_mistake(folder, &["inspect", "run", "mine.jsonl", "--level", "3"], &["--level"]);
    is_mistake(folder, &["inspect", "run", "mine.jsonl", "--failing"], &["--failing needs targets"]);
    is_mistake(folder, &["inspect", "run", "none.jsonl"], &["none.jsonl", "there is no such file"]);
    is_mistake(folder, &["inspect", "nowhere"], &["there is no nowhere"]);
}

#[test]
fn of_a_long_sequence_the_written_steps_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let small = ["--hidden-size", "8", "--word-size", "4", "--memory-size", "32", "--quiet", "--batches", "2"];
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&succeeds(folder, arguments)).unwrap() };
    succeeds(
        folder,
        &[
            &["train", "mqar", "--vocabulary", "4k", "--values", "5", "--max-pairs", "8"],
            &small[..],
            &["--write-threshold", "0.999", "--run", "run"],
        ]
        .concat(),
    );
    let inspect = ["inspect", "run", "--level", "1k", "--json"];
    let whole = json(&inspect);
    // Nothing is written, and a value is wanted for each of 1,024 keys.
    let written = json(&[&inspect[..], &["--written"]].concat());
    assert_eq!((&whole["shown"], &whole["selected"]), (&whole["steps"], &Value::Null));
    assert_eq!((&written["shown"], &written["selected"]), (&json!(1024), &json!(1024)));
    for same in ["steps", "wanted", "wrong"] {
        assert_eq!(written[same], whole[same], "{same}");
    }
    assert!(written["bytes"].as_u64().unwrap() < whole["bytes"].as_u64().unwrap());
    let page = fs::read_to_string(folder.join("run/inspect.html")).unwrap();
    assert!(page.contains(":\"key ") && page.contains("\"value 4\""));
    let printed = succeeds(folder, &["inspect", "run", "--level", "100", "--written", "--failing"]);
    assert!(printed.contains("\nshown: the 100 steps at which something is written or wanted\n"), "{printed}");

    // Of a file without targets nothing may be left.
    fs::write(folder.join("mine.jsonl"), "{\"tokens\": [1, 2, 3]}\n").unwrap();
    let nothing = run(folder, &["inspect", "run", "mine.jsonl", "--written"]);
    assert!(!nothing.status.success());
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("at none of its 3 steps is a word written"));
    is_mistake(folder, &["inspect", "run", "--level", "many"], &["many", "64, 16k or 1M"]);
}

#[test]
fn text_and_numbers_have_pages_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let small = ["--hidden-size", "8", "--memory-size", "32", "--word-size", "4", "--quiet", "--batches", "2"];
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&succeeds(folder, arguments)).unwrap() };
    fs::write(folder.join("a.txt"), "abcabd".repeat(100)).unwrap();
    let text = ["train", "--data", "a.txt", "--tokens", "chars", "--length", "20", "--run", "text"];
    succeeds(folder, &[&text[..], &small].concat());
    let held_out = json(&["inspect", "text", "--number", "1", "--json"]);
    assert_eq!((&held_out["steps"], &held_out["wanted"]), (&json!(20), &json!(20)));
    let longer = json(&["inspect", "text", "--level", "50", "--json"]);
    assert_eq!(longer["steps"], json!(50));
    // The third piece of a file, of which five characters are left.
    fs::write(folder.join("b.txt"), "dcba".repeat(11) + "d?").unwrap();
    let own = json(&["inspect", "text", "b.txt", "--number", "2", "--json"]);
    assert_eq!((&own["steps"], &own["wanted"]), (&json!(5), &json!(5)));
    is_mistake(folder, &["inspect", "text", "b.txt", "--number", "3"], &["--number 3", "3 sequences"]);

    let numbers = json!({"inputs": [[0.1], [0.2]], "targets": [[1.5], [-2.0]]});
    fs::write(folder.join("numbers.jsonl"), format!("{numbers}\n").repeat(20)).unwrap();
    succeeds(folder, &[&["train", "--data", "numbers.jsonl", "--run", "numbers"], &small[..]].concat());
    let printed = succeeds(folder, &["inspect", "numbers"]);
    assert!(printed.contains("2 time steps, largest error ") && printed.contains(", mean squared error "), "{printed}");
    // That of an evaluation, which is of sequences that are all the same.
    let told = json(&["inspect", "numbers", "--json"]);
    let evaluated = json(&["eval", "numbers", "--json"]);
    let [mean, loss] = [&told["mean_squared_error"], &evaluated["loss"]].map(|value| value.as_f64().unwrap());
    assert!((mean - loss).abs() < 1e-6 * loss, "{mean} and {loss}");
    let [largest, step] = ["largest_error", "largest_error_step"].map(|name| told[name].as_f64().unwrap());
    assert!(largest * largest >= mean && largest * largest <= 2.0 * mean && step < 2.0, "{told}");
    assert_eq!((&told["wrong"], &told["wanted"]), (&Value::Null, &json!(2)));
    is_mistake(
        folder,
        &["inspect", "numbers", "--failing"],
        &["--failing", "neither right nor wrong", "largest error"],
    );
}
