//! `sparsam bench index`.
use std::process::ExitCode;
pub fn run(_: &crate::settings::BenchIndex) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
