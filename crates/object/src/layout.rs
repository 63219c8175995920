//! Which types, signatures, vtables and closures does this object’s debug information describe?
//!
//! These are facts for a gate that asks whether new code may run beside old data: whether a type's
//! layout changed, whether a function is still called alike, whether a vtable still has its methods
//! where they were. [`Layouts::read`] takes them from the DWARF of one codegen unit in one pass and keeps
//! hashes only; what a person reads about a difference ([`describe`], [`difference()`]) is made from the object
//! again, when there is one.
//!
//! What a unit does not use it does not describe, so facts about a program are those of all its units.
//!
//! Specification: DWARF 4 and 5, section 2 (attributes), 3.3 (functions) and 5 (types); how rustc uses
//! them: its `debuginfo::metadata`.

mod attributes;
mod difference;
mod entries;
mod functions;
mod hash;
mod ids;
mod names;
mod sections;
mod text;
mod types;
mod variables;
mod walk;

pub use difference::{difference, is_renaming};
pub use text::{FieldText, LayoutText, TypeText, VariantText, describe, describe_several};

use crate::ObjectError;
use crate::address::SectionOffset;
use crate::compare::Referent;
use crate::relocatable::{Relocatable, SectionId, SymbolId};

/// A type, by its qualified name as debug information spells it, generic arguments included; arrays and
/// function types by what they consist of. The same in all objects, within one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TypeId(pub u64);

impl TypeId {
    /// The id of a type with a name: `app::State`, `core::option::Option<app::State>`, `u32`,
    /// `&mut app::State`, `fn(u32) -> bool`, but not `[u32; 3]`.
    pub fn of(name: &str) -> Self {
        Self(hash::segments(hash::ROOT, name.as_bytes()))
    }
}

/// A qualified name of something that is not a type. The same in all objects, within one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathId(pub u64);

impl PathId {
    /// The id of a qualified name such as `app::main` or `app::{impl#0}::poll`.
    pub fn of(name: &str) -> Self {
        Self(hash::segments(hash::ROOT, name.as_bytes()))
    }
}

/// What kind of type it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TypeKind {
    /// A number, `bool`, `char`, `()`, `!`.
    Primitive,
    /// A struct, a tuple, a wide pointer; also an enum that has data.
    Struct,
    /// A union.
    Union,
    /// An enum without data.
    Enum,
    /// A thin pointer, reference or function pointer.
    Pointer,
    /// An array, or the content of a slice.
    Array,
    /// What a function pointer points to.
    Function,
    /// What a closure captured: `{closure_env#0}`.
    Closure,
    /// What an `async` function or block, or another coroutine, keeps: `{async_fn_env#0}`.
    Coroutine,
    /// Another name or a qualified form of a type; not in Rust.
    Alias,
    /// Only declared.
    Opaque,
}

impl TypeKind {
    /// Whether it belongs to a closure or coroutine, so that its layout is decided by a function's body.
    pub fn is_environment(self) -> bool {
        matches!(self, Self::Closure | Self::Coroutine)
    }
}

#[derive(Clone, Debug)]
struct TypeFacts {
    id: TypeId,
    layout: u64,
    size: u64,
    align: u32,
    kind: TypeKind,
    ambiguous: bool,
    /// Bounds in [`Layouts::edges`]: embedded, pointed to, generic arguments.
    edges: [u32; 4],
}

#[derive(Clone, Debug)]
struct FunctionFacts {
    symbol: SymbolId,
    path: PathId,
    owner: PathId,
    signature: u64,
    irregular: bool,
    drops: Option<TypeId>,
    /// Of the body of a closure or coroutine: its number and its environment.
    body: Option<(u32, TypeId)>,
    /// Bounds in [`Layouts::lists`]: parameters and result, generic arguments.
    lists: [u32; 3],
}

#[derive(Clone, Debug)]
struct StaticFacts {
    symbol: SymbolId,
    ty: TypeId,
}

#[derive(Clone, Debug)]
struct VtableFacts {
    name: PathId,
    section: SectionId,
    offset: SectionOffset,
    size: u64,
    concrete: Option<TypeId>,
    of: Option<Trait>,
    slots: [u32; 2],
}

/// What one object's debug information says. Small, and independent of the object's bytes.
#[derive(Clone, Debug, Default)]
pub struct Layouts {
    /// Ascending by id.
    types: Vec<TypeFacts>,
    /// The further layouts of types that are ambiguous, ascending.
    other_layouts: Vec<(TypeId, u64)>,
    /// Indices into `types`.
    edges: Vec<u32>,
    /// Ascending by symbol.
    functions: Vec<FunctionFacts>,
    lists: Vec<TypeId>,
    /// Ascending by symbol.
    statics: Vec<StaticFacts>,
    /// Ascending by name.
    vtables: Vec<VtableFacts>,
    slots: Vec<VtableSlot>,
    /// Ascending by the path of the function around them, then by index.
    closures: Vec<(PathId, Closure)>,
}

/// A type that an object describes.
#[derive(Clone, Copy)]
pub struct Type<'l> {
    all: &'l Layouts,
    facts: &'l TypeFacts,
}

impl<'l> Type<'l> {
    /// Its id.
    pub fn id(&self) -> TypeId {
        self.facts.id
    }

    /// A hash of its own layout: size, alignment, fields with their names, offsets and types' *names*,
    /// variants with their fields and what selects them. The order of the fields in the source does not count. What the
    /// fields' types look like does not count either: see [`Type::embedded`].
    ///
    /// There are several, ascending, when the object has several types of this name: those of two versions
    /// of a library, or those that `derive` makes for two types of a module (`_::{impl#0}::…::__Field`).
    pub fn layouts(&self) -> impl Iterator<Item = u64> + use<'l> {
        let all = &self.all.other_layouts;
        let others = if self.facts.ambiguous {
            let start = all.partition_point(|(id, _)| *id < self.facts.id);
            let end = all.partition_point(|(id, _)| *id <= self.facts.id);
            &all[start..end]
        } else {
            &[]
        };
        std::iter::once(self.facts.layout).chain(others.iter().map(|(_, layout)| *layout))
    }

    /// Whether this type, in an older version of the object, had a layout that gave way to another one. A
    /// layout that came or went beside others that stayed is one of another type of the same name.
    pub fn is_relaid(&self, new: &Type<'_>) -> bool {
        if !self.facts.ambiguous && !new.facts.ambiguous {
            return self.facts.layout != new.facts.layout;
        }
        let gone = self.layouts().any(|layout| new.layouts().all(|other| other != layout));
        let came = new.layouts().any(|layout| self.layouts().all(|other| other != layout));
        gone && came
    }

    /// Its size in bytes; 0 for what is only declared, and for arrays and what function pointers point to.
    pub fn size(&self) -> u64 {
        self.facts.size
    }

    /// Its alignment in bytes; 0 when not said, as for primitives and pointers.
    pub fn align(&self) -> u64 {
        self.facts.align.into()
    }

    /// Its kind.
    pub fn kind(&self) -> TypeKind {
        self.facts.kind
    }

    /// Whether this object has several types of this name: see [`Type::layouts`].
    pub fn is_ambiguous(&self) -> bool {
        self.facts.ambiguous
    }

    /// The types inside it: of its fields, those of its variants, its elements.
    pub fn embedded(&self) -> impl Iterator<Item = TypeId> + use<'l> {
        self.edges(0)
    }

    /// The types behind it: what it points to, what a function type takes and returns.
    pub fn pointed_to(&self) -> impl Iterator<Item = TypeId> + use<'l> {
        self.edges(1)
    }

    /// Its generic arguments. `Vec<T>` has its `T` only here: its pointer is one to bytes.
    pub fn generics(&self) -> impl Iterator<Item = TypeId> + use<'l> {
        self.edges(2)
    }

    /// All three of them, with repetitions.
    pub fn reaches(&self) -> impl Iterator<Item = TypeId> + use<'l> {
        self.edges(0).chain(self.edges(1)).chain(self.edges(2))
    }

    fn edges(&self, list: usize) -> impl Iterator<Item = TypeId> + use<'l> {
        let (all, edges) = (self.all, self.facts.edges);
        all.edges[edges[list] as usize..edges[list + 1] as usize]
            .iter()
            .map(|&index| all.types[index as usize].id)
    }
}

impl std::fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.facts.fmt(f)
    }
}

/// A function with code in the object.
#[derive(Clone, Copy)]
pub struct Function<'l> {
    all: &'l Layouts,
    facts: &'l FunctionFacts,
}

impl<'l> Function<'l> {
    /// Its symbol in the object.
    pub fn symbol(&self) -> SymbolId {
        self.facts.symbol
    }

    /// Its qualified name without its own generic arguments. All instances of it have the same.
    pub fn path(&self) -> PathId {
        self.facts.path
    }

    /// The path of what it is declared in; for a closure or coroutine the function around it.
    pub fn owner(&self) -> PathId {
        self.facts.owner
    }

    /// A hash of how it is called: the types of parameters and result by name, and whether it
    /// [is irregular](Function::is_irregular).
    pub fn signature(&self) -> u64 {
        self.facts.signature
    }

    /// Whether an optimising compiler gave it a calling convention of its own (`DW_CC_nocall`): arguments
    /// may have been left out or split, in each version of it differently, so that callers of one version
    /// cannot call another one, whatever the signature.
    pub fn is_irregular(&self) -> bool {
        self.facts.irregular
    }

    /// The types of its parameters, then that of its result if it has one.
    pub fn signature_types(&self) -> &'l [TypeId] {
        &self.all.lists[self.facts.lists[0] as usize..self.facts.lists[1] as usize]
    }

    /// The types among its generic arguments; those of what it is declared in included.
    pub fn generics(&self) -> &'l [TypeId] {
        &self.all.lists[self.facts.lists[1] as usize..self.facts.lists[2] as usize]
    }

    /// The type that it drops, when it is `core::ptr::drop_in_place`.
    pub fn drops(&self) -> Option<TypeId> {
        self.facts.drops
    }

    /// The environment it runs on, when it is the body of a closure or coroutine.
    pub fn environment(&self) -> Option<TypeId> {
        self.facts.body.map(|(_, environment)| environment)
    }
}

impl std::fmt::Debug for Function<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.facts.fmt(f)
    }
}

/// A static or thread-local, and its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Static {
    /// Its symbol in the object.
    pub symbol: SymbolId,
    /// Its type.
    pub ty: TypeId,
}

/// An entry of a vtable that is an address. Size, alignment and missing drop glue are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VtableSlot {
    /// Bytes into the vtable. 0 is drop glue, methods begin at 24.
    pub offset: u64,
    /// What it refers to: a function, or another vtable.
    pub referent: Referent,
}

/// A trait, whatever its generic arguments are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Trait {
    /// `app::Shape`
    pub path: PathId,
    /// The crate that declares it: `app`.
    pub declared_in: PathId,
}

/// A vtable that is in the object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vtable<'l> {
    /// `<app::State as app::Shape>::{vtable}`
    pub name: PathId,
    /// Its section.
    pub section: SectionId,
    /// Where it begins there.
    pub offset: SectionOffset,
    /// Its size in bytes.
    pub size: u64,
    /// The type that implements the trait.
    pub concrete: Option<TypeId>,
    /// The trait that it is for; none where a type is made an object of auto traits only.
    pub of: Option<Trait>,
    /// Its addresses, ascending by offset.
    pub slots: &'l [VtableSlot],
}

/// A closure or coroutine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closure {
    /// `0` of `{closure#0}`: the compiler's count in the function around it. It is no identity: a closure
    /// that is inserted renumbers those behind it.
    pub index: u32,
    /// Its environment.
    pub environment: TypeId,
    /// Its body's symbol; none when this object has no code of it.
    pub symbol: Option<SymbolId>,
}

/// Edges turned round.
struct OuterTypes {
    /// By type: where those that lead to it begin.
    starts: Vec<u32>,
    outer: Vec<u32>,
}

impl OuterTypes {
    fn of(&self, index: usize) -> &[u32] {
        &self.outer[self.starts[index] as usize..self.starts[index + 1] as usize]
    }
}

impl Layouts {
    /// Reads what an object's debug information says; none when it has none.
    ///
    /// Debug information that cannot be read is an error. What it says about something that is not in the
    /// object is left out.
    pub fn read(image: &Relocatable) -> Result<Option<Self>, ObjectError> {
        let Some(sections) = sections::Sections::of(image)? else { return Ok(None) };
        let entries = entries::Entries::read(&sections)?;
        let ids = ids::Ids::of(&entries);
        let mut layouts = Self::default();
        types::add(&mut layouts, &ids);
        functions::add(&mut layouts, &ids, image)?;
        functions::add_closures(&mut layouts, &ids);
        variables::add(&mut layouts, &ids, image);
        layouts.shrink();
        Ok(Some(layouts))
    }

    /// Whether there are types at all: with `debuginfo=1` or line tables only, there are none.
    pub fn has_types(&self) -> bool {
        !self.types.is_empty()
    }

    /// All types, ascending by id.
    pub fn types(&self) -> impl Iterator<Item = Type<'_>> {
        self.types.iter().map(|facts| Type { all: self, facts })
    }

    /// A type.
    pub fn get(&self, id: TypeId) -> Option<Type<'_>> {
        let index = self.types.binary_search_by_key(&id, |facts| facts.id).ok()?;
        Some(Type { all: self, facts: &self.types[index] })
    }

    /// The environments that the object describes, and those whose bodies it has: what the variables of a body
    /// are is said without the environment around them.
    pub fn environments(&self) -> impl Iterator<Item = TypeId> {
        self.closures.iter().map(|(_, closure)| closure.environment)
    }

    /// All types that lead to one of these: by having it inside, behind a pointer, or as a generic argument; those
    /// themselves included. An object describes all that its types lead to, so what other objects say adds
    /// nothing.
    pub fn that_reach(&self, wanted: impl IntoIterator<Item = TypeId>) -> Vec<TypeId> {
        let index = |id| self.types.binary_search_by_key(&id, |facts| facts.id).ok();
        let mut queue: Vec<usize> = wanted.into_iter().filter_map(index).collect();
        if queue.is_empty() {
            return Vec::new();
        }
        let outer = self.outer_types();
        let mut found = vec![false; self.types.len()];
        queue.iter().for_each(|&index| found[index] = true);
        while let Some(index) = queue.pop() {
            for &outer in outer.of(index) {
                if !std::mem::replace(&mut found[outer as usize], true) {
                    queue.push(outer as usize);
                }
            }
        }
        let reaching = self.types.iter().zip(found).filter(|(_, found)| *found);
        reaching.map(|(facts, _)| facts.id).collect()
    }

    /// For each type, those that have an edge to it.
    fn outer_types(&self) -> OuterTypes {
        let edges = |facts: &TypeFacts| &self.edges[facts.edges[0] as usize..facts.edges[3] as usize];
        let mut starts = vec![0_u32; self.types.len() + 1];
        for &inner in &self.edges {
            starts[inner as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut outer = vec![0; self.edges.len()];
        for (index, facts) in (0_u32..).zip(&self.types) {
            for &inner in edges(facts) {
                let at = &mut next[inner as usize];
                outer[*at as usize] = index;
                *at += 1;
            }
        }
        OuterTypes { starts, outer }
    }

    /// All functions that have code in the object, ascending by symbol.
    pub fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        self.functions.iter().map(|facts| Function { all: self, facts })
    }

    /// A function.
    pub fn function(&self, symbol: SymbolId) -> Option<Function<'_>> {
        let index = self.functions.binary_search_by_key(&symbol, |facts| facts.symbol).ok()?;
        Some(Function { all: self, facts: &self.functions[index] })
    }

    /// All statics and thread-locals, ascending by symbol.
    pub fn statics(&self) -> impl Iterator<Item = Static> {
        self.statics.iter().map(|facts| Static { symbol: facts.symbol, ty: facts.ty })
    }

    /// All vtables, ascending by name.
    pub fn vtables(&self) -> impl Iterator<Item = Vtable<'_>> {
        self.vtables.iter().map(|facts| Vtable {
            name: facts.name,
            section: facts.section,
            offset: facts.offset,
            size: facts.size,
            concrete: facts.concrete,
            of: facts.of,
            slots: &self.slots[facts.slots[0] as usize..facts.slots[1] as usize],
        })
    }

    /// The closures and coroutines of each function (its path), ascending by index. Instances of a generic
    /// one have the same index.
    pub fn closure_families(&self) -> impl Iterator<Item = (PathId, impl Iterator<Item = Closure>)> {
        let families = self.closures.chunk_by(|a, b| a.0 == b.0);
        families.map(|family| (family[0].0, family.iter().map(|(_, closure)| *closure)))
    }

    fn shrink(&mut self) {
        self.types.shrink_to_fit();
        self.other_layouts.shrink_to_fit();
        self.edges.shrink_to_fit();
        self.functions.shrink_to_fit();
        self.lists.shrink_to_fit();
        self.statics.shrink_to_fit();
        self.vtables.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.closures.shrink_to_fit();
    }
}
