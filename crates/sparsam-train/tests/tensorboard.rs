//! Event files, as TensorBoard itself reads them.

use std::process::Command;

use sparsam_train::tensorboard::Writer;
use sparsam_train::{Config, TaskConfig};

/// Needs a Python that has the package `tensorboard`; the environment variable `SPARSAM_PYTHON` names it.
#[test]
fn tensorboard_reads_what_was_written() {
    let Some(python) = std::env::var_os("SPARSAM_PYTHON") else {
        eprintln!("skipped: SPARSAM_PYTHON names no Python with the package tensorboard");
        return;
    };
    let has_tensorboard = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if !has_tensorboard.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {} has no package tensorboard", python.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), None).unwrap();
    for step in [100, 200, 300] {
        writer.scalar(step, "loss/training", 0.5 * step as f64);
        writer.scalar(step, "wrong/evaluation", 0.25);
    }
    let copy = TaskConfig::by_name("copy").unwrap();
    let config = Config::default_for(copy, sparsam::Model::by_name("sam").unwrap());
    writer.hyperparameters(&config).unwrap();
    writer.flush().unwrap();
    // Resumed at 200: what was said of 300 no longer counts.
    let mut writer = Writer::create(folder.path(), Some(200)).unwrap();
    for step in [300, 400] {
        writer.scalar(step, "loss/training", -0.5 * step as f64);
    }
    writer.hyperparameters(&config).unwrap();
    writer.end();
    writer.flush().unwrap();

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_events.py");
    let output = Command::new(&python).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "loss/training": [[100, 50.0], [200, 100.0], [300, -150.0], [400, -200.0]],
        "wrong/evaluation": [[100, 0.25], [200, 0.25]],
    });
    assert_eq!(read["scalars"], expected);
    let hyperparameters = &read["hyperparameters"];
    assert_eq!(hyperparameters["network.memory.model"], "sam");
    assert_eq!(hyperparameters["batch_size"], config.batch_size as f64);
    assert_eq!(hyperparameters["curriculum.on"], false);
    assert_eq!(hyperparameters.as_object().unwrap().len(), config.fields().unwrap().len());
    assert_eq!(read["status"], 1);
}
