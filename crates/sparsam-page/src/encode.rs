//! Numbers as text: typed arrays one after another, compressed, as base64.

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sparsam::NO_WORD;

use crate::arrays::{Column, Columns, Detail, Kept, MOST_WORDS, Numbers};

/// Numbers as text, and what describes them.
pub struct Encoded {
    pub text: String,
    /// Of each array its name, type, shape and place, and what bytes stand for.
    pub arrays: Vec<Value>,
    /// What a reader has to know of what is not there.
    pub summarised: Vec<String>,
}

/// Encodes as much as fits `room` bytes before compression and base64; the least if not even that fits.
pub fn encode(columns: &Columns, room: usize) -> Encoded {
    let mut last = None;
    for detail in Detail::ALL {
        let (kept, summarised) = keep(columns, detail, room);
        let bytes: usize = kept.values().map(|column| size(column, detail)).sum();
        let fits = bytes <= room;
        last = Some((kept, detail, summarised));
        if fits {
            break;
        }
    }
    let (kept, detail, summarised) = last.unwrap_or_else(|| (Kept::new(), Detail::Exact, Vec::new()));
    write(&kept, columns.steps, detail, summarised)
}

/// What is kept at a level of detail, and what is to be said of the rest.
fn keep(columns: &Columns, detail: Detail, room: usize) -> (Kept<'_>, Vec<String>) {
    let rounded = "numbers that are not whole are rounded to one of 256 values between their least and their largest";
    let mut said = Vec::new();
    let mut kept = match detail {
        Detail::Exact | Detail::Rounded => {
            columns.columns.iter().map(|(name, column)| (name.clone(), Cow::Borrowed(column))).collect()
        }
        Detail::Strongest(most) => columns.reduced(most),
    };
    if detail != Detail::Exact {
        said.push(rounded.to_owned());
    }
    let most = match detail {
        Detail::Strongest(most) => Some(most),
        _ => columns.has_lost_dense.then_some(MOST_WORDS),
    };
    if let Some(most) = most {
        if columns.columns.keys().any(|name| name.ends_with("_weights")) {
            let words = if most == 1 { "word".to_owned() } else { format!("{most} words") };
            said.push(format!(
                "of what a head reads or writes at a step, the {words} with the largest weights are kept"
            ));
        }
        if columns.has_lost_dense || columns.columns.keys().any(|name| columns.is_dense(name)) {
            said.push("there is no picture of the weights over all words".to_owned());
        }
    }
    // A memory tells more than the controller does.
    let has_memory = columns.columns.contains_key("read_weights");
    let hidden = kept.get("hidden_units").map_or(0, |column| size(column, detail));
    if detail != Detail::Exact && has_memory && hidden > room / 8 {
        kept.remove("hidden_units");
        said.push("the hidden units are left out".to_owned());
    }
    (kept, said)
}

/// Bytes of a column. Whole numbers up to 255, nearly all of them 0 and 1, are taken for a quarter: they compress well.
fn size(column: &Column, detail: Detail) -> usize {
    match &column.numbers {
        Numbers::Whole(words) => words.len() * if fit_two_bytes(words) { 2 } else { 4 },
        Numbers::Real(values) if are_bytes(values) => values.len() / 4,
        Numbers::Real(values) => values.len() * if detail == Detail::Exact { 4 } else { 1 },
    }
}

fn fit_two_bytes(words: &[u32]) -> bool {
    words.iter().all(|word| *word == NO_WORD || *word < u32::from(u16::MAX))
}

fn are_bytes(values: &[f32]) -> bool {
    values.iter().all(|value| (0.0..=255.0).contains(value) && value.fract() == 0.0)
}

fn write(columns: &Kept<'_>, steps: usize, detail: Detail, summarised: Vec<String>) -> Encoded {
    let (mut bytes, mut arrays) = (Vec::new(), Vec::new());
    for (name, column) in columns {
        let offset = bytes.len();
        let mut shape = vec![steps];
        shape.extend_from_slice(&column.shape);
        let mut described = json!({"name": name, "shape": shape, "offset": offset});
        let kind = match &column.numbers {
            Numbers::Whole(words) if fit_two_bytes(words) => {
                // NO_WORD is cut to the largest number there is.
                bytes.extend(words.iter().flat_map(|word| (*word as u16).to_le_bytes()));
                "u16"
            }
            Numbers::Whole(words) => {
                bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
                "u32"
            }
            Numbers::Real(values) if are_bytes(values) => {
                bytes.extend(values.iter().map(|value| *value as u8));
                (described["least"], described["step"]) = (json!(0), json!(1));
                "u8"
            }
            Numbers::Real(values) if detail == Detail::Exact => {
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                "f32"
            }
            Numbers::Real(values) => {
                let finite = || values.iter().copied().filter(|value| value.is_finite());
                // 0 stays 0, which most are.
                let (least, largest) = (finite().fold(0.0, f32::min), finite().fold(0.0, f32::max));
                let step = if largest > least { (largest - least) / 255.0 } else { 1.0 };
                let zero = (-least / step).round();
                let least = -zero * step;
                bytes.extend(values.iter().map(|value| ((value - least) / step).round() as u8));
                (described["least"], described["step"]) = (json!(least), json!(step));
                "u8"
            }
        };
        described["type"] = kind.into();
        arrays.push(described);
    }
    Encoded { text: compress(&bytes), arrays, summarised }
}

/// How hard is compressed: what is slower makes a long page 2 % smaller and takes three times as long.
const LEVEL: u32 = 4;

fn compress(bytes: &[u8]) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    STANDARD.encode(encoder.finish().unwrap_or_default())
}
