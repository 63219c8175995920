//! What happens in a session, as data: one JSON object per line.

use crate::crash::Function;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The version of the events. Fields may be added without raising it.
pub const VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Cargo has built the program.
    Built {
        /// How long it took.
        ms: f64,
    },
    /// The program was started.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// A program that ran already was made to call.
    Attached {
        /// Its process id.
        pid: u32,
        /// Whether it had to load the agent; otherwise it had it.
        loaded: bool,
        /// The thread that was borrowed for it.
        thread: u32,
        /// What that thread did then.
        place: String,
        /// For how long it was away.
        ms: f64,
    },
    /// The session leaves the program, which goes on.
    Detached {
        /// Its process id.
        pid: u32,
        /// The patch that stays live; 0 is the code that the program was started with.
        patch: u32,
    },
    /// The agent in the program has called, and sources are watched: edits go live from now on.
    Ready {
        /// The process.
        pid: u32,
    },
    /// Sources were changed, and are being compiled.
    Edit {
        /// Which.
        files: Vec<PathBuf>,
    },
    /// A patch is live.
    Patched {
        /// Its number.
        patch: u32,
        /// The number of the first patch of the same edit: its own unless the edit goes live in parts.
        edit: u32,
        /// Whether more of the edit is still being compiled, and follows, or this is taken back.
        more: bool,
        /// The functions whose callers now get new code, demangled.
        functions: Vec<String>,
        /// Functions of which old and new code are both in use.
        versioned: Vec<String>,
        /// What the user should know.
        notes: Vec<String>,
        /// How long each step took.
        ms: Steps,
    },
    /// Libraries that were loaded with the code they were linked from have what was changed since.
    Joined {
        /// The names of their files.
        libraries: Vec<String>,
        /// The patch that they are at.
        patch: u32,
        /// The functions whose callers now get new code, demangled.
        functions: Vec<String>,
    },
    /// The edit, or what was still to come of it, changed nothing that runs.
    Unchanged {
        /// The patch that made the first part of it live.
        edit: Option<u32>,
        /// What the user should know.
        notes: Vec<String>,
    },
    /// The edit is not live; the program goes on as it was.
    Rejected {
        /// Why.
        reason: String,
        /// What the compiler says.
        diagnostics: Vec<Diagnostic>,
    },
    /// The program was ended and started anew.
    Restarted {
        /// Why.
        reason: String,
        /// The new process.
        pid: u32,
    },
    /// An earlier patch is live again.
    RolledBack {
        /// Which; 0 is the code that the program was started with.
        to: u32,
    },
    /// A process of the program ends by a signal that says that something went wrong in it.
    Crashed {
        /// The process.
        pid: u32,
        /// The process of the program that forked it, if it is not the program itself.
        parent: Option<u32>,
        /// The signal's name.
        signal: String,
        /// The function of the program that crashed, demangled; none where it is not the program's own,
        /// or not known.
        function: Option<String>,
        /// The patch that brought it; none for the code that the program was started with.
        patch: Option<u32>,
        /// The innermost function of a patch that was being called, if the one that crashed is not of a patch.
        called_from: Option<Function>,
    },
    /// The program has ended.
    Exited {
        /// Its exit code, or 128 + the signal that ended it; none where that is told to somebody else.
        status: Option<i32>,
    },
}

/// Steps on the way to a live patch, in milliseconds.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
pub struct Steps {
    /// Compiling.
    pub rustc: f64,
    /// Finding what changed.
    pub diff: f64,
    /// Finding addresses.
    pub resolve: f64,
    /// Writing the patch image.
    pub write: f64,
    /// In the process, the way there and back included.
    pub apply: f64,
    /// From the file's modification to the answer of the process.
    pub total: f64,
}

/// What the compiler says, without colours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// `error` or `warning`.
    pub level: String,
    /// The first line.
    pub message: String,
    /// Where, as the compiler names it.
    pub file: Option<String>,
    /// The line there, from 1.
    pub line: Option<u32>,
    /// All of it.
    pub rendered: String,
}

#[derive(Serialize)]
struct Stamped<'a> {
    #[serde(flatten)]
    event: &'a Event,
    v: u32,
    at_ms: u64,
}

/// Milliseconds, to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl Event {
    /// The event as one line, the time included.
    pub fn to_line(&self, at: SystemTime) -> String {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let stamped = Stamped { event: self, v: VERSION, at_ms };
        // Strings and numbers only: nothing in it can fail.
        let mut line = serde_json::to_string(&stamped).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// A file that events are appended to.
#[derive(Debug)]
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::options().append(true).create(true).open(path)? })
    }

    /// Appends a line, in one write: readers see whole lines.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_every_event() {
        let at = UNIX_EPOCH + Duration::from_millis(1234);
        let line = |event: Event| event.to_line(at);
        assert_eq!(
            line(Event::Built { ms: 1.5 }),
            "{\"event\":\"built\",\"ms\":1.5,\"v\":1,\"at_ms\":1234}\n"
        );
        assert_eq!(line(Event::Ready { pid: 7 }), "{\"event\":\"ready\",\"pid\":7,\"v\":1,\"at_ms\":1234}\n");
        assert_eq!(
            line(Event::Unchanged { edit: None, notes: vec![] }),
            "{\"event\":\"unchanged\",\"edit\":null,\"notes\":[],\"v\":1,\"at_ms\":1234}\n"
        );
        assert_eq!(
            line(Event::RolledBack { to: 2 }),
            "{\"event\":\"rolled_back\",\"to\":2,\"v\":1,\"at_ms\":1234}\n"
        );
        let patched = Event::Patched {
            patch: 1,
            edit: 1,
            more: false,
            functions: vec!["app::f".into()],
            versioned: vec![],
            notes: vec![],
            ms: Steps { rustc: 70.0, total: 80.25, ..Steps::default() },
        };
        assert_eq!(
            line(patched),
            "{\"event\":\"patched\",\"patch\":1,\"edit\":1,\"more\":false,\"functions\":[\"app::f\"],\"versioned\":[],\"notes\":[],\
             \"ms\":{\"rustc\":70.0,\"diff\":0.0,\"resolve\":0.0,\"write\":0.0,\"apply\":0.0,\"total\":80.25},\
             \"v\":1,\"at_ms\":1234}\n"
        );
        let crashed = Event::Crashed {
            pid: 7,
            parent: None,
            signal: "SIGABRT".into(),
            function: None,
            patch: None,
            called_from: Some(Function { function: "app::f".into(), patch: Some(2) }),
        };
        assert_eq!(
            line(crashed),
            "{\"event\":\"crashed\",\"pid\":7,\"parent\":null,\"signal\":\"SIGABRT\",\"function\":null,\
             \"patch\":null,\"called_from\":{\"function\":\"app::f\",\"patch\":2},\"v\":1,\"at_ms\":1234}\n"
        );
        let rejected = Event::Rejected { reason: "no".into(), diagnostics: vec![] };
        assert!(line(rejected).starts_with("{\"event\":\"rejected\",\"reason\":\"no\",\"diagnostics\":[]"));
        assert!(line(Event::Exited { status: Some(3) }).starts_with("{\"event\":\"exited\",\"status\":3"));
    }

    #[test]
    fn lines_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        for _ in 0..2 {
            EventFile::open(&path).unwrap().append("{}\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{}\n{}\n");
    }
}
