//! The libraries that a library needs.

use crate::android::finding::{Effect, Finding, Phase};
use crate::android::library::Subject;
use crate::android::platform::{Library, library};
use crate::loadable::tables::Tables;

pub(in crate::android) fn check(subject: &Subject<'_>, tables: &Tables, findings: &mut Vec<Finding>) {
    for needed in tables.needed() {
        findings.extend(check_needed(subject, &needed));
    }
}

fn check_needed(subject: &Subject<'_>, needed: &str) -> Option<Finding> {
    let level = subject.question.level;
    let found = |effect, rule, what: String| Some(Finding::new(Phase::Find, effect, rule, what));
    let missing = format!("library \"{needed}\" not found: needed by {}", subject.name);
    if needed.contains(['/', '\\']) {
        let hint = "name it by its DT_SONAME: give it one with -soname when it is linked";
        return match level.has(23) {
            true => found(Effect::Stops, "needed-path", missing).map(|finding| finding.hint(hint)),
            false => found(
                Effect::Warning,
                "needed-path",
                format!("it needs {needed}: the path is left out before API level 23 only"),
            ),
        };
    }
    if subject.question.siblings.get(needed).is_some() {
        return None;
    }
    match library(needed) {
        Library::Public { since } if level.has(since) => None,
        Library::Public { since } => {
            found(Effect::Stops, "needed", format!("{missing} (it comes with API level {since})"))
        }
        Library::Private if level.has(24) => found(
            Effect::Stops,
            "private-library",
            format!("library \"{needed}\" needed or dlopened by \"{}\" is not accessible", subject.name),
        )
        .map(|finding| finding.hint("bring a copy of your own, under a name of its own")),
        Library::Private => {
            found(Effect::Warning, "private-library", format!("it needs {needed}, which is not for apps"))
        }
        Library::Other if subject.question.complete => found(Effect::Stops, "needed", missing),
        Library::Other => found(
            Effect::Unknown,
            "needed",
            format!("it needs {needed}, which is not here and no part of Android"),
        ),
    }
}
