//! Jump tables, as they are built: which function's callers are to arrive where.
//!
//! A process that cannot have its code changed asks a table before a call (the crate `livepatch`). The table leads
//! from every address at which a function was live, in the host or in a patch library, to where its newest body is.
//! [`JumpTables`] follows functions by their names over the patches of a session, so that a patch takes nothing away
//! from the ones before it:
//!
//! ```
//! use livepatch_build::jump_table::{JumpTables, TextSymbol};
//! use livepatch_object::address::LinkAddress;
//!
//! let at = |name, address| TextSymbol { name, address: LinkAddress(address), weak: false };
//! let mut tables = JumpTables::new([at("draw", 0x1000), at("load", 0x2000)]);
//! let first = tables.add(1, [at("draw", 0x100)], |_| false);
//! assert_eq!(first.redirected, ["draw"]);
//! tables.add(2, [at("load", 0x100)], |_| false);
//! // Of patch 1 as well as of patch 2.
//! assert_eq!(tables.jumps().len(), 2);
//! ```
//!
//! A name that stands for several functions is nobody's: it is reported, and callers stay where they are.

mod report;

pub use report::{Ambiguous, JumpReport, Side};

use crate::stubs::HotpatchModuleCache;
use livepatch_object::address::LinkAddress;
use livepatch_object::relocatable::{Binding, SymbolKind};
use livepatch_proto::{Jump, ModuleAddress};
use rustc_hash::FxHashMap;

/// A function that a linked image defines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextSymbol<'n> {
    /// Its name, as the file spells it.
    pub name: &'n str,
    /// Where the file has it.
    pub address: LinkAddress,
    /// Whether another definition may take its place when an image is linked.
    pub weak: bool,
}

/// Where functions are live, over all patches of a session.
#[derive(Clone, Default, Debug)]
pub struct JumpTables {
    functions: FxHashMap<Box<str>, Function>,
    /// The patches so far, ascending.
    patches: Vec<u32>,
}

#[derive(Clone, Default, Debug)]
struct Function {
    /// Where it was live and is, the newest body last; never the same place twice in a row.
    bodies: Vec<ModuleAddress>,
    /// The same of those whose callers were [parted](JumpTables::part) from the later ones.
    earlier: Vec<Vec<ModuleAddress>>,
    /// Whether the host has several functions of that name. It is left alone, whatever patches bring.
    ambiguous: bool,
}

/// What an image says of one name.
enum Definition {
    One { address: LinkAddress, weak: bool },
    Several(Vec<LinkAddress>),
}

/// The functions of a linked image.
pub fn text_symbols(image: &HotpatchModuleCache) -> impl Iterator<Item = TextSymbol<'_>> {
    let functions =
        image.symbols().filter(|(_, symbol)| symbol.kind == SymbolKind::Function && !symbol.absolute);
    functions.map(|(name, symbol)| TextSymbol {
        name,
        // Callers of a function in Thumb state say so in its address.
        address: LinkAddress(symbol.address.0 | u64::from(symbol.thumb)),
        weak: symbol.binding == Binding::Weak,
    })
}

impl JumpTables {
    /// The functions of the host, live where it has them.
    pub fn new<'n>(host: impl IntoIterator<Item = TextSymbol<'n>>) -> Self {
        let mut tables = Self::default();
        for (name, definition) in definitions(host) {
            let function = match definition {
                Definition::One { address, .. } => Function::new(in_module(0, address)),
                Definition::Several(addresses) => Function {
                    bodies: addresses.into_iter().map(|address| in_module(0, address)).collect(),
                    earlier: Vec::new(),
                    ambiguous: true,
                },
            };
            tables.functions.insert(name.into(), function);
        }
        tables
    }

    /// Has the functions of a patch library go live. `is_stub` knows the names that the library has from its stub
    /// object: trampolines back to the host, which redirect nothing.
    pub fn add<'n>(
        &mut self,
        patch: u32,
        library: impl IntoIterator<Item = TextSymbol<'n>>,
        is_stub: impl Fn(&str) -> bool,
    ) -> JumpReport {
        let mut report = JumpReport::default();
        let own = library.into_iter().filter(|symbol| !is_stub(symbol.name));
        let own = definitions(own);
        self.report_removed(&own, &mut report);
        for (name, definition) in own {
            self.go_live(patch, name, definition, &mut report);
        }
        self.patches.push(patch);
        report.ambiguous.extend(self.shared_addresses());
        report.sort();
        report
    }

    /// Parts a function's callers so far from what comes: they stay with the bodies that they have.
    pub fn part(&mut self, name: &str) {
        if let Some(function) = self.functions.get_mut(without_llvm_suffix(name)).filter(|f| !f.ambiguous) {
            let bodies = std::mem::take(&mut function.bodies);
            function.earlier.extend((!bodies.is_empty()).then_some(bodies));
        }
    }

    /// Goes back to how things were before any patch after `to`. Bodies of those patches are left behind: who is
    /// in one calls the older ones.
    pub fn roll_back(&mut self, to: u32) {
        self.functions.values_mut().filter(|function| !function.ambiguous).for_each(|f| f.roll_back(to));
    }

    /// The whole table: from every body that is not the newest one to the newest, ascending.
    pub fn jumps(&self) -> Vec<Jump> {
        let mut jumps: Vec<Jump> = self.functions.values().flat_map(Function::jumps).collect();
        jumps.sort_unstable_by_key(|jump| (jump.from, jump.to));
        jumps.dedup();
        // One address that leads to two functions leads nowhere.
        let conflicts = |jump: &Jump| {
            let first = jumps.partition_point(|other| other.from < jump.from);
            jumps.get(first + 1).is_some_and(|second| second.from == jump.from)
        };
        jumps.iter().copied().filter(|jump| !conflicts(jump)).collect()
    }

    fn go_live(&mut self, patch: u32, name: &str, definition: Definition, report: &mut JumpReport) {
        let (address, weak) = match definition {
            Definition::One { address, weak } => (address, weak),
            Definition::Several(addresses) => {
                let addresses = addresses.into_iter().map(|address| in_module(patch, address)).collect();
                report.ambiguous.push(Ambiguous { name: name.to_owned(), side: Side::Patch, addresses });
                return;
            }
        };
        let Some(function) = self.functions.get_mut(name) else {
            self.functions.insert(name.into(), Function::new(in_module(patch, address)));
            report.added.push(name.to_owned());
            return;
        };
        if function.ambiguous {
            let addresses = function.bodies.clone();
            report.ambiguous.push(Ambiguous { name: name.to_owned(), side: Side::Host, addresses });
            return;
        }
        let before = !function.bodies.is_empty();
        function.bodies.push(in_module(patch, address));
        if before { &mut report.redirected } else { &mut report.added }.push(name.to_owned());
        if weak {
            report.weak.push(name.to_owned());
        }
    }

    /// What the patch before had and this one has not: its callers stay with that body.
    fn report_removed(&self, own: &FxHashMap<&str, Definition>, report: &mut JumpReport) {
        let Some(&last) = self.patches.last() else { return };
        let gone = self.functions.iter().filter(|(name, function)| {
            function.bodies.last().is_some_and(|body| body.module == last) && !own.contains_key(&***name)
        });
        report.removed.extend(gone.map(|(name, _)| name.to_string()));
    }

    /// Functions that share one old address, as linkers fold equal ones, and have bodies of their own now.
    fn shared_addresses(&self) -> Vec<Ambiguous> {
        let mut jumps: Vec<(Jump, &str)> = Vec::new();
        for (name, function) in &self.functions {
            jumps.extend(function.jumps().map(|jump| (jump, &**name)));
        }
        jumps.sort_unstable_by_key(|(jump, name)| (jump.from, jump.to, *name));
        let same_origin = jumps.chunk_by(|(a, _), (b, _)| a.from == b.from);
        let conflicts = same_origin.filter(|all| all.iter().any(|(jump, _)| jump.to != all[0].0.to));
        conflicts
            .flat_map(|all| {
                let addresses: Vec<_> = all.iter().map(|(jump, _)| jump.to).collect();
                all.iter().map(move |(_, name)| Ambiguous {
                    name: (*name).to_owned(),
                    side: Side::SharedAddress,
                    addresses: addresses.clone(),
                })
            })
            .collect()
    }
}

impl Function {
    fn new(body: ModuleAddress) -> Self {
        Self { bodies: vec![body], earlier: Vec::new(), ambiguous: false }
    }

    fn roll_back(&mut self, to: u32) {
        let keeps = |body: &ModuleAddress| body.module <= to;
        // What was parted from what goes on together again. Bodies of patches that are taken back are among themselves.
        let mut left = Vec::new();
        while !self.bodies.iter().any(keeps)
            && let Some(before) = self.earlier.pop()
        {
            left.push(std::mem::replace(&mut self.bodies, before));
        }
        self.earlier.splice(0..0, left);
        for bodies in self.earlier.iter_mut().chain([&mut self.bodies]) {
            // The newest body that holds goes to the end: all others lead there.
            if let Some(&newest) = bodies.iter().rfind(|body| keeps(body))
                && bodies.last() != Some(&newest)
            {
                bodies.push(newest);
            }
        }
    }

    fn jumps(&self) -> impl Iterator<Item = Jump> {
        let all = self.earlier.iter().chain([&self.bodies]).filter(|_| !self.ambiguous);
        all.flat_map(|bodies| {
            let newest = bodies.last().into_iter();
            newest.flat_map(move |&to| {
                bodies.iter().filter(move |from| **from != to).map(move |&from| Jump { from, to })
            })
        })
    }
}

fn in_module(module: u32, address: LinkAddress) -> ModuleAddress {
    ModuleAddress { module, address: address.0 }
}

/// What an image defines, by name. Symbols that differ in what LLVM appends to make a local name unique, which is
/// not the same in the next build (`.llvm.<n>`), have one name.
fn definitions<'n>(symbols: impl IntoIterator<Item = TextSymbol<'n>>) -> FxHashMap<&'n str, Definition> {
    let mut all: FxHashMap<&'n str, Definition> = FxHashMap::default();
    for symbol in symbols {
        let name = without_llvm_suffix(symbol.name);
        match all.get_mut(name) {
            None => {
                all.insert(name, Definition::One { address: symbol.address, weak: symbol.weak });
            }
            Some(Definition::One { address, weak }) if *address == symbol.address => *weak &= symbol.weak,
            Some(several) => several.push(symbol.address),
        }
    }
    all
}

impl Definition {
    fn push(&mut self, another: LinkAddress) {
        match self {
            Self::One { address, .. } => *self = Self::Several(vec![*address, another]),
            Self::Several(addresses) if addresses.contains(&another) => {}
            Self::Several(addresses) => addresses.push(another),
        }
    }
}

/// `name` without a `.llvm.<number>` at its end.
fn without_llvm_suffix(name: &str) -> &str {
    match name.rsplit_once(".llvm.") {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            stem
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests;
