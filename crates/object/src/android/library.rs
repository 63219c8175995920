//! What Android's linker would make of one library.

use super::finding::{Effect, Finding, Phase, Verdict};
use super::level::{ApiLevel, PageSizes};
use super::rules::{construct, find, imports, link, prelink, read};
use super::siblings::Siblings;
use crate::loadable::Problem;
use crate::loadable::header::Header;
use crate::loadable::image::FileImage;
use crate::loadable::machine::Machine;
use crate::loadable::program::ProgramHeaders;
use crate::loadable::tables::Tables;
use bytes::Bytes;

/// What is asked about a library.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The device's release, which the app targets.
    pub level: ApiLevel,
    /// The device's page size.
    pub pages: PageSizes,
    /// The machine whose folder it is in, if it is in one.
    pub machine: Option<Machine>,
    /// What comes along.
    pub siblings: &'a Siblings,
    /// Whether nothing else can come along: it is an app, not a library for apps.
    pub complete: bool,
}

/// What was found out about a library.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Its ABI, by the name of its folder in packages.
    pub abi: Option<&'static str>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`.
    pub needed: Vec<String>,
    /// How many words relocations change.
    pub relocations: usize,
    /// How many symbols it imports.
    pub imports: usize,
    /// Whether it exports `JNI_OnLoad`.
    pub jni_on_load: bool,
    /// How many `Java_*` functions it exports.
    pub natives: usize,
    /// What was found, by phases.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether it would load.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.findings.iter())
    }
}

/// One library while it is checked.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) machine: Machine,
    pub(super) header: Header,
    pub(super) headers: &'a ProgramHeaders,
    pub(super) image: &'a FileImage,
    pub(super) question: &'a Question<'a>,
}

/// Checks the library of a name, from all of its bytes.
pub fn check(name: &str, file: Bytes, question: &Question<'_>) -> Report {
    let mut report = Report::default();
    if let Err((phase, problem)) = look(name, file, question, &mut report) {
        report.findings.push(stop(phase, name, problem));
    }
    // Within a phase, in the order in which rules are.
    report.findings.sort_by_key(|finding| finding.phase);
    report
}

/// A problem that ends the load, in the words of Android's linker.
fn stop(phase: Phase, name: &str, problem: Problem) -> Finding {
    let rule = match problem {
        Problem::TextRelocations => "text-relocations",
        _ => "malformed",
    };
    Finding::new(phase, Effect::Stops, rule, problem.of(name).to_string())
}

fn look(
    name: &str,
    file: Bytes,
    question: &Question<'_>,
    report: &mut Report,
) -> Result<(), (Phase, Problem)> {
    let reading = |problem| (Phase::Read, problem);
    let header = Header::read(&file).map_err(reading)?;
    report.abi = header.known_machine().map(Machine::abi);
    let wanted = question.machine.or(header.known_machine()).unwrap_or(Machine::Aarch64);
    header.verify(wanted).map_err(reading)?;
    let headers = ProgramHeaders::read(&header, &file).map_err(reading)?;
    headers.own_address(&header).map_err(reading)?;
    let image = FileImage::new(file.clone(), &headers);
    let subject = Subject { name, machine: wanted, header, headers: &headers, image: &image, question };
    let findings = &mut report.findings;
    read::check(&subject, findings);
    prelink::check_dynamic(&subject, findings).map_err(|problem| (Phase::Prelink, problem))?;
    let tables = Tables::read(&headers, &image, wanted).map_err(|problem| (Phase::Prelink, problem))?;
    prelink::check_tables(&subject, &tables, findings);
    find::check(&subject, &tables, findings);
    link::check(&subject, &tables, findings);
    report.imports = imports::check(&subject, &tables, findings);
    construct::check(&subject, &tables, findings);
    report.soname = tables.soname();
    report.needed = tables.needed().collect();
    report.relocations = tables.relocations.count(tables.class());
    let exported = |found: crate::loadable::tables::Found| {
        tables.symbols.name(&found.symbol).unwrap_or_default().starts_with(b"Java_")
    };
    report.natives = tables.exported().filter(|&found| exported(found)).count();
    report.jni_on_load = super::siblings::defines(&tables, b"JNI_OnLoad");
    Ok(())
}
