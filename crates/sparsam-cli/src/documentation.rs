//! The tables of the documentation that are made from declarations: a test that they are up to date.

use std::fs;
use std::path::{Path, PathBuf};

use sparsam::{ControllerKind, Model};
use sparsam_train::TaskConfig;

use crate::options::table;

/// Set in the environment, it makes the tests write the tables instead of comparing them.
const UPDATE: &str = "SPARSAM_UPDATE_DOCS";

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file)
}

/// Compares what stands in a file between `<!-- generated: NAME -->` and `<!-- end -->` with what should.
fn check(file: &str, name: &str, wanted: &str) {
    let path = path(file);
    let text = fs::read_to_string(&path).unwrap();
    let start = format!("<!-- generated: {name} -->\n");
    let (before, rest) = text.split_once(&start).unwrap_or_else(|| panic!("{file} has no line {start}"));
    let (found, after) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("{name} in {file} has no end"));
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, format!("{before}{start}{wanted}<!-- end -->{after}")).unwrap();
    } else {
        assert!(
            found == wanted,
            "{name} in docs/{file} is out of date; run the tests with {UPDATE}=1 to write it anew"
        );
    }
}

/// One test, so that no two write a file at a time.
#[test]
fn tables_are_those_of_the_declarations() {
    check("models.md", "options of memories", &table("Network", true));
    for (name, heading) in [
        ("options of training", "Training"),
        ("options of a curriculum", "Curriculum"),
        ("options of optimisers", "Optimiser"),
        ("options of a network", "Network"),
        ("options of tasks", "Task"),
    ] {
        check("training.md", name, &table(heading, false));
    }
}

/// What each of them is stands in tables that are written by hand.
#[test]
fn every_model_controller_and_task_has_its_row() {
    for (file, heading, names) in [
        ("models.md", "# The models", Model::NAMES),
        ("models.md", "## Controllers", ControllerKind::NAMES),
        ("training.md", "## Tasks", TaskConfig::NAMES),
    ] {
        let text = fs::read_to_string(path(file)).unwrap();
        let (_, section) = text.split_once(&format!("{heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        for name in names {
            let row = format!("\n| `{name}` |");
            assert!(section.contains(&row), "the table under \"{heading}\" in docs/{file} has no row of `{name}`");
        }
    }
}
