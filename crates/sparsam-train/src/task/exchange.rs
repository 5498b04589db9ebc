//! Names in bAbI's stories that can stand for one another.

use super::babi::{Step, Vocabulary};
use crate::Random;

/// What may become what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Everything everything else.
    Any,
    /// Each what lies so many places further around a circle, or the same counted backwards: so directions are turned and
    /// mirrored, and opposite ones stay opposite.
    Circle,
}

/// Names of a kind.
struct Kind {
    /// Each with all words for it, which change together: a direction and its letter in answers, one animal and several.
    names: &'static [&'static [&'static str]],
    order: Order,
    /// Whether they are exchanged in a task.
    in_task: fn(usize) -> bool,
}

/// The task that says "he" and "she".
const PRONOUNS: usize = 11;
/// The task of basic deduction, about animals.
const ANIMALS: usize = 15;
/// The task of positional reasoning.
const POSITIONS: usize = 17;
/// The task of size reasoning.
const SIZES: usize = 18;
/// The task where places and things belong to what somebody feels: who is tired goes to the bedroom.
const MOTIVATIONS: usize = 20;

/// The kinds of names in the English stories. Exchanged within a kind, they make another story of the same task, whose answers are
/// right.
const KINDS: &[Kind] = &[
    Kind {
        names: &[&["mary"], &["sandra"], &["julie"], &["john"], &["daniel"], &["bill"], &["fred"], &["jeff"]],
        order: Order::Any,
        in_task: |task| task != PRONOUNS,
    },
    Kind { names: &[&["mary"], &["sandra"]], order: Order::Any, in_task: |task| task == PRONOUNS },
    Kind { names: &[&["john"], &["daniel"]], order: Order::Any, in_task: |task| task == PRONOUNS },
    Kind { names: &[&["gertrude"], &["winona"], &["emily"], &["jessica"]], order: Order::Any, in_task: |_| true },
    Kind {
        names: &[&["lily"], &["bernhard"], &["brian"], &["julius"], &["greg"]],
        order: Order::Any,
        in_task: |_| true,
    },
    Kind { names: &[&["jason"], &["antoine"], &["yann"], &["sumit"]], order: Order::Any, in_task: |_| true },
    Kind {
        names: &[
            &["bathroom"],
            &["hallway"],
            &["office"],
            &["kitchen"],
            &["garden"],
            &["bedroom"],
            &["cinema"],
            &["park"],
            &["school"],
        ],
        order: Order::Any,
        in_task: |task| task != MOTIVATIONS,
    },
    Kind { names: &[&["milk"], &["apple"], &["football"]], order: Order::Any, in_task: |task| task != MOTIVATIONS },
    Kind {
        names: &[&["north", "n"], &["east", "e"], &["south", "s"], &["west", "w"]],
        order: Order::Circle,
        in_task: |_| true,
    },
    Kind { names: &[&["left"], &["right"]], order: Order::Any, in_task: |task| task == POSITIONS },
    Kind { names: &[&["above"], &["below"]], order: Order::Any, in_task: |task| task == POSITIONS },
    Kind { names: &[&["triangle"], &["square"], &["sphere"], &["rectangle"]], order: Order::Any, in_task: |_| true },
    Kind {
        names: &[&["yellow"], &["green"], &["gray"], &["white"], &["pink"], &["red"], &["blue"]],
        order: Order::Any,
        in_task: |_| true,
    },
    Kind { names: &[&["swan"], &["rhino"], &["lion"], &["frog"]], order: Order::Any, in_task: |_| true },
    // One sheep is not told from several.
    Kind {
        names: &[&["cat", "cats"], &["wolf", "wolves"], &["mouse", "mice"]],
        order: Order::Any,
        in_task: |task| task == ANIMALS,
    },
    Kind { names: &[&["chest"], &["suitcase"], &["container"]], order: Order::Any, in_task: |task| task == SIZES },
];

/// Names of a kind that a task has: the words of each, as a vocabulary numbers them, or none where the task lacks one.
#[derive(Debug)]
struct Names {
    names: Vec<Vec<Option<u16>>>,
    order: Order,
}

/// What may be exchanged in the stories of a task.
#[derive(Debug, Default)]
pub(super) struct Exchange(Vec<Names>);

impl Exchange {
    /// Of names that these stories of a task have, in words of a vocabulary.
    pub fn of<'a>(task: usize, vocabulary: &Vocabulary, steps: impl IntoIterator<Item = &'a Step>) -> Self {
        let mut there = vec![false; vocabulary.0.len()];
        for step in steps {
            there[usize::from(step.word)] = true;
            step.answer.into_iter().for_each(|answer| there[usize::from(answer)] = true);
        }
        let number = |word: &&str| vocabulary.get(word).filter(|number| there[usize::from(*number)]);
        let kinds = KINDS.iter().filter(|kind| (kind.in_task)(task));
        let kinds = kinds.map(|Kind { names, order, .. }| {
            let numbers = names.iter().map(|words| words.iter().map(number).collect::<Vec<_>>());
            // A word that the stories lack has none to become it. Opposite directions are opposite only as long as none of
            // them is left out.
            let names = match order {
                Order::Any => numbers.filter(|words| words.iter().all(Option::is_some)).collect(),
                Order::Circle => numbers.collect(),
            };
            Names { names, order: *order }
        });
        let are_alike = |one: &[Option<u16>], other: &[Option<u16>]| {
            one[0].is_some() && one.iter().zip(other).all(|(one, other)| one.is_some() == other.is_some())
        };
        let is_exchanged =
            |Names { names, .. }: &Names| names.len() > 1 && names.iter().all(|words| are_alike(words, &names[0]));
        Self(kinds.filter(is_exchanged).collect())
    }

    /// Whether nothing is exchanged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Draws an exchange.
    pub fn draw(&self, random: &mut Random) -> Exchanged {
        let mut exchanged = Vec::new();
        for Names { names, order } in &self.0 {
            let count = names.len();
            let others = match order {
                Order::Any => random.distinct(count, count),
                Order::Circle => {
                    let (first, mirrored) = (random.below(count), random.below(2) == 1);
                    (0..count).map(|place| (first + if mirrored { count - place } else { place }) % count).collect()
                }
            };
            for (words, other) in names.iter().zip(others) {
                let pairs = words.iter().zip(&names[other]).filter_map(|(word, other)| (*word).zip(*other));
                exchanged.extend(pairs.filter(|(word, other)| word != other));
            }
        }
        Exchanged(exchanged)
    }
}

/// Which words became which.
#[derive(Debug, Default)]
pub(super) struct Exchanged(Vec<(u16, u16)>);

impl Exchanged {
    /// What a word became.
    pub fn word(&self, word: u16) -> u16 {
        // They are some ten.
        self.0.iter().find(|(from, _)| *from == word).map_or(word, |(_, to)| *to)
    }

    /// What a step became.
    pub fn step(&self, step: Step) -> Step {
        Step { word: self.word(step.word), answer: step.answer.map(|answer| self.word(answer)), ..step }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Stream;

    /// Sentences as steps, in a vocabulary of their words and of those words besides.
    fn read(sentences: &str, besides: &str) -> (Vocabulary, Vec<Step>) {
        let words: BTreeSet<&str> = sentences.split_whitespace().chain(besides.split_whitespace()).collect();
        let vocabulary = Vocabulary(words.into_iter().map(str::to_owned).collect());
        let steps = sentences.split_whitespace().map(|word| Step::of(vocabulary.get(word).unwrap())).collect();
        (vocabulary, steps)
    }

    /// All that a task's sentences become, word by word.
    fn exchanged(task: usize, sentences: &str) -> BTreeSet<Vec<String>> {
        let (vocabulary, steps) = read(sentences, "john cats wolf");
        let exchange = Exchange::of(task, &vocabulary, &steps);
        let draw = |number| {
            let exchanged = exchange.draw(&mut Random::new(1, Stream::Training, number));
            steps.iter().map(|step| vocabulary.0[usize::from(exchanged.step(*step).word)].clone()).collect()
        };
        (0..400).map(draw).collect()
    }

    #[test]
    fn names_of_a_kind_become_one_another_all_alike() {
        let all = exchanged(1, "mary went to garden . daniel went to park . sandra went to garden");
        // Six orders of three persons, two of the places; John is in no story of this task.
        assert_eq!(all.len(), 12);
        for words in &all {
            assert!(words[3] == words[13] && words[3] != words[8], "{words:?}");
            assert_eq!(words[1..3], ["went", "to"]);
            assert!(words[4] == "." && !words.contains(&"john".to_owned()));
        }
    }

    #[test]
    fn directions_are_turned_and_mirrored_with_their_letters() {
        let all = exchanged(19, "north of east of south of west n e s w");
        assert_eq!(all.len(), 8);
        for words in &all {
            let opposite = |word: &str| match word {
                "north" => "south",
                "south" => "north",
                "east" => "west",
                _ => "east",
            };
            assert!(opposite(&words[0]) == words[4] && opposite(&words[2]) == words[6], "{words:?}");
            for (word, letter) in words[..7].iter().step_by(2).zip(&words[7..]) {
                assert_eq!(word[..1], **letter);
            }
        }
        assert_eq!(exchanged(4, "north of south of west").len(), 1);
    }

    #[test]
    fn what_has_a_meaning_of_its_own_stays() {
        // Who is tired goes to the bedroom; "she" is a woman; milk is left there.
        assert_eq!(exchanged(20, "sumit is tired . sumit went to bedroom garden with milk apple").len(), 1);
        assert_eq!(exchanged(11, "mary went . she went . john went").len(), 1);
        assert_eq!(exchanged(11, "mary went . she went . sandra went").len(), 2);
        assert_eq!(exchanged(2, "mary left milk there to right").len(), 1);
        // Several cats would not be told.
        assert_eq!(exchanged(15, "cats are afraid of cat . wolf").len(), 1);
        assert_eq!(exchanged(15, "cats are afraid of cat . wolf wolves mouse").len(), 2);
    }

    #[test]
    fn no_name_is_of_two_kinds_in_a_task() {
        for task in 1..=20 {
            let mut words: Vec<_> =
                KINDS.iter().filter(|kind| (kind.in_task)(task)).flat_map(|kind| kind.names).collect();
            let count = words.len();
            words.sort();
            words.dedup();
            assert_eq!(words.len(), count);
        }
    }
}
