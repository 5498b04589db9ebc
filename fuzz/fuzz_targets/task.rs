//! What targets of data files share: bytes become a file, and a task is built from it.

use std::fs;
use std::path::{Path, PathBuf};

use sparsam_train::{Draw, Stream, TaskConfig};

/// A folder of this process, in memory where the system has such.
pub fn folder() -> PathBuf {
    let shared = Path::new("/dev/shm");
    let root = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    root.join(format!("sparsam-fuzz-{}", std::process::id()))
}

/// Writes a file of that name into the folder and builds the task: any bytes give sequences or an error of one line.
pub fn build(name: &str, bytes: &[u8], config: &TaskConfig) {
    let path = folder().join(name);
    fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder can be made");
    fs::write(&path, bytes).expect("the file can be written");
    match config.build() {
        Ok(task) => {
            for stream in [Stream::Training, Stream::Evaluation] {
                let mut sequence = task.sequence();
                task.generate(Draw::new(&task.default_levels(), 1, stream, 3), &mut sequence);
                assert!(sequence.steps() > 0);
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}
