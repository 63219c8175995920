//! Two objects from anywhere, one as it runs and one as it is to run: what changed, and whether that is sound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_fuzz::{edit, files, is_sane, object};

fuzz_target!(|data: &[u8]| {
    let Some([old, new]) = files(data) else { return };
    let (Some(old), Some(new)) = (object(old), object(new)) else { return };
    for optimized in [false, true] {
        if is_sane(&old) {
            let (_, diff) = edit(&old, &old, optimized);
            assert!(diff.is_empty() && diff.unsound.is_empty(), "what is as it was needs no patch: {diff:?}");
        }
        let (_, diff) = edit(&old, &new, optimized);
        assert!(!optimized || diff.delegations.is_empty(), "not for optimised code");
        assert!(diff.changed.iter().all(|change| change.new.section().is_some()), "code has bytes");
    }
});
