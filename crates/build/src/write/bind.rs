//! What targets are in one process.

use super::{BIAS, WriteError};
use crate::place::{Cell, Layout};
use crate::process::Process;
use crate::resolve::{Closure, Target, ThreadLocalPlace};
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::demangle;

/// Everything that turns a target into a number.
#[derive(Debug)]
pub struct Bind<'b> {
    closure: &'b Closure,
    layout: &'b Layout,
    process: &'b Process,
    base: RuntimeAddress,
    /// Addresses of [`Closure::process_names`].
    process_addresses: &'b [Option<RuntimeAddress>],
    /// Places of [`Closure::other_tls`].
    other_tls: &'b [Option<ThreadLocalPlace>],
}

impl<'b> Bind<'b> {
    /// Binds a patch to `process`, its image starting at `base`.
    pub fn new(
        closure: &'b Closure,
        layout: &'b Layout,
        process: &'b Process,
        base: RuntimeAddress,
        process_addresses: &'b [Option<RuntimeAddress>],
        other_tls: &'b [Option<ThreadLocalPlace>],
    ) -> Self {
        Self { closure, layout, process, base, process_addresses, other_tls }
    }

    /// The run-time address of an offset in the image.
    pub fn runtime(&self, offset: u64) -> RuntimeAddress {
        RuntimeAddress(self.base.0.wrapping_add(offset))
    }

    /// The link-time address of the image's first byte.
    pub fn link_base(&self) -> LinkAddress {
        LinkAddress(self.base.0.wrapping_sub(BIAS))
    }

    /// The address (or fixed value) of a target.
    pub fn address(&self, target: Target) -> Result<u64, WriteError> {
        match target {
            Target::Part(part, offset) => {
                let start =
                    self.layout.parts.get(part.0).ok_or(WriteError::Inconsistent("a part's place"))?;
                self.own(start.wrapping_add(offset.0))
            }
            Target::Live(location) => {
                let address = self.process.address(location);
                Ok(address.ok_or(WriteError::Inconsistent("a location without its image"))?.0)
            }
            Target::Process(name) => {
                let address = self.process_addresses.get(name).copied().flatten();
                Ok(address.ok_or_else(|| self.absent(name))?.0)
            }
            Target::ShimSlot(entry) => {
                let slot = self.process.shim_slot(entry, self.process.current);
                Ok(slot.ok_or(WriteError::Inconsistent("a shim without its slot"))?.0)
            }
            Target::Absolute(value) => Ok(value.cast_unsigned()),
            Target::HostTls(_) | Target::OtherTls(_) | Target::ReserveTls(_) => {
                Err(WriteError::Inconsistent("a thread-local used as if it had one address"))
            }
        }
    }

    /// The address of a place in this patch.
    fn own(&self, position: u64) -> Result<u64, WriteError> {
        match self.process.image(self.process.current).filter(|image| image.library.is_some()) {
            Some(library) => library.address(position).map(|address| address.0),
            None => Some(self.runtime(position).0),
        }
        .ok_or(WriteError::Inconsistent("a part that the library does not have"))
    }

    /// Whether code is known to be at a place of a patch library.
    pub fn is_code(&self, patch: u32, position: u64) -> bool {
        self.process.image(patch).is_some_and(|image| image.is_code(position))
    }

    /// The offset of a thread-local from the thread pointer.
    pub fn tp_offset(&self, target: Target) -> Result<i64, WriteError> {
        let offset = match target {
            Target::HostTls(offset) => self.process.host_tp_offset(offset),
            Target::ReserveTls(offset) => self.process.reserve_tp_offset(offset),
            Target::OtherTls(index) => match self.other(index)? {
                ThreadLocalPlace::At(offset) => Some(offset),
                ThreadLocalPlace::In { .. } => return Err(WriteError::StaticThreadLocal),
            },
            _ => None,
        };
        offset.ok_or(match self.process.tls_module() {
            Some(_) => WriteError::StaticThreadLocal,
            None => WriteError::Inconsistent("a thread-local outside the program"),
        })
    }

    /// What a thread-local's place is counted as behind the start of the block that a local-dynamic access takes:
    /// the host's own, or the thread pointer where the access is rewritten.
    pub fn block_offset(&self, target: Target) -> Result<i64, WriteError> {
        match target {
            Target::HostTls(offset) if self.closure.dynamic_tls => Ok(offset.cast_signed()),
            _ => self.tp_offset(target),
        }
    }

    /// What a cell holds; the second word counts only where it is that long.
    pub fn cell(&self, cell: Cell) -> Result<[u64; 2], WriteError> {
        let module = self.process.tls_module().ok_or(WriteError::Inconsistent("a module's number"));
        match cell {
            Cell::Address(target) => Ok([self.address(target)?, 0]),
            Cell::ThreadOffset(target) => Ok([self.tp_offset(target)?.cast_unsigned(), 0]),
            Cell::ThreadIndex(Target::HostTls(offset)) => Ok([module?, offset]),
            Cell::ThreadIndex(Target::OtherTls(index)) => match self.other(index)? {
                ThreadLocalPlace::In { module, offset } => Ok([module, offset]),
                ThreadLocalPlace::At(_) => Err(WriteError::Inconsistent("a thread-local's module")),
            },
            Cell::ThreadIndex(_) => Err(WriteError::Inconsistent("a thread-local of no module")),
            Cell::ThreadModule => Ok([module?, 0]),
        }
    }

    fn other(&self, index: usize) -> Result<ThreadLocalPlace, WriteError> {
        let place = self.other_tls.get(index).copied().flatten();
        place.ok_or_else(|| {
            let other = self.closure.other_tls.get(index);
            WriteError::Absent(other.map(|other| demangle(&other.name)).unwrap_or_default())
        })
    }

    fn absent(&self, name: usize) -> WriteError {
        WriteError::Absent(
            self.closure.process_names.get(name).map(|name| demangle(name)).unwrap_or_default(),
        )
    }
}
