//! The class by which the size of records is measured.

use crate::dex::Class;
use crate::smali;

/// Its name.
pub const PROBE: &str = "livepatch.art.Probe";

/// Three static methods, which are neighbours, and nothing else.
pub fn probe_class() -> Result<Class, String> {
    let method =
        |name: &str| format!(".method public static {name}()V\n.registers 0\nreturn-void\n.end method\n");
    let methods: String = ["a", "b", "c"].map(method).concat();
    let text = format!(".class public L{};\n.super Ljava/lang/Object;\n{methods}", PROBE.replace('.', "/"));
    smali::assemble(&text).map_err(|error| error.to_string())
}
