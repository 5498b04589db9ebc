//! What a step takes in where inputs are tokens: the embedding of one, or of a sentence.

use super::NetworkConfig;
use crate::Real;
use crate::kernels::vector::add;

/// What stands in the places of a step that come after the last token of its sentence.
pub const PADDING: f32 = -1.0;

/// What stands in the place of a token where there is none.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// The weight l_kj of element k of the embedding of the j-th word of a sentence of J words, embeddings having d elements
/// (Sukhbaatar et al. 2015, "End-To-End Memory Networks", section 4.1, "position encoding"; there j and k count from 1, here
/// `word` and `element` from 0):
///
/// l_kj = (1 − j/J) − (k/d)(1 − 2j/J)
///
/// So the order of the words tells in their sum: early ones weigh most in the first elements, late ones in the last.
///
/// ```
/// use sparsam::network::position_weight;
///
/// // Of two words, with embeddings of four elements.
/// assert_eq!(position_weight(0, 2, 0, 4), 0.5);
/// assert_eq!([0, 1, 2, 3].map(|element| position_weight(1, 2, element, 4)), [0.25, 0.5, 0.75, 1.0]);
/// ```
pub fn position_weight(word: usize, words: usize, element: usize, elements: usize) -> f64 {
    let place = (word + 1) as f64 / words as f64;
    (1.0 - place) - (element + 1) as f64 / elements as f64 * (1.0 - 2.0 * place)
}

/// How the tokens of a step become what the controller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Inputs are no tokens.
    Numbers,
    /// The embedding of one token.
    Token,
    /// The sum of the embeddings of so many tokens or fewer, by their positions.
    Sentence(usize),
}

impl Step {
    /// That of a network.
    pub fn of(config: &NetworkConfig) -> Self {
        match (config.vocabulary_size, config.sentence_size) {
            (0, _) => Self::Numbers,
            (_, 0) => Self::Token,
            (_, words) => Self::Sentence(words),
        }
    }

    /// Places for tokens; 0 where inputs are none.
    pub fn tokens(self) -> usize {
        match self {
            Self::Numbers => 0,
            Self::Token => 1,
            Self::Sentence(words) => words,
        }
    }

    /// Writes what a row's controller sees at a step, from the embeddings of all tokens.
    pub fn embed<T: Real>(self, embeddings: &[T], tokens: &[u32], input: &mut [T]) {
        let (width, words) = (input.len(), words(tokens));
        input.fill(T::ZERO);
        for (word, token) in words.iter().enumerate() {
            let embedding = &embeddings[*token as usize * width..][..width];
            if let Self::Sentence(_) = self {
                for (element, (sum, x)) in input.iter_mut().zip(embedding).enumerate() {
                    *sum += T::from_f64(position_weight(word, words.len(), element, width)) * *x;
                }
            } else {
                input.copy_from_slice(embedding);
            }
        }
    }

    /// Adds to the gradients of the embeddings what follows from the gradient of what a row's controller saw at a step.
    pub fn embed_back<T: Real>(self, input_gradient: &[T], tokens: &[u32], gradients: &mut [T]) {
        let (width, words) = (input_gradient.len(), words(tokens));
        for (word, token) in words.iter().enumerate() {
            let gradient = &mut gradients[*token as usize * width..][..width];
            if let Self::Sentence(_) = self {
                for (element, (sum, x)) in gradient.iter_mut().zip(input_gradient).enumerate() {
                    *sum += T::from_f64(position_weight(word, words.len(), element, width)) * *x;
                }
            } else {
                add(gradient, input_gradient);
            }
        }
    }
}

/// The tokens before the places where there is none.
fn words(tokens: &[u32]) -> &[u32] {
    let end = tokens.iter().position(|token| *token == NO_TOKEN).unwrap_or(tokens.len());
    &tokens[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_equation() {
        for (words, elements) in [(1, 1), (1, 5), (3, 4), (12, 64)] {
            for (j, k) in (1..=words).flat_map(|j| (1..=elements).map(move |k| (j, k))) {
                let (jj, kk, d, all) = (j as f64, k as f64, elements as f64, words as f64);
                let expected = (1.0 - jj / all) - (kk / d) * (1.0 - 2.0 * jj / all);
                assert!((position_weight(j - 1, words, k - 1, elements) - expected).abs() < 1e-15);
                assert!((0.0..=1.0).contains(&expected));
            }
        }
    }

    #[test]
    fn a_sentence_of_no_word_is_zero() {
        let mut input = [1.0f32; 2];
        Step::Sentence(3).embed(&[5.0; 4], &[NO_TOKEN; 3], &mut input);
        assert_eq!(input, [0.0; 2]);
        Step::Token.embed(&[1.0, 2.0, 3.0, 4.0], &[1], &mut input);
        assert_eq!(input, [3.0, 4.0]);
    }
}
