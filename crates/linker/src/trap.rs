//! Functions that are not there: each name gets an address of its own, and whoever calls it is told the name
//! before the process ends.

use crate::memory::{Protection, Reservation};
use crate::page;
use crate::provider::SymbolProvider;
use livepatch_object::address::RuntimeAddress;
use rustc_hash::FxHashMap;
use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};

/// Defines every symbol that it is asked for (or those of a list), as a function that must not be called.
///
/// Variables cannot be told from functions by their names: code that reads one of these reads instructions.
#[derive(Default)]
pub struct Trap {
    names: Option<Vec<String>>,
    stubs: Mutex<Stubs>,
}

#[derive(Default)]
struct Stubs {
    by_name: FxHashMap<String, RuntimeAddress>,
    /// Whole pages of stubs: those that are full, and the one that is not. Kept for good: code may call them.
    page: Option<(std::mem::ManuallyDrop<Reservation>, u64)>,
}

/// Bytes of a stub.
const STUB: u64 = 32;

impl Trap {
    /// For every name.
    pub fn new() -> Self {
        Self::default()
    }

    /// For these names.
    pub fn of(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { names: Some(names.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// The names that were asked for so far.
    pub fn asked(&self) -> Vec<String> {
        let stubs = self.stubs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = stubs.by_name.keys().cloned().collect();
        names.sort();
        names
    }
}

impl SymbolProvider for Trap {
    fn name(&self) -> &str {
        "trap"
    }

    fn find(&self, symbol: &str, _version: Option<&str>) -> Option<RuntimeAddress> {
        if self.names.as_ref().is_some_and(|names| !names.iter().any(|name| name == symbol)) {
            return None;
        }
        let mut stubs = self.stubs.lock().unwrap_or_else(PoisonError::into_inner);
        stubs.of(symbol)
    }
}

impl Stubs {
    fn of(&mut self, symbol: &str) -> Option<RuntimeAddress> {
        if let Some(&known) = self.by_name.get(symbol) {
            return Some(known);
        }
        if self.page.as_ref().is_none_or(|(page, used)| used + STUB > page.size()) {
            let page = Reservation::new(page::size(), page::size()).ok()?;
            self.page = Some((std::mem::ManuallyDrop::new(page), 0));
        }
        let (page, used) = self.page.as_mut()?;
        let code = stub(crate::interpose::interned(symbol), trapped as *const () as u64)?;
        // Nobody calls stubs of this page while it is writable but by calling what was never defined, in
        // another thread, at this moment: that ends the process one way or the other.
        page.protect(0..page.size(), Protection::READ_WRITE).ok()?;
        page.write(*used, &code);
        page.protect(0..page.size(), Protection::READ_EXECUTE).ok()?;
        let at = RuntimeAddress(page.start().0 + *used);
        *used += STUB;
        self.by_name.insert(symbol.to_owned(), at);
        Some(at)
    }
}

/// Passes the name to a function.
fn stub(name: *const c_char, to: u64) -> Option<Vec<u8>> {
    let name = (name as u64).to_le_bytes();
    let to = to.to_le_bytes();
    let mut code = Vec::with_capacity(STUB as usize);
    if cfg!(target_arch = "x86_64") {
        // movabs rdi, name; movabs rax, to; and rsp, -16; call rax
        code.extend([0x48, 0xbf].iter().chain(&name));
        code.extend([0x48, 0xb8].iter().chain(&to));
        code.extend([0x48, 0x83, 0xe4, 0xf0, 0xff, 0xd0]);
    } else if cfg!(target_arch = "aarch64") {
        // ldr x0, .+16; ldr x16, .+20; br x16; nop; name; to
        for word in [0x5800_0080_u32, 0x5800_00b0, 0xd61f_0200, 0xd503_201f] {
            code.extend(word.to_le_bytes());
        }
        code.extend(name.iter().chain(&to));
    } else {
        return None;
    }
    Some(code)
}

unsafe extern "C" fn trapped(name: *const c_char) -> ! {
    // SAFETY: a stub's name, which is there for good.
    let name = unsafe { std::ffi::CStr::from_ptr(name) };
    eprintln!("livepatch: `{}` was called, which nothing defines", name.to_string_lossy());
    std::process::abort();
}
