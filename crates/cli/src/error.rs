//! What can go wrong, and how it is told: what failed, why, and what to do about it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A failure of the command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Cargo ended with an error that it has shown itself.
    #[error("the build failed")]
    Build {
        /// Cargo's exit code.
        code: u8,
    },
    /// A signal came before the program was started.
    #[error("interrupted")]
    Interrupted,
    /// Cargo could not be asked about the project.
    #[error("cargo cannot read the project: {said}")]
    Project {
        /// What it said.
        said: String,
    },
    /// Another session has the target directory.
    #[error("process {pid} runs `cargo livepatch` in this target directory already")]
    Busy {
        /// Its process id.
        pid: String,
    },
    /// No session has the target directory.
    #[error("no `cargo livepatch run` is running for {}", .target.display())]
    NoSession {
        /// The target directory.
        target: PathBuf,
    },
    /// The session refused a request.
    #[error("{said}")]
    Refused {
        /// Why.
        said: String,
    },
    /// Something in the project that cannot be live-patched.
    #[error("{what}")]
    Unsupported {
        /// What.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// A file that is no image, or a damaged one.
    #[error("{} cannot be read as a Mach-O image", .path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: livepatch_object::macho::Problem,
    },
    /// The records do not give the program that was built.
    #[error("cannot put the captured build together")]
    Capture(#[source] livepatch_build::capture::ProgramError),
    /// The system refused something.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Failure {
    /// The system refused `doing`.
    pub fn system(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }

    /// The system refused `doing` with a file.
    pub fn file(doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        Self::system(format!("cannot {doing} {}", path.display()))
    }

    /// The exit code (see the help text).
    pub fn code(&self) -> u8 {
        match self {
            Self::Build { code } => *code,
            Self::Interrupted => 130,
            Self::Project { .. } => 101,
            _ => 1,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { .. } => {
                Some("end it with `cargo livepatch stop`, or give this one its own --target-dir".into())
            }
            Self::NoSession { .. } => {
                Some("--manifest-path and --target-dir must be those the session was started with".into())
            }
            Self::Unsupported { hint, .. } => Some(hint.clone()),
            Self::Capture(_) => {
                Some("removing the `livepatch` folder of the target directory starts afresh".into())
            }
            _ => None,
        }
    }

    /// The failure as text: one line, its causes, a hint.
    pub fn render(&self) -> String {
        let mut text = format!("error: {self}\n");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  caused by: {error}");
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }

    /// Tells the user, and returns the exit code.
    pub fn report(&self) -> ExitCode {
        // Cargo and the shell have said the rest.
        if !matches!(self, Self::Build { .. } | Self::Interrupted) {
            eprint!("{}", self.render());
        }
        ExitCode::from(self.code())
    }
}

/// An error with its causes, as one line.
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_hints_are_shown() {
        let failure = Failure::file("write", Path::new("/x"))(std::io::Error::from_raw_os_error(13));
        assert_eq!(
            failure.render(),
            "error: cannot write /x\n  caused by: Permission denied (os error 13)\n"
        );
        let busy = Failure::Busy { pid: "7".into() };
        assert!(busy.render().contains("process 7 runs"));
        assert!(busy.render().contains("\nhint: end it"));
        assert_eq!(busy.code(), 1);
        assert_eq!(Failure::Build { code: 101 }.code(), 101);
    }
}
