//! A patch before it is linked: the same for every process.

use crate::diff::Diff;
use crate::live::{Body, Location, Module};
use crate::place::Layout;
use crate::resolve::{Closure, Lookup, LookupError, NewCode, Redirected, Target, ThreadLocalPlace};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::demangle;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// [`Closure::process_names`], [`Closure::other_tls`] in one process.
type Found = (Vec<Option<RuntimeAddress>>, Vec<Option<ThreadLocalPlace>>);

/// A patch that is ready to be linked for processes.
#[derive(Debug)]
pub struct Draft {
    /// Its number.
    pub number: u32,
    /// The patch that processes must be at.
    pub predecessor: u32,
    pub(super) diff: Diff,
    pub(super) closure: Closure,
    pub(super) layout: Layout,
}

impl Draft {
    /// The redirected functions, demangled, each once: those that do something else first.
    pub fn functions(&self) -> Vec<String> {
        let changed = self.diff.changed.iter().filter(|change| !change.lines_only);
        let more: FxHashSet<&str> = changed.map(|change| change.new.name()).collect();
        let redirected = self.closure.redirected.iter().filter(|r| r.kept.is_none());
        let mut names: Vec<_> =
            redirected.map(|r| (!more.contains(r.name.as_str()), demangle(&r.name))).collect();
        names.sort();
        names.dedup();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// Functions of which old code stays for values and callers of before, demangled.
    pub fn versioned(&self) -> &[String] {
        &self.diff.both_versions
    }

    /// What the user should know.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.diff.notes.iter().chain(&self.closure.notes)
    }

    /// What it was made from.
    pub fn into_diff(self) -> Diff {
        self.diff
    }

    /// Whether no callers of anything in the process would see a difference.
    pub fn is_empty(&self) -> bool {
        self.closure.redirected.is_empty() && self.diff.wanted.is_empty()
    }

    /// Where a process has what the patch needs of it, and other hosts their thread-locals.
    pub(super) fn look_up(&self, lookup: &mut dyn Lookup) -> Result<Found, LookupError> {
        let addresses = lookup.addresses(&self.closure.process_names)?;
        let others = self.closure.other_tls.iter().map(|other| lookup.thread_local(&other.name));
        Ok((addresses, others.collect()))
    }

    /// Bytes of the agent's thread-local reserve that are in use once it is live.
    pub fn tls_reserve_used(&self) -> u64 {
        self.closure.tls_reserve_used
    }

    /// Where it brings the names that are known everywhere.
    pub fn brings(&self) -> BTreeMap<String, Location> {
        let known = self.closure.brought.iter().filter(|(name, ..)| name.scope.is_none());
        known.filter_map(|(name, target, _)| Some((name.symbol.to_string(), self.place(target)?))).collect()
    }

    /// Where a target is from now on; none where it is not of this patch.
    pub(super) fn place(&self, target: &Target) -> Option<Location> {
        match *target {
            Target::Part(part, offset) => Some(Location {
                module: Module::Patch(self.number),
                position: self.layout.parts[part.0] + offset.0,
            }),
            Target::ReserveTls(position) => Some(Location { module: Module::TlsReserve, position }),
            _ => None,
        }
    }
}

/// What the callers of a redirected function get.
pub(super) fn body(draft: &Draft, redirected: &Redirected) -> Body {
    match redirected.body {
        NewCode::Earlier(body) => body,
        NewCode::Part(part, offset) => Body::At(Location {
            module: Module::Patch(draft.number),
            position: draft.layout.parts[part.0] + offset.0,
        }),
    }
}
