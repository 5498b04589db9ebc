//! What the dense memories share: where their words lie, the kernels that pass over them, content addressing over all
//! N words, and the tape that keeps the whole memory of every step.
//!
//! # Sixteen words side by side
//!
//! Everything a dense memory does to a word it does to all words. So the words lie in blocks of sixteen, number j of
//! all sixteen side by side ([`Sixteen`]), and a lane of a vector register is a word: products with a key, cosines,
//! exponentials and updates are whole vector operations whatever the length of a word, and no sum has to be taken
//! across a register. N is filled up with zeros to a multiple of sixteen.
//!
//! # One pass
//!
//! Memories far larger than the cache are as fast as they are read. A model therefore goes over its memory in strips
//! ([`Layout::strips`]) of 64 words, and does everything it can with a strip while it is in the first-level cache,
//! instead of one pass for each operation. The kernels here take one strip.
//!
//! Vectors with a number for each word (weights, usage) lie plainly, word after word, filled up likewise; those of
//! several heads head after head, each [`Layout::blocks`] times sixteen long.

mod addressing;
mod kernels;
mod layout;
mod links;
mod tape;
#[cfg(test)]
mod tests;

pub use addressing::{Addressing, Masked};
pub use kernels::{Erasure, Sums, erase, products, spread, sum};
pub use layout::{Layout, STRIP, STRIP_BLOCKS, Sixteen, check_room, check_room_of, footprint};
pub use links::{Link, LinkGradients, follow_links, follow_links_back};
pub use tape::Frames;
pub(crate) use tape::{frame, life_in_frames};
