//! `cargo livepatch doctor`: whether this machine and this project can be live-patched, and what is
//! done differently for it.

mod machine;
mod project;

use crate::arguments::DoctorArgs;
use crate::error::Failure;
use crate::project::Project;
use std::process::ExitCode;

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found, on one line.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Live patching does not work.
    Problem,
}

impl Finding {
    fn new(level: Level, what: impl Into<String>) -> Self {
        Self { level, what: what.into(), hint: None }
    }

    fn ok(what: impl Into<String>) -> Self {
        Self::new(Level::Ok, what)
    }

    fn note(what: impl Into<String>) -> Self {
        Self::new(Level::Note, what)
    }

    fn problem(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Problem, what: what.into(), hint: Some(hint.into()) }
    }

    fn line(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Problem => "problem",
        };
        let hint = self.hint.as_ref().map(|hint| format!("\n         hint: {hint}")).unwrap_or_default();
        format!("{level:>8} {}{hint}\n", self.what)
    }
}

/// Checks the machine and the project.
pub fn run(arguments: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut findings = machine::check();
    let project = Project::read(&arguments.at)?;
    findings.extend(project::check(&project, &arguments.selection));
    findings.iter().for_each(|finding| print!("{}", finding.line()));
    let worst = findings.iter().map(|finding| finding.level).max();
    Ok(ExitCode::from(u8::from(worst == Some(Level::Problem))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_come_with_a_hint() {
        assert_eq!(Finding::problem("a", "b").line(), " problem a\n         hint: b\n");
        assert_eq!(Finding::ok("a").line(), "      ok a\n");
        assert!(Level::Problem > Level::Note);
    }
}
