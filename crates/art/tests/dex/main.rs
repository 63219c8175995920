//! Dex files against the tools of others: smali, baksmali and dexdump.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod mutants;
mod tools;

use livepatch_art::dex::{self, Class, Dex};
use livepatch_art::host::boot_classes;
use livepatch_art::release::Release;
use livepatch_art::smali;
use tools::{Outcome, Tool, skipped};

const EVERYTHING: &str = include_str!("../fixtures/everything.smali");
const APP: &str = include_str!("../live/smali/app.smali");
const FIX: &str = include_str!("../live/smali/fix.smali");

fn classes(text: &str) -> Vec<Class> {
    let parts = text.split("\n.class ").skip(1);
    parts.map(|part| smali::assemble(&format!(".class {part}")).expect("a class")).collect()
}

/// Both disassemble to the same: what smali made of a text, and what we did.
#[test]
fn assembled_as_smali_does() -> Outcome {
    let Some(tools) = skipped("assembled_as_smali_does", Tool::Smali) else { return Ok(()) };
    for text in [EVERYTHING, APP, FIX] {
        let theirs = tools.smali(text)?;
        let ours = dex::write(&Dex { version: 35, classes: classes(text) })?;
        assert_eq!(tools.baksmali(&ours)?, tools.baksmali(&theirs)?);
    }
    Ok(())
}

/// What smali wrote, read and written by us, disassembles to what it did; and it is not longer.
#[test]
fn smalis_files_are_read_and_written() -> Outcome {
    let Some(tools) = skipped("smalis_files_are_read_and_written", Tool::Smali) else { return Ok(()) };
    for text in [EVERYTHING, APP, FIX] {
        let theirs = tools.smali(text)?;
        let read = dex::read(&theirs)?;
        let ours = dex::write(&read)?;
        assert_eq!(tools.baksmali(&ours)?, tools.baksmali(&theirs)?);
        assert_eq!(dex::read(&ours)?, read);
    }
    Ok(())
}

/// Lines and variables, call sites and method handles are what the assembler here has no words for.
#[test]
fn what_only_smali_can_write_is_kept() -> Outcome {
    let Some(tools) = skipped("what_only_smali_can_write_is_kept", Tool::Smali) else { return Ok(()) };
    let text = include_str!("../fixtures/newer.smali");
    let theirs = tools.smali(text)?;
    let read = dex::read(&theirs)?;
    let ours = dex::write(&read)?;
    assert_eq!(tools.baksmali(&ours)?, tools.baksmali(&theirs)?);
    assert_eq!(dex::read(&ours)?, read);
    // Version 035 has no such thing.
    assert!(dex::write(&Dex { version: 35, ..read }).is_err());
    Ok(())
}

/// The runtime's own dumper verifies what it reads.
#[test]
fn dexdump_reads_ours() -> Outcome {
    let Some(tools) = skipped("dexdump_reads_ours", Tool::Dexdump) else { return Ok(()) };
    for version in [35, 37, 38, 39] {
        let ours = dex::write(&Dex { version, classes: classes(EVERYTHING) })?;
        let dump = tools.dexdump(&ours)?;
        assert!(dump.contains(&format!("DEX version '{version:03}'")), "{dump}");
        assert!(dump.contains("Class descriptor  : 'LEverything;'"), "{dump}");
    }
    for version in [10, 11] {
        let boot = boot_classes(Release::of_version(version).unwrap())?;
        let dump = tools.dexdump(&dex::write(&boot)?)?;
        assert_eq!(dump.matches("Class descriptor  :").count(), boot.classes.len());
    }
    Ok(())
}

/// What is written is read back, whatever the version, and is written the same again.
#[test]
fn ours_are_read_back() -> Outcome {
    for version in dex::VERSIONS {
        let dex = Dex { version, classes: classes(EVERYTHING) };
        let bytes = dex::write(&dex)?;
        let read = dex::read(&bytes)?;
        assert_eq!(read.version, version);
        assert_eq!(read.classes.len(), dex.classes.len());
        assert_eq!(dex::write(&read)?, bytes);
    }
    Ok(())
}

/// A superclass comes before what extends it, wherever it stood; a circle is an error.
#[test]
fn superclasses_come_first() -> Outcome {
    let class = |name: &str, parent: &str| Class::new(name.into(), 1, Some(parent.into()));
    let classes = vec![class("LC;", "LB;"), class("LB;", "LA;"), class("LA;", "Ljava/lang/Object;")];
    let read = dex::read(&dex::write(&Dex { version: 35, classes })?)?;
    let names: Vec<String> = read.classes.iter().map(Class::name).collect();
    assert_eq!(names, ["A", "B", "C"]);
    let circle = vec![class("LA;", "LB;"), class("LB;", "LA;")];
    assert!(dex::write(&Dex { version: 35, classes: circle }).is_err());
    let twice = vec![class("LA;", "LB;"), class("LA;", "LB;")];
    assert!(dex::write(&Dex { version: 35, classes: twice }).is_err());
    Ok(())
}

/// Names dex files, separated by colons, that real compilers have written.
const FILES: &str = "LIVEPATCH_DEX_FILES";

/// Read and written, they disassemble to what they did, lines and variables included; they differ from themselves in
/// nothing.
#[test]
fn files_of_real_compilers() -> Outcome {
    let Some(files) = std::env::var_os(FILES) else {
        println!("files_of_real_compilers skipped: {FILES} names no dex files");
        return Ok(());
    };
    let Some(tools) = skipped("files_of_real_compilers", Tool::Smali) else { return Ok(()) };
    for path in std::env::split_paths(&files) {
        let theirs = std::fs::read(&path)?;
        let read = dex::read(&theirs)?;
        let ours = dex::write(&read)?;
        let methods: usize = read.classes.iter().map(|class| class.methods().count()).sum();
        println!("{}: {methods} methods, {} bytes, ours {}", path.display(), theirs.len(), ours.len());
        assert!(tools.baksmali(&ours)? == tools.baksmali(&theirs)?, "{}", path.display());
        let again = dex::read(&ours)?;
        assert!(again == read, "{}", path.display());
        let difference = livepatch_art::diff::diff(std::slice::from_ref(&read), &[again]);
        assert_eq!((difference.changed, difference.refused), (vec![], vec![]));
    }
    Ok(())
}
