//! What a program's user sees.

use super::http::Connection;
use super::terminal::Terminal;
use crate::run::Result;

/// A user's view of the running program, the same one from before the first edit to the end.
pub(super) enum View {
    /// A connection.
    Http(Connection),
    /// A terminal.
    Terminal(Terminal),
}

impl View {
    /// What the user sees now.
    pub(super) fn look(&mut self) -> Result<String> {
        match self {
            Self::Http(connection) => connection.get(),
            Self::Terminal(terminal) => terminal.screen(),
        }
    }

    /// What of the view has outlived all edits.
    pub(super) fn kept(&self) -> String {
        match self {
            Self::Http(connection) => format!("one TCP connection, {} requests", connection.requests()),
            Self::Terminal(_) => "the screen's state".into(),
        }
    }
}
