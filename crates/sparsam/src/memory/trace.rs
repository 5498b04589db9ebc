//! What a memory's trace consists of: words with weights, and numbers of heads.

use crate::arrays::NO_WORD;
use crate::{Arrays, Real};

/// Puts words with weights, of several heads, into `to`, `name` followed by `_words` and `_weights`. Every head has
/// `capacity` places; those without a word have [`NO_WORD`] and the weight 0.
pub fn put_pairs<T: Real>(
    heads: impl Iterator<Item = impl Iterator<Item = (u32, T)>>,
    capacity: usize,
    name: &str,
    to: &mut Arrays<T>,
) {
    let (mut words, mut weights, mut count) = (Vec::new(), Vec::new(), 0);
    for head in heads {
        for (word, weight) in head {
            words.push(word);
            weights.push(weight);
        }
        count += 1;
        words.resize(count * capacity, NO_WORD);
        weights.resize(count * capacity, T::ZERO);
    }
    to.put_whole(format!("{name}_words"), &[count, capacity], words);
    to.put_real(format!("{name}_weights"), &[count, capacity], weights);
}

/// Puts a number of each head into `to`.
pub fn put_heads<T: Real>(numbers: impl Iterator<Item = T>, name: &str, to: &mut Arrays<T>) {
    let numbers: Vec<T> = numbers.collect();
    to.put_real(name, &[numbers.len()], numbers);
}
