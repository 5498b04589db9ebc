//! Text: which token follows?
//!
//! A text is a stream of tokens, characters or words, cut into pieces of as many tokens as the level says. At each step a
//! token comes in, and the one after it is wanted. Every piece starts with an empty memory, in training and in evaluations
//! (ours): what comes first in a piece is told without what was before it, and an evaluation in longer pieces (`--level`)
//! says what more of it is worth. Training draws pieces from anywhere in the text; evaluations take those held out one after
//! the other, so that every token but the first is told once.
//!
//! Losses are told per token, beside the bits that its frequency alone gives: the cross-entropy of the frequencies in the
//! text trained on, each counted once more than it occurs there.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparsam::NetworkConfig;
use sparsam::option::{Kind, OptionValue, Value as Told};

use super::{ChannelNames, Channels, Draw, Given, InputReader, InputRows, Options, Source, Task};
use crate::data::sums::ContentSum;
use crate::data::text;
use crate::sequence::{Guess, Per, TargetKind};
use crate::{Error, Stream};

sparsam::options! {
    /// Tell what follows in a text of one's own, a file in UTF-8, as it is or compressed with gzip.
    ///
    /// The last tenth of the text is held out and never trained on, unless there is a file for
    /// [validation](Self::validation). Tokens that do not occur in the text trained on, or seldom, are one token: unknown.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Text {
        /// The file of text, as it is or compressed with gzip.
        pub data: String = String::new();
        /// A file of text to evaluate on during training, instead of the last tenth of the data.
        pub validation: String = String::new();
        /// What the text is cut into.
        ///
        /// Words are runs of letters, digits and apostrophes; every other sign is a word of its own, and space is none.
        pub tokens: Tokens = Tokens::Chars;
        /// Tokens in a sequence.
        pub length: usize = 128, in 1..=1 << 24;
        /// Tokens that occur less often in the text trained on are unknown ones.
        pub min_count: u64 = 2;
    }
}

/// What a text is cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    /// Characters: Unicode's scalar values.
    #[default]
    Chars,
    /// Words.
    Words,
}

impl Tokens {
    /// The names of all choices.
    pub const NAMES: &[&str] = &["chars", "words"];

    fn name(self) -> &'static str {
        match self {
            Self::Chars => "chars",
            Self::Words => "words",
        }
    }

    /// What one is called.
    fn unit(self) -> &'static str {
        match self {
            Self::Chars => "character",
            Self::Words => "word",
        }
    }

    /// Cuts a text.
    pub(super) fn cut<'a>(self, text: &'a str, mut take: impl FnMut(&'a str)) {
        let of_word = |letter: char| letter.is_alphanumeric() || letter == '\'' || letter == '’';
        let mut start: Option<usize> = None;
        for (place, letter) in text.char_indices() {
            let end = place + letter.len_utf8();
            match self {
                Self::Chars => take(&text[place..end]),
                Self::Words if of_word(letter) => start = start.or(Some(place)),
                Self::Words => {
                    if let Some(start) = start.take() {
                        take(&text[start..place]);
                    }
                    if !letter.is_whitespace() {
                        take(&text[place..end]);
                    }
                }
            }
        }
        if let Some(start) = start {
            take(&text[start..]);
        }
    }
}

impl OptionValue for Tokens {
    const KIND: Kind = Kind::Word(Self::NAMES);

    fn to_value(&self) -> Told {
        Told::Text(self.name().to_owned())
    }

    fn from_value(value: &Told) -> Option<Self> {
        let Told::Text(name) = value else { return None };
        [Self::Chars, Self::Words].into_iter().find(|tokens| tokens.name() == name)
    }
}

/// The token that stands for all unknown ones.
const UNKNOWN: u32 = 0;

/// Tokens that are told apart, at most.
const MOST_TOKENS: usize = 1 << 20;

/// Bytes of text that are read at most.
const MOST_BYTES: u64 = 1 << 32;

/// One tenth of a text is held out.
const HELD_OUT: usize = 10;

/// The tokens that are known, by their numbers; the first is none, but stands for all that are not.
#[derive(Clone, Debug, Default)]
pub(super) struct Vocabulary {
    names: Vec<String>,
    /// How often each occurs in the text trained on.
    counts: Vec<u64>,
    numbers: HashMap<String, u32>,
}

impl Vocabulary {
    fn new(names: Vec<String>, counts: Vec<u64>) -> Self {
        let numbers = names.iter().zip(0..).skip(1).map(|(name, number)| (name.clone(), number)).collect();
        Self { names, counts, numbers }
    }

    /// Those of a text, the most frequent first.
    fn of(text: &str, tokens: Tokens, min_count: u64) -> Self {
        let mut counts: HashMap<&str, u64> = HashMap::new();
        tokens.cut(text, |token| *counts.entry(token).or_default() += 1);
        let (mut known, mut unknown) = (Vec::new(), 0);
        for (token, count) in counts {
            if count >= min_count { known.push((token, count)) } else { unknown += count }
        }
        known.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let known = known.into_iter().map(|(token, count)| (token.to_owned(), count));
        let (names, counts) = std::iter::once((String::new(), unknown)).chain(known).unzip();
        Self::new(names, counts)
    }

    fn kept(kept: &Value) -> Option<Self> {
        let names = Vec::<String>::deserialize(kept.get("vocabulary")?).ok()?;
        let counts = Vec::<u64>::deserialize(kept.get("counts")?).ok()?;
        (names.len() == counts.len() && !names.is_empty()).then(|| Self::new(names, counts))
    }

    /// A token's number.
    pub fn get(&self, token: &str) -> u64 {
        self.numbers.get(token).copied().unwrap_or(UNKNOWN).into()
    }

    /// The token of a number; none of unknown ones.
    pub fn name(&self, number: usize) -> Option<&str> {
        self.names.get(number).map(String::as_str).filter(|_| number > 0)
    }

    /// The bits that each token's frequency gives, counted once more than it occurs.
    fn bits(&self) -> Vec<f64> {
        let total = self.counts.iter().map(|count| *count as f64 + 1.0).sum::<f64>();
        self.counts.iter().map(|count| -((*count as f64 + 1.0) / total).log2()).collect()
    }

    fn numbers(&self, text: &str, tokens: Tokens) -> Vec<u32> {
        let mut numbers = Vec::new();
        tokens.cut(text, |token| numbers.push(self.numbers.get(token).copied().unwrap_or(UNKNOWN)));
        numbers
    }
}

/// What a text is read by.
#[derive(Clone, Debug)]
pub(crate) struct Corpus {
    pub(super) vocabulary: Vocabulary,
    tokens: Tokens,
    length: usize,
}

impl Corpus {
    /// The tokens of a file, in pieces.
    pub fn pieces(&self, path: &Path) -> Result<InputRows, Error> {
        let tokens = self.vocabulary.numbers(&read(path)?, self.tokens);
        let ends = (self.length..tokens.len()).step_by(self.length).chain([tokens.len()]).collect();
        Ok(InputRows::new(1, tokens.iter().map(|token| *token as f32).collect(), ends))
    }

    /// The number of the token that a text consists of; none if it has none or several.
    pub fn only_token(&self, text: &str) -> Option<u64> {
        let mut found = Vec::new();
        self.tokens.cut(text, |token| found.push(token));
        match found[..] {
            [token] => Some(self.vocabulary.get(token)),
            _ => None,
        }
    }
}

pub(super) fn read(path: &Path) -> Result<String, Error> {
    let mut all = String::new();
    text::open(path, MOST_BYTES, "letters", "name a file of text")?.read_to_string(&mut all).map_err(|error| {
        if error.kind() == std::io::ErrorKind::InvalidData {
            return Error::data(path.display(), "it is not text in UTF-8; save the file in UTF-8");
        }
        text::unreadable(path, error)
    })?;
    Ok(all)
}

/// A text without its last tenth, and that.
pub(super) fn held_out(text: &str) -> (&str, &str) {
    let mut border = text.len() - text.len() / HELD_OUT;
    while !text.is_char_boundary(border) {
        border -= 1;
    }
    text.split_at(border)
}

fn unreadable() -> Error {
    Error::data("the vocabulary of the run", "it cannot be read; restore task.json")
}

impl Options for Text {
    fn batches(&self) -> u64 {
        20_000
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn reproduces_nothing(&self) -> Option<&'static str> {
        Some("every step has what follows as its target; leave it at 0")
    }

    fn per(&self, _: TargetKind) -> Per {
        Per::Target(self.tokens.unit())
    }

    fn check(&self) -> Result<(), Error> {
        Ok(sparsam::option::Declared::check_options(self)?)
    }

    fn input_reader(&self, kept: Option<&Value>, network: &NetworkConfig) -> Result<InputReader, Error> {
        let vocabulary = kept.and_then(Vocabulary::kept).ok_or_else(unreadable)?;
        Ok(InputReader::of_text(Corpus { vocabulary, tokens: self.tokens, length: self.length }, network))
    }

    fn build(&self, given: Given<'_>) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        let path = match given.evaluation_files {
            Some(files) => files.to_owned(),
            None if self.data.is_empty() => {
                return Err(Error::option("data", "\"\"", "it names the file of text"));
            }
            None => given.place_of_data(&self.data)?,
        };
        let all = read(&path)?;
        let too_short = |path: &Path, found: usize, expected: usize| {
            let unit = self.tokens.unit();
            let reason =
                format!("it has {found} {unit}s where {expected} at least were expected; choose a smaller --length");
            Error::data(path.display(), reason)
        };
        let kept = given.kept.map(|kept| Vocabulary::kept(kept).ok_or_else(unreadable)).transpose()?;
        let mut sum = ContentSum::default();
        sum.add(all.as_bytes());
        if given.evaluation_files.is_some() {
            let vocabulary = kept.ok_or_else(unreadable)?;
            let tokens = vocabulary.numbers(&all, self.tokens);
            if tokens.len() < 2 {
                return Err(too_short(&path, tokens.len(), 2));
            }
            let everything = 0..tokens.len();
            let stream = Tokenised {
                options: self.clone(),
                vocabulary,
                tokens,
                training: everything.clone(),
                held_out: everything,
                sum: sum.finish(),
            };
            return Ok(Box::new(stream));
        }
        // The last tenth of the letters, so that what is known does not depend on it.
        let (trained_on, others) = if self.validation.is_empty() {
            let (trained_on, held_out) = held_out(&all);
            (trained_on, held_out.to_owned())
        } else {
            let held_out = read(&given.place_of_data(&self.validation)?)?;
            sum.add(held_out.as_bytes());
            (&all[..], held_out)
        };
        let vocabulary = kept.unwrap_or_else(|| Vocabulary::of(trained_on, self.tokens, self.min_count));
        if vocabulary.names.len() > MOST_TOKENS {
            let reason = format!(
                "it has {} different {}s; there are {MOST_TOKENS} at most: choose a larger --min-count",
                vocabulary.names.len(),
                self.tokens.unit()
            );
            return Err(Error::data(path.display(), reason));
        }
        let mut tokens = vocabulary.numbers(trained_on, self.tokens);
        let training = 0..tokens.len();
        tokens.extend(vocabulary.numbers(&others, self.tokens));
        let held_out = training.end..tokens.len();
        for (part, expected) in [(&training, self.length + 1), (&held_out, 2)] {
            if part.len() < expected {
                return Err(too_short(&path, part.len(), expected));
            }
        }
        Ok(Box::new(Tokenised { options: self.clone(), vocabulary, tokens, training, held_out, sum: sum.finish() }))
    }
}

/// A text as the numbers of its tokens.
struct Tokenised {
    options: Text,
    vocabulary: Vocabulary,
    tokens: Vec<u32>,
    training: Range<usize>,
    held_out: Range<usize>,
    /// Of the files.
    sum: String,
}

impl Tokenised {
    /// Pieces of so many tokens that the held-out text has. The last may be shorter.
    fn pieces(&self, level: usize) -> u64 {
        (self.held_out.len() - 1).div_ceil(level) as u64
    }
}

/// A token as people can see it; the empty one stands for all that are unknown.
fn visible(token: &str) -> String {
    match token {
        "" => "(unknown)".into(),
        " " => "␣".into(),
        token if token.chars().any(|character| character.is_control() || character.is_whitespace()) => {
            token.escape_debug().to_string()
        }
        token => token.into(),
    }
}

impl Task for Tokenised {
    fn name(&self) -> &'static str {
        "text"
    }

    fn channels(&self) -> Channels {
        Channels { input_size: 1, output_size: self.vocabulary.names.len(), target_kind: TargetKind::Classes }
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary.names.len()
    }

    fn channel_names(&self) -> ChannelNames {
        let names: Vec<String> = self.vocabulary.names.iter().map(|name| visible(name)).collect();
        let input = if self.options.tokens == Tokens::Chars { "character" } else { "word" };
        ChannelNames { inputs: vec![input.into()], outputs: names.clone(), tokens: names }
    }

    fn level_unit(&self) -> &'static str {
        match self.options.tokens {
            Tokens::Chars => "characters",
            Tokens::Words => "words",
        }
    }

    fn default_levels(&self) -> RangeInclusive<usize> {
        self.options.length..=self.options.length
    }

    fn possible_levels(&self) -> RangeInclusive<usize> {
        1..=super::LARGEST
    }

    fn steps(&self, level: usize) -> usize {
        level
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let Draw { stream, number, mut random, level } = draw;
        let pieces = self.pieces(level);
        let piece = match stream {
            Stream::Evaluation => Some(number % pieces),
            Stream::Validation if number >= Draw::IN_TURN => Some((number - Draw::IN_TURN) % pieces),
            Stream::Validation => Some(random.below(pieces as usize) as u64),
            _ => None,
        };
        let (part, first) = match piece {
            Some(piece) => (&self.held_out, self.held_out.start + piece as usize * level),
            None => {
                let places = self.training.len() - level.min(self.training.len() - 1);
                (&self.training, self.training.start + random.below(places))
            }
        };
        // The last token of a text is wanted, and nothing is known to follow it.
        let mut steps = first..(first + level).min(part.end - 1);
        Box::new(move |sequence| {
            let Some(step) = steps.next() else { return false };
            sequence.step_with_class(self.tokens[step + 1] as usize)[0] = self.tokens[step] as f32;
            true
        })
    }

    fn per(&self) -> Per {
        Per::Target(self.options.tokens.unit())
    }

    fn guess(&self) -> Guess {
        Guess::Frequencies(self.vocabulary.bits())
    }

    fn evaluation_sequences(&self) -> Option<u64> {
        Some(self.pieces(self.options.length))
    }

    fn evaluation_sequences_of(&self, level: usize) -> Option<u64> {
        Some(self.pieces(level))
    }

    fn kept(&self) -> Option<Value> {
        let Vocabulary { names, counts, .. } = &self.vocabulary;
        Some(json!({ "targets": "classes", "vocabulary": names, "counts": counts, "sha256": self.sum }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::sequence::Sequence;

    fn build(options: &Text) -> Result<Box<dyn Task>, Error> {
        options.build(Given::default())
    }

    fn options(path: &Path) -> Text {
        Text { data: path.display().to_string(), length: 4, ..Text::default() }
    }

    fn generate(task: &dyn Task, stream: Stream, level: usize, number: u64) -> Sequence {
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(level..=level), 1, stream, number), &mut sequence);
        sequence
    }

    fn cut(tokens: Tokens, text: &str) -> Vec<&str> {
        let mut all = Vec::new();
        tokens.cut(text, |token| all.push(token));
        all
    }

    #[test]
    fn text_is_cut_into_characters_or_words() {
        assert_eq!(cut(Tokens::Chars, "añ\n"), ["a", "ñ", "\n"]);
        let words = cut(Tokens::Words, "“It's 1813,” said\n Élisa--twice");
        assert_eq!(words, ["“", "It's", "1813", ",", "”", "said", "Élisa", "-", "-", "twice"]);
        assert!(cut(Tokens::Words, " \n").is_empty());
    }

    #[test]
    fn people_see_every_token() {
        assert_eq!(["", " ", "\n", "é", "it’s"].map(visible), ["(unknown)", "␣", "\\n", "é", "it’s"]);
    }

    #[test]
    fn every_held_out_token_but_the_first_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let text: String = (0..230).map(|number| char::from(b'a' + (number * number % 7) as u8)).collect();
        fs::write(&path, &text).unwrap();
        let task = build(&options(&path)).unwrap();
        let kept = task.kept().unwrap();
        let names: Vec<&str> = kept["vocabulary"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        // The squares of 0 to 6 in turn: 0 once, 1, 2 and 4 twice.
        assert_eq!((task.vocabulary_size(), names[0], names[4]), (5, "", "a"));
        assert_eq!(task.channel_names().tokens[1..], names[1..]);
        for (level, pieces) in [(4, 6), (22, 1), (1, 22), (100, 1)] {
            assert_eq!(task.evaluation_sequences_of(level), Some(pieces));
            let mut told = String::new();
            for number in 0..pieces {
                let sequence = generate(&*task, Stream::Evaluation, level, number);
                for step in 0..sequence.steps() {
                    let place = 207 + told.len();
                    assert_eq!(names[sequence.input(step)[0] as usize], &text[place..=place]);
                    told += names[sequence.class(step).unwrap()];
                }
            }
            assert_eq!(told, text[208..]);
        }
        // What is trained on is not held out.
        for number in 0..200 {
            let sequence = generate(&*task, Stream::Training, 4, number);
            let whole: String = (0..4).map(|step| names[sequence.input(step)[0] as usize]).collect();
            assert!(text[..207].contains(&whole) && sequence.steps() == 4);
        }
        let Guess::Frequencies(bits) = task.guess() else { panic!("classes have frequencies") };
        let total: f64 = bits.iter().map(|bits| 0.5f64.powf(*bits)).sum();
        assert!((total - 1.0).abs() < 1e-12 && bits[0] > bits[1]);
    }

    #[test]
    fn gzip_is_read_as_it_is_and_others_evaluate_with_the_same_vocabulary() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed, other) =
            (folder.path().join("a.txt"), folder.path().join("a.txt.gz"), folder.path().join("b.txt"));
        let text = "ab ba abba ab. ".repeat(20);
        fs::write(&plain, &text).unwrap();
        let mut encoder =
            flate2::write::GzEncoder::new(fs::File::create(&packed).unwrap(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        fs::write(&other, "abXa").unwrap();
        let of = |path: &Path| {
            let options = Text { validation: other.display().to_string(), ..options(path) };
            build(&options).unwrap()
        };
        let (one, two) = (of(&plain), of(&packed));
        assert_eq!(one.kept(), two.kept());
        assert_eq!(generate(&*one, Stream::Training, 4, 3), generate(&*two, Stream::Training, 4, 3));
        assert_eq!(one.evaluation_sequences(), Some(1));
        let held_out = generate(&*one, Stream::Validation, 4, 0);
        assert_eq!((held_out.steps(), held_out.class(1)), (3, Some(UNKNOWN as usize)));
        let kept = one.kept();
        let given = Given { kept: kept.as_ref(), evaluation_files: Some(&other), ..Given::default() };
        let task = options(Path::new("")).build(given).unwrap();
        assert_eq!(generate(&*task, Stream::Evaluation, 4, 0), held_out);

        let corpus = Corpus { vocabulary: Vocabulary::kept(&kept.unwrap()).unwrap(), tokens: Tokens::Chars, length: 3 };
        let pieces = corpus.pieces(&other).unwrap();
        assert_eq!((pieces.count(), pieces.sequence(0).len(), pieces.sequence(1).len()), (2, 3, 1));
        assert_eq!(pieces.sequence(0)[2], 0.0);
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        let error = build(&options(&packed)).err().unwrap().to_string();
        assert!(error.contains("a.txt.gz: it is compressed with gzip, but is not whole"), "{error}");
    }

    #[test]
    fn what_cannot_be_trained_on_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        for (text, expected) in [
            (&b"abcd"[..], "it has 4 characters where 5 at least were expected; choose a smaller --length"),
            (b"abcdefgh\xff", "it is not text in UTF-8"),
            (b"PK\x03\x04abcdefgh", "zip archive"),
        ] {
            fs::write(&path, text).unwrap();
            let error = build(&options(&path)).err().unwrap();
            assert!(error.is_usage() && error.to_string().contains(expected), "{error}");
        }
        assert!(build(&options(&folder.path().join("b"))).err().unwrap().to_string().contains("name a file of text"));
        assert!(build(&Text::default()).err().unwrap().to_string().contains("data = \"\" does not work"));
        let error = build(&Text { length: 0, ..options(&path) }).err().unwrap().to_string();
        assert!(error.contains("length = 0 does not work"), "{error}");
    }
}
