//! Numbers for the few words that an episode touches, among the millions that there are.

/// Hands out slots 0, 1, … to words, and finds the slot of a word.
///
/// A hash table, and not an array over all words: that would take a page of memory, and a wait for it, for nearly every
/// word of a large memory that an episode touches. Slots are given back last first, and so nothing has to move.
#[derive(Debug)]
pub struct Slots {
    /// A word and one more than its slot, at or after the place that the word hashes to; 0 where there is none. A power of two.
    /// Both in one number, so that a look-up waits for one load.
    table: Vec<u64>,
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
        self.find(word).ok()
    }

    /// The slot of a word; or the place in the table where it would be entered.
    #[inline(always)]
    fn find(&self, word: u32) -> Result<usize, usize> {
        let mut place = self.place(word);
        loop {
            let entry = self.table[place];
            let Some(slot) = (entry as u32).checked_sub(1) else { return Err(place) };
            if (entry >> 32) as u32 == word {
                return Ok(slot as usize);
            }
            place = (place + 1) & (self.table.len() - 1);
        }
    }

    /// The slot of a word, which is the next one, of the number [`len`](Self::len) before, if it had none.
    #[inline(always)]
    pub fn get_or_add(&mut self, word: u32) -> usize {
        match self.find(word) {
            Ok(slot) => slot,
            Err(place) => self.add_at(word, place),
        }
    }

    /// Hands out the next slot to a word that has none, whose place is free.
    fn add_at(&mut self, word: u32, place: usize) -> usize {
        let slot = self.words.len();
        self.words.push(word);
        self.places.push(0);
        if 2 * self.words.len() > self.table.len() {
            let twice = 2 * self.table.len();
            self.table.clear();
            self.table.resize(twice, 0);
            for slot in 0..self.words.len() {
                if let Err(place) = self.find(self.words[slot]) {
                    self.enter(slot, place);
                }
            }
        } else {
            self.enter(slot, place);
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

    /// The words of all slots.
    #[inline(always)]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    #[inline(always)]
    fn place(&self, word: u32) -> usize {
        // The upper bits of a product by the golden ratio are well mixed (Knuth 1973).
        let hash = u64::from(word).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        hash as usize & (self.table.len() - 1)
    }

    #[inline(always)]
    fn enter(&mut self, slot: usize, place: usize) {
        self.table[place] = u64::from(self.words[slot]) << 32 | (slot as u64 + 1);
        self.places[slot] = place as u32;
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new()
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
                        prop_assert_eq!(slots.get_or_add(*word), map.len());
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
