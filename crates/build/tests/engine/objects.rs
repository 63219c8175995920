//! Files that go away, or are not whole, while a session is open.

use crate::program::Program;
use livepatch_build::objects::LoadError;
use livepatch_build::session::{CrateObjects, PatchError, Session};
use std::collections::BTreeMap;
use std::path::PathBuf;

const SOURCE: &str = r#"
#[inline(never)] fn answer(question: &str) -> String { format!("{question} {:?}", question.split(' ').collect::<Vec<_>>()) }
fn main() { println!("{}", answer("one two")); }
"#;

/// The objects of a rebuild that are not those of the base build, by what is in them.
fn changed(base: &CrateObjects, rebuilt: &CrateObjects) -> Vec<PathBuf> {
    let contents = |objects: &CrateObjects| -> BTreeMap<_, _> {
        let read = |path: &PathBuf| std::fs::read(path).expect("an object");
        objects.objects.iter().map(|path| (path.file_name().map(ToOwned::to_owned), read(path))).collect()
    };
    let (old, new) = (contents(base), contents(rebuilt));
    let is_new = |path: &PathBuf| {
        let name = path.file_name().map(ToOwned::to_owned);
        old.get(&name) != new.get(&name)
    };
    rebuilt.objects.iter().filter(|path| is_new(path)).cloned().collect()
}

#[test]
fn a_session_needs_the_names_of_its_files_no_more() {
    let mut program = Program::new(SOURCE);
    let base = program.base();
    let session = Session::open(&base, &program.path("patches")).expect("opening the session");
    // Small files are read, larger ones mapped: both must be there.
    let sizes = base.crates[0].objects.iter().map(|path| path.metadata().expect("an object").len());
    let (small, large): (Vec<u64>, Vec<u64>) = sizes.partition(|&size| size < 16 << 10);
    assert!(!small.is_empty() && !large.is_empty(), "{small:?} {large:?}");
    program.save(&SOURCE.replace("{question} {:?}", "{:?} to {question}"));
    let rebuilt = program.rebuild();
    let expected = session.diff(std::slice::from_ref(&rebuilt)).expect("comparing").changed.len();
    assert!(expected > 0);
    std::fs::remove_dir_all(base.crates[0].objects[0].parent().expect("a folder")).expect("removing");
    std::fs::remove_file(&base.host).expect("removing");
    let diff = session.diff(&[rebuilt]).expect("comparing");
    assert_eq!(diff.changed.len(), expected);
    let symbol = diff.changed[0].new.name();
    assert!(session.host().definitions(symbol).next().is_some(), "the host is still readable");
}

#[test]
fn an_object_that_is_not_whole_is_an_error_that_passes() {
    let mut program = Program::new(SOURCE);
    let base = program.base();
    let session = Session::open(&base, &program.path("patches")).expect("opening the session");
    program.save(&SOURCE.replace("{question} {:?}", "{:?} to {question}"));
    let rebuilt = program.rebuild();
    let changed = changed(&base.crates[0], &rebuilt);
    assert!(!changed.is_empty());
    for path in changed {
        let whole = std::fs::read(&path).expect("an object");
        for part in [0, 40, whole.len() / 2, whole.len() - 1] {
            let partial = path.with_extension("part");
            std::fs::write(&partial, &whole[..part]).expect("writing");
            std::fs::rename(&partial, &path).expect("renaming");
            match session.diff(std::slice::from_ref(&rebuilt)) {
                Err(PatchError::Load(LoadError::Object { path: named, .. })) => assert_eq!(named, path),
                other => panic!("{part} bytes of {}: {:?}", path.display(), other.map(|diff| diff.changed)),
            }
        }
        std::fs::remove_file(&path).expect("removing");
        match session.diff(std::slice::from_ref(&rebuilt)) {
            Err(PatchError::Load(LoadError::Read { path: named, .. })) => assert_eq!(named, path),
            other => panic!("without {}: {:?}", path.display(), other.map(|diff| diff.changed)),
        }
        std::fs::write(&path, whole).expect("writing");
    }
    assert!(!session.diff(&[rebuilt]).expect("comparing").changed.is_empty());
}
