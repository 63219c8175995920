//! `livepatch art show`.

use super::arguments::ShowArgs;
use super::{read, refused};
use crate::error::{Failure, text};
use crate::loader::print;
use livepatch_art::patch::{Strictness, Unverified, opened, replacements};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Runs the command. Writing to a string cannot fail.
pub(super) fn run(arguments: &ShowArgs) -> Result<ExitCode, Failure> {
    let path = &arguments.patch;
    let failed = |error| refused(path, &error);
    let patch = Unverified::read(&read(path)?).map_err(failed)?;
    let about = patch.about();
    let mut out = String::new();
    let _ = writeln!(out, "patch    {}", about.name);
    let _ = writeln!(out, "created  {} by {}", about.created, about.by);
    let _ = writeln!(out, "from     {}", about.from);
    let _ = writeln!(out, "to       {}", about.to);
    let signer = patch.signer(Strictness::Strict).map(|certificate| certificate.fingerprint());
    let signer = signer.or_else(|error| {
        let weak = patch.signer(Strictness::AsAndFix).map(|certificate| certificate.fingerprint());
        weak.map(|signer| format!("{signer} ({}; accepted with --as-andfix)", text(&error)))
    });
    let signed = signer.unwrap_or_else(|error| format!("no: {}", text(&error)));
    let _ = writeln!(out, "signed   {signed}");
    patch.contents().for_each(|(name, length)| out.push_str(&format!("entry    {name}, {length} bytes\n")));
    for dex in patch.classes().map_err(failed)? {
        for class in &dex.classes {
            let _ = writeln!(out, "class    {}", class.name());
        }
        for found in replacements(&dex) {
            let (fix, target) = (&found.fix_class, &found.class);
            let (signature, method) = (&found.signature, &found.method);
            let _ = writeln!(out, "replaces {target}.{method}{signature} by {fix}.{}", found.fix_method);
        }
        opened(&dex).iter().for_each(|field| out.push_str(&format!("opens    {field}\n")));
    }
    print(&out);
    Ok(ExitCode::SUCCESS)
}
