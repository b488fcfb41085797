//! The tables, in Markdown.

use std::fmt::Write;

use crate::aims::ROWS;
use crate::results::{Measured, Results, Timed};

/// Each workload: its floor, ours, and the rivals from the fastest to the slowest. Those that are faster than ours are in bold.
pub fn workloads(results: &Results) -> String {
    let mut table = String::from(
        "| what | where | floor | sharehold | to floor | rivals, and how many times as long as sharehold they take |\n\
         |---|---|---|---:|---:|---|\n",
    );
    for measured in &results.measured {
        let cell = |timed: Option<&Timed>| timed.map_or("-".into(), |timed| time(timed.median()));
        let floor = measured.floor().map_or("-".into(), |floor| format!("{}: {}", floor.name, time(floor.median())));
        let ratio = measured.ours().zip(measured.floor()).map_or("-".into(), |(ours, floor)| times(ours.to(floor)));
        let _ = writeln!(
            table,
            "| {} | {} | {floor} | {} | {ratio} | {} |",
            measured.workload.what,
            measured.workload.place().name(),
            cell(measured.ours()),
            others(measured),
        );
    }
    if let Some(ours) = results.memory.iter().find(|memory| memory.is_ours) {
        let other = |other: &crate::results::Memory| {
            emphasised(
                format!("{} {} ({})", other.name, bytes(other.bytes), times(other.bytes / ours.bytes)),
                other.bytes < ours.bytes,
            )
        };
        let others: Vec<String> = results.memory.iter().filter(|memory| !memory.is_ours).map(other).collect();
        let _ = writeln!(
            table,
            "| memory of a 64 B object, all in, among {} | | | {} | | {} |",
            ours.live,
            bytes(ours.bytes),
            others.join(", ")
        );
    }
    table
}

fn others(measured: &Measured) -> String {
    let ours = measured.ours();
    let rival = |rival: &&Timed| {
        let ratio = ours.map(|ours| rival.to(ours));
        let versus = ratio.map_or(String::new(), |ratio| format!(" ({})", times(ratio)));
        emphasised(
            format!("{} {}{versus}", rival.label(), time(rival.median())),
            ratio.is_some_and(|ratio| ratio < 1.0),
        )
    };
    let mut all: Vec<String> = measured.rivals().iter().map(rival).collect();
    let failed = measured.missing.iter().map(|missing| format!("{} failed: {}", missing.name, missing.why));
    all.extend(failed);
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

fn emphasised(text: String, is: bool) -> String {
    if is { format!("**{text}**") } else { text }
}

/// Floors that are none of the table's, since another one is lower or nearer.
pub fn other_floors(results: &Results) -> String {
    let mut lines = String::new();
    for measured in &results.measured {
        let others = measured
            .timed
            .iter()
            .filter(|timed| timed.role == crate::contestant::Role::Floor && timed.name != measured.workload.floor);
        let of = |other: &Timed| format!("{} {}", other.name, time(other.median()));
        let others: Vec<String> = others.map(of).collect();
        if !others.is_empty() {
            let _ = writeln!(lines, "- {}: {}", measured.workload.what, others.join(", "));
        }
    }
    lines
}

/// Who is faster than ours, and where.
pub fn lost(results: &Results) -> String {
    let mut lines = String::new();
    for measured in &results.measured {
        let Some(ours) = measured.ours() else { continue };
        for rival in measured.rivals() {
            let ratio = ours.to(rival);
            if ratio > 1.0 {
                let _ = writeln!(
                    lines,
                    "- {}: {} takes {}, sharehold {}, {} as long",
                    measured.workload.what,
                    rival.label(),
                    time(rival.median()),
                    time(ours.median()),
                    times(ratio)
                );
            }
        }
    }
    if lines.is_empty() { "- none of those that were measured\n".into() } else { lines }
}

/// Each aim, and what came of it.
pub fn aims(results: &Results) -> String {
    let mut table = String::from("| what | aim | sharehold | ratio | met |\n|---|---|---:|---:|---|\n");
    for row in &ROWS {
        for aim in row.aims {
            let outcome = aim.outcome(results);
            let (ours, ratio, met) = match &outcome.found {
                Some(found) => (&*found.ours, &*found.ratio, if found.is_met { "yes" } else { "**no**" }),
                None => ("-", "-", "not measured"),
            };
            let _ = writeln!(table, "| {} | {} | {ours} | {ratio} | {met} |", row.what, outcome.aim);
        }
    }
    table
}

/// What took part, and what did not.
pub fn versions(results: &Results) -> String {
    let mut all = Vec::new();
    let mut missing = Vec::new();
    for (name, version) in &results.versions {
        match version {
            Ok(version) if version == "-" => {}
            Ok(version) => all.push(format!("{name} {version}")),
            Err(why) => missing.push(format!("{name}: {why}")),
        }
    }
    let missing = if missing.is_empty() { String::new() } else { format!(" Left out: {}.", missing.join("; ")) };
    format!("Measured: {}.{missing}\n", all.join(", "))
}

pub fn time(nanos: f64) -> String {
    match nanos {
        0.0..100.0 => format!("{nanos:.1} ns"),
        100.0..1e3 => format!("{nanos:.0} ns"),
        1e3..1e5 => format!("{:.1} us", nanos / 1e3),
        1e5..1e6 => format!("{:.0} us", nanos / 1e3),
        _ => format!("{:.1} ms", nanos / 1e6),
    }
}

pub fn times(ratio: f64) -> String {
    match ratio {
        0.0..10.0 => format!("{ratio:.2}x"),
        10.0..100.0 => format!("{ratio:.1}x"),
        _ => format!("{ratio:.0}x"),
    }
}

pub fn rate(per_second: f64) -> String {
    format!("{:.1} M/s", per_second / 1e6)
}

pub fn bytes(bytes: f64) -> String {
    format!("{bytes:.0} B")
}
