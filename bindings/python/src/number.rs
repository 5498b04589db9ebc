//! Single and double precision side by side.

/// The same thing in single and in double precision.
pub enum Either<S, D> {
    /// `f32`.
    Single(S),
    /// `f64`.
    Double(D),
}

/// The same code for both.
macro_rules! each {
    ($either:expr, $value:ident => $code:expr) => {
        match $either {
            Either::Single($value) => $code,
            Either::Double($value) => $code,
        }
    };
}
pub(crate) use each;
