//! How much memory there is to be had.

use std::fs;
use std::path::Path;

/// Bytes of physical memory that can be had without taking them from another program and without exceeding what the
/// process's control groups (a container's, say) and its own limits (`ulimit -v`, `ulimit -d`) allow; none where the system
/// does not say.
pub fn available_bytes() -> Option<u128> {
    available_below(Path::new("/")).map(|available| own_limit().map_or(available, |left| left.min(available)))
}

/// Bytes that the process's own limits leave it beyond those it has; none if there are none, or the system does not say.
#[cfg(unix)]
fn own_limit() -> Option<u128> {
    use rustix::process::{Resource, getrlimit};
    // In pages: all of the address space, and at the sixth place what is data.
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let page = rustix::param::page_size() as u128;
    let used = |place: usize| statm.split_whitespace().nth(place)?.parse::<u128>().ok().map(|pages| pages * page);
    let left = |resource, place| Some(u128::from(getrlimit(resource).current?).saturating_sub(used(place)?));
    [left(Resource::As, 0), left(Resource::Data, 5)].into_iter().flatten().min()
}

#[cfg(not(unix))]
fn own_limit() -> Option<u128> {
    None
}

/// The bytes that can be had, where they are fewer than `bytes`; none if there is room, or the system does not say.
///
/// Up to 16 MiB the system is not asked: reading what it says takes a tenth of a millisecond, longer than many a call that
/// asks for room. What is asked once, as a network is made or a file read, asks [`available_bytes`].
pub fn available_if_fewer_than(bytes: u128) -> Option<u128> {
    const NEVER_TOO_MUCH: u128 = 16 << 20;
    if bytes <= NEVER_TOO_MUCH {
        return None;
    }
    available_bytes().filter(|available| *available < bytes)
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
    #[cfg(target_os = "linux")]
    fn the_system_is_asked_for_much_alone() {
        assert_eq!(available_if_fewer_than(16 << 20), None);
        let available = available_if_fewer_than(u128::MAX).expect("Linux says what there is");
        assert!(available > 0 && available < 1 << 60);
        assert_eq!(available_if_fewer_than(available / 2), None);
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
