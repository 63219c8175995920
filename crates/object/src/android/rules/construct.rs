//! What is called when a library is loaded.

use crate::android::finding::{Effect, Finding, Phase};
use crate::android::library::Subject;
use crate::loadable::Problem;
use crate::loadable::tables::Tables;

pub(in crate::android) fn check(subject: &Subject<'_>, tables: &Tables, findings: &mut Vec<Finding>) {
    let found = |effect, rule, what: String| Finding::new(Phase::Construct, effect, rule, what);
    if tables.dynamic.preinit_array.present().is_some() {
        let what = "DT_PREINIT_ARRAY of a library is not called".to_owned();
        findings.push(found(Effect::Warning, "initialisers", what));
    }
    let init = tables.dynamic.init.filter(|at| !matches!(at.0, 0 | u64::MAX));
    if let Some(init) = init.filter(|&init| !subject.headers.is_code(init)) {
        let problem = Problem::NotCode { what: "DT_INIT", address: init.0 };
        let what = format!("{}: calling it crashes", problem.of(subject.name));
        findings.push(found(Effect::Stops, "initialisers", what));
    }
}
