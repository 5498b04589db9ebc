//! Lists of the entries of each column of a matrix.

use crate::Error;
use crate::system::pages::Pages;

/// An entry by row and place in the row, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    #[inline(always)]
    pub fn new(row: u32, in_row: usize) -> Self {
        Self(u64::from(row) << 16 | in_row as u64)
    }

    #[inline(always)]
    pub fn row(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Its place in a matrix with this many places in a row.
    #[inline(always)]
    pub fn place(self, in_row: usize) -> usize {
        self.row() as usize * in_row + (self.0 & 0xffff) as usize
    }
}

/// Numbers in a block of a list.
pub const BLOCK: usize = 16;
/// Entries in a block; the number behind them is its [`End`].
pub const LISTED: usize = BLOCK - 1;

/// How many entries a block has, and which block of the list is next; 0, which is none that could be, for the last one.
#[derive(Clone, Copy, Debug)]
pub struct End(pub u64);

impl End {
    #[inline(always)]
    fn new(count: usize, next: usize) -> Self {
        Self((next as u64) << 4 | count as u64)
    }

    #[inline(always)]
    pub fn count(self) -> usize {
        (self.0 & 0xf) as usize
    }

    #[inline(always)]
    pub fn next(self) -> usize {
        (self.0 >> 4) as usize
    }
}

/// For each column a list of its entries, in no particular order. All zeros are empty lists.
///
/// The first block of a list is its column's own. When that is full, others are put right behind it, one at a time: all
/// blocks are full but the one put in last. An entry comes in and goes out at the same cost however long its list is.
#[derive(Debug)]
pub struct Lists {
    /// The columns' own blocks, then the others.
    pub blocks: Pages<u64>,
    /// For each place of the matrix that has an entry, the place in the blocks where that is listed.
    pub listed: Pages<u64>,
    /// Blocks below this one were in use already.
    fresh: usize,
    /// The first in a list of blocks that were given back; 0 if there is none.
    free: usize,
}

impl Lists {
    pub fn new(columns: usize, places: usize) -> Result<Self, Error> {
        // Others than the columns' own are needed for what goes beyond full ones.
        let blocks = columns.saturating_add(places / LISTED);
        Ok(Self {
            blocks: Pages::new(blocks.saturating_mul(BLOCK))?,
            listed: Pages::new(places)?,
            fresh: columns,
            free: 0,
        })
    }

    #[inline(always)]
    pub fn blocks(&self) -> &[[u64; BLOCK]] {
        self.blocks.as_chunks().0
    }

    #[inline(always)]
    fn end(&self, block: usize) -> End {
        End(self.blocks[block * BLOCK + LISTED])
    }

    #[inline(always)]
    fn set_end(&mut self, block: usize, count: usize, next: usize) {
        self.blocks[block * BLOCK + LISTED] = End::new(count, next).0;
    }

    /// The entries of a column, block by block.
    #[inline(always)]
    pub fn of(&self, column: u32) -> impl Iterator<Item = &[u64]> {
        let mut block = Some(column as usize);
        std::iter::from_fn(move || {
            let entries = &self.blocks()[block?];
            let end = End(entries[LISTED]);
            block = Some(end.next()).filter(|next| *next != 0);
            Some(&entries[..end.count()])
        })
    }

    /// Lists an entry, and says where.
    #[inline(always)]
    pub fn insert(&mut self, column: u32, entry: Entry) -> u64 {
        let own = column as usize;
        let mut block = own;
        if self.end(own).count() == LISTED {
            let next = self.end(own).next();
            block = next;
            if next == 0 || self.end(next).count() == LISTED {
                block = self.take();
                self.set_end(block, 0, next);
                self.set_end(own, LISTED, block);
            }
        }
        let end = self.end(block);
        let place = block * BLOCK + end.count();
        self.blocks[place] = entry.0;
        self.set_end(block, end.count() + 1, end.next());
        place as u64
    }

    /// Takes the entry that is listed at a place off its list. The last one takes the place: returns both.
    #[inline(always)]
    pub fn remove(&mut self, column: u32, place: u64) -> (Entry, u64) {
        let own = column as usize;
        let next = self.end(own).next();
        let block = if next == 0 { own } else { next };
        let end = self.end(block);
        let last = self.blocks[block * BLOCK + end.count() - 1];
        self.blocks[place as usize] = last;
        self.set_end(block, end.count() - 1, end.next());
        if end.count() == 1 && block != own {
            self.set_end(own, LISTED, end.next());
            self.give_back(block);
        }
        (Entry(last), place)
    }

    /// Empties a list.
    pub fn clear(&mut self, column: u32) {
        let mut block = self.end(column as usize).next();
        self.set_end(column as usize, 0, 0);
        while block != 0 {
            let next = self.end(block).next();
            self.give_back(block);
            block = next;
        }
    }

    fn take(&mut self) -> usize {
        if self.free == 0 {
            self.fresh += 1;
            return self.fresh - 1;
        }
        let free = self.free;
        self.free = self.end(free).next();
        free
    }

    fn give_back(&mut self, block: usize) {
        self.set_end(block, 0, self.free);
        self.free = block;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Lists of many blocks, which grow, shrink and are emptied.
        #[test]
        fn lists_have_what_was_put_in_and_not_taken_out(
            changes in proptest::collection::vec((0u32..3, 0u32..60), 1..400), clear in 0u32..3,
        ) {
            let mut lists = Lists::new(60, 60).unwrap();
            let mut expected = vec![None; 60];
            for (column, row) in changes {
                let entry = Entry::new(row, 0);
                if let Some(old) = expected[row as usize].take() {
                    let (moved, to) = lists.remove(old, lists.listed[row as usize]);
                    lists.listed[moved.row() as usize] = to;
                } else {
                    lists.listed[row as usize] = lists.insert(column, entry);
                    expected[row as usize] = Some(column);
                }
            }
            for cleared in [None, Some(clear)] {
                if let Some(column) = cleared {
                    lists.clear(column);
                    expected.iter_mut().filter(|listed| **listed == cleared).for_each(|listed| *listed = None);
                }
                for column in 0..3 {
                    let mut rows: Vec<u32> = lists.of(column).flatten().map(|entry| Entry(*entry).row()).collect();
                    rows.sort_unstable();
                    let expected: Vec<u32> = (0..60).filter(|row| expected[*row as usize] == Some(column)).collect();
                    prop_assert_eq!(rows, expected);
                }
            }
        }
    }
}
