//! The interface vector, by which a controller drives one step of a memory: its named fields and their first biases.

use std::ops::Range;

/// A field of an interface vector, as the memory that reads it declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in the papers: "key", "write gate", ...
    pub name: &'static str,
    /// Its elements.
    pub length: usize,
    /// How the interface layer of a new network initialises it.
    pub first: First,
}

/// How the interface layer of a new network initialises a field (ours; the papers do not say).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// This bias, and small random weights, so that the field starts at about the bias: see [`inverse_oneplus`] and
    /// [`inverse_softplus`].
    Bias(f64),
    /// The weights of the field of this number in the interface, and no bias: the two start as the same function of the
    /// controller's state.
    SameAs(usize),
}

impl Field {
    /// A field that starts about zero: a key, a word, an equal share.
    pub fn new(name: &'static str, length: usize) -> Self {
        Self { name, length, first: First::Bias(0.0) }
    }

    /// The same with a bias of its own.
    #[must_use]
    pub fn with_bias(self, bias: f64) -> Self {
        Self { first: First::Bias(bias), ..self }
    }

    /// The same with the first weights of another field.
    #[must_use]
    pub fn same_as(self, field: usize) -> Self {
        Self { first: First::SameAs(field), ..self }
    }
}

/// Elements of an interface with these fields.
pub fn interface_len(fields: &[Field]) -> usize {
    fields.iter().map(|field| field.length).sum()
}

/// Where each of the fields stands in the interface vector.
pub fn places(fields: &[Field]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut end = 0;
    fields.iter().map(move |field| {
        end += field.length;
        end - field.length..end
    })
}

/// The x for which oneplus(x) = 1 + ln(1 + eˣ) is `value`, which is above 1: ln(e^(value - 1) - 1).
pub fn inverse_oneplus(value: f64) -> f64 {
    inverse_softplus(value - 1.0)
}

/// The x for which softplus(x) = ln(1 + eˣ) is `value`, which is above 0: ln(e^value - 1).
pub fn inverse_softplus(value: f64) -> f64 {
    value.exp_m1().ln()
}

/// The bias with which a write gate starts (ours): σ(2), mostly open, so that what is seen is stored.
pub(crate) const WRITE_GATE: f64 = 2.0;

/// The bias with which an interpolation gate starts (ours): σ(-2), so that new words are written rather than those read last.
pub(crate) const INTERPOLATION_GATE: f64 = -2.0;

/// The strength with which keys start (ours). A softmax over cosines is nearly flat at a strength of 1.7, which a bias of 0
/// would give, and then no gradient tells one word from another.
pub(crate) const STRENGTH: f64 = 10.0;

/// Whether the key of this head starts as the word that is written (ours): half of them do, the first ones. A controller in
/// about the same state as when a word was written then finds it before anything was learnt; the other half find what
/// they happen to, and have to learn.
pub(crate) fn key_starts_as_word(head: usize, heads: usize) -> bool {
    head < heads.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_biases_give_what_they_are_for() {
        let softplus = |x: f64| x.exp().ln_1p();
        assert!((1.0 + softplus(inverse_oneplus(10.0)) - 10.0).abs() < 1e-12);
        assert!((softplus(inverse_softplus(5.0)) - 5.0).abs() < 1e-12);
    }

    #[test]
    fn fields_follow_each_other() {
        let fields = [Field::new("key", 4), Field::new("strength", 1), Field::new("write word", 4).same_as(0)];
        assert_eq!(interface_len(&fields), 9);
        assert_eq!(places(&fields).collect::<Vec<_>>(), [0..4, 4..5, 5..9]);
    }
}
