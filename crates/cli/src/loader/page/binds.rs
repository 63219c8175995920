//! The way of a call of an imported function to that function, at first and ever after; and when each was bound.

use super::model::short;
use super::{escaped, legend};
use crate::loader::apart::Load;
use crate::loader::message::Message;
use livepatch_object::address::LinkAddress;
use livepatch_object::macho::stub::{Instruction, Stub};
use livepatch_object::macho::{Architecture, Image, choose, slices};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write as _;

/// One call of the binder, put together from its steps.
#[derive(Default)]
struct Bind {
    library: String,
    entry: u64,
    from: u64,
    to: u64,
    caller: u64,
    symbol: String,
    ordinal: i64,
    expected: String,
    place: u64,
    target: u64,
    definer: String,
    old: u64,
    new: u64,
}

pub(super) fn draw(load: &Load) -> String {
    let binds = binds(load);
    let Some(first) = binds.first() else { return String::new() };
    let mut text = time(&binds);
    let mut images = HashMap::new();
    way(&mut text, load, first, &mut images);
    let _ = writeln!(text, "<details><summary>{} bound functions</summary>", binds.len());
    text.push_str("<table class=\"map\"><tr><th>when<th>symbol<th>of library<th>found in<th>slot<th>held<th>holds</tr>\n");
    for bind in &binds {
        let _ = writeln!(
            text,
            "<tr><td>{:.3} ms<td>{}<td>{}<td>{}<td class=\"address\">{:#x}<td class=\"address\">{:#x}<td class=\"address\">{:#x}</tr>",
            bind.from as f64 / 1e6,
            escaped(&bind.symbol),
            escaped(short(&bind.expected)),
            escaped(short(&bind.definer)),
            bind.place,
            bind.old,
            bind.new
        );
    }
    text + "</table></details>\n"
}

/// Steps of several threads may be mixed: they belong together by library and entry, symbol, or slot.
fn binds(load: &Load) -> Vec<Bind> {
    let mut all: Vec<Bind> = Vec::new();
    for message in &load.messages {
        let Message::Step { record, .. } = message else { continue };
        if record["phase"] != "bind" {
            continue;
        }
        let number = |key: &str| record[key].as_u64().unwrap_or(0);
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let (library, at) = (text("library"), number("at"));
        if record["event"] == "stub_hit" {
            let (entry, caller) = (number("entry"), number("caller"));
            all.push(Bind { library, entry, caller, from: at, to: at, ..Bind::default() });
            continue;
        }
        let own = |bind: &&mut Bind| bind.library == library && bind.new == 0 && is_of(bind, record);
        let Some(bind) = all.iter_mut().rev().find(own) else { continue };
        bind.to = at;
        match record["event"].as_str().unwrap_or_default() {
            "decode" => {
                (bind.symbol, bind.expected, bind.place) =
                    (text("symbol"), text("expected"), number("place"));
                bind.ordinal = record["ordinal"].as_i64().unwrap_or(0);
            }
            "resolve" => (bind.target, bind.definer) = (number("target"), text("definer")),
            "store" => (bind.old, bind.new) = (number("old"), number("new")),
            _ => {}
        }
    }
    all
}

fn is_of(bind: &Bind, record: &Value) -> bool {
    match record["event"].as_str() {
        Some("decode") => record["entry"] == bind.entry && bind.symbol.is_empty(),
        Some("resolve") => record["symbol"] == *bind.symbol && bind.target == 0,
        Some("store") => record["place"] == bind.place,
        _ => false,
    }
}

/// When functions were bound, and how long each took.
fn time(binds: &[Bind]) -> String {
    let from = binds.iter().map(|bind| bind.from).min().unwrap_or(0);
    let to = binds.iter().map(|bind| bind.to).max().unwrap_or(0).max(from + 1);
    let at = |time: u64| (time - from) as f64 / (to - from) as f64 * 1000.0;
    let mut text = legend([("bind", "from the stub's call to the stored slot")].into_iter());
    text.push_str("<svg class=\"time\" viewBox=\"0 0 1000 40\" preserveAspectRatio=\"none\" role=\"img\">");
    for bind in binds {
        let width = (at(bind.to) - at(bind.from)).max(1.0);
        let _ = write!(
            text,
            "<rect class=\"bind\" x=\"{:.2}\" y=\"4\" width=\"{width:.2}\" height=\"32\"><title>{}, {:.3} ms after the first, \
             {:.1} µs</title></rect>",
            at(bind.from),
            escaped(&bind.symbol),
            (bind.from - from) as f64 / 1e6,
            (bind.to - bind.from) as f64 / 1e3,
        );
    }
    let span = (to - from) as f64 / 1e6;
    let _ = writeln!(
        text,
        "</svg><p class=\"axis\"><span>{} binds</span><span>{span:.3} ms</span></p>",
        binds.len()
    );
    text
}

/// The image of a library, read again for its code.
fn image<'a>(images: &'a mut HashMap<String, Option<Image>>, path: &str) -> Option<&'a Image> {
    let read = || {
        let bytes = std::fs::read(path).ok()?.into();
        Image::read(choose(&slices(&bytes).ok()?, Architecture::X86_64)?).ok()
    };
    images.entry(path.to_owned()).or_insert_with(read).as_ref()
}

/// The stations of one call, each with its address and what stands there.
fn way(text: &mut String, load: &Load, bind: &Bind, images: &mut HashMap<String, Option<Image>>) {
    let slide = load.steps("reserve").find(|step| step["library"] == *bind.library);
    let slide = slide.and_then(|step| step["slide"].as_u64()).unwrap_or(0);
    let link = |at: u64| LinkAddress(at.wrapping_sub(slide));
    let image = image(images, &bind.library);
    let code = |at: LinkAddress| {
        let image = image?;
        Some(image.instructions(&image.code(at)?))
    };
    let stub = image.and_then(|image| {
        let is_own = |stub: &Stub| stub.slot == Some(link(bind.place));
        image.stubs().into_iter().find(is_own)
    });
    let stub_at = stub.map(|stub| stub.address);
    let mut stations = vec![("call", bind.caller, "returns here".to_owned(), "own")];
    if let Some(at) = stub_at {
        stations.push(("stub", at.0.wrapping_add(slide), listing(code(at)), "own"));
    }
    stations.push(("slot", bind.place, format!("{:#x} at first\n{:#x} since", bind.old, bind.new), "own"));
    stations.push(("stub helper", bind.old, listing(code(link(bind.old))), "own"));
    let library = if bind.expected.is_empty() { "any library" } else { short(&bind.expected) };
    let found = format!("entry {:#x}:\n{} of {library} ({})", bind.entry, bind.symbol, bind.ordinal);
    stations.push(("dyld_stub_binder", 0, found, "bound"));
    stations.push(("function", bind.new, format!("{}\nin {}", bind.symbol, short(&bind.definer)), "host"));
    let _ = writeln!(text, "<h3>The first call of {}</h3><ol class=\"way\">", escaped(&bind.symbol));
    for (what, at, inside, class) in stations {
        let at = if at == 0 { String::new() } else { format!("{at:#x}") };
        let _ = writeln!(
            text,
            "<li class=\"{class}\"><b>{what}</b><span class=\"address\">{at}</span><pre>{}</pre></li>",
            escaped(&inside)
        );
    }
    text.push_str("</ol><p class=\"axis\">Every call after that goes from the slot to the function.</p>\n");
}

fn listing(instructions: Option<Vec<Instruction>>) -> String {
    let line = |instruction: Instruction| match instruction.computed {
        Some((sum, at)) => format!("{}  ; {sum} = {:#x}", instruction.text, at.0),
        None => instruction.text,
    };
    let lines: Vec<String> = instructions.unwrap_or_default().into_iter().map(line).collect();
    lines.join("\n")
}
