//! What went wrong, and the exit code that says whose doing it was.

use std::fmt;
use std::io;
use std::process::ExitCode;

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

const MISTAKE: u8 = 2;
const FAILURE: u8 = 1;

/// Says what went wrong, unless nobody reads any more, and gives the exit code for it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    eprintln_if_possible(&format!("sparsam: {error}"));
    let mistake = error.downcast_ref::<sparsam_train::Error>().is_some_and(sparsam_train::Error::is_usage)
        || error.is::<Mistake>();
    ExitCode::from(if mistake { MISTAKE } else { FAILURE })
}

/// What clap found, in the one sentence that every other mistake gets; help and version as they are.
pub fn report_arguments(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(FAILURE),
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
fn eprintln_if_possible(line: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "{line}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
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
    fn a_closed_pipe_is_no_failure() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert_eq!(report(&closed), ExitCode::SUCCESS);
        assert_eq!(report(&Mistake("a".into()).into()), ExitCode::from(2));
        assert_eq!(report(&anyhow::anyhow!("b")), ExitCode::from(1));
    }
}
