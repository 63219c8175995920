//! The time line: from each step to the next, in the colour of its phase.

use super::model::Model;
use super::{escaped, legend};
use std::fmt::Write as _;

const PHASES: [&str; 7] = ["find", "read", "prelink", "link", "construct", "bind", "close"];

pub(super) fn draw(model: &Model) -> String {
    if model.total == 0 {
        return String::new();
    }
    let spent = |phase: &str| -> u64 {
        let its = model.stretches.iter().filter(|stretch| stretch.phase == phase);
        its.map(|stretch| stretch.to.saturating_sub(stretch.from)).sum()
    };
    let seen: Vec<(&str, String)> = PHASES
        .iter()
        .filter(|phase| model.stretches.iter().any(|stretch| stretch.phase == **phase))
        .map(|phase| (*phase, format!("{phase} {:.2} ms", spent(phase) as f64 / 1e6)))
        .collect();
    let mut text = legend(seen.iter().map(|(phase, what)| (*phase, what.as_str())));
    text.push_str("<svg class=\"time\" viewBox=\"0 0 1000 40\" preserveAspectRatio=\"none\" role=\"img\">");
    let at = |time: u64| time as f64 / model.total as f64 * 1000.0;
    for stretch in &model.stretches {
        let _ = write!(
            text,
            "<rect class=\"{}\" x=\"{:.2}\" y=\"0\" width=\"{:.2}\" height=\"40\"><title>{}</title></rect>",
            escaped(&stretch.phase),
            at(stretch.from),
            at(stretch.to) - at(stretch.from),
            escaped(&stretch.what),
        );
    }
    let _ = writeln!(
        text,
        "</svg><p class=\"axis\"><span>0</span><span>{:.2} ms</span></p>",
        model.total as f64 / 1e6
    );
    text
}
