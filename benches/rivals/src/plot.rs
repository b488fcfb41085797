//! The medians of all contestants as a picture: a row a workload, times on a logarithmic scale.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::contestant::Role;
use crate::results::{Measured, Results, Timed};

const WIDTH: u32 = 1100;
const ROW: u32 = 26;
/// Above and below the rows.
const FRAME: u32 = 130;
const LABELS: u32 = 370;

/// Colours that are told apart also by those who do not see all of them (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(140, 130, 20),
    RGBColor(120, 80, 40),
];
const OURS: RGBColor = RGBColor(0, 0, 0);
const FLOOR: RGBColor = RGBColor(170, 170, 170);

pub fn draw(results: &Results, path: &Path) -> Result<(), Box<dyn Error>> {
    let rows: Vec<&Measured> = results.measured.iter().filter(|measured| !measured.timed.is_empty()).collect();
    let medians: Vec<f64> = rows.iter().flat_map(|measured| measured.timed.iter().map(Timed::median)).collect();
    let (least, most) = (medians.iter().copied().fold(f64::MAX, f64::min), medians.iter().copied().fold(1.0, f64::max));
    let root = SVGBackend::new(path, (WIDTH, FRAME + ROW * rows.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("p50 of one operation; the left is the better side", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(LABELS)
        .build_cartesian_2d((least / 2.0..most * 2.0).log_scale(), 0.0..rows.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_desc("time")
        .x_label_formatter(&|nanos| crate::tables::time(*nanos))
        .label_style(("sans-serif", 13))
        .draw()?;
    let height = |row: usize| (rows.len() - row) as f64 - 0.5;
    for (row, measured) in rows.iter().enumerate() {
        chart.draw_series(std::iter::once(PathElement::new(
            vec![(least / 2.0, height(row)), (most * 2.0, height(row))],
            RGBColor(230, 230, 230),
        )))?;
        let place = chart.backend_coord(&(least / 2.0, height(row)));
        let text = format!("{}, {}", measured.workload.what, measured.workload.place().name());
        let style = ("sans-serif", 13).into_text_style(&root).pos(right());
        root.draw(&Text::new(text, (place.0 - 8, place.1), style))?;
    }
    let mut series = |name: &str, role: Role, colour: RGBColor, size: i32| -> Result<(), Box<dyn Error>> {
        let dots: Vec<(f64, f64)> = rows
            .iter()
            .enumerate()
            .filter_map(|(row, measured)| {
                let timed = match role {
                    Role::Floor => measured.floor(),
                    Role::Ours => measured.ours(),
                    Role::Rival => measured.of(name),
                };
                Some((timed?.median(), height(row)))
            })
            .collect();
        if dots.is_empty() {
            return Ok(());
        }
        chart
            .draw_series(dots.iter().map(|dot| Circle::new(*dot, size, colour.filled())))?
            .label(name)
            .legend(move |(x, y)| Circle::new((x + 8, y), size, colour.filled()));
        Ok(())
    };
    series("floor", Role::Floor, FLOOR, 5)?;
    let mut rivals: Vec<&str> = Vec::new();
    for timed in rows.iter().flat_map(|measured| measured.rivals()) {
        if !rivals.contains(&timed.name) {
            rivals.push(timed.name);
        }
    }
    for (rival, colour) in rivals.iter().zip(COLOURS.iter().cycle()) {
        series(rival, Role::Rival, *colour, 4)?;
    }
    series("sharehold", Role::Ours, OURS, 5)?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE)
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Text ends at its place.
fn right() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Right, VPos::Center)
}
