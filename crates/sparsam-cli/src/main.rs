//! The command `sparsam`.

#[cfg(unix)]
mod allocator;
mod arguments;
mod bench;
mod compare;
mod data;
mod display;
#[cfg(test)]
mod documentation;
mod evaluate;
mod failure;
mod figure;
mod image;
mod inspect;
mod models;
mod options;
mod predict;
mod process;
mod reproduce;
mod seeds;
mod serve;
mod settings;
mod shell;
mod side_by_side;
mod signals;
mod style;
mod table;
mod train;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::Arguments;
use settings::Settings;

fn main() -> ExitCode {
    signals::allow_errors_of_size();
    match Arguments::try_parse() {
        Ok(arguments) => run(arguments).unwrap_or_else(|error| failure::report(&error)),
        Err(error) => failure::report_arguments(&error),
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match Settings::try_from(arguments)? {
        Settings::Train(settings) => train::run(settings),
        Settings::Seeds(settings) => seeds::run(&settings),
        Settings::Evaluate(settings) => evaluate::run(&settings),
        Settings::Predict(settings) => predict::run(&settings),
        Settings::Inspect(settings) => inspect::run(&settings),
        Settings::Serve(settings) => serve::run(settings),
        Settings::Compare(settings) => compare::run(&settings),
        Settings::Runs(settings) => compare::list(&settings),
        Settings::Bench(settings) => bench::run(settings),
        Settings::Reproduce(settings) => reproduce::run(&settings),
        Settings::Data(settings) => data::run(&settings),
        Settings::CheckFile(config) => data::check_file(&config),
        Settings::Completions(shell) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sparsam", &mut script);
            display::print(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
