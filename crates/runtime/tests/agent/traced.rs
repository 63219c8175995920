//! A debugger would swallow traps: patches that need some are refused while there is one.

use crate::plan::{FIVE, PUSH_MOV, Plan, Symbols};
use crate::support::Program;
use livepatch_proto::ApplyError;

#[test]
fn patches_that_need_traps_wait_for_the_debugger_to_leave() {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let mut needs_traps = program.server.patch(2);
    needs_traps.island_pages.clone_from(&plan.pages);
    plan.add(&mut needs_traps, 0..1, symbols.address("body2"));
    let plan = Plan::new(FIVE, &symbols, &program.server, 1, 64);
    let mut needs_none = program.server.patch(1);
    needs_none.island_pages.clone_from(&plan.pages);
    plan.add(&mut needs_none, 0..1, symbols.address("body2"));

    let process = program.child.id();
    let traced = std::thread::scope(|scope| {
        // The tracer is a thread; when it ends, it lets go.
        let tracer = scope.spawn(|| {
            // SAFETY: PTRACE_SEIZE uses no memory of this process, and does not stop the other.
            if unsafe { libc::ptrace(libc::PTRACE_SEIZE, process, 0, 0) } != 0 {
                eprintln!("skipped: {}", std::io::Error::last_os_error());
                return false;
            }
            let error = program.server.apply(needs_traps.clone()).expect_err("out of order, and traced");
            assert_eq!(error, ApplyError::OutOfOrder { current: 0, predecessor: 1 });
            program.server.apply(needs_none).expect("no boundary is in the way");
            let error = program.server.apply(needs_traps.clone()).expect_err("a debugger is attached");
            assert!(matches!(error, ApplyError::Traced { tracer: 1.. }), "{error}");
            true
        });
        tracer.join().expect("the tracer")
    });
    if traced {
        program.server.apply(needs_traps).expect("the patch applies now");
        assert_eq!(program.ask("call 0 push_mov"), "2005");
        assert_eq!(program.ask("call 0 five"), "2005");
    }
    assert!(program.finish().success());
}
