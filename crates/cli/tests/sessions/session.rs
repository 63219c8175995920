//! A running `cargo livepatch run`, heard through its events.

use crate::project::{Project, clean};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Environment variable: the way that patches take, for a run of all tests with another one than the usual.
pub(crate) const VIA_VARIABLE: &str = "TEST_VIA";

/// How long what was said is waited for when the command has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) struct Session {
    pub(crate) child: Child,
    events: PathBuf,
    seen: usize,
    said: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
}

pub(crate) fn command(project: &Project, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-livepatch"));
    clean(&mut command);
    command.arg("livepatch").args(arguments).current_dir(project.path());
    command
}

pub(crate) fn livepatch(project: &Project, arguments: &[&str]) -> Output {
    command(project, arguments).output().expect("the command can be run")
}

impl Session {
    pub(crate) fn start(project: &Project) -> Self {
        Self::start_with(project, &[])
    }

    /// Starts a session and waits until edits go live.
    pub(crate) fn start_with(project: &Project, arguments: &[&str]) -> Self {
        let mut session = Self::start_only(project, arguments);
        session.wait_for("ready");
        session
    }

    pub(crate) fn start_only(project: &Project, arguments: &[&str]) -> Self {
        Self::start_command(project, &[&["run"], arguments].concat())
    }

    /// Starts a command that holds a session; the first argument says which.
    pub(crate) fn start_command(project: &Project, arguments: &[&str]) -> Self {
        let events = project.file("events");
        let _ = std::fs::remove_file(&events);
        let (first, rest) = arguments.split_first().expect("a command");
        let via = std::env::var(VIA_VARIABLE).ok().filter(|_| *first == "run" && !rest.contains(&"--via"));
        let via: Vec<&str> = via.iter().flat_map(|via| ["--via", via]).collect();
        let mut command = command(project, &[&[*first, "--events", "events"], &*via, rest].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command can be run");
        let said = Arc::new(Mutex::new(String::new()));
        let readers = [
            collect(child.stdout.take().expect("it is piped"), said.clone()),
            collect(child.stderr.take().expect("it is piped"), said.clone()),
        ];
        Self { child, events, seen: 0, said, readers }
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.events).unwrap_or_default();
        // A long line may be seen while it is being written.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("events are JSON")).collect()
    }

    /// The next event of that kind, after those that were waited for.
    pub(crate) fn wait_for(&mut self, kind: &str) -> Value {
        let since = Instant::now();
        let mut ended = false;
        loop {
            let events = self.events();
            if let Some(at) = events.iter().skip(self.seen).position(|event| event["event"] == kind) {
                let at = self.seen + at;
                self.seen = at + 1;
                return events[at].clone();
            }
            // What is written last is read once more.
            assert!(!ended, "it ended without an event {kind}:\n{}", self.report());
            ended = matches!(self.child.try_wait(), Ok(Some(_)));
            assert!(since.elapsed() < PATIENCE, "no event {kind}:\n{}", self.report());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The kinds of the events that were not waited for, after a while of silence.
    pub(crate) fn rest(&mut self, silence: Duration) -> Vec<String> {
        std::thread::sleep(silence);
        let events = self.events();
        let rest =
            events.iter().skip(self.seen).map(|event| event["event"].as_str().unwrap_or("").to_owned());
        let rest = rest.collect();
        self.seen = events.len();
        rest
    }

    /// Waits until the program or the command has said something.
    pub(crate) fn wait_until_said(&self, what: &str) {
        let since = Instant::now();
        while !self.said().contains(what) {
            assert!(since.elapsed() < PATIENCE, "not said: {what}\n{}", self.report());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                // What it said last may still be read. Who outlives it may hold the pipes open.
                let ended = Instant::now();
                while ended.elapsed() < LAST_WORDS && !self.readers.iter().all(JoinHandle::is_finished) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it does not end:\n{}", self.report());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill can be run").success());
    }

    fn report(&self) -> String {
        let mut report = String::new();
        self.events()
            .iter()
            .for_each(|event| writeln!(report, "{event}").expect("strings can be written to"));
        report + &self.said()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It ends the program as well.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ = self.child.wait();
        }
    }
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            into.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    })
}
