//! What a program's user sees.

use super::exchange::Exchange;
use super::program::{Program, ViewSpec};
use super::terminal::Terminal;
use crate::http::Connection;
use crate::live::Lines;
use crate::run::{Result, write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a program may take to print or draw what there is to see.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a program that watches a file may take before the file is written again.
const REWRITE: Duration = Duration::from_secs(3);

/// A user's view of the running program, the same one as long as the process is the same.
pub(super) enum View {
    /// An HTTP connection, and a file that is written again before a look.
    Http(Connection, Option<Rewrite>),
    /// Another connection.
    Exchange(Exchange),
    /// A terminal.
    Terminal(Terminal),
    /// What it prints, so many lines of it.
    Output(Lines, usize),
}

/// A file of the user's that the program watches.
pub(super) struct Rewrite {
    file: PathBuf,
    text: String,
    written: Option<Instant>,
}

impl Rewrite {
    /// The file, if the program is looked at in this way.
    pub(super) fn new(program: &Program, data: &Path) -> Result<Option<Self>> {
        let ViewSpec::Http { rewrite: Some(name), .. } = &program.view else { return Ok(None) };
        let text = program.data.get(name).ok_or_else(|| format!("no file {name} to write again"))?;
        Ok(Some(Self { file: data.join(name), text: text.clone(), written: None }))
    }

    fn write(&mut self) -> Result {
        if self.written.is_none_or(|written| written.elapsed() > REWRITE) {
            write(&self.file, &self.text)?;
            self.written = Some(Instant::now());
        }
        Ok(())
    }
}

impl View {
    /// Has the program make what is seen from what it has.
    pub(super) fn refresh(&mut self) {
        if let Self::Http(_, Some(rewrite)) = self {
            rewrite.written = None;
        }
    }

    /// What the user sees now.
    pub(super) fn look(&mut self) -> Result<String> {
        match self {
            Self::Http(connection, rewrite) => {
                rewrite.as_mut().map_or(Ok(()), Rewrite::write)?;
                connection.get()
            }
            Self::Exchange(exchange) => exchange.ask(),
            Self::Terminal(terminal) => terminal.screen(),
            Self::Output(lines, count) => {
                lines.skip();
                let seen: Result<Vec<String>> = (0..*count).map(|_| lines.next_within(PATIENCE)).collect();
                Ok(seen?.join("\n"))
            }
        }
    }

    /// Looks over a new connection, if it looks over one.
    pub(super) fn reconnect(&mut self) -> Result {
        match self {
            Self::Http(connection, _) => connection.reopen(),
            Self::Exchange(exchange) => exchange.reconnect(),
            Self::Terminal(_) | Self::Output(..) => Ok(()),
        }
    }

    /// Sees the program that was started in place of the other.
    pub(super) fn reopen(&mut self, view: &ViewSpec) -> Result {
        match (self, view) {
            (Self::Http(connection, _), _) => connection.reopen(),
            (Self::Exchange(exchange), _) => exchange.reopen(),
            (Self::Terminal(terminal), ViewSpec::Terminal { ready, keys }) => {
                terminal.wait_for(ready)?;
                terminal.keys(keys)
            }
            _ => Ok(()),
        }
    }

    /// What of the view has outlived the edits.
    pub(super) fn kept(&self) -> String {
        match self {
            Self::Http(connection, _) => format!("its TCP connection, {} requests", connection.requests()),
            Self::Exchange(exchange) => format!("its state, {} exchanges", exchange.count()),
            Self::Terminal(_) => "the screen's state".into(),
            Self::Output(..) => "what it counts".into(),
        }
    }
}
