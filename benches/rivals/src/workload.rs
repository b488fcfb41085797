//! What is compared, as data.

/// An operation that contestants do in their own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Takes one more reference of an object that is held anyway, and drops it.
    Clone,
    /// The same by two processes on one object at the same time.
    CloneTogether,
    /// Creates an object of 64 B, makes it immutable, gets it once more, reads it, and drops it.
    Create,
    /// The same by two processes at the same time.
    CreateTogether,
    /// Gets any of so many objects that this process does not hold, reads a byte, and drops it.
    Get { by: By, live: usize },
    /// Makes an object of so many bytes immutable.
    Seal { bytes: usize },
    /// Hands an object of so many bytes to another process, and gets one back.
    HandOver { bytes: usize, waiting: Waiting },
    /// Calls `scale(f64) -> f64` of an object in another process.
    Call { waiting: Waiting },
    /// Makes an object with methods in another process, and drops it.
    Make,
}

/// How an object that is not held is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Ticket,
    Name,
}

/// How one waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Looks again and again, on a core of its own.
    Polling,
    /// Sleeps. On one core: to wake another one that idles takes longer than all that is measured.
    Blocking,
}

/// Where the two sides run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    OneCore,
    TwoCores,
}

/// A row of the table.
#[derive(Debug)]
pub struct Workload {
    pub id: &'static str,
    pub what: &'static str,
    pub operation: Operation,
    /// The contestant that does the least that the machine asks for something of this kind.
    pub floor: &'static str,
}

impl Workload {
    pub fn place(&self) -> Place {
        match self.operation {
            Operation::CloneTogether
            | Operation::CreateTogether
            | Operation::HandOver { waiting: Waiting::Polling, .. }
            | Operation::Call { waiting: Waiting::Polling } => Place::TwoCores,
            _ => Place::OneCore,
        }
    }
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::OneCore => "one core",
            Self::TwoCores => "two cores",
        }
    }
}

/// Objects that are shared are of this size where nothing else is said.
pub const SMALL: usize = 64;
const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

const fn row(id: &'static str, what: &'static str, operation: Operation, floor: &'static str) -> Workload {
    Workload { id, what, operation, floor }
}

const fn get(id: &'static str, what: &'static str, by: By, live: usize) -> Workload {
    row(id, what, Operation::Get { by, live }, "HashMap of Arcs")
}

const fn polled(id: &'static str, what: &'static str, bytes: usize) -> Workload {
    row(id, what, Operation::HandOver { bytes, waiting: Waiting::Polling }, "polled ping-pong")
}

const fn blocking(id: &'static str, what: &'static str, bytes: usize) -> Workload {
    row(id, what, Operation::HandOver { bytes, waiting: Waiting::Blocking }, "futex ping-pong")
}

const fn seal(id: &'static str, what: &'static str, bytes: usize) -> Workload {
    row(id, what, Operation::Seal { bytes }, "atomic or")
}

pub const WORKLOADS: [Workload; 21] = [
    row("clone", "clone + drop of a held proxy", Operation::Clone, "Arc"),
    row(
        "clone-two",
        "clone + drop, 2 processes on one object, per pair together",
        Operation::CloneTogether,
        "atomics on lines of their own",
    ),
    row("create", "create + seal + get + drop, 64 B", Operation::Create, "malloc"),
    row("create-two", "the same, 2 processes, per object together", Operation::CreateTogether, "malloc"),
    get("ticket-1k", "get + drop by ticket, random among 1 k live", By::Ticket, 1000),
    get("ticket-100k", "get + drop by ticket, random among 100 k live", By::Ticket, 100_000),
    get("name-1k", "get + drop by name, random among 1 k live", By::Name, 1000),
    get("name-100k", "get + drop by name, random among 100 k live", By::Name, 100_000),
    seal("seal-64", "seal, 64 B", SMALL),
    seal("seal-64k", "seal, 64 KB", 64 * KB),
    seal("seal-1m", "seal, 1 MB", MB),
    seal("seal-64m", "seal, 64 MB", 64 * MB),
    polled("hand-64", "hand over and back, polled, 64 B", SMALL),
    polled("hand-64k", "hand over and back, polled, 64 KB", 64 * KB),
    polled("hand-1m", "hand over and back, polled, 1 MB", MB),
    blocking("hand-64-blocking", "hand over and back, blocking, 64 B", SMALL),
    blocking("hand-64k-blocking", "hand over and back, blocking, 64 KB", 64 * KB),
    blocking("hand-1m-blocking", "hand over and back, blocking, 1 MB", MB),
    row("call", "hosted call, polled", Operation::Call { waiting: Waiting::Polling }, "polled ping-pong"),
    row("call-blocking", "hosted call, blocking", Operation::Call { waiting: Waiting::Blocking }, "futex ping-pong"),
    row("make", "hosted object made + dropped, blocking", Operation::Make, "futex ping-pong"),
];
