//! `sharehold demo`: counts lines, words and bytes of real files in four processes that share them without a copy.
//!
//! [`files`] finds and loads them, [`worker`] counts, [`crew`] hands out the work, [`count`] is the counting itself.

mod count;
mod crew;
mod files;
pub(crate) mod worker;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use count::Counts;
use crew::{Crew, Finished};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sharehold::{ErrorKind, Manager};

use crate::output::{Failure, Outcome, line};
use crate::size::human;

/// Processes that count.
const WORKERS: usize = 4;

/// Count the lines, words and bytes of files in four processes, in place, as `wc -lwc` would.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold demo                     all files of this folder, without hidden ones and `target`
  sharehold demo src README.md
  sharehold demo /var/log/*.log

The numbers are those of `LC_ALL=C wc -lwc`.")]
pub(crate) struct Demo {
    /// Files and folders; default: the current folder.
    #[arg(value_name = "FILE or FOLDER")]
    paths: Vec<PathBuf>,
}

/// A file and what became of it.
struct Counted {
    path: PathBuf,
    result: Result<Counts, String>,
}

impl Demo {
    pub(crate) fn run(self) -> Outcome {
        let files = files::find(&self.paths);
        let started = Instant::now();
        let manager = Manager::start()?;
        let broker = manager.child_pid();
        let mut crew = Crew::start(&manager, WORKERS)?;
        let bar = progress(files.iter().map(|file| file.len).sum());
        let mut counted: Vec<Counted> = Vec::new();
        let take = |finished: Vec<Finished>, counted: &mut Vec<Counted>| {
            for Finished { job, result } in finished {
                if let Ok(counts) = &result {
                    bar.inc(counts.bytes);
                }
                counted[job].result = result;
            }
        };
        for (job, file) in files.into_iter().enumerate() {
            counted.push(Counted { path: file.path.clone(), result: Err("not counted".into()) });
            take(crew.make_room()?, &mut counted);
            let array = loop {
                match files::load(&manager, &file) {
                    // The memory is full of files that are being counted: wait for one of them.
                    Err(files::Unloaded::Sharehold(error))
                        if error.kind() == ErrorKind::RegionFull && crew.is_busy() =>
                    {
                        take(crew.wait()?, &mut counted);
                    }
                    loaded => break loaded,
                }
            };
            match array {
                Ok(array) => crew.hand_out(job, array)?,
                Err(error) => counted[job].result = Err(error.to_string()),
            }
        }
        while crew.is_busy() {
            take(crew.wait()?, &mut counted);
        }
        bar.finish_and_clear();
        let took = started.elapsed();
        crew.end()?;
        let left = manager.number_of_objects()?;
        drop(manager);
        let broker_is_gone = broker.is_none_or(|pid| !PathBuf::from(format!("/proc/{pid}")).exists());
        report(&counted, took, left, broker_is_gone)
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    if let Ok(style) = ProgressStyle::with_template("counting {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn report(counted: &[Counted], took: Duration, left: u64, broker_is_gone: bool) -> Outcome {
    let mut total = Counts::default();
    for counts in counted.iter().filter_map(|file| file.result.as_ref().ok()) {
        total += *counts;
    }
    let width =
        [total.lines, total.words, total.bytes].map(|number| number.to_string().len()).into_iter().max().unwrap_or(1);
    let row = |counts: &Counts, name: &str| {
        line(format!("{:>width$} {:>width$} {:>width$} {name}", counts.lines, counts.words, counts.bytes))
    };
    let (mut files, mut failed) = (0_u64, false);
    for file in counted {
        let name = file.path.display().to_string();
        match &file.result {
            Ok(counts) => {
                row(counts, &name)?;
                files += 1;
            }
            Err(error) => {
                failed = true;
                writeln!(std::io::stderr().lock(), "demo: {name}: {error}")?;
            }
        }
    }
    if counted.len() != 1 {
        row(&total, "total")?;
    }
    let rate = total.bytes as f64 / took.as_secs_f64().max(1e-9);
    line("")?;
    line(format!("shared   {} in {files} sealed arrays, counted in place by {WORKERS} processes", human(total.bytes)))?;
    line("copied   0 bytes between processes")?;
    line(format!(
        "time     {:.3} s from the broker's start to the last count, {}/s",
        took.as_secs_f64(),
        human(rate as u64)
    ))?;
    if left != 0 || !broker_is_gone {
        return Err(Failure::Other(
            format!("{left} objects are left, broker gone: {broker_is_gone}"),
            "this is a bug: please report it",
        ));
    }
    line("left     0 objects; all workers and the broker have ended")?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
