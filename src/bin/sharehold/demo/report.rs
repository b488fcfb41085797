//! What the user sees.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use super::count::Counts;
use super::courier::Round;
use super::files::Listed;
use crate::failure::Failure;
use crate::size;
use crate::table::{counted, plain};

/// All that happened.
#[derive(Default)]
pub(super) struct Report {
    counted: Vec<(usize, Counts)>,
    pub(super) failed: usize,
    ended: usize,
    lost: usize,
    counting: Duration,
    sent: u64,
    /// From the first byte read to the last one counted.
    pub(super) took: Duration,
    pub(super) left: Left,
}

/// What is there after the end that should not be.
#[derive(Default)]
pub(super) struct Left {
    pub(super) objects: u64,
    pub(super) tickets: usize,
    /// Whether the broker still runs.
    pub(super) broker: bool,
    /// Whether it can still be found.
    pub(super) socket: bool,
}

impl Left {
    pub(super) fn is_something(&self) -> bool {
        self.objects > 0 || self.tickets > 0 || self.broker || self.socket
    }
}

impl Report {
    pub(super) fn add(&mut self, round: Round) {
        self.counted.extend(round.counted);
        self.failed += round.failed;
        self.ended += round.ended;
        self.lost += round.lost;
        self.counting += round.counting;
        self.sent += round.sent;
    }

    pub(super) fn print(&mut self, files: &[Listed]) -> Result<(), Failure> {
        self.counted.sort_unstable_by_key(|(index, _)| *index);
        let mut total = Counts::default();
        for (_, counts) in &self.counted {
            total += *counts;
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let width = Width::of(&total);
        for (index, counts) in &self.counted {
            let name = files.get(*index).map_or_else(String::new, |file| plain(&file.path.to_string_lossy()));
            width.write(&mut out, texts(counts).each_ref().map(String::as_str), &name)?;
        }
        // As `wc`: one file has no total.
        if files.len() != 1 {
            width.write(&mut out, texts(&total).each_ref().map(String::as_str), "total")?;
        }
        self.summarise(&mut out, total.bytes)?;
        out.flush()?;
        Ok(())
    }

    fn summarise(&self, out: &mut impl Write, bytes: u64) -> io::Result<()> {
        let files = counted(self.counted.len() as u64, "file");
        writeln!(out)?;
        writeln!(out, "shared  {} of {files}, read once, straight into shared memory", size::human(bytes))?;
        writeln!(
            out,
            "copied  0 bytes of them between processes; the tickets and answers were {} in all",
            size::human(self.sent)
        )?;
        let seconds = self.took.as_secs_f64();
        write!(out, "time    {seconds:.3} s, {}", rate(bytes, seconds))?;
        writeln!(out, "; the workers counted in place at {} each", rate(bytes, self.counting.as_secs_f64()))?;
        let workers = match self.lost {
            0 => format!("{} and the broker have ended", counted(self.ended as u64, "worker")),
            lost => format!(
                "{} and the broker have ended, {lost} before its time",
                counted((self.ended + lost) as u64, "worker")
            ),
        };
        let Left { objects, tickets, broker, socket } = &self.left;
        if self.left.is_something() {
            let broker = if *broker { ", the broker still runs" } else { "" };
            let socket = if *socket { ", its socket is still there" } else { "" };
            writeln!(
                out,
                "left    {}, {}{broker}{socket}",
                counted(*objects, "object"),
                counted(*tickets as u64, "ticket")
            )
        } else {
            writeln!(out, "left    nothing: 0 objects, 0 tickets; {workers}")
        }
    }
}

/// `1630 MB/s`.
fn rate(bytes: u64, seconds: f64) -> String {
    if seconds > 0.0 { format!("{:.0} MB/s", bytes as f64 / 1e6 / seconds) } else { "- MB/s".into() }
}

fn texts(counts: &Counts) -> [String; 3] {
    [counts.lines, counts.words, counts.bytes].map(|count| count.to_string())
}

/// The width of all columns, as `wc` has it: no number is longer than the longest of the total.
struct Width(usize);

impl Width {
    fn of(total: &Counts) -> Self {
        Self(texts(total).iter().map(String::len).max().unwrap_or(1))
    }

    fn write(&self, out: &mut impl Write, texts: [&str; 3], name: &str) -> io::Result<()> {
        for text in texts {
            write!(out, "{text:>width$} ", width = self.0)?;
        }
        writeln!(out, "{name}")
    }
}
