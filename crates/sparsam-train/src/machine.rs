//! The machine that something was trained or measured on, and the program.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A machine with the program that ran there, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as the system names it; its architecture where the system does not.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Threads that work was shared out over.
    pub threads: usize,
    /// The instruction set of the kernels.
    pub instruction_set: String,
    /// Physical memory, in bytes; none where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// The operating system.
    pub system: String,
    /// The version of sparsam.
    pub sparsam: String,
    /// The commit that it was built from, with a + behind it if its sources had changed since; none if it was not built from
    /// a checkout.
    #[serde(default)]
    pub commit: Option<String>,
    /// Date and time of Greenwich.
    pub date: String,
}

impl Machine {
    /// This machine, now, with the threads of the current rayon pool.
    pub fn here() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let named = |line: &str| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned());
        let total = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = total.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        Self {
            processor: cpu.lines().find_map(named).unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: sparsam::internal::threads::cores(),
            threads: rayon::current_num_threads(),
            instruction_set: format!("{:?}", sparsam::internal::simd::level()),
            memory_bytes: total.and_then(|kib| kib.trim().parse::<u64>().ok()).map(|kib| kib << 10),
            system: std::env::consts::OS.into(),
            sparsam: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("SPARSAM_COMMIT").map(str::to_owned),
            date: now(),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let Self { processor, cores, threads, instruction_set, .. } = self;
        let plural = |count: usize, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
        format!("{processor}, {}, {}, {instruction_set}", plural(*cores, "core"), plural(*threads, "thread"))
    }
}

/// This moment.
pub(crate) fn now() -> String {
    date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
}

/// Seconds since 1970 as a date and time of Greenwich (Hinnant's days from civil, backwards).
fn date(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let times = [0, 951_782_400, 1_709_251_199, 4_102_444_800];
        let expected = ["1970-01-01T00:00:00Z", "2000-02-29T00:00:00Z", "2024-02-29T23:59:59Z", "2100-01-01T00:00:00Z"];
        assert_eq!(times.map(date), expected);
    }
}
