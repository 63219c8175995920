//! Classes, as a dex file has them, with names in place of indexes.

use super::Text;
use std::fmt;
use std::sync::Arc;

/// The newest version that is read, and the oldest.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 35..=39;

/// A dex file.
#[derive(Clone, PartialEq, Debug)]
pub struct Dex {
    /// Its version, of [`VERSIONS`].
    pub version: u32,
    /// Its classes, in the file's order.
    pub classes: Vec<Class>,
}

/// The name of a class as Java has it, with dots, from its descriptor.
pub fn class_name(descriptor: &Text) -> String {
    let descriptor = descriptor.to_text();
    let name = descriptor.strip_prefix('L').and_then(|name| name.strip_suffix(';'));
    name.unwrap_or(&descriptor).replace('/', ".")
}

/// A class (`class_def_item` and all that it leads to).
#[derive(Clone, PartialEq, Debug)]
pub struct Class {
    /// Its descriptor: `Lpackage/Name;`.
    pub descriptor: Text,
    /// Its access flags.
    pub access: u32,
    /// The descriptor of its superclass; none for `java.lang.Object`.
    pub superclass: Option<Text>,
    /// The descriptors of its interfaces.
    pub interfaces: Vec<Text>,
    /// The file that it comes from.
    pub source: Option<Text>,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Static fields, sorted by name and type.
    pub static_fields: Vec<Field>,
    /// Fields of objects, sorted likewise.
    pub instance_fields: Vec<Field>,
    /// Static methods, private ones and constructors, sorted by name and prototype.
    pub direct_methods: Vec<Method>,
    /// All other methods, sorted likewise.
    pub virtual_methods: Vec<Method>,
    /// Initial values of the first static fields; the others begin with zero or null.
    pub static_values: Vec<Value>,
}

impl Class {
    /// A class with nothing in it.
    pub fn new(descriptor: Text, access: u32, superclass: Option<Text>) -> Self {
        Self {
            descriptor,
            access,
            superclass,
            interfaces: Vec::new(),
            source: None,
            annotations: Vec::new(),
            static_fields: Vec::new(),
            instance_fields: Vec::new(),
            direct_methods: Vec::new(),
            virtual_methods: Vec::new(),
            static_values: Vec::new(),
        }
    }

    /// Its name as Java has it: with dots.
    pub fn name(&self) -> String {
        class_name(&self.descriptor)
    }

    /// All methods: direct ones first.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.direct_methods.iter().chain(&self.virtual_methods)
    }

    /// All methods: direct ones first.
    pub fn methods_mut(&mut self) -> impl Iterator<Item = &mut Method> {
        self.direct_methods.iter_mut().chain(&mut self.virtual_methods)
    }

    /// All fields: static ones first.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.static_fields.iter().chain(&self.instance_fields)
    }

    /// The method of a name and a prototype.
    pub fn method(&self, name: &Text, prototype: &Prototype) -> Option<&Method> {
        self.methods().find(|method| method.name == *name && *method.prototype == *prototype)
    }
}

/// A field of a class.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Its name.
    pub name: Text,
    /// The descriptor of its type.
    pub kind: Text,
    /// Its access flags.
    pub access: u32,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
}

/// A method of a class.
#[derive(Clone, PartialEq, Debug)]
pub struct Method {
    /// Its name.
    pub name: Text,
    /// What it takes and returns.
    pub prototype: Arc<Prototype>,
    /// Its access flags.
    pub access: u32,
    /// Its body; none for abstract and native methods.
    pub code: Option<Code>,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Annotations of the first parameters.
    pub parameter_annotations: Vec<Vec<Annotation>>,
}

impl Method {
    /// Whether it is called without looking into a vtable.
    pub fn is_direct(&self) -> bool {
        self.access & (crate::flags::STATIC | crate::flags::PRIVATE | crate::flags::CONSTRUCTOR) != 0
    }
}

/// What a method takes and returns.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prototype {
    /// The type that it returns.
    pub returns: Text,
    /// The types of its parameters.
    pub parameters: Vec<Text>,
}

impl Prototype {
    /// Of a signature: `(I[Ljava/lang/String;)V`; none if it is none.
    pub fn parse(signature: &str) -> Option<Self> {
        let (inside, returns) = signature.strip_prefix('(')?.split_once(')')?;
        let mut parameters = Vec::new();
        let mut rest = inside;
        while !rest.is_empty() {
            let (first, after) = rest.split_at_checked(descriptor_length(rest.as_bytes())?)?;
            parameters.push(first.into());
            rest = after;
        }
        (descriptor_length(returns.as_bytes())? == returns.len())
            .then(|| Self { returns: returns.into(), parameters })
    }

    /// Its `shorty`: one letter for each type, `L` for all references.
    pub(crate) fn shorty(&self) -> Text {
        let letter = |kind: &Text| match kind.mutf8().first() {
            Some(b'L' | b'[') | None => 'L',
            Some(&other) => char::from(other),
        };
        let letters = std::iter::once(&self.returns).chain(&self.parameters).map(letter);
        Text::from(letters.collect::<String>().as_str())
    }

    /// How many registers the parameters take, without an object.
    pub fn registers(&self) -> usize {
        self.parameters.iter().map(|kind| if kind.is("J") || kind.is("D") { 2 } else { 1 }).sum()
    }
}

/// How long the first type descriptor is; none if there is none, or it is nothing but a descriptor's beginning.
pub(crate) fn descriptor_length(text: &[u8]) -> Option<usize> {
    let dimensions = text.iter().take_while(|byte| **byte == b'[').count();
    let rest = &text[dimensions..];
    let length = match rest.first()? {
        b'V' if dimensions > 0 => return None,
        b'V' | b'Z' | b'B' | b'S' | b'C' | b'I' | b'J' | b'F' | b'D' => 1,
        b'L' => {
            let end = rest.iter().position(|byte| *byte == b';')?;
            let bad = |byte: &u8| matches!(byte, b'(' | b')' | b'[' | b'.');
            if end < 2 || rest[..end].iter().any(bad) {
                return None;
            }
            end + 1
        }
        _ => return None,
    };
    // 255 dimensions are all that the runtime allows.
    (dimensions <= 255).then_some(dimensions + length)
}

impl fmt::Display for Prototype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        self.parameters.iter().try_for_each(|kind| fmt::Display::fmt(kind, f))?;
        write!(f, "){}", self.returns)
    }
}

/// A field that is referred to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FieldRef {
    /// The class in which it is looked for.
    pub class: Text,
    /// Its name.
    pub name: Text,
    /// The descriptor of its type.
    pub kind: Text,
}

impl FieldRef {
    /// Of its text: `Lclass;->name:I`; none if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (class, member) = text.split_once("->")?;
        let (name, kind) = member.split_once(':')?;
        let is_kind = |text: &str| descriptor_length(text.as_bytes()) == Some(text.len());
        (is_kind(class) && is_kind(kind) && !name.is_empty()).then(|| Self {
            class: class.into(),
            name: name.into(),
            kind: kind.into(),
        })
    }
}

impl fmt::Display for FieldRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}:{}", self.class, self.name, self.kind)
    }
}

/// A method that is referred to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MethodRef {
    /// The class in which it is looked for.
    pub class: Text,
    /// Its name.
    pub name: Text,
    /// What it takes and returns.
    pub prototype: Arc<Prototype>,
}

impl fmt::Display for MethodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}{}", self.class, self.name, self.prototype)
    }
}

/// Something that can be called or accessed without a name (`method_handle_item`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle {
    /// What it does with the member: 0 to 3 are for fields, 4 to 8 for methods.
    pub kind: u16,
    /// The member.
    pub member: Member,
}

/// A field or a method.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Member {
    /// A field.
    Field(FieldRef),
    /// A method.
    Method(MethodRef),
}

/// What an instruction refers to.
#[derive(Clone, PartialEq, Debug)]
pub enum Reference {
    /// A constant.
    Text(Text),
    /// A type.
    Type(Text),
    /// A field.
    Field(FieldRef),
    /// A method.
    Method(MethodRef),
    /// What a method takes and returns.
    Prototype(Arc<Prototype>),
    /// Arguments of a bootstrap method (`call_site_item`).
    CallSite(Vec<Value>),
    /// A method handle.
    Handle(Handle),
}

/// A method's body (`code_item`).
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Code {
    /// How many registers it has.
    pub registers: u16,
    /// How many of them, the last ones, are its parameters.
    pub incoming: u16,
    /// How many registers its calls pass at most.
    pub outgoing: u16,
    /// Its instructions, with zero where an index would be.
    pub units: Vec<u16>,
    /// What is referred to, by where its index is in `units`.
    pub references: Vec<(u32, Reference)>,
    /// Which parts are guarded, in order.
    pub tries: Vec<Try>,
    /// Lines and variables.
    pub debug: Option<Debug>,
}

impl Code {
    /// Whether both do the same: lines and names of variables do not count.
    pub fn does_the_same_as(&self, other: &Self) -> bool {
        (self.registers, self.incoming, &self.units, &self.references, &self.tries)
            == (other.registers, other.incoming, &other.units, &other.references, &other.tries)
    }
}

/// A guarded part (`try_item`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Try {
    /// Its first code unit.
    pub start: u32,
    /// How many code units it has.
    pub count: u16,
    /// Types that are caught, and where it goes on.
    pub catches: Vec<(Text, u32)>,
    /// Where it goes on after anything else.
    pub catch_all: Option<u32>,
}

/// Lines and variables (`debug_info_item`).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Debug {
    /// The first line.
    pub line: u32,
    /// The names of parameters.
    pub parameters: Vec<Option<Text>>,
    /// What follows.
    pub program: Vec<DebugStep>,
}

/// One step of debug information.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DebugStep {
    /// So many code units on.
    AdvancePc(u32),
    /// So many lines on, or back.
    AdvanceLine(i32),
    /// A register has a variable from here on.
    StartLocal {
        /// The register.
        register: u32,
        /// The variable's name.
        name: Option<Text>,
        /// Its type.
        kind: Option<Text>,
        /// Its type with generic parameters, if that is said.
        signature: Option<Option<Text>>,
    },
    /// It has it no more.
    EndLocal(u32),
    /// It has it again.
    RestartLocal(u32),
    /// The method has begun.
    PrologueEnd,
    /// The method is about to end.
    EpilogueBegin,
    /// From another file.
    File(Option<Text>),
    /// A line begins here: code units and lines in one byte.
    Special(u8),
}

/// An annotation.
#[derive(Clone, PartialEq, Debug)]
pub struct Annotation {
    /// For whom: 0 the compiler, 1 the program, 2 the runtime.
    pub visibility: u8,
    /// What it says.
    pub content: AnnotationContent,
}

/// An annotation's type and values (`encoded_annotation`).
#[derive(Clone, PartialEq, Debug)]
pub struct AnnotationContent {
    /// The descriptor of its type.
    pub kind: Text,
    /// Values by name, sorted.
    pub elements: Vec<(Text, Value)>,
}

/// A constant (`encoded_value`).
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `byte`.
    Byte(i8),
    /// `short`.
    Short(i16),
    /// `char`.
    Char(u16),
    /// `int`.
    Int(i32),
    /// `long`.
    Long(i64),
    /// The bits of a `float`.
    Float(u32),
    /// The bits of a `double`.
    Double(u64),
    /// What a method takes and returns.
    Prototype(Arc<Prototype>),
    /// A method handle.
    Handle(Handle),
    /// A string.
    Text(Text),
    /// A class.
    Type(Text),
    /// A field.
    Field(FieldRef),
    /// A method.
    Method(MethodRef),
    /// A value of an enumeration, by its field.
    Enum(FieldRef),
    /// Several.
    Array(Vec<Value>),
    /// An annotation within an annotation.
    Annotation(AnnotationContent),
    /// `null`.
    Null,
    /// `boolean`.
    Boolean(bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        let text = "(ZI[[JLjava/lang/String;D)[B";
        let parsed = Prototype::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(parsed.to_string(), text);
        assert_eq!(parsed.shorty().to_text(), "LZILLD");
        assert_eq!(parsed.registers(), 6);
        for bad in ["", "()", "(", ")V", "(V[V)V", "()II", "(Lx)V", "()L;", "(I)", "([)V", "()La.b;"] {
            assert_eq!(Prototype::parse(bad), None, "{bad}");
        }
    }
}
