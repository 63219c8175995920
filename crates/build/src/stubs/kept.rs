//! The last stub object, for as long as a session needs the same one.

use super::{HotpatchModuleCache, NeededSymbols, Stub, StubError, StubTarget, build_stub_for_needed};
use livepatch_object::address::RuntimeAddress;
use std::sync::Arc;

/// Keeps the last stub object of one host. What was asked for is compared itself, not a hash of it: another list
/// of the same hash would get a stub object that leads elsewhere.
///
/// ```no_run
/// use livepatch_build::stubs::*;
/// use livepatch_object::address::RuntimeAddress;
///
/// # fn main() -> Result<(), StubError> {
/// let host = HotpatchModuleCache::from_path("target/debug/app")?;
/// let mut kept = KeptStub::new(host.clone());
/// let needed = NeededSymbols::from_names(["compute"]);
/// let reference = RuntimeAddress(0x5555_5555_9140);
/// let first = kept.get_or_build(&needed, host.target(), reference)?;
/// let second = kept.get_or_build(&needed, host.target(), reference)?;
/// assert!(std::sync::Arc::ptr_eq(&first, &second));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KeptStub {
    cache: HotpatchModuleCache,
    last: Option<(Key, Arc<Stub>)>,
}

/// All that a stub object depends on, besides the host.
#[derive(PartialEq, Eq, Debug)]
struct Key {
    needed: NeededSymbols,
    target: StubTarget,
    aslr_reference: RuntimeAddress,
}

impl KeptStub {
    /// Keeps none yet.
    pub fn new(cache: HotpatchModuleCache) -> Self {
        Self { cache, last: None }
    }

    /// The last stub object if it is the same that is asked for; else a new one, which is kept.
    pub fn get_or_build(
        &mut self,
        needed: &NeededSymbols,
        target: StubTarget,
        aslr_reference: RuntimeAddress,
    ) -> Result<Arc<Stub>, StubError> {
        if let Some((key, stub)) = &self.last
            && key.needed == *needed
            && (key.target, key.aslr_reference) == (target, aslr_reference)
        {
            return Ok(stub.clone());
        }
        let stub = Arc::new(build_stub_for_needed(needed, &self.cache, target, aslr_reference)?);
        let key = Key { needed: needed.clone(), target, aslr_reference };
        self.last = Some((key, stub.clone()));
        Ok(stub)
    }
}
