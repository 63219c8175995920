//! The reserve for thread-locals that patches bring.

use crate::support::Program;
use livepatch_proto::{ApplyError, TlsInit};

#[test]
fn new_threads_see_initial_values_and_old_ones_zero() {
    let Some(mut program) = Program::start() else { return };
    let reserve = program.server.hello.tls_reserve.expect("the agent was preloaded");
    for offset in (0..i64::from(reserve.size)).step_by(8) {
        assert_eq!(program.ask(&format!("tls {}", reserve.tp_offset + offset)), "0");
    }
    let at = |offset: i64| reserve.tp_offset + offset;
    let mut patch = program.server.patch(1);
    patch.tls.push(TlsInit { offset: 64, bytes: 4242u64.to_le_bytes().to_vec() });
    patch.tls.push(TlsInit { offset: reserve.size - 8, bytes: 77u64.to_le_bytes().to_vec() });
    program.server.apply(patch).expect("the patch applies");
    assert_eq!(program.ask(&format!("tls {}", at(64))), "0");
    assert_eq!(program.ask(&format!("tls_new {}", at(64))), "4242");
    assert_eq!(program.ask(&format!("tls_new {}", at(i64::from(reserve.size) - 8))), "77");
    assert_eq!(program.ask(&format!("tls_new {}", at(56))), "0");
    assert_eq!(program.ask(&format!("tls_new {}", at(72))), "0");

    // A patch that fails later takes its values back.
    let mut patch = program.server.patch(2);
    patch.tls.push(TlsInit { offset: 64, bytes: 1u64.to_le_bytes().to_vec() });
    patch.tls.push(TlsInit { offset: u32::MAX, bytes: vec![1] });
    let error = program.server.apply(patch).expect_err("outside the reserve");
    assert!(matches!(error, ApplyError::Invalid { .. }), "{error}");
    assert_eq!(program.ask(&format!("tls_new {}", at(64))), "4242");
    assert!(program.finish().success());
}
