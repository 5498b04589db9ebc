//! The key-value memory against a plain list, its gradients against finite differences, and its files.

use proptest::prelude::*;
use sparsam::index::IndexKind;
use sparsam::memory::KeyValueMemory;
use sparsam::memory::key_value::Config;
use sparsam::{Array, Arrays, Error, Values, key_value};

const KEY: usize = 3;
const VALUE: usize = 2;

fn config(memory_size: usize, index: IndexKind) -> Config {
    Config { key_size: KEY, value_size: VALUE, memory_size, index, ..Default::default() }
}

fn memory(memory_size: usize) -> KeyValueMemory<f64> {
    KeyValueMemory::new(config(memory_size, IndexKind::Linear)).unwrap()
}

/// Numbers that follow from where they stand; keys from few, so that some are equal.
fn numbers(seed: u64, count: usize) -> Vec<f64> {
    (0..count as u64).map(|i| (((seed * 31 + i) * 7919) % 13) as f64 / 3.0 - 2.0).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    product(a, b) / ((product(a, a) + 1e-6).sqrt() * (product(b, b) + 1e-6).sqrt())
}

/// Entries by word, and the words in the order of their use.
#[derive(Clone)]
struct List {
    entries: Vec<Option<(Vec<f64>, Vec<f64>)>>,
    order: Vec<u32>,
}

impl List {
    fn new(memory_size: usize) -> Self {
        Self { entries: vec![None; memory_size], order: (0..memory_size as u32).collect() }
    }

    fn touch(&mut self, word: u32) {
        self.order.retain(|other| *other != word);
        self.order.push(word);
    }

    fn write(&mut self, keys: &[f64], values: &[f64]) -> Vec<u32> {
        let words = self.order[..keys.len() / KEY].to_vec();
        for ((word, key), value) in words.iter().zip(keys.chunks(KEY)).zip(values.chunks(VALUE)) {
            self.entries[*word as usize] = Some((key.to_vec(), value.to_vec()));
            self.touch(*word);
        }
        words
    }

    fn len(&self) -> usize {
        self.entries.iter().flatten().count()
    }

    /// The cosines of the entries to a query, best first.
    fn search(&self, query: &[f64]) -> Vec<(u32, f64)> {
        let entries = self.entries.iter().enumerate();
        let mut all: Vec<(u32, f64)> =
            entries.filter_map(|(word, entry)| Some((word as u32, cosine(query, &entry.as_ref()?.0)))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }
}

/// What is done to a memory, with a number that the rest follows from.
#[derive(Clone, Debug)]
enum Call {
    Write(usize, u64),
    Update(Vec<u32>, bool, bool, u64),
    Search(usize, usize, bool, u64),
    Save,
    Clear,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        4 => (0usize..5, any::<u64>()).prop_map(|(count, seed)| Call::Write(count, seed % 1000)),
        3 => (prop::collection::vec(0u32..12, 0..4), any::<bool>(), any::<bool>(), any::<u64>())
            .prop_map(|(words, keys, values, seed)| Call::Update(words, keys, values, seed % 1000)),
        4 => (0usize..3, 1usize..15, any::<bool>(), any::<u64>())
            .prop_map(|(queries, limit, used, seed)| Call::Search(queries, limit, used, seed % 1000)),
        1 => Just(Call::Save),
        1 => Just(Call::Clear),
    ];
    prop::collection::vec(call, 0..60)
}

proptest! {
    #[test]
    fn it_is_a_list_in_the_order_of_use(memory_size in 1usize..12, calls in calls(), index in 0usize..2) {
        let config = config(memory_size, [IndexKind::Linear, IndexKind::Ivf][index]);
        let mut memory = KeyValueMemory::<f64>::new(config.clone()).unwrap();
        let mut list = List::new(memory_size);
        for call in calls {
            match call {
                Call::Write(count, seed) => {
                    let (keys, values) = (numbers(seed, count * KEY), numbers(seed + 1, count * VALUE));
                    if count > memory_size {
                        let error = memory.write(&keys, &values).unwrap_err();
                        let too_many = matches!(error, Error::TooManyEntries { .. });
                        prop_assert!(too_many);
                    } else {
                        prop_assert_eq!(memory.write(&keys, &values).unwrap(), list.write(&keys, &values));
                    }
                }
                Call::Update(words, with_keys, with_values, seed) => {
                    let (keys, values) = (numbers(seed, words.len() * KEY), numbers(seed + 1, words.len() * VALUE));
                    let given = (with_keys.then_some(&keys[..]), with_values.then_some(&values[..]));
                    let result = memory.update(&words, given.0, given.1);
                    let unwritten: Vec<u32> =
                        words.iter().copied().filter(|word| *word as usize >= list.len()).collect();
                    if !unwritten.is_empty() {
                        let named = matches!(result, Err(Error::NotWritten { words, .. }) if words == unwritten);
                        prop_assert!(named);
                        continue;
                    }
                    result.unwrap();
                    for (place, word) in words.iter().enumerate() {
                        let entry = list.entries[*word as usize].as_mut().unwrap();
                        if with_keys {
                            entry.0 = keys[place * KEY..][..KEY].to_vec();
                        }
                        if with_values {
                            entry.1 = values[place * VALUE..][..VALUE].to_vec();
                        }
                        list.touch(*word);
                    }
                }
                Call::Search(count, limit, used, seed) => {
                    let queries = numbers(seed, count * KEY);
                    let found = memory.search(&queries, limit, used).unwrap().clone();
                    for (number, query) in queries.chunks(KEY).enumerate() {
                        let expected = list.search(query);
                        prop_assert_eq!(found.words(number).len(), limit.min(list.len()));
                        for (place, (word, similarity)) in
                            found.words(number).iter().zip(found.cosines(number)).enumerate()
                        {
                            // Parallel keys may differ in the last bits, and so change places.
                            prop_assert!(index > 0 || (expected[place].1 - similarity).abs() < 1e-9);
                            let own = expected.iter().find(|(other, _)| other == word).unwrap();
                            prop_assert!((own.1 - similarity).abs() < 1e-9);
                        }
                    }
                    if used {
                        for number in 0..count {
                            found.words(number).iter().rev().for_each(|word| list.touch(*word));
                        }
                    }
                }
                Call::Save => {
                    let bytes = key_value::to_bytes(&memory).unwrap();
                    memory = key_value::from_bytes(&bytes, &config).unwrap();
                    prop_assert!(key_value::to_bytes(&memory).unwrap() == bytes);
                }
                Call::Clear => {
                    memory.clear();
                    list = List::new(memory_size);
                }
            }
            prop_assert_eq!(memory.len(), list.len());
            for (word, entry) in list.entries.iter().enumerate() {
                let found = memory.key(word as u32).zip(memory.value(word as u32));
                prop_assert_eq!(found, entry.as_ref().map(|(key, value)| (&key[..], &value[..])));
            }
        }
    }

    /// Whatever happens to a file, reading it gives a memory that can be gone on with, or an error.
    #[test]
    fn damaged_files_are_refused(
        place in any::<prop::sample::Index>(), value in 1u8.., length in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut memory = memory(9);
        memory.write(&numbers(1, 4 * KEY), &numbers(2, 4 * VALUE)).unwrap();
        let mut bytes = key_value::to_bytes(&memory).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= value;
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        let loaded = key_value::from_bytes::<f64>(&bytes, memory.config());
        let refused = matches!(loaded, Err(Error::State { .. }));
        prop_assert!(refused, "byte {place}");
    }
}

/// The sum of what is read and of the weights, each with a coefficient.
fn loss(memory: &mut KeyValueMemory<f64>, queries: &[f64], strengths: &[f64], over: (&[f64], &[f64])) -> f64 {
    let read = memory.read(queries, strengths, 4, false, false).unwrap();
    let weights = (0..strengths.len()).flat_map(|query| read.weights(query));
    let product = |(a, b): (&f64, &f64)| a * b;
    read.values().iter().zip(over.0).map(product).sum::<f64>() + weights.zip(over.1).map(product).sum::<f64>()
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let mut memory = memory(9);
    let smooth = |seed: f64, count: usize| (0..count).map(|i| (seed + 1.7 * i as f64).sin()).collect::<Vec<_>>();
    let words = memory.write(&smooth(0.3, 7 * KEY), &smooth(1.1, 7 * VALUE)).unwrap();
    let (mut queries, mut strengths) = (smooth(2.0, 3 * KEY), vec![1.5, -0.5, 4.0]);
    let (over_values, over_weights) = (smooth(3.0, 3 * VALUE), smooth(4.0, 3 * 4));
    let over = (&over_values[..], &over_weights[..]);

    let read = memory.read(&queries, &strengths, 4, false, true).unwrap();
    let gradients = read.backward(Some(over.0), Some(over.1)).unwrap();
    memory.accumulate(&read, &gradients);
    memory.accumulate(&read, &gradients);
    let sums = memory.gradients();

    const STEP: f64 = 1e-6;
    let check = |name: &str, found: f64, up: f64, down: f64| {
        let expected = (up - down) / (2.0 * STEP);
        assert!((found - expected).abs() < 1e-8, "{name}: {found} where differences give {expected}");
    };
    for i in 0..queries.len() {
        let mut at = |change: f64| {
            queries[i] += change;
            let loss = loss(&mut memory, &queries, &strengths, over);
            queries[i] -= change;
            loss
        };
        check("query", gradients.queries[i], at(STEP), at(-STEP));
    }
    for i in 0..strengths.len() {
        let mut at = |change: f64| {
            strengths[i] += change;
            let loss = loss(&mut memory, &queries, &strengths, over);
            strengths[i] -= change;
            loss
        };
        check("strength", gradients.strengths[i], at(STEP), at(-STEP));
    }
    for word in words {
        let place = sums.words.iter().position(|other| *other == word);
        for (name, size, all) in [("key", KEY, &sums.keys), ("value", VALUE, &sums.values)] {
            for i in 0..size {
                let before = if name == "key" { memory.key(word) } else { memory.value(word) }.unwrap().to_vec();
                let mut at = |change: f64| {
                    let mut row = before.clone();
                    row[i] += change;
                    let (keys, values) = if name == "key" { (Some(&row[..]), None) } else { (None, Some(&row[..])) };
                    memory.update(&[word], keys, values).unwrap();
                    loss(&mut memory, &queries, &strengths, over)
                };
                let (up, down) = (at(STEP), at(-STEP));
                at(0.0);
                // It was accumulated twice.
                check(name, place.map_or(0.0, |place| all[place * size + i] / 2.0), up, down);
            }
        }
    }
}

#[test]
fn gradients_stay_with_their_entries() {
    let mut memory = memory(2);
    memory.write(&numbers(1, 2 * KEY), &numbers(2, 2 * VALUE)).unwrap();
    let query = memory.key(0).unwrap().to_vec();
    let read = memory.read(&query, &[3.0], 2, false, true).unwrap();
    let gradients = read.backward(Some(&[1.0, 2.0]), None).unwrap();
    memory.accumulate(&read, &gradients);
    let before = memory.gradients();
    assert_eq!(before.words, [0, 1]);

    // An update keeps them, a write drops those of the entry that is lost, before the backward pass and after it.
    memory.update(&[0], Some(&numbers(5, KEY)), None).unwrap();
    assert_eq!(memory.gradients(), before);
    assert_eq!(memory.write(&numbers(6, KEY), &numbers(7, VALUE)).unwrap(), [1]);
    let left = memory.gradients();
    assert_eq!((&left.words[..], &left.keys[..]), (&[0][..], &before.keys[..KEY]));
    memory.accumulate(&read, &gradients);
    let twice: Vec<f64> = before.keys[..KEY].iter().map(|x| 2.0 * x).collect();
    assert_eq!((memory.gradients().words, memory.gradients().keys), (vec![0], twice));

    // The gradient is that of what was read, whatever happened since.
    assert_eq!(read.backward(Some(&[1.0, 2.0]), None).unwrap(), gradients);
    // That of the new entry begins at zero.
    let read = memory.read(&query, &[3.0], 2, false, true).unwrap();
    let gradients = read.backward(Some(&[1.0, 2.0]), None).unwrap();
    memory.zero_gradients();
    memory.accumulate(&read, &gradients);
    assert_eq!(memory.gradients().words, [0, 1]);

    // Nor does an entry of the same word in a memory that was cleared or loaded get it.
    memory.clear();
    memory.write(&numbers(1, 2 * KEY), &numbers(2, 2 * VALUE)).unwrap();
    memory.accumulate(&read, &gradients);
    assert!(memory.gradients().words.is_empty());
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let mut memory = memory(5);
    memory.write(&numbers(1, 2 * KEY), &numbers(2, 2 * VALUE)).unwrap();
    let before = key_value::to_bytes(&memory).unwrap();
    let sentence = |error: Error| error.to_string();
    let finite = "where a finite number was expected";
    assert_eq!(
        sentence(memory.write(&[0.0; 6 * KEY], &[0.0; 6 * VALUE]).unwrap_err()),
        "6 entries were to be written at once to a memory of 5 words; write fewer at a time"
    );
    assert_eq!(
        sentence(memory.write(&[0.0; 4], &[0.0; 2]).unwrap_err()),
        "keys has length 4, where 6 was expected (2 × 3)"
    );
    assert_eq!(
        sentence(memory.write(&[0.0; 6], &[0.0; 3]).unwrap_err()),
        "values has length 3, where 4 was expected (2 × 2)"
    );
    assert_eq!(
        sentence(memory.write(&[0.0, 0.0, 0.0, 1.0, f64::NAN, 0.0], &[0.0; 4]).unwrap_err()),
        format!("the square of key 1 is NaN, {finite}")
    );
    assert_eq!(
        sentence(memory.update(&[1], Some(&[0.0, 1e200, 0.0]), None).unwrap_err()),
        format!("the square of key 0 is inf, {finite}")
    );
    assert_eq!(
        sentence(memory.update(&[1], None, Some(&[0.0, f64::INFINITY])).unwrap_err()),
        format!("number 1 of value 0 is inf, {finite}")
    );
    assert_eq!(
        sentence(memory.update(&[0, 2, 9], None, None).unwrap_err()),
        "words 2 and 9 hold no entry: the memory holds entries in words 0 to 1; name words that a write gave"
    );
    assert_eq!(
        sentence(memory.search(&[f64::NAN; 3], 1, true).unwrap_err()),
        format!("the square of query 0 is NaN, {finite}")
    );
    assert_eq!(
        sentence(memory.read(&[1.0; 3], &[f64::NAN], 1, true, true).unwrap_err()),
        format!("strength 0 is NaN, {finite}")
    );
    assert_eq!(
        sentence(memory.read(&[1.0; 3], &[1.0; 2], 1, true, true).unwrap_err()),
        "strengths has length 2, where 1 was expected (1 × 1)"
    );
    let read = memory.read(&[1.0; 3], &[1.0], 1, false, false).unwrap();
    assert!(matches!(read.backward(None, None), Err(Error::Order(_))));
    assert!(key_value::to_bytes(&memory).unwrap() == before);
    for config in [Config { key_size: 0, ..Default::default() }, Config { memory_size: 1 << 40, ..Default::default() }]
    {
        assert!(matches!(KeyValueMemory::<f32>::new(config), Err(Error::Config { .. })));
    }
}

#[test]
fn states_that_do_not_fit_leave_the_memory_as_it_is() {
    let mut memory = memory(5);
    memory.write(&numbers(1, 3 * KEY), &numbers(2, 3 * VALUE)).unwrap();
    let before = key_value::to_bytes(&memory).unwrap();
    let mut saved = Arrays::default();
    memory.save(&mut saved);
    let mut refused = |name: &str, shape: &[usize], values: Values<f64>, sentence: &str| {
        let mut changed = saved.clone();
        changed.put(name, Array::new(shape.to_vec(), values));
        let Err(Error::State { reason, .. }) = memory.load(&mut changed) else { panic!("{name}") };
        assert_eq!(reason, sentence);
        assert!(key_value::to_bytes(&memory).unwrap() == before);
    };
    refused(
        "keys",
        &[2, 3],
        Values::Real(vec![1.0; 6]),
        "`values` has numbers of shape [3, 2], where shape [2, 2] was expected",
    );
    refused(
        "keys",
        &[3, 3],
        Values::Real(vec![1e200; 9]),
        "the square of key 0 is inf, where a finite number was expected",
    );
    refused(
        "order",
        &[4],
        Values::Whole(vec![0, 2, 3, 4]),
        "`order` does not begin with the words from 3 on, which hold no entry",
    );
    refused("order", &[2], Values::Whole(vec![0, 3]), "`order` is not an order of all 5 words");
    refused("more", &[0], Values::Whole(vec![]), "there is no place for `more`");

    let other = config(6, IndexKind::Linear);
    let Err(Error::State { reason, .. }) = key_value::from_bytes::<f64>(&before, &other) else { panic!() };
    assert!(reason.starts_with("it is of a memory {") && reason.contains("\"memory_size\":6"), "{reason}");
    // Another index, and another precision, will do.
    let loaded = key_value::from_bytes::<f32>(&before, &config(5, IndexKind::Lsh)).unwrap();
    assert_eq!(loaded.len(), 3);
}

/// Where keys lie in many small clusters that all change, lists keep traces of what they held. More checks find the keys.
#[test]
fn more_checks_find_more() {
    const WORDS: usize = 20_000;
    let mut state = 1u64;
    let mut normal = move || {
        let mut unit = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..12).map(|_| unit()).sum::<f32>() - 6.0
    };
    let mut draw = |count: usize| -> Vec<f32> {
        let centres: Vec<f32> = (0..WORDS / 50 * 32).map(|_| normal()).collect();
        let centre = |place: usize| centres[place / 32 * 7919 % (WORDS / 50) * 32 + place % 32];
        (0..count * 32).map(|place| centre(place) + 0.3 * normal()).collect()
    };
    let rounds = [draw(WORDS), draw(WORDS), draw(WORDS)];
    let queries: Vec<f32> = rounds[2].chunks_exact(32).step_by(197).flatten().map(|x| 1.02 * x + 0.02).collect();
    let find = |index, index_checks| {
        let config = Config { key_size: 32, value_size: 1, memory_size: WORDS, index, index_checks };
        let mut memory = KeyValueMemory::<f32>::new(config).unwrap();
        for keys in &rounds {
            memory.write(keys, &[0.0; WORDS]).unwrap();
        }
        memory.search(&queries, 4, false).unwrap().clone()
    };
    let best = find(IndexKind::Linear, 0);
    let recall = |checks| {
        let found = find(IndexKind::Ivf, checks);
        let count = queries.len() / 32;
        let right = (0..count).flat_map(|query| {
            let words = best.words(query);
            found.words(query).iter().filter(move |word| words.contains(word))
        });
        right.count() as f64 / (4 * count) as f64
    };
    let (usual, more) = (recall(0), recall(8 * 2048));
    println!("{usual:.3} by default, {more:.3} with eight times the checks");
    assert!(more >= usual + 0.03, "{usual:.3}, {more:.3}");
}

#[test]
fn files_hold_what_was_written_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.safetensors");
    let config = config(1_000_000_000, IndexKind::Auto);
    let mut memory = KeyValueMemory::<f32>::new(config.clone()).unwrap();
    memory.write(&[1.0; 10 * KEY], &[2.0; 10 * VALUE]).unwrap();
    key_value::save(&path, &memory).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 2000);
    let loaded = key_value::load::<f32>(&path, &config).unwrap();
    assert!(key_value::to_bytes(&loaded).unwrap() == key_value::to_bytes(&memory).unwrap());
    assert!(matches!(key_value::load::<f32>(&folder.path().join("none"), &config), Err(Error::Io { .. })));
}
