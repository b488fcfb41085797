//! What was aimed at, and what came of it.

use serde_json::{Value, json};

use crate::results::Results;
use crate::tables::{bytes, rate, time, times};

/// Something that is to hold.
pub enum Aim {
    /// At a workload, ours takes at most so many times as long as another contestant.
    Within { workload: &'static str, of: &'static str, times: f64 },
    /// At a workload, another contestant takes at least so many times as long as ours.
    Ahead { workload: &'static str, of: &'static str, times: f64 },
    /// Ours takes at most so many nanoseconds.
    Nanos { workload: &'static str, most: f64 },
    /// Ours does at least so many in a second.
    Rate { workload: &'static str, least: f64 },
    /// One of two.
    Either(&'static Aim, &'static Aim),
    /// An object of 64 B takes at most so many bytes.
    Bytes { most: f64 },
    /// So many objects are alive at the same time.
    Live { least: usize },
}

/// A row of the table of aims.
pub struct Row {
    pub what: &'static str,
    pub aims: &'static [Aim],
}

use Aim::{Ahead, Bytes, Either, Live, Nanos, Rate, Within};

const PYTHON: &str = "Python's Manager";

pub const ROWS: [Row; 11] = [
    Row { what: "clone + drop of a held proxy", aims: &[Within { workload: "clone", of: "Arc", times: 1.2 }] },
    Row {
        what: "the same, 2 processes on one object, together",
        aims: &[Either(
            &Rate { workload: "clone-two", least: 80e6 },
            &Within { workload: "clone-two", of: "atomics on lines of their own", times: 1.0 / 0.9 },
        )],
    },
    Row {
        what: "create + seal + get + drop of a 64 B object",
        aims: &[
            Nanos { workload: "create", most: 150.0 },
            Rate { workload: "create", least: 9e6 },
            Within { workload: "create-two", of: "sharehold, one process", times: 1.0 },
        ],
    },
    Row {
        what: "get + drop of an object not held, by ticket and by name",
        aims: &[
            Nanos { workload: "ticket-1k", most: 60.0 },
            Nanos { workload: "name-1k", most: 60.0 },
            Nanos { workload: "ticket-100k", most: 250.0 },
            Nanos { workload: "name-100k", most: 250.0 },
        ],
    },
    Row {
        what: "seal, any size",
        aims: &[
            Nanos { workload: "seal-64", most: 100.0 },
            Nanos { workload: "seal-64k", most: 100.0 },
            Nanos { workload: "seal-1m", most: 100.0 },
            Nanos { workload: "seal-64m", most: 100.0 },
        ],
    },
    Row {
        what: "hand over and back, polled, two cores",
        aims: &[
            Within { workload: "hand-64", of: "polled ping-pong", times: 2.0 },
            Within { workload: "hand-64k", of: "polled ping-pong", times: 2.0 },
            Within { workload: "hand-1m", of: "polled ping-pong", times: 2.0 },
            Ahead { workload: "hand-64", of: "iceoryx2", times: 2.5 },
            Ahead { workload: "hand-64k", of: "iceoryx2", times: 2.5 },
            Ahead { workload: "hand-1m", of: "iceoryx2", times: 2.5 },
        ],
    },
    Row {
        what: "the same, blocking, one core",
        aims: &[
            Within { workload: "hand-64-blocking", of: "futex ping-pong", times: 1.4 },
            Within { workload: "hand-64k-blocking", of: "futex ping-pong", times: 1.4 },
            Within { workload: "hand-1m-blocking", of: "futex ping-pong", times: 1.4 },
            Ahead { workload: "hand-64-blocking", of: "iceoryx2", times: 2.0 },
            Ahead { workload: "hand-64k-blocking", of: "iceoryx2", times: 2.0 },
            Ahead { workload: "hand-1m-blocking", of: "iceoryx2", times: 2.0 },
        ],
    },
    Row {
        what: "hosted call, polled, two cores",
        aims: &[
            Within { workload: "call", of: "polled ping-pong", times: 2.0 },
            Ahead { workload: "call", of: "iceoryx2", times: 4.0 },
        ],
    },
    Row {
        what: "hosted call, blocking, one core",
        aims: &[
            Within { workload: "call-blocking", of: "futex ping-pong", times: 1.5 },
            Ahead { workload: "call-blocking", of: "tarpc", times: 3.5 },
        ],
    },
    Row {
        what: "any operation of Python's manager",
        aims: &[
            Ahead { workload: "clone", of: PYTHON, times: 1000.0 },
            Ahead { workload: "create", of: PYTHON, times: 3.0 },
            Ahead { workload: "call-blocking", of: PYTHON, times: 3.0 },
            Ahead { workload: "make", of: PYTHON, times: 3.0 },
        ],
    },
    Row { what: "64 B object, all in", aims: &[Bytes { most: 192.0 }, Live { least: 1_000_000 }] },
];

/// What came of an aim.
pub struct Outcome {
    pub aim: String,
    /// Ours, and what it is compared with. None: it was not measured.
    pub found: Option<Found>,
}

pub struct Found {
    pub ours: String,
    pub ratio: String,
    pub is_met: bool,
}

impl Aim {
    pub fn outcome(&self, results: &Results) -> Outcome {
        match *self {
            Within { workload, of, times: most } => {
                let found = compared(results, workload, of).map(|(ours, ratio)| Found {
                    ours: time(ours),
                    ratio: times(ratio),
                    is_met: ratio <= most,
                });
                Outcome { aim: format!("{}: <= {} {of}", named(workload), times(most)), found }
            }
            Ahead { workload, of, times: least } => {
                let found = compared(results, workload, of).map(|(ours, ratio)| Found {
                    ours: time(ours),
                    ratio: times(1.0 / ratio),
                    is_met: 1.0 / ratio >= least,
                });
                Outcome { aim: format!("{}: {of} >= {}", named(workload), times(least)), found }
            }
            Nanos { workload, most } => {
                let found = median(results, workload).map(|ours| Found {
                    ours: time(ours),
                    ratio: times(ours / most),
                    is_met: ours <= most,
                });
                Outcome { aim: format!("{}: <= {}", named(workload), time(most)), found }
            }
            Rate { workload, least } => {
                let found = median(results, workload).map(|ours| Found {
                    ours: rate(1e9 / ours),
                    ratio: times(1e9 / ours / least),
                    is_met: 1e9 / ours >= least,
                });
                Outcome { aim: format!("{}: >= {}", named(workload), rate(least)), found }
            }
            Either(one, other) => {
                let (one, other) = (one.outcome(results), other.outcome(results));
                let found = one.found.zip(other.found).map(|(one, other)| Found {
                    ours: format!("{}; {}", one.ours, other.ours),
                    ratio: format!("{}; {}", one.ratio, other.ratio),
                    is_met: one.is_met || other.is_met,
                });
                Outcome { aim: format!("{}, or {}", one.aim, other.aim), found }
            }
            Bytes { most } => {
                let ours = results.memory.iter().find(|memory| memory.is_ours);
                let found = ours.map(|ours| Found {
                    ours: bytes(ours.bytes),
                    ratio: times(ours.bytes / most),
                    is_met: ours.bytes <= most,
                });
                Outcome { aim: format!("<= {}", bytes(most)), found }
            }
            Live { least } => {
                let ours = results.memory.iter().find(|memory| memory.is_ours);
                let found = ours.map(|ours| Found {
                    ours: ours.live.to_string(),
                    ratio: times(ours.live as f64 / least as f64),
                    is_met: ours.live >= least,
                });
                Outcome { aim: format!(">= {least} live"), found }
            }
        }
    }
}

fn named(workload: &str) -> String {
    format!("`{workload}`")
}

fn median(results: &Results, workload: &str) -> Option<f64> {
    results.of(workload)?.ours().map(|ours| ours.median())
}

/// Ours, and how many times as long as another contestant it takes.
fn compared(results: &Results, workload: &str, of: &str) -> Option<(f64, f64)> {
    let measured = results.of(workload)?;
    let (ours, other) = (measured.ours()?, measured.of(of)?);
    Some((ours.median(), ours.to(other)))
}

pub fn json(results: &Results) -> Value {
    let aim = |row: &Row, aim: &Aim| {
        let outcome = aim.outcome(results);
        let found = outcome.found.as_ref();
        json!({
            "what": row.what,
            "aim": outcome.aim,
            "ours": found.map(|found| &found.ours),
            "ratio": found.map(|found| &found.ratio),
            "met": found.map(|found| found.is_met),
        })
    };
    ROWS.iter().flat_map(|row| row.aims.iter().map(move |one| aim(row, one))).collect()
}
