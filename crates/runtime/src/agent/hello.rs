//! How this process introduces itself.

use super::address::PAGE;
use super::state::{self, Session};
use super::{entry, free_ranges, loader, modules, tls};
use livepatch_proto::{BuildId, Hello, Os, WireAddress};
use std::ops::ControlFlow;

pub(crate) use crate::build_id::find_build_id;

pub(crate) fn hello(session: &Session) -> Hello {
    Hello {
        token: session.invitation.token,
        build_id: build_id(),
        arch: entry::ARCH,
        os: Os::LinuxGnu,
        pid: std::process::id(),
        origin: state::origin(),
        page_size: PAGE as u32,
        aslr_reference: entry_point(),
        current: state::current(),
        redirection: session.redirection.clone(),
        tls_reserve: tls::reserve(),
        free_ranges: free_ranges::free_ranges(),
        modules: modules::list(),
    }
}

/// Where the host's entry point is.
fn entry_point() -> WireAddress {
    // SAFETY: `getauxval` only reads.
    WireAddress(unsafe { libc::getauxval(libc::AT_ENTRY) })
}

/// The main program's build id; empty where it has none.
pub(crate) fn build_id() -> BuildId {
    let id = loader::visit_modules(|host| ControlFlow::Break(modules::build_id(host)));
    id.flatten().unwrap_or(BuildId(Vec::new()))
}
