//! Arrays of zeros that cost physical memory only where they are used.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use memmap2::{MmapMut, MmapOptions};

use crate::Error;

/// A number whose value is zero when all its bytes are, and for which every pattern of bytes is a value.
///
/// # Safety
/// Both must hold, and the type must need no alignment above 4096 bytes and no drop.
pub unsafe trait Zeroed: Copy + Send + Sync + 'static {}
// SAFETY: all bit patterns are numbers, all zeros is 0.
unsafe impl Zeroed for f32 {}
// SAFETY: as above.
unsafe impl Zeroed for f64 {}
// SAFETY: as above.
unsafe impl Zeroed for [u8; 64] {}
// SAFETY: as above.
unsafe impl Zeroed for u32 {}
// SAFETY: as above.
unsafe impl Zeroed for u64 {}
// SAFETY: as above, number by number; an array of numbers has no bytes between them.
unsafe impl Zeroed for [f32; 2] {}

/// Bytes that no process can have: half of a 48-bit address space is the system's. Below, it is not (only) the array's
/// size for which the system refuses it.
const ADDRESS_SPACE: u128 = 1 << 47;

/// An array of a fixed length, all zeros when made. Making one of any length takes microseconds and next to no
/// physical memory: the operating system hands out a zeroed page when a number in it is first written.
#[derive(Debug)]
pub struct Pages<T> {
    map: MmapMut,
    length: usize,
    numbers: PhantomData<T>,
}

impl<T: Zeroed> Pages<T> {
    /// `length` zeros.
    ///
    /// # Errors
    /// [`Error::MemoryTooLarge`] if they exceed the address space; [`Error::MappingRefused`] if the system refuses another
    /// array.
    pub fn new(length: usize) -> Result<Self, Error> {
        let pages = Self::reserve(length)?;
        // A huge page would make the first touch of every 2 MiB cost 2 MiB. Advice may be declined.
        #[cfg(target_os = "linux")]
        let _ = pages.map.advise(memmap2::Advice::NoHugePage);
        Ok(pages)
    }

    /// `length` zeros, all of which will be used: the operating system may hand them out in huge pages.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn dense(length: usize) -> Result<Self, Error> {
        let mut pages = Self::reserve(length)?;
        pages.expect_all();
        Ok(pages)
    }

    /// All numbers will be used from now on: the operating system may hand out huge pages, of which a processor can
    /// keep many more addresses at hand.
    pub fn expect_all(&mut self) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise(memmap2::Advice::HugePage);
    }

    fn reserve(length: usize) -> Result<Self, Error> {
        let too_large = || Error::MemoryTooLarge { bytes: length as u128 * size_of::<T>() as u128 };
        let bytes = length.checked_mul(size_of::<T>()).ok_or_else(too_large)?;
        // Without a reservation the system does not refuse more than it has; what is never touched is never needed.
        let map = MmapOptions::new().len(bytes.max(1)).no_reserve_swap().map_anon().map_err(|source| {
            if bytes as u128 >= ADDRESS_SPACE { too_large() } else { Error::MappingRefused { bytes, source } }
        })?;
        Ok(Self { map, length, numbers: PhantomData })
    }
}

impl<T: Zeroed> Deref for Pages<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the map is at least `length` numbers long, starts on a page, lives as long as `self`, and
        // any bytes are numbers of type T (`Zeroed`).
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.length) }
    }
}

impl<T: Zeroed> DerefMut for Pages<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_start_as_zeros_and_hold_what_is_written() {
        let mut pages = Pages::<f32>::new(100_000).unwrap();
        assert!(pages.iter().all(|x| *x == 0.0));
        pages[99_999] = 3.0;
        pages[0] = 1.0;
        assert_eq!((pages[0], pages[1], pages[99_999], pages.len()), (1.0, 0.0, 3.0, 100_000));
        assert_eq!(Pages::<u32>::new(0).unwrap().len(), 0);
    }

    #[test]
    fn more_than_the_address_space_is_an_error() {
        assert!(matches!(Pages::<f64>::new(usize::MAX), Err(Error::MemoryTooLarge { .. })));
        assert!(matches!(Pages::<f64>::new(1 << 58), Err(Error::MemoryTooLarge { .. })));
    }

    #[test]
    fn a_hundred_gigabytes_are_made_at_once() {
        let mut pages = Pages::<f32>::new(32_000_000_000).unwrap();
        pages[31_999_999_999] = 1.0;
        assert_eq!(pages[16_000_000_000], 0.0);
    }

    /// Uses up what mappings a process may have, in a process of its own: other tests need theirs.
    #[cfg(target_os = "linux")]
    #[test]
    fn one_mapping_too_many_is_refused_with_the_systems_reason() {
        const HERE: &str = "SPARSAM_TEST_USES_UP_MAPPINGS";
        let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse::<usize>().unwrap();
        if most > 1 << 17 {
            return;
        }
        if std::env::var_os(HERE).is_none() {
            let test = "system::pages::tests::one_mapping_too_many_is_refused_with_the_systems_reason";
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            let output = command.args(["--exact", test]).env(HERE, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let mut held = Vec::with_capacity(most + 2);
        let error = (0..=most).find_map(|number| {
            // Neighbours of the same kind would be one mapping.
            let pages = if number % 2 == 0 { Pages::<u32>::new(7) } else { Pages::dense(7) };
            pages.map(|pages| held.push(pages)).err()
        });
        held.truncate(1000);
        let error = error.expect("the system allows no more");
        assert!(matches!(error, Error::MappingRefused { bytes: 28, .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("os error 12") && message.contains("fewer sequences at a time"), "{message}");
    }
}
