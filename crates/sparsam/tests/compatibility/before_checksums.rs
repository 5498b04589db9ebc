//! Files that the version before checksums wrote are still read, and say that they have none.

use std::fs;
use std::path::PathBuf;

use safetensors::SafeTensors;
use sparsam::internal::notice;
use sparsam::{Network, Real, Runner, checkpoint, state};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/compatibility/before-checksums").join(name)
}

/// The numbers of a file, as another reader has them.
fn numbers(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let mut numbers: Vec<_> = tensors.iter().map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec())).collect();
    numbers.sort();
    numbers
}

fn is_read<T: Real>(model: &str) {
    let path = file(&format!("{model}.checkpoint.safetensors"));
    let (network, extra): (Network<T>, _) = checkpoint::load_with_extra(&path).unwrap();
    assert_eq!(extra.metadata["note"], "of before checksums");
    // What is written now has the same numbers, and checksums.
    let now = checkpoint::to_bytes(&network, &extra).unwrap();
    assert!(numbers(&now) == numbers(&fs::read(&path).unwrap()), "{model}");

    let path = file(&format!("{model}.state.safetensors"));
    let mut runner: Runner<T> = state::load(&path, network.config()).unwrap();
    assert!(numbers(&state::to_bytes(&mut runner).unwrap()) == numbers(&fs::read(&path).unwrap()), "{model}");
    let inputs = vec![T::ONE; 3 * 2 * 2];
    runner.infer(&network, &inputs, &[3, 3], &mut [T::ZERO; 3 * 2 * 2]).unwrap();

    // Other tests of this program read files of their own meanwhile.
    let of_this = |text: &String| text.contains("before-checksums") && text.contains(&format!("{model}."));
    let told = notice::take().into_iter().filter(of_this).collect::<Vec<_>>();
    assert!(told.len() == 2 && told.iter().all(|text| text.contains("has no checksums")), "{told:?}");
}

#[test]
fn files_of_before_checksums_are_read_and_say_so() {
    for model in ["lstm", "sam", "dam", "ntm", "dnc"] {
        is_read::<f32>(model);
    }
    is_read::<f64>("sdnc");
}
