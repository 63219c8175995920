//! The answer for people.

use super::{Answer, Checked};
use livepatch_object::android::Verdict;
use std::fmt::Write as _;

pub(super) fn render(answer: &Answer) -> String {
    let mut text = String::new();
    for library in &answer.libraries {
        one(&mut text, library);
    }
    summary(&mut text, answer);
    text
}

// Writing to a string cannot fail.
fn one(text: &mut String, library: &Checked) {
    let report = &library.report;
    let abi = report.abi.unwrap_or("no known machine");
    let _ = writeln!(text, "{} ({abi}): {}", library.name, report.verdict());
    for finding in &report.findings {
        let _ = writeln!(text, "  {:<9} {:<9} {}", finding.phase, finding.effect.name(), finding.what);
        if let Some(hint) = finding.hint {
            let _ = writeln!(text, "  {:<9} {:<9} hint: {hint}", "", "");
        }
    }
}

fn summary(text: &mut String, answer: &Answer) {
    let count = |of: fn(&Verdict) -> bool| {
        answer.libraries.iter().filter(|library| of(&library.report.verdict())).count()
    };
    let counts = [
        (count(|verdict| *verdict == Verdict::Loads), "would load"),
        (count(|verdict| *verdict == Verdict::Unknown), "would if what is not known here is there"),
        (count(|verdict| matches!(verdict, Verdict::OnlyWith4Kib(_))), "with 4 KiB pages only"),
        (count(|verdict| matches!(verdict, Verdict::DoesNotLoad(_))), "would not load"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    let libraries = match answer.libraries.len() {
        1 => "1 library".to_owned(),
        many => format!("{many} libraries"),
    };
    let _ = writeln!(text, "API level {}: {libraries}; {}", answer.level, counts.join(", "));
}
