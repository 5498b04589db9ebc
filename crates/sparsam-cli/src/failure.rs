//! What went wrong, and the exit code that says whose doing it was.

use std::fmt;
use std::io;
use std::process::ExitCode;

use sparsam_train::way_out;

/// A mistake in what the user asked for, in one sentence that names it and the way out.
#[derive(Debug)]
pub struct Mistake(pub String);

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

/// The exit code after Ctrl-C, as shells know it.
pub const INTERRUPTED: u8 = 130;

/// The exit code after a signal by which systems announce an end, once all is saved: `EX_TEMPFAIL` of `sysexits.h`, which asks
/// to be started again. Shells tell of a program that a signal killed in numbers above 128.
pub const TOLD_TO_END: u8 = 75;

/// The exit code if all went well but for standard output, which could not be written to: `EX_IOERR` of `sysexits.h`.
pub const OUTPUT_LOST: u8 = 74;

const MISTAKE: u8 = 2;
const FAILURE: u8 = 1;

/// Why standard output cannot be written to.
#[derive(Debug)]
pub struct Unprinted(pub io::Error);

impl fmt::Display for Unprinted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::BrokenPipe => formatter.write_str("nobody reads standard output any more"),
            _ => write!(formatter, "standard output cannot be written to: {}{}", self.0, way_out(&self.0)),
        }
    }
}

impl std::error::Error for Unprinted {}

/// Says what went wrong, and gives the exit code for it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(unprinted) = error.downcast_ref::<Unprinted>() {
        eprintln_if_possible(&format!("sparsam: {unprinted}; the rest of what was to be printed is lost"));
        return ExitCode::from(OUTPUT_LOST);
    }
    let way_out = error.chain().find_map(|cause| Some(way_out(cause.downcast_ref::<io::Error>()?))).unwrap_or_default();
    let said = error.to_string();
    let way_out = if said.ends_with(way_out) { "" } else { way_out };
    eprintln_if_possible(&format!("sparsam: {said}{way_out}"));
    let mistake = error.downcast_ref::<sparsam_train::Error>().is_some_and(sparsam_train::Error::is_usage)
        || error.is::<Mistake>();
    ExitCode::from(if mistake { MISTAKE } else { FAILURE })
}

/// What clap found, in the one sentence that every other mistake gets; help and version as they are.
pub fn report_arguments(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => report(&Unprinted(error).into()),
            _ => ExitCode::SUCCESS,
        };
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(MISTAKE);
    }
    eprintln_if_possible(&format!("sparsam: {}", sentence(&error.render().to_string())));
    ExitCode::from(MISTAKE)
}

/// The message, the values that are possible and the tip of a text that clap spreads over paragraphs.
fn sentence(text: &str) -> String {
    let parts: Vec<_> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.starts_with("Usage:") && !paragraph.is_empty())
        .map(|paragraph| paragraph.trim_start_matches("error: ").trim_start_matches("tip: ").to_owned())
        .collect();
    parts.join("; ").trim_end_matches('.').replace("For more information, try", "for more see")
}

/// Standard error may be closed; that is no reason to fail differently.
pub fn eprintln_if_possible(line: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_a_sentence() {
        let text = "error: unexpected argument '--sed' found\n\n  tip: a similar argument exists: '--seed'\n\n\
            Usage: sparsam train [OPTIONS] [TASK]\n\nFor more information, try '--help'.\n";
        let expected = "unexpected argument '--sed' found; a similar argument exists: '--seed'; for more see '--help'";
        assert_eq!(sentence(text), expected);
    }

    #[test]
    fn every_failure_has_its_exit_code() {
        let closed = Unprinted(io::ErrorKind::BrokenPipe.into());
        assert_eq!(closed.to_string(), "nobody reads standard output any more");
        assert_eq!(report(&closed.into()), ExitCode::from(74));
        let full = Unprinted(io::ErrorKind::StorageFull.into()).to_string();
        assert!(full.contains("free some space"), "{full}");
        assert_eq!(report(&Mistake("a".into()).into()), ExitCode::from(2));
        assert_eq!(report(&anyhow::anyhow!("b")), ExitCode::from(1));
    }
}
