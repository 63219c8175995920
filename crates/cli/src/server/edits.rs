//! From changed files to a rebuild.

use super::{Message, Server};
use crate::events::Event;
use crate::report::plain;
use livepatch_build::rebuild::{Cancel, Diagnostic, Options, Plan, RebuildError, Rebuilder, Rebuilt};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file whose time is further back than this when it is seen has got its time from elsewhere.
const BELIEVABLE: Duration = Duration::from_secs(2);

/// Where the edits of a run stand.
pub(super) struct Editing {
    /// Away while a build is under way.
    rebuilder: Option<Box<Rebuilder>>,
    build: Option<Build>,
    /// Files that changed and that no build has taken in yet.
    pending: BTreeSet<PathBuf>,
    /// When the last of them was written.
    written: Option<SystemTime>,
    /// Crates whose last build did not succeed.
    dirty: BTreeSet<usize>,
    /// The last build failed: a file that was missing may come.
    failed: bool,
    /// Warnings that were shown, or that cargo has shown.
    warnings: HashSet<String>,
}

/// A build under way.
struct Build {
    cancel: Cancel,
    units: BTreeSet<usize>,
    files: Vec<PathBuf>,
    written: SystemTime,
}

impl Editing {
    pub(super) fn new(rebuilder: Rebuilder, changed: Vec<PathBuf>) -> Self {
        let mut editing = Self {
            rebuilder: Some(Box::new(rebuilder)),
            build: None,
            pending: BTreeSet::new(),
            written: None,
            dirty: BTreeSet::new(),
            failed: false,
            warnings: HashSet::new(),
        };
        changed.iter().for_each(|path| editing.note(path));
        editing
    }

    /// Ends a build under way; its files stay to be built.
    pub(super) fn cancel(&self) {
        if let Some(build) = &self.build {
            build.cancel.cancel();
        }
    }

    pub(super) fn is_building(&self) -> bool {
        self.build.is_some()
    }

    /// When what is being built was written; none when nothing is, or something else is to be built.
    pub(super) fn being_built(&self) -> Option<SystemTime> {
        let build = self.build.as_ref().filter(|build| !build.cancel.is_cancelled());
        build.filter(|_| self.pending.is_empty()).map(|build| build.written)
    }

    fn note(&mut self, path: &Path) {
        let now = SystemTime::now();
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(now);
        let written = if modified > now || modified + BELIEVABLE < now { now } else { modified };
        self.written = self.written.max(Some(written));
        self.pending.insert(path.to_owned());
    }
}

impl Server {
    /// Watches everything that the program was made from.
    pub(super) fn watch_all(&mut self, rebuilder: &Rebuilder) {
        let inputs = rebuilder.cargo_inputs();
        for path in rebuilder.sources().chain(inputs.paths.keys().map(PathBuf::as_path)) {
            for folder in self.contents.add(path) {
                self.watcher.watch(&folder);
            }
        }
        for folder in inputs.paths.keys().chain(inputs.packages.keys()).filter(|path| path.is_dir()) {
            self.watch_tree(folder, 0);
        }
    }

    /// Watches a folder of inputs and those inside it, without what is hidden or cargo's.
    fn watch_tree(&mut self, folder: &Path, depth: usize) {
        self.watcher.watch(folder);
        if depth > 16 || folder == self.project.target {
            return;
        }
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
                && entry.path() != self.project.target
            {
                self.watch_tree(&entry.path(), depth + 1);
            }
        }
    }

    pub(super) fn files_changed(&mut self, paths: &[PathBuf]) {
        let failed = self.run.as_ref().is_some_and(|run| run.editing.failed);
        let mut changed = Vec::new();
        for seen in paths {
            let known = self.contents.known(seen).to_vec();
            if known.is_empty() {
                let sources = self.unknown_changed(seen, &mut changed);
                // It may be the one that the failed build missed.
                changed.extend(sources.into_iter().filter(|_| failed));
            }
            changed.extend(known.into_iter().filter(|path| self.contents.refresh(path)));
        }
        let Some(run) = &mut self.run else { return };
        changed.iter().for_each(|path| run.editing.note(path));
        if !changed.is_empty() {
            run.editing.cancel();
            if !run.editing.is_building() {
                self.go_on_editing();
            }
        }
    }

    /// Looks at a path that is no source yet. Returns what may become one.
    fn unknown_changed(&mut self, path: &Path, changed: &mut Vec<PathBuf>) -> Vec<PathBuf> {
        if path.as_os_str().is_empty() {
            // Events were lost: look at everything.
            changed.extend(self.contents.refresh_all());
            return Vec::new();
        }
        if !self.is_in_a_package(path) {
            return Vec::new();
        }
        let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
        if path.is_dir() {
            self.watcher.watch(path);
            let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
            return inside.map(|entry| entry.path()).filter(|path| is_rust(path)).collect();
        }
        let inputs = self.run.as_ref().map(|run| &run.program_files.cargo_inputs);
        let input = inputs.is_some_and(|inputs| {
            inputs.find(path).is_some() || inputs.packages.keys().any(|package| path.starts_with(package))
        });
        if input && self.contents.refresh(path) {
            changed.push(path.to_owned());
        }
        if is_rust(path) { vec![path.to_owned()] } else { Vec::new() }
    }

    /// Whether a path may become a source: it lies in a package, is not hidden, and is not cargo's.
    fn is_in_a_package(&self, path: &Path) -> bool {
        let Some(run) = &self.run else { return false };
        let inputs = &run.program_files.cargo_inputs;
        let packages = run.program_files.units.iter().map(|unit| unit.record.manifest_dir.as_path());
        let mut folders = packages.chain(inputs.paths.keys().map(PathBuf::as_path));
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && !path.starts_with(&self.project.target) && folders.any(|folder| path.starts_with(folder))
    }

    /// Starts a build if there is anything to build.
    pub(super) fn go_on_editing(&mut self) {
        if self.cargo.is_some() || self.successor.is_some() {
            // Cargo takes in everything there is.
            return;
        }
        let Some(run) = &mut self.run else { return };
        let editing = &mut run.editing;
        let Some(rebuilder) = editing.rebuilder.take() else { return };
        let files: Vec<PathBuf> = std::mem::take(&mut editing.pending).into_iter().collect();
        let written = editing.written.take().unwrap_or_else(SystemTime::now);
        let plan = rebuilder.plan(&files);
        // Without an edit, what did not compile would not compile again.
        let mut units = if files.is_empty() { BTreeSet::new() } else { editing.dirty.clone() };
        let reason = match (plan, &self.needs_cargo) {
            (Plan::Cargo { reason }, _) => Some(reason),
            (_, Some(reason)) => Some(reason.clone()),
            (Plan::Thin(more), None) => {
                units.extend(more);
                None
            }
            (Plan::Nothing, None) => None,
        };
        if let Some(reason) = reason {
            editing.rebuilder = Some(rebuilder);
            self.reporter.event(&Event::Edit { files });
            self.begin_cargo(Some(reason), Vec::new());
            return;
        }
        if units.is_empty() {
            editing.rebuilder = Some(rebuilder);
            return;
        }
        let cancel = Cancel::default();
        editing.build =
            Some(Build { cancel: cancel.clone(), units: units.clone(), files: files.clone(), written });
        let (sender, start) = (self.sender.clone(), run.start);
        let options = Options { colour: self.reporter.colour() };
        std::thread::spawn(move || {
            let mut rebuilder = rebuilder;
            let result = rebuilder.rebuild_in_parts(&units, options, &cancel, |part| {
                let _ = sender.send(Message::FirstPart(start, part));
            });
            let _ = sender.send(Message::Rebuilt(start, rebuilder, result));
        });
        self.reporter.event(&Event::Edit { files });
    }

    pub(super) fn rebuilt(
        &mut self,
        start: u32,
        rebuilder: Rebuilder,
        result: Result<Rebuilt, RebuildError>,
    ) {
        let Some(run) = self.run.as_mut().filter(|run| run.start == start) else { return };
        let editing = &mut run.editing;
        let Some(build) = editing.build.take() else { return };
        let superseded = !editing.pending.is_empty() || self.cargo.is_some();
        editing.failed = false;
        match result {
            Ok(rebuilt) => {
                editing.dirty.clear();
                let new = new_warnings(editing, &build.files, &rebuilt.warnings);
                self.reporter.diagnostics(new.iter());
                self.watch_all(&rebuilder);
                self.put_back(rebuilder);
                self.take_in(rebuilt, build.written);
            }
            Err(RebuildError::Cancelled) => {
                editing.dirty.extend(build.units);
                editing.pending.extend(build.files);
                self.put_back(rebuilder);
            }
            Err(error) => {
                editing.dirty.extend(build.units);
                editing.failed = true;
                self.put_back(rebuilder);
                // An edit that came meanwhile makes what the compiler says out of date.
                if !superseded {
                    self.take_back_first_part();
                    self.reject(error);
                }
            }
        }
        self.go_on_editing();
    }

    fn put_back(&mut self, rebuilder: Rebuilder) {
        if let Some(run) = &mut self.run {
            run.editing.rebuilder = Some(Box::new(rebuilder));
        }
    }

    fn reject(&mut self, error: RebuildError) {
        let (reason, diagnostics) = match error {
            RebuildError::Compile(diagnostics) => ("the edit does not compile".to_owned(), diagnostics),
            RebuildError::Io { doing, source } => (format!("{doing}: {source}"), Vec::new()),
            RebuildError::Cancelled => return,
        };
        self.reporter.diagnostics(&diagnostics);
        self.reporter.event(&Event::Rejected { reason, diagnostics: plain(&diagnostics) });
    }

    /// Looks at edits that came while cargo was failing: one of them may be the cure.
    pub(super) fn retry_after_cargo(&mut self) {
        let Some(run) = &mut self.run else { return };
        // Cargo writes this one itself.
        run.editing.pending.retain(|path| path.file_name().is_none_or(|name| name != "Cargo.lock"));
        if !run.editing.pending.is_empty() {
            self.go_on_editing();
        }
    }
}

/// The warnings that are worth showing: cargo has shown the others, in the first build.
fn new_warnings(editing: &mut Editing, files: &[PathBuf], warnings: &[Diagnostic]) -> Vec<Diagnostic> {
    let mut new = Vec::new();
    for warning in warnings {
        let here =
            warning.file.as_ref().is_some_and(|file| files.iter().any(|edited| edited.ends_with(file)));
        if editing.warnings.insert(warning.message.clone()) && here {
            new.push(warning.clone());
        }
    }
    new
}
