//! The arrows of docs/architecture.md, read from the sources: no room of the library uses a higher one, and in the other
//! crates no modules use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of the library, lowest first. Those on one floor do not use each other; a module belongs to the room with the
/// longest name that its path starts with.
const FLOORS: &[&[&str]] = &[
    &["error"],
    &["option", "system"],
    &["kernels"],
    &["arrays", "nn"],
    &["index"],
    &["memory::gates", "memory::interface", "memory::options", "memory::softmax", "memory::trace"],
    &["memory::sharpen"],
    &["memory::dense", "memory::sparse"],
    &["memory::key_value"],
    // The trait, the registry and the models.
    &["memory"],
    &["controller"],
    &["network"],
    &["format"],
];

/// Made for tests alone, in rooms of all floors.
const FOR_TESTS: &str = "memory::conformance";

/// The source without comments, texts and letters, cut into names, `::`, and other signs.
fn tokens(source: &str) -> Vec<String> {
    let letters: Vec<char> = source.chars().collect();
    let at = |place: usize| letters.get(place).copied().unwrap_or('\0');
    let after = |mut place: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        while place < letters.len() && !letters[place..].starts_with(&end) {
            place += 1;
        }
        place + end.len()
    };
    let (mut tokens, mut place) = (Vec::new(), 0);
    while place < letters.len() {
        match (at(place), at(place + 1)) {
            ('/', '/') => place = after(place, "\n"),
            ('/', '*') => place = after(place, "*/"),
            ('"', _) => {
                place += 1;
                while place < letters.len() && at(place) != '"' {
                    place += if at(place) == '\\' { 2 } else { 1 };
                }
                place += 1;
            }
            ('\'', '\\') => place = after(place + 3, "'"),
            // A letter, or else the name of a lifetime.
            ('\'', _) => place += if at(place + 2) == '\'' { 3 } else { 1 },
            (':', ':') => {
                tokens.push("::".to_owned());
                place += 2;
            }
            (letter, _) if letter.is_alphanumeric() || letter == '_' => {
                let rest = letters[place..].iter();
                let name: String = rest.take_while(|letter| letter.is_alphanumeric() || **letter == '_').collect();
                place += name.chars().count();
                let hashes = letters[place..].iter().take_while(|letter| **letter == '#').count();
                if name.ends_with('r') && name.len() <= 2 && at(place + hashes) == '"' {
                    place = after(place + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
                } else {
                    tokens.push(name);
                }
            }
            (letter, _) => {
                if !letter.is_whitespace() {
                    tokens.push(letter.to_string());
                }
                place += 1;
            }
        }
    }
    tokens
}

/// A path, and the name by which it goes where it is mentioned.
type Mention = (Vec<String>, String);

/// Adds the paths that a `use`, or any other mention, leads to, `start` going before each; gives the place behind it.
fn paths(tokens: &[String], mut place: usize, start: &[String], found: &mut Vec<Mention>) -> usize {
    let mut path = start.to_vec();
    loop {
        match tokens.get(place).map_or("", String::as_str) {
            "{" => {
                place += 1;
                while tokens.get(place).is_some_and(|token| token != "}") {
                    place = paths(tokens, place, &path, found);
                    place += usize::from(tokens.get(place).is_some_and(|token| token == ","));
                }
                return place + 1;
            }
            "super" => drop(path.pop()),
            "self" => {}
            name => path.push(name.to_owned()),
        }
        place += 1;
        // What follows `::<` is no part of the path.
        if tokens.get(place).is_none_or(|token| token != "::")
            || tokens.get(place + 1).is_some_and(|token| token == "<")
        {
            break;
        }
        place += 1;
    }
    let other_name = tokens.get(place).is_some_and(|token| token == "as");
    place += if other_name { 2 } else { 0 };
    found.push((path, tokens[place - 1].clone()));
    place
}

/// The paths, from the root of the crate, that a module mentions by `crate`, `self` or `super`.
fn mentions(module: &[String], source: &str) -> Vec<Vec<String>> {
    let tokens = tokens(source);
    let (mut found, mut here, mut depth, mut inner) = (Vec::new(), module.to_vec(), 0, Vec::new());
    let mut place = 0;
    while place < tokens.len() {
        match tokens[place].as_str() {
            "mod" if tokens.get(place + 2).is_some_and(|token| token == "{") => {
                here.push(tokens[place + 1].clone());
                inner.push(depth);
                place += 1;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inner.last() == Some(&depth) {
                    inner.pop();
                    here.pop();
                }
            }
            start @ ("crate" | "self" | "super") if tokens.get(place + 1).is_some_and(|token| token == "::") => {
                let from = if start == "crate" { &[] } else { &here[..] };
                let skipped = if start == "crate" { 2 } else { 0 };
                place = paths(&tokens, place + skipped, from, &mut found);
                continue;
            }
            _ => {}
        }
        place += 1;
    }
    found.into_iter().map(|(path, _)| path).collect()
}

/// The modules of a crate and what they mention, with what the root gives another name resolved. Paths have `::`.
fn crate_at(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let module = |file: &PathBuf| -> Vec<String> {
        let path = file.strip_prefix(folder).unwrap().with_extension("");
        let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        parts.filter(|part| !["mod", "lib", "main"].contains(&part.as_str())).collect()
    };
    let (roots, files): (Vec<_>, Vec<_>) = files.iter().partition(|file| module(file).is_empty());
    let known: BTreeSet<String> = files.iter().map(|file| module(file)[0].clone()).collect();

    // The root's `pub use room::{…}` as a name and the path that it stands for.
    let mut names = BTreeMap::new();
    for root in roots {
        let tokens = tokens(&fs::read_to_string(root).unwrap());
        for (place, _) in tokens.iter().enumerate().filter(|(_, token)| *token == "use") {
            let mut found = Vec::new();
            paths(&tokens, place + 1, &[], &mut found);
            names.extend(
                found.into_iter().filter(|(path, _)| known.contains(&path[0])).map(|(path, name)| (name, path)),
            );
        }
    }

    // A macro for all of the crate goes by its name alone.
    for file in &files {
        let tokens = tokens(&fs::read_to_string(file).unwrap());
        for (place, _) in tokens.iter().enumerate().filter(|(_, token)| *token == "macro_rules") {
            names.entry(tokens[place + 2].clone()).or_insert_with(|| module(file));
        }
    }

    let mut modules = BTreeMap::new();
    for file in files {
        let here = module(file);
        let mut mentioned = BTreeSet::new();
        for path in mentions(&here, &fs::read_to_string(file).unwrap()) {
            let path = match path.first() {
                Some(first) if known.contains(first) => path,
                Some(first) => match names.get(first) {
                    Some(path) => path.clone(),
                    None => panic!("{}: nothing is known of crate::{}", file.display(), path.join("::")),
                },
                None => continue,
            };
            mentioned.insert(path.join("::"));
        }
        modules.insert(here.join("::"), mentioned);
    }
    assert!(modules.len() > 3, "{} has modules", folder.display());
    modules
}

/// The floor and the room of a module.
fn room(path: &str) -> (usize, &'static str) {
    let all = FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (floor, *room)));
    let inside =
        all.filter(|(_, room)| path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")));
    inside.max_by_key(|(_, room)| room.len()).unwrap_or_else(|| panic!("{path} is in no room: name its floor here"))
}

#[test]
fn no_room_of_the_library_uses_a_higher_one() {
    let mut wrong = Vec::new();
    for (module, mentioned) in crate_at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let (floor, here) = room(&module);
        for path in mentioned.iter().filter(|path| !path.starts_with(FOR_TESTS)) {
            let (other, there) = room(path);
            if there != here && other >= floor {
                wrong.push(format!("{module} uses {path}, but {here} stands below {there} or beside it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_modules_of_the_other_crates_use_each_other_in_a_circle() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // The package by itself has no others beside it.
    if !workspace.join("Cargo.lock").is_file() {
        return;
    }
    for folder in ["crates/sparsam-train", "crates/sparsam-cli", "bindings/python"] {
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let top = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
        for (module, mentioned) in crate_at(&workspace.join(folder).join("src")) {
            let here = top(&module);
            let others = mentioned.iter().map(|path| top(path)).filter(|other| *other != here);
            uses.entry(here.clone()).or_default().extend(others);
        }
        // Whoever uses nothing that is left is in no circle.
        while let Some(free) = uses.iter().find(|(_, used)| used.is_empty()).map(|(name, _)| name.clone()) {
            uses.remove(&free);
            for used in uses.values_mut() {
                used.remove(&free);
            }
        }
        assert!(uses.is_empty(), "{folder}: these use each other in a circle, or what is in one: {uses:#?}");
    }
}

#[test]
fn mentions_are_found_wherever_they_stand() {
    let module = ["memory", "sparse", "ring"].map(str::to_owned);
    let source = r##"
        //! crate::not, "crate::nor
        use std::ops::Range;
        use super::{
            slots::{self, Slots as Places},
            words,
        };
        pub(crate) fn of<'a>(lock: &'a crate::kernels::Lock, c: char) -> bool { c == '"' || c == '\'' }
        const TEXT: &str = r#"crate::neither "self::one"#;
        mod tests { use super::super::super::{models, dense}; fn f() { let _ = $crate::Real {}; } }
        fn after() { self::inner::call::<u8>("super::no"); }
        use crate::index::Found;
    "##;
    let found: Vec<String> = mentions(&module, source).iter().map(|path| path.join("::")).collect();
    let expected = [
        "memory::sparse::slots",
        "memory::sparse::slots::Slots",
        "memory::sparse::words",
        "kernels::Lock",
        "memory::models",
        "memory::dense",
        "Real",
        "memory::sparse::ring::inner::call",
        "index::Found",
    ];
    assert_eq!(found, expected);
}
