//! The dependency graph: each library in a column behind those that need it.

use super::escaped;
use super::model::Model;
use std::collections::HashMap;
use std::fmt::Write as _;

const WIDTH: usize = 170;
const HEIGHT: usize = 26;
const GAP_X: usize = 50;
const GAP_Y: usize = 10;

/// Where a library is drawn.
#[derive(Clone, Copy)]
struct Place {
    column: usize,
    row: usize,
}

impl Place {
    fn x(self) -> usize {
        10 + self.column * (WIDTH + GAP_X)
    }

    fn y(self) -> usize {
        10 + self.row * (HEIGHT + GAP_Y)
    }
}

pub(super) fn draw(model: &Model) -> String {
    let places = arrange(model);
    if places.is_empty() {
        return String::new();
    }
    let columns = places.iter().map(|(_, place)| place.column).max().unwrap_or(0) + 1;
    let rows = places.iter().map(|(_, place)| place.row).max().unwrap_or(0) + 1;
    let width = 20 + columns * (WIDTH + GAP_X);
    let height = 20 + rows * (HEIGHT + GAP_Y);
    let mut text = super::legend(
        [
            ("own", "loaded here"),
            ("host", "of the program itself"),
            ("provided", "provided"),
            ("missing", "not found"),
        ]
        .into_iter(),
    );
    let _ = writeln!(
        text,
        "<div class=\"scroll\"><svg class=\"graph\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">"
    );
    let by_name: HashMap<&str, Place> = places.iter().map(|(name, place)| (name.as_str(), *place)).collect();
    for (from, to) in &model.needs {
        let from = from.as_deref().and_then(|from| by_name.get(from));
        if let (Some(from), Some(to)) = (from, by_name.get(to.as_str())) {
            edge(&mut text, *from, *to);
        }
    }
    for (name, place) in &places {
        let class = model.others.get(name).copied().unwrap_or("own");
        let shown: String = match name.chars().count() > 24 {
            true => name.chars().take(23).chain(['…']).collect(),
            false => name.clone(),
        };
        let (x, y) = (place.x(), place.y());
        let _ = writeln!(
            text,
            "<g class=\"node {class}\"><title>{0}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" rx=\"4\"/><text x=\"{1}\" y=\"{2}\">{3}</text></g>",
            escaped(name),
            x + 8,
            y + HEIGHT - 8,
            escaped(&shown),
        );
    }
    text + "</svg></div>\n"
}

/// A curve from the right side of one to the left side of the other; within or against the order of columns,
/// around on the right.
fn edge(text: &mut String, from: Place, to: Place) {
    let (x1, y1) = (from.x() + WIDTH, from.y() + HEIGHT / 2);
    let y2 = to.y() + HEIGHT / 2;
    let path = if to.column > from.column {
        let x2 = to.x();
        let middle = usize::midpoint(x1, x2);
        format!("M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}")
    } else {
        let (x2, bend) = (to.x() + WIDTH, x1.max(to.x() + WIDTH) + GAP_X / 2);
        format!("M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}")
    };
    let _ = writeln!(text, "<path class=\"edge\" d=\"{path}\"/>");
}

/// Each library as far to the right as the longest way to it is; ways through a cycle end where it closes.
fn arrange(model: &Model) -> Vec<(String, Place)> {
    let mut column: HashMap<&str, usize> = HashMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (_, to) in &model.needs {
        column.entry(to).or_insert_with(|| {
            order.push(to);
            0
        });
    }
    let most = order.len();
    for _ in 0..most {
        let mut changed = false;
        for (from, to) in &model.needs {
            let Some(&before) = from.as_deref().and_then(|from| column.get(from)) else { continue };
            let own = column.entry(to).or_default();
            if *own <= before && before + 1 < most && from.as_deref() != Some(to) {
                *own = before + 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    squeeze(&mut column);
    let mut rows: HashMap<usize, usize> = HashMap::new();
    let place = |name: &&str| {
        let column = column.get(name).copied().unwrap_or(0);
        let row = rows.entry(column).or_default();
        *row += 1;
        ((*name).to_owned(), Place { column, row: *row - 1 })
    };
    order.iter().map(place).collect()
}

/// Leaves out columns without a library.
fn squeeze(column: &mut HashMap<&str, usize>) {
    let mut used: Vec<usize> = column.values().copied().collect();
    used.sort_unstable();
    used.dedup();
    for column in column.values_mut() {
        *column = used.binary_search(column).unwrap_or(0);
    }
}
