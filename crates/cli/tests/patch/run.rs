//! Doing what a fixture says.

use crate::answer::Names;
use crate::builds::Build;
use crate::fixture::{Action, At, Check, Fixture, Kind, Outcome, Saving, Step};
use crate::live::{Live, functions, notes, package_with};
use crate::project::{Project, manifest};
use crate::session::livepatch;
use crate::sources::Sources;
use serde_json::Value;
use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a fixture does not pass.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whether the program was as it should be before it was edited.
    pub(crate) in_a_step: bool,
    /// Where, and what is wrong.
    pub(crate) text: String,
}

/// Runs a fixture.
pub(crate) fn run(fixture: &Fixture, build: Build) -> Result<(), Failure> {
    let line = Cell::new(1);
    let in_a_step = Cell::new(false);
    let done = catch_unwind(AssertUnwindSafe(|| {
        let project = project(fixture, build);
        let arguments: Vec<&str> =
            build.arguments().iter().copied().chain(fixture.cargo.iter().map(String::as_str)).collect();
        let live = Live::start_at(project, &arguments, "Cargo.toml");
        let mut running =
            Running { live, sources: fixture.sources.clone(), names: Names::default(), build, line: &line };
        running.checks(&fixture.checks)?;
        in_a_step.set(true);
        fixture
            .steps
            .iter()
            .try_for_each(|step| running.step(step).map_err(|e| format!("{}: {e}", step.title)))
    }));
    let done = done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned())).unwrap_or_default())
    });
    let text = |error| format!("{}:{}: {error}", fixture.path, line.get());
    done.map_err(|error| Failure { in_a_step: in_a_step.get(), text: text(error) })
}

/// Writes the fixture's base.
fn project(fixture: &Fixture, build: Build) -> Project {
    let mut more = String::new();
    let members: Vec<&str> =
        fixture.libraries.iter().filter(|library| !library.outside).map(|library| &*library.name).collect();
    if !fixture.libraries.is_empty() {
        let outside = fixture.libraries.iter().filter(|library| library.outside);
        let outside: Vec<&str> = outside.map(|library| &*library.name).collect();
        writeln!(more, "[workspace]\nmembers = {members:?}\nexclude = {outside:?}\n[dependencies]").unwrap();
    }
    for library in &fixture.libraries {
        writeln!(more, "{0} = {{ path = '{0}' }}", library.name).unwrap();
    }
    let project = package_with(&(more + &fixture.manifest + build.manifest()), "");
    for library in &fixture.libraries {
        let mut more = if library.proc_macro { "[lib]\nproc-macro = true\n" } else { "" }.to_owned();
        more.push_str("[dependencies]\n");
        library.uses.iter().for_each(|name| writeln!(more, "{name} = {{ path = '../{name}' }}").unwrap());
        project.write(&format!("{}/Cargo.toml", library.name), &manifest(&library.name, &more));
    }
    if !(fixture.config.is_empty() && build.config().is_empty()) {
        project.write(".cargo/config.toml", &format!("{}{}", fixture.config, build.config()));
    }
    let main = fs::read_to_string(project.file("src/main.rs")).unwrap();
    for (path, code) in &fixture.mains {
        project.write(path, &main.replacen("mod code;", code, 1));
    }
    for (path, text) in fixture.sources.all() {
        project.write(path, &text);
    }
    project
}

/// A fixture that runs.
struct Running<'a> {
    live: Live,
    sources: Sources,
    names: Names,
    build: Build,
    /// The line that is being done, for a failure's message.
    line: &'a Cell<usize>,
}

impl Running<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.line.set(step.line);
        let pid = self.live.pid();
        let saves = self.actions(&step.actions)?;
        self.line.set(step.line);
        if matches!(step.outcome.kind, Kind::RolledBack) {
            return self.checks(&step.checks);
        }
        // Of several saves, the first may or may not go live on its own.
        for left in (0..saves).rev() {
            let event = self.live.outcome();
            let done = self.outcome(&step.outcome, pid, &event).and_then(|()| self.checks(&step.checks));
            if done.is_ok() || left == 0 {
                return done;
            }
        }
        Err("it saves nothing".to_owned())
    }

    /// Edits and saves. Returns how often something was saved.
    fn actions(&mut self, actions: &[At<Action>]) -> Result<u32, String> {
        let (mut edited, mut saving, mut saves) = (Vec::new(), Saving::InPlace, 0);
        for At { line, it } in actions {
            self.line.set(*line);
            match it {
                Action::Edit { old, new } => edited.push(self.sources.edit(old, new)?),
                Action::Region { name, text } => edited.push(self.sources.replace(name, text)?),
                Action::File { path, text } => {
                    let piece = crate::sources::Piece { region: None, text: text.clone() };
                    self.sources.put(path, vec![piece]);
                    edited.push(path.clone());
                }
                Action::Delete { path } => {
                    self.sources.remove(path)?;
                    fs::remove_file(self.live.project.file(path)).map_err(|error| error.to_string())?;
                    saves = saves.max(1);
                }
                Action::Move { from, to } => {
                    self.sources.rename(from, to)?;
                    let to = self.live.project.file(to);
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    fs::rename(self.live.project.file(from), to).map_err(|error| error.to_string())?;
                    saves = saves.max(1);
                }
                Action::Save(way) => saving = *way,
                Action::Soon => {
                    self.save(&mut edited, saving);
                    saves += 1;
                }
                Action::Rollback { to } => {
                    let output = livepatch(&self.live.project, &["rollback", "--to", &to.to_string()]);
                    if !output.status.success() {
                        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
                    }
                }
            }
        }
        if !edited.is_empty() {
            self.save(&mut edited, saving);
            saves += 1;
        }
        Ok(saves)
    }

    fn save(&self, edited: &mut Vec<String>, saving: Saving) {
        edited.dedup();
        for path in edited.drain(..) {
            let text = self.sources.text(&path);
            let project = &self.live.project;
            match saving {
                Saving::InPlace => project.write(&path, &text),
                Saving::Aside => project.write_over(&path, &text),
                Saving::Anew => {
                    fs::remove_file(project.file(&path)).unwrap();
                    project.write(&path, &text);
                }
                Saving::Halves => {
                    let mut file = File::create(project.file(&path)).unwrap();
                    let (first, second) = text.as_bytes().split_at(text.len() / 2);
                    file.write_all(first).unwrap();
                    file.flush().unwrap();
                    file.write_all(second).unwrap();
                }
            }
        }
    }

    /// Compares what came of a step with what is expected.
    fn outcome(&mut self, expected: &Outcome, pid: u32, event: &Value) -> Result<(), String> {
        let kind = event["event"].as_str().unwrap_or_default();
        let because = |texts: &[String]| {
            let told = if kind == "restarted" { event["reason"].to_string() } else { event.to_string() };
            match texts.iter().find(|text| !told.contains(text.as_str())) {
                Some(text) => Err(format!("`{text}` is not in the reason")),
                None => Ok(()),
            }
        };
        let fits = match (&expected.kind, kind) {
            (Kind::Live(_) | Kind::Unsaid, "patched") => self.patched(expected, event),
            (Kind::Unchanged, "unchanged") => notes_are(expected, self.build, event),
            (Kind::Rejected(reason), "rejected") => because(reason),
            (Kind::Restart(reason), "restarted") => because(reason),
            (kind, _) => Err(format!("expected {kind:?}")),
        };
        fits.map_err(|error| format!("{error}:\n{event}\n{}", self.live.report()))?;
        if kind == "restarted" {
            self.live.hang_up();
        }
        if (self.live.pid() == pid) == (kind == "restarted") {
            return Err(format!("another process, or the same:\n{}", self.live.report()));
        }
        Ok(())
    }

    /// Compares what a patch says of itself.
    fn patched(&self, expected: &Outcome, event: &Value) -> Result<(), String> {
        // What was inlined is patched with its callers.
        if let (Kind::Live(names), Build::Dev) = (&expected.kind, self.build)
            && !names.is_empty()
        {
            let mut patched = functions(event);
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            patched.sort_unstable();
            names.sort_unstable();
            if patched != names {
                return Err(format!("patched {patched:?}, not {names:?}"));
            }
        }
        notes_are(expected, self.build, event)?;
        let versioned = event["versioned"].to_string();
        match expected.versioned.iter().find(|name| !versioned.contains(name.as_str())) {
            Some(name) => Err(format!("`{name}` is not versioned: {event}")),
            None => Ok(()),
        }
    }

    fn checks(&mut self, checks: &[At<Check>]) -> Result<(), String> {
        for At { line, it } in checks {
            self.line.set(*line);
            match it {
                Check::Answer { question, answer } => {
                    let got = self.live.ask(question);
                    if !self.names.matches(answer, got.trim_end()) {
                        let expected = self.names.filled(answer);
                        return Err(format!("answered `{got}`, not `{expected}`\n{}", self.live.report()));
                    }
                }
                Check::Said(text) => self.live.session.wait_until_said(text),
                Check::Distinct(names) => {
                    let mut values: Vec<_> = names.iter().map(|name| self.names.value(name)).collect();
                    values.sort_unstable();
                    let count = values.len();
                    values.dedup();
                    if values.len() != count || values.contains(&None) {
                        return Err(format!("not distinct: {values:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Compares notes with what is expected: no more and no fewer.
fn notes_are(expected: &Outcome, build: Build, event: &Value) -> Result<(), String> {
    let of_the_build = |note: &&str| build.note().is_some_and(|text| note.contains(text));
    let notes: Vec<&str> = notes(event).into_iter().filter(|note| !of_the_build(note)).collect();
    let fits = |note: &&str| expected.notes.iter().any(|part| note.contains(part.as_str()));
    if notes.len() == expected.notes.len() && notes.iter().all(fits) {
        return Ok(());
    }
    Err(format!("notes {notes:?}, not {:?}", expected.notes))
}
