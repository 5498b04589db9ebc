//! Tokens and their embeddings, and sentences of them, with every controller.

use sparsam::network::{PADDING, position_weight};
use sparsam::{Error, Model, Network, NetworkConfig, Parameters, Runner};

use crate::common::{Numbers, controllers};
use crate::sam::sam;

const VOCABULARY: usize = 5;
const WIDTH: usize = 3;
const ROWS: usize = 6;
/// More rows than one thread runs together, one of them without a step.
const LENGTHS: [usize; ROWS] = [9, 4, 40, 0, 1, 7];
const STEPS: usize = 40;

fn network(config: NetworkConfig) -> Network<f64> {
    let mut network = Network::new(config, 3).expect("it fits");
    let mut numbers = Numbers::new(4);
    for value in network.parameters_mut().values_mut() {
        *value = 0.7 * numbers.next();
    }
    network
}

/// A network of tokens, and the same one behind its embeddings.
fn pair(config: NetworkConfig) -> (Network<f64>, Network<f64>) {
    let of_tokens = network(config.clone().with_vocabulary(VOCABULARY));
    let mut behind = Network::new(config, 3).expect("it fits");
    let embeddings = VOCABULARY * WIDTH;
    behind.parameters_mut().values_mut().copy_from_slice(&of_tokens.parameters().values()[embeddings..]);
    (of_tokens, behind)
}

/// Tokens within the lengths, and what is none past them.
fn tokens() -> Vec<f64> {
    let mut numbers = Numbers::new(9);
    let token = |place: usize| {
        let number = ((numbers.next() + 1.0) / 2.0 * VOCABULARY as f64).floor();
        if place / ROWS < LENGTHS[place % ROWS] { number } else { f64::NAN }
    };
    (0..STEPS * ROWS).map(token).collect()
}

fn embedded(network: &Network<f64>, tokens: &[f64]) -> Vec<f64> {
    let weight = network.parameters().get("embedding.weight").expect("it has tokens");
    let of = |token: &f64| {
        if token.is_nan() { [f64::NAN; WIDTH].to_vec() } else { weight[*token as usize * WIDTH..][..WIDTH].to_vec() }
    };
    tokens.iter().flat_map(of).collect()
}

/// Outputs, with a tape and without; gradients of the parameters and of the inputs.
fn run(network: &Network<f64>, inputs: &[f64]) -> (Vec<f64>, Parameters<f64>, Vec<f64>) {
    let mut runner = Runner::new(network, ROWS).expect("it fits");
    let mut outputs = vec![0.0; STEPS * ROWS * network.config().output_len()];
    runner.forward(network, inputs, &LENGTHS, &mut outputs).expect("shapes fit");
    let (mut gradients, mut of_inputs) = (network.zeros(), vec![f64::NAN; inputs.len()]);
    let weights = Numbers::new(5).vector(outputs.len());
    runner.backward(network, &weights, &mut gradients, Some(&mut of_inputs)).expect("a forward came before");
    let mut inferred = vec![0.0; outputs.len()];
    runner.infer(network, inputs, &LENGTHS, &mut inferred).expect("shapes fit");
    outputs.append(&mut inferred);
    (outputs, gradients, of_inputs)
}

#[test]
fn are_their_embeddings() {
    for controller in controllers() {
        for memory in [Model::Lstm, sam(20, 4, 2, 3)] {
            let config =
                NetworkConfig::new(WIDTH, 2).with_hidden_size(5).with_controller(controller).with_memory(memory);
            let (of_tokens, behind) = pair(config);
            let tokens = tokens();
            let (outputs, gradients, of_inputs) = run(&of_tokens, &tokens);
            let (expected, other_gradients, input_gradients) = run(&behind, &embedded(&of_tokens, &tokens));
            assert_eq!(outputs, expected);
            assert_eq!(gradients.values()[VOCABULARY * WIDTH..], *other_gradients.values());
            assert!(of_inputs.iter().all(|gradient| *gradient == 0.0));
            let mut sums = [0.0; VOCABULARY * WIDTH];
            for (token, gradient) in
                tokens.iter().zip(input_gradients.chunks(WIDTH)).filter(|(token, _)| !token.is_nan())
            {
                let place = *token as usize * WIDTH;
                sums[place..place + WIDTH].iter_mut().zip(gradient).for_each(|(sum, x)| *sum += x);
            }
            let embedding = gradients.get("embedding.weight").expect("it has tokens");
            assert!(embedding.iter().zip(sums).all(|(found, sum)| (found - sum).abs() < 1e-12 * (1.0 + sum.abs())));
        }
    }
}

#[test]
fn embeddings_have_the_gradients_of_finite_differences() {
    for controller in controllers() {
        let config =
            NetworkConfig::new(WIDTH, 2).with_hidden_size(4).with_controller(controller).with_memory(Model::Lstm);
        check_embeddings(network(config.with_vocabulary(VOCABULARY)), &[0.0, 3.0, 1.0, 0.0, 0.0, 4.0], [3, 3]);
    }
}

/// Checks the gradients of embeddings by finite differences, over two sequences of three steps at most in which token 2 does
/// not come.
fn check_embeddings(mut network: Network<f64>, inputs: &[f64], lengths: [usize; 2]) {
    let loss = |network: &Network<f64>, gradients: Option<&mut Parameters<f64>>| {
        let mut runner = Runner::new(network, 2).expect("it fits");
        let mut outputs = vec![0.0; 3 * 2 * 2];
        runner.forward(network, inputs, &lengths, &mut outputs).expect("shapes fit");
        let weights = Numbers::new(5).vector(outputs.len());
        if let Some(gradients) = gradients {
            runner.backward(network, &weights, gradients, None).expect("a forward came before");
        }
        outputs.iter().zip(&weights).map(|(y, w)| y * w).sum::<f64>()
    };
    let mut gradients = network.zeros();
    loss(&network, Some(&mut gradients));
    for place in 0..VOCABULARY * WIDTH {
        let mut at = |step: f64| {
            let value = &mut network.parameters_mut().get_mut("embedding.weight").expect("it has tokens")[place];
            let before = *value;
            *value += step;
            let loss = loss(&network, None);
            network.parameters_mut().get_mut("embedding.weight").expect("it has tokens")[place] = before;
            loss
        };
        let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
        let found = gradients.get("embedding.weight").expect("it has tokens")[place];
        let controller = network.config().controller;
        assert!((found - numeric).abs() < 2e-8, "{controller:?} {place}: {found} but by differences {numeric}");
        assert!(place / WIDTH != 2 || found == 0.0, "a token that does not occur has no gradient");
    }
}

/// Sentences of at most so many words.
const WORDS: usize = 4;

/// Sentences of any number of words, none among them, within the lengths, and what is none past them.
fn sentences() -> Vec<f64> {
    let mut numbers = Numbers::new(12);
    let mut below = |count: usize| ((numbers.next() + 1.0) / 2.0 * count as f64).floor();
    let mut all = Vec::new();
    for place in 0..STEPS * ROWS {
        let words = below(WORDS + 1) as usize;
        let there = place / ROWS < LENGTHS[place % ROWS];
        let word = |word| if word < words { below(VOCABULARY) } else { f64::from(PADDING) };
        all.extend((0..WORDS).map(word).map(|token| if there { token } else { f64::NAN }));
    }
    all
}

/// What stands behind the embeddings: the sums of sentences by their equation.
fn summed(network: &Network<f64>, sentences: &[f64]) -> Vec<f64> {
    let weight = network.parameters().get("embedding.weight").expect("it has tokens");
    let of = |sentence: &[f64]| {
        let words: Vec<usize> = sentence.iter().filter(|token| **token >= 0.0).map(|token| *token as usize).collect();
        let of_element = |k: usize| {
            let of_word =
                |(j, token): (usize, &usize)| position_weight(j, words.len(), k, WIDTH) * weight[token * WIDTH + k];
            words.iter().enumerate().map(of_word).sum::<f64>()
        };
        (0..WIDTH).map(of_element).collect::<Vec<_>>()
    };
    sentences.chunks(WORDS).flat_map(of).collect()
}

#[test]
fn sentences_are_sums_of_their_words_by_position() {
    for controller in controllers() {
        for memory in [Model::Lstm, sam(20, 4, 2, 3)] {
            let config =
                NetworkConfig::new(WIDTH, 2).with_hidden_size(5).with_controller(controller).with_memory(memory);
            let (of_tokens, behind) = pair(config);
            let sizes = of_tokens.config().clone().with_sentences(WORDS);
            let of_sentences = Network::from_parameters(sizes, of_tokens.parameters().clone()).expect("it fits");
            assert_eq!(of_sentences.config().input_len(), WORDS);
            let sentences = sentences();
            let (outputs, gradients, of_inputs) = run(&of_sentences, &sentences);
            let (expected, other_gradients, _) = run(&behind, &summed(&of_sentences, &sentences));
            let near = |one: &[f64], other: &[f64]| {
                one.iter().zip(other).all(|(x, y)| (x - y).abs() < 1e-12 * (1.0 + y.abs()))
            };
            assert!(near(&outputs, &expected));
            assert!(near(&gradients.values()[VOCABULARY * WIDTH..], other_gradients.values()));
            assert!(of_inputs.iter().all(|gradient| *gradient == 0.0));
        }
    }
}

#[test]
fn words_of_sentences_have_the_gradients_of_finite_differences() {
    for controller in controllers() {
        let config =
            NetworkConfig::new(WIDTH, 2).with_hidden_size(4).with_controller(controller).with_memory(Model::Lstm);
        let network = network(config.with_vocabulary(VOCABULARY).with_sentences(3));
        // One word twice in a sentence; none in another.
        let sentences =
            [0.0, 3.0, 0.0, 1.0, -1.0, -1.0, 4.0, 0.0, -1.0, -1.0, -1.0, -1.0, 3.0, 1.0, 4.0, f64::NAN, 9.0, 0.5];
        check_embeddings(network, &sentences, [3, 2]);
    }
}

#[test]
fn what_is_no_sentence_is_named() {
    let config = NetworkConfig::new(WIDTH, 2).with_hidden_size(4).with_memory(Model::Lstm);
    let network = network(config.clone().with_vocabulary(VOCABULARY).with_sentences(3));
    let mut runner = Runner::new(&network, 1).expect("it fits");
    for (sentence, place) in [
        ([5.0, -1.0, -1.0], 0),
        ([1.0, 0.5, -1.0], 1),
        ([-1.0, -1.0, 2.0], 2),
        ([1.0, -2.0, -1.0], 1),
        // Nothing but -1 comes after a -1.
        ([1.0, -1.0, 0.5], 2),
        ([1.0, -1.0, 99.0], 2),
        ([1.0, -1.0, -7.0], 2),
        ([1.0, -1.0, f64::NAN], 2),
    ] {
        let inputs = [&[1.0, 2.0, 3.0], &sentence[..]].concat();
        let error = runner.forward(&network, &inputs, &[2], &mut [0.0; 4]).unwrap_err();
        let token = sentence[place];
        let expected = format!(
            "the input at time step 1 of sequence 0 has {token} at place {place}, but a sentence is of tokens, whole numbers \
             from 0 to 4, with -1 in every place after the last"
        );
        assert_eq!(error.to_string(), expected);
        runner.forward(&network, &inputs, &[1], &mut [0.0; 4]).expect("it is past the end");
    }
    let error = config.with_sentences(3).validate().unwrap_err().to_string();
    assert_eq!(error, "sentence_size = 3 does not work: sentences are of tokens; choose a vocabulary_size");
}

#[test]
fn what_is_no_token_is_named() {
    let config = NetworkConfig::new(WIDTH, 2).with_hidden_size(4).with_memory(Model::Lstm);
    let network = network(config.with_vocabulary(VOCABULARY));
    let mut runner = Runner::new(&network, 2).expect("it fits");
    for token in [5.0, -1.0, 0.5, f64::NAN, f64::INFINITY] {
        let inputs = [0.0, 1.0, 2.0, token];
        let error = runner.forward(&network, &inputs, &[2, 2], &mut [0.0; 8]).unwrap_err();
        assert!(matches!(error, Error::Token { step: 1, row: 1, vocabulary: 5, .. }), "{error}");
        let expected =
            format!("the input at time step 1 of sequence 1 is {token}, but tokens are whole numbers from 0 to 4");
        assert_eq!(error.to_string(), expected);
        runner.forward(&network, &inputs, &[2, 1], &mut [0.0; 8]).expect("it is past the end");
    }
}
