//! A program that applies patch libraries itself.

use crate::built::library;
use crate::host::{answers, calls, first_in_host, patch, second_in_host};
use crate::turn;
use livepatch::apply;
use livepatch::proto::{ApplyError, BuildId, ImageSource, Jump, LibraryPatch, ModuleAddress, Times};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

fn applied(patch: &LibraryPatch) -> Result<Times, ApplyError> {
    // SAFETY: the library's functions have the signatures of those that they replace.
    unsafe { apply(patch) }
}

/// The next number: all tests are one process.
fn next() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(100);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn a_second_patch_keeps_what_the_first_redirected() {
    let _turn = turn();
    let Some(a) = library("unsigned f(unsigned n) { return n + 100; }") else { return };
    let Some(b) = library("unsigned g(unsigned n) { return n + 7; }") else { return };
    let told = Arc::new(AtomicU32::new(0));
    let teller = told.clone();
    livepatch::on_patch(move |patch| teller.store(patch, Ordering::Relaxed));
    let (counted, before) = (calls(), answers());
    assert_eq!(before, (10, 20));

    let (one, two, three) = (next(), next(), next());
    let to_a = Jump { from: first_in_host(), to: a.at(one, "f") };
    let times = applied(&patch(one, a.in_message(), a.anchor(), vec![to_a])).expect("applies");
    assert!(times.total >= times.map && times.map > 0);
    assert_eq!((answers(), told.load(Ordering::Relaxed)), ((110, 20), one));

    // The other function goes; and who would call the first patch's body directly goes on as well.
    let to_b = Jump { from: second_in_host(), to: b.at(two, "g") };
    let onwards = Jump { from: a.at(one, "f"), to: first_in_host() };
    applied(&patch(two, b.by_path(), b.anchor(), vec![to_a, to_b])).expect("applies");
    assert_eq!(answers(), (110, 17));

    // Back to the host's own body by a patch, not by rolling back.
    let back = patch(three, library("").expect("as before").in_message(), 0, vec![to_b, onwards]);
    let empty = library("").expect("as before");
    let back = LibraryPatch { library_anchor: empty.anchor(), library: empty.in_message(), ..back };
    applied(&back).expect("applies");
    assert_eq!((answers(), livepatch::version()), ((10, 17), three));
    // Only bodies of the host count; nothing was reset.
    assert_eq!(calls() - counted, 2 + 1 + 1);
}

#[test]
fn what_is_not_right_changes_nothing() {
    let _turn = turn();
    let Some(built) = library("unsigned f(unsigned n) { return 1; }\nunsigned data = 1;") else { return };
    let before = answers();
    let number = next();
    let jump = Jump { from: first_in_host(), to: built.at(number, "f") };
    let good = || patch(number, built.in_message(), built.anchor(), vec![jump]);
    let wrong = |change: &dyn Fn(&mut LibraryPatch)| {
        let mut patch = good();
        change(&mut patch);
        applied(&patch).expect_err("refused")
    };
    let to = |to: ModuleAddress| vec![Jump { from: first_in_host(), to }];

    let order = wrong(&|patch| patch.predecessor += 1);
    assert!(matches!(order, ApplyError::OutOfOrder { .. }), "{order}");
    let build = wrong(&|patch| patch.build_id = BuildId(vec![1, 2, 3]));
    assert!(matches!(build, ApplyError::WrongBuild { .. }), "{build}");
    let damaged = wrong(&|patch| patch.library = ImageSource::Bytes { bytes: built.bytes(), hash: 1 });
    assert!(
        matches!(&damaged, ApplyError::ImageRejected { detail } if detail.contains("damaged")),
        "{damaged}"
    );
    let unknown = wrong(&|patch| patch.jumps = to(built.at(9_999, "f")));
    assert!(matches!(&unknown, ApplyError::Invalid { detail } if detail.contains("9999")), "{unknown}");
    let data = wrong(&|patch| patch.jumps = to(built.at(number, "data")));
    assert!(matches!(data, ApplyError::BadAddress { .. }), "{data}");
    let beyond = wrong(&|patch| patch.jumps = to(ModuleAddress { module: 0, address: u64::MAX }));
    assert!(matches!(beyond, ApplyError::BadAddress { .. }), "{beyond}");
    let below = wrong(&|patch| patch.library_anchor = u64::MAX);
    assert!(matches!(below, ApplyError::BadAddress { .. }), "{below}");
    let Some(other) = library("").map(|built| built.bytes()) else { return };
    let cut = wrong(&|patch| patch.library = ImageSource::in_message(other[..100].to_vec()));
    assert!(matches!(cut, ApplyError::ImageRejected { .. }), "{cut}");

    assert_eq!((answers(), livepatch::version()), (before, good().predecessor));
    // It was only those mistakes: the same number goes live after all of them.
    applied(&good()).expect("applies");
    assert_eq!(answers().0, 1);
    let again = patch(number, built.in_message(), built.anchor(), vec![jump]);
    assert!(matches!(applied(&again), Err(ApplyError::Invalid { .. })), "a number is used once");
    let home = Jump { from: first_in_host(), to: first_in_host() };
    applied(&patch(next(), built.in_message(), built.anchor(), vec![home])).expect("applies");
}
