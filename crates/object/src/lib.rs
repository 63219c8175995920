//! livepatch-object
