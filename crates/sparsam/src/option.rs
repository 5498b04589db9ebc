//! Options that are declared once: the fields of configurations.
//!
//! [`options!`](crate::options) makes a configuration from its declaration: for each field its name, type, default, range
//! and help. The command's flags, Python's keywords and the tables of the documentation ask the configuration for its
//! [`options`](Declared::options), so that none of them has a list of its own.

use std::fmt;
use std::ops::{Bound, RangeBounds};

use serde::Serialize;

use crate::Error;

/// The value of an option.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Of [`Kind::Whole`].
    Whole(u64),
    /// Of [`Kind::Number`].
    Number(f64),
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Text`] and [`Kind::Word`].
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(formatter),
            Self::Number(number) => number.fmt(formatter),
            Self::Switch(on) => on.fmt(formatter),
            Self::Text(text) => text.fmt(formatter),
        }
    }
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "words", rename_all = "lowercase")]
pub enum Kind {
    /// A whole number from 0 on.
    Whole,
    /// A number.
    Number,
    /// True or false.
    Switch,
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// The values among those of its kind that an option can have.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    start: Bound<Value>,
    end: Bound<Value>,
}

impl Range {
    /// Every value.
    pub const ALL: Self = Self { start: Bound::Unbounded, end: Bound::Unbounded };

    /// The values in a range of Rust.
    pub fn new<T: OptionValue>(range: &impl RangeBounds<T>) -> Self {
        Self { start: range.start_bound().map(T::to_value), end: range.end_bound().map(T::to_value) }
    }

    /// Whether the value lies in it. What is not a number does not, unless every value does.
    pub fn contains(&self, value: &Value) -> bool {
        let above = match &self.start {
            Bound::Included(least) => value >= least,
            Bound::Excluded(limit) => value > limit,
            Bound::Unbounded => true,
        };
        let below = match &self.end {
            Bound::Included(most) => value <= most,
            Bound::Excluded(limit) => value < limit,
            Bound::Unbounded => true,
        };
        above && below
    }
}

/// " from 1 to 4096", as it goes on after "a whole number"; nothing if every value lies in it.
impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.start, &self.end) {
            (Bound::Included(least), Bound::Included(most)) => write!(formatter, " from {least} to {most}"),
            (start, end) => {
                match start {
                    Bound::Included(least) => write!(formatter, " of at least {least}")?,
                    Bound::Excluded(limit) => write!(formatter, " above {limit}")?,
                    Bound::Unbounded => {}
                }
                let and = if *start == Bound::Unbounded { "" } else { " and" };
                match end {
                    Bound::Excluded(limit) if *limit == Value::Number(f64::INFINITY) => Ok(()),
                    Bound::Included(most) => write!(formatter, "{and} of at most {most}"),
                    Bound::Excluded(limit) => write!(formatter, "{and} below {limit}"),
                    Bound::Unbounded => Ok(()),
                }
            }
        }
    }
}

/// The finite numbers above 0.
pub const ABOVE_0: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Excluded(f64::INFINITY));

/// A type of fields that are options.
pub trait OptionValue: Sized {
    /// What the option takes.
    const KIND: Kind;
    /// The value.
    fn to_value(&self) -> Value;
    /// What the value stands for; nothing if it is of another kind.
    fn from_value(value: &Value) -> Option<Self>;
}

impl OptionValue for u64 {
    const KIND: Kind = Kind::Whole;

    fn to_value(&self) -> Value {
        Value::Whole(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Whole(number) = value { Some(*number) } else { None }
    }
}

impl OptionValue for usize {
    const KIND: Kind = Kind::Whole;

    fn to_value(&self) -> Value {
        Value::Whole(*self as u64)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Whole(number) = value { (*number).try_into().ok() } else { None }
    }
}

impl OptionValue for f64 {
    const KIND: Kind = Kind::Number;

    fn to_value(&self) -> Value {
        Value::Number(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Number(number) = value { Some(*number) } else { None }
    }
}

impl OptionValue for bool {
    const KIND: Kind = Kind::Switch;

    fn to_value(&self) -> Value {
        Value::Switch(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Switch(on) = value { Some(*on) } else { None }
    }
}

impl OptionValue for String {
    const KIND: Kind = Kind::Text;

    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

/// Makes a choice by name an [`OptionValue`]: of a type with `NAMES`, `name` and `by_name`.
macro_rules! word_option {
    ($type:ty) => {
        impl $crate::option::OptionValue for $type {
            const KIND: $crate::option::Kind = $crate::option::Kind::Word(<$type>::NAMES);

            fn to_value(&self) -> $crate::option::Value {
                $crate::option::Value::Text(self.name().to_owned())
            }

            fn from_value(value: &$crate::option::Value) -> Option<Self> {
                if let $crate::option::Value::Text(name) = value { Self::by_name(name) } else { None }
            }
        }
    };
}
pub(crate) use word_option;

/// An option of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigOption {
    /// The field's name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Which values of that kind it can have.
    pub range: Range,
    /// What it is: the first paragraph of the field's documentation, without the full stop.
    pub help: String,
    /// The value that the configuration has; of a default configuration, the default.
    pub value: Value,
}

impl ConfigOption {
    /// "a whole number from 1 to 4096": what the option can be.
    pub fn possible(&self) -> String {
        match self.kind {
            Kind::Whole => format!("a whole number{}", self.range),
            Kind::Number if self.range.end == Bound::Excluded(Value::Number(f64::INFINITY)) => {
                format!("a finite number{}", self.range)
            }
            Kind::Number => format!("a number{}", self.range),
            Kind::Switch => "true or false".into(),
            Kind::Text => "text".into(),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Checks that the value lies in the range.
    ///
    /// # Errors
    /// [`Error::Config`] names the field and says what it can be.
    pub fn check(&self) -> Result<(), Error> {
        let reason = || format!("it must be {}", self.possible());
        if self.range.contains(&self.value) {
            return Ok(());
        }
        Err(Error::Config { field: self.name, value: self.value.to_string(), reason: reason() })
    }
}

/// A configuration that [`options!`](crate::options) declares.
pub trait Declared {
    /// The options, in the order in which they are declared, with their present values.
    fn options(&self) -> Vec<ConfigOption>;

    /// Sets an option, and says whether there is one of this name that takes such a value. The range is not checked.
    fn set_option(&mut self, name: &str, value: &Value) -> bool;

    /// The value of an option; none if there is no option of this name.
    fn option(&self, name: &str) -> Option<Value> {
        self.options().into_iter().find(|option| option.name == name).map(|option| option.value)
    }

    /// Checks that every option lies in its range.
    ///
    /// # Errors
    /// [`Error::Config`] names the first that does not.
    fn check_options(&self) -> Result<(), Error> {
        self.options().iter().try_for_each(ConfigOption::check)
    }
}

/// The first paragraph of a documentation as one line, without the full stop.
#[doc(hidden)]
pub fn help(lines: &[&str]) -> String {
    let paragraph: Vec<_> = lines.iter().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ").trim_end_matches('.').to_owned()
}

/// Declares a configuration: a struct whose fields are options.
///
/// ```
/// use sparsam::option::{Declared, Value};
///
/// sparsam::options! {
///     /// What a lamp can be told.
///     #[derive(Clone, Debug, PartialEq)]
///     pub struct Lamp {
///         /// How bright it is.
///         ///
///         /// The first paragraph is the option's help, all of it its documentation.
///         pub brightness: usize = 50, in 0..=100;
///         /// Whether it is on.
///         pub on: bool = false;
///     }
/// }
///
/// let mut lamp = Lamp::default();
/// assert!(lamp.set_option("brightness", &Value::Whole(101)));
/// assert_eq!(lamp.options()[0].help, "How bright it is");
/// assert_eq!(
///     lamp.check_options().unwrap_err().to_string(),
///     "brightness = 101 does not work: it must be a whole number from 0 to 100",
/// );
/// ```
///
/// A default may mention the fields before it. `with { … }` after the fields holds others that are no options, such as
/// configurations within this one. Where defaults follow from something else, the struct's name is followed by what they
/// follow from, `Config(task: Task)`, and a function of it, `fn defaults`, stands for [`Default`].
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident $(($($given:ident: $given_type:ty),+))? {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)*)])?
                pub $field:ident: $type:ty = $default:expr $(, in $range:expr)?;
            )*
        }
        $(with {
            $(
                $(#[$other_meta:meta])*
                pub $other:ident: $other_type:ty = $other_default:expr;
            )*
        })?
    ) => {
        $(#[$meta])*
        $visibility struct $name {
            $(
                $(#[doc = $doc])+
                $(#[serde($($serde)*)])?
                pub $field: $type,
            )*
            $($(
                $(#[$other_meta])*
                pub $other: $other_type,
            )*)?
        }

        $crate::options!(
            @defaults $name ($($($given: $given_type),+)?)
            [$($field: $type = $default,)* $($($other: $other_type = $other_default,)*)?]
        );

        impl $crate::option::Declared for $name {
            fn options(&self) -> ::std::vec::Vec<$crate::option::ConfigOption> {
                ::std::vec![$(
                    $crate::option::ConfigOption {
                        name: ::std::stringify!($field),
                        kind: <$type as $crate::option::OptionValue>::KIND,
                        range: $crate::options!(@range $type $(, $range)?),
                        help: $crate::option::help(&[$($doc),+]),
                        value: $crate::option::OptionValue::to_value(&self.$field),
                    },
                )*]
            }

            fn set_option(&mut self, name: &str, value: &$crate::option::Value) -> bool {
                match name {
                    $(
                        ::std::stringify!($field) => {
                            let value = <$type as $crate::option::OptionValue>::from_value(value);
                            value.map(|value| self.$field = value).is_some()
                        }
                    )*
                    _ => false,
                }
            }
        }
    };
    (@defaults $name:ident () [$($field:ident: $type:ty = $default:expr,)*]) => {
        impl ::std::default::Default for $name {
            fn default() -> Self {
                $(let $field: $type = $default;)*
                Self { $($field),* }
            }
        }
    };
    (@defaults $name:ident ($($given:ident: $given_type:ty),+) [$($field:ident: $type:ty = $default:expr,)*]) => {
        impl $name {
            fn defaults($($given: $given_type),+) -> Self {
                $(let $field: $type = $default;)*
                Self { $($field),* }
            }
        }
    };
    (@range $type:ty) => {
        $crate::option::Range::ALL
    };
    (@range $type:ty, $range:expr) => {
        $crate::option::Range::new::<$type>(&$range)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    options! {
        /// Something to be told.
        #[derive(Debug, PartialEq)]
        struct Example {
            /// How many
            /// there are.
            ///
            /// More about it.
            pub count: usize = 3, in 1..=5;
            /// Twice that.
            pub twice: u64 = 2 * count as u64;
            /// A share.
            pub share: f64 = 0.5, in 0.0..1.0;
            /// A step.
            pub step: f64 = 1.0, in (Bound::Excluded(0.0), Bound::Unbounded);
            /// A bound.
            pub bound: f64 = 1.0, in ABOVE_0;
            /// Whether.
            pub on: bool = false;
            /// What it is called.
            pub title: String = "none".into();
        }
        with {
            /// No option.
            pub inner: u8 = 7;
        }
    }

    options! {
        #[derive(Debug, PartialEq)]
        struct Following(size: usize) {
            /// Half of it.
            pub half: usize = size / 2, in 1..;
        }
    }

    #[test]
    fn a_declaration_tells_of_its_options() {
        let mut example = Example::default();
        assert_eq!(example.inner, 7);
        let options = example.options();
        let names: Vec<_> = options.iter().map(|option| option.name).collect();
        assert_eq!(names, ["count", "twice", "share", "step", "bound", "on", "title"]);
        assert_eq!((options[0].help.as_str(), &options[1].value), ("How many there are", &Value::Whole(6)));
        assert_eq!(options[5].kind, Kind::Switch);
        assert!(example.set_option("title", &Value::Text("other".into())) && example.title == "other");
        assert!(example.set_option("on", &Value::Switch(true)) && example.on);
        assert!(!example.set_option("on", &Value::Whole(1)) && !example.set_option("off", &Value::Switch(true)));
        assert_eq!(example.option("share"), Some(Value::Number(0.5)));
        assert_eq!(example.option("inner"), None);
        assert_eq!(Following::defaults(9), Following { half: 4 });
    }

    #[test]
    fn a_value_out_of_range_is_told_what_would_do() {
        let message = |name: &str, value: Value| {
            let mut example = Example::default();
            assert!(example.set_option(name, &value));
            example.check_options().err().map(|error| error.to_string())
        };
        let wrong = |name: &str, value: Value| message(name, value).unwrap();
        assert_eq!(message("count", Value::Whole(5)), None);
        assert_eq!(wrong("count", Value::Whole(0)), "count = 0 does not work: it must be a whole number from 1 to 5");
        assert_eq!(message("twice", Value::Whole(u64::MAX)), None);
        assert_eq!(message("share", Value::Number(0.0)), None);
        assert_eq!(
            wrong("share", Value::Number(1.0)),
            "share = 1 does not work: it must be a number of at least 0 and below 1"
        );
        assert!(wrong("share", Value::Number(f64::NAN)).starts_with("share = NaN does not work"));
        assert_eq!(wrong("step", Value::Number(0.0)), "step = 0 does not work: it must be a number above 0");
        assert_eq!(message("step", Value::Number(f64::INFINITY)), None);
        assert_eq!(
            wrong("bound", Value::Number(f64::INFINITY)),
            "bound = inf does not work: it must be a finite number above 0"
        );
        let half = Following { half: 0 }.check_options().unwrap_err().to_string();
        assert_eq!(half, "half = 0 does not work: it must be a whole number of at least 1");
    }
}
