//! All hosts of a program: the executable, and the libraries of its build that its processes have loaded.
//!
//! Each is patched by a [`Session`] of its own, on its own ground: its own copy of every static, and of
//! every crate that several of them contain. A file that is loaded twice is two hosts. They have in common
//! what they are rebuilt from, how patches are numbered, and that a patch goes live in all of them or in
//! none (`draft`, `link`).
//!
//! A library that is loaded after patches went live has the code that it was linked from; what it lacks is
//! one patch, to be applied at once ([`Hosts::catch_up`]).

mod draft;
mod link;
mod lookup;
mod versions;

use crate::library::LibraryLink;
use crate::objects::Store;
use crate::process::{Process, ProcessError};
use crate::session::{BaseBuild, CodeAt, Counters, OpenError, Session, UnitId};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::host::build_id_of;
use livepatch_proto::{
    BuildId, Generation, Hello, LoadedModule, ModuleList, Redirected, Shim, SlotSet, WireRange,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use thiserror::Error;
use versions::Versions;

pub use draft::{Changes, Draft};
pub use link::Linked;
pub use lookup::ProcessLookup;

/// Names a host for as long as the session lasts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(u32);

impl HostId {
    /// The program itself.
    pub const PROGRAM: Self = Self(0);
}

/// How many patches, the newest, can be gone back to. All objects are held that were live at one of them.
const KEPT: usize = 32;

/// All hosts of a program.
#[derive(Debug)]
pub struct Hosts {
    /// The libraries of the captured build.
    libraries: Vec<Library>,
    hosts: BTreeMap<HostId, Host>,
    /// Where patch images go.
    folder: PathBuf,
    store: Store,
    counters: Counters,
    versions: Versions,
    /// The patches that can be gone back to, and the one that is live, ascending.
    kept: VecDeque<u32>,
    /// How many hosts there were so far.
    count: u32,
    /// How patches are linked as libraries, if they are.
    link: Option<LibraryLink>,
}

/// A library of the captured build.
#[derive(Debug)]
struct Library {
    base: BaseBuild,
    build_id: BuildId,
}

/// A host of the program.
#[derive(Debug)]
struct Host {
    session: Session,
    /// The crates that it contains.
    units: BTreeSet<UnitId>,
    /// For people; empty for the program itself.
    name: String,
    /// The patch at which its code was that of the base build.
    joined: u32,
    /// Whether it still has that code though there is newer.
    behind: bool,
}

impl Host {
    fn new(session: Session, base: &BaseBuild, name: String) -> Self {
        let units = base.crates.iter().map(|krate| krate.unit.clone()).collect();
        let joined = session.current();
        Self { session, units, name, joined, behind: false }
    }
}

/// A library cannot be patched.
#[derive(Debug, Error)]
#[error("{library} is not patched: edits to it are there when the program is started anew")]
pub struct JoinError {
    /// What people call it.
    pub library: String,
    #[source]
    cause: Cause,
}

#[derive(Debug, Error)]
enum Cause {
    #[error("it was not built by this session")]
    OtherBuild,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A process, and what it has loaded of the program.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its id.
    pub pid: u32,
    /// When this was so.
    pub generation: Generation,
    hosts: BTreeMap<HostId, Process>,
}

impl Loaded {
    /// The patch that the process is at.
    pub fn current(&self) -> u32 {
        self.hosts.get(&HostId::PROGRAM).map_or(0, |program| program.current)
    }

    /// The process is at another patch.
    pub fn set_current(&mut self, patch: u32) {
        self.hosts.values_mut().for_each(|host| host.current = patch);
    }

    /// The process that a forked one has become.
    pub fn set_pid(&mut self, pid: u32) {
        self.pid = pid;
        self.hosts.values_mut().for_each(|host| host.pid = pid);
    }

    /// Takes in what is free in the process now.
    pub fn refresh(&mut self, free_ranges: &[WireRange]) {
        self.hosts.values_mut().for_each(|host| host.refresh(free_ranges));
    }

    /// What the process has loaded.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &Process)> {
        self.hosts.iter().map(|(&id, process)| (id, process))
    }

    /// Has every host leave alone what the others use.
    fn share_space(&mut self) {
        let taken: Vec<_> = self.hosts.values().flat_map(|host| host.islands.taken()).collect();
        if self.hosts.len() > 1 {
            self.hosts.values_mut().for_each(|host| host.islands.avoid(taken.iter().cloned()));
        }
    }
}

impl Hosts {
    /// Reads the base build of the program; that of a library is read when a process has loaded it. Patch
    /// images go into `folder`.
    pub fn open(program: &BaseBuild, libraries: Vec<BaseBuild>, folder: &Path) -> Result<Self, OpenError> {
        let store = Store::default();
        let session = Session::open_one(program, folder, "patch", store.clone(), Counters::default())?;
        let host = Host::new(session, program, String::new());
        let libraries = libraries.into_iter().filter_map(|base| {
            // Without a build id, or a file, no process can say that it has it.
            let build_id = build_id_of(&*std::fs::read(&base.host).ok()?).ok().filter(|id| !id.is_empty())?;
            Some(Library { base, build_id: BuildId(build_id) })
        });
        Ok(Self {
            libraries: libraries.collect(),
            hosts: BTreeMap::from([(HostId::PROGRAM, host)]),
            folder: folder.to_owned(),
            store,
            counters: Counters::default(),
            versions: Versions::default(),
            kept: VecDeque::new(),
            count: 1,
            link: None,
        })
    }

    /// Has patches be libraries that the program's own linker makes.
    pub fn link_libraries(&mut self, link: LibraryLink) {
        self.hosts.values_mut().for_each(|host| host.session.link_libraries(Some(link.clone())));
        self.link = Some(link);
    }

    /// Reads what the first edit will need, on threads of their own.
    pub fn read_ahead(&self) {
        self.hosts.values().for_each(|host| host.session.read_ahead());
    }

    /// The build id of the program.
    pub fn build_id(&self) -> BuildId {
        let program = self.hosts.get(&HostId::PROGRAM);
        BuildId(program.map(|host| host.session.host().build_id().to_vec()).unwrap_or_default())
    }

    /// The build ids of the libraries.
    pub fn library_ids(&self) -> Vec<BuildId> {
        self.libraries.iter().map(|library| library.build_id.clone()).collect()
    }

    /// The patch that processes are at.
    pub fn current(&self) -> u32 {
        self.counters.current
    }

    /// Whether debug information says how types are laid out.
    pub fn knows_types(&self) -> bool {
        self.hosts.values().all(|host| host.session.knows_types())
    }

    /// The function whose code an address of a process is in.
    pub fn code_at(&self, loaded: &Loaded, address: RuntimeAddress) -> Option<CodeAt> {
        let each = loaded.hosts.iter().filter_map(|(id, process)| Some((self.hosts.get(id)?, process)));
        each.filter_map(|(host, process)| host.session.code_at(process, address)).next()
    }

    /// A process that said hello, and which libraries it has loaded that cannot be patched.
    pub fn attach(&mut self, hello: &Hello) -> Result<(Loaded, Vec<JoinError>), ProcessError> {
        let program = self.program(hello)?;
        Ok(self.load(hello, program))
    }

    /// The same for one in which earlier sessions have redirected these functions, and left these shims. It is
    /// taken to be at the base build; with where slots must point for it to be so.
    pub fn adopt(
        &mut self,
        hello: &Hello,
        redirected: &[Redirected],
        shims: &[Shim],
    ) -> Result<(Loaded, Vec<SlotSet>, Vec<JoinError>), ProcessError> {
        let mut program = self.program(hello)?;
        let slots = program.inherit(redirected, shims);
        if let Some(host) = self.hosts.get_mut(&HostId::PROGRAM) {
            host.session.inherit(&program);
        }
        let (loaded, errors) = self.load(hello, program);
        Ok((loaded, slots, errors))
    }

    fn program(&self, hello: &Hello) -> Result<Process, ProcessError> {
        let program = self.hosts.get(&HostId::PROGRAM);
        let program = program.ok_or(ProcessError::BadAddresses { pid: hello.pid })?;
        Process::new(hello, program.session.host())
    }

    fn load(&mut self, hello: &Hello, program: Process) -> (Loaded, Vec<JoinError>) {
        let hosts = BTreeMap::from([(HostId::PROGRAM, program)]);
        let mut loaded = Loaded { pid: hello.pid, generation: Generation::default(), hosts };
        let warnings = self.update(&mut loaded, &hello.modules, &hello.free_ranges);
        (loaded, warnings)
    }

    /// Takes in what a process has loaded now. Returns what cannot be patched of it.
    pub fn update(
        &mut self,
        loaded: &mut Loaded,
        list: &ModuleList,
        free_ranges: &[WireRange],
    ) -> Vec<JoinError> {
        loaded.generation = list.generation;
        loaded.refresh(free_ranges);
        let is_there = |process: &Process| {
            process.library().is_none_or(|key| list.modules.iter().any(|module| module.key == *key))
        };
        loaded.hosts.retain(|_, process| is_there(process));
        let known: BTreeSet<_> =
            loaded.hosts.values().filter_map(|process| Some(process.library()?.clone())).collect();
        let new = list.modules.iter().filter(|module| !known.contains(&module.key));
        new.filter_map(|module| {
            let cause = self.join(loaded, module, free_ranges).err()?;
            Some(JoinError { library: short(&module.name).to_owned(), cause })
        })
        .collect()
    }

    /// Whether any library of the captured build can ever be loaded.
    pub fn has_libraries(&self) -> bool {
        !self.libraries.is_empty()
    }

    /// Makes a module a host, if it is a library of the captured build.
    fn join(
        &mut self,
        loaded: &mut Loaded,
        module: &LoadedModule,
        free_ranges: &[WireRange],
    ) -> Result<(), Cause> {
        let Some(library) = self.libraries.iter().find(|library| library.build_id == module.key.build_id)
        else {
            return self.stranger(module);
        };
        let Some(program) = loaded.hosts.get(&HostId::PROGRAM) else { return Ok(()) };
        let id = HostId(self.count);
        let name = format!("patch-{}", id.0);
        let mut session =
            Session::open_one(&library.base, &self.folder, &name, self.store.clone(), self.counters)?;
        session.link_libraries(self.link.clone());
        let process = program.with_library(module, session.host(), free_ranges)?;
        session.inherit(&process);
        session.read_ahead();
        let mut host = Host::new(session, &library.base, short(&module.name).to_owned());
        host.behind = self.versions.latest_of(&host.units).next().is_some();
        loaded.hosts.insert(id, process);
        self.hosts.insert(id, host);
        self.count += 1;
        Ok(())
    }

    /// A module that is none of the captured libraries, but has the name of one, is of another build.
    fn stranger(&self, module: &LoadedModule) -> Result<(), Cause> {
        let captured =
            |library: &Library| library.base.host.file_name() == Path::new(&module.name).file_name();
        match self.libraries.iter().any(captured) {
            true => Err(Cause::OtherBuild),
            false => Ok(()),
        }
    }

    /// Forgets libraries that no process has loaded any more.
    pub fn forget_unloaded<'l>(&mut self, processes: impl Iterator<Item = &'l Loaded>) {
        let used: BTreeSet<HostId> = processes.flat_map(|loaded| loaded.hosts.keys().copied()).collect();
        self.hosts.retain(|id, _| *id == HostId::PROGRAM || used.contains(id));
    }

    /// Whether it is known how to go back to a patch: to one of the newest, or to the beginning.
    pub fn can_go_back_to(&self, patch: u32) -> bool {
        patch == 0 || self.kept.contains(&patch)
    }

    /// A patch is live. What was live long before is let go of.
    fn note_live(&mut self, patch: u32) {
        if self.kept.back() != Some(&patch) {
            self.kept.push_back(patch);
        }
        if self.kept.len() > KEPT + 1 {
            self.kept.pop_front();
            let oldest = self.kept.front().copied().unwrap_or(patch);
            self.hosts.values_mut().for_each(|host| host.session.forget_before(oldest));
            self.versions.forget_before(oldest);
            self.store.retain(&self.versions.objects());
        }
    }

    /// Where the slots of a process must point for it to be at an earlier patch.
    pub fn rollback_slots(&self, loaded: &Loaded, to: u32) -> Vec<SlotSet> {
        let each = loaded.hosts.iter().filter_map(|(id, process)| Some((self.hosts.get(id)?, process)));
        each.flat_map(|(host, process)| host.session.rollback_slots(process, to)).collect()
    }

    /// The processes are at an earlier patch. Libraries that were loaded later have the code that they were
    /// linked from, and may be [behind](Hosts::catch_up).
    pub fn commit_rollback(&mut self, to: u32) {
        self.versions.revert_to(to);
        self.kept.retain(|&patch| patch <= to);
        self.counters.current = to;
        for host in self.hosts.values_mut() {
            host.session.commit_rollback(to);
            if host.joined > to {
                host.joined = to;
                host.behind = self.versions.latest_of(&host.units).next().is_some();
            }
        }
    }

    fn set_counters(&mut self, counters: Counters) {
        self.counters = counters;
        self.hosts.values_mut().for_each(|host| host.session.set_counters(counters));
    }
}

/// What people call a library: the name of its file.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
