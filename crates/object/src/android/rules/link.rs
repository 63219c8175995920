//! Relocations, thread-locals, RELRO and versions.

use crate::android::finding::{Effect, Finding, Phase};
use crate::android::library::Subject;
use crate::android::platform::{self, Library};
use crate::loadable::Problem;
use crate::loadable::relocation::{Entry, Formula, howto};
use crate::loadable::tables::Tables;
use object::elf;

pub(in crate::android) fn check(subject: &Subject<'_>, tables: &Tables, findings: &mut Vec<Finding>) {
    let found = |effect, rule, what: String| Finding::new(Phase::Link, effect, rule, what);
    let seen = kinds(subject, tables);
    if let Some(entry) = seen.unknown {
        let problem = Problem::UnknownRelocation { kind: entry.kind, address: entry.place.0 };
        findings.push(found(Effect::Stops, "relocations", problem.of(subject.name).to_string()));
    }
    if seen.copy {
        let what = Problem::CopyRelocation.of(subject.name).to_string();
        findings.push(found(Effect::Stops, "relocations", what));
    }
    let thread_locals = subject.headers.first(elf::PT_TLS).is_some() || seen.thread_local;
    if thread_locals && !subject.question.level.has(29) {
        let what = "it has thread-locals of ELF, which Android has from API level 29 on".to_owned();
        let hint = "compile with -femulated-tls, or for a later API level";
        findings.push(found(Effect::Stops, "thread-locals", what).hint(hint));
    }
    if subject.headers.first(elf::PT_GNU_RELRO).is_none() {
        let what = "it has no RELRO: what relocations have written stays writable".to_owned();
        findings.push(found(Effect::Warning, "relro", what).hint("link with -z relro"));
    }
    findings.extend(versions(subject, tables));
}

#[derive(Default)]
struct Seen {
    unknown: Option<Entry>,
    copy: bool,
    thread_local: bool,
}

fn kinds(subject: &Subject<'_>, tables: &Tables) -> Seen {
    let relocations = &tables.relocations;
    let plain = relocations.plain.iter().chain(&relocations.plt).flat_map(|table| table.iter());
    let packed = relocations.packed.iter().flat_map(|(_, entries)| entries.iter().copied());
    let mut seen = Seen::default();
    for entry in plain.chain(packed) {
        match howto(subject.machine, entry.kind).map(|howto| howto.formula) {
            None => {
                seen.unknown.get_or_insert(entry);
            }
            Some(Formula::Copy) => seen.copy = true,
            Some(
                Formula::TlsModule
                | Formula::TlsOffset
                | Formula::TlsThread
                | Formula::TlsThreadNegated
                | Formula::TlsDescriptor,
            ) => seen.thread_local = true,
            Some(_) => {}
        }
    }
    seen
}

/// Versions of the platform's libraries, which are looked at from API level 23 on.
fn versions(subject: &Subject<'_>, tables: &Tables) -> Vec<Finding> {
    let level = subject.question.level;
    let mut findings = Vec::new();
    for need in tables.versions.needs().iter().filter(|need| !need.weak && level.has(23)) {
        let library = need.version.library.as_deref().unwrap_or_default();
        let (library, version) =
            (String::from_utf8_lossy(library), String::from_utf8_lossy(&need.version.name));
        if !matches!(platform::library(&library), Library::Public { .. })
            || platform::exports(&library).is_none()
            || subject.question.siblings.get(&library).is_some()
        {
            continue;
        }
        let since = platform::version_since(&version);
        if since.is_none_or(|since| !level.has(since)) {
            let when = since.map_or("no known API level has it".to_owned(), |since| {
                format!("it comes with API level {since}")
            });
            let what = format!("it needs version {version} of {library}: {when}");
            findings.push(Finding::new(Phase::Link, Effect::Stops, "versions", what));
        }
    }
    findings
}
