//! Flags of `dlopen`, as a type.

use crate::LinkerError;
use livepatch_object::loadable::machine::Machine;

/// How a library is to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flags {
    /// Functions are bound when they are first called (`RTLD_LAZY`), where the library allows that.
    pub lazy: bool,
    /// Libraries that are loaded later find its symbols (`RTLD_GLOBAL`).
    pub global: bool,
    /// Only if it is loaded already (`RTLD_NOLOAD`).
    pub no_load: bool,
    /// It is never unloaded (`RTLD_NODELETE`).
    pub no_delete: bool,
}

impl Flags {
    /// Everything bound before `dlopen` returns, symbols for its own group only.
    pub const NOW: Self = Self { lazy: false, global: false, no_load: false, no_delete: false };
    /// The same, functions bound at their first call.
    pub const LAZY: Self = Self { lazy: true, ..Self::NOW };

    /// With `RTLD_GLOBAL`.
    #[must_use]
    pub const fn global(self) -> Self {
        Self { global: true, ..self }
    }

    /// With `RTLD_NOLOAD`.
    #[must_use]
    pub const fn no_load(self) -> Self {
        Self { no_load: true, ..self }
    }

    /// With `RTLD_NODELETE`.
    #[must_use]
    pub const fn no_delete(self) -> Self {
        Self { no_delete: true, ..self }
    }

    /// Of the C function's argument, with this system's values.
    pub fn from_bits(bits: i32) -> Result<Self, LinkerError> {
        let known =
            libc::RTLD_LAZY | libc::RTLD_NOW | libc::RTLD_GLOBAL | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        match bits & !known {
            0 => Ok(Self {
                lazy: bits & libc::RTLD_NOW == 0,
                global: bits & libc::RTLD_GLOBAL != 0,
                no_load: bits & libc::RTLD_NOLOAD != 0,
                no_delete: bits & libc::RTLD_NODELETE != 0,
            }),
            _ => Err(LinkerError::InvalidFlags(bits)),
        }
    }
}

/// The machine that this process runs on.
pub(crate) fn native() -> Result<Machine, LinkerError> {
    Machine::native().ok_or(LinkerError::UnknownMachine)
}
