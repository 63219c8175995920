//! livepatch-build
