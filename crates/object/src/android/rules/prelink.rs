//! The dynamic section.

use crate::android::finding::{Effect, Finding, Phase};
use crate::android::library::Subject;
use crate::loadable::Problem;
use crate::loadable::dynamic::{DT_ANDROID_RELR, Dynamic};
use crate::loadable::image::Image;
use crate::loadable::machine::Class;
use crate::loadable::tables::Tables;

const DT_RELR: u64 = 36;

/// What has to be looked at before the tables: without it, they are not even read.
pub(in crate::android) fn check_dynamic(
    subject: &Subject<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), Problem> {
    let level = subject.question.level;
    let segment = subject.headers.dynamic()?;
    let outside = Problem::TableOutside { what: "PT_DYNAMIC", address: segment.address.0 };
    let bytes = subject.image.bytes(segment.address, segment.file_size).ok_or(outside)?;
    let class = subject.machine.class();
    let dynamic = Dynamic::read(&bytes, class)?;
    let found = |effect, rule, what: String| Finding::new(Phase::Prelink, effect, rule, what);
    if dynamic.text_relocations && class == Class::Elf32 {
        // 64-bit code never could; its tables are refused.
        let effect = if level.has(23) { Effect::Stops } else { Effect::Warning };
        let what = Problem::TextRelocations.of(subject.name).to_string();
        let hint = "compile assembly so that it is position-independent";
        findings.push(found(effect, "text-relocations", what).hint(hint));
    }
    if dynamic.hash.is_none() && dynamic.gnu_hash.is_some() && !level.has(23) {
        let what = format!("\"{}\" has only DT_GNU_HASH, which is read from API level 23 on", subject.name);
        findings.push(found(Effect::Stops, "hash-style", what).hint("link with --hash-style=both"));
    }
    let relr = [(DT_ANDROID_RELR, 28, "DT_ANDROID_RELR"), (DT_RELR, 30, "DT_RELR")];
    for (tag, since, what) in relr {
        if has_tag(&bytes, class, tag) && !level.has(since) {
            findings.push(ignored(what, since));
        }
    }
    let packed = dynamic.android_rel.present().or(dynamic.android_rela.present());
    if packed.is_some() && !level.has(23) {
        findings.push(ignored("DT_ANDROID_REL(A)", 23));
    }
    Ok(())
}

/// Relocations that are not done leave a library that crashes; Android says nothing about it.
fn ignored(tag: &str, since: u32) -> Finding {
    let what = format!("{tag} is read from API level {since} on: its relocations would not be done");
    let finding = Finding::new(Phase::Prelink, Effect::Stops, "packed-relocations", what);
    finding.hint("link with --pack-dyn-relocs=none")
}

fn has_tag(dynamic: &[u8], class: Class, wanted: u64) -> bool {
    let tag = |entry: &[u8]| match class {
        Class::Elf64 => entry.first_chunk().map(|tag| u64::from_le_bytes(*tag)),
        Class::Elf32 => entry.first_chunk().map(|tag| u32::from_le_bytes(*tag).into()),
    };
    let tags = dynamic.chunks_exact(2 * class.word()).map_while(tag);
    tags.take_while(|&tag| tag != 0).any(|tag| tag == wanted)
}

pub(in crate::android) fn check_tables(subject: &Subject<'_>, tables: &Tables, findings: &mut Vec<Finding>) {
    let found = |effect, rule, what: String| Finding::new(Phase::Prelink, effect, rule, what);
    let file = subject.name.rsplit('/').next().unwrap_or(subject.name);
    match tables.soname() {
        None => {
            let what = "it has no DT_SONAME: the file's name is taken for it".to_owned();
            findings.push(found(Effect::Warning, "soname", what).hint("link with -soname"));
        }
        Some(soname) if soname != file => {
            let what = format!("its DT_SONAME is {soname}: those who need it must name it so");
            findings.push(found(Effect::Note, "soname", what));
        }
        Some(_) => {}
    }
    if tables.dynamic.rpath.is_some() {
        let what = "DT_RPATH is not read by Android".to_owned();
        findings.push(found(Effect::Warning, "runpath", what).hint("link with --enable-new-dtags"));
    }
    if let Some(runpath) = tables.runpath() {
        let (effect, what) = match subject.question.level.has(24) {
            true => (Effect::Note, format!("DT_RUNPATH is {runpath}")),
            false => (Effect::Warning, format!("DT_RUNPATH ({runpath}) is read from API level 24 on")),
        };
        findings.push(found(effect, "runpath", what));
    }
}
