//! `sharehold demo`: counts the lines, words and bytes of files in four other processes, which get no copy of them.
//!
//! [`files`] finds the files and reads them into shared memory, a [`courier`] hands them to its [`worker`] by ticket, [`count`] is what the
//! worker does, [`report`] is what the user sees.

mod budget;
mod count;
mod courier;
mod files;
mod report;
pub(crate) mod worker;

use std::io::{self, IsTerminal, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sharehold::Manager;

use crate::failure::Failure;
use crate::table::plain;
use budget::Budget;
use courier::Courier;
use files::{Listed, Trouble};
use report::{Left, Report};

const WORKERS: usize = 4;
/// Bytes of files that are in shared memory at one time. A file that is larger has it for itself.
const IN_FLIGHT: u64 = 1 << 30;
/// Room for what is in flight, whichever holes it leaves: four files cut the heap in at most five pieces. What is not used costs nothing.
const ROOM: u64 = 8;
/// More than any file system holds in one file; the region can't be larger either.
const MOST_ROOM: u64 = 1 << 45;
/// How long the broker may take to clean up after a worker that was killed.
const CLEANUP: Duration = Duration::from_secs(5);

/// Count the lines, words and bytes of files in four worker processes, without copying the files to them.
///
/// Each file is read once, straight into shared memory, and sealed. A worker gets a ticket of some 70 bytes, counts in place, and the memory is given
/// back when it lets go. The numbers are those of `LC_ALL=C wc -lwc` (coreutils up to 9.4).
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold demo
  sharehold demo /usr/share/dict/words /var/log
  sharehold demo big.bin & watch -n0.1 sharehold ls   # see the files come and go

Folders are searched without hidden files, symbolic links and folders named target.
A file is counted as long as it is when it is opened; an unreadable one is reported, and the exit code is 1.")]
pub(crate) struct Demo {
    /// Files and folders.
    #[arg(value_name = "FILE or FOLDER", default_value = ".")]
    paths: Vec<PathBuf>,
}

impl Demo {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mut troubles = 0;
        let files = files::list(&self.paths, &mut |path, trouble| {
            troubles += 1;
            complain(path, &trouble);
        });
        let largest = files.iter().map(|file| file.size).max().unwrap_or(0);
        let room = largest.max(IN_FLIGHT).saturating_mul(ROOM).min(MOST_ROOM);
        let manager = Manager::builder().capacity(room).start()?;
        let bar = progress_bar(files.iter().map(|file| file.size).sum());
        let started = Instant::now();
        let mut report = count_all(&manager, &files, &bar)?;
        bar.finish_and_clear();
        report.took = started.elapsed();
        report.left = end(manager)?;
        report.print(&files)?;
        let failed = troubles + report.failed > 0 || report.left.is_something();
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Has every file counted, by as many couriers as there are workers.
fn count_all(manager: &Manager, files: &[Listed], bar: &ProgressBar) -> Result<Report, Failure> {
    let (next, budget) = (AtomicUsize::new(0), Budget::new(IN_FLIGHT));
    let couriers: Vec<Courier<'_>> =
        (0..WORKERS).map(|_| Courier::new(manager, &budget, bar)).collect::<io::Result<_>>()?;
    let mut report = Report::default();
    thread::scope(|scope| {
        let threads: Vec<_> =
            couriers.into_iter().map(|courier| scope.spawn(|| courier.deliver_all(files, &next))).collect();
        for thread in threads {
            report.add(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
    });
    Ok(report)
}

/// Ends the broker, and looks whether anything is left.
fn end(manager: Manager) -> Result<Left, Failure> {
    let until = Instant::now() + CLEANUP;
    // Only after the death of a worker there is something to wait for.
    while manager.number_of_objects()? > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    let (name, broker) = (manager.name().to_owned(), manager.stats()?.broker_pid);
    let mut left = Left { objects: manager.number_of_objects()?, tickets: manager.tickets()?.len(), ..Left::default() };
    manager.shutdown()?;
    // The broker is a child of this process, which waits for its end here.
    drop(manager);
    left.broker = Path::new(&format!("/proc/{broker}")).exists();
    left.socket = sharehold::brokers().contains(&name);
    Ok(left)
}

/// Says what is wrong with one file, as `wc` does.
fn complain(path: &Path, trouble: &Trouble) {
    // Nobody is left to tell that stderr is closed.
    let _ = writeln!(io::stderr().lock(), "demo: {}: {trouble}", plain(&path.to_string_lossy()));
}

fn progress_bar(bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}
