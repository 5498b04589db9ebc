//! The kernels, addressing, links and tape of dense memories against plain loops and finite differences.

use proptest::prelude::*;

use super::kernels::squares;
use super::*;
use crate::Arrays;
use crate::kernels::lanes::LANES;
use crate::kernels::simd::Plain;
use crate::memory::softmax::{norm, softmax, softmax_back};

/// Numbers in ±1 that look random.
fn numbers(count: usize, seed: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729 + 13) as f64 * 0.618).sin()).collect()
}

/// Word after word, as the layout has them.
fn laid_out(layout: Layout, words: &[f64]) -> Vec<Sixteen<f64>> {
    let mut contents = vec![[0.0; LANES]; layout.contents_len()];
    layout.fill(&mut contents, &mut |word, content| {
        content.copy_from_slice(&words[word * layout.word_size..][..layout.word_size]);
    });
    contents
}

/// The opposite of [`laid_out`].
fn words(layout: Layout, contents: &[Sixteen<f64>]) -> Vec<f64> {
    let of_word =
        |word: usize| (0..layout.word_size).map(move |j| contents[word / LANES * layout.word_size + j][word % LANES]);
    (0..layout.memory_size).flat_map(of_word).collect()
}

/// Vectors with a number for each word, one for each head, filled up with zeros.
fn vectors(layout: Layout, numbers: &[f64]) -> Vec<Sixteen<f64>> {
    let mut vectors = Vec::new();
    for numbers in numbers.chunks_exact(layout.memory_size) {
        let mut vector = vec![[0.0; LANES]; layout.blocks()];
        vector.as_flattened_mut()[..layout.memory_size].copy_from_slice(numbers);
        vectors.extend(vector);
    }
    vectors
}

/// The opposite of [`vectors`].
fn plain(layout: Layout, vectors: &[Sixteen<f64>]) -> Vec<f64> {
    let heads = vectors.chunks_exact(layout.blocks());
    heads.flat_map(|vector| vector.as_flattened()[..layout.memory_size].to_vec()).collect()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (place, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < tolerance * (1.0 + b.abs()), "number {place} is {a}, not {b}");
    }
}

/// The gradient of `loss` by finite differences.
fn differences(at: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let moved = |place: usize, by: f64| {
        let mut moved = at.to_vec();
        moved[place] += by;
        loss(&moved)
    };
    (0..at.len()).map(|place| (moved(place, 1e-5) - moved(place, -1e-5)) / 2e-5).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn words_are_saved_as_they_were_filled_in(memory_size in 1usize..150, word_size in 1usize..20) {
        let layout = Layout { memory_size, word_size };
        let contents = laid_out(layout, &numbers(memory_size * word_size, 1));
        prop_assert_eq!(words(layout, &contents), numbers(memory_size * word_size, 1));
        let mut arrays = Arrays::default();
        layout.save_contents(&contents, &mut arrays);
        layout.save_vectors("weights", &vectors(layout, &numbers(2 * memory_size, 2)), &mut arrays);
        let mut loaded = vec![[0.0; LANES]; layout.contents_len()];
        layout.load_contents(&mut loaded, &mut arrays).unwrap();
        prop_assert_eq!(loaded, contents);
        let mut weights = vec![[0.0; LANES]; 2 * layout.blocks()];
        layout.load_vectors("weights", &mut weights, &mut arrays).unwrap();
        prop_assert_eq!(plain(layout, &weights), numbers(2 * memory_size, 2));
        prop_assert!(arrays.check_empty().is_ok());
        // Every block is in one strip.
        let blocks: Vec<usize> = layout.strips().flatten().collect();
        prop_assert_eq!(blocks, (0..layout.blocks()).collect::<Vec<_>>());
    }

    #[test]
    fn kernels_are_what_plain_loops_make(memory_size in 1usize..150, word_size in 1usize..20, heads in 1usize..7) {
        let layout = Layout { memory_size, word_size };
        let content = numbers(memory_size * word_size, 3);
        let contents = laid_out(layout, &content);
        let (of_heads, weight) = (numbers(heads * word_size, 4), numbers(heads * memory_size, 5));
        let weights = vectors(layout, &weight);
        let word = |i: usize| &content[i * word_size..][..word_size];
        let head = |h: usize| &of_heads[h * word_size..][..word_size];

        let mut found = vec![[0.0; LANES]; heads * layout.blocks()];
        let mut found_squares = vec![[0.0; LANES]; layout.blocks()];
        let (mut added, mut erased) = (contents.clone(), contents.clone());
        let mut sums = Sums::default();
        sums.start(heads, word_size);
        for strip in layout.strips() {
            let range = layout.contents(&strip);
            products(word_size, &contents[range.clone()], &of_heads, &mut found[strip.start..], layout.blocks());
            squares(word_size, &contents[range.clone()], &mut found_squares[strip.clone()]);
            let of_strip = &weights[strip.start..];
            spread(word_size, &mut added[range.clone()], of_strip, layout.blocks(), &of_heads);
            erase(word_size, &mut erased[range.clone()], of_strip, layout.blocks(), &of_heads);
            sums.add(&contents[range], of_strip, layout.blocks());
        }
        let places = |width: usize| (0..memory_size * width).map(move |place| (place / width, place % width));
        let by_hand: Vec<f64> = (0..heads).flat_map(|h| (0..memory_size).map(move |i| (h, i)))
            .map(|(h, i)| dot(head(h), word(i))).collect();
        close(&plain(layout, &found), &by_hand, 1e-12);
        let by_hand: Vec<f64> = (0..memory_size).map(|i| dot(word(i), word(i))).collect();
        close(&plain(layout, &found_squares), &by_hand, 1e-12);
        let by_hand: Vec<f64> = places(word_size)
            .map(|(i, j)| word(i)[j] + (0..heads).map(|h| weight[h * memory_size + i] * head(h)[j]).sum::<f64>())
            .collect();
        close(&words(layout, &added), &by_hand, 1e-12);
        let by_hand: Vec<f64> = places(word_size)
            .map(|(i, j)| word(i)[j] * (0..heads).map(|h| 1.0 - weight[h * memory_size + i] * head(h)[j]).product::<f64>())
            .collect();
        close(&words(layout, &erased), &by_hand, 1e-12);
        for h in 0..heads {
            let mut sum = vec![0.0; word_size];
            sums.finish(Plain, h, &mut sum);
            let by_hand: Vec<f64> = (0..word_size)
                .map(|j| (0..memory_size).map(|i| weight[h * memory_size + i] * word(i)[j]).sum())
                .collect();
            close(&sum, &by_hand, 1e-12);
        }
    }

    #[test]
    fn erasing_has_its_gradient(memory_size in 1usize..40, word_size in 1usize..5, heads in 1usize..7) {
        let layout = Layout { memory_size, word_size };
        let content = numbers(memory_size * word_size, 6);
        let (erases, weight) = (numbers(heads * word_size, 7), numbers(heads * memory_size, 8));
        let over = numbers(memory_size * word_size, 9);
        let loss = |erases: &[f64], weight: &[f64]| {
            let mut contents = laid_out(layout, &content);
            erase(word_size, &mut contents, &vectors(layout, weight), layout.blocks(), erases);
            dot(&words(layout, &contents), &over)
        };
        let mut erasure = Erasure::default();
        erasure.start(heads, word_size);
        let (contents, gradients) = (laid_out(layout, &content), laid_out(layout, &over));
        let (weights, mut weight_gradients) = (vectors(layout, &weight), vectors(layout, &vec![0.0; weight.len()]));
        for strip in layout.strips() {
            let range = layout.contents(&strip);
            let (weights, to) = (&weights[strip.start..], &mut weight_gradients[strip.start..]);
            erasure.strip_back(&contents[range.clone()], &gradients[range], weights, &erases, to, layout.blocks());
        }
        close(&plain(layout, &weight_gradients), &differences(&weight, |weight| loss(&erases, weight)), 1e-7);
        let by_differences = differences(&erases, |erases| loss(erases, &weight));
        for (h, expected) in by_differences.chunks_exact(word_size).enumerate() {
            let mut gradient = vec![0.0; word_size];
            erasure.finish(Plain, h, &mut gradient);
            close(&gradient, expected, 1e-7);
        }
    }

    #[test]
    fn addressing_is_a_softmax_over_cosines(memory_size in 1usize..150, word_size in 1usize..5, masked: bool) {
        let heads = 2;
        let layout = Layout { memory_size, word_size };
        let content = numbers(memory_size * word_size, 10);
        let keys = numbers(heads * word_size, 11);
        let masks: Vec<f64> = numbers(heads * word_size, 12).iter().map(|x| 0.5 + 0.4 * x).collect();
        let strengths = [1.5, 4.0];
        let over = numbers(heads * memory_size, 13);

        let weights = |content: &[f64], keys: &[f64], masks: &[f64], strengths: &[f64]| -> Vec<f64> {
            let mut all = Vec::new();
            for h in 0..heads {
                let masked = |vector: &[f64]| -> Vec<f64> {
                    let mask = |j: usize| if masked { masks[h * word_size + j] } else { 1.0 };
                    vector.iter().enumerate().map(|(j, x)| x * mask(j)).collect()
                };
                let key = masked(&keys[h * word_size..][..word_size]);
                let logit = |word: &[f64]| {
                    let word = masked(word);
                    strengths[h] * dot(&key, &word) / (norm(dot(&key, &key)) * norm(dot(&word, &word)))
                };
                let mut logits: Vec<f64> = content.chunks_exact(word_size).map(logit).collect();
                softmax(&mut logits);
                all.extend(logits);
            }
            all
        };
        let by_hand = weights(&content, &keys, &masks, &strengths);
        let loss = |content: &[f64], keys: &[f64], masks: &[f64], strengths: &[f64]| {
            dot(&weights(content, keys, masks, strengths), &over)
        };

        let contents = laid_out(layout, &content);
        let mut found = vectors(layout, &vec![0.0; heads * memory_size]);
        let mut logits = vectors(layout, &over);
        let mut content_gradients = vec![[0.0; LANES]; layout.contents_len()];
        let part = |all: &'_ [f64], h: usize| all[h * word_size..][..word_size].to_vec();
        let own: Vec<_> = (0..heads).map(|h| (part(&keys, h), part(&masks, h), strengths[h])).collect();
        let (mut plain_addressing, mut masked_addressing) = (Addressing::default(), Masked::default());
        if masked {
            masked_addressing.start(Plain, word_size, own.iter().map(|(key, mask, s)| (&key[..], &mask[..], *s)));
        } else {
            plain_addressing.start(Plain, word_size, own.iter().map(|(key, _, strength)| (&key[..], *strength)));
        }
        for strip in layout.strips() {
            let contents = &contents[layout.contents(&strip)];
            if masked {
                masked_addressing.strip(Plain, layout, &strip, contents, &mut found);
            } else {
                plain_addressing.strip(Plain, layout, &strip, contents, &mut found);
            }
        }
        if masked {
            masked_addressing.finish(layout, &mut found);
            masked_addressing.start_back();
        } else {
            plain_addressing.finish(layout, &mut found);
            plain_addressing.start_back();
        }
        close(&plain(layout, &found), &by_hand, 1e-9);

        for (weights, gradient) in found.chunks_exact(layout.blocks()).zip(logits.chunks_exact_mut(layout.blocks())) {
            softmax_back(Plain, weights.as_flattened(), gradient.as_flattened_mut());
        }
        for strip in layout.strips() {
            let range = layout.contents(&strip);
            let (contents, to) = (&contents[range.clone()], &mut content_gradients[range]);
            let logits = &mut logits[strip.start..];
            if masked {
                masked_addressing.strip_back(Plain, contents, logits, layout.blocks(), to);
            } else {
                plain_addressing.strip_back(Plain, contents, logits, layout.blocks(), to);
            }
        }
        close(
            &words(layout, &content_gradients),
            &differences(&content, |content| loss(content, &keys, &masks, &strengths)),
            1e-5,
        );
        let of_keys = differences(&keys, |keys| loss(&content, keys, &masks, &strengths));
        let of_masks = differences(&masks, |masks| loss(&content, &keys, masks, &strengths));
        let of_strengths = differences(&strengths, |strengths| loss(&content, &keys, &masks, strengths));
        for h in 0..heads {
            let (mut key_gradient, mut mask_gradient) = (vec![0.0; word_size], vec![0.0; word_size]);
            let strength_gradient = if masked {
                masked_addressing.finish_back(Plain, h, &mut key_gradient, &mut mask_gradient)
            } else {
                plain_addressing.finish_back(Plain, h, &mut key_gradient)
            };
            close(&key_gradient, &part(&of_keys, h), 1e-5);
            close(&[strength_gradient], &of_strengths[h..=h], 1e-5);
            if masked {
                close(&mask_gradient, &part(&of_masks, h), 1e-5);
            }
        }
    }

    #[test]
    fn links_are_made_and_followed_as_the_equations_say(memory_size in 1usize..20, heads in 1usize..7) {
        let layout = Layout { memory_size, word_size: 1 };
        let (n, blocks) = (memory_size, layout.blocks());
        let [write, precedence, before] = [n, n, n * n].map(|count| numbers(count, count + 14));
        let before: Vec<f64> = before.iter().enumerate().map(|(i, x)| if i % (n + 1) == 0 { 0.0 } else { *x }).collect();
        let read = numbers(heads * n, 17);
        let (over_forward, over_backward, over_links) =
            (numbers(heads * n, 18), numbers(heads * n, 19), numbers(n * n, 20));
        // Links, f and b.
        let follow = |write: &[f64], precedence: &[f64], read: &[f64], before: &[f64]| {
            let mut links = vec![0.0; n * n];
            for i in 0..n {
                for j in (0..n).filter(|j| *j != i) {
                    links[i * n + j] = (1.0 - write[i] - write[j]) * before[i * n + j] + write[i] * precedence[j];
                }
            }
            let (mut forward, mut backward) = (vec![0.0; heads * n], vec![0.0; heads * n]);
            for h in 0..heads {
                for i in 0..n {
                    for j in 0..n {
                        forward[h * n + i] += links[i * n + j] * read[h * n + j];
                        backward[h * n + j] += links[i * n + j] * read[h * n + i];
                    }
                }
            }
            (links, forward, backward)
        };
        let loss = |write: &[f64], precedence: &[f64], read: &[f64], before: &[f64]| {
            let (links, forward, backward) = follow(write, precedence, read, before);
            dot(&links, &over_links) + dot(&forward, &over_forward) + dot(&backward, &over_backward)
        };
        // A matrix is filled up to whole registers in both directions.
        let matrix = |values: &[f64]| {
            let mut matrix = vectors(layout, values);
            matrix.resize(blocks * LANES * blocks, [0.0; LANES]);
            matrix
        };
        let square = |matrix: &[Sixteen<f64>]| plain(layout, &matrix[..n * blocks]);

        let (of_write, of_precedence, of_read) =
            (vectors(layout, &write), vectors(layout, &precedence), vectors(layout, &read));
        let link = Link { blocks, write: &of_write, precedence: &of_precedence, read: &of_read };
        let old = matrix(&before);
        let mut now = matrix(&vec![0.0; n * n]);
        let mut forward = vectors(layout, &vec![0.0; heads * n]);
        let mut backward = forward.clone();
        follow_links(link, &old, &mut now, &mut forward, &mut backward);
        let by_hand = follow(&write, &precedence, &read, &before);
        close(&square(&now), &by_hand.0, 1e-12);
        close(&plain(layout, &forward), &by_hand.1, 1e-12);
        close(&plain(layout, &backward), &by_hand.2, 1e-12);

        let mut links = matrix(&over_links);
        let zero = vectors(layout, &vec![0.0; n]);
        let [mut to_write, mut lost, mut to_precedence] = [zero.clone(), zero.clone(), zero];
        let mut to_read = vectors(layout, &vec![0.0; heads * n]);
        follow_links_back(link, &old, LinkGradients {
            forward: &vectors(layout, &over_forward),
            backward: &vectors(layout, &over_backward),
            links: &mut links,
            read: &mut to_read,
            write: &mut to_write,
            lost: &mut lost,
            precedence: &mut to_precedence,
        });
        close(&plain(layout, &to_write), &differences(&write, |x| loss(x, &precedence, &read, &before)), 1e-7);
        close(&plain(layout, &to_precedence), &differences(&precedence, |x| loss(&write, x, &read, &before)), 1e-7);
        close(&plain(layout, &to_read), &differences(&read, |x| loss(&write, &precedence, x, &before)), 1e-7);
        // The diagonal of the links before does not matter, and its gradient is not asked for.
        let mut over_before = differences(&before, |x| loss(&write, &precedence, &read, x));
        let mut found = square(&links);
        for i in 0..n {
            (over_before[i * n + i], found[i * n + i]) = (0.0, 0.0);
        }
        close(&found, &over_before, 1e-7);
    }
}

#[test]
fn a_tape_keeps_every_frame_and_begins_anew_where_it_ended() {
    // Frames of a third of a chunk and of more than one.
    for frame_len in [10_000, 40_000] {
        let mut frames = Frames::<f64>::new(frame_len).unwrap();
        let value = |frame: &[Sixteen<f64>]| (frame.len(), frame[0][0], frame[frame_len - 1][LANES - 1]);
        let put = |frames: &mut Frames<f64>, record: bool, number: f64| {
            let (before, now) = frames.step(record);
            (now[0][0], now[frame_len - 1][LANES - 1]) = (number, number);
            value(before)
        };
        // Without a tape two frames are enough.
        let growth = frames.growth(1);
        for number in 1..8 {
            let before = f64::from(number - 1);
            assert_eq!(put(&mut frames, false, f64::from(number)), (frame_len, before, before));
            assert_eq!(frames.position(), 0);
        }
        assert!(growth > 0 && frames.growth(1) == 0);
        for number in 8..15 {
            let before = f64::from(number - 1);
            assert_eq!(put(&mut frames, true, f64::from(number)), (frame_len, before, before));
        }
        assert_eq!((frames.position(), frames.at_end()), (7, true));
        for number in (8..15).rev() {
            let (before, now) = frames.step_back();
            assert_eq!((value(before).1, value(now).2), (f64::from(number - 1), f64::from(number)));
        }
        assert_eq!((value(frames.now()).1, frames.at_end()), (7.0, false));
        frames.replay();
        assert_eq!((value(frames.now()).1, frames.position()), (14.0, 7));
        // Steps that were undone are forgotten by the next one.
        frames.step_back();
        put(&mut frames, true, 20.0);
        assert_eq!((value(frames.latest().0).1, value(frames.latest().1).1), (13.0, 20.0));
        frames.start_episode();
        assert_eq!((value(frames.now()).1, frames.position(), frames.at_end()), (20.0, 0, true));
    }
}
