//! What must hold: real programs, patched through the command, asked afterwards what they do and what
//! became of their state.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at what it cannot do without")]

#[path = "../sessions/project.rs"]
#[expect(dead_code, reason = "shared with the tests of sessions, which use more of it")]
mod project;
#[path = "../sessions/session.rs"]
#[expect(dead_code, reason = "shared with the tests of sessions, which use more of it")]
mod session;

mod additions;
mod back;
mod calls;
mod code;
mod crashes;
mod debugger;
mod dialled;
mod dylibs;
mod full;
mod growth;
mod live;
mod load;
mod panics;
mod parts;
mod peers;
mod plugins;
mod processes;
mod profiler;
mod profiles;
mod projects;
mod state;
mod stopped;
mod strangers;
mod tiny;
mod via_library;
mod workspaces;
