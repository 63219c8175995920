//! What a fixture says, as data. [`crate::directives`] reads it, [`crate::run`] does it.

use crate::builds::Build;
use crate::directives;
use crate::sources::Sources;
use std::path::Path;

/// A fixture.
#[derive(Default, Debug)]
pub(crate) struct Fixture {
    /// Its file, for messages.
    pub(crate) path: String,
    pub(crate) builds: Vec<Build>,
    pub(crate) pending: Vec<Pending>,
    /// It holds of patch images, and not of patch libraries.
    pub(crate) images_only: bool,
    /// Arguments of `cargo livepatch run`.
    pub(crate) cargo: Vec<String>,
    /// Lines of the package's manifest and of cargo's configuration.
    pub(crate) manifest: String,
    pub(crate) config: String,
    pub(crate) libraries: Vec<Library>,
    /// More files with the program's `main`, and how each comes by its `code`.
    pub(crate) mains: Vec<(String, String)>,
    pub(crate) sources: Sources,
    /// What holds before the first step.
    pub(crate) checks: Vec<At<Check>>,
    pub(crate) steps: Vec<Step>,
}

/// Why a fixture, or one of its builds, is known not to pass.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) build: Option<Build>,
    pub(crate) reason: String,
}

/// Something in a line of the fixture.
#[derive(Debug)]
pub(crate) struct At<T> {
    pub(crate) line: usize,
    pub(crate) it: T,
}

/// A package beside the program's.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) uses: Vec<String>,
    pub(crate) proc_macro: bool,
    /// Not a member of the workspace.
    pub(crate) outside: bool,
}

/// An edit, and what must come of it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) title: String,
    pub(crate) actions: Vec<At<Action>>,
    pub(crate) outcome: Outcome,
    pub(crate) checks: Vec<At<Check>>,
}

#[derive(Debug)]
pub(crate) enum Action {
    Edit {
        old: String,
        new: String,
    },
    Region {
        name: String,
        text: String,
    },
    File {
        path: String,
        text: String,
    },
    Delete {
        path: String,
    },
    Move {
        from: String,
        to: String,
    },
    Save(Saving),
    /// Saves what was edited so far, and does not wait for what comes of it.
    Soon,
    Rollback {
        to: u32,
    },
}

/// How an editor saves.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum Saving {
    /// Over the file that is there.
    #[default]
    InPlace,
    /// To another file, which then takes the place of the first.
    Aside,
    /// The file is removed and made anew.
    Anew,
    /// Half of the file, then the other half.
    Halves,
}

/// What must come of a step.
#[derive(Default, Debug)]
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    /// What notes of a patch say.
    pub(crate) notes: Vec<String>,
    /// Functions of which old and new code must stay in use.
    pub(crate) versioned: Vec<String>,
}

#[derive(Default, Debug)]
pub(crate) enum Kind {
    /// A patch; of these functions and no others, where they are named.
    Live(Vec<String>),
    /// A patch, which is what is expected where nothing is said.
    #[default]
    Unsaid,
    Unchanged,
    /// Not live, for a reason with these texts; the program goes on as it was.
    Rejected(Vec<String>),
    /// The program is started anew, for a reason with these texts.
    Restart(Vec<String>),
    RolledBack,
}

/// Something that must hold.
#[derive(Debug)]
pub(crate) enum Check {
    Answer {
        question: String,
        answer: String,
    },
    /// The program or the command says it, now or soon.
    Said(String),
    /// These names stand for different things.
    Distinct(Vec<String>),
}

impl Fixture {
    /// Reads a fixture's file; an error is a sentence with its place.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        directives::parse(&name, &text)
    }

    /// Why it is known not to pass when built that way.
    pub(crate) fn pending(&self, build: Build) -> Option<&str> {
        let here = |pending: &&Pending| pending.build.is_none_or(|only| only == build);
        self.pending.iter().find(here).map(|pending| pending.reason.as_str())
    }
}
