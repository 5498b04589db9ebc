//! The layers of a network: which of its parameters belong to the embedding, the controller, the interface and the output.

use super::NetworkConfig;

/// The weight and the bias of a layer, their gradients, or their lengths. Both are empty where there is no such layer.
#[derive(Clone, Copy, Debug)]
pub struct Linear<V> {
    /// Out × in, row after row.
    pub weight: V,
    /// Out.
    pub bias: V,
}

/// The parameters of each layer, their gradients, or their lengths, in the order of [`NetworkConfig::tensors`].
#[derive(Clone, Copy, Debug)]
pub struct Layers<V> {
    /// x of each token, one after another; empty where inputs are not tokens.
    pub embedding: V,
    /// All of the controller, one after another.
    pub controller: V,
    /// h → p.
    pub interface: Linear<V>,
    /// \[h ; r\] → y.
    pub output: Linear<V>,
}

impl Layers<usize> {
    /// The lengths in a network.
    pub fn new(config: &NetworkConfig) -> Self {
        let (hidden, output) = (config.hidden_size, config.output_size);
        let (interface, read) = (config.memory.interface_len(), config.memory.read_len());
        let of_controller = config.controller_declaration().parameters;
        Self {
            embedding: config.vocabulary_size * config.input_size,
            controller: of_controller.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum(),
            interface: Linear { weight: interface * hidden, bias: interface },
            output: Linear { weight: output * (hidden + read), bias: output },
        }
    }

    /// Cuts all parameters of a network into those of its layers.
    pub fn split<T>(self, values: &[T]) -> Layers<&[T]> {
        let mut rest = values;
        self.map(|length| rest.split_off(..length).unwrap_or_default())
    }

    /// Cuts gradients of all parameters of a network into those of its layers.
    pub fn split_mut<T>(self, values: &mut [T]) -> Layers<&mut [T]> {
        let mut rest = values;
        self.map(|length| rest.split_off_mut(..length).unwrap_or_default())
    }

    /// Goes through the parameters in their order.
    fn map<V>(self, mut of: impl FnMut(usize) -> V) -> Layers<V> {
        Layers {
            embedding: of(self.embedding),
            controller: of(self.controller),
            interface: Linear { weight: of(self.interface.weight), bias: of(self.interface.bias) },
            output: Linear { weight: of(self.output.weight), bias: of(self.output.bias) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ControllerKind, Model, Network};

    #[test]
    fn layers_have_the_parameters_of_their_names() {
        for name in Model::NAMES {
            for (output_size, vocabulary) in [(0, 0), (2, 0), (2, 7)] {
                for controller in ControllerKind::NAMES {
                    let controller = ControllerKind::by_name(controller).expect("a controller");
                    let memory = Model::by_name(name).expect("a model");
                    let config = NetworkConfig::new(3, output_size).with_hidden_size(4);
                    let config = config.with_controller(controller).with_memory(memory).with_vocabulary(vocabulary);
                    let mut network = Network::<f32>::new(config.clone(), 1).expect("it is small");
                    let lengths = Layers::new(&config);
                    let of = |name| network.parameters().get(name).unwrap_or_default();
                    let layers = lengths.split(network.parameters().values());
                    assert_eq!(layers.embedding, of("embedding.weight"));
                    assert_eq!(layers.embedding.len(), vocabulary * 3);
                    assert_eq!(layers.interface.weight, of("interface.weight"));
                    assert_eq!(layers.interface.bias, of("interface.bias"));
                    assert_eq!(layers.output.weight, of("output.weight"));
                    assert_eq!(layers.output.bias, of("output.bias"));
                    let others = [layers.interface.weight, layers.interface.bias, layers.output.weight];
                    let others = others.iter().map(|part| part.len()).sum::<usize>() + layers.output.bias.len();
                    assert_eq!(
                        layers.embedding.len() + layers.controller.len() + others,
                        network.parameters().values().len()
                    );

                    lengths.split_mut(network.parameters_mut().values_mut()).output.bias.fill(7.0);
                    assert!(network.parameters().get("output.bias").is_none_or(|bias| bias == [7.0, 7.0]));
                }
            }
        }
    }
}
