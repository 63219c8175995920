//! Names that a host does not have itself: the process's libraries, and what patches brought to other hosts.

use super::{Host, HostId};
use crate::library::LoadedLibrary;
use crate::live::{Entity, Location, Module, Name};
use crate::process::Process;
use crate::resolve::{Lookup, LookupError, ThreadLocalPlace};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::relocatable::{Binding, SymbolKind};
use livepatch_proto::ModuleKey;
use std::collections::BTreeMap;
use std::path::Path;

/// Asks a process where a module of it finds dynamic symbols.
pub trait ProcessLookup {
    /// The address of each name, as the dynamic linker finds it for that module (none: for the program);
    /// none where it does not.
    fn addresses(
        &mut self,
        within: Option<&ModuleKey>,
        names: &[String],
    ) -> Result<Vec<Option<RuntimeAddress>>, LookupError>;

    /// As [`Lookup::load`].
    fn load(&mut self, library: &Path, length: u64) -> Result<LoadedLibrary, String>;
}

/// A definition that one host needs of another.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) host: HostId,
    pub(super) entity: Entity,
}

/// What else there is, once the process does not know a name.
pub(super) trait Elsewhere {
    /// Where another host has it.
    fn find(&mut self, name: &str) -> Option<RuntimeAddress>;

    /// Where another host has a thread-local of that name.
    fn find_thread_local(&mut self, name: &str) -> Option<ThreadLocalPlace>;
}

/// Looks names up for one host.
pub(super) struct ForHost<'l> {
    pub(super) key: Option<ModuleKey>,
    pub(super) process: &'l mut dyn ProcessLookup,
    pub(super) elsewhere: &'l mut dyn Elsewhere,
}

impl Lookup for ForHost<'_> {
    fn addresses(&mut self, names: &[String]) -> Result<Vec<Option<RuntimeAddress>>, LookupError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self.process.addresses(self.key.as_ref(), names)?;
        for (name, address) in names.iter().zip(&mut found) {
            // Names of Rust's say which build of which crate they are of.
            let is_rust = name.starts_with("_ZN") || name.starts_with("_R");
            if address.is_none() && is_rust {
                *address = self.elsewhere.find(name);
            }
        }
        Ok(found)
    }

    fn thread_local(&mut self, name: &str) -> Option<ThreadLocalPlace> {
        self.elsewhere.find_thread_local(name)
    }

    fn load(&mut self, library: &Path, length: u64) -> Result<LoadedLibrary, String> {
        self.process.load(library, length)
    }
}

/// Where a host is that other hosts look for names in: one that was linked already shows what it brings.
pub(super) struct Provider<'l> {
    pub(super) host: &'l Host,
    pub(super) process: &'l Process,
    /// What the patch that is being linked brings to it.
    pub(super) brings: BTreeMap<String, Location>,
}

impl Provider<'_> {
    pub(super) fn address(&self, name: &str) -> Option<RuntimeAddress> {
        self.process.address(self.brought(name)?)
    }

    /// Where the host itself has a thread-local, or a patch brought one to it.
    pub(super) fn thread_local(&self, name: &str) -> Option<ThreadLocalPlace> {
        if let Some(Location { module: Module::TlsReserve, position }) = self.brought(name) {
            return self.process.reserve_tp_offset(position).map(ThreadLocalPlace::At);
        }
        let mut own = self.host.session.host().definitions(name);
        let own =
            own.find(|symbol| symbol.kind == SymbolKind::ThreadLocal && symbol.binding != Binding::Local)?;
        let offset = own.address.0;
        match self.process.host_tp_offset(offset) {
            Some(offset) => Some(ThreadLocalPlace::At(offset)),
            None => Some(ThreadLocalPlace::In { module: self.process.tls_module()?, offset }),
        }
    }

    fn brought(&self, name: &str) -> Option<Location> {
        let known = Name { symbol: name.into(), scope: None };
        self.brings.get(name).copied().or_else(|| self.host.session.brought(&known))
    }
}
