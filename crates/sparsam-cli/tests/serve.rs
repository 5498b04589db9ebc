//! `sparsam inspect --serve` as a user meets it. What the page shows is tested in a browser (`make page-test`), and what HTTP the
//! server takes beside its code.
#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{is_mistake, send, sparsam, succeeds};
use serde_json::{Value, json};

const SMALL: &[&str] = &[
    "train",
    "copy",
    "--hidden-size",
    "8",
    "--memory-size",
    "32",
    "--word-size",
    "4",
    "--max-length",
    "3",
    "--evaluate-every",
    "20",
    "--evaluation-sequences",
    "8",
    "--threads",
    "1",
    "--quiet",
];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [SMALL, more].concat()
}

/// A server that is told to end once it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let arguments = [&["inspect"], arguments, &["--json", "--threads", "1"]].concat();
        let mut child = sparsam(folder, &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["address"].as_str().unwrap();
        let port = address.strip_prefix("http://127.0.0.1:").unwrap().trim_end_matches('/').parse().unwrap();
        Self { child, port }
    }

    /// Status and body of what is answered.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", self.port).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn run(&self) -> Value {
        let (status, body) = self.get("/run.json");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file of a folder, and what it holds.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else {
            found.insert(entry.clone(), fs::read(&entry).unwrap());
        }
    }
    found
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_is_followed_from_before_it_begins_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeeds(folder, &small(&["--run", "unwatched", "--batches", "200"]));
    let server = Server::start(folder, &["run", "--serve", "--level", "3"]);
    assert!(server.get("/").1.starts_with("<!doctype html>"));
    assert_eq!(server.run(), json!({"state": "absent", "folder": "run"}));
    assert_eq!(server.get("/sequence.html").0, 503);
    for path in ["/run/config.toml", "/../run/config.toml", "/config.toml", "/sequence.html/", "//", "/run.json?a"] {
        assert_eq!(server.get(path).0, 404, "{path}");
    }

    // While it is trained, by a process that has locked its folder.
    let mut training = sparsam(folder, &small(&["--run", "run", "--batches", "200"])).spawn().unwrap();
    let (started, mut seen) = (Instant::now(), 0);
    while training.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(120));
        seen = server.run()["metrics"].as_array().map_or(0, Vec::len).max(seen);
        if seen > 0 {
            server.get("/sequence.html");
        }
    }
    assert!(training.wait().unwrap().success());
    let run = server.run();
    assert_eq!((&run["state"], &run["outcome"]), (&json!("ended"), &json!("finished")));
    assert_eq!((&run["title"], &run["batches"], &run["resumes"]), (&json!("SAM on copy"), &json!(200), &json!(0)));
    assert_eq!((&run["loss_axis"], &run["level_unit"]), (&json!("loss, bits per sequence"), &json!("vectors")));
    assert_eq!(run["metrics"], json!(lines(&folder.join("run"))));
    assert!(run["metrics"].as_array().unwrap().len() == 10 && run["metrics"][9]["learning_rate"].is_number());
    // Nobody's training is another because somebody looks.
    for name in ["newest", "best"] {
        let read = |run: &str| fs::read(folder.join(format!("{run}/checkpoints/{name}.safetensors"))).unwrap();
        assert!(read("run") == read("unwatched"), "{name}");
    }

    // The page of the sequence is that of the command without --serve.
    let before = files(&folder.join("run"));
    let (status, page) = server.get("/sequence.html");
    assert_eq!(status, 200);
    assert!(before == files(&folder.join("run")), "something was written");
    succeeds(folder, &["inspect", "run", "--level", "3", "--checkpoint", "newest", "--out", "page.html"]);
    assert!(page == fs::read_to_string(folder.join("page.html")).unwrap());

    // Once resumed it is another.
    let sequence = run["sequence"].clone();
    succeeds(folder, &["train", "--resume", "run", "--batches", "220", "--quiet", "--threads", "1"]);
    let run = server.run();
    assert_eq!((&run["resumes"], run["metrics"].as_array().unwrap().len()), (&json!(1), 11));
    assert!(run["sequence"].is_string() && run["sequence"] != sequence);
    assert!(server.get("/sequence.html").1 != page);

    fs::write(folder.join("run/metrics.jsonl"), "{}\n").unwrap();
    assert!(server.run()["problem"].as_str().unwrap().contains("line 1 is no line of metrics"));
    fs::remove_dir_all(folder.join("run")).unwrap();
    assert_eq!(server.run()["state"], "absent");
}

#[test]
fn whoever_asks_ends_it_at_once_and_well() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-INT", "-TERM"] {
        let mut server = Server::start(folder.path(), &["run", "--serve"]);
        // One that is being waited for changes nothing.
        let _waits = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        send(&server.child, signal);
        let sent = Instant::now();
        let status = loop {
            if let Some(status) = server.child.try_wait().unwrap() {
                break status;
            }
            assert!(sent.elapsed() < Duration::from_secs(5), "it still ran");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &["run", "--serve"]);
    let port = server.port.to_string();
    is_mistake(folder, &["inspect", "run", "--serve", &port], &["port", &port, "is taken", "leave it out"]);
    is_mistake(folder, &["inspect", "run", "--serve", "0.0.0.0:80"], &["0.0.0.0:80", "127.0.0.1 and nowhere else"]);
    is_mistake(folder, &["inspect", "--serve", "run"], &["'run'", "the run goes before --serve"]);
    is_mistake(folder, &["inspect", "run", "--serve", "--out", "a.html"], &["--serve", "--out"]);
    fs::write(folder.join("file"), "").unwrap();
    is_mistake(folder, &["inspect", "file", "--serve"], &["--serve follows a run", "file is a file"]);
}
