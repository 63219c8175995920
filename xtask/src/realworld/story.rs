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
    pub(super) versioned: u64,
    pub(super) phases: Value,
    /// Why the process was started anew, or the edit is not live.
    pub(super) reason: Value,
    pub(super) notes: Value,
    pub(super) seen_ms: f64,
    /// What is not as it should be.
    pub(super) wrong: Option<String>,
    /// Why it is known not to be so yet.
    pub(super) not_yet: Option<String>,
}

impl Story {
    /// Whether everything was as it should be.
    pub(super) fn is_good(&self) -> bool {
        let good = |step: &Step| step.wrong.is_none() || step.not_yet.is_some();
        self.error.is_none() && self.steps.iter().all(good)
    }

    fn restarts(&self) -> usize {
        self.steps.iter().filter(|step| step.outcome == "restarted").count()
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "kind": self.kind,
            "binary_bytes": self.binary,
            "first_build_ms": self.first_build_ms,
            "restarts": self.restarts(),
            "view": self.kept,
            "error": self.error,
            "steps": self.steps.iter().map(Step::to_json).collect::<Vec<_>>(),
        })
    }

    pub(super) fn markdown(&self) -> String {
        let build = self.first_build_ms.map_or("not measured".into(), |ms| format!("{:.1} s", ms / 1e3));
        let mut text = format!(
            "\n## {}: {}\n\nbinary {:.1} MB, first build {build}; the same process and {}{}.\n\n",
            format!("{} {}", self.name, self.version).trim_end(),
            self.kind,
            self.binary as f64 / 1e6,
            self.kept,
            if self.restarts() == 0 { " all along" } else { ", but where a restart is said" }
        );
        if let Some(error) = &self.error {
            text += &format!("**Ended early:** {error}\n\n");
        }
        let mut head = vec!["", "result", "functions", "seen"];
        head.extend(PHASES);
        let rows: Vec<Vec<String>> = self.steps.iter().map(Step::row).collect();
        text += &table(&head, &rows);
        text += "\n";
        for (what, said) in self.steps.iter().flat_map(|step| step.said().map(|said| (&step.what, said))) {
            text += &format!("* {what}: {said}\n");
        }
        text.trim_end().to_owned() + "\n"
    }
}

impl Step {
    fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "outcome": self.outcome,
            "functions": self.functions,
            "ms": self.phases,
            "versioned": self.versioned,
            "reason": self.reason,
            "notes": self.notes,
            "not_yet": self.not_yet,
            "seen_ms": self.seen_ms,
            "wrong": self.wrong,
        })
    }

    /// What livepatch says of it, and what is known.
    fn said(&self) -> impl Iterator<Item = &str> {
        let notes = self.notes.as_array().into_iter().flatten();
        let said = notes.chain([&self.reason]).filter_map(Value::as_str);
        said.chain(self.not_yet.as_deref())
    }

    fn row(&self) -> Vec<String> {
        let first = |text: &String| text.lines().next().unwrap_or_default().to_owned();
        let result = match (&self.wrong, &self.not_yet) {
            (None, None) => self.outcome.clone(),
            (None, Some(_)) => format!("{}, though it was not known to be", self.outcome),
            (Some(wrong), None) => format!("**{}**", first(wrong)),
            (Some(_), Some(_)) => format!("**not yet right: {}**", self.outcome),
        };
        let mut functions = if self.functions == 0 { String::new() } else { self.functions.to_string() };
        if self.versioned > 0 {
            functions += &format!(" + {} versioned", self.versioned);
        }
        let mut row = vec![self.what.clone(), result, functions, format!("{:.1}", self.seen_ms)];
        row.extend(
            PHASES.map(|phase| self.phases[phase].as_f64().map_or(String::new(), |ms| format!("{ms:.1}"))),
        );
        row
    }
}
