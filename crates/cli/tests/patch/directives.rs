//! From a fixture's text to what it says. README.md describes the language.

use crate::builds::Build;
use crate::fixture::{Action, At, Check, Fixture, Kind, Library, Pending, Saving, Step};
use crate::sources::Piece;

/// Between the two halves of a directive: no Rust has it.
const BETWEEN: &str = "==>";

/// Where lines without a directive go.
enum Open {
    /// A file of the base, maybe a region of it.
    Base { path: String, pieces: Vec<Piece>, region: Option<String> },
    /// What a step puts into a region.
    Region { name: String, text: String },
    /// A file that a step brings.
    File { path: String, text: String },
    /// Nowhere: only blank lines may come.
    Nothing,
}

struct Parser {
    fixture: Fixture,
    open: Open,
    line: usize,
}

/// Reads a fixture. An error names the file and the line.
pub(crate) fn parse(path: &str, text: &str) -> Result<Fixture, String> {
    let fixture = Fixture { path: path.to_owned(), ..Fixture::default() };
    let open = Open::Base { path: "src/code.rs".to_owned(), pieces: Vec::new(), region: None };
    let mut parser = Parser { fixture, open, line: 0 };
    for (index, line) in text.lines().enumerate() {
        parser.line = index + 1;
        parser.take(line).map_err(|error| format!("{path}:{}: {error}", index + 1))?;
    }
    parser.close().map_err(|error| format!("{path}: at its end: {error}"))?;
    if parser.fixture.steps.is_empty() {
        return Err(format!("{path} has no step"));
    }
    Ok(parser.fixture)
}

impl Parser {
    fn take(&mut self, line: &str) -> Result<(), String> {
        match line.trim_start().strip_prefix("//#") {
            None => self.text(line),
            Some(directive) => {
                let (name, value) = directive.split_once(':').unwrap_or((directive, ""));
                self.directive(name.trim(), value.trim())
            }
        }
    }

    /// A line that is no directive.
    fn text(&mut self, line: &str) -> Result<(), String> {
        let text = match &mut self.open {
            Open::Base { pieces, region, .. } => {
                if pieces.last().is_none_or(|last| last.region != *region) {
                    pieces.push(Piece { region: region.clone(), text: String::new() });
                }
                pieces.last_mut().map(|last| &mut last.text)
            }
            Open::Region { text, .. } | Open::File { text, .. } => Some(text),
            Open::Nothing => None,
        };
        match text {
            Some(text) => line_to(text, line),
            None if line.trim().is_empty() => {}
            None => return Err("text that belongs to no file".to_owned()),
        }
        Ok(())
    }

    fn directive(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            // A remark.
            "" => Ok(()),
            "file" | "region" | "end" => self.part(name, value),
            "step" => self.step(value),
            "says" | "ask" | "said" | "distinct" => {
                let it = check(name, value)?;
                let at = At { line: self.line, it };
                match self.fixture.steps.last_mut() {
                    Some(step) => step.checks.push(at),
                    None => self.fixture.checks.push(at),
                }
                Ok(())
            }
            "edit" | "delete" | "move" | "save" | "soon" | "rollback" => self.act(action(name, value)?),
            "live" | "note" | "versioned" | "unchanged" | "rejected" | "restart" => self.outcome(name, value),
            _ => self.setting(name, value),
        }
    }

    /// What begins or ends a piece of text.
    fn part(&mut self, name: &str, value: &str) -> Result<(), String> {
        let within = !self.fixture.steps.is_empty();
        match (name, &mut self.open) {
            ("region", Open::Base { region: region @ None, pieces, .. }) => {
                *region = Some(value.to_owned());
                pieces.push(Piece { region: region.clone(), text: String::new() });
            }
            ("end", Open::Base { region, .. }) if region.is_some() => *region = None,
            ("end", Open::Region { .. } | Open::File { .. }) => self.close()?,
            ("region", Open::Nothing) if within => {
                self.open = Open::Region { name: value.to_owned(), text: String::new() };
            }
            ("file", Open::Nothing) if within => {
                self.open = Open::File { path: value.to_owned(), text: String::new() };
            }
            ("file", Open::Base { .. }) => {
                self.close()?;
                self.open = Open::Base { path: value.to_owned(), pieces: Vec::new(), region: None };
            }
            _ => return Err(format!("`{name}` is out of place")),
        }
        Ok(())
    }

    /// Ends what is open, and keeps it.
    fn close(&mut self) -> Result<(), String> {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Base { region: Some(region), .. } => Err(format!("region `{region}` has no end")),
            Open::Base { path, pieces, .. } => {
                // Comments before the first `file:` are no file.
                if pieces.iter().any(|piece| !is_comment(&piece.text)) {
                    self.fixture.sources.put(&path, pieces);
                }
                Ok(())
            }
            Open::Region { name, text } => self.act(Action::Region { name, text }),
            Open::File { path, text } => self.act(Action::File { path, text }),
            Open::Nothing => Ok(()),
        }
    }

    fn step(&mut self, title: &str) -> Result<(), String> {
        if matches!(self.open, Open::Region { .. } | Open::File { .. }) {
            return Err("the text before it has no end".to_owned());
        }
        self.close()?;
        let (line, title) = (self.line, title.to_owned());
        let step = Step { line, title, actions: Vec::new(), outcome: Default::default(), checks: Vec::new() };
        self.fixture.steps.push(step);
        Ok(())
    }

    fn last(&mut self) -> Result<&mut Step, String> {
        self.fixture.steps.last_mut().ok_or_else(|| "it belongs in a step".to_owned())
    }

    fn act(&mut self, it: Action) -> Result<(), String> {
        let line = self.line;
        let step = self.last()?;
        if !step.checks.is_empty() {
            return Err("edits come before what is expected of them".to_owned());
        }
        if matches!(it, Action::Rollback { .. }) {
            step.outcome.kind = Kind::RolledBack;
        }
        step.actions.push(At { line, it });
        Ok(())
    }

    fn outcome(&mut self, name: &str, value: &str) -> Result<(), String> {
        let outcome = &mut self.last()?.outcome;
        let value = value.to_owned();
        let kind = match name {
            "note" => {
                outcome.notes.push(value);
                return Ok(());
            }
            "versioned" => {
                outcome.versioned.extend(list(&value));
                return Ok(());
            }
            "live" => Kind::Live(list(&value)),
            "unchanged" => Kind::Unchanged,
            "rejected" => Kind::Rejected(list(&value)),
            _ => Kind::Restart(list(&value)),
        };
        if !matches!(outcome.kind, Kind::Unsaid) {
            return Err("a step has one outcome".to_owned());
        }
        outcome.kind = kind;
        Ok(())
    }

    /// What holds for the whole fixture.
    fn setting(&mut self, name: &str, value: &str) -> Result<(), String> {
        if !self.fixture.steps.is_empty() {
            return Err(format!("no directive of a step: `{name}`"));
        }
        let fixture = &mut self.fixture;
        match name {
            "builds" => {
                let build = |name: &str| Build::of(name).ok_or_else(|| format!("no build: `{name}`"));
                fixture.builds = value.split_whitespace().map(build).collect::<Result<_, _>>()?;
            }
            "images" => fixture.images_only = true,
            "pending" => fixture.pending.push(Pending { build: None, reason: value.to_owned() }),
            "cargo" => fixture.cargo.extend(value.split_whitespace().map(str::to_owned)),
            "manifest" => line_to(&mut fixture.manifest, value),
            "config" => line_to(&mut fixture.config, value),
            "library" => fixture.libraries.push(library(value)?),
            "main" => {
                let (path, code) = value.split_once(' ').ok_or("a main has a path and a `use` or `mod`")?;
                fixture.mains.push((path.to_owned(), code.trim().to_owned()));
            }
            _ => match name.strip_prefix("pending@").and_then(Build::of) {
                Some(build) => {
                    fixture.pending.push(Pending { build: Some(build), reason: value.to_owned() });
                }
                None => return Err(format!("no directive: `{name}`")),
            },
        }
        Ok(())
    }
}

fn is_comment(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with("//"))
}

fn line_to(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn list(value: &str) -> Vec<String> {
    value.split(", ").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn halves(value: &str) -> Result<(String, String), String> {
    let (old, new) = value.split_once(BETWEEN).ok_or_else(|| format!("it has no `{BETWEEN}`"))?;
    Ok((old.trim().to_owned(), new.trim().to_owned()))
}

fn check(name: &str, value: &str) -> Result<Check, String> {
    Ok(match name {
        "says" => Check::Answer { question: "?".to_owned(), answer: value.to_owned() },
        "ask" => {
            let (question, answer) = halves(value)?;
            Check::Answer { question, answer }
        }
        "said" => Check::Said(value.to_owned()),
        _ => Check::Distinct(value.split_whitespace().map(|name| name.replace('$', "")).collect()),
    })
}

fn action(name: &str, value: &str) -> Result<Action, String> {
    Ok(match name {
        "edit" => {
            let (old, new) = halves(value)?;
            Action::Edit { old, new }
        }
        "delete" => Action::Delete { path: value.to_owned() },
        "move" => {
            let (from, to) = halves(value)?;
            Action::Move { from, to }
        }
        "soon" => Action::Soon,
        "rollback" => Action::Rollback { to: value.parse().map_err(|_| "a rollback has a patch's number")? },
        _ => Action::Save(match value {
            "in place" => Saving::InPlace,
            "aside" => Saving::Aside,
            "anew" => Saving::Anew,
            "in halves" => Saving::Halves,
            _ => return Err(format!("no way to save: `{value}`")),
        }),
    })
}

/// `name`, `name uses other another`, with `(proc-macro)` or `(outside)` behind it.
fn library(value: &str) -> Result<Library, String> {
    let mut words: Vec<&str> = value.split_whitespace().collect();
    let mut flag = |flag: &str| {
        let before = words.len();
        words.retain(|word| *word != flag);
        words.len() < before
    };
    let (proc_macro, outside) = (flag("(proc-macro)"), flag("(outside)"));
    let (name, uses) = match words.as_slice() {
        [name] => (name, Vec::new()),
        [name, "uses", uses @ ..] => (name, uses.iter().map(|&name| name.to_owned()).collect()),
        _ => return Err("a library has a name, and maybe `uses` with others".to_owned()),
    };
    Ok(Library { name: (*name).to_owned(), uses, proc_macro, outside })
}
