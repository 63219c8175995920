//! Redirects a function of the agent's own, once, before any code of the program is touched.

use super::address::{CodeWord, Ground};
use super::memory::{CodePages, SystemError, WritablePages, page_size_is_expected, read_code};
use super::trap_table::{Continuation, TRAPS};
use super::{entry, loader, membarrier, process_status};
use livepatch_proto::{ApplyError, Redirection, WireAddress};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Finds out whether functions of this process can be redirected.
///
/// `ready` is how preparing for it went: membarrier and the signal handlers.
pub(crate) fn run(ready: Result<(), SystemError>) -> Redirection {
    let outcome = ready.map_err(reason).and_then(|()| redirect());
    match outcome {
        Ok(()) => Redirection::Entry,
        Err(reason) => Redirection::Unavailable { reason },
    }
}

fn reason(error: impl Into<ApplyError>) -> String {
    error.into().to_string()
}

fn redirect() -> Result<(), String> {
    if !page_size_is_expected() {
        return Err("pages of another size than 4096 bytes".to_owned());
    }
    let start = entry::self_test_entry();
    let ground = loader::visit_modules(|module| {
        if !module.contains(start) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(Ground::new(module.code().collect(), Arc::default()))
    })
    .unwrap_or_default();
    let word = CodeWord::check(WireAddress(start), &ground).map_err(reason)?;
    let pages = [CodePages { span: word.address().span().pages(), writable: false }];
    let old =
        read_code(word.address()).try_into().map(u64::from_le_bytes).map_err(|_| "no word to test with")?;
    let code = WritablePages::open(&pages).map_err(reason)?;
    let try_word = |what: &str, new: u64, expected: u64| {
        code.store_word(word, new, u64::MAX);
        membarrier::synchronize().map_err(reason)?;
        match entry::call_self_test() {
            got if got == expected => Ok(()),
            got => Err(format!("{what}: {got} instead of {expected}")),
        }
    };
    try_word("unchanged", old, 1)?;
    // A tracer would stop at the trap. Patches that need traps are refused as long as there is one.
    if process_status::tracer() == 0 {
        TRAPS.set(start, Some(Continuation::Address(entry::self_test_replacement())));
        for (what, word) in entry::trapping_words(old) {
            try_word(what, word, 2)?;
        }
        TRAPS.set(start, None);
    }
    let jump = entry::jump_word(old, start, entry::self_test_replacement()).ok_or("no jump reaches")?;
    try_word("jump", jump, 2)?;
    try_word("restored", old, 1)?;
    code.close().map_err(reason)
}
