//! What indexes lead to: strings, types, prototypes, fields, methods, method handles and call sites.

use super::annotations::array;
use super::bytes::{Cursor, Input};
use super::header::Header;
use super::{DexError, pick};
use crate::dex::model::descriptor_length;
use crate::dex::{FieldRef, Handle, Member, MethodRef, Prototype, Text, Value};
use std::sync::Arc;

pub(super) struct Tables {
    pub(super) texts: Vec<Text>,
    pub(super) types: Vec<Text>,
    pub(super) prototypes: Vec<Arc<Prototype>>,
    pub(super) fields: Vec<FieldRef>,
    pub(super) methods: Vec<MethodRef>,
    pub(super) handles: Vec<Handle>,
    pub(super) call_sites: Vec<Vec<Value>>,
}

impl Tables {
    pub(super) fn read(input: &Input<'_>, header: &Header) -> Result<Self, DexError> {
        let texts: Vec<Text> =
            input.table("string", &header.string_ids, 4)?.map(|at| text(at?)).collect::<Result<_, _>>()?;
        let types: Vec<Text> = input
            .table("type", &header.type_ids, 4)?
            .map(|at| kind(&texts, at?))
            .collect::<Result<_, DexError>>()?;
        let prototypes: Vec<_> = input
            .table("prototype", &header.proto_ids, 12)?
            .map(|at| prototype(&types, at?).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let fields = input
            .table("field", &header.field_ids, 8)?
            .map(|at| field(&texts, &types, at?))
            .collect::<Result<_, _>>()?;
        let methods = input
            .table("method", &header.method_ids, 8)?
            .map(|at| method(&texts, &types, &prototypes, at?))
            .collect::<Result<_, _>>()?;
        let (handles, call_sites) = (Vec::new(), Vec::new());
        let mut tables = Self { texts, types, prototypes, fields, methods, handles, call_sites };
        tables.handles = input
            .table("method handle", &header.method_handles, 8)?
            .map(|at| handle(&tables, at?))
            .collect::<Result<_, _>>()?;
        tables.call_sites = input
            .table("call site", &header.call_sites, 4)?
            .map(|at| {
                let mut at = at?;
                let offset = at.u32()?;
                array(&tables, &mut at.input().at("call site", offset)?, 0)
            })
            .collect::<Result<_, _>>()?;
        Ok(tables)
    }

    /// The types of a `type_list`; an offset of zero is an empty one.
    pub(super) fn type_list(&self, input: &Input<'_>, offset: u32) -> Result<Vec<Text>, DexError> {
        type_list(&self.types, input, offset)
    }
}

fn text(mut entry: Cursor<'_, '_>) -> Result<Text, DexError> {
    let offset = entry.u32()?;
    let mut data = entry.input().at("string", offset)?;
    let units = data.uleb128()?;
    let start = data.position();
    let text = Text::from_mutf8(data.until_zero()?);
    let text = text.filter(|text| text.units().count() == units as usize);
    text.ok_or(DexError::Malformed { what: "string", at: start })
}

fn kind(texts: &[Text], mut entry: Cursor<'_, '_>) -> Result<Text, DexError> {
    let text = pick(texts, entry.u32()?, "string")?;
    match descriptor_length(text.mutf8()) == Some(text.mutf8().len()) {
        true => Ok(text.clone()),
        false => Err(entry.malformed()),
    }
}

fn prototype(types: &[Text], mut entry: Cursor<'_, '_>) -> Result<Prototype, DexError> {
    // The first word is the shorty, which says nothing new.
    entry.u32()?;
    let returns = pick(types, entry.u32()?, "type")?.clone();
    let offset = entry.u32()?;
    Ok(Prototype { returns, parameters: type_list(types, entry.input(), offset)? })
}

fn type_list(types: &[Text], input: &Input<'_>, offset: u32) -> Result<Vec<Text>, DexError> {
    if offset == 0 {
        return Ok(Vec::new());
    }
    let mut list = input.at("list of types", offset)?;
    (0..list.u32()?).map(|_| pick(types, list.u16()?.into(), "type").cloned()).collect()
}

fn field(texts: &[Text], types: &[Text], mut entry: Cursor<'_, '_>) -> Result<FieldRef, DexError> {
    let class = pick(types, entry.u16()?.into(), "type")?.clone();
    let kind = pick(types, entry.u16()?.into(), "type")?.clone();
    Ok(FieldRef { class, kind, name: pick(texts, entry.u32()?, "string")?.clone() })
}

fn method(
    texts: &[Text],
    types: &[Text],
    prototypes: &[Arc<Prototype>],
    mut entry: Cursor<'_, '_>,
) -> Result<MethodRef, DexError> {
    let class = pick(types, entry.u16()?.into(), "type")?.clone();
    let prototype = Arc::clone(pick(prototypes, entry.u16()?.into(), "prototype")?);
    Ok(MethodRef { class, prototype, name: pick(texts, entry.u32()?, "string")?.clone() })
}

fn handle(tables: &Tables, mut entry: Cursor<'_, '_>) -> Result<Handle, DexError> {
    let kind = entry.u16()?;
    entry.u16()?;
    let index = entry.u16()?.into();
    let member = match kind {
        0..=3 => Member::Field(pick(&tables.fields, index, "field")?.clone()),
        4..=8 => Member::Method(pick(&tables.methods, index, "method")?.clone()),
        _ => return Err(entry.malformed()),
    };
    Ok(Handle { kind, member })
}
