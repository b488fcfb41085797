//! What a run leaves behind: the tables in `docs/benchmarks.md`, the plot beside it, and all figures as JSON.

use std::io;
use std::path::Path;

use crate::results::Results;
use crate::{aims, plot, tables};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
const PAGE: &str = "benchmarks.md";
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/rivals.json");
/// With a higher load before a run its figures are those of other work, too.
const BUSY: f64 = 0.5;

/// Writes all three.
pub fn write(results: &Results) -> io::Result<()> {
    let page = Path::new(DOCS).join(PAGE);
    let mut text = std::fs::read_to_string(&page)?;
    for (name, content) in parts(results) {
        text = replace(&text, name, &content)?;
    }
    plot::draw(results, &Path::new(DOCS).join("rivals.svg")).map_err(|error| io::Error::other(error.to_string()))?;
    std::fs::create_dir_all(Path::new(FIGURES).parent().unwrap_or(Path::new(".")))?;
    std::fs::write(FIGURES, format!("{:#}\n", results.json(&aims::json(results))))?;
    std::fs::write(page, text)
}

/// What stands between the markers of each name.
pub fn parts(results: &Results) -> [(&'static str, String); 3] {
    let machine =
        |what: &str| results.machine[what].as_str().map_or_else(|| results.machine[what].to_string(), str::to_owned);
    let busy = machine("load_before").parse().is_ok_and(|load: f64| load > BUSY);
    let hint = if busy { " **The machine was busy: the figures are no more than a hint.**" } else { "" };
    let head = format!(
        "{} rounds on {}, {} cores, Linux {}; load before the run {}.{hint}\n\n",
        results.rounds,
        machine("cpu"),
        machine("cores"),
        machine("kernel"),
        machine("load_before"),
    );
    [
        ("rivals", head + &tables::versions(results) + "\n" + &tables::workloads(results)),
        ("aims", tables::aims(results)),
        ("lost", tables::lost(results) + "\nOther floors:\n\n" + &tables::other_floors(results)),
    ]
}

/// Puts a text between the two markers of a name.
fn replace(page: &str, name: &str, content: &str) -> io::Result<String> {
    let missing = || io::Error::other(format!("{PAGE} has no markers `{name}`"));
    let (begin, end) = (format!("<!-- {name}: written by `just rivals` -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{}\n\n{end}{after}", content.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::replace;

    const PAGE: &str = "above\n<!-- x: written by `just rivals` -->\nold\n<!-- end of x -->\nbelow\n";

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let once = replace(PAGE, "x", "new\n").unwrap();
        assert_eq!(once, "above\n<!-- x: written by `just rivals` -->\n\nnew\n\n<!-- end of x -->\nbelow\n");
        assert_eq!(replace(&once, "x", "new").unwrap(), once);
    }

    #[test]
    fn a_page_without_markers_is_left_alone() {
        assert!(replace(PAGE, "y", "new").is_err());
    }
}
