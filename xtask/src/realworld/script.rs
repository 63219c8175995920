//! What is done to every program, and what is seen meanwhile.

use super::http::{Connection, free_port};
use super::program::{Program, ViewSpec};
use super::source::{Source, locked};
use super::story::{Step, Story};
use super::terminal::Terminal;
use super::view::View;
use crate::live::{Live, OUTCOMES, Session};
use crate::run::{Result, write};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the user may have to wait for what a patch changes, once it is live.
const SEEN: Duration = Duration::from_secs(10);

/// A program under edit.
struct Stage<'a> {
    program: &'a Program,
    source: Source,
    /// The terminal or the child that the session runs in.
    live: Host,
    view: View,
    pid: u64,
    /// When the process was started, as the system counts.
    birth: String,
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
}

/// Builds and starts a program, and plays the script on it.
pub(super) fn run(program: &Program, command: &Path, work: &Path, keep: bool) -> Story {
    eprintln!("══ {} {}: {}", program.name, program.version, program.kind);
    let mut story = Story {
        name: program.name.clone(),
        version: program.version.clone(),
        kind: program.kind.clone(),
        ..Story::default()
    };
    story.error = play(program, command, work, keep, &mut story).err();
    story
}

fn play(program: &Program, command: &Path, work: &Path, keep: bool, story: &mut Story) -> Result {
    let source = Source::fetch(program, work, keep)?;
    let mut stage = start(program, source, command, work, keep, story)?;
    let result = script(&mut stage, &mut story.steps);
    story.kept = stage.view.kept();
    match stage.live {
        Host::Child(live) => live.stop()?,
        Host::Terminal(session) => session.control(&["stop"])?,
    }
    result
}

/// Everything up to the first look.
fn start<'a>(
    program: &'a Program,
    source: Source,
    command: &Path,
    work: &Path,
    keep: bool,
    story: &mut Story,
) -> Result<Stage<'a>> {
    let data = work.join("data").join(&program.name);
    let _ = std::fs::remove_dir_all(&data);
    for (name, contents) in &program.data {
        write(&data.join(name), contents)?;
    }
    let port = free_port()?;
    let fill =
        |text: &String| text.replace("{port}", &port.to_string()).replace("{data}", &data.to_string_lossy());
    let own: Vec<String> = program.arguments.iter().map(fill).collect();
    let mut arguments = [locked(source.folder()), &["--quiet", "--"]].concat();
    arguments.extend(own.iter().map(String::as_str));
    let (mut live, terminal) = match &program.view {
        ViewSpec::Http { .. } => {
            (Host::Child(Box::new(Live::start(command, source.folder(), &arguments)?)), None)
        }
        ViewSpec::Terminal { .. } => {
            let session = Session::new(command, source.folder());
            let terminal = Terminal::start(&session.command(&arguments))?;
            (Host::Terminal(session), Some(terminal))
        }
    };
    let built = live.session().event("built")?;
    story.first_build_ms = built["ms"].as_f64().filter(|_| !keep);
    let pid = live.session().event("ready")?["pid"].as_u64().ok_or("no process id")?;
    story.binary = std::fs::metadata(format!("/proc/{pid}/exe")).map_or(0, |file| file.len());
    let view = match (&program.view, terminal) {
        (ViewSpec::Terminal { ready, keys }, Some(terminal)) => {
            terminal.wait_for(ready)?;
            terminal.keys(keys)?;
            View::Terminal(terminal)
        }
        (ViewSpec::Http { path }, _) => View::Http(Connection::open(port, path)?),
        _ => return Err("a terminal program has no terminal".into()),
    };
    let off = vec![false; program.edits.len()];
    let birth = birth(pid).ok_or("the program has ended")?;
    Ok(Stage { program, source, live, view, pid, birth, saved: off.clone(), live_edits: off })
}

/// The script: each edit, the last one back, rollback, an error, its cure, all back.
fn script(stage: &mut Stage<'_>, steps: &mut Vec<Step>) -> Result {
    let edits = &stage.program.edits;
    let none = vec![false; edits.len()];
    let all = vec![true; edits.len()];
    stage.wait_until_seen(Instant::now()).map_err(|error| format!("before any edit, {error}"))?;
    let mut on = none.clone();
    for (at, edit) in edits.iter().enumerate() {
        on[at] = true;
        steps.push(stage.edit(&format!("edit {}: {}", at + 1, edit.what), &on)?);
    }
    on[edits.len() - 1] = false;
    steps.push(stage.edit("the last edit taken back", &on)?);
    steps.push(stage.roll_back()?);
    steps.push(stage.compile_error()?);
    steps.push(stage.edit("the error's cure, all edits with it", &all)?);
    steps.push(stage.edit("all edits taken back", &none)?);
    Ok(())
}

impl Stage<'_> {
    /// Saves the source with these edits, and waits until they are seen.
    fn edit(&mut self, what: &str, on: &[bool]) -> Result<Step> {
        let began = Instant::now();
        self.source.save(&self.program.edits, &self.saved, on)?;
        self.saved = on.to_vec();
        let event = self.live.session().next(&OUTCOMES)?;
        if event["event"] == "patched" {
            self.live_edits = on.to_vec();
        }
        let wrong = (event["event"] != "patched").then(|| event.to_string());
        self.step(what, &event, began, wrong)
    }

    fn roll_back(&mut self) -> Result<Step> {
        let began = Instant::now();
        self.live.session().control(&["rollback", "--to", "0"])?;
        let event = self.live.session().event("rolled_back")?;
        self.live_edits.fill(false);
        self.step("rollback to the beginning", &event, began, None)
    }

    fn compile_error(&mut self) -> Result<Step> {
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
        let gone = (birth(self.pid).as_ref() != Some(&self.birth))
            .then(|| format!("process {} is not the same any more", self.pid));
        let step = Step {
            what: what.to_owned(),
            outcome: event["event"].as_str().unwrap_or_default().to_owned(),
            functions: event["functions"].as_array().map_or(0, |functions| functions.len() as u64),
            phases: event["ms"].clone(),
            notes: event["notes"].clone(),
            seen_ms: seen.as_ref().map_or(f64::NAN, |seen| seen.as_secs_f64() * 1e3),
            wrong: gone.clone().or(wrong).or(seen.err()),
        };
        eprintln!(
            "   {}: {} {}",
            step.what,
            step.outcome,
            step.wrong.as_deref().unwrap_or("– seen, same process")
        );
        gone.map_or(Ok(step), Err)
    }

    /// Looks until the user sees exactly the edits that are live; returns how long after `since`.
    fn wait_until_seen(&mut self, since: Instant) -> Result<Duration> {
        let deadline = Instant::now() + SEEN;
        loop {
            let seen = self.view.look()?;
            let missing = self.missing(&seen);
            match missing {
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
            let (there, gone) = if *on { (&edit.after, &edit.before) } else { (&edit.before, &edit.after) };
            if !seen.contains(there) || seen.contains(gone) {
                return Some(format!("{there:?} without {gone:?}"));
            }
        }
        None
    }
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
