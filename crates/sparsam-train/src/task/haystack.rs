use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparsam::network::PADDING;
use sparsam::option::{Declared, Kind, OptionValue, Value as Told};

use super::babi::{self, Babi};
use super::exchange::{Exchange, Exchanged};
use super::text::{self, Tokens};
use super::{Categories, ChannelNames, Channels, Draw, Given, Options, Source, Task};
use crate::data::sums::ContentSum;
use crate::sequence::{Sequence, TargetKind};
use crate::{Error, Stream};

sparsam::options! {
    /// Stories of bAbI in a haystack (BABILong, Kuratov et al. 2024): the sentences of a story, in their order, scattered over the
    /// sentences of a book, which says nothing about them, and at the end a question.
    ///
    /// A level is the number of words, punctuation marks counted as words. The book's sentences follow each other from a random place
    /// on, and from another one where the book ends. A story's sentences come at random places between them, and the question is the end.
    ///
    /// Inputs are tokens: one for each word of the stories, one for each of the commonest words of the book, and a few hundred for all
    /// others, which share them by a hash. All words are in lower case. The output is an answer at a question mark, one class for each
    /// word of the stories. Where an answer has several words, the others are wanted at the steps that follow. With
    /// [`sentences`](Self::sentences) a whole sentence comes in at a time.
    ///
    /// Of every file's stories each tenth is held out and never trained on, and so is the last tenth of the book, unless there is
    /// a book for [validation](Self::validation). An evaluation on a file of its own takes that book, and the stories held out.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Haystack {
        /// The folder of the official archives.
        ///
        /// The official archive, the folder that it unpacks to, or the folder that either lies in.
        pub data: String = "data".into();
        /// The folder of its files: en-10k or en.
        pub subset: String = "en-10k".into();
        /// The tasks whose stories there are, such as 1,2,4,5.
        pub tasks: String = "1,2,3,4,5".into();
        /// The file of text that stories are scattered over, as it is or compressed with gzip.
        pub background: String = String::new();
        /// Another book to evaluate on during training, instead of the last tenth of the background.
        pub validation: String = String::new();
        /// Words in the shortest sequence; a longer story has as many as it takes.
        pub min_words: usize = 8, in 1..=1 << 30;
        /// Words in the longest sequence.
        ///
        /// In training the logarithm of the length is drawn evenly between the two.
        pub max_words: usize = 1024, in 1..=1 << 30;
        /// Where questions stand in training.
        ///
        /// At the end: one of a story's questions, after the sentences before it. Along the way: all questions of a story, in its order,
        /// the last at the end. Evaluations ask one question, at the end.
        pub questions: Questions = Questions::Along;
        /// Tokens for the commonest words of the background, beside those of the stories.
        pub common_words: usize = 1000, in 0..=1 << 20;
        /// Tokens that all other words share.
        pub hashed_words: usize = 256, in 1..=1 << 20;
        /// Give a whole sentence at a step, its words as tokens weighted by position (Sukhbaatar et al. 2015, section 4.1).
        ///
        /// As babi does it: the answer is wanted at the step after the question. A sentence of the book that is longer than
        /// any of the stories comes in pieces as long as that.
        pub sentences: bool = false;
        /// In training, exchange names in every story: persons, places, things, directions (ours).
        ///
        /// As babi does it, and not in the book.
        pub exchange_names: bool = false;
    }
}

/// Where questions stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Questions {
    /// All of a story, among its sentences.
    #[default]
    Along,
    /// One, at the end.
    End,
}

impl Questions {
    /// The names of all choices.
    pub const NAMES: &[&str] = &["along", "end"];

    fn name(self) -> &'static str {
        match self {
            Self::Along => "along",
            Self::End => "end",
        }
    }
}

impl OptionValue for Questions {
    const KIND: Kind = Kind::Word(Self::NAMES);

    fn to_value(&self) -> Told {
        Told::Text(self.name().to_owned())
    }

    fn from_value(value: &Told) -> Option<Self> {
        let Told::Text(name) = value else { return None };
        [Self::Along, Self::End].into_iter().find(|questions| questions.name() == name)
    }
}

impl Haystack {
    /// The numbers of the tasks.
    fn task_numbers(&self) -> Result<Vec<usize>, Error> {
        let numbers: Option<Vec<usize>> = self.tasks.split(',').map(|task| task.trim().parse().ok()).collect();
        numbers.filter(|numbers| numbers.iter().all(|task| (1..=babi::TASKS).contains(task))).ok_or_else(|| {
            Error::option("tasks", format!("{:?}", self.tasks), "it is a list of tasks from 1 to 20, such as 1,2,4,5")
        })
    }

    fn babi(&self) -> Babi {
        Babi { data: self.data.clone(), subset: self.subset.clone(), ..Babi::default() }
    }
}

impl Options for Haystack {
    fn batches(&self) -> u64 {
        50_000
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn reproduces_nothing(&self) -> Option<&'static str> {
        Some("outputs are words of the stories, and most inputs are words of the book; leave it at 0")
    }

    fn check(&self) -> Result<(), Error> {
        self.check_options()?;
        self.babi().check()?;
        super::check_option("max_words", self.max_words, self.min_words..=MOST_WORDS)?;
        self.task_numbers().map(|_| ())
    }

    fn build(&self, given: Given<'_>) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        let kept = given.kept.map(|kept| Vocabulary::kept(kept, self.hashed_words)).transpose()?;
        let mut sum = ContentSum::default();
        let (stories, words, steps) = self.stories(given, kept.as_ref(), &mut sum)?;
        let sentence_size = match given.kept {
            _ if !self.sentences => 0,
            Some(kept) => babi::kept_sentence_size(kept)?,
            None => babi::longest_sentence(&steps),
        };
        let path = match given.evaluation_files {
            Some(book) => book.to_owned(),
            None if self.background.is_empty() => {
                let reason = "it names the file of text that stories are scattered over";
                return Err(Error::option("background", "\"\"", reason));
            }
            None => given.place_of_data(&self.background)?,
        };
        let text = text::read(&path)?;
        sum.add(text.as_bytes());
        let (training, held_out, vocabulary) = if given.evaluation_files.is_some() {
            let vocabulary = kept.ok_or_else(unreadable)?;
            let book = Book::read(&text, &vocabulary);
            (book.clone(), book, vocabulary)
        } else {
            let (trained_on, others) = if self.validation.is_empty() {
                let (trained_on, others) = text::held_out(&text);
                (trained_on, others.to_owned())
            } else {
                let others = text::read(&given.place_of_data(&self.validation)?)?;
                sum.add(others.as_bytes());
                (&text[..], others)
            };
            // What is known does not depend on what is held out.
            let vocabulary = kept.unwrap_or_else(|| Vocabulary::of(words, trained_on, self));
            (Book::read(trained_on, &vocabulary), Book::read(&others, &vocabulary), vocabulary)
        };
        for book in [&training, &held_out] {
            if book.sentences() == 0 {
                return Err(Error::data(path.display(), "it has no words in one of its parts; name a longer text"));
            }
        }
        let (options, sum) = (self.clone(), sum.finish());
        Ok(Box::new(Scattered { options, vocabulary, stories, steps, sentence_size, training, held_out, sum }))
    }
}

/// Words in a sequence, at most.
const MOST_WORDS: usize = 1 << 30;

fn unreadable() -> Error {
    Error::data("the vocabulary of the run", "it cannot be read; restore task.json")
}

impl Haystack {
    /// The stories of the tasks, their words and their time steps.
    fn stories(
        &self,
        given: Given<'_>,
        kept: Option<&Vocabulary>,
        sum: &mut ContentSum,
    ) -> Result<(Vec<OfTask>, babi::Vocabulary, Vec<babi::Step>), Error> {
        let (tasks, babi, path) = (self.task_numbers()?, self.babi(), &given.place_of_data(&self.data)?);
        let files = babi.find(path, "train", false)?;
        if let Some(task) = tasks.iter().find(|task| files.iter().all(|(name, _)| name.task != **task)) {
            return Err(babi.lacks(path, "train", *task, files.is_empty()));
        }
        let mut words = match kept {
            Some(kept) => babi::Words::of(&kept.stories),
            None => babi::Words::new(),
        };
        let (mut steps, mut read) = (Vec::new(), Vec::new());
        for (name, entry) in files.into_iter().filter(|(name, _)| tasks.contains(&name.task)) {
            let stories = babi::parse(&entry.place, &entry.bytes, None, &mut words, &mut steps)?;
            let (count, expected) = (stories.len(), babi::HELD_OUT);
            if count < expected {
                let reason = format!("it has {count} stories; {expected} at least were expected, one to hold out");
                return Err(Error::data(&entry.place, reason));
            }
            sum.add(&entry.bytes);
            read.push((name, stories));
        }
        let (words, places) = words.in_order();
        for step in &mut steps {
            step.word = places[usize::from(step.word)];
            step.answer = step.answer.map(|answer| places[usize::from(answer)]);
        }
        let marks = Marks { full_stop: words.get("."), more: words.get(babi::MORE) };
        let of_task = |(name, stories): (babi::Name, Vec<Range<usize>>)| {
            let (training, held_out, exchange) = (Vec::new(), Vec::new(), Exchange::default());
            let mut of_task = OfTask { title: name.title(), training, held_out, exchange };
            for (number, story) in stories.into_iter().enumerate() {
                let held_out = number % babi::HELD_OUT == babi::HELD_OUT - 1;
                let part = if held_out { &mut of_task.held_out } else { &mut of_task.training };
                part.push(marks.sentences(story, &steps));
            }
            if self.exchange_names {
                let sentences = of_task.training.iter().flatten();
                let trained_on = sentences.flat_map(|sentence| &steps[sentence.steps.clone()]);
                of_task.exchange = Exchange::of(name.task, &words, trained_on);
            }
            of_task
        };
        let tasks: Vec<OfTask> = read.into_iter().map(of_task).collect();
        if self.exchange_names && tasks.iter().all(|task| task.exchange.is_empty()) {
            return Err(babi::no_names());
        }
        Ok((tasks, words, steps))
    }
}

/// A sentence of a story, and whether it is a question.
#[derive(Clone, Debug, PartialEq)]
struct Sentence {
    steps: Range<usize>,
    asks: bool,
}

/// The words at which sentences end and answers go on.
#[derive(Clone, Copy)]
struct Marks {
    full_stop: Option<u16>,
    more: Option<u16>,
}

impl Marks {
    /// The sentences of a story.
    fn sentences(self, story: Range<usize>, steps: &[babi::Step]) -> Vec<Sentence> {
        let mut sentences = Vec::new();
        let mut start = story.start;
        for place in story.clone() {
            let goes_on = |step: &babi::Step| step.answer.is_some() && Some(step.word) == self.more;
            let asks = steps[place].answer.is_some();
            let ends = if asks {
                !steps[place + 1..story.end].first().is_some_and(goes_on)
            } else {
                Some(steps[place].word) == self.full_stop
            };
            if ends || place + 1 == story.end {
                sentences.push(Sentence { steps: start..place + 1, asks });
                start = place + 1;
            }
        }
        sentences
    }
}

/// The stories of a task, each by its sentences.
#[derive(Debug)]
struct OfTask {
    title: String,
    training: Vec<Vec<Sentence>>,
    held_out: Vec<Vec<Sentence>>,
    exchange: Exchange,
}

/// The tokens: words of the stories, then the commonest of the background, then those that all other words share.
#[derive(Clone, Debug)]
struct Vocabulary {
    stories: babi::Vocabulary,
    common: Vec<String>,
    numbers: HashMap<String, u32>,
    hashed_words: usize,
}

impl Vocabulary {
    fn new(stories: babi::Vocabulary, common: Vec<String>, hashed_words: usize) -> Self {
        let numbers = stories.0.iter().chain(&common).zip(0..).map(|(word, number)| (word.clone(), number)).collect();
        Self { stories, common, numbers, hashed_words }
    }

    /// Of stories in these words and a background.
    fn of(stories: babi::Vocabulary, background: &str, options: &Haystack) -> Self {
        let mut counts: HashMap<String, u64> = HashMap::new();
        Tokens::Words.cut(background, |word| *counts.entry(word.to_lowercase()).or_default() += 1);
        counts.retain(|word, _| stories.get(word).is_none());
        let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let common = counts.into_iter().take(options.common_words).map(|(word, _)| word).collect();
        Self::new(stories, common, options.hashed_words)
    }

    /// The one that a run keeps.
    fn kept(kept: &Value, hashed_words: usize) -> Result<Self, Error> {
        let common = kept.get("common").and_then(|words| Vec::<String>::deserialize(words).ok());
        Ok(Self::new(babi::Vocabulary::kept(kept)?, common.ok_or_else(unreadable)?, hashed_words))
    }

    fn size(&self) -> usize {
        self.stories.0.len() + self.common.len() + self.hashed_words
    }

    /// The token of a word.
    fn number(&self, word: &str) -> u32 {
        let word = word.to_lowercase();
        self.numbers.get(&word).copied().unwrap_or_else(|| {
            // FNV-1a (Fowler, Noll and Vo), which is the same everywhere.
            let hash = word
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            let known = self.stories.0.len() + self.common.len();
            (known + (hash % self.hashed_words as u64) as usize) as u32
        })
    }
}

/// A text as tokens, cut into sentences.
#[derive(Clone, Debug)]
struct Book {
    tokens: Vec<u32>,
    /// The token that each sentence starts with, and the end.
    starts: Vec<usize>,
}

impl Book {
    /// A sentence ends at a full stop, a question mark or an exclamation mark, and at the closing quotation marks and brackets that follow.
    fn read(text: &str, vocabulary: &Vocabulary) -> Self {
        let (mut tokens, mut starts, mut ended) = (Vec::new(), vec![0], false);
        Tokens::Words.cut(text, |word| {
            if ended && !["\"", "”", "’", "'", ")", "]", ".", "!", "?"].contains(&word) {
                starts.push(tokens.len());
                ended = false;
            }
            ended |= [".", "!", "?"].contains(&word);
            tokens.push(vocabulary.number(word));
        });
        if !tokens.is_empty() {
            starts.push(tokens.len());
        }
        Self { tokens, starts }
    }

    fn sentences(&self) -> usize {
        self.starts.len() - 1
    }

    fn sentence(&self, number: usize) -> &[u32] {
        &self.tokens[self.starts[number]..self.starts[number + 1]]
    }
}

/// Stories and the books that they are scattered over.
struct Scattered {
    options: Haystack,
    vocabulary: Vocabulary,
    stories: Vec<OfTask>,
    /// Of all stories, one after the other.
    steps: Vec<babi::Step>,
    /// Words of a sentence that a step reads, at most; 0 if it reads one word.
    sentence_size: usize,
    training: Book,
    held_out: Book,
    /// Of the files.
    sum: String,
}

impl Scattered {
    /// How many words a sequence of a level is to have: itself, but in training as the options say.
    fn words(&self, level: usize, stream: Stream) -> usize {
        let Haystack { min_words, max_words, .. } = self.options;
        if stream == Stream::Evaluation || level <= min_words || level >= max_words {
            return level;
        }
        // Levels are drawn evenly.
        let share = (level - min_words) as f64 / (max_words - min_words) as f64;
        (min_words as f64 * (max_words as f64 / min_words as f64).powf(share)) as usize
    }

    /// Puts words into a sequence: one a step, or as many as a step reads.
    fn read(&self, sequence: &mut Sequence, words: impl ExactSizeIterator<Item = u32>) {
        let mut words = words.peekable();
        while words.peek().is_some() {
            let input = sequence.step();
            input.fill(PADDING);
            for (place, word) in input.iter_mut().zip(words.by_ref()) {
                *place = word as f32;
            }
        }
    }
}

/// What a token is called that several words share.
const RARE: &str = "(rare)";

impl Task for Scattered {
    fn name(&self) -> &'static str {
        "haystack"
    }

    fn channels(&self) -> Channels {
        let (input_size, output_size) = (self.sentence_size.max(1), self.vocabulary.stories.0.len());
        Channels { input_size, output_size, target_kind: TargetKind::Classes }
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary.size()
    }

    fn sentence_size(&self) -> usize {
        self.sentence_size
    }

    fn channel_names(&self) -> ChannelNames {
        let Vocabulary { stories, common, hashed_words, .. } = &self.vocabulary;
        let shared = std::iter::repeat_n(RARE, *hashed_words).map(str::to_owned);
        ChannelNames {
            inputs: babi::names_of_words(self.sentence_size),
            outputs: stories.0.clone(),
            tokens: stories.0.iter().chain(common).cloned().chain(shared).collect(),
        }
    }

    fn level_unit(&self) -> &'static str {
        "words"
    }

    fn default_levels(&self) -> RangeInclusive<usize> {
        self.options.min_words..=self.options.max_words
    }

    fn possible_levels(&self) -> RangeInclusive<usize> {
        1..=MOST_WORDS
    }

    fn steps(&self, level: usize) -> usize {
        let stories = self.stories.iter().flat_map(|task| task.training.iter().chain(&task.held_out));
        let longest = stories.map(|story| story.iter().map(|sentence| sentence.steps.len()).sum()).max().unwrap_or(0);
        // A sentence has a word at least, and an answer takes a step of its own where a step reads a sentence.
        if self.sentence_size > 0 { level + longest } else { level.max(longest) }
    }

    fn start(&self, draw: Draw) -> Source<'_> {
        let Draw { stream, number, mut random, level } = draw;
        let in_training = !matches!(stream, Stream::Evaluation | Stream::Validation);
        let task = if in_training {
            random.below(self.stories.len())
        } else {
            // Any few after each other are of all tasks.
            (number % self.stories.len() as u64) as usize
        };
        let OfTask { training, held_out, exchange, .. } = &self.stories[task];
        let (stories, book) = if in_training { (training, &self.training) } else { (held_out, &self.held_out) };
        let story = &stories[random.below(stories.len())];
        let questions: Vec<usize> = (0..story.len()).filter(|place| story[*place].asks).collect();
        // A file's stories all ask something.
        let mut sentences: Vec<&Sentence> = if in_training && self.options.questions == Questions::Along {
            story[..=questions[questions.len() - 1]].iter().collect()
        } else {
            let asked = questions[random.below(questions.len())];
            story[..asked].iter().filter(|sentence| !sentence.asks).chain([&story[asked]]).collect()
        };
        let of_story: usize = sentences.iter().map(|sentence| sentence.steps.len()).sum();
        let of_book = self.words(level, stream).saturating_sub(of_story);
        // After so many words of the book each comes; the last after all of them.
        let mut places: Vec<usize> = (1..sentences.len()).map(|_| random.below(of_book + 1)).collect();
        places.sort_unstable();
        places.push(usize::MAX);
        sentences.reverse();
        places.reverse();
        let (mut read, mut ended) = (0, false);
        let mut place = random.below(book.sentences());
        let exchanged = if in_training { exchange.draw(&mut random) } else { Exchanged::default() };
        Box::new(move |sequence| {
            let next = book.sentence(place);
            ended |= read + next.len() > of_book;
            if !ended && places.last().is_some_and(|place| *place > read) {
                self.read(sequence, next.iter().copied());
                read += next.len();
                place = if place + 1 == book.sentences() { random.below(book.sentences()) } else { place + 1 };
                return true;
            }
            places.pop();
            let Some(sentence) = sentences.pop() else { return false };
            let steps = self.steps[sentence.steps.clone()].iter().map(|step| exchanged.step(*step));
            let steps: Vec<babi::Step> = steps.collect();
            let asked = steps.iter().position(|step| step.answer.is_some());
            // The question mark is where the answer is wanted, or else the last of a sentence.
            let read_at_once = match asked {
                Some(place) if self.sentence_size > 0 => place + 1,
                Some(place) => place,
                None => steps.len(),
            };
            self.read(sequence, steps[..read_at_once].iter().map(|step| u32::from(step.word)));
            for (number, step) in steps[asked.unwrap_or(steps.len())..].iter().enumerate() {
                let Some(answer) = step.answer else { continue };
                let input = sequence.step_with_class(usize::from(answer));
                input.fill(PADDING);
                let word = if self.sentence_size > 0 {
                    self.vocabulary.stories.get(babi::MORE).unwrap_or(step.word)
                } else {
                    step.word
                };
                input[0] = f32::from(word);
                sequence.set_answer(task, number > 0);
            }
            true
        })
    }

    fn categories(&self) -> Option<Categories> {
        let names = self.stories.iter().map(|task| task.title.clone()).collect();
        Some(Categories { unit: "task", names, failed_above: Some(babi::FAILED) })
    }

    fn kept(&self) -> Option<Value> {
        let Vocabulary { stories, common, .. } = &self.vocabulary;
        let mut kept = json!({ "words": stories.0, "common": common, "sha256": self.sum });
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
    use std::path::Path;

    use super::*;
    use crate::sequence::Sequence;

    /// Stories of tasks 1 and 2, each of two questions, the second with an answer of two words; and a book.
    fn write(folder: &Path) -> Haystack {
        fs::create_dir_all(folder.join("en-10k")).unwrap();
        for task in 1..=2 {
            let story = |number: usize| {
                format!(
                    "1 Mary went to room{number}.\n2 Where is Mary? \troom{number}\t1\n3 John went there.\n\
                     4 Who is there?\tMary,John\t1 3\n"
                )
            };
            let text: String = (0..20).map(story).collect();
            fs::write(folder.join(format!("en-10k/qa{task}_a-title_train.txt")), text).unwrap();
        }
        let sentence = |number: usize| format!("It was the {number}th day of Mary’s walk. “Is it {number}?” ");
        fs::write(folder.join("book.txt"), (0..200).map(sentence).collect::<String>()).unwrap();
        fs::write(folder.join("other.txt"), "Nobody was elsewhere! ".repeat(30)).unwrap();
        Haystack {
            data: folder.display().to_string(),
            tasks: "2, 1".into(),
            background: folder.join("book.txt").display().to_string(),
            common_words: 8,
            hashed_words: 3,
            max_words: 400,
            ..Haystack::default()
        }
    }

    fn generate(task: &dyn Task, stream: Stream, level: usize, number: u64) -> Sequence {
        let mut sequence = task.sequence();
        task.generate(Draw::new(&(level..=level), 1, stream, number), &mut sequence);
        sequence
    }

    /// What goes in and what is wanted, as words; # for what is shared.
    fn words(task: &dyn Task, sequence: &Sequence) -> Vec<String> {
        let kept = task.kept().unwrap();
        let names: Vec<&str> = ["words", "common"]
            .iter()
            .flat_map(|part| kept[part].as_array().unwrap())
            .map(|it| it.as_str().unwrap())
            .collect();
        let word = |step: usize| names.get(sequence.input(step)[0] as usize).unwrap_or(&"#").to_string();
        (0..sequence.steps())
            .map(|step| sequence.class(step).map_or(word(step), |class| format!("{}={}", word(step), names[class])))
            .collect()
    }

    #[test]
    fn sentences_of_a_story_come_in_their_order_among_those_of_the_book() {
        let folder = tempfile::tempdir().unwrap();
        let task = Haystack { questions: Questions::End, ..write(folder.path()) }.build(Given::default()).unwrap();
        assert_eq!(task.channels().output_size, 31);
        assert_eq!(task.vocabulary_size(), 31 + 8 + 3);
        let names = task.channel_names();
        assert_eq!((&names.tokens[..31], names.tokens.len()), (&names.outputs[..], 31 + 8 + 3));
        assert!(names.tokens[31..39].contains(&"day".into()), "{:?}", names.tokens);
        assert_eq!(names.tokens[39..], ["(rare)"; 3]);
        let (mut lengths, mut before) = (Vec::new(), 0);
        for number in 0..200 {
            let all = words(&*task, &generate(&*task, Stream::Training, 300, number)).join(" ");
            lengths.push(all.split(' ').count());
            // One question, which is the end; what is before it stands in the story's order.
            assert_eq!(all.matches('=').count(), if all.contains("-=") { 2 } else { 1 });
            let first = all.find("mary went to room").unwrap();
            if let Some(second) = all.find("john went there .") {
                assert!(first < second && all.ends_with("who is there ?=mary -=john"), "{all}");
            } else {
                let room = all[first + 13..].split(' ').next().unwrap();
                assert!(all.ends_with(&format!("where is mary ?={room}")), "{all}");
            }
            before += usize::from(first > all.len() / 2);
            assert!(all.contains("it was the # day of mary’s walk .") || lengths[lengths.len() - 1] < 40, "{all}");
        }
        assert!((20..120).contains(&before), "sentences come anywhere: {before}");
        assert!(lengths.iter().all(|length| *length <= 300), "{lengths:?}");
        // In an evaluation a level is the number of words but for the sentence that did not fit.
        for number in 0..20 {
            let steps = generate(&*task, Stream::Evaluation, 350, number).steps();
            assert!((339..=350).contains(&steps), "{steps}");
        }
        assert!(generate(&*task, Stream::Evaluation, 1, 0).steps() >= 9, "a story is whole");
        assert!(generate(&*task, Stream::Evaluation, 5000, 0).steps() > 4980, "a book is read again and again");
    }

    #[test]
    fn questions_along_the_way_are_all_of_a_story() {
        let folder = tempfile::tempdir().unwrap();
        let task = write(folder.path()).build(Given::default()).unwrap();
        let all = words(&*task, &generate(&*task, Stream::Training, 200, 3)).join(" ");
        assert_eq!(all.matches('=').count(), 3, "{all}");
        assert!(all.contains("where is mary ?=room") && all.ends_with("who is there ?=mary -=john"), "{all}");
        // Not in evaluations.
        let held_out = words(&*task, &generate(&*task, Stream::Validation, 200, 3)).join(" ");
        assert!(["where", "who"].iter().filter(|word| held_out.contains(*word)).count() == 1, "{held_out}");
    }

    #[test]
    fn names_of_stories_are_exchanged_in_training_and_those_of_the_book_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let plain = Haystack { questions: Questions::End, ..write(folder.path()) };
        let exchanged = Haystack { exchange_names: true, ..plain.clone() }.build(Given::default()).unwrap();
        let plain = plain.build(Given::default()).unwrap();
        let mut persons = BTreeSet::new();
        for number in 0..100 {
            let generated = |task: &dyn Task, stream| words(task, &generate(task, stream, 200, number)).join(" ");
            for stream in [Stream::Validation, Stream::Evaluation] {
                assert_eq!(generated(&*exchanged, stream), generated(&*plain, stream));
            }
            let (story, before) = (generated(&*exchanged, Stream::Training), generated(&*plain, Stream::Training));
            let is_exchanged = story.contains("john went to room");
            let renamed = |word: &str| match word {
                "mary" if is_exchanged => "john".to_owned(),
                "john" if is_exchanged => "mary".to_owned(),
                _ => word.to_owned(),
            };
            let of_step = |step: &str| match step.split_once('=') {
                Some((input, answer)) => format!("{input}={}", renamed(answer)),
                None => renamed(step),
            };
            assert_eq!(story, before.split(' ').map(of_step).collect::<Vec<_>>().join(" "));
            persons.insert(is_exchanged);
        }
        assert_eq!(persons.len(), 2);

        let unknown = Haystack { exchange_names: true, tasks: "1".into(), ..write(folder.path()) };
        let own = "1 Ann went to roomA.\n2 Where is Ann?\troomA\t1\n".repeat(10);
        fs::write(folder.path().join("en-10k/qa1_a-title_train.txt"), own).unwrap();
        let error = unknown.build(Given::default()).err().unwrap().to_string();
        assert!(error.contains("none of the names"), "{error}");
    }

    #[test]
    fn a_step_may_read_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let options = Haystack { sentences: true, ..write(folder.path()) };
        let (task, of_words) = (options.build(Given::default()).unwrap(), write(folder.path()));
        let of_words = of_words.build(Given::default()).unwrap();
        assert_eq!((task.sentence_size(), task.channels().input_size), (5, 5));
        let kept = task.kept().unwrap();
        let names = ["words", "common"].iter().flat_map(|part| kept[part].as_array().unwrap());
        let names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
        let word = |token: &f32| *names.get(*token as usize).unwrap_or(&"#");
        let mut longest = 0;
        for number in 0..50 {
            for stream in [Stream::Training, Stream::Evaluation] {
                let sequence = generate(&*task, stream, 200, number);
                let (mut all, mut wanted) = (Vec::new(), Vec::new());
                for step in 0..sequence.steps() {
                    let (words, padding): (Vec<&f32>, Vec<&f32>) =
                        sequence.input(step).iter().partition(|token| **token != PADDING);
                    // Padding comes after the words, of which there is one at least.
                    assert!(!words.is_empty() && sequence.input(step)[words.len()..].len() == padding.len());
                    let words: Vec<&str> = words.into_iter().map(word).collect();
                    match sequence.class(step) {
                        Some(class) => {
                            assert_eq!(words, ["-"]);
                            let before: &[&str] = all.last().map_or(&[], |words: &Vec<&str>| words);
                            assert!(before.last() == Some(&"?") || before == ["-"], "{before:?}");
                            wanted.push(names[class]);
                        }
                        // None of another sentence is with them.
                        None => assert!(!words[..words.len() - 1].iter().any(|word| [".", "?"].contains(word))),
                    }
                    all.push(words);
                }
                longest = longest.max(sequence.steps());
                // The same words as a word at a step, but for those at which answers are wanted.
                let other = words_of(&*of_words, stream, number);
                let read: Vec<&str> = all.into_iter().flatten().filter(|word| *word != "-").collect();
                let (expected, answers): (Vec<&str>, Vec<&str>) = (
                    other.iter().map(|it| it.split('=').next().unwrap()).filter(|word| *word != "-").collect(),
                    other.iter().filter_map(|it| it.split_once('=')).map(|(_, answer)| answer).collect(),
                );
                assert_eq!((read, wanted), (expected, answers));
            }
        }
        assert!(longest > 30 && longest <= task.steps(200), "{longest} of {}", task.steps(200));
        // A run reads as long sentences of other files.
        let given = Given { kept: Some(&kept), ..Given::default() };
        assert_eq!(options.build(given).unwrap().sentence_size(), 5);
    }

    fn words_of(task: &dyn Task, stream: Stream, number: u64) -> Vec<String> {
        words(task, &generate(task, stream, 200, number))
    }

    #[test]
    fn logarithms_of_lengths_are_drawn_evenly_in_training() {
        let folder = tempfile::tempdir().unwrap();
        let options = Haystack { min_words: 16, max_words: 4096, ..write(folder.path()) };
        let task = options.build(Given::default()).unwrap();
        let mut longer = [0; 3];
        for number in 0..300 {
            let mut sequence = task.sequence();
            task.generate(Draw::new(&task.default_levels(), 1, Stream::Training, number), &mut sequence);
            for (count, length) in longer.iter_mut().zip([64, 256, 1024]) {
                *count += usize::from(sequence.steps() > length);
            }
        }
        for (count, expected) in longer.into_iter().zip([225, 150, 75]) {
            assert!(usize::abs_diff(count, expected) < 30, "{longer:?}");
        }
    }

    #[test]
    fn what_is_held_out_is_never_trained_on() {
        let folder = tempfile::tempdir().unwrap();
        let task = write(folder.path()).build(Given::default()).unwrap();
        for (stream, expected) in [(Stream::Training, false), (Stream::Validation, true), (Stream::Evaluation, true)] {
            for number in 0..100 {
                let all = words(&*task, &generate(&*task, stream, 60, number)).join(" ");
                let held_out = ["mary went to room9 .", "mary went to room19 ."].iter().any(|it| all.contains(it));
                assert_eq!(held_out, expected, "{all}");
            }
        }
        // Evaluations are of all tasks alike.
        let sequence = generate(&*task, Stream::Evaluation, 20, 1);
        let last = sequence.steps() - 1;
        assert_eq!(sequence.score(last, &[0.0; 31]).map(|(_, task, _)| task), Some(1));
        assert_eq!(task.categories().unwrap().names, ["1 a-title", "2 a-title"]);
    }

    #[test]
    fn a_run_reads_other_books_in_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let options = write(folder.path());
        let other = folder.path().join("other.txt");
        let run = options.build(Given::default()).unwrap();
        let kept = run.kept();
        let given = Given { kept: kept.as_ref(), evaluation_files: Some(&other), ..Given::default() };
        let task = options.build(given).unwrap();
        assert_eq!((task.vocabulary_size(), task.channels()), (run.vocabulary_size(), run.channels()));
        let all = words(&*task, &generate(&*task, Stream::Evaluation, 100, 0)).join(" ");
        assert!(all.contains("# was # #") && !all.contains("day of"), "{all}");
        // A book for validation is not learnt from.
        let validated = Haystack { validation: other.display().to_string(), ..options.clone() };
        let validated = validated.build(Given::default()).unwrap();
        let all = words(&*validated, &generate(&*validated, Stream::Validation, 100, 0)).join(" ");
        assert!(all.contains("# was # #") && !all.contains("day of"), "{all}");
        let common = |kept: &Value| serde_json::from_value::<BTreeSet<String>>(kept["common"].clone()).unwrap();
        assert_eq!(common(&validated.kept().unwrap()), common(&kept.unwrap()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let options = write(folder.path());
        let message = |options: &Haystack| options.build(Given::default()).err().unwrap().to_string();
        for (options, expected) in [
            (Haystack { tasks: "1,21".into(), ..options.clone() }, "tasks = \"1,21\""),
            (Haystack { tasks: String::new(), ..options.clone() }, "it is a list of tasks"),
            (Haystack { background: String::new(), ..options.clone() }, "it names the file of text"),
            (Haystack { background: "none".into(), ..options.clone() }, "there is no such file"),
            (Haystack { tasks: "3".into(), ..options.clone() }, "it lacks en-10k/qa3_*_train.txt"),
            (Haystack { min_words: 500, ..options.clone() }, "max_words = 400"),
        ] {
            let found = message(&options);
            assert!(found.contains(expected), "{found}");
        }
        fs::write(folder.path().join("book.txt"), "  ").unwrap();
        assert!(message(&options).contains("it has no words in one"), "{}", message(&options));
    }
}
