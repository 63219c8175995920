//! Encoded values, and annotations of classes and their members.

use super::bytes::{Cursor, Input};
use super::tables::Tables;
use super::{DexError, pick};
use crate::dex::{Annotation, AnnotationContent, Value, value};
use std::collections::HashMap;
use std::sync::Arc;

/// Arrays and annotations within each other: nobody writes more.
const DEEPEST: u32 = 64;

/// An `encoded_array`.
pub(super) fn array(tables: &Tables, at: &mut Cursor<'_, '_>, depth: u32) -> Result<Vec<Value>, DexError> {
    (0..at.uleb128()?).map(|_| read_value(tables, at, depth)).collect()
}

/// An `encoded_annotation`.
fn content(tables: &Tables, at: &mut Cursor<'_, '_>, depth: u32) -> Result<AnnotationContent, DexError> {
    let kind = pick(&tables.types, at.uleb128()?, "type")?.clone();
    let count = at.uleb128()?;
    let mut elements = Vec::new();
    for _ in 0..count {
        let name = pick(&tables.texts, at.uleb128()?, "string")?.clone();
        elements.push((name, read_value(tables, at, depth)?));
    }
    Ok(AnnotationContent { kind, elements })
}

/// An `encoded_value`.
fn read_value(tables: &Tables, at: &mut Cursor<'_, '_>, depth: u32) -> Result<Value, DexError> {
    if depth > DEEPEST {
        return Err(at.malformed());
    }
    let head = at.u8()?;
    let (kind, argument) = (head & 0x1f, head >> 5);
    match kind {
        value::ARRAY => return Ok(Value::Array(array(tables, at, depth + 1)?)),
        value::ANNOTATION => return Ok(Value::Annotation(content(tables, at, depth + 1)?)),
        value::NULL => return Ok(Value::Null),
        value::BOOLEAN if argument <= 1 => return Ok(Value::Boolean(argument == 1)),
        _ => {}
    }
    let most = match kind {
        value::BYTE => 1,
        value::SHORT | value::CHAR => 2,
        value::LONG | value::DOUBLE => 8,
        _ => 4,
    };
    let count = usize::from(argument) + 1;
    if count > most {
        return Err(at.malformed());
    }
    let bytes = at.take(count)?;
    let unsigned = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let unused = 64 - 8 * count;
    let signed = (unsigned << unused).cast_signed() >> unused;
    let index = unsigned as u32;
    Ok(match kind {
        value::BYTE => Value::Byte(signed as i8),
        value::SHORT => Value::Short(signed as i16),
        value::CHAR => Value::Char(unsigned as u16),
        value::INT => Value::Int(signed as i32),
        value::LONG => Value::Long(signed),
        // Zeros at the end are left out: the lowest bytes.
        value::FLOAT => Value::Float((unsigned << (32 - 8 * count)) as u32),
        value::DOUBLE => Value::Double(unsigned << unused),
        value::METHOD_TYPE => Value::Prototype(Arc::clone(pick(&tables.prototypes, index, "prototype")?)),
        value::METHOD_HANDLE => Value::Handle(pick(&tables.handles, index, "method handle")?.clone()),
        value::STRING => Value::Text(pick(&tables.texts, index, "string")?.clone()),
        value::TYPE => Value::Type(pick(&tables.types, index, "type")?.clone()),
        value::FIELD => Value::Field(pick(&tables.fields, index, "field")?.clone()),
        value::METHOD => Value::Method(pick(&tables.methods, index, "method")?.clone()),
        value::ENUM => Value::Enum(pick(&tables.fields, index, "field")?.clone()),
        _ => return Err(at.malformed()),
    })
}

/// An `annotation_set_item`; an offset of zero is an empty one.
fn set(input: &Input<'_>, tables: &Tables, offset: u32) -> Result<Vec<Annotation>, DexError> {
    if offset == 0 {
        return Ok(Vec::new());
    }
    let mut list = input.at("set of annotations", offset)?;
    let mut found = Vec::new();
    for _ in 0..list.u32()? {
        let mut at = input.at("annotation", list.u32()?)?;
        let visibility = at.u8()?;
        if visibility > 2 {
            return Err(at.malformed());
        }
        found.push(Annotation { visibility, content: content(tables, &mut at, 0)? });
    }
    Ok(found)
}

/// What an `annotations_directory_item` says.
#[derive(Default)]
pub(super) struct Directory {
    pub(super) class: Vec<Annotation>,
    /// By the indexes of fields.
    pub(super) fields: HashMap<u32, Vec<Annotation>>,
    /// By the indexes of methods.
    pub(super) methods: HashMap<u32, Vec<Annotation>>,
    /// By the indexes of methods.
    pub(super) parameters: HashMap<u32, Vec<Vec<Annotation>>>,
}

/// Reads one; an offset of zero is an empty one.
pub(super) fn directory(input: &Input<'_>, tables: &Tables, offset: u32) -> Result<Directory, DexError> {
    let mut found = Directory::default();
    if offset == 0 {
        return Ok(found);
    }
    let mut at = input.at("directory of annotations", offset)?;
    found.class = set(input, tables, at.u32()?)?;
    let [fields, methods, parameters] = [at.u32()?, at.u32()?, at.u32()?];
    for _ in 0..fields {
        let (index, offset) = (at.u32()?, at.u32()?);
        found.fields.insert(index, set(input, tables, offset)?);
    }
    for _ in 0..methods {
        let (index, offset) = (at.u32()?, at.u32()?);
        found.methods.insert(index, set(input, tables, offset)?);
    }
    for _ in 0..parameters {
        let (index, offset) = (at.u32()?, at.u32()?);
        let mut list = input.at("annotations of parameters", offset)?;
        let sets = (0..list.u32()?).map(|_| set(input, tables, list.u32()?)).collect::<Result<_, _>>()?;
        found.parameters.insert(index, sets);
    }
    Ok(found)
}
