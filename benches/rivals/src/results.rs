//! What was measured.

use serde_json::{Value, json};

use crate::contestant::Role;
use crate::workload::Workload;

/// A contestant's turns at a workload.
pub struct Timed {
    pub name: &'static str,
    pub how: &'static str,
    pub role: Role,
    /// Of one operation, in each round.
    pub nanos: Vec<f64>,
}

/// A contestant that could not do a workload, and why.
pub struct Missing {
    pub name: &'static str,
    pub why: String,
}

/// All turns at a workload. The rounds of one contestant are those of the others.
pub struct Measured {
    pub workload: &'static Workload,
    pub timed: Vec<Timed>,
    pub missing: Vec<Missing>,
}

/// What an object of 64 B takes, all in.
pub struct Memory {
    pub name: &'static str,
    pub is_ours: bool,
    pub bytes: f64,
    pub live: usize,
}

/// All of a run.
pub struct Results {
    pub machine: Value,
    pub rounds: usize,
    /// Who took part, and in which version; or why not.
    pub versions: Vec<(&'static str, Result<String, String>)>,
    pub measured: Vec<Measured>,
    pub memory: Vec<Memory>,
}

impl Timed {
    /// The median of all rounds.
    pub fn median(&self) -> f64 {
        median(self.nanos.iter().copied())
    }

    /// How many times as long as another one: the median of what each round says.
    pub fn to(&self, other: &Self) -> f64 {
        median(self.nanos.iter().zip(&other.nanos).map(|(mine, theirs)| mine / theirs))
    }

    /// Its name, and what it did if it has several ways.
    pub fn label(&self) -> String {
        if self.how.is_empty() { self.name.to_owned() } else { format!("{} ({})", self.name, self.how) }
    }
}

impl Measured {
    pub fn of(&self, name: &str) -> Option<&Timed> {
        self.timed.iter().find(|timed| timed.name == name)
    }

    pub fn ours(&self) -> Option<&Timed> {
        self.timed.iter().find(|timed| timed.role == Role::Ours)
    }

    pub fn floor(&self) -> Option<&Timed> {
        self.of(self.workload.floor)
    }

    /// From the fastest to the slowest.
    pub fn rivals(&self) -> Vec<&Timed> {
        let mut rivals: Vec<&Timed> = self.timed.iter().filter(|timed| timed.role == Role::Rival).collect();
        rivals.sort_by(|a, b| a.median().total_cmp(&b.median()));
        rivals
    }

    fn json(&self) -> Value {
        let of = |timed: &Timed| {
            let to = |other: Option<&Timed>| other.map(|other| digits(timed.to(other)));
            json!({
                "name": timed.name,
                "how": timed.how,
                "is": match timed.role { Role::Floor => "floor", Role::Ours => "ours", Role::Rival => "rival" },
                "median_ns": digits(timed.median()),
                "quartiles_ns": [digits(quantile(&timed.nanos, 0.25)), digits(quantile(&timed.nanos, 0.75))],
                "to_floor": to(self.floor()),
                "to_sharehold": to(self.ours()),
            })
        };
        json!({
            "id": self.workload.id,
            "what": self.workload.what,
            "place": self.workload.place().name(),
            "floor": self.workload.floor,
            "contestants": self.timed.iter().map(of).collect::<Vec<_>>(),
            "failed": self.missing.iter().map(|missing| json!({"name": missing.name, "why": missing.why})).collect::<Vec<_>>(),
        })
    }
}

impl Results {
    pub fn of(&self, id: &str) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.workload.id == id)
    }

    pub fn json(&self, aims: &Value) -> Value {
        let version = |(name, version): &(&str, Result<String, String>)| match version {
            Ok(version) => json!({"name": name, "version": version}),
            Err(why) => json!({"name": name, "missing": why}),
        };
        let memory = |memory: &Memory| json!({"name": memory.name, "bytes": digits(memory.bytes), "live": memory.live});
        json!({
            "machine": self.machine,
            "rounds": self.rounds,
            "contestants": self.versions.iter().map(version).collect::<Vec<_>>(),
            "workloads": self.measured.iter().map(Measured::json).collect::<Vec<_>>(),
            "memory": self.memory.iter().map(memory).collect::<Vec<_>>(),
            "aims": aims,
        })
    }
}

/// What is known of the machine, before it is busy.
pub fn machine() -> Value {
    let cpu = ["model name", "cpu family", "model"].map(processor);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": format!("{} (family {}, model {})", cpu[0], cpu[1], cpu[2]),
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "kernel": rustix::system::uname().release().to_string_lossy(),
        "load_before": load.split(' ').next(),
    })
}

/// What the system says of the first processor.
fn processor(what: &str) -> String {
    let all = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |line: &str| {
        line.split_once(':').filter(|(key, _)| key.trim() == what).map(|(_, value)| value.trim().to_owned())
    };
    all.lines().find_map(of).unwrap_or_else(|| "unknown".into())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(&values.collect::<Vec<_>>(), 0.5)
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// To as many digits as are worth reading.
fn digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
