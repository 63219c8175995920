//! The objects that rustc keeps in its incremental folder, one per codegen unit.

use super::keep;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The newest finished session of the crate whose incremental state lies in `incremental`: rustc
/// names it `<crate>-<hash>/s-<time>-<random>-<hash>`, and `…-working` while it is under way.
pub fn newest_session(incremental: &Path, crate_name: &str) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(String, PathBuf)> = None;
    for entry in std::fs::read_dir(incremental)? {
        let entry = entry?;
        let name = entry.file_name();
        let krate = name.to_str().and_then(|name| name.rsplit_once('-')).map(|(krate, _)| krate);
        if krate != Some(crate_name) {
            continue;
        }
        for session in std::fs::read_dir(entry.path())? {
            let session = session?;
            let Some(time) = session.file_name().to_str().and_then(session_time) else { continue };
            if newest.as_ref().is_none_or(|(newest, _)| *newest < time) {
                newest = Some((time, session.path()));
            }
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Whether rustc gives that name to a session's folder when everything is in it.
pub fn is_finished_session(name: &str) -> bool {
    session_time(name).is_some()
}

/// What lies beside a session: older ones, and ones that were never finished.
pub fn beside_session(session: &Path) -> io::Result<Vec<PathBuf>> {
    let name = session.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let lock = name.rsplit_once('-').map(|(start, _)| format!("{start}.lock"));
    let mut others = Vec::new();
    for entry in std::fs::read_dir(session.parent().unwrap_or(session))? {
        let entry = entry?.file_name();
        if entry != name && lock.as_ref().is_none_or(|lock| entry != **lock) {
            others.push(session.with_file_name(entry));
        }
    }
    Ok(others)
}

/// The time in a finished session's name: base-36 digits, whose count does not change before 2059,
/// so that they sort as text.
fn session_time(name: &str) -> Option<String> {
    let mut parts = name.split('-');
    let (tag, time, random, last) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let finished = tag == "s" && last != "working" && parts.next().is_none() && !random.ends_with(".lock");
    finished.then(|| time.to_owned())
}

/// The object files of a folder, in the order of their names.
pub fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = names_in(folder)?;
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The names of a folder's object files.
pub fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "o") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Keeps the objects of a session in a folder of the same name under `base`, and returns it.
pub fn keep_session(session: &Path, base: &Path) -> io::Result<PathBuf> {
    let kept = base.join(session.file_name().unwrap_or_default());
    std::fs::create_dir_all(&kept)?;
    for object in in_folder(session)? {
        keep(&object, &kept.join(object.file_name().unwrap_or_default()))?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_newest_finished_session_of_that_crate() {
        let dir = tempfile::tempdir().unwrap();
        for session in [
            "app-1a/s-hodmbug2zd-1ud80ek-2ps4se30vjai54s0gep65pjff",
            "app-1a/s-hodmbuo9wx-17eq0zm-cxn0qq6d8642r5y366y0ctvjp",
            "app-1a/s-hodmbuo9wy-17eq0zm-working",
            "app_two-1b/s-hodmzzzzzz-17eq0zm-cxn0qq6d8642r5y366y0ctvjp",
        ] {
            std::fs::create_dir_all(dir.path().join(session)).unwrap();
        }
        std::fs::write(dir.path().join("app-1a/s-hodmzzzzzz-17eq0zm.lock"), "").unwrap();
        let newest = newest_session(dir.path(), "app").unwrap().unwrap();
        assert!(newest.ends_with("app-1a/s-hodmbuo9wx-17eq0zm-cxn0qq6d8642r5y366y0ctvjp"));
        std::fs::write(newest.join("x.o"), "x").unwrap();
        std::fs::write(newest.join("dep-graph.bin"), "x").unwrap();
        let kept = keep_session(&newest, &dir.path().join("base")).unwrap();
        assert_eq!(in_folder(&kept).unwrap(), [kept.join("x.o")]);
        std::fs::write(dir.path().join("app-1a/s-hodmbuo9wx-17eq0zm.lock"), "").unwrap();
        let mut beside = beside_session(&newest).unwrap();
        beside.sort();
        let names: Vec<_> = beside.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let old = "s-hodmbug2zd-1ud80ek-2ps4se30vjai54s0gep65pjff";
        assert_eq!(names, [old, "s-hodmbuo9wy-17eq0zm-working", "s-hodmzzzzzz-17eq0zm.lock"]);
        assert_eq!(newest_session(dir.path(), "other").unwrap(), None);
    }
}
