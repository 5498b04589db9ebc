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

    /// All numbers, tensor after tensor.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All numbers, to be changed.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// All numbers, to be kept without the names.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// The numbers of a tensor.
    pub fn get(&self, name: &str) -> Option<&[T]> {
        self.range(name).map(|range| &self.values[range])
    }

    /// The numbers of a tensor, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [T]> {
        self.range(name).map(|range| &mut self.values[range])
    }

    /// Checks that no number is infinite or NaN; `what` says whose numbers they are.
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
