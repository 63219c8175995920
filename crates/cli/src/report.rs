//! Telling people, and files, what happens.

use crate::arguments::MessageFormat;
use crate::crash::Function;
use crate::events::{self, Event, EventFile, Steps};
use crate::screen::Screen;
use livepatch_build::rebuild::Diagnostic;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::SystemTime;

/// More functions than this are counted, not named.
const NAMED_FUNCTIONS: usize = 4;

/// Where events go.
#[derive(Debug)]
pub struct Reporter {
    format: MessageFormat,
    colour: bool,
    file: Option<EventFile>,
    screen: Screen,
    /// Paths are shown from here.
    base: std::path::PathBuf,
}

impl Reporter {
    /// A reporter to standard error, and to a file.
    pub fn new(format: MessageFormat, file: Option<EventFile>) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = format == MessageFormat::Human && std::io::stderr().is_terminal() && !no_colour;
        let base = std::env::current_dir().unwrap_or_default();
        Self { format, colour, file, screen: Screen::default(), base }
    }

    /// Whether people see colours.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Tells an event.
    pub fn event(&mut self, event: &Event) {
        let line = event.to_line(SystemTime::now());
        if let Some(file) = &mut self.file
            && let Err(error) = file.append(&line)
        {
            self.file = None;
            self.say("warning", &format!("events are not written any more: {error}"));
        }
        match self.format {
            MessageFormat::Json => write(&line),
            MessageFormat::Human if matches!(event, Event::Exited { .. }) => self.screen.release(),
            MessageFormat::Human => {
                if let Some((kind, text)) = self.human(event) {
                    self.say(kind, &text);
                }
            }
        }
    }

    /// Tells something that is not an event; not told where events are read by a program.
    pub fn note(&self, text: &str) {
        self.say("note", text);
    }

    /// Warns.
    pub fn warning(&self, text: &str) {
        self.say("warning", text);
    }

    /// Shows what the compiler says, as it says it.
    pub fn diagnostics<'a>(&self, diagnostics: impl IntoIterator<Item = &'a Diagnostic>) {
        if self.format == MessageFormat::Human {
            for diagnostic in diagnostics {
                let end = if diagnostic.rendered.ends_with("\n\n") { "" } else { "\n" };
                self.screen.show(&format!("{}{end}", diagnostic.rendered), &diagnostic.message);
            }
        }
    }

    fn say(&self, kind: &str, text: &str) {
        if self.format == MessageFormat::Human {
            let first = text.lines().next().unwrap_or_default();
            self.screen.show(&self.line(kind, text), &format!("{kind} {first}"));
        }
    }

    /// Aligned as cargo aligns its own.
    fn line(&self, kind: &str, text: &str) -> String {
        if !self.colour {
            return format!("{kind:>12} {text}\n");
        }
        let colour = match kind {
            "crashed" => "\x1b[1;31m",
            "warning" | "rejected" | "restarted" => "\x1b[1;33m",
            "note" | "unchanged" | "complete" => "\x1b[1;36m",
            _ => "\x1b[1;32m",
        };
        format!("{colour}{kind:>12}\x1b[0m {text}\n")
    }

    fn human(&self, event: &Event) -> Option<(&'static str, String)> {
        Some(match event {
            Event::Built { .. } | Event::Started { .. } | Event::Exited { .. } => return None,
            Event::Edit { .. } => return None,
            Event::Attached { pid, loaded, thread, place, ms } => {
                let what =
                    if *loaded { "has loaded the agent" } else { "has called the agent that was there" };
                let text = format!("to process {pid}: thread {thread}, which {place}, {what} ({ms:.1} ms)");
                ("attached", text)
            }
            Event::Detached { pid, patch: 0 } => ("detached", format!("process {pid} goes on by itself")),
            Event::Detached { pid, patch } => {
                ("detached", format!("process {pid} goes on by itself, with patch {patch}"))
            }
            Event::Ready { pid } => ("ready", format!("process {pid}: saved edits go live")),
            Event::Patched { patch, functions, versioned, notes, ms, more, .. } => {
                let mut text = format!("{} ({})", functions_text(*patch, functions), steps_text(ms));
                for function in versioned {
                    let _ = write!(text, "\n{:>12} old values keep the old {function}", "");
                }
                if *more {
                    let _ = write!(text, "\n{:>12} its dependents are still being compiled", "");
                }
                ("patched", text + &notes_text(notes))
            }
            Event::Joined { libraries, functions, patch } => {
                ("joined", format!("{}: {}", libraries.join(", "), functions_text(*patch, functions)))
            }
            Event::Unchanged { edit: None, notes } => {
                ("unchanged", format!("the edit changes nothing that runs{}", notes_text(notes)))
            }
            Event::Unchanged { edit: Some(patch), notes } => {
                ("complete", format!("#{patch}: its dependents stay as they are{}", notes_text(notes)))
            }
            Event::Rejected { reason, .. } => {
                ("rejected", format!("{reason}; the program goes on as it was"))
            }
            Event::Restarted { reason, pid } => ("restarted", format!("{reason} (process {pid})")),
            Event::Crashed { pid, parent, signal, function, patch, called_from } => {
                let mut text = format!("({signal})");
                if let Some(function) = function {
                    let _ = write!(text, " in {}", function_text(function, *patch));
                }
                if let Some(Function { function, patch }) = called_from {
                    let comma = if text.ends_with(')') { "" } else { "," };
                    let _ = write!(text, "{comma} called from {}", function_text(function, *patch));
                }
                if parent.is_some() {
                    let _ = write!(text, " (the forked process {pid})");
                }
                ("crashed", text)
            }
            Event::RolledBack { to: 0 } => ("rolled back", "to the code the program was started with".into()),
            Event::RolledBack { to } => ("rolled back", format!("to patch {to}")),
        })
    }

    /// A path as people know it.
    pub fn path<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.base).unwrap_or(path)
    }
}

/// Notes, each in a line of its own below what they belong to.
fn notes_text(notes: &[String]) -> String {
    notes.iter().fold(String::new(), |mut text, note| {
        let _ = write!(text, "\n{:>12} {note}", "");
        text
    })
}

fn function_text(function: &str, patch: Option<u32>) -> String {
    let patch = patch.map(|patch| format!(", patch {patch}")).unwrap_or_default();
    format!("`{function}`{patch}")
}

fn functions_text(patch: u32, functions: &[String]) -> String {
    let named = functions.len().min(NAMED_FUNCTIONS);
    let mut text = functions[..named].join(", ");
    if functions.len() > named {
        let _ = write!(text, " and {} more", functions.len() - named);
    }
    if text.is_empty() { format!("#{patch}") } else { format!("#{patch} {text}") }
}

fn steps_text(steps: &Steps) -> String {
    let Steps { rustc, diff, resolve, write, apply, total } = steps;
    format!(
        "{total:.0} ms: rustc {rustc:.0}, diff {diff:.1}, resolve {resolve:.1}, write {write:.1}, apply {apply:.1}"
    )
}

/// A closed standard error is no reason to end.
pub(crate) fn write(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The same for programs: without colours.
pub fn plain(diagnostics: &[Diagnostic]) -> Vec<events::Diagnostic> {
    let plain = |diagnostic: &Diagnostic| events::Diagnostic {
        level: diagnostic.level.clone(),
        message: diagnostic.message.clone(),
        file: diagnostic.file.clone(),
        line: diagnostic.line,
        rendered: without_colours(&diagnostic.rendered),
    };
    diagnostics.iter().map(plain).collect()
}

/// Takes out the escape sequences that rustc writes: `ESC [ … letter`.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |end| end + 1);
        plain.push_str(&part[end..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter(colour: bool) -> Reporter {
        let (format, screen) = (MessageFormat::Human, Screen::default());
        Reporter { format, colour, file: None, screen, base: "/p".into() }
    }

    #[test]
    fn one_line_for_a_patch() {
        let event = Event::Patched {
            patch: 3,
            edit: 3,
            more: false,
            functions: ["a", "b", "c", "d", "e"].map(String::from).to_vec(),
            versioned: vec![],
            notes: vec!["the live value of N is kept".into()],
            ms: Steps { rustc: 71.4, diff: 1.26, total: 80.0, ..Steps::default() },
        };
        let reporter = reporter(false);
        let (kind, text) = reporter.human(&event).unwrap();
        assert_eq!(
            reporter.line(kind, &text),
            "     patched #3 a, b, c, d and 1 more (80 ms: rustc 71, diff 1.3, resolve 0.0, write 0.0, apply 0.0)\n\
             \x20            the live value of N is kept\n"
        );
    }

    #[test]
    fn a_crash_is_told_with_what_is_known() {
        let text = |function: Option<&str>, patch, called_from: Option<&str>| {
            let function = function.map(str::to_owned);
            let called_from = called_from.map(|name| Function { function: name.into(), patch: Some(3) });
            let event = Event::Crashed {
                pid: 1,
                parent: None,
                signal: "SIGSEGV".into(),
                function,
                patch,
                called_from,
            };
            reporter(false).human(&event).map(|(kind, text)| format!("{kind} {text}")).unwrap()
        };
        assert_eq!(text(Some("render"), Some(3), None), "crashed (SIGSEGV) in `render`, patch 3");
        assert_eq!(text(None, None, Some("f")), "crashed (SIGSEGV) called from `f`, patch 3");
        assert_eq!(text(Some("g"), None, Some("f")), "crashed (SIGSEGV) in `g`, called from `f`, patch 3");
        assert_eq!(text(None, None, None), "crashed (SIGSEGV)");
    }

    #[test]
    fn colours_only_where_they_are_seen() {
        assert!(!reporter(false).line("note", "x").contains('\x1b'));
        assert!(reporter(true).line("note", "x").contains('\x1b'));
        assert_eq!(without_colours("\x1b[1m\x1b[38;5;9merror\x1b[0m: x"), "error: x");
        assert_eq!(reporter(false).path(Path::new("/p/src/a.rs")), Path::new("src/a.rs"));
    }
}
