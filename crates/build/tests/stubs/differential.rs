//! The same questions asked of others: `nm`, and a live process's dynamic loader.

use crate::machine::{AARCH64, ARM, Machine, X86_64};
use crate::tools::{done, missing, skip};
use livepatch_build::stubs::{
    HotpatchModuleCache, StubTarget, compute_needed_symbols, compute_needed_symbols_multi,
};
use livepatch_object::relocatable::SymbolKind;
use object::read::archive::ArchiveFile;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many objects are compared.
const OBJECTS: usize = 1000;

/// Objects that belong together.
struct Group {
    /// What `nm` is to be asked about.
    files: Vec<PathBuf>,
    /// The objects, under the names that `nm` has for them.
    objects: Vec<(String, Vec<u8>)>,
}

/// Every set of undefined symbols is `nm`'s, of the objects that this workspace was compiled to; and what a crate's
/// objects need together is what `nm` has as undefined and not as defined.
#[test]
fn needed_symbols_are_those_of_nm() {
    if let Some(reason) = missing(&[Path::new("nm")]) {
        skip!("{reason}");
    }
    let mut compared = 0;
    for Group { files, objects } in own_crates().chain(archives()) {
        if compared >= OBJECTS {
            break;
        }
        let undefined = nm(&files, &["-u"]);
        for (name, data) in &objects {
            assert_eq!(StubTarget::of_object(data).expect("an object"), StubTarget::ELF_X86_64);
            let ours = compute_needed_symbols(data).expect("an object");
            let ours: Vec<&str> = ours.names().collect();
            let theirs = undefined.get(name).cloned().unwrap_or_default();
            assert_eq!(ours, theirs.iter().map(String::as_str).collect::<Vec<_>>(), "{name}");
            compared += 1;
        }
        let data: Vec<&[u8]> = objects.iter().map(|(_, data)| &**data).collect();
        let together = compute_needed_symbols_multi(&data).expect("objects");
        let together: BTreeSet<String> = together.names().map(str::to_owned).collect();
        let all = |map: BTreeMap<String, BTreeSet<String>>| map.into_values().flatten();
        let defined: BTreeSet<String> = all(nm(&files, &["--extern-only", "--defined-only"])).collect();
        let undefined: BTreeSet<String> = all(undefined).collect();
        assert_eq!(together, undefined.difference(&defined).cloned().collect(), "{files:?}");
    }
    if compared < OBJECTS {
        skip!("of {OBJECTS} objects there are only {compared} here");
    }
}

/// The folder that this test and what it needs were built into.
fn deps() -> PathBuf {
    std::env::current_exe().expect("this test").parent().expect("a folder").to_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut all: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.sort();
    all
}

/// What rustc keeps of the workspace's crates, one group for each build of one. Others may be building: a group
/// that changes meanwhile is passed over.
fn own_crates() -> impl Iterator<Item = Group> {
    let crates = entries(&deps().with_file_name("incremental"));
    let sessions = crates.into_iter().flat_map(|folder| entries(&folder));
    let done = sessions.filter(|path| !path.to_string_lossy().ends_with("-working"));
    done.filter_map(|session| {
        let mut files = entries(&session);
        files.retain(|file| file.extension().is_some_and(|extension| extension == "o"));
        // A copy under names of ours is nobody else's.
        let folder = tempfile::tempdir().expect("a folder");
        let mut group = Group { files: Vec::new(), objects: Vec::new() };
        for file in files {
            let copy = folder.path().join(file.file_name()?);
            std::fs::copy(&file, &copy).ok()?;
            let data = std::fs::read(&copy).ok()?;
            group.objects.push((copy.display().to_string(), data));
            group.files.push(copy);
        }
        (!group.files.is_empty()).then_some((folder, group))
    })
    .scan(None, |kept, (folder, group)| {
        *kept = Some(folder);
        Some(group)
    })
}

/// Archives of compiled crates: those that this test was linked with, and the compiler's.
fn archives() -> impl Iterator<Item = Group> {
    let libraries = done(Command::new("rustc").args(["--print", "target-libdir"]));
    let all = [deps(), libraries.trim().into()].into_iter().flat_map(|folder| entries(&folder));
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rlib")).filter_map(|path| {
        let bytes = std::fs::read(&path).ok()?;
        let members = ArchiveFile::parse(&*bytes).ok()?.members().filter_map(Result::ok);
        let objects = members
            .map(|member| {
                let name = String::from_utf8_lossy(member.name());
                let data = member.data(&*bytes).expect("a member").to_vec();
                (format!("{}:{name}", path.display()), data)
            })
            .filter(|(name, data)| name.ends_with(".o") && data.starts_with(b"\x7fELF"))
            .collect();
        Some(Group { objects, files: vec![path] })
    })
}

/// What `nm` lists of each object.
fn nm(files: &[PathBuf], options: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut command = Command::new("nm");
    command.arg("--print-file-name").args(options).args(files);
    // It complains of an archive's members that are no objects, and goes on.
    let output = command.output().expect("nm runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let complaint = |line: &&str| line.starts_with("bfd plugin: ");
    for line in text.lines().filter(|line| !complaint(line)) {
        let (object, rest) = line.rsplit_once(':').expect("an object’s name");
        let name = rest.split_whitespace().next_back().expect("a name");
        all.entry(object.to_owned()).or_default().insert(name.to_owned());
    }
    all
}

/// Functions in the host that is asked about: more than a page of them, of different sizes.
const FUNCTIONS: usize = 400;

/// Of every function that the host defines, a live process's loader says that it begins where we say.
#[test]
fn addresses_are_those_of_dladdr() {
    for machine in [X86_64, AARCH64, ARM] {
        if let Some(reason) = machine.missing() {
            skip!("{reason}");
        }
        ask(machine);
    }
}

fn ask(machine: Machine) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut source = String::new();
    for n in 0..FUNCTIONS {
        let body = "x ^= x << 3; ".repeat(n % 7);
        writeln!(source, "unsigned f{n}(unsigned x) {{ {body} return x + {n}; }}").expect("written");
    }
    let more = folder.join("more.c");
    std::fs::write(&more, source).expect("written");
    let more = machine.compile(more.to_str().expect("a path"), &folder.join("more.o"), &["-fPIC"]);
    // The loader knows what is exported.
    let host = machine.host_with(folder, &[&more], &["--export-dynamic"]);
    let exported = done(Command::new("nm").args(["-D", "--defined-only"]).arg(&host));
    let exported: BTreeSet<&str> = exported.lines().filter_map(|line| line.split(' ').next_back()).collect();
    let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
    let mut live = machine.start(&host);
    let slide = cache.slide(live.anchor).expect("a slide");
    let mut asked = 0;
    for (name, symbol) in cache.symbols() {
        if !matches!(symbol.kind, SymbolKind::Function | SymbolKind::IndirectFunction)
            || !exported.contains(name)
        {
            continue;
        }
        let ours = slide.runtime(symbol.address).expect("an address").0 | u64::from(symbol.thumb);
        assert_eq!(live.function_at(ours), Some(ours), "{name}: {symbol:?}");
        asked += 1;
    }
    assert!(asked > FUNCTIONS, "{asked}");
}
