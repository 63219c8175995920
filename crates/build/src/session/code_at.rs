//! Whose code an address of a process is.

use super::Session;
use crate::live::{Location, Module};
use crate::process::Process;
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use livepatch_object::demangle;
use livepatch_object::host::Host;

/// A function of the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeAt {
    /// Its name, demangled.
    pub function: String,
    /// The patch that brought this body of it; none for the base build's.
    pub patch: Option<u32>,
}

impl Session {
    /// The function whose code an address is in: the host's, a patch's, or a relocated prologue's.
    pub fn code_at(&self, process: &Process, address: RuntimeAddress) -> Option<CodeAt> {
        let location = process.location(address)?;
        match location.module {
            Module::Host => {
                let function = self.host.function_at(LinkAddress(location.position))?;
                Some(CodeAt { function: demangle(self.host.name(function)), patch: None })
            }
            Module::Patch(number) => {
                let function = image_function(process, number, location)?;
                Some(CodeAt { function, patch: Some(number) })
            }
            Module::TlsReserve => None,
        }
    }
}

fn image_function(process: &Process, number: u32, location: Location) -> Option<String> {
    let image = process.image(number)?;
    let file = Host::parse(std::fs::read(&image.path).ok()?).ok()?;
    Some(demangle(file.name(file.function_at(image.link(location.position)?)?)))
}
