//! Driving a `cargo livepatch run` from outside: its events, its program's output, its end.

use crate::run::{Result, neutral};
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a build may take before something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// What an edit can end in.
pub(crate) const OUTCOMES: [&str; 4] = ["patched", "unchanged", "rejected", "restarted"];

/// A session, whoever has started it: what it says, and what it can be told.
pub(crate) struct Session {
    command: PathBuf,
    project: PathBuf,
    events: PathBuf,
    /// How many bytes of the events were read.
    read: u64,
    /// Events that were read and not passed on.
    unheard: VecDeque<String>,
    /// The command's process, if it is a child of this one.
    server: Option<u32>,
}

impl Session {
    /// The session that is about to start in a project's folder.
    pub(crate) fn new(command: &Path, project: &Path) -> Self {
        let events = project.join("events.jsonl");
        let _ = std::fs::remove_file(&events);
        Self {
            command: command.to_owned(),
            project: project.to_owned(),
            events,
            read: 0,
            unheard: VecDeque::new(),
            server: None,
        }
    }

    /// The command that starts it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command.args(["livepatch", "run", "--events"]).arg(&self.events).args(arguments);
        neutral(command.current_dir(&self.project));
        command
    }

    /// Waits for the next event of a kind; others before it are passed over.
    pub(crate) fn event(&mut self, kind: &str) -> Result<Value> {
        let event = self.next(&[&[kind], ["rejected", "restarted"].as_slice()].concat())?;
        if event["event"] == kind { Ok(event) } else { Err(format!("waiting for `{kind}`: {event}")) }
    }

    /// Waits for the next event of one of these kinds. Of an edit that goes live in parts, the last part is
    /// waited for.
    pub(crate) fn next(&mut self, kinds: &[&str]) -> Result<Value> {
        let mut part = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Before the events are read: it writes none after its end.
            let ended = self.server.is_some_and(has_ended);
            self.hear().map_err(|error| format!("{}: {error}", self.events.display()))?;
            while let Some(line) = self.unheard.pop_front() {
                let event: Value = serde_json::from_str(&line).map_err(|e| format!("event {line:?}: {e}"))?;
                let kind = event["event"].as_str().unwrap_or_default();
                if kind == "patched" && event["more"] == true {
                    part = Some(event);
                    continue;
                }
                // What was still to come of the edit changed nothing.
                if kind == "unchanged"
                    && event["edit"].is_u64()
                    && let Some(part) = part.take()
                {
                    return Ok(part);
                }
                if kinds.contains(&kind) {
                    return Ok(event);
                }
                if kind == "exited" {
                    return Err(format!("waiting for {kinds:?}: {event}"));
                }
            }
            if ended {
                return Err(format!("waiting for {kinds:?}: the command has ended"));
            }
            if Instant::now() > deadline {
                return Err(format!("none of {kinds:?} within {PATIENCE:?}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Reads the whole lines that were written since.
    fn hear(&mut self) -> std::io::Result<()> {
        let mut file = match File::open(&self.events) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        self.unheard.extend(text.lines().map(str::to_owned));
        Ok(())
    }

    /// Runs `cargo livepatch <arguments>` on this session.
    pub(crate) fn control(&self, arguments: &[&str]) -> Result {
        let mut command = Command::new(&self.command);
        neutral(command.arg("livepatch").args(arguments).current_dir(&self.project).stdout(Stdio::null()));
        let status = command.status().map_err(|error| error.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("cargo livepatch {}: {status}", arguments.join(" ")))
        }
    }
}

/// Whether a child that was not waited for has ended.
fn has_ended(child: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with(['Z', 'X']))
}

/// A running `cargo livepatch run`, whose program's output is read.
pub(crate) struct Live {
    child: Child,
    session: Session,
    lines: Lines,
}

impl Live {
    /// Starts it in a project's folder.
    pub(crate) fn start(command: &Path, project: &Path, arguments: &[&str]) -> Result<Self> {
        Self::spawn(Session::new(command, project), arguments, Stdio::inherit())
    }

    /// The same, with what the command says in a file.
    pub(crate) fn quiet(command: &Path, project: &Path, arguments: &[&str]) -> Result<Self> {
        let log = project.join("livepatch.log");
        let log = std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        Self::spawn(Session::new(command, project), arguments, log.into())
    }

    fn spawn(mut session: Session, arguments: &[&str], stderr: Stdio) -> Result<Self> {
        let mut command = session.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", session.command.display()))?;
        session.server = Some(child.id());
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Self { child, session, lines: Lines::of(stdout) })
    }

    /// The session.
    pub(crate) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The process id of the command itself.
    pub(crate) fn server(&self) -> u32 {
        self.child.id()
    }

    /// [`Session::event`].
    pub(crate) fn event(&mut self, kind: &str) -> Result<Value> {
        self.session.event(kind)
    }

    /// [`Session::control`].
    pub(crate) fn control(&self, arguments: &[&str]) -> Result {
        self.session.control(arguments)
    }

    /// What the program prints, to be read elsewhere from now on.
    pub(crate) fn take_lines(&mut self) -> Lines {
        std::mem::replace(&mut self.lines, Lines::of(std::io::empty()))
    }

    /// What the program prints.
    pub(crate) fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// The next line that the program prints.
    pub(crate) fn line(&mut self) -> Result<String> {
        self.lines.next()
    }

    /// Forgets what the program has printed so far.
    pub(crate) fn skip_lines(&mut self) {
        self.lines.skip();
    }

    /// Stops the session and waits for its end.
    pub(crate) fn stop(mut self) -> Result {
        self.control(&["stop"])?;
        self.child.wait().map(|_| ()).map_err(|error| error.to_string())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Only after an error: a session that was stopped has been waited for.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.control(&["stop"]);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The lines that a program prints, read as they come.
pub(crate) struct Lines {
    lines: Receiver<(Instant, String)>,
}

impl Lines {
    /// Reads, in a thread, what comes out of a pipe.
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Result<String> {
        self.receive(PATIENCE).map(|(_, line)| line)
    }

    /// The next line, if it does not take too long.
    pub(crate) fn next_within(&mut self, patience: Duration) -> Result<String> {
        self.receive(patience).map(|(_, line)| line)
    }

    /// Passes over lines until one is `text`; returns when it came.
    pub(crate) fn until(&mut self, text: &str, patience: Duration) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receive(left) {
                Ok((came, line)) if line == text => return Ok(came),
                Ok(_) => {}
                Err(error) => return Err(format!("waiting for {text:?}: {error}")),
            }
        }
    }

    fn receive(&mut self, patience: Duration) -> Result<(Instant, String)> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("the program has printed nothing for {patience:?}"))
            }
            Err(RecvTimeoutError::Disconnected) => Err("the program ended".into()),
        }
    }

    /// Forgets what has come so far.
    pub(crate) fn skip(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }
}
