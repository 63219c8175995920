//! One symbol in a process: the image is loaded in a process of its own, and bound there as a first call would have it.
//! No function of it is called but its initializers.

use crate::error::Failure;
use crate::loader::apart::{self, Load};
use crate::loader::arguments::{LoadArgs, Returns, When};
use livepatch_object::macho::path::SymbolPath;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// What the addresses of a file were in a process.
#[derive(Serialize)]
pub(super) struct Live {
    /// Run-time minus link-time addresses.
    slide: u64,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    step: &'static str,
    address: u64,
    what: String,
}

/// Loads the image, and has the symbol bound.
pub(super) fn run(file: &Path, path: &SymbolPath) -> Result<Live, Failure> {
    let symbol = String::from_utf8_lossy(&path.symbol).into_owned();
    let arguments = LoadArgs {
        path: file.to_owned(),
        call: None,
        returns: Returns::Nothing,
        search: Vec::new(),
        lazy: true,
        bionic: When::Never,
    };
    let load = apart::load(&arguments, true, Some(&symbol), |_| ())?;
    if let Some(trouble) = load.trouble() {
        return Err(Failure::Unsupported {
            what: format!("{} does not run here: {trouble}", file.display()),
            hint: "without --run, the file is explained as it is".into(),
        });
    }
    let absolute = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    Ok(live(&load, &absolute.to_string_lossy(), path, &symbol))
}

fn live(load: &Load, library: &str, path: &SymbolPath, symbol: &str) -> Live {
    let slide = load.steps("reserve").find(|step| step["library"] == *library);
    let slide = slide.and_then(|step| step["slide"].as_u64()).unwrap_or(0);
    let mut steps = Vec::new();
    let mut add = |step, address, what: String| steps.push(Step { step, address, what });
    for stub in &path.stubs {
        add("stub", stub.address.0.wrapping_add(slide), format!("{:#x} + slide", stub.address.0));
    }
    let number = |step: &Value, key: &str| step[key].as_u64().unwrap_or(0);
    let text = |step: &Value, key: &str| step[key].as_str().unwrap_or("nobody").to_owned();
    let is_slot = |step: &&Value| {
        let mut slots = path.slots.iter().map(|slot| slot.slot.address.0.wrapping_add(slide));
        step["library"] == *library && slots.any(|slot| step["place"] == slot)
    };
    let of_symbol = |step: &&Value| step["library"] == *library && step["symbol"] == *symbol;
    for bound in load.steps("bind").filter(of_symbol) {
        let what = format!(
            "holds {:#x}, in {}, since the image was loaded",
            number(bound, "target"),
            text(bound, "definer")
        );
        add("slot", number(bound, "place"), what);
    }
    for stored in load.steps("store").filter(is_slot) {
        let (old, new) = (number(stored, "old"), number(stored, "new"));
        let helper = format!("held {old:#x} ({:#x} + slide)", old.wrapping_sub(slide));
        add("slot", number(stored, "place"), format!("{helper} until it was bound, holds {new:#x} since"));
        add("helper", old, format!("{:#x} + slide", old.wrapping_sub(slide)));
    }
    for decoded in load.steps("decode").filter(of_symbol) {
        let library = text(decoded, "expected");
        let what = format!("read opcodes at {:#x}: {symbol} of {library}", number(decoded, "entry"));
        add("binder", 0, what);
    }
    for resolved in load.steps("resolve").filter(of_symbol) {
        add("then", number(resolved, "target"), format!("{symbol} in {}", text(resolved, "definer")));
    }
    Live { slide, steps }
}

/// For people.
pub(super) fn text(live: &Live) -> String {
    let mut text = format!("in a process, slide {:#x}\n", live.slide);
    for step in &live.steps {
        let at = if step.address == 0 { String::new() } else { format!("{:#x}", step.address) };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<8} {at:>14}  {}", step.step, step.what);
    }
    text
}
