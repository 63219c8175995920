//! Edits of a running program.

use crate::program::Program;
use crate::server::Running;
use livepatch_build::session::{CrateObjects, Session};

/// A running program, its source, and the session between the two.
pub(crate) struct Fixture {
    pub(crate) program: Program,
    pub(crate) session: Session,
    pub(crate) running: Running,
    pub(crate) source: String,
}

impl Fixture {
    pub(crate) fn new(source: &str) -> Self {
        Self::of(Program::new(source), source)
    }

    pub(crate) fn of(mut program: Program, source: &str) -> Self {
        let base = program.base();
        let session = Session::open(&base, &program.path("patches")).expect("opening the session");
        let running = Running::start(&session, &base.host);
        Self { program, session, running, source: source.into() }
    }

    pub(crate) fn edit(&mut self, from: &str, to: &str) -> Vec<String> {
        let rebuilt = self.rebuild(from, to);
        self.running.patch(&mut self.session, &rebuilt).0
    }

    /// Edits the source and compiles it.
    pub(crate) fn rebuild(&mut self, from: &str, to: &str) -> [CrateObjects; 1] {
        assert!(self.source.contains(from), "{from:?} is in the source");
        self.source = self.source.replace(from, to);
        self.program.save(&self.source);
        [self.program.rebuild()]
    }

    /// Why an edit is unsound. The source is as before afterwards.
    pub(crate) fn unsound(&mut self, from: &str, to: &str) -> Vec<String> {
        let source = self.source.clone();
        let rebuilt = self.rebuild(from, to);
        self.source = source;
        self.session.diff(&rebuilt).expect("comparing").unsound
    }

    pub(crate) fn line(&mut self, request: &str) -> String {
        self.running.line(request)
    }
}
