//! The weights of a network, laid out for time steps.

use super::Sizes;
use crate::Real;
use crate::controller::Controller;
use crate::kernels::matrix::Packed;
use crate::network::{NetworkConfig, Parameters};

/// The weights that every time step uses, laid out for it.
#[derive(Debug)]
pub struct PackedWeights<T> {
    pub(super) controller: Box<dyn Controller<T>>,
    /// h → interface, and back.
    pub(super) interface: Packed<T>,
    pub(super) interface_back: Packed<T>,
}

impl<T: Real> PackedWeights<T> {
    /// Zeros for the weights of a network; [`set`](Self::set) fills them in.
    pub(super) fn new(config: &NetworkConfig) -> Self {
        let sizes = Sizes::new(config);
        Self {
            controller: config.controller.build(config.controller_sizes()),
            interface: Packed::zeros(sizes.hidden, sizes.interface),
            interface_back: Packed::zeros(sizes.interface, sizes.hidden),
        }
    }

    /// Takes over the parameters.
    pub(super) fn set(&mut self, config: &NetworkConfig, parameters: &Parameters<T>) {
        let Sizes { hidden, interface, layers, .. } = Sizes::new(config);
        let layers = layers.split(parameters.values());
        self.controller.set(layers.controller);
        if interface > 0 {
            self.interface.set_rows_transposed(0, hidden, layers.interface.weight, hidden);
            self.interface_back.set_columns(0, hidden, layers.interface.weight, hidden);
        }
    }
}
