//! The `sharehold` command: runs a broker, and shows what one holds.

mod check;
mod classes;
mod collect;
mod demo;
mod failure;
mod inspect;
mod ls;
mod pick;
mod serve;
mod size;
mod stats;
mod table;
mod user;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use failure::Failure;

/// Shared-memory objects with counted proxies: run a broker, and see who holds what.
#[derive(Parser)]
#[command(name = "sharehold", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more to stderr: -v what happens, -vv why, -vvv everything. Else SHAREHOLD_LOG says.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

const EXAMPLES: &str = "Examples:
  sharehold demo ~/src          Count the lines of a folder with four processes and no copy
  sharehold serve               Run the broker \"default\" until Ctrl-C
  sharehold ls                  Every object, and how many proxies each process has on it
  sharehold check && echo fine  Audit the counts of a broker";

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    #[command(hide = true)]
    DemoWorker(demo::worker::DemoWorker),
    Ls(ls::Ls),
    Inspect(inspect::Inspect),
    Stats(stats::Stats),
    Check(check::Check),
    Classes(classes::Classes),
    Collect(collect::Collect),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.verbose);
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Demo(demo) => demo.run(),
        Command::DemoWorker(worker) => worker.run(),
        Command::Ls(ls) => ls.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Stats(stats) => stats.run(),
        Command::Check(check) => check.run(),
        Command::Classes(classes) => classes.run(),
        Command::Collect(collect) => collect.run(),
    };
    match done {
        Ok(code) => code,
        // `| head` has read all it wants.
        Err(Failure::PipeClosed) => ExitCode::SUCCESS,
        Err(Failure::Said { message, advice }) => {
            let mut stderr = io::stderr().lock();
            // Nobody is left to tell that stderr is closed.
            let _ = writeln!(stderr, "error: {message}");
            if !advice.is_empty() {
                let _ = writeln!(stderr, "help: {advice}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start_logging(verbose: u8) {
    let filter = match verbose {
        0 => EnvFilter::try_from_env("SHAREHOLD_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        1 => EnvFilter::new("info"),
        2 => EnvFilter::new("debug"),
        _ => EnvFilter::new("trace"),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time();
    // Into a file go no colours; else NO_COLOR says.
    if io::stderr().is_terminal() { log.init() } else { log.with_ansi(false).init() }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
