//! `sparsam bench memory`.
use std::process::ExitCode;
pub fn run(_: &crate::settings::BenchModels) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
pub fn run_point(_: &crate::settings::BenchPoint) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
