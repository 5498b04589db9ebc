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
unsafe impl Zeroed for u32 {}
// SAFETY: as above, number by number; an array of numbers has no bytes between them.
unsafe impl Zeroed for [u32; 2] {}

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
    /// [`Error::MemoryTooLarge`] if the address space has no room for them.
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
        let pages = Self::reserve(length)?;
        #[cfg(target_os = "linux")]
        let _ = pages.map.advise(memmap2::Advice::HugePage);
        Ok(pages)
    }

    fn reserve(length: usize) -> Result<Self, Error> {
        let too_large = || Error::MemoryTooLarge { bytes: length as u128 * size_of::<T>() as u128 };
        let bytes = length.checked_mul(size_of::<T>()).ok_or_else(too_large)?;
        // Without a reservation the system does not refuse more than it has; what is never touched is never needed.
        let map = MmapOptions::new().len(bytes.max(1)).no_reserve_swap().map_anon().map_err(|_| too_large())?;
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

/// Bytes of physical memory that can be had without taking them from another program; none where the system does not
/// say.
pub fn available_bytes() -> Option<u128> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u128>().ok()? * 1024)
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
}
