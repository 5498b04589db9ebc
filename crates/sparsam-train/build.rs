//! Tells the crate which commit it is built from, if it is: `SPARSAM_COMMIT`, which run folders keep.

use std::path::Path;
use std::process::Command;

/// What the results of training depend on, from the top of the checkout.
const SOURCES: [&str; 2] = ["crates/sparsam/src", "crates/sparsam-train/src"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let Some(top) = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2) else { return };
    // A package that was unpacked within somebody else's checkout is of none of its commits.
    let said = git(top, &["rev-parse", "--show-toplevel"]);
    if said.and_then(|said| Path::new(&said).canonicalize().ok()) != top.canonicalize().ok()
        || SOURCES.iter().any(|folder| !top.join(folder).is_dir())
    {
        return;
    }
    let Some(commit) = git(top, &["rev-parse", "HEAD"]) else { return };
    let changed =
        git(top, &[&["status", "--porcelain", "--"], &SOURCES[..]].concat()).is_some_and(|told| !told.is_empty());
    println!("cargo::rustc-env=SPARSAM_COMMIT={commit}{}", if changed { "+" } else { "" });
    // With every commit and checkout, and when the sources change.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(top, &["rev-parse", "--path-format=absolute", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for folder in SOURCES {
        println!("cargo::rerun-if-changed={}", top.join(folder).display());
    }
}

/// What git answers, if there is one and it does.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    // Without a lock, which another command might wait for in vain.
    let mut command = Command::new("git");
    command.env("GIT_OPTIONAL_LOCKS", "0").arg("-C").arg(folder).args(arguments);
    let answer = command.output().ok()?;
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}
