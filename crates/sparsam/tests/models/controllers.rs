//! Every controller, alone and beside a memory.

use sparsam::{ControllerKind, Model, Network, NetworkConfig};

use crate::common::reference::compare;
use crate::common::{check_gradients, controllers};
use crate::sam::{compare_sam, sam};

/// Lengths of sequences that a controller is compared over. Layer normalisation makes small differences large from step to
/// step, those of rounding too, so that they end sooner with it.
fn no_longer_than<const N: usize>(controller: ControllerKind, most: usize, lengths: [usize; N]) -> [usize; N] {
    if controller == ControllerKind::LayerNormLstm { lengths.map(|length| length.min(most)) } else { lengths }
}

#[test]
fn agree_with_their_equations() {
    for controller in controllers() {
        let alone = no_longer_than(controller, 16, [7, 12, 0, 1, 40]);
        let beside = no_longer_than(controller, 16, [30, 20, 7, 0, 1]);
        let long = no_longer_than(controller, 16, [50]);
        for seed in 0..4 {
            compare((controller, Model::Lstm), || None, [3, 9, 2], &alone, seed);
            compare((controller, Model::Lstm), || None, [1, 33, 0], &[7, 3], seed + 10);
            compare_sam((controller, sam(60, 6, 3, 3)), [3, 8, 2], &beside, seed + 20);
            compare_sam((controller, sam(7, 5, 2, 3)), [2, 17, 0], &long, seed + 30);
        }
    }
}

#[test]
fn gradients_over_shapes_and_seeds() {
    for controller in controllers() {
        let beside = no_longer_than(controller, 4, [8, 5, 8, 1, 3]);
        let carried = no_longer_than(controller, 4, [6, 7]);
        // Several blocks of steps.
        let blocks = no_longer_than(controller, 4, [70, 33]);
        for seed in 0..4 {
            check_gradients((controller, Model::Lstm), [3, 5, 2], &[], &carried, seed);
            check_gradients((controller, Model::Lstm), [1, 17, 3], &[3, 2], &[1, 4], seed + 10);
            check_gradients((controller, sam(40, 5, 2, 3)), [3, 6, 2], &[], &beside, seed + 20);
            check_gradients((controller, sam(30, 4, 2, 3)), [2, 5, 0], &[6, 3], &carried, seed + 30);
        }
        check_gradients((controller, Model::Lstm), [1, 3, 1], &[], &blocks, 5);
    }
}

/// Of one hidden unit N(c) is 0, and of one number of a cell that never changes there is no variance: no division by 0.
#[test]
fn gradients_of_a_single_hidden_unit() {
    for controller in controllers() {
        check_gradients((controller, Model::Lstm), [2, 1, 1], &[], &[5, 2], 1);
    }
}

#[test]
fn the_first_weights_are_as_declared() {
    for controller in controllers() {
        let config =
            NetworkConfig::new(20, 3).with_hidden_size(40).with_controller(controller).with_memory(sam(9, 5, 2, 3));
        let network = Network::<f64>::new(config, 1).expect("it fits");
        let of = |name: &str| network.parameters().get(name).expect("a parameter");
        let bound = 1.0 / 70f64.sqrt();
        let largest = |values: &[f64]| values.iter().fold(0.0f64, |largest, weight| largest.max(weight.abs()));
        let (mut inputs, mut reads) = (Vec::new(), Vec::new());
        for row in of("controller.weight_ih").chunks(30) {
            inputs.extend_from_slice(&row[..20]);
            reads.extend_from_slice(&row[20..]);
        }
        for (values, bound) in [(&inputs[..], 2.0 / 20f64.sqrt()), (&reads, bound), (of("controller.weight_hh"), bound)]
        {
            assert!(largest(values) <= bound && largest(values) > 0.98 * bound);
        }
        let forget = if controller == ControllerKind::Gru { 0.0 } else { 1.0 };
        for (place, bias) in of("controller.bias").iter().enumerate() {
            assert_eq!(*bias, if place / 40 == 1 { forget } else { 0.0 });
        }
        for tensor in network.parameters().tensors() {
            if tensor.name.contains("gain") {
                assert!(of(tensor.name).iter().all(|gain| *gain == 1.0), "{}", tensor.name);
            }
        }
    }
}
