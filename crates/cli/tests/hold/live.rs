//! A program in a session that answers questions, so that tests see what its code does now.

use crate::project::{Project, manifest};
use crate::session::Session;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Answers each line with what `code::answer` makes of it. It stays as it is.
pub(crate) const MAIN: &str = r#"mod code;
use std::io::{BufRead, BufReader, Write};

fn main() {
    code::start();
    let _ = std::fs::remove_file("talk");
    let listener = std::os::unix::net::UnixListener::bind("talk").unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let Ok(line) = line else { break };
            if let Some(status) = line.strip_prefix("quit ") {
                std::process::exit(status.parse().unwrap());
            }
            let mut answer = code::answer(&line).replace('\n', "\u{1}");
            answer.push('\n');
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    }
}
"#;

/// A package whose `src/code.rs` has that text.
pub(crate) fn package(code: &str) -> Project {
    package_with("", code)
}

/// The same, with more in its manifest.
pub(crate) fn package_with(more: &str, code: &str) -> Project {
    let project = Project::empty();
    project.write("Cargo.toml", &manifest("app", more));
    project.write("src/main.rs", MAIN);
    project.write("src/code.rs", code);
    project
}

/// A connection to a program.
pub(crate) struct Talk(BufReader<UnixStream>);

impl Talk {
    /// Connects to the program that runs in a project's folder, as soon as it listens.
    pub(crate) fn with(project: &Project) -> Self {
        Self::at(&project.file("talk"))
    }

    /// Connects to the program that listens there.
    pub(crate) fn at(path: &Path) -> Self {
        let since = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).expect("sockets can wait");
                    return Self(BufReader::new(stream));
                }
                Err(error) => assert!(since.elapsed() < PATIENCE, "the program does not listen: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a line, returns the answer; none if the program has ended.
    pub(crate) fn ask(&mut self, question: &str) -> Option<String> {
        self.tell(question);
        let mut answer = String::new();
        let read = self.0.read_line(&mut answer);
        matches!(read, Ok(1..)).then(|| answer.trim_end_matches('\n').replace('\u{1}', "\n"))
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.0.get_mut(), "{what}").expect("the program listens");
    }
}

/// A program that runs in a session.
pub(crate) struct Live {
    pub(crate) session: Session,
    pub(crate) project: Project,
    /// The text of the file that is edited.
    pub(crate) code: String,
    file: String,
    talk: Option<Talk>,
    seen: usize,
}

impl Live {
    /// Starts the program whose `src/code.rs` has that text.
    pub(crate) fn new(code: &str) -> Self {
        Self::start(package(code), &[])
    }

    /// Starts a session in a project with a `src/code.rs`.
    pub(crate) fn start(project: Project, arguments: &[&str]) -> Self {
        Self::start_at(project, arguments, "src/code.rs")
    }

    /// Starts a session in which `file` is what is edited.
    pub(crate) fn start_at(project: Project, arguments: &[&str], file: &str) -> Self {
        let session = Session::start_with(&project, arguments);
        Self::of(project, session, file)
    }

    /// A session that runs in a project.
    pub(crate) fn of(project: Project, session: Session, file: &str) -> Self {
        let code = std::fs::read_to_string(project.file(file)).expect("the file is there");
        let mut live = Self { session, project, code, file: file.into(), talk: None, seen: 0 };
        let ready = live.events().iter().rposition(|event| event["event"] == "ready");
        live.seen = ready.map_or(0, |at| at + 1);
        live
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.session.events()
    }

    /// Sends a line, returns the answer.
    pub(crate) fn ask(&mut self, question: &str) -> String {
        match self.talk().ask(question) {
            Some(answer) => answer,
            None => panic!("no answer to {question:?}:\n{}", self.report()),
        }
    }

    /// Sends a line that is not answered.
    pub(crate) fn tell(&mut self, what: &str) {
        self.talk().tell(what);
    }

    fn talk(&mut self) -> &mut Talk {
        self.talk.get_or_insert_with(|| Talk::with(&self.project))
    }

    /// Forgets the connection to a program that has ended.
    pub(crate) fn hang_up(&mut self) {
        self.session.wait_for("restarted");
        self.session.wait_for("ready");
        self.talk = None;
    }

    /// What became of the next edit: the event that says it. Of an edit that went live in parts, all parts.
    pub(crate) fn outcome(&mut self) -> Value {
        let since = Instant::now();
        let mut part = None;
        loop {
            let events = self.events();
            while let Some(event) = events.get(self.seen) {
                self.seen += 1;
                let kind = event["event"].as_str().unwrap_or_default();
                if kind == "patched" && event["more"] == true {
                    part = Some(together(part, event));
                } else if ["patched", "unchanged", "rejected", "restarted", "exited"].contains(&kind) {
                    return together(part, event);
                }
            }
            assert!(since.elapsed() < PATIENCE, "nothing came of the edit:\n{}", self.report());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Saves the file with that text, and waits for what comes of it.
    pub(crate) fn save(&mut self, code: &str) -> Value {
        self.code = code.into();
        self.project.write(&self.file, code);
        self.outcome()
    }

    /// Saves the file with that text; it must go live.
    pub(crate) fn patch(&mut self, code: &str) -> Value {
        let event = self.save(code);
        assert_eq!(event["event"], "patched", "{event}\n{}", self.report());
        event
    }

    /// Replaces a piece of the file; it must go live.
    pub(crate) fn edit(&mut self, from: &str, to: &str) -> Value {
        assert!(self.code.contains(from), "{from:?} is in the source");
        let code = self.code.replace(from, to);
        self.patch(&code)
    }

    /// The program's process id.
    pub(crate) fn pid(&self) -> u32 {
        let events = self.events();
        let ready = events.iter().rev().find(|event| event["event"] == "ready").expect("it was started");
        ready["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("it has a process id")
    }

    /// All that was said, for a failure's message.
    pub(crate) fn report(&self) -> String {
        let events: Vec<String> = self.events().iter().map(Value::to_string).collect();
        format!("{}\n{}", events.join("\n"), self.session.said())
    }
}

/// What parts of an edit say together.
fn together(part: Option<Value>, next: &Value) -> Value {
    let kind = next["event"].as_str().unwrap_or_default();
    let Some(mut part) = part.filter(|_| ["patched", "unchanged"].contains(&kind)) else {
        return next.clone();
    };
    for list in ["functions", "versioned", "notes"] {
        let more = next[list].as_array().cloned().unwrap_or_default();
        let all = part[list].as_array_mut().expect("patches have lists");
        all.extend(more.into_iter().filter(|one| !all.contains(one)).collect::<Vec<_>>());
    }
    if kind == "patched" {
        part["patch"] = next["patch"].clone();
    }
    part["more"] = false.into();
    part
}

/// The functions that a patch names.
pub(crate) fn functions(patched: &Value) -> Vec<&str> {
    patched["functions"]
        .as_array()
        .expect("patches name functions")
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// What a patch has to say besides.
pub(crate) fn notes(patched: &Value) -> Vec<&str> {
    patched["notes"].as_array().expect("patches have notes").iter().filter_map(Value::as_str).collect()
}
