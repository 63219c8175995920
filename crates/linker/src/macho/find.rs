//! Find: which image a name means, with all that it needs, breadth first.

use super::error::Error;
use super::loaded::{Dependency, Loaded, Module};
use super::read;
use super::state::State;
use crate::loaded::LibraryId;
use crate::provider::Precedence;
use crate::trace::{Event, Outcome, Phase};
use livepatch_object::macho::commands::LibraryKind;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// What a search comes to.
pub(super) struct Found {
    pub(super) root: Arc<Loaded>,
    /// What has to be linked for it, in the order in which it was found.
    pub(super) new: Vec<Arc<Loaded>>,
}

/// A name, who needs it, and whose run paths count.
struct Task<'a> {
    name: &'a str,
    kind: LibraryKind,
    /// The image that needs it, and those that have it loaded, the nearest first.
    chain: &'a [Arc<Loaded>],
}

/// Looks for an image and all that it needs.
pub(super) fn find(state: &State, linker: &Weak<super::linker::Shared>, name: &str) -> Result<Found, Error> {
    let mut finder = Finder { state, linker, new: Vec::new() };
    let task = Task { name, kind: LibraryKind::Load, chain: &[] };
    let missing = || Error::NotFound { name: name.to_owned(), by: None, tried: Vec::new() };
    let root = match finder.module(&task)? {
        Module::Image(_, image) => image.upgrade().ok_or_else(missing)?,
        _ => return Err(missing()),
    };
    // Each image with the way by which it was found first.
    let mut chains: Vec<Vec<Arc<Loaded>>> = finder.new.iter().map(|image| vec![Arc::clone(image)]).collect();
    let mut next = 0;
    while let Some(image) = finder.new.get(next).cloned() {
        let chain = chains[next].clone();
        let mut dependencies = Vec::with_capacity(image.image.libraries.len());
        for library in &image.image.libraries {
            let task = Task { name: &library.name, kind: library.kind, chain: &chain };
            let before = finder.new.len();
            let module = finder.module(&task)?;
            for found in &finder.new[before..] {
                chains.push([std::slice::from_ref(found), &chain].concat());
            }
            dependencies.push(Dependency { kind: library.kind, module });
        }
        // It is set here only, once.
        let _ = image.dependencies.set(dependencies);
        next += 1;
    }
    Ok(Found { root, new: finder.new })
}

struct Finder<'a> {
    state: &'a State,
    linker: &'a Weak<super::linker::Shared>,
    new: Vec<Arc<Loaded>>,
}

impl Finder<'_> {
    fn note(&self, task: &Task<'_>, outcome: Outcome) {
        if let Some(trace) = &self.state.trace {
            let by = task.chain.first().map(|image| image.path.to_string());
            let (name, namespace) = (task.name.to_owned(), "(default)".to_owned());
            trace.record(Phase::Find, Event::Search { name, by, namespace, outcome });
        }
    }

    fn known(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.state.images().chain(&self.new)
    }

    fn module(&mut self, task: &Task<'_>) -> Result<Module, Error> {
        let stands = self.state.providers.iter().find(|provider| {
            provider.precedence == Precedence::AsLibrary && provider.symbols.stands_for(task.name)
        });
        if let Some(provider) = stands {
            self.note(task, Outcome::Provider { provider: provider.symbols.name().to_owned() });
            return Ok(Module::Provider(Arc::clone(&provider.symbols)));
        }
        let named = self.known().find(|image| image.install_name() == Some(task.name));
        if let Some(image) = named.cloned() {
            self.note(task, Outcome::Loaded { library: image.path.to_string() });
            return Ok(Module::Image(image.id, Arc::downgrade(&image)));
        }
        let candidates = candidates(task, &self.state.search_paths);
        for path in &candidates {
            if let Some(opened) = open(path)? {
                return self.opened(task, opened);
            }
        }
        self.note(task, Outcome::Nothing);
        if task.kind == LibraryKind::Weak {
            return Ok(Module::Missing);
        }
        Err(Error::NotFound {
            name: task.name.to_owned(),
            by: task.chain.first().map(|image| image.path.to_string()),
            tried: candidates.iter().map(|path| path.display().to_string()).collect(),
        })
    }

    fn opened(&mut self, task: &Task<'_>, (path, file): (PathBuf, File)) -> Result<Module, Error> {
        let text = path.to_string_lossy().into_owned();
        let opened = read::Opened::new(text, file)?;
        let same = self.known().find(|image| image.identity == opened.identity());
        if let Some(image) = same.cloned() {
            self.note(task, Outcome::Loaded { library: image.path.to_string() });
            return Ok(Module::Image(image.id, Arc::downgrade(&image)));
        }
        self.note(task, Outcome::File { path: opened.path().to_owned() });
        let image = read::load(
            opened,
            LibraryId::next(),
            self.linker,
            &self.state.providers,
            self.state.trace.as_ref(),
        )?;
        let image = Arc::new(image);
        let module = Module::Image(image.id, Arc::downgrade(&image));
        self.new.push(image);
        Ok(module)
    }
}

/// A file, if there is one at that path.
fn open(path: &Path) -> Result<Option<(PathBuf, File)>, Error> {
    match File::open(path) {
        Ok(file) => {
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            Ok(Some((path, file)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// Where a name is looked for, in this order.
fn candidates(task: &Task<'_>, search: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let base = task.name.rsplit('/').next().unwrap_or(task.name);
    if !task.chain.is_empty() || !task.name.contains('/') {
        all.extend(search.iter().map(|folder| folder.join(base)));
    }
    let loader = task.chain.first();
    let executable = || task.chain.last();
    if let Some(rest) = task.name.strip_prefix("@rpath/") {
        for image in task.chain {
            let paths = image.image.rpaths.iter();
            all.extend(paths.map(|path| expanded(path, Some(image), executable()).join(rest)));
        }
    } else {
        all.push(expanded(task.name, loader, executable()));
    }
    all
}

/// A path with what stands for the folders of an image and of the first one of all.
fn expanded(path: &str, loader: Option<&Arc<Loaded>>, executable: Option<&Arc<Loaded>>) -> PathBuf {
    let folder = |image: Option<&Arc<Loaded>>| {
        let path = image.map(|image| Path::new(&*image.path));
        path.and_then(Path::parent).unwrap_or(Path::new(".")).to_owned()
    };
    let rest = |prefix: &str| {
        let rest = path.strip_prefix(prefix)?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    };
    if let Some(rest) = rest("@loader_path") {
        return folder(loader).join(rest);
    }
    if let Some(rest) = rest("@executable_path") {
        return folder(executable).join(rest);
    }
    PathBuf::from(path)
}
