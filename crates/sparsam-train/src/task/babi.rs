use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparsam::network::PADDING;
use sparsam::option::Declared;

use super::exchange::{Exchange, Exchanged};
use super::{Categories, ChannelNames, Channels, Draw, Given, Options, Source, Task};
use crate::data::archive::{self, Limits};
use crate::data::sums::ContentSum;
use crate::data::text::{BYTE_ORDER_MARK, seems};
use crate::sequence::{Target, TargetKind};
use crate::{Error, Random, Stream};

sparsam::options! {
    /// The bAbI tasks (Weston et al. 2015): stories in simple words with questions between their sentences, all twenty kinds of
    /// them learnt by one network.
    ///
    /// A word comes in at a time, one channel for each word of the vocabulary, which has the full stop and the question mark as
    /// well; the words are in lower case. At the question mark the output is to be the answer, one class for each word. Where an
    /// answer has several words, the others are wanted at the steps that follow, whose input is a word of its own, `-`; it
    /// counts as right if all of them are. A sequence is a whole story with all of its questions. With
    /// [`sentences`](Self::sentences) a whole sentence comes in at a time.
    ///
    /// Of every file's stories each tenth is held out and never trained on; of the subsets with files for validation (en-valid,
    /// en-valid-10k) those of these files are, and no others. A batch draws its stories from all tasks alike, or so
    /// that [all ask as many questions](Self::even_questions).
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Babi {
        /// The folder of the official archives.
        ///
        /// The official archive, the folder that it unpacks to, or the folder that either lies in.
        pub data: String = "data".into();
        /// The folder of its files: en-10k or en.
        ///
        /// Or one of the folders in other words.
        pub subset: String = "en-10k".into();
        /// The one task to learn, 1 to 20; 0: all.
        pub only: usize = 0, in 0..=TASKS;
        /// Give words as tokens, each of which has an embedding, rather than a channel each.
        pub embedding: bool = false;
        /// Give a whole sentence at a step, its words as tokens weighted by position (Sukhbaatar et al. 2015, section 4.1).
        ///
        /// The step takes in the sum of the words' [embeddings by their positions](sparsam::network::position_weight). A question is a
        /// sentence as well; its answer is wanted at the steps that follow, a word at each. Stories are then about five times
        /// shorter.
        pub sentences: bool = false;
        /// Steps by which answers are wanted later (Graves 2016, adaptive computation, with a fixed number).
        ///
        /// Word by word an answer is wanted so many steps after the question mark, at 0 at the question mark itself. With
        /// [`sentences`](Self::sentences) it is wanted so many steps later than at the step after the question. The input of
        /// all these steps, but for the question mark, is the word at which answers go on, `-`.
        pub think_steps: usize = 0, in 0..=64;
        /// Steps without a word after each sentence that is no question (pause tokens, Goyal et al. 2024).
        ///
        /// A network reads its memory once in a step, and what it writes then cannot follow from what it reads then: who reads that
        /// Mary went to the garden has to look up what she holds before the places of these things can be written. Word by word the
        /// words of a sentence give it the steps for that; with [`sentences`](Self::sentences) nothing does. The input of these steps
        /// is the word at which answers go on, `-`.
        pub pause_steps: usize = 0, in 0..=64;
        /// In training, exchange names in every story: persons, places, things, colours, directions (ours).
        ///
        /// Each time a story comes, every name becomes another of its kind, or stays, at random and the same one throughout: what can be
        /// learnt by heart are the stories' forms. Names are exchanged only within the words that a task has, and only where its
        /// answers stay right: not places and things where they belong to what somebody feels, nor a woman with a man where "she" tells
        /// them. Stories held out are as they are.
        pub exchange_names: bool = false;
        /// In training, draw tasks so that all of them ask as many questions, rather than tell as many stories.
        ///
        /// Stories of tasks 4, 16 and 19 ask one question, most others five: where the stories of all files are drawn alike, as usual, those
        /// of these tasks come five times as often.
        pub even_questions: bool = false;
    }
}

/// The name of the official archive.
pub const ARCHIVE: &str = "tasks_1-20_v1-2.tar.gz";

/// The folder that it unpacks to.
const UNPACKED: &str = "tasks_1-20_v1-2";

/// Tasks that there are.
pub(super) const TASKS: usize = 20;

/// The word at the steps where an answer goes on.
pub(super) const MORE: &str = "-";

/// One story of ten is held out.
pub(super) const HELD_OUT: usize = 10;

/// An error above this has failed a task (Weston et al. 2015).
pub(super) const FAILED: f64 = 0.05;

/// The official archive holds 200 MB in 200 files.
const LIMITS: Limits = Limits { entries: 10_000, file_bytes: 1 << 26, bytes: 1 << 30 };

impl Options for Babi {
    fn batches(&self) -> u64 {
        200_000
    }

    fn evaluation_sequences(&self) -> u64 {
        1000
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn reproduces_nothing(&self) -> Option<&'static str> {
        self.sentences.then_some("an output is one word and an input a whole sentence; leave it at 0, or sentences out")
    }

    fn check(&self) -> Result<(), Error> {
        self.check_options()?;
        if self.subset.is_empty() || self.subset.contains('/') {
            let reason = "it is a folder of the archive, such as en-10k";
            return Err(Error::option("subset", format!("{:?}", self.subset), reason));
        }
        Ok(())
    }

    fn build(&self, given: Given<'_>) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        let (files, mut validation, held_out) = match given.evaluation_files {
            Some(path) => (self.evaluation_files(path)?, Vec::new(), None),
            None => {
                let path = &given.place_of_data(&self.data)?;
                // Others have none, and an archive takes seconds to read.
                let has_own = self.subset.contains("valid");
                let own = if has_own { self.find(path, "valid", false)? } else { Vec::new() };
                (self.training_files(path)?, own, Some(HELD_OUT))
            }
        };
        let mut words = match given.kept {
            Some(kept) => Words::of(&Vocabulary::kept(kept)?),
            None => Words::new(),
        };
        let longest = given.kept.filter(|_| self.sentences).map(kept_sentence_size).transpose()?;
        let mut sum = ContentSum::default();
        let mut steps = Vec::new();
        let mut read = Vec::with_capacity(files.len());
        for (name, entry) in files {
            let parsed = parse(&entry.place, &entry.bytes, longest, &mut words, &mut steps)?;
            sum.add(&entry.bytes);
            let of_task = validation.iter().position(|(of, _)| of.task == name.task);
            let own = match of_task.map(|place| validation.swap_remove(place).1) {
                Some(entry) => {
                    sum.add(&entry.bytes);
                    Some(parse(&entry.place, &entry.bytes, longest, &mut words, &mut steps)?)
                }
                None => None,
            };
            read.push((name, parsed, own, entry.place));
        }
        let (words, places) = words.in_order();
        for step in &mut steps {
            step.word = places[usize::from(step.word)];
            step.answer = step.answer.map(|answer| places[usize::from(answer)]);
        }
        let sentence_size = match longest {
            Some(longest) => longest,
            None if self.sentences => longest_sentence(&steps),
            None => 0,
        };
        let (options, sum) = (self.clone(), sum.finish());
        let mut stories = Stories { options, words, tasks: Vec::new(), steps, sentence_size, sum };
        for (name, parsed, own, place) in read {
            match own {
                Some(held_out) => stories.add(&name, parsed, held_out),
                None => {
                    let [training, held_out] = parted(parsed, &place, held_out)?;
                    stories.add(&name, training, held_out);
                }
            }
        }
        if self.exchange_names
            && given.evaluation_files.is_none()
            && stories.tasks.iter().all(|task| task.exchange.is_empty())
        {
            return Err(no_names());
        }
        Ok(Box::new(stories))
    }
}

/// Stories without a name that [`Exchange`] knows.
pub(super) fn no_names() -> Error {
    let reason = "the stories have none of the names that can be exchanged, those of the English ones; leave it out";
    Error::option("exchange_names", "true", reason)
}

/// The words of the longest sentence, punctuation among them.
pub(super) fn longest_sentence(steps: &[Step]) -> usize {
    steps.split_inclusive(|step| step.ends).map(|words| words.len()).max().unwrap_or(0)
}

/// What the numbers of an input are called where words are tokens and a step reads so many, or if 0 one.
pub(super) fn names_of_words(sentence_size: usize) -> Vec<String> {
    match sentence_size {
        0 => vec!["word".into()],
        size => (1..=size).map(|place| format!("word {place}")).collect(),
    }
}

/// How long the sentences of a run are, as it keeps it.
pub(super) fn kept_sentence_size(kept: &Value) -> Result<usize, Error> {
    let size = kept.get("sentence_size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    size.filter(|size| *size > 0).ok_or_else(|| {
        Error::data("the sentences of the run", "how long they are at most is not told; restore task.json")
    })
}

/// The folders of the official archive.
const SUBSETS: [&str; 8] = ["en", "en-10k", "en-valid", "en-valid-10k", "hn", "hn-10k", "shuffled", "shuffled-10k"];

/// Says what an archive or folder holds: of each subset that is there, or of the one that is trained on unless told otherwise.
pub fn contents(path: &Path) -> Result<String, Error> {
    // Files of a folder that is named itself are of no subset.
    let subset_of = |file: &str| {
        let folder = file.rsplit('/').nth(1).unwrap_or("");
        SUBSETS.into_iter().find(|subset| *subset == folder).or((folder.is_empty() && path.is_dir()).then_some(""))
    };
    let name_of = |file: &str, part: &str| Name::parse(file.rsplit('/').next().unwrap_or(file), part);
    let wanted =
        |file: &str| subset_of(file).is_some() && (name_of(file, "train").is_some() || name_of(file, "test").is_some());
    let mut found: BTreeMap<&str, [BTreeMap<usize, usize>; 2]> = BTreeMap::new();
    for entry in archive::read(path, LIMITS, &wanted)? {
        let Some(subset) = subset_of(&entry.name) else { continue };
        for (number, part) in ["train", "test"].into_iter().enumerate() {
            let Some(name) = name_of(&entry.name, part) else { continue };
            // Nothing but the number of the stories is kept of a file.
            let stories = parse(&entry.place, &entry.bytes, None, &mut Words::new(), &mut Vec::new())?.len();
            if found.entry(subset).or_default()[number].insert(name.task, stories).is_some() {
                return Err(twice(path, name.task, &entry.name));
            }
        }
    }
    found.retain(|_, [training, _]| !training.is_empty());
    let own = Babi::default();
    if found.is_empty() {
        return Err(own.lacks(path, "train", 1, true));
    }
    let mut parts = Vec::new();
    for (subset, [training, tests]) in found {
        let subset = if subset.is_empty() { &own.subset } else { subset };
        if let Some(task) = (1..=TASKS).find(|task| !training.contains_key(task)) {
            return Err(Babi { subset: subset.into(), ..own }.lacks(path, "train", task, false));
        }
        let (stories, tasks, tests) = (training.values().sum::<usize>(), training.len(), tests.len());
        parts.push(format!("{stories} stories of {tasks} tasks in {subset}, and test files of {tests}"));
    }
    Ok(parts.join(", "))
}

fn twice(path: &Path, task: usize, other: &str) -> Error {
    Error::data(path.display(), format!("task {task} is there twice, as {other} too; remove one"))
}

/// The archive in a folder of data, or the folder that has the files of the archive.
pub fn place_of(data: &Path, archive: &str) -> Option<PathBuf> {
    let [whole, unpacked] = [data.join(archive), data.join(UNPACKED)];
    let here = || SUBSETS.iter().any(|subset| data.join(subset).is_dir()).then(|| data.to_owned());
    if whole.exists() { Some(whole) } else { unpacked.is_dir().then_some(unpacked).or_else(here) }
}

/// The name of a file: `qa7_counting_train.txt` is task 7, "counting"; `qa7_train.txt`, as some subsets call it, has no title.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub task: usize,
    title: String,
}

impl Name {
    /// Of a file of this part (train or test).
    fn parse(file: &str, part: &str) -> Option<Self> {
        let rest = file.strip_prefix("qa")?.strip_suffix(&format!("_{part}.txt"))?;
        let (task, title) = rest.split_once('_').unwrap_or((rest, ""));
        Some(Self { task: task.parse().ok().filter(|task| (1..=TASKS).contains(task))?, title: title.to_owned() })
    }
}

impl Name {
    /// The task's number and title.
    pub fn title(&self) -> String {
        format!("{} {}", self.task, self.title).trim_end().to_owned()
    }
}

impl Babi {
    /// Whether words are tokens.
    fn has_tokens(&self) -> bool {
        self.embedding || self.sentences
    }

    /// The training files of a folder or archive in the order of their tasks, of which none may be missing.
    fn training_files(&self, path: &Path) -> Result<Vec<(Name, archive::Entry)>, Error> {
        let files = self.find(path, "train", false)?;
        let mut tasks = if self.only == 0 { 1..=TASKS } else { self.only..=self.only };
        match tasks.find(|task| files.iter().all(|(name, _)| name.task != *task)) {
            Some(task) => Err(self.lacks(path, "train", task, files.is_empty())),
            None => Ok(files),
        }
    }

    /// The test files that there are in a folder or archive, in the order of their tasks: those of the subset or, if there
    /// are none, those in any folder.
    fn evaluation_files(&self, path: &Path) -> Result<Vec<(Name, archive::Entry)>, Error> {
        let mut files = self.find(path, "test", false)?;
        if files.is_empty() {
            files = self.find(path, "test", true)?;
        }
        if files.is_empty() { Err(self.lacks(path, "test", self.only.max(1), true)) } else { Ok(files) }
    }

    pub(super) fn lacks(&self, path: &Path, part: &str, task: usize, all: bool) -> Error {
        let (lacks, subset) = (if all { "holds no" } else { "lacks" }, &self.subset);
        let title = if subset.contains("valid") { "" } else { "*_" };
        let reason = format!(
            "it {lacks} {subset}/qa{task}_{title}{part}.txt; name {ARCHIVE}, the folder that it unpacks to, or {subset} in it"
        );
        Error::data(path.display(), reason)
    }

    /// The files of a part (train or test) in a folder or archive, in the order of their tasks: those of the subset, or
    /// those in any folder.
    pub(super) fn find(&self, path: &Path, part: &str, anywhere: bool) -> Result<Vec<(Name, archive::Entry)>, Error> {
        // Other data sets may lie beside it, unpacked: they are not walked through.
        let places = [path.join(ARCHIVE), path.join(&self.subset), path.join(UNPACKED).join(&self.subset)];
        let path = places.iter().find(|place| place.exists()).map_or(path, PathBuf::as_path);
        let wanted = |file: &str| {
            let (folder, file) = file.rsplit_once('/').unwrap_or(("", file));
            let folder = folder.rsplit('/').next().unwrap_or(folder);
            // The files may be named by the folder they lie in.
            let here = anywhere || folder == self.subset || (folder.is_empty() && path.is_dir());
            here && Name::parse(file, part).is_some_and(|name| self.only == 0 || name.task == self.only)
        };
        let mut found = BTreeMap::new();
        for entry in archive::read(path, LIMITS, &wanted)? {
            let file = entry.name.rsplit('/').next().unwrap_or(&entry.name);
            let Some(name) = Name::parse(file, part) else { continue };
            if let Some(other) = found.insert(name.task, (name, entry)) {
                let (name, other) = other;
                return Err(twice(path, name.task, &other.name));
            }
        }
        Ok(found.into_values().collect())
    }
}

/// Reads a file; `place` is what errors call it. Adds its steps to those of other files, in the words that they share, and
/// says which steps each story has. No sentence may have more words and marks than `longest`, if that is known.
///
/// A file is held once, and each word of it takes a few bytes: files may be large, and come from others.
pub(super) fn parse(
    place: &str,
    bytes: &[u8],
    longest: Option<usize>,
    words: &mut Words,
    steps: &mut Vec<Step>,
) -> Result<Vec<Range<usize>>, Error> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::data(place, format!("line {line} is not text in UTF-8{}", seems(bytes)))
    })?;
    let mut stories: Vec<Range<usize>> = Vec::new();
    // The story that lines belong to: where it starts, and whether it asks something.
    let (mut first_line, mut asks) = (0, false);
    let mut before = 0;
    for (number, line) in (1..).zip(text.lines()) {
        // Between stories, or at the end, an editor may have left some.
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| Error::data(place, format!("line {number}: {reason}"));
        let expected = "a number, a space and a sentence were expected";
        let (id, rest) = line.split_once(' ').ok_or_else(|| wrong(format!("{expected}, not {}", quoted(line))))?;
        let id: usize = id.parse().map_err(|_| wrong(format!("{expected}, not {}", quoted(line))))?;
        if id == 1 {
            check_questions(place, first_line, asks)?;
            stories.push(steps.len()..steps.len());
            (first_line, asks) = (number, false);
        } else if id != before + 1 || before == 0 {
            let next = if before == 0 { "1".to_owned() } else { format!("{} or, for the next story, 1", before + 1) };
            return Err(wrong(format!("its number is {id} where {next} was expected")));
        }
        before = id;
        let mut fields = rest.split('\t');
        let sentence = fields.next().unwrap_or_default();
        let start = steps.len();
        for_each_word(sentence, &mut |word| {
            steps.push(Step { word: words.number(word).map_err(wrong)?, answer: None, ends: false, asks: false });
            Ok(())
        })?;
        if steps.len() == start {
            return Err(wrong("a sentence was expected after the number".into()));
        }
        let length = steps.len() - start;
        if let Some(longest) = longest.filter(|longest| length > *longest) {
            return Err(wrong(format!(
                "the sentence has {length} words and marks, and the network reads {longest} at once, no more"
            )));
        }
        let asked = fields.next();
        if let (None, Some(last)) = (asked, steps.last_mut()) {
            last.ends = true;
        }
        if let Some(answer) = asked {
            if steps.pop().is_none_or(|last| words.word(last.word) != "?") {
                return Err(wrong(format!("a question mark was expected before the answer, not {}", quoted(sentence))));
            }
            steps[start..].iter_mut().for_each(|step| step.asks = true);
            for (place, word) in answer.split(',').enumerate() {
                let word = word.trim().to_lowercase();
                if word.is_empty() || word.contains(char::is_whitespace) {
                    return Err(wrong(format!(
                        "an answer of words with commas between them was expected after the question, not {}",
                        quoted(answer)
                    )));
                }
                let input = words.number(if place == 0 { "?" } else { MORE }).map_err(wrong)?;
                let answer = Some(words.number(&word).map_err(wrong)?);
                steps.push(Step { word: input, answer, ends: true, asks: true });
            }
            asks = true;
        }
        if let Some(story) = stories.last_mut() {
            story.end = steps.len();
        }
    }
    if stories.is_empty() {
        return Err(Error::data(place, "it is empty; lines such as \"1 Mary moved to the bathroom.\" were expected"));
    }
    check_questions(place, first_line, asks)?;
    steps.shrink_to_fit();
    Ok(stories)
}

/// Nothing can be learnt from a story that asks nothing. `first_line` is 0 before the first story.
fn check_questions(place: &str, first_line: usize, asks: bool) -> Result<(), Error> {
    if first_line == 0 || asks {
        return Ok(());
    }
    let reason = format!(
        "the story that starts on line {first_line} has no question; a tab and an answer were expected after one"
    );
    Err(Error::data(place, reason))
}

/// What stands in a file, short enough for a message.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("{short:?}...") } else { format!("{short:?}") }
}

/// Takes the words of a sentence in lower case; punctuation marks are words of their own.
fn for_each_word(sentence: &str, take: &mut dyn FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
    let (mut word, mut mark) = (String::new(), [0; 4]);
    for part in sentence.split_whitespace() {
        for letter in part.chars().flat_map(char::to_lowercase) {
            if ".?!,;:".contains(letter) {
                if !word.is_empty() {
                    take(&word)?;
                    word.clear();
                }
                take(letter.encode_utf8(&mut mark))?;
            } else {
                word.push(letter);
            }
        }
        if !word.is_empty() {
            take(&word)?;
            word.clear();
        }
    }
    Ok(())
}

/// The words found so far, numbered as they came.
pub(super) struct Words {
    numbers: HashMap<String, u16>,
    words: Vec<String>,
    /// A network knows them already: there can be no more.
    fixed: bool,
}

/// Words that are told apart, at most.
const MOST_WORDS: usize = u16::MAX as usize;

impl Words {
    /// The two that every vocabulary has.
    pub fn new() -> Self {
        Self::numbered(["?", MORE].map(str::to_owned).into(), false)
    }

    /// Those of a vocabulary, and no others.
    pub fn of(vocabulary: &Vocabulary) -> Self {
        Self::numbered(vocabulary.0.clone(), true)
    }

    fn numbered(words: Vec<String>, fixed: bool) -> Self {
        let numbers = words.iter().enumerate().map(|(number, word)| (word.clone(), number as u16)).collect();
        Self { numbers, words, fixed }
    }

    fn word(&self, number: u16) -> &str {
        &self.words[usize::from(number)]
    }

    /// The number of a word, or what is wrong with it.
    fn number(&mut self, word: &str) -> Result<u16, String> {
        if let Some(number) = self.numbers.get(word) {
            return Ok(*number);
        }
        if self.fixed {
            let word = quoted(word);
            return Err(format!("the network does not know the word {word}; it knows those that it was trained with"));
        }
        if self.words.len() >= MOST_WORDS {
            return Err(format!("there are more than {MOST_WORDS} different words until here; no more are told apart"));
        }
        let number = self.words.len() as u16;
        self.numbers.insert(word.to_owned(), number);
        self.words.push(word.to_owned());
        Ok(number)
    }

    /// The vocabulary, and the place in it of each number.
    pub fn in_order(self) -> (Vocabulary, Vec<u16>) {
        let mut order: Vec<u16> = (0..self.words.len() as u32).map(|number| number as u16).collect();
        order.sort_by(|one, other| self.word(*one).cmp(self.word(*other)));
        let mut places = vec![0; order.len()];
        for (place, number) in order.iter().enumerate() {
            places[usize::from(*number)] = place as u16;
        }
        let words = order.iter().map(|number| self.word(*number).to_owned()).collect();
        (Vocabulary(words), places)
    }
}

/// The words that there are, in the order of the alphabet. A word's place is its channel and its class.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Vocabulary(pub Vec<String>);

impl Vocabulary {
    /// The one that a run keeps.
    pub fn kept(kept: &Value) -> Result<Self, Error> {
        let words = kept.get("words").and_then(|words| Vec::<String>::deserialize(words).ok());
        match words {
            Some(words) if words.is_sorted() && (1..=MOST_WORDS).contains(&words.len()) => Ok(Self(words)),
            _ => Err(Error::data(
                "the vocabulary of the run",
                "it is no list of words in their order; restore task.json",
            )),
        }
    }

    pub fn get(&self, word: &str) -> Option<u16> {
        let place = self.0.binary_search_by(|known| known.as_str().cmp(word)).ok()?;
        u16::try_from(place).ok()
    }
}

/// A word of a story, which is a time step unless a step reads a sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub word: u16,
    pub answer: Option<u16>,
    /// It is the last of its sentence, or stands where an answer goes on.
    pub ends: bool,
    /// It belongs to a question or an answer.
    pub asks: bool,
}

#[cfg(test)]
impl Step {
    /// A word within a sentence.
    pub fn of(word: u16) -> Self {
        Self { word, answer: None, ends: false, asks: false }
    }
}

/// The stories of a task.
#[derive(Debug)]
struct OfTask {
    title: String,
    training: Vec<Range<usize>>,
    held_out: Vec<Range<usize>>,
    exchange: Exchange,
    /// Stories for each question, in training.
    weight: f64,
}

/// Stories to train on and stories that are held out, in words of a vocabulary.
#[derive(Debug)]
struct Stories {
    options: Babi,
    words: Vocabulary,
    tasks: Vec<OfTask>,
    /// Of all stories, one after the other.
    steps: Vec<Step>,
    /// Words of a sentence that a step reads, at most; 0 if it reads one word.
    sentence_size: usize,
    /// Of the files.
    sum: String,
}

impl Stories {
    /// Takes the stories of a task.
    fn add(&mut self, name: &Name, training: Vec<Range<usize>>, held_out: Vec<Range<usize>>) {
        let steps = || training.iter().flat_map(|story| &self.steps[story.clone()]);
        let exchange = if self.options.exchange_names {
            Exchange::of(name.task, &self.words, steps())
        } else {
            Exchange::default()
        };
        // Words of an answer after its first come at the word that stands for more.
        let more = self.words.get(MORE);
        let drawn = if training.is_empty() { &held_out } else { &training };
        let drawn_steps = drawn.iter().flat_map(|story| &self.steps[story.clone()]);
        let asked = drawn_steps.filter(|step| step.answer.is_some() && Some(step.word) != more).count();
        let weight = drawn.len() as f64 / asked.max(1) as f64;
        self.tasks.push(OfTask { title: name.title(), training, held_out, exchange, weight });
    }

    /// A task to train on.
    fn draw_task(&self, random: &mut Random) -> usize {
        let last = self.tasks.len().saturating_sub(1);
        if !self.options.even_questions {
            return random.below(self.tasks.len());
        }
        let mut left = random.unit() * self.tasks.iter().map(|task| task.weight).sum::<f64>();
        let drawn = self.tasks.iter().position(|task| {
            left -= task.weight;
            left < 0.0
        });
        drawn.unwrap_or(last)
    }

    /// The held-out stories of all tasks one after the other: the task and the story of such a number, which starts again
    /// after the last.
    fn held_out(&self, number: u64) -> (usize, Range<usize>) {
        let mut left = (number % self.held_out_stories().max(1)) as usize;
        for (task, of_task) in self.tasks.iter().enumerate() {
            match of_task.held_out.get(left) {
                Some(story) => return (task, story.clone()),
                None => left -= of_task.held_out.len(),
            }
        }
        (0, 0..0)
    }

    fn held_out_stories(&self) -> u64 {
        self.tasks.iter().map(|task| task.held_out.len() as u64).sum()
    }
}

/// The stories of a task for training, and the others: one of `held_out`, or all if there is no such number.
fn parted(stories: Vec<Range<usize>>, place: &str, held_out: Option<usize>) -> Result<[Vec<Range<usize>>; 2], Error> {
    let (mut training, mut others) = (Vec::new(), Vec::new());
    let count = stories.len();
    for (number, story) in stories.into_iter().enumerate() {
        let part = match held_out {
            Some(every) if number % every != every - 1 => &mut training,
            _ => &mut others,
        };
        part.push(story);
    }
    if held_out.is_some() && others.is_empty() {
        let reason = format!("it has {count} stories; {HELD_OUT} at least were expected, one to hold out");
        return Err(Error::data(place, reason));
    }
    Ok([training, others])
}

impl Task for Stories {
    fn name(&self) -> &'static str {
        "babi"
    }

    fn channels(&self) -> Channels {
        let words = self.words.0.len();
        let input_size = if self.options.has_tokens() { self.sentence_size.max(1) } else { words };
        Channels { input_size, output_size: words, target_kind: TargetKind::Classes }
    }

    fn vocabulary_size(&self) -> usize {
        if self.options.has_tokens() { self.words.0.len() } else { 0 }
    }

    fn sentence_size(&self) -> usize {
        self.sentence_size
    }

    fn reproduces_inputs(&self) -> bool {
        self.options.reproduces_nothing().is_none()
    }

    fn reproduced<'a>(&self, input: &'a [f32]) -> Option<Target<'a>> {
        let word = match self.vocabulary_size() {
            0 => input.iter().position(|channel| *channel > 0.0)?,
            _ => input[0] as usize,
        };
        // Full stops are left out (ours), and what only asks for an answer.
        let left_out = self.words.0.get(word).is_none_or(|word| [".", MORE].contains(&word.as_str()));
        (!left_out).then_some(Target::Class(word))
    }

    fn channel_names(&self) -> ChannelNames {
        let words = || self.words.0.clone();
        let (inputs, tokens) = if self.options.has_tokens() {
            (names_of_words(self.sentence_size), words())
        } else {
            (words(), Vec::new())
        };
        ChannelNames { inputs, outputs: words(), tokens }
    }

    fn level_unit(&self) -> &'static str {
        "stories"
    }

    fn steps(&self, _: usize) -> usize {
        let stories = self.tasks.iter().flat_map(|task| task.training.iter().chain(&task.held_out));
        let more = self.words.get(MORE);
        let steps = |story: &Range<usize>| {
            let story = &self.steps[story.clone()];
            let asked = story.iter().filter(|step| step.answer.is_some() && Some(step.word) != more).count();
            // A question is a step of its own before its answer.
            let read = if self.sentence_size > 0 {
                story.iter().filter(|step| step.ends).count() + asked
            } else {
                story.len()
            };
            let told = story.iter().filter(|step| step.ends && step.answer.is_none()).count();
            read + self.options.think_steps * asked + self.options.pause_steps * told
        };
        stories.map(steps).max().unwrap_or(0)
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let Draw { stream, number, mut random, .. } = draw;
        let mut exchanged = Exchanged::default();
        let (task, story) = match stream {
            Stream::Evaluation => self.held_out(number),
            // Any few after each other are of all tasks. Which stories of them must not follow from the number: numbers of
            // evaluations may lie apart by what the held-out stories divide, and always the same few would come.
            Stream::Validation => {
                let task = (number % self.tasks.len() as u64) as usize;
                let stories = &self.tasks[task].held_out;
                let story = match number.checked_sub(Draw::IN_TURN) {
                    Some(number) => (number / self.tasks.len() as u64 % stories.len() as u64) as usize,
                    None => random.below(stories.len()),
                };
                (task, stories[story].clone())
            }
            _ => {
                let task = self.draw_task(&mut random);
                let OfTask { training, held_out, exchange, .. } = &self.tasks[task];
                // Who built the task to evaluate has no others.
                let stories = if training.is_empty() { held_out } else { training };
                let story = stories[random.below(stories.len())].clone();
                exchanged = exchange.draw(&mut random);
                (task, story)
            }
        };
        let Babi { think_steps, pause_steps, .. } = self.options;
        let (tokens, sentences) = (self.options.has_tokens(), self.sentence_size > 0);
        let more = self.words.get(MORE);
        let mut steps = self.steps[story].iter().map(move |step| exchanged.step(*step));
        let put = move |input: &mut [f32], word: u16| {
            if tokens {
                // What is left of a sentence.
                input.fill(PADDING);
                input[0] = f32::from(word);
            } else {
                input[usize::from(word)] = 1.0;
            }
        };
        Box::new(move |sequence| {
            let Some(mut step) = steps.next() else { return false };
            let goes_on = step.answer.is_some() && Some(step.word) == more;
            let mut word = step.word;
            if sentences && !goes_on {
                let input = sequence.step();
                input.fill(PADDING);
                for place in input {
                    *place = f32::from(step.word);
                    if step.ends {
                        break;
                    }
                    step = steps.next().unwrap_or(step);
                }
                word = more.unwrap_or(word);
            } else if step.answer.is_none() {
                put(sequence.step(), word);
                if step.asks {
                    sequence.set_question();
                }
            }
            let Some(answer) = step.answer else {
                for _ in 0..if step.ends { pause_steps } else { 0 } {
                    put(sequence.step(), more.unwrap_or(word));
                }
                return true;
            };
            for _ in 0..if goes_on { 0 } else { think_steps } {
                put(sequence.step(), word);
                sequence.set_question();
                word = more.unwrap_or(word);
            }
            put(sequence.step_with_class(usize::from(answer)), word);
            sequence.set_answer(task, goes_on);
            true
        })
    }

    fn categories(&self) -> Option<Categories> {
        let names = self.tasks.iter().map(|task| task.title.clone()).collect();
        Some(Categories { unit: "task", names, failed_above: Some(FAILED) })
    }

    fn evaluation_sequences(&self) -> Option<u64> {
        Some(self.held_out_stories())
    }

    fn kept(&self) -> Option<Value> {
        let mut kept = json!({ "words": self.words.0, "sha256": self.sum });
        if self.sentence_size > 0 {
            kept["sentence_size"] = self.sentence_size.into();
        }
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::data::archive::tests::write_zip;
    use crate::sequence::Sequence;

    /// A file of so many stories, each with two questions, the second with an answer of two words.
    fn file(task: usize, stories: usize) -> String {
        let story = |number: usize| {
            let (person, other) = (["Mary", "John"][number % 2], ["Sandra", "Bill"][number / 2 % 2]);
            format!(
                "1 {person} went to room{task}.\n2 Where is {person}? \troom{task}\t1\n3 {other} went there.\n\
                 4 Who is there?\t{person},{other}\t1 3\n"
            )
        };
        (0..stories).map(story).collect()
    }

    fn write_small(folder: &Path) -> Babi {
        let files = folder.join("tasks_1-20_v1-2/en-10k");
        fs::create_dir_all(&files).unwrap();
        for task in 1..=TASKS {
            fs::write(files.join(format!("qa{task}_some-thing_train.txt")), file(task, 9 + task)).unwrap();
        }
        Babi { data: folder.join("tasks_1-20_v1-2").display().to_string(), ..Babi::default() }
    }

    fn build(options: &Babi) -> Result<Box<dyn Task>, Error> {
        options.build(Given::default())
    }

    fn message<T>(result: Result<T, Error>) -> String {
        let error = result.err().unwrap();
        assert!(error.is_usage(), "{error:?}");
        error.to_string()
    }

    /// What goes in and what is wanted, as words.
    fn words(task: &dyn Task, sequence: &Sequence) -> String {
        let kept = task.kept().unwrap();
        let word = |number: usize| kept["words"][number].as_str().unwrap().to_owned();
        let steps = (0..sequence.steps()).map(|step| {
            let input = sequence.input(step);
            assert_eq!(input.iter().sum::<f32>(), 1.0);
            let input = word(input.iter().position(|channel| *channel == 1.0).unwrap());
            sequence.class(step).map_or(input.clone(), |class| format!("{input}={}", word(class)))
        });
        steps.collect::<Vec<_>>().join(" ")
    }

    fn generate(task: &dyn Task, stream: Stream, number: u64) -> Sequence {
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(1..=1), 1, stream, number), &mut sequence);
        assert!(sequence.steps() <= task.steps(1));
        sequence
    }

    #[test]
    fn stories_are_words_with_answers_at_question_marks() {
        let folder = tempfile::tempdir().unwrap();
        let task = build(&write_small(folder.path())).unwrap();
        let sequence = generate(&*task, Stream::Evaluation, 0);
        assert_eq!(
            words(&*task, &sequence),
            "john went to room1 . where is john ?=room1 sandra went there . who is there ?=john -=sandra"
        );
        let outputs = vec![0.0; task.output_size()];
        let scores: Vec<_> = (0..sequence.steps()).filter_map(|step| sequence.score(step, &outputs)).collect();
        assert_eq!(scores, [(1, 0, false), (1, 0, false), (1, 0, true)]);
        // room1 to room20; john, mary, bill, sandra, went, to, there, where, is, who, and . ? -
        assert_eq!(task.channels().input_size, 20 + 10 + 3);
        let names = task.categories().unwrap().names;
        assert_eq!((names.len(), &names[6][..]), (20, "7 some-thing"));
    }

    #[test]
    fn names_are_exchanged_in_training_and_answers_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        let plain = build(&options).unwrap();
        let exchanged = build(&Babi { exchange_names: true, ..options.clone() }).unwrap();
        let all = |task: &dyn Task, stream| -> Vec<String> {
            (0..200).map(|number| words(task, &generate(task, stream, number))).collect()
        };
        for stream in [Stream::Evaluation, Stream::Validation] {
            assert_eq!(all(&*exchanged, stream), all(&*plain, stream));
        }
        let (stories, before) = (all(&*exchanged, Stream::Training), all(&*plain, Stream::Training));
        let mut persons = BTreeSet::new();
        for (story, before) in stories.iter().zip(&before) {
            let at: Vec<&str> = story.split(' ').collect();
            // "... went to room . where is ... ?=room ... went there . who is there ?=... -=..."
            let (one, other) = (at[0], at[9]);
            assert_eq!((at[7], at[16], at[17]), (one, &format!("?={one}")[..], &format!("-={other}")[..]), "{story}");
            assert_eq!(at[8], format!("?={}", at[3]));
            // The same story of the same task.
            assert_eq!(at[3], before.split(' ').nth(3).unwrap());
            persons.extend([(one.to_owned(), other.to_owned())]);
        }
        // Of two names that a story has, each of four became each of the others.
        assert_eq!(persons.len(), 12, "{persons:?}");

        // A file of its own to be tested on has nothing that is exchanged, and is what it is without the option.
        let files = folder.path().join("tasks_1-20_v1-2/en-10k");
        fs::write(files.join("qa1_some-thing_test.txt"), file(1, 4)).unwrap();
        let kept = exchanged.kept();
        let tested = |exchange_names| {
            let options = Babi { exchange_names, ..options.clone() };
            let given = Given { kept: kept.as_ref(), evaluation_files: Some(&files), ..Given::default() };
            all(&*options.build(given).unwrap(), Stream::Evaluation)
        };
        assert_eq!(tested(true), tested(false));
        // Sentences are exchanged as their words are.
        let sentences = build(&Babi { exchange_names: true, sentences: true, ..options.clone() }).unwrap();
        let (mut whole, mut first) = (sentences.sequence(), BTreeSet::new());
        for number in 0..50 {
            whole.clear();
            sentences.generate(Draw::new(&(1..=1), 1, Stream::Training, number), &mut whole);
            let same = generate(&*exchanged, Stream::Training, number);
            let word = same.input(0).iter().position(|channel| *channel == 1.0).unwrap();
            assert_eq!(whole.input(0)[0] as usize, word);
            first.insert(word);
        }
        assert_eq!(first.len(), 4);

        let own = "1 Ann went to roomA.\n2 Where is Ann? \troomA\t1\n".repeat(10);
        fs::write(files.join("qa1_some-thing_train.txt"), own).unwrap();
        let error = message(build(&Babi { exchange_names: true, only: 1, ..options }));
        assert!(error.contains("exchange_names") && error.contains("none of the names"), "{error}");
    }

    #[test]
    fn sentences_may_be_followed_by_pauses() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        let paused = build(&Babi { pause_steps: 2, think_steps: 1, ..options.clone() }).unwrap();
        let sequence = generate(&*paused, Stream::Evaluation, 0);
        assert_eq!(
            words(&*paused, &sequence),
            "john went to room1 . - - where is john ? -=room1 sandra went there . - - who is there ? -=john -=sandra"
        );
        assert_eq!(paused.steps(1), build(&options).unwrap().steps(1) + 2 + 4);

        let sentences = build(&Babi { pause_steps: 2, sentences: true, ..options }).unwrap();
        let sequence = generate(&*sentences, Stream::Evaluation, 0);
        let kept = sentences.kept().unwrap();
        let more = kept["words"].as_array().unwrap().iter().position(|word| word == MORE).unwrap() as f32;
        let is_pause = |step: usize| sequence.input(step)[0] == more && sequence.input(step)[1] == PADDING;
        let pauses: Vec<usize> = (0..sequence.steps()).filter(|step| is_pause(*step)).collect();
        // After both sentences, and where answers are wanted.
        assert_eq!((sequence.steps(), &pauses[..]), (11, &[1, 2, 4, 6, 7, 9, 10][..]));
        assert_eq!(sentences.steps(1), sequence.steps());
    }

    #[test]
    fn tasks_may_be_drawn_by_their_questions() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        // Task 3 asks eight questions in a story, all others two.
        let more = "3 Who is there?\tMary\t1\n4 Who is there?\tMary\t1\n5 Who is there?\tMary\t1\n\
                    6 Who is there?\tMary\t1\n7 Who is there?\tMary,John\t1\n8 Who is there?\tMary\t1\n";
        let story = format!("1 Mary went to room3.\n2 Where is Mary?\troom3\t1\n{more}9 Who is there?\tMary\t1\n");
        let file = folder.path().join("tasks_1-20_v1-2/en-10k/qa3_some-thing_train.txt");
        fs::write(file, story.repeat(10)).unwrap();
        let drawn = |even_questions, count: u64| {
            let task = build(&Babi { even_questions, ..options.clone() }).unwrap();
            let asked = |number| words(&*task, &generate(&*task, Stream::Training, number)).matches("?=").count();
            (0..count).filter(|number| asked(*number) == 8).count()
        };
        // One of 20, and one of 1 + 19 · 4.
        let (alike, even) = (drawn(false, 4000), drawn(true, 4000));
        assert!((160..240).contains(&alike) && (30..75).contains(&even), "{alike} {even}");
    }

    #[test]
    fn words_may_be_tokens_and_answers_wait() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        let plain = build(&options).unwrap();
        let task = build(&Babi { think_steps: 2, ..options.clone() }).unwrap();
        let sequence = generate(&*task, Stream::Evaluation, 0);
        assert_eq!(
            words(&*task, &sequence),
            "john went to room1 . where is john ? - -=room1 sandra went there . who is there ? - -=john -=sandra"
        );
        assert_eq!(task.steps(1), plain.steps(1) + 4);
        let outputs = vec![0.0; task.output_size()];
        let scores: Vec<_> = (0..sequence.steps()).filter_map(|step| sequence.score(step, &outputs)).collect();
        assert_eq!(scores, [(1, 0, false), (1, 0, false), (1, 0, true)]);

        let tokens = build(&Babi { embedding: true, ..options }).unwrap();
        assert_eq!((tokens.input_size(), tokens.vocabulary_size()), (1, plain.input_size()));
        assert_eq!((tokens.output_size(), plain.vocabulary_size()), (plain.output_size(), 0));
        let (one_hot, token) = (generate(&*plain, Stream::Evaluation, 3), generate(&*tokens, Stream::Evaluation, 3));
        assert_eq!(one_hot.steps(), token.steps());
        for step in 0..token.steps() {
            assert_eq!(one_hot.input(step)[token.input(step)[0] as usize], 1.0);
            assert_eq!(one_hot.class(step), token.class(step));
        }
    }

    /// What goes in and what is wanted, as words, where a step reads a sentence.
    fn sentences(task: &dyn Task, sequence: &Sequence) -> Vec<String> {
        let kept = task.kept().unwrap();
        let word = |number: usize| kept["words"][number].as_str().unwrap().to_owned();
        let steps = (0..sequence.steps()).map(|step| {
            let there = sequence.input(step).iter().take_while(|token| **token != PADDING);
            let read: Vec<_> = there.map(|token| word(*token as usize)).collect();
            assert!(sequence.input(step)[read.len()..].iter().all(|token| *token == PADDING));
            sequence.class(step).map_or(read.join(" "), |class| format!("{}={}", read.join(" "), word(class)))
        });
        steps.collect()
    }

    #[test]
    fn a_step_may_read_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        let task = build(&Babi { sentences: true, ..options.clone() }).unwrap();
        assert_eq!((task.sentence_size(), task.input_size(), task.vocabulary_size()), (5, 5, 33));
        assert_eq!(task.channel_names().inputs, ["word 1", "word 2", "word 3", "word 4", "word 5"]);
        assert_eq!(task.channel_names().tokens, task.channel_names().outputs);
        let sequence = generate(&*task, Stream::Evaluation, 0);
        assert_eq!(sequence.steps(), task.steps(1));
        assert_eq!(
            sentences(&*task, &sequence),
            [
                "john went to room1 .",
                "where is john ?",
                "-=room1",
                "sandra went there .",
                "who is there ?",
                "-=john",
                "-=sandra"
            ]
        );
        // What counts as an answer is what counts word by word.
        let outputs = vec![0.0; task.output_size()];
        let scores: Vec<_> = (0..sequence.steps()).filter_map(|step| sequence.score(step, &outputs)).collect();
        assert_eq!(scores, [(1, 0, false), (1, 0, false), (1, 0, true)]);

        let waits = build(&Babi { sentences: true, think_steps: 2, ..options.clone() }).unwrap();
        let sequence = generate(&*waits, Stream::Evaluation, 0);
        assert_eq!(sequence.steps(), waits.steps(1));
        assert_eq!(sentences(&*waits, &sequence)[1..5], ["where is john ?", "-", "-", "-=room1"]);

        // The stories are the same ones, and so are the answers.
        let plain = build(&options).unwrap();
        for stream in [Stream::Training, Stream::Validation, Stream::Evaluation] {
            let (one, other) = (generate(&*plain, stream, 7), generate(&*task, stream, 7));
            let classes =
                |sequence: &Sequence| (0..sequence.steps()).filter_map(|step| sequence.class(step)).collect::<Vec<_>>();
            assert_eq!(classes(&one), classes(&other));
        }
    }

    #[test]
    fn sentences_of_other_files_are_no_longer_than_the_network_reads() {
        let folder = tempfile::tempdir().unwrap();
        let options = Babi { sentences: true, ..write_small(folder.path()) };
        let kept = build(&options).unwrap().kept().unwrap();
        let files = folder.path().join("tests");
        fs::create_dir(&files).unwrap();
        let tests = files.join("qa7_counting_test.txt");
        let evaluate =
            |kept| options.build(Given { kept: Some(kept), evaluation_files: Some(&files), ..Given::default() });
        fs::write(&tests, "1 Mary is there.\n2 Who is there?\tmary\n").unwrap();
        assert_eq!(evaluate(&kept).unwrap().sentence_size(), 5);
        fs::write(&tests, "1 Mary is there.\n2 Who is there?\tmary\n1 Mary is there and there.\n2 Who?\tmary\n")
            .unwrap();
        let short = json!({"words": ["-", ".", "?", "and", "is", "mary", "there", "who"], "sentence_size": 5});
        let words_alone = json!({ "words": short["words"] });
        let longer = message(evaluate(&short));
        let expected = "qa7_counting_test.txt: line 3: the sentence has 6 words and marks, and the network reads 5 at once, no more";
        assert!(longer.ends_with(expected), "{longer}");
        // A question is a sentence as well.
        fs::write(&tests, "1 Mary is there.\n2 Who is there and there?\tmary\n").unwrap();
        let longer = message(evaluate(&short));
        assert!(longer.contains("line 2: the sentence has 6 words and marks"), "{longer}");
        assert!(message(evaluate(&words_alone)).contains("restore task.json"));
    }

    #[test]
    fn words_that_tell_something_can_be_reproduced() {
        let folder = tempfile::tempdir().unwrap();
        let options = Babi { think_steps: 1, ..write_small(folder.path()) };
        for embedding in [false, true] {
            let task = build(&Babi { embedding, ..options.clone() }).unwrap();
            assert!(task.reproduces_inputs());
            let (kept, sequence) = (task.kept().unwrap(), generate(&*task, Stream::Evaluation, 0));
            let reproduced = |step: &usize| !sequence.is_question(*step) && sequence.class(*step).is_none();
            let words = (0..sequence.steps()).filter(reproduced).filter_map(|step| {
                match task.reproduced(sequence.input(step))? {
                    crate::sequence::Target::Class(word) => kept["words"][word].as_str(),
                    _ => None,
                }
            });
            assert_eq!(words.collect::<Vec<_>>().join(" "), "john went to room1 sandra went there");
        }
        assert!(!build(&Babi { sentences: true, ..options }).unwrap().reproduces_inputs());
    }

    #[test]
    fn a_tenth_is_held_out_whatever_the_seed() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        // Every story is of words of its own, so that it can be told where it came from.
        let files = folder.path().join("tasks_1-20_v1-2/en-10k");
        for task in 1..=TASKS {
            let stories = (0..10 * task).map(|story| format!("1 w{task}x{story}?\tyes\n"));
            fs::write(files.join(format!("qa{task}_some-thing_train.txt")), stories.collect::<String>()).unwrap();
        }
        let task = build(&options).unwrap();
        let story = |stream, number| {
            let text = words(&*task, &generate(&*task, stream, number));
            let (of_task, story) = text.split(' ').next().unwrap()[1..].split_once('x').unwrap();
            (of_task.parse::<usize>().unwrap(), story.parse::<usize>().unwrap())
        };
        let mut tasks = [0; TASKS + 1];
        for number in 0..4000 {
            let (of_task, story) = story(Stream::Training, number);
            assert_ne!(story % 10, 9);
            tasks[of_task] += 1;
        }
        assert!(tasks[1..].iter().all(|count| (140..270).contains(count)), "{tasks:?}");
        // An evaluation has all of them once.
        let count = task.evaluation_sequences().unwrap();
        assert_eq!(count, (1..=20).sum::<u64>());
        let all: BTreeSet<_> = (0..count).map(|number| story(Stream::Evaluation, number)).collect();
        assert!(all.len() as u64 == count && all.iter().all(|(_, story)| story % 10 == 9));
        assert_eq!(story(Stream::Evaluation, count), story(Stream::Evaluation, 0));
        // Any twenty during training are of all tasks.
        let some: BTreeSet<_> = (4007..4027).map(|number| story(Stream::Validation, number)).collect();
        assert!(some.iter().map(|(task, _)| task).eq(&(1..=20).collect::<Vec<_>>()));
        assert!(some.iter().all(|(_, story)| story % 10 == 9));
        // Those in turn as well, and none of a task comes again before all of it were there.
        let in_turn =
            |numbers: std::ops::Range<u64>| numbers.map(|number| story(Stream::Validation, Draw::IN_TURN + number));
        assert!(in_turn(0..20).map(|(task, _)| task).collect::<BTreeSet<_>>().len() == 20);
        assert_eq!(in_turn(0..400).collect::<BTreeSet<_>>(), all);
        // A hundred every 500 batches of 8 are all that there are in the end.
        let numbers = (0..50).flat_map(|evaluation| (0..100).map(move |number| 4000 * evaluation + number));
        assert_eq!(numbers.map(|number| story(Stream::Validation, number)).collect::<BTreeSet<_>>(), all);
    }

    #[test]
    fn malformed_files_are_named_with_what_was_expected() {
        for (text, expected) in [
            ("", "it is empty"),
            ("Mary went.\n", "line 1: a number, a space and a sentence were expected, not \"Mary went.\""),
            ("1\n", "line 1: a number, a space"),
            ("2 Mary went.\n", "line 1: its number is 2 where 1 was expected"),
            ("1 Is it?\tyes\n3 So.\n", "line 2: its number is 3 where 2 or, for the next story, 1 was expected"),
            ("1 Is it?\tyes\n\n2Is it?\tyes\n", "line 3: a number"),
            ("1  \n", "line 1: a sentence was expected"),
            ("1 Mary went.\n1 Is it?\tyes\n", "the story that starts on line 1 has no question"),
            ("1 Is it?\tyes\n1 Mary went.\n", "the story that starts on line 2 has no question"),
            ("1 Is it.\tyes\n", "line 1: a question mark was expected before the answer, not \"Is it.\""),
            ("1 Is it?\t\t3\n", "line 1: an answer of words with commas between them was expected"),
            ("1 Is it?\tyes,,no\t3\n", "line 1: an answer of words"),
        ] {
            let found = message(parse("a.txt", text.as_bytes(), None, &mut Words::new(), &mut Vec::new()));
            assert!(found.starts_with("a.txt: ") && found.contains(expected), "{text:?} gave {found}");
        }
        let read = |bytes: &[u8]| parse("a.txt", bytes, None, &mut Words::new(), &mut Vec::new());
        assert!(message(read(b"1 Is it?\tyes\n1 \xff")).contains("line 2 is not text in UTF-8"));
        let wide: Vec<u8> = "\u{feff}1 Is it?\tyes\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(message(read(&wide)).contains("UTF-16"), "{}", message(read(&wide)));
        assert!(message(read(b"\x1f\x8b\x08\0")).contains("gzip"));
    }

    #[test]
    fn empty_lines_and_byte_order_marks_are_passed_over() {
        let of = |text: &str| {
            let (mut words, mut steps) = (Words::new(), Vec::new());
            let stories = parse("a.txt", text.as_bytes(), None, &mut words, &mut steps).unwrap();
            let steps: Vec<_> = steps.iter().map(|step| words.word(step.word).to_owned()).collect();
            (stories, steps)
        };
        let plain = of("1 A went.\n2 Who?\ta\n1 B went.\n2 Who?\tb\n");
        assert_eq!((plain.0.len(), plain.1.len()), (2, 10));
        for text in [
            "1 A went.\n2 Who?\ta\n\n1 B went.\n2 Who?\tb\n\n \n",
            "\u{feff}1 A went.\r\n2 Who?\ta\r\n\r\n1 B went.\r\n2 Who?\tb",
            "\n1 A went.\n\n2 Who?\ta\n1 B went.\n2 Who?\tb\n",
        ] {
            assert_eq!(of(text), plain, "{text:?}");
        }
    }

    #[test]
    fn every_subset_of_the_official_archive_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join(ARCHIVE);
        let texts: Vec<String> = (1..=TASKS).map(|task| file(task, 10)).collect();
        let mut files = vec![("tasks_1-20_v1-2/README.txt".to_owned(), "Tasks")];
        for subset in SUBSETS {
            for (task, text) in (1..).zip(&texts) {
                let in_subset = |file: String| format!("tasks_1-20_v1-2/{subset}/{file}");
                if subset.contains("valid") {
                    let parts = ["train", "valid", "test"].map(|part| in_subset(format!("qa{task}_{part}.txt")));
                    files.extend(parts.map(|name| (name, &text[..])));
                } else {
                    let parts = ["train", "test"].map(|part| in_subset(format!("qa{task}_a-title_{part}.txt")));
                    files.extend(parts.map(|name| (name, &text[..])));
                }
                // What macOS leaves beside each file on drives of others.
                files.push((in_subset(format!("._qa{task}_a-title_train.txt")), "\0\x05\x16\x07"));
            }
        }
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (&name[..], text.as_bytes())).collect();
        // Names longer than the oldest headers hold are not needed here.
        crate::data::archive::tests::write_tar_gz(&archive, &files);
        for subset in SUBSETS {
            let options = Babi { data: archive.display().to_string(), subset: subset.into(), ..Babi::default() };
            let task = build(&options).unwrap();
            // A tenth of the stories, or all of the files for validation.
            let held_out = if subset.contains("valid") { 200 } else { 20 };
            assert_eq!(task.evaluation_sequences(), Some(held_out), "{subset}");
            let name = if subset.contains("valid") { "7" } else { "7 a-title" };
            assert_eq!(task.categories().unwrap().names[6], name);
            let kept = task.kept();
            let tests = Given { kept: kept.as_ref(), evaluation_files: Some(&archive), ..Given::default() };
            assert_eq!(options.build(tests).unwrap().evaluation_sequences(), Some(200), "{subset}");
        }
        let told = contents(&archive).unwrap();
        assert_eq!(told.matches("200 stories of 20 tasks in ").count(), SUBSETS.len(), "{told}");
    }

    #[test]
    fn missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        let files = folder.path().join("tasks_1-20_v1-2/en-10k");
        // The folder of the files, the one above it, and the one above that are all understood.
        let here = Babi { data: files.display().to_string(), ..options.clone() };
        let above = Babi { data: folder.path().display().to_string(), ..options.clone() };
        assert!([&here, &above].into_iter().all(|options| build(options).is_ok()));
        let english = Babi { subset: "en".into(), ..options.clone() };
        assert!(message(build(&english)).contains("it holds no en/qa1_*_train.txt; name tasks_1-20_v1-2.tar.gz"));
        fs::write(files.join("qa4_twin_train.txt"), file(4, 10)).unwrap();
        assert!(message(build(&options)).contains("task 4 is there twice"));
        fs::remove_file(files.join("qa4_twin_train.txt")).unwrap();
        fs::write(files.join("qa3_some-thing_train.txt"), file(3, 9)).unwrap();
        let short = message(build(&options));
        assert!(short.contains("qa3_some-thing_train.txt: it has 9 stories; 10 at least"), "{short}");
        fs::remove_file(files.join("qa3_some-thing_train.txt")).unwrap();
        assert!(message(build(&options)).contains("it lacks en-10k/qa3_*_train.txt"));
        assert_eq!(build(&Babi { only: 5, ..options.clone() }).unwrap().categories().unwrap().names, ["5 some-thing"]);
        let nowhere = Babi { data: folder.path().join("none").display().to_string(), ..options.clone() };
        assert!(message(build(&nowhere)).contains("none: there is no such file or folder"));
        assert!(message(Babi { only: 21, ..options.clone() }.check()).starts_with("only = 21"));
        assert!(message(Babi { subset: "../en".into(), ..options }.check()).starts_with("subset = "));
    }

    #[test]
    fn data_sets_lie_side_by_side_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        write_small(folder.path());
        let other = folder.path().join("images_background");
        fs::create_dir(&other).unwrap();
        (0..LIMITS.entries).for_each(|number| fs::write(other.join(number.to_string()), "").unwrap());
        let options = Babi { data: folder.path().display().to_string(), ..Babi::default() };
        assert!(build(&options).is_ok());
        fs::rename(folder.path().join("tasks_1-20_v1-2/en-10k"), folder.path().join("en-10k")).unwrap();
        assert!(build(&options).is_ok());
    }

    #[test]
    fn test_files_may_lie_in_any_folder() {
        let folder = tempfile::tempdir().unwrap();
        let kept = build(&write_small(folder.path())).unwrap().kept().unwrap();
        let evaluate = |path: &Path| {
            Babi::default().build(Given { kept: Some(&kept), evaluation_files: Some(path), ..Given::default() })
        };
        let text = file(7, 3);
        let archive = folder.path().join("tests.zip");
        for name in ["qa7_counting_test.txt", "mine/qa7_counting_test.txt", "mine/en-10k/qa7_counting_test.txt"] {
            write_zip(&archive, &[(name, text.as_bytes())]);
            assert_eq!(evaluate(&archive).unwrap().evaluation_sequences(), Some(3), "{name}");
            let path = folder.path().join("tests").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &text).unwrap();
            assert_eq!(evaluate(&folder.path().join("tests")).unwrap().evaluation_sequences(), Some(3), "{name}");
            fs::remove_dir_all(folder.path().join("tests")).unwrap();
        }
        // Those of the subset go before others.
        let (ours, others) = (text.as_bytes(), file(7, 1));
        write_zip(&archive, &[("en/qa7_a_test.txt", others.as_bytes()), ("en-10k/qa7_a_test.txt", ours)]);
        assert_eq!(evaluate(&archive).unwrap().evaluation_sequences(), Some(3));
        write_zip(&archive, &[("en/qa7_a_test.txt", ours), ("hn/qa7_a_test.txt", ours)]);
        assert!(message(evaluate(&archive)).contains("task 7 is there twice"));
    }

    #[test]
    fn test_files_are_checked_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        let data = Path::new(&options.data);
        assert!(contents(data).unwrap().ends_with("390 stories of 20 tasks in en-10k, and test files of 0"));
        fs::write(data.join("en-10k/qa7_some-thing_test.txt"), file(7, 3)).unwrap();
        assert!(contents(data).unwrap().ends_with("and test files of 1"));
        fs::write(data.join("en-10k/qa7_some-thing_test.txt"), "rubbish").unwrap();
        assert!(message(contents(data)).contains("qa7_some-thing_test.txt: line 1: a number"));
    }

    #[test]
    fn other_files_are_evaluated_in_the_words_of_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_small(folder.path());
        let kept = build(&options).unwrap().kept().unwrap();
        let tests = folder.path().join("tests");
        fs::create_dir(&tests).unwrap();
        let evaluate =
            |kept| options.build(Given { kept: Some(kept), evaluation_files: Some(&tests), ..Given::default() });
        assert!(message(evaluate(&kept)).contains("it holds no en-10k/qa1_*_test.txt"));
        fs::write(tests.join("qa7_counting_test.txt"), file(7, 3)).unwrap();
        // The training data are not asked for.
        fs::remove_dir_all(folder.path().join("tasks_1-20_v1-2")).unwrap();
        let task = evaluate(&kept).unwrap();
        assert_eq!((task.evaluation_sequences(), task.channels().input_size), (Some(3), 33));
        assert_eq!(task.categories().unwrap().names, ["7 counting"]);
        assert!(words(&*task, &generate(&*task, Stream::Evaluation, 2)).starts_with("mary went to room7"));
        // They are all that there is, whatever they are to be for.
        for stream in [Stream::Training, Stream::Validation, Stream::Evaluation] {
            assert!(generate(&*task, stream, 5).steps() > 0);
        }
        fs::write(tests.join("qa7_counting_test.txt"), file(7, 1) + "1 Is it?\tzebra\n").unwrap();
        let unknown = message(evaluate(&kept));
        assert!(
            unknown.contains("qa7_counting_test.txt: line 5: the network does not know the word \"it\""),
            "{unknown}"
        );
        assert!(message(evaluate(&json!({"words": ["b", "a"]}))).contains("restore task.json"));
    }

    #[test]
    fn the_official_archive_is_read() {
        let Some(data) = std::env::var_os("SPARSAM_DATA") else {
            eprintln!("skipped: SPARSAM_DATA names no folder with the real data");
            return;
        };
        let options = Babi { data: Path::new(&data).display().to_string(), ..Babi::default() };
        let task = build(&options).unwrap();
        let categories = task.categories().unwrap();
        assert_eq!((categories.names.len(), &categories.names[18][..]), (20, "19 path-finding"));
        // The words of the files and the one for more.
        assert_eq!(task.channels().input_size, 159);
        // What docs/training.md says of the lengths of stories: the mean of the tasks' means.
        let sentences = build(&Babi { sentences: true, ..options.clone() }).unwrap();
        let mean_steps = |task: &dyn Task| {
            let mut steps = [(0, 0); TASKS];
            for number in 0..task.evaluation_sequences().unwrap() {
                let sequence = generate(task, Stream::Evaluation, number);
                let step = (0..sequence.steps()).find(|step| sequence.class(*step).is_some()).unwrap();
                let (_, of_task, _) = sequence.score(step, &vec![0.0; task.output_size()]).unwrap();
                steps[of_task] = (steps[of_task].0 + sequence.steps(), steps[of_task].1 + 1);
            }
            steps.map(|(steps, stories)| steps as f64 / f64::from(stories)).iter().sum::<f64>() / TASKS as f64
        };
        let (of_words, of_sentences) = (mean_steps(&*task), mean_steps(&*sentences));
        println!("{of_words:.1} words and {of_sentences:.1} sentences, {:.2} to one", of_words / of_sentences);
        assert!((4.5..5.5).contains(&(of_words / of_sentences)), "{of_words} {of_sentences}");
        assert_eq!(
            words(&*task, &generate(&*task, Stream::Evaluation, 0)).split(" where ").next(),
            Some("sandra went to the garden . sandra journeyed to the bedroom .")
        );
    }
}
