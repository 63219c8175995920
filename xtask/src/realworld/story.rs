//! How it went, for people and as data.

use crate::report::table;
use serde_json::{Value, json};

/// Steps of a patch, as events name them.
const PHASES: [&str; 6] = ["rustc", "diff", "resolve", "write", "apply", "total"];

/// How it went with a program.
#[derive(Default)]
pub(super) struct Story {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) binary: u64,
    pub(super) first_build_ms: Option<f64>,
    pub(super) kept: String,
    pub(super) steps: Vec<Step>,
    /// Why it ended early.
    pub(super) error: Option<String>,
}

/// One change, and what came of it.
pub(super) struct Step {
    pub(super) what: String,
    pub(super) outcome: String,
    pub(super) functions: u64,
    pub(super) phases: Value,
    pub(super) notes: Value,
    pub(super) seen_ms: f64,
    /// What is not as it should be.
    pub(super) wrong: Option<String>,
}

impl Story {
    /// Whether everything was as it should be.
    pub(super) fn is_good(&self) -> bool {
        self.error.is_none() && self.steps.iter().all(|step| step.wrong.is_none())
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "kind": self.kind,
            "binary_bytes": self.binary,
            "first_build_ms": self.first_build_ms,
            "same_process": self.error.is_none(),
            "view": self.kept,
            "error": self.error,
            "steps": self.steps.iter().map(Step::to_json).collect::<Vec<_>>(),
        })
    }

    pub(super) fn markdown(&self) -> String {
        let build = self.first_build_ms.map_or("not measured".into(), |ms| format!("{:.1} s", ms / 1e3));
        let mut text = format!(
            "\n## {} {}: {}\n\nbinary {:.1} MB, first build {build}; the same process and {} all along.\n\n",
            self.name,
            self.version,
            self.kind,
            self.binary as f64 / 1e6,
            self.kept
        );
        if let Some(error) = &self.error {
            text += &format!("**Ended early:** {error}\n\n");
        }
        let mut head = vec!["", "result", "functions", "seen"];
        head.extend(PHASES);
        let rows: Vec<Vec<String>> = self.steps.iter().map(Step::row).collect();
        text + &table(&head, &rows)
    }
}

impl Step {
    fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "outcome": self.outcome,
            "functions": self.functions,
            "ms": self.phases,
            "notes": self.notes,
            "seen_ms": self.seen_ms,
            "wrong": self.wrong,
        })
    }

    fn row(&self) -> Vec<String> {
        let result = match &self.wrong {
            None => self.outcome.clone(),
            Some(wrong) => format!("**{}**", wrong.lines().next().unwrap_or_default()),
        };
        let functions = if self.functions == 0 { String::new() } else { self.functions.to_string() };
        let mut row = vec![self.what.clone(), result, functions, format!("{:.1}", self.seen_ms)];
        row.extend(
            PHASES.map(|phase| self.phases[phase].as_f64().map_or(String::new(), |ms| format!("{ms:.1}"))),
        );
        row
    }
}
