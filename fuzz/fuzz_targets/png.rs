//! Any bytes are a drawing or an error.
#![no_main]

#[path = "task.rs"]
mod task;

use libfuzzer_sys::fuzz_target;
use sparsam_train::TaskConfig;
use sparsam_train::task::Omniglot;

fuzz_target!(|bytes: &[u8]| {
    let data = task::folder().display().to_string();
    let options = Omniglot { data, labels: 2, min_characters: 1, max_characters: 1 };
    // Of five alphabets one is held out: the same drawing for all of them.
    for alphabet in 1..5 {
        let path = task::folder().join(format!("images_background/{alphabet}/c/1.png"));
        std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder can be made");
        std::fs::write(path, bytes).expect("the file can be written");
    }
    task::build("images_background/5/c/1.png", bytes, &TaskConfig::Omniglot(options));
});
