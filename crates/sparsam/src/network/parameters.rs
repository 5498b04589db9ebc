use crate::{Error, Real};

/// The name and shape of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in a checkpoint.
    pub name: &'static str,
    /// Its shape; matrices stand in PyTorch's orientation, out × in, row after row.
    pub shape: Vec<usize>,
}

impl Tensor {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Named tensors in one flat buffer: the parameters of a network, or a gradient of them.
///
/// ```
/// use sparsam::Parameters;
/// use sparsam::network::Tensor;
///
/// let tensors = vec![Tensor { name: "weight", shape: vec![2, 3] }, Tensor { name: "bias", shape: vec![2] }];
/// let mut parameters = Parameters::<f32>::zeros(tensors);
/// parameters.get_mut("bias").expect("it is there").fill(1.0);
/// assert_eq!(parameters.values(), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<T> {
    tensors: Vec<Tensor>,
    values: Vec<T>,
}

impl<T: Real> Parameters<T> {
    /// Zeros for the given tensors.
    pub fn zeros(tensors: Vec<Tensor>) -> Self {
        let length = tensors.iter().map(Tensor::len).sum();
        Self { tensors, values: vec![T::ZERO; length] }
    }

    /// Names and shapes, in the order in which they are stored.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// All elements, tensor after tensor.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All elements, to be changed.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// All elements, without the names.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// The elements of a tensor; none if there is no tensor of that name.
    pub fn get(&self, name: &str) -> Option<&[T]> {
        self.range(name).map(|range| &self.values[range])
    }

    /// The elements of a tensor, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [T]> {
        self.range(name).map(|range| &mut self.values[range])
    }

    /// Checks that no element is infinite or NaN; `what` stands before the tensor's name in the error.
    ///
    /// # Errors
    /// [`Error::NotFinite`] names the first tensor in which one is.
    pub fn check_finite(&self, what: &str) -> Result<(), Error> {
        let mut start = 0;
        for tensor in &self.tensors {
            let values = &self.values[start..start + tensor.len()];
            if let Some(value) = values.iter().find(|x| !x.is_finite()) {
                return Err(Error::NotFinite { what: format!("{what} {}", tensor.name), value: value.to_f64() });
            }
            start += tensor.len();
        }
        Ok(())
    }

    fn range(&self, name: &str) -> Option<std::ops::Range<usize>> {
        let mut start = 0;
        for tensor in &self.tensors {
            if tensor.name == name {
                return Some(start..start + tensor.len());
            }
            start += tensor.len();
        }
        None
    }
}

/// Checks that tensors are those of a network.
///
/// # Errors
/// [`Error::Parameters`] names the first that is not.
pub fn check_tensors(what: &'static str, found: &[Tensor], expected: &[Tensor]) -> Result<(), Error> {
    let tell = |tensor: Option<&Tensor>| {
        tensor.map_or("no tensor".into(), |Tensor { name, shape }| format!("the tensor `{name}` of shape {shape:?}"))
    };
    match (0..found.len().max(expected.len())).find(|place| found.get(*place) != expected.get(*place)) {
        None => Ok(()),
        Some(place) => {
            let (found, expected) = (tell(found.get(place)), tell(expected.get(place)));
            Err(Error::Parameters { what, reason: format!("{found}, where {expected} was expected") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_named_without_advice() {
        let tensor = |name| Tensor { name, shape: vec![2] };
        let mut parameters = Parameters::<f32>::zeros(vec![tensor("first"), tensor("second")]);
        assert!(parameters.check_finite("the parameter").is_ok());
        parameters.values_mut()[3] = f32::NAN;
        let message = parameters.check_finite("the parameter").unwrap_err().to_string();
        assert_eq!(message, "the parameter second is NaN, where a finite number was expected");
    }

    #[test]
    fn the_first_tensor_that_does_not_fit_is_named() {
        let tensors = [Tensor { name: "first", shape: vec![2, 3] }, Tensor { name: "second", shape: vec![2] }];
        assert!(check_tensors("the gradients", &tensors, &tensors).is_ok());
        let message = check_tensors("the gradients", &tensors[..1], &tensors).unwrap_err().to_string();
        let expected =
            "the gradients do not fit the network: no tensor, where the tensor `second` of shape [2] was expected";
        assert_eq!(message, expected);
    }
}
