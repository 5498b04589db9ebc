//! What is to be known and ends nothing: that a file system does not do what protects a file, say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What was noted, by what it is about and where.
static NOTICES: Mutex<Notices> = Mutex::new(Notices { noted: BTreeSet::new(), waiting: Vec::new() });

struct Notices {
    noted: BTreeSet<(&'static str, PathBuf)>,
    waiting: Vec<String>,
}

/// The most notices kept: nobody may be there to take them.
const MOST: usize = 1000;

/// Notes a sentence, unless one about the same was noted of this place before.
pub fn note(about: &'static str, place: &Path, sentence: impl FnOnce() -> String) {
    // The lists are whole at every moment, whatever panicked.
    let mut notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
    if notices.noted.len() < MOST && notices.noted.insert((about, place.to_owned())) {
        let sentence = sentence();
        notices.waiting.push(sentence);
    }
}

/// The sentences noted since this was last called, whichever thread noted them. Whoever calls the library tells them.
pub fn take() -> Vec<String> {
    std::mem::take(&mut NOTICES.lock().unwrap_or_else(PoisonError::into_inner).waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_said_once_of_each_place() {
        let places = [Path::new("/a notice"), Path::new("/another")];
        for _ in 0..2 {
            for place in places {
                note("test", place, || format!("of {}", place.display()));
            }
        }
        let taken: Vec<String> = take().into_iter().filter(|text| text.starts_with("of /a")).collect();
        assert_eq!(taken, ["of /a notice", "of /another"]);
        note("test", places[0], || unreachable!("it was said"));
    }
}
