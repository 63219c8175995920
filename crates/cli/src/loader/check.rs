//! `livepatch check`: reads files and archives; what is decided about them is decided in
//! `livepatch_object::android`.

mod json;
mod subject;
mod text;

use crate::error::Failure;
use crate::loader::arguments::CheckArgs;
use livepatch_object::android::library::Question;
use livepatch_object::android::{ApiLevel, PageSizes, Report, Verdict, archive, check};
use std::path::Path;
use std::process::ExitCode;

/// A library and what was found out about it.
#[derive(Debug)]
pub struct Checked {
    /// Its name: within what was given, or as it was given.
    pub name: String,
    /// What was found out.
    pub report: Report,
}

/// What was found out about all that was given.
#[derive(Debug)]
pub struct Answer {
    /// What was given.
    pub path: String,
    /// Which release was asked about.
    pub level: ApiLevel,
    /// Every library, by name.
    pub libraries: Vec<Checked>,
}

impl Answer {
    /// The worst of all.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.libraries.iter().map(|library| library.report.verdict());
        verdicts.max().unwrap_or(Verdict::Loads)
    }

    /// The exit code (see the help text).
    pub fn code(&self) -> u8 {
        match self.verdict() {
            Verdict::Loads => 0,
            Verdict::OnlyWith4Kib(_) | Verdict::DoesNotLoad(_) => 1,
            Verdict::Unknown => 3,
        }
    }

    /// Text for people.
    pub fn text(&self) -> String {
        text::render(self)
    }

    /// One JSON object and a line's end, for tools.
    pub fn json(&self) -> String {
        json::render(self)
    }
}

/// Checks a file, an archive or a folder.
pub fn answer(path: &Path, level: ApiLevel, pages: PageSizes) -> Result<Answer, Failure> {
    let mut libraries = Vec::new();
    for group in subject::read(path)? {
        let siblings = group.siblings();
        for library in group.libraries {
            let machine = library.machine;
            let question = Question { level, pages, machine, siblings: &siblings, complete: group.complete };
            let mut report = match library.contents {
                Ok(bytes) => check(&library.file, bytes, &question),
                Err(finding) => Report { findings: vec![*finding], ..Report::default() },
            };
            if let Some(entry) = library.entry.filter(|_| group.complete) {
                report.findings.splice(0..0, archive::check(&entry, level, pages));
                report.findings.sort_by_key(|finding| finding.phase);
            }
            libraries.push(Checked { name: library.name, report });
        }
    }
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Answer { path: path.display().to_string(), level, libraries })
}

/// Runs the command.
pub fn run(arguments: &CheckArgs) -> Result<ExitCode, Failure> {
    let answer = match answer(&arguments.path, arguments.android, arguments.page_sizes()) {
        Ok(answer) => answer,
        Err(error) => {
            error.report();
            return Ok(ExitCode::from(2));
        }
    };
    super::print(&if arguments.json { answer.json() } else { answer.text() });
    Ok(ExitCode::from(answer.code()))
}
