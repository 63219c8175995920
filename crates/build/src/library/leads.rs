//! Where what is outside of a patch is in one process.

use super::LibraryError;
use super::object::Outside;
use crate::live::{Location, Module};
use crate::resolve::Target;
use crate::stubs::{Lead, Leads, StubTarget};
use crate::write::Bind;
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::host::Host;

pub(super) fn leads(
    outside: &[Outside],
    bind: &Bind<'_>,
    host: &Host,
    target: StubTarget,
) -> Result<Leads, LibraryError> {
    let mut leads = Leads::new(target);
    for one in outside {
        let lead = match one.target {
            Target::HostTls(_) | Target::OtherTls(_) | Target::ReserveTls(_) => {
                Lead::ThreadLocal(bind.tp_offset(one.target)?)
            }
            target => {
                let address = RuntimeAddress(bind.address(target)?);
                if is_code(target, bind, host) { Lead::Code(address) } else { Lead::Place(address) }
            }
        };
        leads.insert(&one.symbol, lead);
    }
    Ok(leads)
}

/// Whether a target is known to be code. Of a dynamic symbol only the process knows.
fn is_code(target: Target, bind: &Bind<'_>, host: &Host) -> bool {
    let Target::Live(Location { module, position }) = target else { return false };
    match module {
        Module::Host => host.code(LinkAddress(position)).is_some(),
        Module::Patch(number) => bind.is_code(number, position),
        Module::TlsReserve => false,
    }
}
