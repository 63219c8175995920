//! The address map: one row for each library, from low addresses to high, its segments by what they allow.

use super::model::{Library, Model};
use super::{escaped, legend, size};
use std::fmt::Write as _;

pub(super) fn draw(model: &Model) -> String {
    let Some(largest) = model.libraries.iter().map(|library| library.size).max().filter(|&size| size > 0)
    else {
        return String::new();
    };
    let kinds = [
        ("code", "code (r-x)"),
        ("constants", "read-only (r--)"),
        ("data", "data (rw-)"),
        ("relro", "read-only once relocated"),
        ("gap", "reserved, nothing there"),
    ];
    let mut text = legend(kinds.into_iter());
    text.push_str("<table class=\"map\"><tr><th>from<th>library<th>size<th class=\"bar\">segments; each row is as long as the library is large (no shorter than can be seen)</tr>\n");
    let mut all: Vec<&Library> = model.libraries.iter().collect();
    all.sort_by_key(|library| library.start);
    let mut before: Option<u64> = None;
    for library in all {
        if let Some(end) = before.filter(|&end| library.start > end) {
            let _ = writeln!(
                text,
                "<tr class=\"between\"><td colspan=\"4\">{} further up</tr>",
                size(library.start - end)
            );
        }
        before = Some(library.start.saturating_add(library.size));
        row(&mut text, library, largest);
    }
    text + "</table>\n"
}

fn row(text: &mut String, library: &Library, largest: u64) {
    // The smallest would not be seen on the scale of the largest.
    let width = (library.size as f64 / largest as f64 * 100.0).max(6.0);
    let _ = write!(
        text,
        "<tr><td class=\"address\">{:#x}<td>{}<td>{}<td class=\"bar\"><div class=\"space\" style=\"width:{width:.2}%\">",
        library.start,
        escaped(&library.name),
        size(library.size),
    );
    let place = |start: u64, length: u64| {
        let offset = start.saturating_sub(library.start) as f64;
        let of = library.size.max(1) as f64;
        format!("left:{:.3}%;width:{:.3}%", offset / of * 100.0, length as f64 / of * 100.0)
    };
    for segment in &library.segments {
        let class = match segment.protection.as_str() {
            "r-x" | "--x" => "code",
            "rw-" => "data",
            "rwx" => "both",
            _ => "constants",
        };
        let _ = write!(
            text,
            "<i class=\"{class}\" style=\"{}\" title=\"{} {:#x}, {}, {} of it from the file\"></i>",
            place(segment.start, segment.size),
            escaped(&segment.protection),
            segment.start,
            size(segment.size),
            size(segment.file_size),
        );
    }
    if let Some((start, length)) = library.relro {
        let place = place(start, length);
        let _ = write!(
            text,
            "<i class=\"relro\" style=\"{place}\" title=\"RELRO {start:#x}, {}\"></i>",
            size(length)
        );
    }
    text.push_str("</div></tr>\n");
}
