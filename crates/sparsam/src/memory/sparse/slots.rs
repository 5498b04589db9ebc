//! Numbers for the few words that an episode touches, among the millions that there are.

/// Hands out slots 0, 1, … to words, and finds the slot of a word.
///
/// A hash table, and not an array over all words: that would take a page of memory, and a wait for it, for nearly every
/// word of a large memory that an episode touches. Slots are given back last first, and so nothing has to move.
#[derive(Debug)]
pub struct Slots {
    /// One more than a slot, at or after the place that its word hashes to; 0 where there is none. A power of two.
    table: Vec<u32>,
    /// The word of each slot.
    words: Vec<u32>,
    /// The place of each slot in the table.
    places: Vec<u32>,
}

const FIRST_TABLE: usize = 64;

impl Slots {
    /// No word has a slot.
    pub fn new() -> Self {
        Self { table: vec![0; FIRST_TABLE], words: Vec::new(), places: Vec::new() }
    }

    /// Number of slots handed out.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// The slot of a word.
    #[inline(always)]
    pub fn get(&self, word: u32) -> Option<usize> {
        let mut place = self.place(word);
        loop {
            let slot = self.table[place].checked_sub(1)? as usize;
            if self.words[slot] == word {
                return Some(slot);
            }
            place = (place + 1) & (self.table.len() - 1);
        }
    }

    /// Hands out the next slot to a word that has none.
    pub fn add(&mut self, word: u32) -> usize {
        let slot = self.words.len();
        self.words.push(word);
        self.places.push(0);
        if 2 * self.words.len() > self.table.len() {
            let twice = 2 * self.table.len();
            self.table.clear();
            self.table.resize(twice, 0);
            for slot in 0..self.words.len() {
                self.enter(slot);
            }
        } else {
            self.enter(slot);
        }
        slot
    }

    /// Takes back all slots but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        for place in self.places.drain(len.min(self.words.len())..) {
            self.table[place as usize] = 0;
        }
        self.words.truncate(len);
    }

    /// The word of a slot.
    #[inline(always)]
    pub fn word(&self, slot: usize) -> u32 {
        self.words[slot]
    }

    #[inline(always)]
    fn place(&self, word: u32) -> usize {
        // The upper bits of a product by the golden ratio are well mixed (Knuth 1973).
        let hash = u64::from(word).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        hash as usize & (self.table.len() - 1)
    }

    fn enter(&mut self, slot: usize) {
        let mut place = self.place(self.words[slot]);
        while self.table[place] != 0 {
            place = (place + 1) & (self.table.len() - 1);
        }
        self.table[place] = slot as u32 + 1;
        self.places[slot] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_agree_with_a_map(words in prop::collection::vec(0u32..400, 0..600), keep in 0usize..500) {
            let mut slots = Slots::new();
            for phase in 0..3 {
                let mut map: BTreeMap<u32, usize> = (0..slots.len()).map(|slot| (slots.word(slot), slot)).collect();
                for word in words.iter().skip(phase * 7) {
                    prop_assert_eq!(slots.get(*word), map.get(word).copied());
                    if !map.contains_key(word) {
                        prop_assert_eq!(slots.add(*word), map.len());
                        map.insert(*word, map.len());
                    }
                }
                prop_assert_eq!(slots.len(), map.len());
                for word in 0..400 {
                    prop_assert_eq!(slots.get(word), map.get(&word).copied());
                }
                slots.truncate(keep / (phase + 1));
                map.retain(|_, slot| *slot < keep / (phase + 1));
                for word in 0..400 {
                    prop_assert_eq!(slots.get(word), map.get(&word).copied());
                }
            }
        }
    }
}
