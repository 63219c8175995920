//! Bodies: instructions in two passes, because labels may follow what leads to them.

use super::Said;
use super::line::{field, fitting, method, number, quoted};
use crate::dex::opcode::{Format, Opcode, Referred};
use crate::dex::{Code, Prototype, Reference, Try};
use std::collections::HashMap;

/// A body whose lines are being read.
pub(super) struct Body {
    /// How many registers parameters take, the object included.
    incoming: u16,
    registers: Option<u16>,
    outgoing: u16,
    units: Vec<u16>,
    references: Vec<(u32, Reference)>,
    labels: HashMap<String, usize>,
    jumps: Vec<Jump>,
    tables: Vec<Table>,
    /// The table whose lines come.
    open: Option<Open>,
    catches: Vec<Catch>,
}

/// An instruction that leads to a label.
struct Jump {
    at: usize,
    format: Format,
    label: String,
}

/// A table of jumps: where its targets are, which labels they lead to.
struct Table {
    at: usize,
    targets: usize,
    labels: Vec<String>,
}

enum Open {
    Packed { first: i64, labels: Vec<String> },
    Sparse { keys: Vec<i64>, labels: Vec<String> },
    Array { width: usize, bytes: Vec<u8>, count: u32 },
}

struct Catch {
    kind: Option<String>,
    from: String,
    to: String,
    target: String,
}

impl Body {
    pub(super) fn new(prototype: &Prototype, is_static: bool) -> Self {
        let incoming = prototype.registers() + usize::from(!is_static);
        Self {
            incoming: u16::try_from(incoming).unwrap_or(u16::MAX),
            registers: None,
            outgoing: 0,
            units: Vec::new(),
            references: Vec::new(),
            labels: HashMap::new(),
            jumps: Vec::new(),
            tables: Vec::new(),
            open: None,
            catches: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub(super) fn line(&mut self, line: &str) -> Said<()> {
        if line.is_empty() {
            return Ok(());
        }
        let (first, rest) = line.split_once(' ').map_or((line, ""), |(first, rest)| (first, rest.trim()));
        match (first, rest) {
            (".end", "packed-switch" | "sparse-switch" | "array-data") => self.end_table(),
            _ if self.open.is_some() => self.in_table(line),
            (".registers", count) => {
                self.registers = Some(count.parse().map_err(|_| "no number of registers")?);
                Ok(())
            }
            (".locals", count) => {
                let locals: u16 = count.parse().map_err(|_| "no number of registers")?;
                self.registers = Some(locals.checked_add(self.incoming).ok_or("too many registers")?);
                Ok(())
            }
            (".line" | ".prologue" | ".param" | ".local" | ".end", _) => Ok(()),
            (".catch" | ".catchall", _) => self.catch(line),
            (".packed-switch", first) => {
                self.begin_table();
                self.open = Some(Open::Packed { first: number(first)?, labels: Vec::new() });
                Ok(())
            }
            (".sparse-switch", _) => {
                self.begin_table();
                self.open = Some(Open::Sparse { keys: Vec::new(), labels: Vec::new() });
                Ok(())
            }
            (".array-data", width) => {
                self.begin_table();
                let width = width.parse().ok().filter(|width| [1, 2, 4, 8].contains(width));
                let width = width.ok_or("an array's elements have 1, 2, 4 or 8 bytes")?;
                self.open = Some(Open::Array { width, bytes: Vec::new(), count: 0 });
                Ok(())
            }
            (label, "") if label.starts_with(':') => self.label(label),
            (name, operands) => self.instruction(name, operands),
        }
    }

    fn label(&mut self, label: &str) -> Said<()> {
        match self.labels.insert(label.to_owned(), self.units.len()) {
            None => Ok(()),
            Some(_) => Err(format!("`{label}` is there twice")),
        }
    }

    /// `.catch Ltype; {:from .. :to} :target`
    fn catch(&mut self, line: &str) -> Said<()> {
        let bad = || "no `.catch Ltype; {:from .. :to} :target`".to_owned();
        let (head, rest) = line.split_once('{').ok_or_else(bad)?;
        let (range, target) = rest.split_once('}').ok_or_else(bad)?;
        let (from, to) = range.split_once("..").ok_or_else(bad)?;
        let kind = head.strip_prefix(".catch ").map(|kind| kind.trim().to_owned());
        let [from, to, target] = [from, to, target].map(|label| label.trim().to_owned());
        self.catches.push(Catch { kind, from, to, target });
        Ok(())
    }

    /// Tables begin at even code units. Their label comes before, and has to lead to where they begin.
    fn begin_table(&mut self) {
        let at = self.units.len();
        if !at.is_multiple_of(2) {
            self.units.push(0);
            self.labels.values_mut().filter(|place| **place == at).for_each(|place| *place += 1);
        }
    }

    fn in_table(&mut self, line: &str) -> Said<()> {
        match self.open.as_mut() {
            Some(Open::Packed { labels, .. }) => labels.push(line.to_owned()),
            Some(Open::Sparse { keys, labels }) => {
                let (key, label) = line.split_once(" -> ").ok_or("a key without a label")?;
                keys.push(fitting(key.trim(), 32)?);
                labels.push(label.trim().to_owned());
            }
            Some(Open::Array { width, bytes, count }) => {
                for text in line.split_whitespace() {
                    let value = fitting(text, 8 * *width as u32)?;
                    bytes.extend(&value.to_le_bytes()[..*width]);
                    *count += 1;
                }
            }
            None => {}
        }
        Ok(())
    }

    fn end_table(&mut self) -> Said<()> {
        let at = self.units.len();
        let count = |labels: &[String]| u16::try_from(labels.len()).map_err(|_| "too many targets");
        let words = |units: &mut Vec<u16>, word: u32| units.extend([word as u16, (word >> 16) as u16]);
        match self.open.take().ok_or("no table ends here")? {
            Open::Packed { first, labels } => {
                self.units.extend([0x0100, count(&labels)?]);
                words(&mut self.units, first as u32);
                self.targets(at, labels);
            }
            Open::Sparse { keys, labels } => {
                self.units.extend([0x0200, count(&labels)?]);
                keys.iter().for_each(|key| words(&mut self.units, *key as u32));
                self.targets(at, labels);
            }
            Open::Array { width, mut bytes, count } => {
                self.units.extend([0x0300, width as u16]);
                words(&mut self.units, count);
                bytes.resize(bytes.len().next_multiple_of(2), 0);
                self.units.extend(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])));
            }
        }
        Ok(())
    }

    fn targets(&mut self, at: usize, labels: Vec<String>) {
        let targets = self.units.len();
        self.units.resize(targets + 2 * labels.len(), 0);
        self.tables.push(Table { at, targets, labels });
    }

    fn instruction(&mut self, name: &str, operands: &str) -> Said<()> {
        let opcode = Opcode::named(name).ok_or_else(|| format!("`{name}` is no instruction"))?;
        let at = self.units.len();
        let encoded = Operands { body: self, at, opcode, rest: operands }.encode()?;
        self.units.extend(encoded);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Said<Code> {
        let registers = self.registers.ok_or("neither `.registers` nor `.locals`")?;
        if registers < self.incoming {
            return Err("fewer registers than parameters".to_owned());
        }
        for jump in std::mem::take(&mut self.jumps) {
            let distance = self.place(&jump.label)? as i64 - jump.at as i64;
            let far = || format!("`{}` is too far away", jump.label);
            match jump.format {
                Format::F10t => {
                    let distance = i8::try_from(distance).map_err(|_| far())?;
                    self.units[jump.at] |= u16::from(distance.cast_unsigned()) << 8;
                }
                Format::F30t | Format::F31t => {
                    let distance = i32::try_from(distance).map_err(|_| far())?.cast_unsigned();
                    self.units[jump.at + 1] = distance as u16;
                    self.units[jump.at + 2] = (distance >> 16) as u16;
                }
                _ => {
                    let distance = i16::try_from(distance).map_err(|_| far())?;
                    self.units[jump.at + 1] = distance.cast_unsigned();
                }
            }
            self.table_of(&jump)?;
        }
        let tries = self.tries()?;
        Ok(Code {
            registers,
            incoming: self.incoming,
            outgoing: self.outgoing,
            units: self.units,
            references: self.references,
            tries,
            debug: None,
        })
    }

    /// Targets of a table count from the instruction that leads to it.
    fn table_of(&mut self, jump: &Jump) -> Said<()> {
        if jump.format != Format::F31t {
            return Ok(());
        }
        let place = self.place(&jump.label)?;
        let Some(table) = self.tables.iter().find(|table| table.at == place) else { return Ok(()) };
        for (nth, label) in table.labels.iter().enumerate() {
            let distance = (self.place(label)? as i64 - jump.at as i64) as u32;
            let at = table.targets + 2 * nth;
            self.units[at] = distance as u16;
            self.units[at + 1] = (distance >> 16) as u16;
        }
        Ok(())
    }

    fn place(&self, label: &str) -> Said<usize> {
        self.labels.get(label).copied().ok_or_else(|| format!("there is no `{label}`"))
    }

    /// Handlers of the same part become one list; parts must not overlap.
    fn tries(&self) -> Said<Vec<Try>> {
        let mut tries: Vec<Try> = Vec::new();
        for catch in &self.catches {
            let (from, to) = (self.place(&catch.from)?, self.place(&catch.to)?);
            let start = u32::try_from(from).map_err(|_| "too long")?;
            let count = u16::try_from(to.saturating_sub(from)).map_err(|_| "too long")?;
            let target = u32::try_from(self.place(&catch.target)?).map_err(|_| "too long")?;
            let found = tries.iter().position(|part| (part.start, part.count) == (start, count));
            let nth = found.unwrap_or_else(|| {
                tries.push(Try { start, count, catches: Vec::new(), catch_all: None });
                tries.len() - 1
            });
            match &catch.kind {
                Some(kind) => tries[nth].catches.push((kind.as_str().into(), target)),
                None => tries[nth].catch_all = Some(target),
            }
        }
        tries.sort_by_key(|part| part.start);
        let overlap = |pair: &[Try]| pair[0].start + u32::from(pair[0].count) > pair[1].start;
        match tries.windows(2).any(overlap) {
            true => Err("guarded parts that overlap".to_owned()),
            false => Ok(tries),
        }
    }
}

/// An instruction's operands, from left to right.
struct Operands<'b, 'l> {
    body: &'b mut Body,
    at: usize,
    opcode: Opcode,
    rest: &'l str,
}

impl Operands<'_, '_> {
    fn encode(mut self) -> Said<Vec<u16>> {
        use Format::*;
        let low = u16::from(self.opcode.byte());
        let units = match self.opcode.format() {
            F10x => vec![low],
            F12x => vec![low | self.nibble(8)? | self.nibble(12)?],
            F11n => vec![low | self.nibble(8)? | (self.literal(4)? as u16 & 0xf) << 12],
            F11x => vec![low | self.byte()?],
            F10t => vec![low | self.jump()?],
            F20t => vec![low, self.jump()?],
            F30t => vec![low, self.jump()?, 0],
            F22x => vec![low | self.byte()?, self.register()?],
            F21t => vec![low | self.byte()?, self.jump()?],
            F31t => vec![low | self.byte()?, self.jump()?, 0],
            F21s => vec![low | self.byte()?, self.literal(16)? as u16],
            F21h => vec![low | self.byte()?, self.high_literal()?],
            F21c => vec![low | self.byte()?, self.reference(1)?],
            F31c => vec![low | self.byte()?, self.reference(1)?, 0],
            F23x => vec![low | self.byte()?, self.byte()? >> 8 | self.byte()?],
            F22b => vec![low | self.byte()?, self.byte()? >> 8 | (self.literal(8)? as u16) << 8],
            F22t => vec![low | self.nibble(8)? | self.nibble(12)?, self.jump()?],
            F22s => vec![low | self.nibble(8)? | self.nibble(12)?, self.literal(16)? as u16],
            F22c => vec![low | self.nibble(8)? | self.nibble(12)?, self.reference(1)?],
            F32x => vec![low, self.register()?, self.register()?],
            F31i => {
                let (register, value) = (self.byte()?, self.literal(32)?);
                vec![low | register, value as u16, (value >> 16) as u16]
            }
            F51l => {
                let (register, value) = (self.byte()?, self.literal(64)?);
                let shifted = [0, 16, 32, 48].map(|bits| (value >> bits) as u16);
                [&[low | register][..], &shifted].concat()
            }
            F35c => self.list(low)?,
            F3rc => self.range(low)?,
            F45cc | F4rcc => return Err("calls of method handles are not assembled".to_owned()),
        };
        match self.rest.trim() {
            "" => Ok(units),
            rest => Err(format!("`{rest}` is too much")),
        }
    }

    /// The next operand, up to a comma.
    fn next(&mut self) -> Said<String> {
        let (operand, rest) = self.rest.split_once(',').unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        match operand.trim() {
            "" => Err("an operand is missing".to_owned()),
            operand => Ok(operand.to_owned()),
        }
    }

    fn register_of(&self, text: &str) -> Said<u16> {
        let bad = || format!("`{text}` is no register");
        let number: u16 = text.get(1..).and_then(|number| number.parse().ok()).ok_or_else(bad)?;
        let registers = self.body.registers.ok_or("registers are used before `.registers`")?;
        let number = match text.as_bytes()[0] {
            b'v' => number,
            b'p' => {
                let first = registers.checked_sub(self.body.incoming).ok_or_else(bad)?;
                first.checked_add(number).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        };
        if number < registers { Ok(number) } else { Err(format!("there is no register {text}")) }
    }

    fn register(&mut self) -> Said<u16> {
        let text = self.next()?;
        self.register_of(&text)
    }

    fn nibble(&mut self, shift: u32) -> Said<u16> {
        match self.register()? {
            register @ 0..16 => Ok(register << shift),
            _ => Err("only the first 16 registers can be named here".to_owned()),
        }
    }

    fn byte(&mut self) -> Said<u16> {
        match self.register()? {
            register @ 0..256 => Ok(register << 8),
            _ => Err("only the first 256 registers can be named here".to_owned()),
        }
    }

    fn literal(&mut self, bits: u32) -> Said<i64> {
        let text = self.next()?;
        fitting(&text, bits)
    }

    /// The highest 16 bits of a number; the others are zero.
    fn high_literal(&mut self) -> Said<u16> {
        let wide = self.opcode.name().contains("wide");
        let value = number(&self.next()?)?;
        let (shift, below) = if wide { (48, (1_i64 << 48) - 1) } else { (16, 0xffff) };
        match value & below {
            0 => Ok((value >> shift) as u16),
            _ => Err("only the highest 16 bits can be set here".to_owned()),
        }
    }

    fn jump(&mut self) -> Said<u16> {
        let label = self.next()?;
        self.body.jumps.push(Jump { at: self.at, format: self.opcode.format(), label });
        Ok(0)
    }

    /// What the rest of the line refers to; its index is so many code units on.
    fn reference(&mut self, units: usize) -> Said<u16> {
        let text = std::mem::take(&mut self.rest).trim();
        let reference = match self.opcode.referred() {
            Some(Referred::Text) => Reference::Text(match quoted(text)? {
                (text, "") => text,
                (_, rest) => return Err(format!("`{rest}` is too much")),
            }),
            Some(Referred::Type) => Reference::Type(text.into()),
            Some(Referred::Field) => Reference::Field(field(text)?),
            Some(Referred::Method) => Reference::Method(method(text)?),
            _ => return Err("method handles are not assembled".to_owned()),
        };
        let at = u32::try_from(self.at + units).map_err(|_| "too long")?;
        self.body.references.push((at, reference));
        Ok(0)
    }

    fn braces(&mut self) -> Said<String> {
        let bad = || "no list of registers in braces".to_owned();
        let (inside, rest) =
            self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or_else(bad)?;
        self.rest = rest.trim_start().strip_prefix(',').ok_or_else(bad)?.trim_start();
        Ok(inside.trim().to_owned())
    }

    fn list(&mut self, low: u16) -> Said<Vec<u16>> {
        let inside = self.braces()?;
        let names = inside.split(',').map(str::trim).filter(|name| !name.is_empty());
        let registers = names.map(|name| self.register_of(name)).collect::<Said<Vec<u16>>>()?;
        if registers.len() > 5 || registers.iter().any(|register| *register > 15) {
            return Err("five of the first 16 registers at most".to_owned());
        }
        let count = registers.len() as u16;
        let nth = |nth: usize| registers.get(nth).copied().unwrap_or(0);
        self.passes(count);
        self.reference(1)?;
        let four = nth(0) | nth(1) << 4 | nth(2) << 8 | nth(3) << 12;
        Ok(vec![low | count << 12 | nth(4) << 8, 0, four])
    }

    fn range(&mut self, low: u16) -> Said<Vec<u16>> {
        let inside = self.braces()?;
        let (first, last) = inside.split_once("..").unwrap_or((&inside, &inside));
        let first = self.register_of(first.trim())?;
        let last = self.register_of(last.trim())?;
        let count = (last + 1).checked_sub(first).filter(|count| *count < 256);
        let count = count.ok_or("no range of at most 255 registers")?;
        self.passes(count);
        self.reference(1)?;
        Ok(vec![low | count << 8, 0, first])
    }

    /// Calls, and not arrays that are filled, need room for what they pass.
    fn passes(&mut self, count: u16) {
        if self.opcode.referred() == Some(Referred::Method) {
            self.body.outgoing = self.body.outgoing.max(count);
        }
    }
}
