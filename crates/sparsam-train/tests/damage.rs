//! Damage at any place of any checkpoint of a run is noticed before anything goes on from it.

use std::fs;

use sparsam::Model;
use sparsam::memory::sam;
use sparsam_train::task::Copy;
use sparsam_train::{Config, Event, Random, Stream, TaskConfig, Trainer, load_network};

/// Bits that are flipped: 10,000 of them with `SPARSAM_LONG_TESTS`.
fn times() -> u64 {
    if std::env::var_os("SPARSAM_LONG_TESTS").is_some() { 10_000 } else { 300 }
}

#[test]
fn a_bit_that_is_flipped_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let memory = Model::from(sam::Config { memory_size: 64, word_size: 8, heads: 2, ..Default::default() });
    let task = TaskConfig::Copy(Copy { bits: 3, min_length: 1, max_length: 4 });
    let mut config = Config { batches: 4, evaluate_every: 2, cooldown: 0, ..Config::default_for(task, memory) };
    config.network.hidden_size = 20;
    let mut trainer = Trainer::new(config, &path).unwrap();
    for _ in 0..2 {
        trainer.step().unwrap();
    }
    trainer.evaluate_and_save(&mut |_: Event<'_>| ()).unwrap();
    drop(trainer);
    let names = ["resume", "newest", "best"].map(|name| path.join(format!("checkpoints/{name}.safetensors")));
    let whole = names.each_ref().map(|name| fs::read(name).unwrap());
    // They are good as they are.
    assert!(Trainer::resume(&path).is_ok() && names[1..].iter().all(|name| load_network(name).is_ok()));
    let mut unnoticed = Vec::new();
    for number in 0..times() {
        let mut random = Random::new(7, Stream::Training, number);
        let which = random.below(names.len());
        let (place, bit) = (random.below(whole[which].len()), random.below(8));
        let mut damaged = whole[which].clone();
        damaged[place] ^= 1 << bit;
        fs::write(&names[which], damaged).unwrap();
        let noticed = match which {
            0 => Trainer::resume(&path).is_err(),
            _ => load_network(&names[which]).is_err(),
        };
        if !noticed {
            unnoticed.push((&names[which], place, bit));
        }
        fs::write(&names[which], &whole[which]).unwrap();
    }
    assert!(unnoticed.is_empty(), "{} of {}: {unnoticed:?}", unnoticed.len(), times());
}
