//! Generic code that is compiled with this crate.

use std::any::Any;

/// A value for each of the two number types.
///
/// The compiler makes the machine code of a generic function where the function is used: in every crate, test and example
/// that runs a network, a minute each. A static of this type holds the functions of `f32` and of `f64` instead, and so both
/// are compiled once, with this crate; what is generic and public only looks its own up.
pub struct Both<Single, Double> {
    pub single: Single,
    pub double: Double,
}

impl<Single: Any, Double: Any> Both<Single, Double> {
    /// The one of this type.
    pub fn of<V: Any>(&self) -> &V {
        let both: [&dyn Any; 2] = [&self.single, &self.double];
        both.into_iter().find_map(|one| one.downcast_ref()).expect("V is of one of the two number types")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Real;

    #[test]
    fn each_number_type_finds_its_own() {
        fn larger<T: Real>(one: T, other: T) -> T {
            one.max(other)
        }
        type Larger<T> = fn(T, T) -> T;
        static LARGER: Both<Larger<f32>, Larger<f64>> = Both { single: larger, double: larger };
        assert_eq!(LARGER.of::<Larger<f32>>()(1.0, 2.0), 2.0);
        assert_eq!(LARGER.of::<Larger<f64>>()(3.0, 2.0), 3.0);
    }
}
