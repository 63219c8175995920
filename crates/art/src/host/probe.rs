//! The class by which the size of records is measured, and with which it is tried how methods are called.

use crate::dex::Class;
use crate::smali;

/// Its name.
pub const PROBE: &str = "livepatch.art.Probe";

/// Three static methods, which are neighbours, and nothing else: `c` calls `a`, and `b` throws something.
pub const PROBE_TEXT: &str = "\
.class public Llivepatch/art/Probe;
.super Ljava/lang/Object;
.method public static a()V
    .registers 0
    return-void
.end method
.method public static b()V
    .registers 1
    const/4 v0, 0
    throw v0
.end method
.method public static c()V
    .registers 0
    invoke-static {}, Llivepatch/art/Probe;->a()V
    return-void
.end method
";

/// That class.
pub fn probe_class() -> Result<Class, String> {
    smali::assemble(PROBE_TEXT).map_err(|error| error.to_string())
}
