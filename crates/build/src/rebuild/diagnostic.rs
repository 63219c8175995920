//! What rustc says, line by line.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// An error or a warning of the compiler.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// `error`, `warning` …
    pub level: String,
    /// The first line, without level and code.
    pub message: String,
    /// Where it points to, as rustc names it.
    pub file: Option<String>,
    /// The line there, from 1.
    pub line: Option<u32>,
    /// As rustc shows it to people, with colours if they were asked for.
    pub rendered: String,
}

impl Diagnostic {
    /// Whether it keeps the crate from being compiled.
    pub fn is_error(&self) -> bool {
        self.level.starts_with("error")
    }
}

/// A line of rustc's standard error.
#[derive(Debug)]
pub(super) enum Line {
    Diagnostic(Diagnostic),
    /// The metadata is complete: dependents can be compiled.
    Metadata(PathBuf),
    /// A summary, a note about the future, another output.
    Other,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    message: String,
    #[serde(default)]
    level: String,
    rendered: Option<String>,
    #[serde(default)]
    spans: Vec<Span>,
    artifact: Option<PathBuf>,
    emit: Option<String>,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    is_primary: bool,
}

/// Reads a line; what is not JSON (a crash report, say) is an error by itself.
pub(super) fn parse(line: &str) -> Line {
    let Ok(message) = serde_json::from_str::<Message>(line) else {
        let rendered = format!("{line}\n");
        let level = "error".to_owned();
        return Line::Diagnostic(Diagnostic {
            level,
            message: line.to_owned(),
            file: None,
            line: None,
            rendered,
        });
    };
    if let Some(artifact) = message.artifact {
        let metadata = message.emit.as_deref() == Some("metadata");
        return if metadata { Line::Metadata(artifact) } else { Line::Other };
    }
    let summary = message.message.starts_with("aborting due to") || message.message.ends_with(" emitted");
    match message.rendered {
        Some(rendered)
            if !summary
                && matches!(
                    message.level.as_str(),
                    "error" | "warning" | "error: internal compiler error"
                ) =>
        {
            let span = message.spans.into_iter().find(|span| span.is_primary);
            Line::Diagnostic(Diagnostic {
                level: message.level,
                message: message.message,
                line: span.as_ref().map(|span| span.line_start),
                file: span.map(|span| span.file_name),
                rendered,
            })
        }
        _ => Line::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_artifacts_and_summaries() {
        let error = r#"{"$message_type":"diagnostic","message":"mismatched types","code":{"code":"E0308","explanation":null},"level":"error","spans":[{"file_name":"src/a.rs","byte_start":1,"line_start":3,"line_end":3,"is_primary":true}],"children":[],"rendered":"error[E0308]: mismatched types\n"}"#;
        let Line::Diagnostic(error) = parse(error) else { panic!() };
        assert!(error.is_error());
        assert_eq!((error.file.as_deref(), error.line), (Some("src/a.rs"), Some(3)));
        let artifact = r#"{"$message_type":"artifact","artifact":"/t/liba.rmeta","emit":"metadata"}"#;
        assert!(matches!(parse(artifact), Line::Metadata(path) if path.ends_with("liba.rmeta")));
        let link = r#"{"$message_type":"artifact","artifact":"/t/liba.rlib","emit":"link"}"#;
        assert!(matches!(parse(link), Line::Other));
        let summary = r#"{"message":"aborting due to 1 previous error","level":"error","spans":[],"rendered":"error: aborting\n"}"#;
        assert!(matches!(parse(summary), Line::Other));
        assert!(matches!(parse("thread 'rustc' panicked"), Line::Diagnostic(d) if d.is_error()));
    }
}
