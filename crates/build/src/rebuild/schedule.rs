//! Runs rustc for the crates of a rebuild, each as soon as what it needs is out.

use super::artifacts::{Artifacts, Objects};
use super::rustc::{self, Cancel, Places, io_error};
use super::{Diagnostic, Options, RebuildError, Rebuilder, Rebuilt, State, latest_session};
use crate::capture::dep_info;
use crate::capture::objects::beside_session;
use crate::session::CrateObjects;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a compiler's thread reports.
enum Report {
    Library(usize, PathBuf),
    Ended(usize, Result<Vec<Diagnostic>, RebuildError>),
}

/// The only crate that was edited, while crates that depend on it are still being compiled.
#[derive(Debug)]
pub struct FirstPart {
    /// Its objects. What becomes of them is known when the rebuild has ended: when that fails, they count for
    /// nothing, and the files may go.
    pub krate: CrateObjects,
    /// From the start of its rustc to its objects.
    pub rustc: Duration,
}

/// The outputs of a crate.
struct Outputs {
    session: PathBuf,
    objects: Objects,
}

/// What all the compilers of a rebuild left.
struct Compiled {
    /// The new library of each crate that has one.
    libraries: Vec<Option<PathBuf>>,
    warnings: Vec<Diagnostic>,
    /// Of the crate that was told of before the end.
    first: Option<(usize, Outputs)>,
}

/// How far a crate of the rebuild is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Not part of it.
    Settled,
    Waiting,
    Compiling,
    /// Compiling still, but dependents may start.
    MetadataOut,
}

impl Rebuilder {
    /// Recompiles these crates and their dependents. When anything fails, nothing counts as changed.
    pub fn rebuild(
        &mut self,
        units: &BTreeSet<usize>,
        options: Options,
        cancel: &Cancel,
    ) -> Result<Rebuilt, RebuildError> {
        self.rebuild_in_parts(units, options, cancel, |_| {})
    }

    /// The same. When it is only one crate that was edited and others depend on it, `first` is called as soon
    /// as its objects are there.
    pub fn rebuild_in_parts(
        &mut self,
        units: &BTreeSet<usize>,
        options: Options,
        cancel: &Cancel,
        first: impl Fn(FirstPart),
    ) -> Result<Rebuilt, RebuildError> {
        let started = Instant::now();
        let out = self
            .artifacts
            .begin()
            .map_err(|source| io_error("cannot make a folder for the build", source))?;
        let order = self.with_dependents(units);
        let edited = units.first().copied().filter(|_| units.len() == 1);
        let objects_are_out = |index| -> std::io::Result<Option<Outputs>> {
            if edited != Some(index) {
                return Ok(None);
            }
            let outputs = self.outputs(index)?;
            let krate = self.units[index].objects_of(&outputs.objects);
            first(FirstPart { krate, rustc: started.elapsed() });
            Ok(Some(outputs))
        };
        let result = self.compile_all(&order, &out, options, cancel, objects_are_out).and_then(|compiled| {
            let rustc = started.elapsed();
            let Compiled { libraries, warnings, first } = compiled;
            let crates = self
                .accept(&order, &out, libraries, first)
                .map_err(|source| io_error("cannot keep what rustc made", source))?;
            Ok(Rebuilt { crates, rustc, warnings })
        });
        let mut discarded = vec![out];
        if result.is_err() {
            // What was told of counts for nothing.
            discarded.extend(edited.map(|index| self.artifacts.objects(&self.units[index])));
        }
        Artifacts::discard(discarded);
        result
    }

    /// Compiles. `objects_are_out` is called for each crate, while others are still to come.
    fn compile_all(
        &self,
        order: &[usize],
        out: &Path,
        options: Options,
        cancel: &Cancel,
        objects_are_out: impl Fn(usize) -> std::io::Result<Option<Outputs>>,
    ) -> Result<Compiled, RebuildError> {
        let mut progress = vec![Progress::Settled; self.units.len()];
        order.iter().for_each(|&index| progress[index] = Progress::Waiting);
        let mut libraries: Vec<Option<PathBuf>> = vec![None; self.units.len()];
        let mut warnings = Vec::new();
        let mut first = None;
        let mut failure = None;
        let limit = std::thread::available_parallelism().map_or(2, usize::from);
        let search = [out.join("stub"), self.artifacts.libraries()];
        std::thread::scope(|scope| {
            let (sender, reports) = mpsc::channel();
            let mut running = 0;
            loop {
                while failure.is_none() && running < limit {
                    let Some(&next) = order.iter().find(|&&index| self.can_start(index, &progress)) else {
                        break;
                    };
                    progress[next] = Progress::Compiling;
                    running += 1;
                    let latest = self.latest(&libraries);
                    let (sender, search) = (sender.clone(), &search);
                    let shared = self.units[next].unit.is_shared_only()
                        && self.units.iter().any(|unit| unit.depends_on.contains(&next));
                    scope.spawn(move || {
                        let folders = self.artifacts.folders();
                        let places = Places { folders, out, libraries: search, latest: &latest, shared };
                        let ready = |library| drop(sender.send(Report::Library(next, library)));
                        let result = rustc::compile(&self.units[next], &places, options, cancel, ready);
                        let _ = sender.send(Report::Ended(next, result));
                    });
                }
                if running == 0 {
                    break;
                }
                // The sender at hand keeps the channel open.
                let Ok(report) = reports.recv() else { break };
                match report {
                    Report::Library(index, library) => {
                        libraries[index] = Some(library);
                        progress[index] = Progress::MetadataOut;
                    }
                    Report::Ended(index, result) => {
                        running -= 1;
                        progress[index] = Progress::Settled;
                        let more_to_come = progress.iter().any(|it| *it != Progress::Settled);
                        let result = result.and_then(|warnings| {
                            if more_to_come && failure.is_none() {
                                let outputs = objects_are_out(index)
                                    .map_err(|source| io_error("cannot keep what rustc made", source))?;
                                first = first.take().or(outputs.map(|outputs| (index, outputs)));
                            }
                            Ok(warnings)
                        });
                        match result {
                            Ok(more) => warnings.extend(more),
                            Err(error) if failure.is_none() => {
                                // What others say now would be about a state that never comes.
                                cancel.cancel();
                                failure = Some(error);
                            }
                            Err(_) => {}
                        }
                    }
                }
            }
        });
        failure.map_or(Ok(Compiled { libraries, warnings, first }), Err)
    }

    fn can_start(&self, index: usize, progress: &[Progress]) -> bool {
        progress[index] == Progress::Waiting
            && self.units[index]
                .depends_on
                .iter()
                .all(|&on| matches!(progress[on], Progress::Settled | Progress::MetadataOut))
    }

    /// What each crate's dependents compile against now, where that is not cargo's output.
    fn latest(&self, libraries: &[Option<PathBuf>]) -> Vec<(String, PathBuf)> {
        let each = self.units.iter().zip(libraries);
        each.filter_map(|(state, new)| {
            let library = new.as_ref().or(state.library.as_ref())?;
            Some((format!("lib{}", state.unit.record.file_stem()), library.clone()))
        })
        .collect()
    }

    /// Keeps what rustc's latest session of a crate left.
    fn outputs(&self, index: usize) -> std::io::Result<Outputs> {
        let state = &self.units[index];
        let session = latest_session(self.artifacts.folders(), &state.unit)?;
        let objects = state.objects.next(&session, &self.artifacts.objects(state))?;
        Ok(Outputs { session, objects })
    }

    /// Makes what was compiled the state that the next rebuild starts from.
    fn accept(
        &mut self,
        order: &[usize],
        out: &Path,
        libraries: Vec<Option<PathBuf>>,
        mut first: Option<(usize, Outputs)>,
    ) -> std::io::Result<Vec<CrateObjects>> {
        let mut next = Vec::with_capacity(order.len());
        for &index in order {
            let state = &self.units[index];
            let Outputs { session, objects } = match first.take_if(|(known, _)| *known == index) {
                Some((_, outputs)) => outputs,
                None => self.outputs(index)?,
            };
            let dep_info = out.join(format!("{}.d", state.unit.record.file_stem()));
            let sources = dep_info::read(&dep_info, state.unit.record.cwd.as_path())?;
            next.push((index, session, objects, sources));
        }
        let kept = self.artifacts.libraries();
        for (state, library) in self.units.iter_mut().zip(libraries) {
            if let Some(library) = library {
                let to = kept.join(library.file_name().unwrap_or_default());
                std::fs::rename(&library, &to)?;
                state.library = Some(to);
            }
        }
        let mut replaced = Vec::with_capacity(next.len());
        let mut crates = Vec::with_capacity(next.len());
        for (index, session, objects, sources) in next {
            let state = &mut self.units[index];
            crates.push(state.objects_of(&objects));
            let old: Objects = std::mem::replace(&mut state.objects, objects.clone());
            replaced.push((old, objects));
            state.unit.sources = sources;
            // rustc does this itself when it is left to end.
            Artifacts::discard(beside_session(&session)?);
            state.session = session;
        }
        self.artifacts.supersede(replaced);
        Ok(crates)
    }
}

impl State {
    fn objects_of(&self, objects: &Objects) -> CrateObjects {
        CrateObjects {
            unit: self.unit.id.clone(),
            crate_name: self.unit.record.crate_name.clone(),
            objects: objects.paths(),
        }
    }
}
