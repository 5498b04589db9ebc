//! What can be typed into a shell.

use std::path::Path;

/// A path as it can be typed into a shell.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(shell_word(Path::new("runs/copy-sam-1")), "runs/copy-sam-1");
        assert_eq!(shell_word(Path::new("my runs/it's")), r"'my runs/it'\''s'");
    }
}
