//! Watching folders, and telling when a file in one is as its editor wants it.
//!
//! There is no fixed delay: a file that was closed after writing, or renamed to its place, is told at
//! once. Only where that has not come yet, after a write that may be one of several, or a removal that
//! an editor may follow up with a new file, is it waited for, briefly.

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a file that is being written may stay open before it is looked at all the same.
const OPEN: Duration = Duration::from_millis(25);
/// How long a file may be gone, or empty, before that is an edit.
const GONE: Duration = Duration::from_millis(60);

/// Watches folders.
#[derive(Debug)]
pub struct Watcher {
    watcher: RecommendedWatcher,
    folders: HashSet<PathBuf>,
}

/// Files that are not as their editors want them yet.
type Waiting = HashMap<PathBuf, Due>;

/// When a file is told all the same.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    /// It was given all the time that it gets.
    patient: bool,
}

/// How a file looks after something happened to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Settled,
    Open,
    Gone,
}

impl Watcher {
    /// A watcher of nothing yet. `changed` is called, in a thread, with paths that may have changed.
    pub fn new(mut changed: impl FnMut(Vec<PathBuf>) + Send + 'static) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel();
        let watcher = notify::recommended_watcher(move |event| drop(sender.send(event)))?;
        std::thread::spawn(move || {
            let mut waiting = Waiting::new();
            loop {
                let next = waiting.values().map(|due| due.at).min();
                let next = next.map(|at| at.saturating_duration_since(Instant::now()));
                let mut ready = match events.recv_timeout(next.unwrap_or(Duration::from_secs(3600))) {
                    Ok(Ok(event)) => sort(&event, &mut waiting),
                    Ok(Err(_)) | Err(RecvTimeoutError::Timeout) => Vec::new(),
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                ready.extend(due_now(&mut waiting));
                if !ready.is_empty() {
                    changed(ready);
                }
            }
        });
        Ok(Self { watcher, folders: HashSet::new() })
    }

    /// Watches a folder, not those inside it. One that is not there cannot be watched.
    pub fn watch(&mut self, folder: &Path) {
        if !self.folders.contains(folder) && self.watcher.watch(folder, RecursiveMode::NonRecursive).is_ok() {
            self.folders.insert(folder.to_owned());
        }
    }
}

/// Takes in an event; returns the paths that are ready, and notes those that are not.
fn sort(event: &Event, waiting: &mut Waiting) -> Vec<PathBuf> {
    if event.need_rescan() {
        // The system has dropped events: anything may have changed.
        return vec![PathBuf::new()];
    }
    let Some(state) = state_after(event.kind) else { return Vec::new() };
    // A rename told as one names the old place first.
    let paths = match event.kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => event.paths.get(1..).unwrap_or_default(),
        _ => &event.paths,
    };
    let (after, patient) = match state {
        State::Settled => {
            waiting.retain(|path, _| !paths.contains(path));
            return paths.to_vec();
        }
        State::Open => (OPEN, false),
        State::Gone => (GONE, true),
    };
    for path in paths {
        waiting.insert(path.clone(), Due { at: Instant::now() + after, patient });
    }
    Vec::new()
}

/// Takes out what was waited for long enough. A file that is empty has just been opened by somebody
/// who is about to write it: it gets more time, once.
fn due_now(waiting: &mut Waiting) -> Vec<PathBuf> {
    let now = Instant::now();
    for (path, due) in waiting.iter_mut().filter(|(_, due)| due.at <= now && !due.patient) {
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
            *due = Due { at: now + GONE, patient: true };
        }
    }
    waiting.extract_if(|_, due| due.at <= now).map(|(path, _)| path).collect()
}

fn state_after(kind: EventKind) -> Option<State> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Create(CreateKind::Folder)
        | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => Some(State::Settled),
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => None,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(State::Gone),
        _ => Some(State::Open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Watched {
        dir: tempfile::TempDir,
        seen: mpsc::Receiver<(Instant, Vec<PathBuf>)>,
        _watcher: Watcher,
    }

    fn watched() -> Watched {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.rs"), "old").unwrap();
        let (sender, seen) = mpsc::channel();
        let mut watcher = Watcher::new(move |paths| drop(sender.send((Instant::now(), paths)))).unwrap();
        watcher.watch(dir.path());
        Watched { dir, seen, _watcher: watcher }
    }

    impl Watched {
        /// How long it took until the file was told, and what it held then.
        fn told(&self, since: Instant) -> (Duration, String) {
            let path = self.dir.path().join("a.rs");
            loop {
                let (at, paths) = self.seen.recv_timeout(Duration::from_secs(5)).expect("the change is told");
                if paths.contains(&path) {
                    return (at.duration_since(since), fs::read_to_string(path).unwrap_or_default());
                }
            }
        }
    }

    #[test]
    fn written_in_place_is_told_when_closed() {
        let watched = watched();
        let since = Instant::now();
        fs::write(watched.dir.path().join("a.rs"), "new").unwrap();
        let (took, held) = watched.told(since);
        assert_eq!(held, "new");
        assert!(took < OPEN, "{took:?}");
    }

    #[test]
    fn renamed_over_is_told_at_once() {
        let watched = watched();
        fs::write(watched.dir.path().join(".a.rs.swp"), "new").unwrap();
        let since = Instant::now();
        fs::rename(watched.dir.path().join(".a.rs.swp"), watched.dir.path().join("a.rs")).unwrap();
        let (took, held) = watched.told(since);
        assert_eq!(held, "new");
        assert!(took < OPEN, "{took:?}");
    }

    #[test]
    fn removed_and_made_again_is_one_change() {
        let watched = watched();
        let path = watched.dir.path().join("a.rs");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "new").unwrap();
        assert_eq!(watched.told(Instant::now()).1, "new");
    }

    #[test]
    fn an_empty_file_is_waited_for_longer() {
        use std::io::Write;
        let watched = watched();
        let mut file = fs::File::create(watched.dir.path().join("a.rs")).unwrap();
        std::thread::sleep(OPEN + Duration::from_millis(10));
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(watched.told(Instant::now()).1, "new");
    }

    #[test]
    fn a_file_that_stays_open_is_told_all_the_same() {
        use std::io::Write;
        let watched = watched();
        let mut file = fs::File::create(watched.dir.path().join("a.rs")).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(watched.told(Instant::now()).1, "new");
        drop(file);
    }
}
