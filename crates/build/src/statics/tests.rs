//! With the C compiler's objects; `nm` says what became of them.

use super::*;
use std::path::Path;
use std::process::Command;

const SOURCE: &str =
    "static int own = 1; int shared = 2; __thread int mine = 3; static int *const list[] = {&shared};
int use(void) { return ++own + ++shared + ++mine + *list[0]; }
int main(void) { return use(); }
";

fn run(command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(done) => {
            assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
            Some(String::from_utf8_lossy(&done.stdout).into_owned())
        }
        Err(error) => {
            eprintln!("skipped: {command:?}: {error}");
            None
        }
    }
}

fn built(folder: &Path) -> Option<(Vec<u8>, HotpatchModuleCache)> {
    std::fs::write(folder.join("a.c"), SOURCE).expect("written");
    let gcc = |arguments: &[&str]| run(Command::new("gcc").current_dir(folder).args(arguments));
    gcc(&["-O0", "-fPIE", "-fdata-sections", "-c", "a.c"])?;
    gcc(&["-pie", "a.o", "-o", "host"])?;
    let host = HotpatchModuleCache::from_path(folder.join("host")).expect("a host");
    Some((std::fs::read(folder.join("a.o")).expect("an object"), host))
}

#[test]
fn definitions_become_references() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((object, host)) = built(folder.path()) else { return };
    let shared = share_statics(&object, &host, &FxHashSet::default()).expect("shares");
    assert_eq!(shared.names, ["mine", "own", "shared"]);
    let path = folder.path().join("shared.o");
    std::fs::write(&path, &shared.bytes).expect("written");
    let Some(listed) = run(Command::new("nm").args(["--undefined-only", "--format=just-symbols"]).arg(&path))
    else {
        return;
    };
    for name in ["own", "shared", "mine"] {
        assert!(listed.lines().any(|line| line == name), "{listed}");
    }

    // Code of the program has its own thread-locals at constant offsets, which hold nowhere else.
    let misplaced = |object: &[u8]| crate::stubs::misplaced_thread_locals(object).expect("an object");
    assert_eq!((misplaced(&object), misplaced(&shared.bytes)), (vec!["mine".to_owned()], vec![]));

    let fresh = FxHashSet::from_iter(["own".to_owned(), "mine".to_owned()]);
    assert_eq!(share_statics(&object, &host, &fresh).expect("shares").names, ["shared"]);
    // What the host does not have is the patch's own.
    let mut other = object.clone();
    let at = other.windows(5).position(|bytes| bytes == b"\0own\0").expect("its name");
    other[at + 1..at + 4].copy_from_slice(b"new");
    assert_eq!(
        share_statics(&other, &host, &FxHashSet::default()).expect("shares").names,
        ["mine", "shared"]
    );
}

#[test]
fn damaged_objects_are_refused_or_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((object, host)) = built(folder.path()) else { return };
    for length in 0..object.len() {
        // What counts is that it comes back.
        drop(share_statics(&object[..length], &host, &FxHashSet::default()));
    }
    for at in 0..object.len() {
        let mut damaged = object.clone();
        damaged[at] ^= 0xff;
        if let Ok(shared) = share_statics(&damaged, &host, &FxHashSet::default()) {
            let is_found = |name: &String| matches!(host.lookup(name), Lookup::Found(_));
            assert!(shared.names.iter().all(is_found));
        }
    }
}

/// Compilers mark where data begins, with a symbol of the section's own; a variable is alone there all the same.
#[test]
fn mapping_symbols_are_no_variables() {
    assert!(["$d", "$d.12", "$x.0", "$t", "$a"].iter().all(|name| is_mapping(name)));
    assert!(!["$", "$dd", "d", "$e.1", "data"].iter().any(|name| is_mapping(name)));
}
