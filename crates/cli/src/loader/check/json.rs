//! The answer for tools.

use super::{Answer, Checked};
use livepatch_object::android::Finding;
use serde::Serialize;

/// The format's version: it changes with what is here already, not with what is added.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Root<'a> {
    version: u32,
    path: &'a str,
    android: u32,
    verdict: &'static str,
    libraries: Vec<Library<'a>>,
}

#[derive(Serialize)]
struct Library<'a> {
    name: &'a str,
    abi: Option<&'static str>,
    verdict: &'static str,
    /// The phase that stops it.
    phase: Option<&'static str>,
    soname: Option<&'a str>,
    needed: &'a [String],
    relocations: usize,
    imports: usize,
    jni_on_load: bool,
    natives: usize,
    findings: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    phase: &'static str,
    effect: &'static str,
    rule: &'static str,
    message: &'a str,
    hint: Option<&'static str>,
}

pub(super) fn render(answer: &Answer) -> String {
    let root = Root {
        version: VERSION,
        path: &answer.path,
        android: answer.level.number(),
        verdict: answer.verdict().name(),
        libraries: answer.libraries.iter().map(library).collect(),
    };
    // Its maps have texts for keys: there is nothing that could not be written.
    serde_json::to_string_pretty(&root).unwrap_or_default() + "\n"
}

fn library(checked: &Checked) -> Library<'_> {
    let report = &checked.report;
    Library {
        name: &checked.name,
        abi: report.abi,
        verdict: report.verdict().name(),
        phase: report.verdict().phase().map(|phase| phase.name()),
        soname: report.soname.as_deref(),
        needed: &report.needed,
        relocations: report.relocations,
        imports: report.imports,
        jni_on_load: report.jni_on_load,
        natives: report.natives,
        findings: report.findings.iter().map(found).collect(),
    }
}

fn found(finding: &Finding) -> Found<'_> {
    Found {
        phase: finding.phase.name(),
        effect: finding.effect.name(),
        rule: finding.rule,
        message: &finding.what,
        hint: finding.hint,
    }
}
