//! Making private fields accessible, for bodies that have moved to another class: as the compiler does it with
//! accessors, but without code.

use super::memory;
use super::reason::EngineError;
use super::suspension::Suspension;
use crate::dex::{FieldRef, Text};
use crate::flags::{PRIVATE, STATIC};
use crate::jni::{Environment, Thrown};
use jni_sys::{jclass, jfieldID};

/// Callable from everywhere.
const PUBLIC: u32 = 0x1;
/// What Java says about a field: the runtime has bits of its own above.
const OF_JAVA: u32 = 0xffff;

/// What a field's record (`ArtField`, 6.0 and later) has that can be compared with what is known otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    flags: u32,
    offset: u32,
}

/// Makes a private field public, after checking that its record is one: of the class that `of_class` says, which it is asked
/// while no collection runs. The collector changes both, one after the other.
pub(super) fn open(
    env: Environment,
    class: jclass,
    of_class: impl FnOnce() -> u32,
    field: &FieldRef,
    suspension: Option<&Suspension>,
) -> Result<(), EngineError> {
    let name = |text: &Text| text.to_string();
    let thrown = |thrown| EngineError::Thrown { what: field.to_string(), thrown };
    // The kind of the field is not in the reference: what it is not, it cannot be found as.
    let find = |is_static| env.field(class, &name(&field.name), &name(&field.kind), is_static);
    let (id, is_static) = match find(false) {
        Ok(id) => (id, false),
        Err(_) => (find(true).map_err(thrown)?, true),
    };
    let known = reflected(env, class, id, is_static).map_err(thrown)?;
    let unknown = || EngineError::NoRecord(field.to_string());
    let address = memory::FieldAddress::new(id.expose_provenance()).ok_or_else(unknown)?;
    let open = || {
        let [class, flags, _, offset] = memory::read_field(address);
        let is_it = (class, flags & OF_JAVA, offset) == (of_class(), known.flags & OF_JAVA, known.offset);
        let is_one = is_it && (flags & STATIC != 0) == is_static;
        if is_one {
            memory::write_field_flags(address, flags & !PRIVATE | PUBLIC);
        }
        is_one
    };
    let opened = match suspension {
        Some(suspension) => suspension.while_others_wait(open),
        None => open(),
    };
    if opened { Ok(()) } else { Err(unknown()) }
}

/// What `java.lang.reflect.Field` says about it.
fn reflected(env: Environment, class: jclass, id: jfieldID, is_static: bool) -> Result<Known, Thrown> {
    let object = env.reflected_field(class, id, is_static)?;
    let of_field = env.find_class("java/lang/reflect/Field")?;
    let get = |name: &str| {
        let field = env.field(of_field, name, "I", false)?;
        Ok::<u32, Thrown>(env.int_field(object, field).cast_unsigned())
    };
    let known = Known { flags: get("accessFlags")?, offset: get("offset")? };
    env.delete_local(object);
    Ok(known)
}
