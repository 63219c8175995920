//! What is replaced, and by what.

use super::lookup::Method;
use super::memory::RecordAddress;
use crate::jni::KeptClass;
use crate::record::Record;
use std::sync::Arc;

/// A method that is replaced, or is about to be.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) target: Method,
    /// Its record before the first patch. What it says about the class is never used.
    pub(super) original: Record,
    /// All methods of its class, where records are copied.
    pub(super) anchors: Arc<[RecordAddress]>,
    /// The bodies that patches gave it; the last one is what callers get.
    pub(super) bodies: Vec<Body>,
}

/// A body that a patch brought.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) patch: u32,
    pub(super) fix: RecordAddress,
    /// Whose record that is: it is there as long as the class is.
    pub(super) _class: KeptClass,
}

/// A patch that was applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Its number, from 1.
    pub number: u32,
    /// Its methods.
    pub methods: Vec<String>,
}

/// A method that is replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaced {
    /// Its class, name and signature.
    pub method: String,
    /// The patches that replace it; the last one's body is called.
    pub patches: Vec<u32>,
}
