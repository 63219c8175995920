//! What the process in which a library is loaded says to the one that has started it: one JSON object a line.

use serde::{Deserialize, Serialize};

/// A line.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// The linker did something.
    Step {
        /// As a line for people.
        text: String,
        /// As `livepatch-linker` writes it down.
        record: serde_json::Value,
    },
    /// It is loaded, all initialisers have run.
    Loaded {
        /// Its path.
        path: String,
        /// How long that took.
        nanoseconds: u64,
    },
    /// It could not be loaded, or something is not in it.
    Failed {
        /// Why.
        error: String,
    },
    /// A function is about to be called.
    Calling {
        /// Its name.
        symbol: String,
        /// Where it is.
        address: u64,
    },
    /// It has returned.
    Returned {
        /// The number, if it returns one.
        number: Option<i64>,
        /// The text, if it returns one.
        text: Option<String>,
        /// How long it ran.
        nanoseconds: u64,
    },
}

impl Message {
    /// The phase of a step.
    pub(super) fn phase(&self) -> Option<&str> {
        match self {
            Self::Step { record, .. } => record["phase"].as_str(),
            _ => None,
        }
    }
}
