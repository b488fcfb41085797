//! The `sharehold` command: runs a broker, shows what it holds, and demonstrates the whole on real files.

mod check;
mod demo;
mod inspect;
mod ls;
mod output;
mod serve;
mod size;
mod stats;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use output::Failure;
use tracing_subscriber::EnvFilter;

/// Shared-memory objects with counted proxies in any process.
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    /// Say more on stderr; twice: everything. SHAREHOLD_LOG takes a filter, as in sharehold=debug.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  sharehold demo                      count the words of this folder's files in four processes
  sharehold serve --name prices       run a broker that others connect to
  sharehold ls prices                 what it holds, and who holds it
  sharehold check prices --json       audit its region";

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    #[command(hide = true)]
    DemoWorker(demo::worker::Worker),
    Ls(ls::Ls),
    Inspect(inspect::Inspect),
    Check(check::Check),
    Stats(stats::Stats),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let default = match arguments.verbose {
        0 => "warn",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("SHAREHOLD_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Demo(demo) => demo.run(),
        Command::DemoWorker(worker) => worker.run(),
        Command::Ls(ls) => ls.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Check(check) => check.run(),
        Command::Stats(stats) => stats.run(),
    };
    match done {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::FAILURE
        }
    }
}
