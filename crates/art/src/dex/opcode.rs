//! Instructions: their names, and how they are encoded (Dalvik bytecode, "summary of bytecode set" and
//! "instruction formats").

/// How an instruction is encoded, by the name that the specification gives it: code units, registers, kind.
#[expect(missing_docs, reason = "the names are the specification's")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    F10x,
    F12x,
    F11n,
    F11x,
    F10t,
    F20t,
    F22x,
    F21t,
    F21s,
    F21h,
    F21c,
    F23x,
    F22b,
    F22t,
    F22s,
    F22c,
    F32x,
    F30t,
    F31t,
    F31i,
    F31c,
    F35c,
    F3rc,
    F45cc,
    F4rcc,
    F51l,
}

impl Format {
    /// How many code units it has.
    pub fn units(self) -> usize {
        use Format::*;
        match self {
            F10x | F12x | F11n | F11x | F10t => 1,
            F20t | F22x | F21t | F21s | F21h | F21c | F23x | F22b | F22t | F22s | F22c => 2,
            F32x | F30t | F31t | F31i | F31c | F35c | F3rc => 3,
            F45cc | F4rcc => 4,
            F51l => 5,
        }
    }
}

/// What an instruction's index leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Referred {
    /// A string.
    Text,
    /// A type.
    Type,
    /// A field.
    Field,
    /// A method.
    Method,
    /// A method, and a prototype behind it.
    MethodAndPrototype,
    /// A call site.
    CallSite,
    /// A method handle.
    Handle,
    /// A prototype.
    Prototype,
}

/// An instruction's first byte, of those that have a meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Opcode(u8);

impl Opcode {
    /// `nop`.
    pub const NOP: Self = Self(0x00);
    /// `check-cast`.
    pub const CHECK_CAST: Self = Self(0x1f);
    /// `move-object/from16`
    pub const MOVE_OBJECT_FROM16: Self = Self(0x08);
    /// `move-object/16`
    pub const MOVE_OBJECT_16: Self = Self(0x09);

    /// `invoke-virtual/range`
    pub const INVOKE_VIRTUAL_RANGE: Self = Self(0x74);

    /// Of an instruction's first code unit; none if no instruction begins so.
    pub fn of_unit(unit: u16) -> Option<Self> {
        let byte = unit.to_le_bytes()[0];
        Self(byte).entry().map(|_| Self(byte))
    }

    /// The instruction of a name.
    pub fn named(name: &str) -> Option<Self> {
        let is_it = |opcode: &Self| opcode.entry().is_some_and(|(other, _)| other == name);
        (0..=u8::MAX).map(Self).find(is_it)
    }

    /// Its byte.
    pub fn byte(self) -> u8 {
        self.0
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.entry().map_or("", |(name, _)| name)
    }

    /// How it is encoded.
    pub fn format(self) -> Format {
        self.entry().map_or(Format::F10x, |(_, format)| format)
    }

    /// What its index leads to; none if it has no index.
    pub fn referred(self) -> Option<Referred> {
        Some(match self.0 {
            0x1a | 0x1b => Referred::Text,
            0x1c | 0x1f | 0x20 | 0x22..=0x25 => Referred::Type,
            0x52..=0x6d => Referred::Field,
            0x6e..=0x72 | 0x74..=0x78 => Referred::Method,
            0xfa | 0xfb => Referred::MethodAndPrototype,
            0xfc | 0xfd => Referred::CallSite,
            0xfe => Referred::Handle,
            0xff => Referred::Prototype,
            _ => return None,
        })
    }

    fn entry(self) -> Option<(&'static str, Format)> {
        let (first, format, names) = TABLE.iter().rev().find(|(first, _, _)| *first <= self.0)?;
        names.get(usize::from(self.0 - first)).map(|name| (*name, *format))
    }
}

/// Runs of instructions with one format: the first one's byte, the format, the names.
type Run = (u8, Format, &'static [&'static str]);

#[rustfmt::skip]
const TABLE: &[Run] = {
    use Format::*;
    &[
        (0x00, F10x, &["nop"]),
        (0x01, F12x, &["move"]), (0x02, F22x, &["move/from16"]), (0x03, F32x, &["move/16"]),
        (0x04, F12x, &["move-wide"]), (0x05, F22x, &["move-wide/from16"]), (0x06, F32x, &["move-wide/16"]),
        (0x07, F12x, &["move-object"]), (0x08, F22x, &["move-object/from16"]), (0x09, F32x, &["move-object/16"]),
        (0x0a, F11x, &["move-result", "move-result-wide", "move-result-object", "move-exception"]),
        (0x0e, F10x, &["return-void"]),
        (0x0f, F11x, &["return", "return-wide", "return-object"]),
        (0x12, F11n, &["const/4"]), (0x13, F21s, &["const/16"]), (0x14, F31i, &["const"]),
        (0x15, F21h, &["const/high16"]), (0x16, F21s, &["const-wide/16"]), (0x17, F31i, &["const-wide/32"]),
        (0x18, F51l, &["const-wide"]), (0x19, F21h, &["const-wide/high16"]),
        (0x1a, F21c, &["const-string"]), (0x1b, F31c, &["const-string/jumbo"]), (0x1c, F21c, &["const-class"]),
        (0x1d, F11x, &["monitor-enter", "monitor-exit"]),
        (0x1f, F21c, &["check-cast"]), (0x20, F22c, &["instance-of"]), (0x21, F12x, &["array-length"]),
        (0x22, F21c, &["new-instance"]), (0x23, F22c, &["new-array"]),
        (0x24, F35c, &["filled-new-array"]), (0x25, F3rc, &["filled-new-array/range"]),
        (0x26, F31t, &["fill-array-data"]), (0x27, F11x, &["throw"]),
        (0x28, F10t, &["goto"]), (0x29, F20t, &["goto/16"]), (0x2a, F30t, &["goto/32"]),
        (0x2b, F31t, &["packed-switch", "sparse-switch"]),
        (0x2d, F23x, &["cmpl-float", "cmpg-float", "cmpl-double", "cmpg-double", "cmp-long"]),
        (0x32, F22t, &["if-eq", "if-ne", "if-lt", "if-ge", "if-gt", "if-le"]),
        (0x38, F21t, &["if-eqz", "if-nez", "if-ltz", "if-gez", "if-gtz", "if-lez"]),
        (0x44, F23x, &[
            "aget", "aget-wide", "aget-object", "aget-boolean", "aget-byte", "aget-char", "aget-short",
            "aput", "aput-wide", "aput-object", "aput-boolean", "aput-byte", "aput-char", "aput-short",
        ]),
        (0x52, F22c, &[
            "iget", "iget-wide", "iget-object", "iget-boolean", "iget-byte", "iget-char", "iget-short",
            "iput", "iput-wide", "iput-object", "iput-boolean", "iput-byte", "iput-char", "iput-short",
        ]),
        (0x60, F21c, &[
            "sget", "sget-wide", "sget-object", "sget-boolean", "sget-byte", "sget-char", "sget-short",
            "sput", "sput-wide", "sput-object", "sput-boolean", "sput-byte", "sput-char", "sput-short",
        ]),
        (0x6e, F35c, &["invoke-virtual", "invoke-super", "invoke-direct", "invoke-static", "invoke-interface"]),
        (0x74, F3rc, &[
            "invoke-virtual/range", "invoke-super/range", "invoke-direct/range", "invoke-static/range",
            "invoke-interface/range",
        ]),
        (0x7b, F12x, &[
            "neg-int", "not-int", "neg-long", "not-long", "neg-float", "neg-double", "int-to-long", "int-to-float",
            "int-to-double", "long-to-int", "long-to-float", "long-to-double", "float-to-int", "float-to-long",
            "float-to-double", "double-to-int", "double-to-long", "double-to-float", "int-to-byte", "int-to-char",
            "int-to-short",
        ]),
        (0x90, F23x, &[
            "add-int", "sub-int", "mul-int", "div-int", "rem-int", "and-int", "or-int", "xor-int", "shl-int",
            "shr-int", "ushr-int",
            "add-long", "sub-long", "mul-long", "div-long", "rem-long", "and-long", "or-long", "xor-long", "shl-long",
            "shr-long", "ushr-long",
            "add-float", "sub-float", "mul-float", "div-float", "rem-float",
            "add-double", "sub-double", "mul-double", "div-double", "rem-double",
        ]),
        (0xb0, F12x, &[
            "add-int/2addr", "sub-int/2addr", "mul-int/2addr", "div-int/2addr", "rem-int/2addr", "and-int/2addr",
            "or-int/2addr", "xor-int/2addr", "shl-int/2addr", "shr-int/2addr", "ushr-int/2addr",
            "add-long/2addr", "sub-long/2addr", "mul-long/2addr", "div-long/2addr", "rem-long/2addr",
            "and-long/2addr", "or-long/2addr", "xor-long/2addr", "shl-long/2addr", "shr-long/2addr",
            "ushr-long/2addr",
            "add-float/2addr", "sub-float/2addr", "mul-float/2addr", "div-float/2addr", "rem-float/2addr",
            "add-double/2addr", "sub-double/2addr", "mul-double/2addr", "div-double/2addr", "rem-double/2addr",
        ]),
        (0xd0, F22s, &[
            "add-int/lit16", "rsub-int", "mul-int/lit16", "div-int/lit16", "rem-int/lit16", "and-int/lit16",
            "or-int/lit16", "xor-int/lit16",
        ]),
        (0xd8, F22b, &[
            "add-int/lit8", "rsub-int/lit8", "mul-int/lit8", "div-int/lit8", "rem-int/lit8", "and-int/lit8",
            "or-int/lit8", "xor-int/lit8", "shl-int/lit8", "shr-int/lit8", "ushr-int/lit8",
        ]),
        (0xfa, F45cc, &["invoke-polymorphic"]), (0xfb, F4rcc, &["invoke-polymorphic/range"]),
        (0xfc, F35c, &["invoke-custom"]), (0xfd, F3rc, &["invoke-custom/range"]),
        (0xfe, F21c, &["const-method-handle", "const-method-type"]),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_none() {
        for byte in (0x3e..=0x43).chain([0x73, 0x79, 0x7a]).chain(0xe3..=0xf9) {
            assert_eq!(Opcode::of_unit(byte), None, "{byte:#x}");
        }
        let known = (0..=0xff).filter_map(Opcode::of_unit).count();
        // 256 less the unused ones of the specification's table.
        assert_eq!(known, 256 - 6 - 1 - 2 - 23);
    }

    #[test]
    fn names_are_unique_and_lead_back() {
        for opcode in (0..=0xff).filter_map(Opcode::of_unit) {
            assert_eq!(Opcode::named(opcode.name()), Some(opcode));
        }
        assert_eq!(Opcode::named("ushr-int/lit8").map(Opcode::byte), Some(0xe2));
        assert_eq!(Opcode::named("rem-double/2addr").map(Opcode::byte), Some(0xcf));
        assert_eq!(Opcode::named("rem-double").map(Opcode::byte), Some(0xaf));
        assert_eq!(Opcode::named("int-to-short").map(Opcode::byte), Some(0x8f));
    }
}
