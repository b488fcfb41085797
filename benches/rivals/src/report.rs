//! What was measured: a table to read, and a file to compare with.

use std::fmt::Write;

use serde_json::{Value, json};

/// The fastest rival takes at least this many times as long as sharehold, where nobody waits for a core to wake.
const AIM: f64 = 1.8;
/// Where the floor and ours stand among those that are measured; the others are rivals.
const FLOOR: usize = 0;
const OURS: usize = 1;
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results");

/// The nanoseconds of a call in one place, of each who was measured, in each round.
pub struct Measured {
    place: &'static str,
    names: Vec<String>,
    rounds: Vec<Vec<f64>>,
}

impl Measured {
    pub fn new(place: &'static str, names: Vec<String>) -> Self {
        Self { place, names, rounds: Vec::new() }
    }

    /// Adds a round: a time for each.
    pub fn add(&mut self, nanos: Vec<f64>) {
        self.rounds.push(nanos);
    }

    fn nanos(&self, who: usize) -> f64 {
        median(self.rounds.iter().map(|round| round[who]))
    }

    /// How many times as long as another one: the median of what each round says.
    fn ratio(&self, who: usize, other: usize) -> f64 {
        median(self.rounds.iter().map(|round| round[who] / round[other]))
    }

    /// The rival that is to be beaten.
    fn fastest(&self) -> usize {
        let rivals = (0..self.names.len()).filter(|who| ![FLOOR, OURS].contains(who));
        rivals.min_by(|a, b| self.nanos(*a).total_cmp(&self.nanos(*b))).expect("there are rivals")
    }

    fn json(&self) -> Value {
        let of = |who: usize| {
            json!({
                "name": self.names[who],
                "nanos": round(self.nanos(who), 10.0),
                "to_ping_pong": round(self.ratio(who, FLOOR), 1000.0),
                "to_sharehold": round(self.ratio(who, OURS), 1000.0),
            })
        };
        json!({ "place": self.place, "calls": (0..self.names.len()).map(of).collect::<Vec<_>>() })
    }
}

/// All of a run.
pub struct Report {
    rounds: usize,
    turn: u64,
    machine: Value,
    places: Vec<Measured>,
}

impl Report {
    /// Begins with what is known of the machine before it is busy.
    pub fn begin(rounds: usize, turn: u64) -> Self {
        Self { rounds, turn, machine: machine(), places: Vec::new() }
    }

    pub fn add(&mut self, measured: Measured) {
        self.places.push(measured);
    }

    /// In Markdown.
    pub fn table(&self) -> String {
        let mut table =
            String::from("| place | who | a call | to ping-pong | to sharehold |\n|---|---|---:|---:|---:|\n");
        for measured in &self.places {
            for (who, name) in measured.names.iter().enumerate() {
                let (floor, ours) = (measured.ratio(who, FLOOR), measured.ratio(who, OURS));
                let micros = measured.nanos(who) / 1e3;
                let _ = writeln!(table, "| {} | {name} | {micros:.2} us | {floor:.2} | {ours:.2} |", measured.place);
            }
        }
        let (name, ratio, met) = self.aim();
        let met = if met { "met" } else { "MISSED" };
        let _ = writeln!(
            table,
            "\nThe fastest rival, {name}, takes {ratio:.2} times as long as sharehold on one core. At least {AIM}: {met}."
        );
        table
    }

    /// Who is compared, how many times as long it takes, and whether that is enough.
    fn aim(&self) -> (&str, f64, bool) {
        let measured = self.places.first().expect("one core comes first");
        let fastest = measured.fastest();
        let ratio = measured.ratio(fastest, OURS);
        (&measured.names[fastest], ratio, ratio >= AIM)
    }

    /// As `results/calls.json`.
    pub fn write(&self) {
        let (name, ratio, met) = self.aim();
        let report = json!({
            "machine": self.machine,
            "rounds": self.rounds,
            "calls_in_a_turn": self.turn,
            "aim": { "of": name, "to_sharehold": round(ratio, 1000.0), "at_least": AIM, "met": met },
            "places": self.places.iter().map(Measured::json).collect::<Vec<_>>(),
        });
        std::fs::create_dir_all(RESULTS).expect("a folder");
        std::fs::write(format!("{RESULTS}/calls.json"), format!("{report:#}\n")).expect("written");
    }
}

fn machine() -> Value {
    let cpu = ["model name", "cpu family", "model"].map(processor);
    let load = std::fs::read_to_string("/proc/loadavg").expect("the load");
    json!({
        "cpu": format!("{} (family {}, model {})", cpu[0], cpu[1], cpu[2]),
        "cores": std::thread::available_parallelism().expect("some").get(),
        "kernel": rustix::system::uname().release().to_string_lossy(),
        "load_before": load.split(' ').next(),
    })
}

/// What the system says of the first processor.
fn processor(what: &str) -> String {
    let all = std::fs::read_to_string("/proc/cpuinfo").expect("processors");
    let of = |line: &str| {
        line.split_once(':').filter(|(key, _)| key.trim() == what).map(|(_, value)| value.trim().to_owned())
    };
    all.lines().find_map(of).unwrap_or_else(|| "unknown".into())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// To as many parts of one as are worth reading.
fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
