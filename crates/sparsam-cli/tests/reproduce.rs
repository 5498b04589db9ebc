//! `sparsam reproduce` as a user meets it, on runs that take no time.

mod common;
#[path = "common/stories.rs"]
mod stories;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{is_mistake, run, send, sparsam, succeeds, text};
use serde_json::Value;
use stories::write_babi;
use tempfile::TempDir;

fn reproduce(folder: &Path, arguments: &str) -> String {
    succeeds(folder, &[&["reproduce"][..], &arguments.split(' ').collect::<Vec<_>>()].concat())
}

fn report(folder: &Path, name: &str) -> (String, Value) {
    let read = |ending: &str| fs::read_to_string(folder.join(format!("{name}{ending}"))).unwrap();
    (read(".md"), serde_json::from_str(&read(".json")).unwrap())
}

#[test]
fn what_is_trained_is_kept_and_reported() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let out = reproduce(path, "fig3 --tasks recall --models sam --seeds 1 --minutes 0.04");
    for part in ["2 runs; this takes", "recall, SAM ivf, seed 1: ", "(2 of 2)", "Rae et al. 2016: SAM gets furthest"] {
        assert!(out.contains(part), "{part} is not in {out}");
    }
    let (text, json) = report(&path.join("reproduce"), "fig3");
    assert!(text.contains("sparsam reproduce fig3 --tasks recall --models sam --seeds 1 --minutes 0.04"), "{text}");
    assert!(text.contains("| SAM linear | 1 | ") && text.contains("(fig3-recall.svg)"), "{text}");
    let runs = json["runs"].as_array().unwrap();
    assert!(runs.len() == 2 && runs.iter().all(|run| run["done"] == true), "{json}");
    let svg = fs::read_to_string(path.join("reproduce/fig3-recall.svg")).unwrap();
    assert!(svg.contains("past 4000") && svg.trim_end().ends_with("</svg>"));

    // What is done is not done again; with more time it goes on, and other models join what is there.
    let again = reproduce(path, "fig3 --tasks recall --models sam --seeds 1 --minutes 0.04");
    assert!(again.contains("2 runs, 2 of them done; nothing is left to train"), "{again}");
    let batches = |json: &Value| json["runs"][0]["metrics"].as_array().unwrap().len();
    let before = batches(&json);
    let more = reproduce(path, "fig3 --tasks recall --models sam,dam --seeds 1 --minutes 0.08 --json");
    for line in more.lines() {
        let _: Value = serde_json::from_str(line).unwrap();
    }
    let (text, json) = report(&path.join("reproduce"), "fig3");
    assert!(json["runs"].as_array().unwrap().len() == 3 && text.contains("| DAM | 1 | "), "{text}");
    assert!(json["runs"].as_array().unwrap().iter().all(|run| run["done"] == true), "{json}");
    assert!(batches(&json) > before && before > 0);

    // A run of other options is not taken for one of these.
    let config = path.join("reproduce/curriculum/recall-dam-1/config.toml");
    let changed = fs::read_to_string(&config).unwrap().replace("clip_norm", "clip_norm = 3.5 #");
    fs::write(&config, changed).unwrap();
    let arguments = "reproduce fig3 --tasks recall --models dam --seeds 1 --minutes 0.2";
    let output = run(path, &arguments.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    let out = common::text(&output.stdout);
    assert!(out.contains("recall-dam-1: its clip_norm is 3.5, not ") && out.contains("another --output"), "{out}");
}

#[test]
fn smaller_versions_say_what_they_leave_out_and_test_what_they_train() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let out = reproduce(path, "fig8 --quick --minutes 0.04");
    assert!(out.contains("; SAM with the exact index; "), "{out}");
    let (text, json) = report(&path.join("reproduce/quick"), "fig8");
    assert!(text.contains("Left out: ") && text.contains("20×"), "{text}");
    let tests = json["runs"][0]["tests"].as_array().unwrap().clone();
    assert_eq!(tests.len(), 5, "{tests:?}");
    for test in &tests {
        assert!(test["wrong"].as_f64().unwrap() < 48.0 && test["sequences"] == 64, "{test}");
    }
    assert!(path.join("reproduce/quick/fig8.svg").exists());

    // A network that was trained further is tested anew.
    reproduce(path, "fig8 --quick --minutes 0.08");
    let (_, json) = report(&path.join("reproduce/quick"), "fig8");
    assert!(json["runs"][0]["done"] == true && json["runs"][0]["tests"].as_array().unwrap().len() == 5, "{json}");
    assert_ne!(json["runs"][0]["tests"].as_array().unwrap(), &tests);
}

#[test]
fn data_sets_are_trained_on_and_tested() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    is_mistake(path, &["reproduce", "table1"], &["data: there is no such file or folder"]);
    write_babi(&path.join("data/en-10k"), "train", "is");
    let out = reproduce(path, "table1 --models sam --minutes 0.01");
    assert!(out.contains("| **failed** | ") && out.contains("names in stories are exchanged"), "{out}");
    let (_, json) = report(&path.join("reproduce"), "table1");
    let config = fs::read_to_string(path.join("reproduce/babi/babi-sam-1/config.toml")).unwrap();
    assert!(config.contains("exchange_names = true") && config.contains("even_questions = false"), "{config}");
    let test = &json["runs"][0]["tests"][0];
    assert_eq!((test["errors"].as_array().unwrap().len(), &test["sequences"]), (20, &Value::from(40)), "{test}");

    // Its learning rate fell at the end; with more time it goes on with the whole of it, and falls again.
    let ending = || {
        let config = fs::read_to_string(path.join("reproduce/babi/babi-sam-1/config.toml")).unwrap();
        let of = |name: &str| config.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap();
        (of("batches = "), of("cooldown = "))
    };
    let (batches, cooldown) = ending();
    assert!(0 < cooldown && cooldown < batches && batches < 1_000_000, "{cooldown} of {batches}");
    assert_eq!(json["runs"][0]["metrics"][0]["batch"], batches);
    assert!(reproduce(path, "table1 --models sam --minutes 0.01").contains("nothing is left to train"));
    reproduce(path, "table1 --models sam --minutes 0.03");
    assert!(ending().0 > batches && ending().1 > 0, "{:?}", ending());
}

#[test]
fn haystacks_are_tested_at_lengths_that_were_not_trained_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    is_mistake(
        path,
        &["reproduce", "haystack"],
        &["haystack scatters stories over a text of your own", "--background"],
    );
    is_mistake(path, &["reproduce", "fig2", "--test-book", "b"], &["--test-book are for haystack, and not for fig2"]);
    write_babi(&path.join("data/en-10k"), "train", "is");
    let book = |name: &str, day: &str| {
        let sentence = |number: usize| format!("The {number}th day of her walk was {day}. ");
        fs::write(path.join(name), (0..300).map(sentence).collect::<String>()).unwrap();
    };
    book("book.txt", "fine");
    book("other.txt", "grey");
    let missing = ["reproduce", "haystack", "--quick", "--background", "book.txt", "--test-book", "none.txt"];
    is_mistake(path, &missing, &["none.txt: there is no such file"]);
    let command = "haystack --quick --minutes 0.02 --background book.txt --test-book other.txt";
    reproduce(path, command);
    let (text, json) = report(&path.join("reproduce/quick"), "haystack");
    assert!(text.contains(&format!("sparsam reproduce {command}")), "{text}");
    assert!(text.contains("books of more than 65,536 words") && !text.contains("  whose"), "{text}");
    assert!(text.contains("| ARMT | 10,000,000 |  | 89.4 | 84.4 | 91.5 | 80.9 |"), "{text}");
    let batches = json["runs"][0]["metrics"].as_array().unwrap().last().unwrap()["batch"].clone();
    let tests = json["runs"][0]["tests"].as_array().unwrap();
    let of = |name: &str| tests.iter().map(|test| test[name].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((of("level"), of("sequences")), (vec![128, 4096, 16_384, 65_536], vec![100, 48, 16, 4]));
    // Tasks 1, 2, 4 and 5, as many questions of each.
    let errors = tests[0]["errors"].as_array().unwrap();
    assert!(errors.len() == 4 && errors.iter().all(|of| of[2] == 25), "{errors:?}");
    let each: Vec<u64> =
        of("steps").into_iter().zip(of("sequences")).map(|(steps, sequences)| steps / sequences).collect();
    assert!(each.is_sorted() && tests.iter().all(|test| test["words_written"].is_number()), "{tests:?}");
    assert!(path.join("reproduce/quick/haystack.svg").exists());
    // It went on from a run on shorter ones.
    let keys = ["start_from", "min_words", "max_words", "exchange_names", "write_cost"];
    let config = |name: &str| {
        let text = fs::read_to_string(path.join("reproduce/quick/haystack").join(name).join("config.toml")).unwrap();
        text.lines().filter(|line| keys.iter().any(|key| line.starts_with(key))).collect::<String>()
    };
    let stage = "min_words = 16max_words = 4096exchange_names = truewrite_cost = 0.0003";
    assert_eq!(config("haystack-sam-1-short"), format!("start_from = \"\"{stage}"));
    let longer = config("haystack-sam-1");
    assert!(
        longer.contains("haystack-sam-1-short/checkpoints/newest.safetensors\"")
            && longer.ends_with("min_words = 256max_words = 16384exchange_names = truewrite_cost = 0.0005"),
        "{longer}"
    );
    let stages = ["SAM, seed 1: with 16 to 4,096 words ", "from its newest weights on: with 256 to 16,384 words "];
    assert!(stages.iter().all(|stage| text.contains(stage)), "{text}");
    let short = || fs::read(path.join("reproduce/quick/haystack/haystack-sam-1-short/metrics.jsonl")).unwrap();
    let first = short();
    // Another book is tested on anew, without training.
    let before = tests.clone();
    reproduce(path, "haystack --quick --minutes 0.02 --background book.txt --test-book book.txt");
    let (_, json) = report(&path.join("reproduce/quick"), "haystack");
    let runs = &json["runs"][0];
    assert_eq!(short(), first);
    assert_eq!(runs["first"]["config"]["task"]["max_words"], 4096);
    // The folder may lie elsewhere.
    fs::rename(path.join("reproduce"), path.join("moved")).unwrap();
    let out =
        reproduce(path, "haystack --quick --minutes 0.02 --background book.txt --test-book book.txt --output moved");
    assert!(out.contains("nothing is left to train"), "{out}");
    assert_ne!(runs["tests"].as_array().unwrap()[1]["loss"], before[1]["loss"]);
    assert_eq!(runs["metrics"].as_array().unwrap().last().unwrap()["batch"], batches);
}

#[test]
fn losses_of_several_models_stand_beside_each_other() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let out = reproduce(path, "fig2 --quick --tasks copy,recall --models lstm,sam --seeds 2 --minutes 0.02");
    assert!(out.contains("8 runs") && out.contains("the models ntm, dam, dnc, sdnc"), "{out}");
    let (text, json) = report(&path.join("reproduce/quick"), "fig2");
    assert!(text.contains("## copy: 84 bits for guessing") && text.contains("## recall: 18 bits"), "{text}");
    let runs = json["runs"].as_array().unwrap();
    assert!(runs.len() == 8 && runs.iter().all(|run| run["done"] == true), "{json}");
    for task in ["copy", "recall"] {
        assert!(path.join(format!("reproduce/quick/fig2-{task}.svg")).exists());
    }
}

#[test]
fn drawings_are_learnt_and_tested_with_more_characters() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    is_mistake(path, &["reproduce", "fig4"], &["data: it holds no images_background.zip", "sparsam data fetch"]);
    let Some(data) = std::env::var_os("SPARSAM_DATA") else {
        eprintln!("skipped: SPARSAM_DATA names no folder with the real data");
        return;
    };
    let arguments = ["reproduce", "fig4", "--models", "lstm", "--minutes", "0.02", "--data", data.to_str().unwrap()];
    succeeds(path, &arguments);
    let (text, json) = report(&path.join("reproduce"), "fig4");
    let tests = json["runs"][0]["tests"].as_array().unwrap();
    let levels: Vec<u64> = tests.iter().filter_map(|test| test["level"].as_u64()).collect();
    assert_eq!(levels, [5, 10, 20, 50, 100]);
    for test in tests {
        let answers: u64 = test["errors"].as_array().unwrap().iter().map(|error| error[2].as_u64().unwrap()).sum();
        assert_eq!(answers, 10 * test["level"].as_u64().unwrap() * test["sequences"].as_u64().unwrap(), "{test}");
    }
    assert!(text.contains("below 20 %") && path.join("reproduce/fig4.svg").exists(), "{text}");
}

#[cfg(unix)]
#[test]
fn what_is_stopped_goes_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let arguments = "reproduce fig3 --tasks copy --models dam --seeds 2 --minutes 10 --threads 2";
    let arguments: Vec<_> = arguments.split(' ').collect();
    let child = sparsam(path, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let metrics = |seed: u64| path.join(format!("reproduce/curriculum/copy-dam-{seed}/metrics.jsonl"));
    while [1, 2].iter().any(|seed| fs::metadata(metrics(*seed)).map_or(true, |file| file.len() == 0)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    send(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{out}");
    assert!(out.contains("to go on: sparsam reproduce fig3 --tasks copy --models dam --seeds 2 --minutes 10"), "{out}");
    assert!(out.contains("Not at their end: copy, DAM, seed 1; copy, DAM, seed 2"), "{out}");
    let before = fs::read(metrics(1)).unwrap();
    reproduce(path, "fig3 --tasks copy --models dam --seeds 2 --minutes 0.06");
    assert!(fs::read(metrics(1)).unwrap().starts_with(&before));
}

#[test]
fn mistakes_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("file"), "").unwrap();
    is_mistake(path, &["reproduce", "fig9"], &["fig9", "table1"]);
    is_mistake(path, &["reproduce", "fig2", "--models", "gru"], &["fig2 has no model gru", "lstm, ntm"]);
    is_mistake(path, &["reproduce", "fig8", "--tasks", "copy"], &["fig8 has no task copy", "recall"]);
    is_mistake(path, &["reproduce", "fig2", "--minutes", "0"], &["--minutes 0"]);
    is_mistake(path, &["reproduce", "fig2", "--output", "file"], &["file is a file"]);
}
