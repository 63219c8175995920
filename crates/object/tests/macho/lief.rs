//! LIEF, if Python has it: a second reader of binds and exports. It does not say addends, and of images that are older
//! than `LC_DYLD_INFO` it lists stubs beside pointers.

use crate::build::run;
use livepatch_object::macho::{Action, ExportTarget, Format, Image};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = "import lief, sys
lief.logging.disable()
fat = lief.MachO.parse(sys.argv[1])
names = {'X86_64': 'x86_64', 'ARM64': 'arm64'}
for number in range(fat.size):
    image = fat.at(number)
    kind = str(image.header.cpu_type).split('.')[-1]
    if names.get(kind) != sys.argv[2]:
        continue
    for bind in image.bindings:
        if bind.has_symbol:
            print('bind', hex(bind.address), bind.symbol.name)
    trie = image.dyld_exports_trie if image.has_dyld_exports_trie else image.dyld_info if image.has_dyld_info else None
    for export in trie.exports if trie else []:
        if export.has_symbol:
            print('export', hex(export.address), export.symbol.name)
";

/// Whether it is there.
pub(crate) fn is_there() -> bool {
    let asked = Command::new("python3").args(["-c", "import lief"]).output();
    asked.is_ok_and(|output| output.status.success())
}

/// Compares, and says what was the same.
#[track_caller]
pub(crate) fn compare(file: &Path, image: &Image) -> String {
    let architecture = image.header.architecture.to_string();
    let said = run(Command::new("python3").args(["-c", SCRIPT]).arg(file).arg(&architecture));
    let theirs = |what: &str| -> BTreeSet<String> {
        said.lines().filter_map(|line| line.strip_prefix(what)).map(|line| line.trim().to_owned()).collect()
    };
    let fixups = image.fixups().unwrap();
    let bind = |record: &livepatch_object::macho::Fixup| match record.action {
        Action::Rebase { .. } => None,
        Action::Bind { .. } => {
            let symbol = &fixups.import_of(record).unwrap().symbol;
            Some(format!("{} {}", record.slot.address, String::from_utf8_lossy(symbol)))
        }
    };
    let binds: BTreeSet<String> = fixups.records.iter().filter_map(bind).collect();
    let theirs_binds = theirs("bind ");
    let missing: Vec<_> = binds.difference(&theirs_binds).take(5).collect();
    assert!(missing.is_empty(), "only here: {missing:?}");
    let mut said = match fixups.format {
        Format::Relocations => format!("all {} binds are among its {}", binds.len(), theirs_binds.len()),
        _ => {
            let missing: Vec<_> = theirs_binds.difference(&binds).take(5).collect();
            assert!(missing.is_empty(), "only LIEF: {missing:?}");
            format!("the same {} bound slots", binds.len())
        }
    };
    if fixups.format != Format::Relocations {
        let all = image.exports().unwrap().all().unwrap();
        let name =
            |export: &livepatch_object::macho::Export| String::from_utf8_lossy(&export.name).into_owned();
        let ours: BTreeSet<String> = all.iter().map(name).collect();
        let names = |line: &String| line.split_once(' ').map(|(_, name)| name.to_owned());
        let theirs_exports: BTreeSet<String> = theirs("export ").iter().filter_map(names).collect();
        let differ: Vec<_> = ours.symmetric_difference(&theirs_exports).take(5).collect();
        assert!(differ.is_empty(), "exports: {differ:?}");
        // It does not add the image's address.
        let at = |export: &livepatch_object::macho::Export| match export.target {
            ExportTarget::Regular(at) | ExportTarget::ThreadLocal(at) => {
                Some(format!("{:#x} {}", at.0 - image.base().0, name(export)))
            }
            _ => None,
        };
        let places: BTreeSet<String> = all.iter().filter_map(at).collect();
        let differ: Vec<_> = places.difference(&theirs("export ")).take(5).cloned().collect();
        assert!(differ.is_empty(), "places of exports: {differ:?}");
        said += &format!(", the same {} exports", ours.len());
    }
    said
}
