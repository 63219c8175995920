//! What the preflight refuses, and what happens where nobody asks it.

use crate::Case;
use crate::runtime::Runtime;

pub(crate) const ALL: &[Case] = &[];

#[expect(dead_code, reason = "cases follow")]
fn later(_: &mut Runtime) {}
