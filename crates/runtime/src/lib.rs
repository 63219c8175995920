//! livepatch-runtime
