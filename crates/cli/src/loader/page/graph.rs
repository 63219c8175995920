//! The dependency graph: each library below all that need it.

use super::escaped;
use super::model::Model;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

const WIDTH: usize = 200;
const HEIGHT: usize = 26;
const GAP_X: usize = 26;
const GAP_Y: usize = 34;
/// So many fit beside each other on a page; what a level has more is on further rows.
const ACROSS: usize = 5;

/// Where a library is drawn.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    column: usize,
}

impl Place {
    fn x(self) -> usize {
        4 + self.column * (WIDTH + GAP_X)
    }

    fn y(self) -> usize {
        4 + self.row * (HEIGHT + GAP_Y)
    }
}

pub(super) fn draw(model: &Model) -> String {
    let places = arrange(model);
    if places.is_empty() {
        return String::new();
    }
    let rows = places.iter().map(|(_, place)| place.row).max().unwrap_or(0) + 1;
    let width = 8 + ACROSS * (WIDTH + GAP_X) - GAP_X;
    let height = 8 + rows * (HEIGHT + GAP_Y) - GAP_Y;
    let mut text = super::legend(
        [
            ("own", "loaded here"),
            ("host", "of the program itself"),
            ("provided", "provided"),
            ("missing", "not found"),
            ("implied", "pale lines: by way of another library, too"),
        ]
        .into_iter(),
    );
    let _ = writeln!(
        text,
        "<div class=\"scroll\"><svg class=\"graph\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">"
    );
    let by_name: HashMap<&str, Place> = places.iter().map(|(name, place)| (name.as_str(), *place)).collect();
    for (from, to) in &model.needs {
        let implied = from.as_deref().is_some_and(|from| is_implied(model, from, to));
        let class = if implied { "edge implied" } else { "edge" };
        let from = from.as_deref().and_then(|from| by_name.get(from));
        if let (Some(from), Some(to)) = (from, by_name.get(to.as_str())) {
            edge(&mut text, *from, *to, class);
        }
    }
    for (name, place) in &places {
        let class = model.others.get(name).copied().unwrap_or("own");
        let shown: String = match name.chars().count() > 28 {
            true => name.chars().take(27).chain(['…']).collect(),
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

/// A curve from the lower side of one to the upper side of the other; upwards, around on the right.
fn edge(text: &mut String, from: Place, to: Place, class: &str) {
    let (x1, y1) = (from.x() + WIDTH / 2, from.y() + HEIGHT);
    let (x2, y2) = (to.x() + WIDTH / 2, to.y());
    let path = if to.row > from.row {
        let middle = usize::midpoint(y1, y2);
        format!("M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}")
    } else {
        let (x1, x2) = (from.x() + WIDTH, to.x() + WIDTH);
        let (y1, y2) = (from.y() + HEIGHT / 2, to.y() + HEIGHT / 2);
        let bend = x1.max(x2) + GAP_X;
        format!("M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}")
    };
    let _ = writeln!(text, "<path class=\"{class}\" d=\"{path}\"/>");
}

/// Whether one needs the other by way of a third one, too.
fn is_implied(model: &Model, from: &str, to: &str) -> bool {
    let needs = |name: &str| {
        let name = name.to_owned();
        model
            .needs
            .iter()
            .filter(move |(by, _)| by.as_deref() == Some(&name))
            .map(|(_, needed)| needed.as_str())
    };
    let mut waiting: Vec<&str> = needs(from).filter(|&needed| needed != to).collect();
    let mut seen: HashSet<&str> = waiting.iter().copied().chain([from]).collect();
    while let Some(name) = waiting.pop() {
        if name == to {
            return true;
        }
        waiting.extend(needs(name).filter(|&needed| seen.insert(needed)));
    }
    false
}

/// Each library as far down as the longest way to it is; ways through a cycle end where it closes.
fn arrange(model: &Model) -> Vec<(String, Place)> {
    let mut level_of: HashMap<&str, usize> = HashMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (_, to) in &model.needs {
        level_of.entry(to).or_insert_with(|| {
            order.push(to);
            0
        });
    }
    let most = order.len();
    for _ in 0..most {
        let mut changed = false;
        for (from, to) in &model.needs {
            let Some(&before) = from.as_deref().and_then(|from| level_of.get(from)) else { continue };
            let own = level_of.entry(to).or_default();
            if *own <= before && before + 1 < most && from.as_deref() != Some(to) {
                *own = before + 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    squeeze(&mut level_of);
    let mut levels: Vec<Vec<&str>> = Vec::new();
    for name in order {
        let level = level_of.get(name).copied().unwrap_or(0);
        levels.resize_with(levels.len().max(level + 1), Vec::new);
        levels[level].push(name);
    }
    let mut places = Vec::new();
    for (row, line) in levels.iter().flat_map(|level| level.chunks(ACROSS)).enumerate() {
        let place = |(column, name): (usize, &&str)| ((*name).to_owned(), Place { row, column });
        places.extend(line.iter().enumerate().map(place));
    }
    places
}

/// Leaves out levels without a library.
fn squeeze(level_of: &mut HashMap<&str, usize>) {
    let mut used: Vec<usize> = level_of.values().copied().collect();
    used.sort_unstable();
    used.dedup();
    for level in level_of.values_mut() {
        *level = used.binary_search(level).unwrap_or(0);
    }
}
