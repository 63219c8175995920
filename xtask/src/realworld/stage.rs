//! A program under edit: started, edited, looked at.

use super::exchange::Exchange;
use super::program::{Edit, Expect, Program, ViewSpec};
use super::source::{Source, locked};
use super::story::{Step, Story};
use super::terminal::Terminal;
use super::view::{Rewrite, View};
use crate::http::{Connection, free_port};
use crate::live::{Live, OUTCOMES, Session};
use crate::run::{Result, write};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the user may have to wait for what a patch changes, once it is live.
const SEEN: Duration = Duration::from_secs(10);

/// A program under edit.
pub(super) struct Stage<'a> {
    pub(super) program: &'a Program,
    source: Source,
    /// The terminal or the child that the session runs in.
    live: Host,
    view: View,
    process: Process,
    /// For each edit: whether the source has it, and whether the process has.
    saved: Vec<bool>,
    live_edits: Vec<bool>,
}

enum Host {
    Child(Box<Live>),
    Terminal(Session),
}

impl Host {
    fn session(&mut self) -> &mut Session {
        match self {
            Self::Child(live) => live.session(),
            Self::Terminal(session) => session,
        }
    }

    /// The process, once the agent in it has called.
    fn process(&mut self) -> Result<Process> {
        let ready = self.session().event("ready")?;
        let pid = ready["pid"].as_u64().ok_or("no process id")?;
        Ok(Process { pid, birth: birth(pid).ok_or("the program has ended")? })
    }
}

/// A process, and when it was started, as the system counts.
struct Process {
    pid: u64,
    birth: String,
}

impl Process {
    fn is_there(&self) -> bool {
        birth(self.pid).as_ref() == Some(&self.birth)
    }
}

impl<'a> Stage<'a> {
    /// Everything up to the first look.
    pub(super) fn open(
        program: &'a Program,
        command: &Path,
        work: &Path,
        keep: bool,
        story: &mut Story,
    ) -> Result<Self> {
        let source = Source::fetch(program, work, keep)?;
        let data = work.join("data").join(&program.name);
        let _ = std::fs::remove_dir_all(&data);
        for (name, contents) in &program.data {
            write(&data.join(name), contents)?;
        }
        let port = program.port.map_or_else(free_port, Ok)?;
        let fill = |text: &String| {
            text.replace("{port}", &port.to_string()).replace("{data}", &data.to_string_lossy())
        };
        let own: Vec<String> = program.arguments.iter().map(fill).collect();
        let mut arguments = [locked(source.folder()), &["--quiet"]].concat();
        arguments.extend(program.cargo.iter().map(String::as_str));
        arguments.push("--");
        arguments.extend(own.iter().map(String::as_str));
        let (mut live, terminal) = match &program.view {
            ViewSpec::Terminal { .. } => {
                let session = Session::new(command, source.folder());
                let terminal = Terminal::start(&session.command(&arguments))?;
                (Host::Terminal(session), Some(terminal))
            }
            _ => (Host::Child(Box::new(Live::start(command, source.folder(), &arguments)?)), None),
        };
        let built = live.session().event("built")?;
        story.first_build_ms = built["ms"].as_f64().filter(|_| !keep);
        let process = live.process()?;
        story.binary = std::fs::metadata(format!("/proc/{}/exe", process.pid)).map_or(0, |file| file.len());
        let view = match (&program.view, terminal, &mut live) {
            (ViewSpec::Terminal { ready, keys }, Some(terminal), _) => {
                terminal.wait_for(ready)?;
                terminal.keys(keys)?;
                View::Terminal(terminal)
            }
            (ViewSpec::Http { path, .. }, ..) => {
                View::Http(Connection::open(port, path)?, Rewrite::new(program, &data)?)
            }
            (ViewSpec::Exchange { send, lines, first }, ..) => {
                View::Exchange(Exchange::open(port, send, *lines, first.as_deref())?)
            }
            (ViewSpec::Output { lines }, _, Host::Child(live)) => View::Output(live.take_lines(), *lines),
            _ => return Err("a terminal program has no terminal".into()),
        };
        let off = vec![false; program.edits.len()];
        Ok(Self { program, source, live, view, process, saved: off.clone(), live_edits: off })
    }

    /// Sees that the program is as its source says.
    pub(super) fn look_first(&mut self) -> Result {
        self.wait_until_seen(Instant::now()).map_err(|error| format!("before any edit, {error}"))?;
        Ok(())
    }

    /// What of the view has outlived the edits.
    pub(super) fn kept(&self) -> String {
        self.view.kept()
    }

    /// Ends the program.
    pub(super) fn close(self) -> Result {
        match self.live {
            Host::Child(live) => live.stop(),
            Host::Terminal(session) => session.control(&["stop"]),
        }
    }

    /// Saves the source with these edits, and waits until they are seen. If it is for one edit, then what
    /// must come of that one must come of it, else a patch.
    pub(super) fn edit(&mut self, what: &str, on: &[bool], edit: Option<&Edit>) -> Result<Step> {
        let began = Instant::now();
        self.source.save(&self.program.edits, &self.saved, on)?;
        self.saved = on.to_vec();
        let event = self.live.session().next(&OUTCOMES)?;
        let restarted = event["event"] == "restarted";
        if restarted || event["event"] == "patched" {
            self.now_live(on, restarted)?;
        }
        let expected = edit.map_or(Expect::Patched, |edit| edit.expect);
        let wrong = unexpected(&event, expected, edit.and_then(|edit| edit.says.as_deref()));
        let mut step = self.step(what, &event, began, wrong)?;
        step.not_yet = edit.and_then(|edit| edit.not_yet.clone());
        Ok(step)
    }

    /// Saves the source without an edit that did not go as it should; the script goes on with the others.
    pub(super) fn withdraw(&mut self, on: &[bool]) -> Result {
        self.source.save(&self.program.edits, &self.saved, on)?;
        self.saved = on.to_vec();
        let event = self.live.session().next(&OUTCOMES)?;
        self.now_live(on, event["event"] == "restarted")
    }

    /// Takes note of what the process has, and looks at it as a user who wants to see that.
    fn now_live(&mut self, on: &[bool], restarted: bool) -> Result {
        let edits = self.program.edits.iter();
        let on: Vec<bool> = edits.zip(on).map(|(edit, on)| *on && (restarted || !edit.unseen)).collect();
        let was = std::mem::replace(&mut self.live_edits, on);
        if restarted {
            self.process = self.live.process()?;
            return self.view.reopen(&self.program.view);
        }
        let changes = was.iter().zip(&self.live_edits).zip(&self.program.edits);
        if changes.into_iter().any(|((was, on), edit)| was != on && edit.reconnects) {
            self.view.reconnect()?;
        }
        Ok(())
    }

    /// Back to the code that the process was started with.
    pub(super) fn roll_back(&mut self) -> Result<Step> {
        let began = Instant::now();
        self.live.session().control(&["rollback", "--to", "0"])?;
        let event = self.live.session().event("rolled_back")?;
        self.now_live(&vec![false; self.live_edits.len()], false)?;
        // What began while two versions were live goes on with the one that it began with.
        if self.program.edits.iter().any(|edit| edit.reconnects) {
            self.view.reconnect()?;
        }
        self.step("rollback to the beginning", &event, began, None)
    }

    /// Text that no compiler takes.
    pub(super) fn compile_error(&mut self) -> Result<Step> {
        let began = Instant::now();
        self.source.append(&self.program.edits[0].file, "\nfn unfinished( {\n")?;
        // So that the next save writes this file again.
        self.saved.clear();
        let event = self.live.session().next(&OUTCOMES)?;
        let wrong = (event["event"] != "rejected").then(|| event.to_string());
        self.step("an edit that does not compile", &event, began, wrong)
    }

    fn step(&mut self, what: &str, event: &Value, began: Instant, wrong: Option<String>) -> Result<Step> {
        let seen = self.wait_until_seen(began);
        let gone =
            (!self.process.is_there()).then(|| format!("process {} has ended by itself", self.process.pid));
        let step = Step {
            what: what.to_owned(),
            outcome: event["event"].as_str().unwrap_or_default().to_owned(),
            functions: event["functions"].as_array().map_or(0, |functions| functions.len() as u64),
            versioned: event["versioned"].as_array().map_or(0, |functions| functions.len() as u64),
            phases: event["ms"].clone(),
            reason: event["reason"].clone(),
            notes: event["notes"].clone(),
            seen_ms: seen.as_ref().map_or(f64::NAN, |seen| seen.as_secs_f64() * 1e3),
            wrong: gone.clone().or(wrong).or(seen.err()),
            not_yet: None,
        };
        let result = step.wrong.as_deref().unwrap_or("– as it should be");
        eprintln!("   {}: {} {result}", step.what, step.outcome);
        gone.map_or(Ok(step), Err)
    }

    /// Looks until the user sees exactly the edits that are live; returns how long after `since`.
    fn wait_until_seen(&mut self, since: Instant) -> Result<Duration> {
        self.view.refresh();
        let deadline = Instant::now() + SEEN;
        loop {
            let seen = self.view.look()?;
            match self.missing(&seen) {
                None => return Ok(since.elapsed()),
                Some(missing) if Instant::now() > deadline => {
                    return Err(format!("{missing} is not what is seen, but: … {}", end_of(&seen)));
                }
                Some(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn missing(&self, seen: &str) -> Option<String> {
        for (edit, on) in self.program.edits.iter().zip(&self.live_edits) {
            if seen.contains(&edit.after) != *on {
                return Some(format!("{:?}, {on},", edit.after));
            }
            if let Some(before) = edit.before.as_ref().filter(|before| seen.contains(*before) == *on) {
                return Some(format!("{before:?}, {},", !on));
            }
        }
        None
    }
}

/// In what an outcome is not the expected one.
fn unexpected(event: &Value, expected: Expect, says: Option<&str>) -> Option<String> {
    let versioned = event["versioned"].as_array().is_some_and(|functions| !functions.is_empty());
    let right = match expected {
        Expect::Patched => event["event"] == "patched",
        Expect::Versioned => event["event"] == "patched" && versioned,
        Expect::Restarted => event["event"] == "restarted",
    };
    if !right {
        return Some(event.to_string());
    }
    let told = [&event["reason"], &event["notes"], &event["versioned"]].map(Value::to_string).join("\n");
    let unsaid = says.filter(|says| !told.contains(says))?;
    Some(format!("{unsaid:?} is not said: {event}"))
}

/// The last lines of what is seen.
fn end_of(seen: &str) -> String {
    let lines: Vec<&str> = seen.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}

/// When a process was started, in clock ticks: a process id that was given again has another.
fn birth(pid: u64) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(ToString::to_string))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_outcome_is_right_only_if_it_says_why() {
        let restarted = json!({ "event": "restarted", "reason": "State: 24 → 32 bytes" });
        assert_eq!(unexpected(&restarted, Expect::Restarted, Some("State")), None);
        assert!(unexpected(&restarted, Expect::Restarted, Some("Other")).is_some());
        assert!(unexpected(&restarted, Expect::Patched, None).is_some());
        let patched = json!({ "event": "patched", "versioned": ["a::b"] });
        assert_eq!(unexpected(&patched, Expect::Versioned, Some("b")), None);
        assert_eq!(unexpected(&patched, Expect::Patched, None), None);
        let plain = json!({ "event": "patched", "versioned": [] });
        assert!(unexpected(&plain, Expect::Versioned, None).is_some());
    }
}
