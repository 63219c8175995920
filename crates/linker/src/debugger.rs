//! Telling debuggers.

use crate::loaded::Loaded;

pub(crate) fn loaded(_library: &Loaded) {}

pub(crate) fn unloading(_library: &Loaded) {}
