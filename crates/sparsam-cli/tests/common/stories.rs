//! Stories for networks that are to learn nothing from them.

use std::fs;
use std::path::Path;

/// Files of all twenty bAbI tasks, in simple words.
pub fn write_babi(folder: &Path, part: &str, word: &str) {
    fs::create_dir_all(folder).unwrap();
    for task in 1..=20 {
        let story = |number: usize| {
            let room = ["hallway", "garden"][number / 3 % 2];
            format!("1 Mary went to the {room}.\n2 Where is Mary?\t{room}\t1\n3 Who {word} there?\tmary,{word}\t1\n")
        };
        let text: String = (0..20).map(story).collect();
        fs::write(folder.join(format!("qa{task}_a-task_{part}.txt")), text).unwrap();
    }
}
