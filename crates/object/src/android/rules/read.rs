//! Headers and segments.

use crate::android::finding::{Effect, Finding, Phase};
use crate::android::library::Subject;
use crate::loadable::machine::Class;
use crate::loadable::program::ProgramHeader;
use object::elf;

const KIB_16: u64 = 16 * 1024;

pub(in crate::android) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let level = subject.question.level;
    let found = |effect, rule, what: String| Finding::new(Phase::Read, effect, rule, what);
    let enforced = |since| if level.has(since) { Effect::Stops } else { Effect::Warning };
    let name = subject.name;
    if subject.header.section_header_count == 0 {
        let what = format!("\"{name}\" has no section headers");
        findings.push(found(enforced(24), "section-headers", what).hint("do not strip section headers"));
    } else if let Err(problem) = subject.header.verify_sections() {
        findings.push(found(enforced(26), "section-headers", problem.of(name).to_string()));
    }
    if let Err(problem) = subject.headers.refuse_writable_code() {
        findings.push(found(enforced(26), "writable-code", problem.of(name).to_string()));
    }
    let stack = subject.headers.first(elf::PT_GNU_STACK);
    if stack.is_some_and(ProgramHeader::executable) {
        let what = "it asks for an executable stack; Android does not give it one".to_owned();
        findings.push(found(Effect::Warning, "executable-stack", what).hint("link with -z noexecstack"));
    }
    if subject.question.pages.with_16kib(level) {
        findings.extend(pages_of_16kib(subject));
    }
}

/// Devices with such pages run 64-bit code only.
fn pages_of_16kib(subject: &Subject<'_>) -> Option<Finding> {
    if subject.machine.class() == Class::Elf32 {
        let what = "devices with 16 KiB pages run no 32-bit code".to_owned();
        return Some(Finding::new(Phase::Read, Effect::Note, "16k-pages", what));
    }
    let align = subject.headers.loads().map(|load| load.align).filter(|&align| align > 1).min();
    let align = align.unwrap_or(1);
    if align < KIB_16 {
        let what = format!(
            "\"{}\" program alignment ({align}) cannot be smaller than system page size ({KIB_16})",
            subject.name
        );
        let finding = Finding::new(Phase::Read, Effect::StopsWith16Kib, "16k-pages", what);
        return Some(finding.hint(
            "link with -z max-page-size=16384; Android 16 may load it all the same, in its compatibility mode",
        ));
    }
    let skewed = subject.headers.loads().find(|load| load.offset.0 % KIB_16 != load.address.0 % KIB_16);
    if let Some(load) = skewed {
        let what = format!("the segment at {:#x} cannot be mapped in pages of 16 KiB", load.address.0);
        return Some(Finding::new(Phase::Read, Effect::StopsWith16Kib, "16k-pages", what));
    }
    data_behind_relro(subject)
}

/// What is made read-only is whole pages: data behind them on the last page would be, too.
fn data_behind_relro(subject: &Subject<'_>) -> Option<Finding> {
    let relro = subject.headers.first(elf::PT_GNU_RELRO)?;
    let end = relro.span().end;
    let page_end = end.checked_next_multiple_of(KIB_16)?;
    let written = |load: &&ProgramHeader| {
        load.writable() && load.span().end > end && load.address.0 < page_end && page_end > end
    };
    subject.headers.loads().find(written)?;
    let what = format!("RELRO ends at {end:#x}, within a page of 16 KiB: data behind it would be read-only");
    Some(Finding::new(Phase::Link, Effect::Warning, "16k-relro", what))
}
