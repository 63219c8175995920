//! A load as a page for a browser: when, where in memory, who needs whom, which relocations. Everything is in the one
//! file: no scripts, nothing from elsewhere.

mod binds;
mod graph;
mod map;
mod model;
mod time;

use super::apart::Load;
use model::{Library, Model};
use std::fmt::Write as _;

/// Sorts of relocations, as `livepatch-linker` counts them, and what they are called.
const SORTS: [(&str, &str); 6] = [
    ("relative", "base + addend"),
    ("symbolic", "symbol"),
    ("plt", "function, bound at once"),
    ("lazy", "function, bound at its first call"),
    ("indirect", "indirect function"),
    ("thread_local", "thread-local"),
];

/// Draws it.
pub(super) fn render(subject: &str, load: &Load, trouble: Option<&str>) -> String {
    let model = Model::of(load);
    let name = model::short(subject);
    let outcome = match trouble {
        Some(trouble) => format!("<p class=\"outcome bad\">{}</p>", escaped(trouble)),
        None => "<p class=\"outcome good\">loaded</p>".to_owned(),
    };
    let sections = [
        ("When", time::draw(&model)),
        ("Where in memory", map::draw(&model)),
        ("Who needs whom", graph::draw(&model)),
        ("Relocations", relocations(&model)),
        ("Functions bound at their first call", binds::draw(load)),
        ("Every step", steps(load)),
    ];
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{0}: how it was loaded</title><style>\n{1}</style></head><body>\n<header><h1>{0}</h1>\
         <p class=\"path\">{2}</p>{outcome}{3}</header>\n",
        escaped(name),
        include_str!("page/style.css"),
        escaped(subject),
        figures(&model),
    );
    for (title, body) in sections.iter().filter(|(_, body)| !body.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<section><h2>{title}</h2>\n{body}</section>");
    }
    page + "</body></html>\n"
}

/// The most important numbers.
fn figures(model: &Model) -> String {
    let relocations: u64 = model.libraries.iter().map(Library::relocations).sum();
    let memory: u64 = model.libraries.iter().map(|library| library.size).sum();
    let figures = [
        (format!("{:.2} ms", model.total as f64 / 1e6), "from the first step to the last"),
        (model.libraries.len().to_string(), "libraries loaded here"),
        (size(memory), "of address space"),
        (grouped(relocations), "words relocated"),
    ];
    let cells = figures.iter().map(|(value, what)| format!("<div><b>{value}</b><span>{what}</span></div>"));
    format!("<div class=\"figures\">{}</div>", cells.collect::<String>())
}

fn relocations(model: &Model) -> String {
    let most = model.libraries.iter().map(Library::relocations).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let mut all: Vec<&Library> = model.libraries.iter().collect();
    all.sort_by_key(|library| std::cmp::Reverse(library.relocations()));
    let mut text = legend(SORTS.iter().map(|(class, what)| (*class, *what)));
    text.push_str("<table class=\"counts\"><tr><th>library<th class=\"bar\">words changed<th>all");
    for (_, what) in SORTS {
        let _ = write!(text, "<th>{what}");
    }
    text.push_str("<th>names looked up</tr>\n");
    for library in all {
        let _ = write!(text, "<tr><td>{}<td class=\"bar\"><div class=\"stack\">", escaped(&library.name));
        for ((class, what), count) in SORTS.iter().zip(library.counts).filter(|(_, count)| *count > 0) {
            let width = count as f64 / most as f64 * 100.0;
            let _ = write!(
                text,
                "<i class=\"{class}\" style=\"width:{width:.3}%\" title=\"{count} {what}\"></i>"
            );
        }
        let _ = write!(text, "</div><td>{}", grouped(library.relocations()));
        library.counts.iter().for_each(|&count| text.push_str(&cell(count)));
        let _ = writeln!(text, "{}</tr>", cell(library.lookups));
    }
    text + "</table>\n"
}

fn cell(count: u64) -> String {
    match count {
        0 => "<td class=\"none\">–".to_owned(),
        count => format!("<td>{}", grouped(count)),
    }
}

fn steps(load: &Load) -> String {
    let lines: String = load.lines().map(|line| escaped(&line) + "\n").collect();
    format!("<details><summary>{} steps</summary><pre>{lines}</pre></details>\n", load.messages.len())
}

fn legend<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let entries = entries.map(|(class, what)| format!("<span><i class=\"{class}\"></i>{what}</span>"));
    format!("<p class=\"legend\">{}</p>\n", entries.collect::<String>())
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, f64); 3] = [("MiB", 1_048_576.0), ("KiB", 1024.0), ("bytes", 1.0)];
    let bytes = bytes as f64;
    let (unit, one) = UNITS.into_iter().find(|(_, one)| bytes >= *one).unwrap_or(("bytes", 1.0));
    let value = bytes / one;
    if value < 10.0 && one > 1.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_for_people() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(12), "12");
        assert_eq!(size(700), "700 bytes");
        assert_eq!(size(4096), "4.0 KiB");
        assert_eq!(size(23 * 1024 * 1024), "23 MiB");
        assert_eq!(escaped("<a & b>"), "&lt;a &amp; b&gt;");
    }
}
