//! Inputs alone, for networks that are trained: from files, or line by line.

use std::path::Path;

use serde_json::Value;
use sparsam::NetworkConfig;

use super::sequences::{InputRows, Inputs, Scaling, read_inputs};
use super::text::Corpus;
use crate::Error;

/// Reads inputs for the networks of a run, as its task reads its data: scaled as they were in training, and text as the
/// tokens that the run knows.
#[derive(Clone, Debug)]
pub struct InputReader {
    inputs: Inputs,
    scaling: Option<Scaling>,
    text: Option<Corpus>,
}

impl InputReader {
    /// For networks that were trained on sequences; `kept` is what their run keeps of them.
    pub(crate) fn of_sequences(kept: Option<&Value>, network: &NetworkConfig) -> Result<Self, Error> {
        if network.sentence_size > 0 {
            let reason = "each step of the run's networks reads a sentence of a story, which no file and no line of one's own can hold; \
                          sparsam eval and inspect give them the stories of the task, which inspect shows with the words' numbers";
            return Err(Error::option("sentences", true, reason));
        }
        let inputs = match network.vocabulary_size {
            0 => Inputs::Numbers(network.input_size),
            vocabulary => Inputs::Tokens(vocabulary),
        };
        let scaling = kept.map(Scaling::kept).transpose().map_err(|error| {
            Error::data("the scaling of the run", format!("it cannot be read ({error}); restore task.json"))
        })?;
        Ok(Self { inputs, scaling: scaling.flatten(), text: None })
    }

    /// For networks that were trained on text.
    pub(crate) fn of_text(text: Corpus, network: &NetworkConfig) -> Self {
        Self { inputs: Inputs::Tokens(network.vocabulary_size), scaling: None, text: Some(text) }
    }

    /// The sequences of a file: .jsonl or .npz, or for a run that was trained on text a file of text, cut into pieces as
    /// an evaluation cuts it.
    ///
    /// # Errors
    /// [`Error::Data`] names the line or the array that does not fit; [`Error::Io`].
    pub fn file(&self, path: &Path) -> Result<InputRows, Error> {
        if let Some(text) = &self.text {
            return text.pieces(path);
        }
        let mut rows = read_inputs(path, self.inputs)?;
        if let Some(scaling) = &self.scaling {
            scaling.apply(rows.inputs_mut());
        }
        Ok(rows)
    }

    /// The input of one time step: a line with its numbers, `[0.5, 1.0]`, its token, `7`, or of text `"a"`; or one of these
    /// with its name, `{"input": …}`.
    ///
    /// # Errors
    /// A sentence says what was expected.
    pub fn step(&self, line: &str) -> Result<Vec<f32>, String> {
        let expected = || match (self.inputs, &self.text) {
            (Inputs::Numbers(size), _) => {
                format!("{size} numbers were expected as [0.5, ...], the inputs of a time step")
            }
            (Inputs::Tokens(_), Some(_)) => "a token was expected as \"a\", a text, or as its number".to_owned(),
            (Inputs::Tokens(_), None) => "a token was expected, a whole number from 0 on".to_owned(),
        };
        let mut value: Value = serde_json::from_str(line).map_err(|_| expected())?;
        if let Some(input) = value.get_mut("input") {
            value = input.take();
        }
        match self.inputs {
            Inputs::Numbers(size) => {
                // As numbers of single precision are read.
                let mut numbers = serde_json::from_value::<Vec<f32>>(value).map_err(|_| expected())?;
                if numbers.len() != size {
                    return Err(format!("it has {} numbers where the network takes {size}", numbers.len()));
                }
                if let Some(bad) = numbers.iter().find(|number| !number.is_finite()) {
                    return Err(format!("it holds {bad}, where finite numbers were expected"));
                }
                if let Some(scaling) = &self.scaling {
                    scaling.apply(&mut numbers);
                }
                Ok(numbers)
            }
            Inputs::Tokens(vocabulary) => {
                let token = match (&value, &self.text) {
                    (Value::String(token), Some(text)) => match text.only_token(token) {
                        Some(token) => Some(token),
                        None => return Err(format!("{token:?} is not one token but several, or none; {}", expected())),
                    },
                    (Value::Array(tokens), _) if tokens.len() == 1 => tokens[0].as_u64(),
                    (value, _) => value.as_u64(),
                };
                let token = token.ok_or_else(expected)?;
                if token >= vocabulary as u64 {
                    return Err(format!("there is no token {token}; the network knows {vocabulary}"));
                }
                Ok(vec![token as f32])
            }
        }
    }

    /// What a class stands for, where that is known: the token of a text, of which the first, which stands for all unknown
    /// ones, is none.
    pub fn name(&self, class: usize) -> Option<&str> {
        self.text.as_ref()?.vocabulary.name(class)
    }
}
