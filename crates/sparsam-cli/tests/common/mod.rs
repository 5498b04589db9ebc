//! The command as a user meets it: the real binary in a folder of its own.
//! Each test uses some of this.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Output};

pub fn sparsam(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sparsam"));
    command.current_dir(folder).args(arguments);
    command
}

pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    sparsam(folder, arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What it prints.
#[track_caller]
pub fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?} gave {:?}\n{out}\n{err}", output.status);
    out
}

/// One sentence on standard error, which holds every one of `parts`; nothing on standard output; exit code 2.
#[track_caller]
pub fn is_mistake(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let output = run(folder, arguments);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
    assert_eq!((text(&output.stdout), err.lines().count()), (String::new(), 1), "{err}");
    assert!(err.starts_with("sparsam: "), "{err}");
    for part in parts {
        assert!(err.contains(part), "{part:?} is not in {err:?}");
    }
}

/// Sends a running command a signal.
#[cfg(unix)]
pub fn send(child: &std::process::Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}
