//! Runs rustc for the crates of a rebuild, each as soon as what it needs is out.

use super::artifacts::{Artifacts, Objects};
use super::rustc::{self, Cancel, Places, io_error};
use super::{Diagnostic, Options, RebuildError, Rebuilder, Rebuilt, latest_session};
use crate::capture::dep_info;
use crate::capture::objects::beside_session;
use crate::session::CrateObjects;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

/// What a compiler's thread reports.
enum Report {
    Library(usize, PathBuf),
    Ended(usize, Result<Vec<Diagnostic>, RebuildError>),
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
        let started = Instant::now();
        let out = self
            .artifacts
            .begin()
            .map_err(|source| io_error("cannot make a folder for the build", source))?;
        let order = self.with_dependents(units);
        let result = self.compile_all(&order, &out, options, cancel).and_then(|(libraries, warnings)| {
            let rustc = started.elapsed();
            let crates = self
                .accept(&order, &out, libraries)
                .map_err(|source| io_error("cannot keep what rustc made", source))?;
            Ok(Rebuilt { crates, rustc, warnings })
        });
        Artifacts::discard(vec![out]);
        result
    }

    /// Compiles; returns the new library of each crate that has one, and the warnings.
    fn compile_all(
        &self,
        order: &[usize],
        out: &Path,
        options: Options,
        cancel: &Cancel,
    ) -> Result<(Vec<Option<PathBuf>>, Vec<Diagnostic>), RebuildError> {
        let mut progress = vec![Progress::Settled; self.units.len()];
        order.iter().for_each(|&index| progress[index] = Progress::Waiting);
        let mut libraries: Vec<Option<PathBuf>> = vec![None; self.units.len()];
        let mut warnings = Vec::new();
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
        failure.map_or(Ok((libraries, warnings)), Err)
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

    /// Makes what was compiled the state that the next rebuild starts from.
    fn accept(
        &mut self,
        order: &[usize],
        out: &Path,
        libraries: Vec<Option<PathBuf>>,
    ) -> std::io::Result<Vec<CrateObjects>> {
        let mut next = Vec::with_capacity(order.len());
        for &index in order {
            let state = &self.units[index];
            let session = latest_session(self.artifacts.folders(), &state.unit)?;
            let objects = state.objects.next(&session, &self.artifacts.objects(state))?;
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
            crates.push(CrateObjects {
                unit: state.unit.id.clone(),
                crate_name: state.unit.record.crate_name.clone(),
                objects: objects.paths(),
            });
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
