//! Arrays of zeros that cost physical memory only where they are used.

use std::fs;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::path::Path;

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
unsafe impl Zeroed for i8 {}
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
    /// [`Error::MemoryTooLarge`] if no address space has room for them; [`Error::MappingRefused`] if the system has no
    /// room for another array.
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

/// Bytes of physical memory that can be had without taking them from another program and without exceeding what the
/// process's control groups (a container's, say) allow; none where the system does not say.
pub fn available_bytes() -> Option<u128> {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> Option<u128> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().strip_suffix(" kB")?.parse::<u128>().ok()? * 1024;
    Some(allowed_below(root).map_or(available, |allowed| allowed.min(available)))
}

/// Bytes that the process's control groups, of either version, allow beyond those they use; none if there is no limit.
fn allowed_below(root: &Path) -> Option<u128> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let mut least = None;
    for mount in mounts.lines() {
        let Some((place, kind)) = mount.split_once(" - ") else { continue };
        let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
        let (Some(mounted), Some(at)) = (place.next(), place.next()) else { continue };
        let second = match kind.next() {
            Some("cgroup2") => true,
            Some("cgroup") if kind.any(|options| options.split(',').any(|option| option == "memory")) => false,
            _ => continue,
        };
        // A line is "number:controllers:path"; the second version has no controllers.
        let path = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let this = if second { controllers.is_empty() } else { controllers.split(',').any(|c| c == "memory") };
            this.then_some(path)
        });
        let Some(path) = path else { continue };
        let at = root.join(at.trim_start_matches('/'));
        // In a container the path may be one of the system outside, of which the mount shows a part.
        let path = path.strip_prefix(mounted.trim_end_matches('/')).unwrap_or_default().trim_start_matches('/');
        let [limit, usage, inactive] = if second {
            ["memory.max", "memory.current", "inactive_file"]
        } else {
            ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"]
        };
        // Every group around it limits it too.
        for group in at.join(path).ancestors().take_while(|group| group.starts_with(&at)) {
            let number = |file| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u128>().ok();
            // "max", which is no number, is no limit.
            let (Some(limit), Some(usage)) = (number(limit), number(usage)) else { continue };
            // Copies of files that nobody looks at any more are given up before anything is refused.
            let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
            let copies = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse::<u128>().ok());
            let allowed = limit.saturating_sub(usage.saturating_sub(copies.unwrap_or(0)));
            least = Some(least.map_or(allowed, |least: u128| least.min(allowed)));
        }
    }
    least
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
        let most = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse::<usize>().unwrap();
        if most > 1 << 17 {
            return;
        }
        if std::env::var_os(HERE).is_none() {
            let test = "memory::pages::tests::one_mapping_too_many_is_refused_with_the_systems_reason";
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
        assert!(message.contains("os error 12") && message.contains("batch_size"), "{message}");
    }

    #[test]
    fn what_is_available_is_what_every_control_group_leaves() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let available = || available_below(root.path());
        assert_eq!(available(), None);
        write("proc/meminfo", "MemTotal: 9999 kB\nMemAvailable:    1000 kB\n");
        assert_eq!(available(), Some(1_024_000));

        // The second version: the group, and one around it.
        write("proc/self/cgroup", "0::/box/run\n");
        write("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n");
        assert_eq!(available(), Some(1_024_000));
        write("sys/fs/cgroup/box/run/memory.max", "max\n");
        write("sys/fs/cgroup/box/run/memory.current", "1000\n");
        assert_eq!(available(), Some(1_024_000));
        write("sys/fs/cgroup/box/memory.max", "500000\n");
        write("sys/fs/cgroup/box/memory.current", "300000\n");
        assert_eq!(available(), Some(200_000));
        write("sys/fs/cgroup/box/memory.stat", "anon 5\ninactive_file 50000\nactive_file 7\n");
        assert_eq!(available(), Some(250_000));
        write("sys/fs/cgroup/box/run/memory.max", "900\n");
        assert_eq!(available(), Some(0));

        // The first version, seen from within a container: the path is one of the system outside.
        write("proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/docker/abc\n0::/\n");
        let mounts = "33 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n\
                      35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        write("proc/self/mountinfo", mounts);
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
        assert_eq!(available(), Some(1_024_000));
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "70000\n");
        write("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
        assert_eq!(available(), Some(69_500));
    }
}
