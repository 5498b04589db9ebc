//! The options that several memories have, declared once.

/// The sizes that every memory has.
pub trait Sizes {
    /// Words in memory, N.
    fn memory_size(&self) -> usize;
    /// Changes the number of words. The range is not checked.
    fn set_memory_size(&mut self, memory_size: usize);
    /// Numbers in a word, W.
    fn word_size(&self) -> usize;
    /// Access heads, R.
    fn heads(&self) -> usize;
}

/// What a memory and its tape take beyond the words that are touched, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footprint {
    /// Every word has its place from the start, and the tape keeps the whole state of every step.
    Dense {
        /// One state.
        state: u128,
    },
    /// Only words that were touched take place, and the tape keeps what changed.
    Sparse {
        /// The most that the tape takes.
        tape: u128,
    },
}

/// Declares the configuration of a memory: the sizes with their defaults, the largest number of words, and, of a sparse
/// memory, how many words a head reads; then the options of its own, as [`options!`](crate::options) takes them.
macro_rules! memory_options {
    (
        $(#[$meta:meta])*
        pub struct Config {
            memory_size = $memory_size:expr, at most $words:expr;
            word_size = $word_size:expr;
            $(#[doc = $of_heads:literal])*
            heads = $heads:expr;
            $(#[doc = $of_reads:literal])*
            reads = $reads:expr;
            $($own:tt)*
        }
    ) => {
        $crate::memory::options::memory_options! {
            $(#[$meta])*
            pub struct Config {
                memory_size = $memory_size, at most $words;
                word_size = $word_size;
                $(#[doc = $of_heads])*
                heads = $heads;
                /// Words read by a head, K.
                $(#[doc = $of_reads])*
                pub reads: usize = $reads, in 1..=1 << 16;
                /// Weight above which a word counts as accessed, δ.
                ///
                /// It is the sum of all weights with which the word was read and written in a step.
                pub access_threshold: f64 = 0.005, in 0.0..1.0;
                /// What a write gate has to exceed, τ; below, nothing is written at all.
                ///
                /// Ours: α = max(0, σ(α̂) - τ) / (1 - τ), soft thresholding (Donoho 1995). With 0, as in the paper, a gate never shuts whole,
                /// and over millions of steps what it lets in adds up. The least recently accessed word is cleared at every step,
                /// as in the paper, also where nothing is then written to it.
                pub write_threshold: f64 = 0.0, in 0.0..1.0;
                /// What a write costs in training, λ: that times α is as if added to the loss, for each write of each step.
                ///
                /// The loss is that of which gradients are taken: in training by the command the mean over a batch, in nats, while each write of
                /// each of its sequences costs λ. Twice as large a batch is as good as twice the cost.
                ///
                /// Ours. It changes gradients and nothing else: losses are told without it. A gate that opens where nothing is to be kept then
                /// learns to shut, with a [threshold](Self::write_threshold) whole.
                pub write_cost: f64 = 0.0, in 0.0..=1.0;
                /// How similar words are found.
                pub index: $crate::index::IndexKind = $crate::index::IndexKind::default();
                /// Words that an approximate index compares with a query, about; 0: its own choice.
                pub index_checks: usize = 0, in 0..;
                $($own)*
            }
        }
    };
    (
        $(#[$meta:meta])*
        pub struct Config {
            memory_size = $memory_size:expr, at most $words:expr;
            word_size = $word_size:expr;
            $(#[doc = $of_heads:literal])*
            heads = $heads:expr;
            $($own:tt)*
        }
    ) => {
        // Beyond these sizes the buffers of a single step would not fit a machine, and sizes in bytes not a number.
        $crate::options! {
            $(#[$meta])*
            pub struct Config {
                /// Words in memory, N.
                pub memory_size: usize = $memory_size, in 1..=$words;
                /// Numbers in a word, W.
                pub word_size: usize = $word_size, in 1..=1 << 16;
                /// Access heads, R.
                $(#[doc = $of_heads])*
                pub heads: usize = $heads, in 1..=1 << 12;
                $($own)*
            }
        }

        impl $crate::memory::options::Sizes for Config {
            fn memory_size(&self) -> usize {
                self.memory_size
            }

            fn set_memory_size(&mut self, memory_size: usize) {
                self.memory_size = memory_size;
            }

            fn word_size(&self) -> usize {
                self.word_size
            }

            fn heads(&self) -> usize {
                self.heads
            }
        }
    };
}
pub(crate) use memory_options;
