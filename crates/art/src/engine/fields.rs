//! Making private fields accessible, for bodies that have moved to another class: as the compiler does it with
//! accessors, but without code.

use super::EngineError;
use super::memory;
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
    /// The class, as a record of one of its methods has it.
    class: u32,
    flags: u32,
    offset: u32,
}

/// Makes a private field public, after checking that its record is one.
pub(super) fn open(
    env: Environment,
    class: jclass,
    of_class: u32,
    field: &FieldRef,
) -> Result<(), EngineError> {
    let name = |text: &Text| text.to_string();
    let thrown = |thrown| EngineError::Thrown { what: field.to_string(), thrown };
    // The kind of the field is not in the reference: what it is not, it cannot be found as.
    let find = |is_static| env.field(class, &name(&field.name), &name(&field.kind), is_static);
    let (id, is_static) = match find(false) {
        Ok(id) => (id, false),
        Err(_) => (find(true).map_err(thrown)?, true),
    };
    let known = reflected(env, class, id, is_static, of_class).map_err(thrown)?;
    let unknown = || EngineError::NoRecord(field.to_string());
    let address = memory::FieldAddress::new(id.expose_provenance()).ok_or_else(unknown)?;
    let [class, flags, _, offset] = memory::read_field(address);
    let is_it = (class, flags & OF_JAVA, offset) == (known.class, known.flags & OF_JAVA, known.offset);
    if !is_it || (flags & STATIC != 0) != is_static {
        return Err(unknown());
    }
    memory::write_field_flags(address, flags & !PRIVATE | PUBLIC);
    Ok(())
}

/// What `java.lang.reflect.Field` says about it.
fn reflected(
    env: Environment,
    class: jclass,
    id: jfieldID,
    is_static: bool,
    of_class: u32,
) -> Result<Known, Thrown> {
    let object = env.reflected_field(class, id, is_static)?;
    let of_field = env.find_class("java/lang/reflect/Field")?;
    let get = |name: &str| {
        let field = env.field(of_field, name, "I", false)?;
        Ok::<u32, Thrown>(env.int_field(object, field).cast_unsigned())
    };
    let known = Known { class: of_class, flags: get("accessFlags")?, offset: get("offset")? };
    env.delete_local(object);
    Ok(known)
}
