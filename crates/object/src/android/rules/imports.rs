//! Symbols that a library does not define itself.

use crate::android::finding::{Effect, Finding, Phase};
use crate::android::library::Subject;
use crate::android::platform::{self, Library};
use crate::android::siblings::defines;
use crate::loadable::tables::Tables;
use object::elf;
use std::collections::HashSet;

/// So many names are given; of more, only how many there are.
const SHOWN: usize = 6;

/// What of the platform and of the siblings a library's references can be bound to.
struct Group<'a> {
    siblings: Vec<&'a Tables>,
    /// The platform's libraries by name.
    platform: Vec<String>,
    /// Whether a library of the platform is in it whose exports are not known.
    open: bool,
    /// Whether a library is missing: it may define anything.
    incomplete: bool,
}

/// Looks for every import, and returns how many there are.
pub(in crate::android) fn check(
    subject: &Subject<'_>,
    tables: &Tables,
    findings: &mut Vec<Finding>,
) -> usize {
    let group = Group::of(subject, tables);
    let (mut later, mut elsewhere, mut nowhere) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = 0;
    for index in 1..tables.symbol_count() {
        let Some(symbol) = tables.symbols.get(index) else { break };
        let bound = matches!(symbol.binding(), elf::STB_GLOBAL | elf::STB_WEAK);
        if symbol.is_defined() || !bound {
            continue;
        }
        count += 1;
        let name = tables.symbols.name(&symbol).unwrap_or_default();
        if symbol.is_weak() || group.siblings.iter().any(|sibling| defines(sibling, name)) {
            continue;
        }
        let name = String::from_utf8_lossy(name).into_owned();
        match group.look(&name, subject) {
            Found::There => {}
            Found::Later(_) | Found::Elsewhere(_) if group.incomplete => nowhere.push(name),
            Found::Later(since) => later.push(format!("{name} ({since})")),
            Found::Elsewhere(library) => elsewhere.push(format!("{name} ({library})")),
            Found::Nowhere => nowhere.push(name),
        }
    }
    let cannot =
        |names: &[String]| format!("cannot locate symbol {} referenced by \"{}\"", list(names), subject.name);
    let found = |effect, rule, what| Finding::new(Phase::Link, effect, rule, what);
    if !later.is_empty() {
        let what = format!("{}: later API levels have {}", cannot(&later), them(&later));
        findings.push(found(Effect::Stops, "imports-later", what).hint("build for this API level"));
    }
    if !elsewhere.is_empty() {
        let effect = if group.open { Effect::Unknown } else { Effect::Stops };
        let what = format!(
            "{}: no DT_NEEDED leads to the library that has {}",
            cannot(&elsewhere),
            them(&elsewhere)
        );
        findings.push(found(effect, "imports-unlinked", what).hint("link with that library"));
    }
    if !nowhere.is_empty() {
        let (effect, what) = match group.open || group.incomplete {
            true => (Effect::Unknown, format!("not known who defines {}", list(&nowhere))),
            false => (Effect::Stops, cannot(&nowhere)),
        };
        findings.push(found(effect, "imports", what));
    }
    count
}

fn them(names: &[String]) -> &'static str {
    if names.len() == 1 { "it" } else { "them" }
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(|name| match name.split_once(' ') {
        Some((name, rest)) => format!("\"{name}\" {rest}"),
        None => format!("\"{name}\""),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN).filter(|&more| more > 0) {
        Some(more) => format!("{shown} and {more} more"),
        None => shown,
    }
}

enum Found {
    There,
    Later(u32),
    Elsewhere(&'static str),
    Nowhere,
}

impl<'a> Group<'a> {
    /// Breadth-first, as they would be loaded.
    fn of(subject: &Subject<'a>, tables: &Tables) -> Self {
        let siblings = subject.question.siblings;
        let mut group = Self { siblings: Vec::new(), platform: Vec::new(), open: false, incomplete: false };
        let mut queue: Vec<String> = tables.needed().collect();
        let mut seen: HashSet<String> = queue.iter().cloned().collect();
        let mut at = 0;
        while let Some(name) = queue.get(at).cloned() {
            at += 1;
            if let Some(sibling) = siblings.get(&name) {
                group.siblings.push(sibling);
                queue.extend(sibling.needed().filter(|name| seen.insert(name.clone())));
                continue;
            }
            match platform::library(&name) {
                Library::Public { .. } => {
                    group.open |= platform::exports(&name).is_none();
                    group.platform.push(name);
                }
                Library::Private | Library::Other => group.incomplete = true,
            }
        }
        // All of the platform's libraries need these themselves.
        if !group.platform.is_empty() {
            for name in ["libc.so", "libdl.so"] {
                if seen.insert(name.to_owned()) {
                    group.platform.push(name.to_owned());
                }
            }
        }
        group
    }

    fn look(&self, name: &str, subject: &Subject<'_>) -> Found {
        let all = || platform::who_exports(name, subject.machine);
        let here = all().filter(|(library, _)| self.platform.iter().any(|own| own == library));
        match here.map(|(_, since)| since).min() {
            Some(since) if subject.question.level.has(since) => return Found::There,
            Some(since) => return Found::Later(since),
            None => {}
        }
        match all().find(|&(_, since)| subject.question.level.has(since)) {
            Some((library, _)) => Found::Elsewhere(library),
            None => Found::Nowhere,
        }
    }
}
