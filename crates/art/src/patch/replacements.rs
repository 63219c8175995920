//! Which methods of a patch replace which.

use crate::dex::{Annotation, AnnotationContent, Class, Dex, FieldRef, Text, Value};
use crate::flags::STATIC;

/// The annotation that says what a method replaces, as it is written.
pub const ANNOTATION: &str = "Llivepatch/art/MethodReplace;";
/// Those that are read: AndFix's as well.
pub const ANNOTATIONS_KNOWN: [&str; 2] = [ANNOTATION, "Lcom/alipay/euler/andfix/annotation/MethodReplace;"];

/// A method of a patch, and the one that it replaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replacement {
    /// The name of the patch's class, with dots.
    pub fix_class: String,
    /// Its method's name.
    pub fix_method: String,
    /// The name of the class whose method is replaced.
    pub class: String,
    /// The method's name.
    pub method: String,
    /// What both take and return.
    pub signature: String,
    /// Whether both are static.
    pub is_static: bool,
}

/// The annotation of a method that replaces another.
pub fn annotation(class: &str, method: &str) -> Annotation {
    let element = |name: &str, value: &str| (Text::from(name), Value::Text(value.into()));
    let elements = vec![element("clazz", class), element("method", method)];
    Annotation { visibility: 1, content: AnnotationContent { kind: ANNOTATION.into(), elements } }
}

/// All that the classes of a patch replace.
pub fn replacements(dex: &Dex) -> Vec<Replacement> {
    dex.classes.iter().flat_map(of_class).collect()
}

fn of_class(class: &Class) -> impl Iterator<Item = Replacement> {
    class.methods().filter_map(|method| {
        let is_known = |annotation: &&Annotation| {
            ANNOTATIONS_KNOWN.iter().any(|known| annotation.content.kind.is(known))
        };
        let content = &method.annotations.iter().find(is_known)?.content;
        let text = |name: &str| {
            let (_, value) = content.elements.iter().find(|(other, _)| other.is(name))?;
            if let Value::Text(text) = value { Some(text.to_string()) } else { None }
        };
        Some(Replacement {
            fix_class: class.name(),
            fix_method: method.name.to_string(),
            class: text("clazz")?,
            method: text("method")?,
            signature: method.prototype.to_string(),
            is_static: method.access & STATIC != 0,
        })
    })
}

/// The annotation of a patch that says which private fields its bodies use.
pub const OPENS: &str = "Llivepatch/art/Opens;";

/// That annotation, of one of its classes.
pub(crate) fn opens(fields: &[FieldRef]) -> Annotation {
    let texts = fields.iter().map(|field| Value::Text(field.to_string().as_str().into())).collect();
    let elements = vec![(Text::from("fields"), Value::Array(texts))];
    Annotation { visibility: 1, content: AnnotationContent { kind: OPENS.into(), elements } }
}

/// All private fields that the bodies of a patch use.
pub fn opened(dex: &Dex) -> Vec<FieldRef> {
    let annotations = dex.classes.iter().flat_map(|class| &class.annotations);
    let ours = annotations.filter(|annotation| annotation.content.kind.is(OPENS));
    let values =
        ours.flat_map(|annotation| &annotation.content.elements).filter_map(|(_, value)| match value {
            Value::Array(values) => Some(values),
            _ => None,
        });
    values
        .flatten()
        .filter_map(
            |value| if let Value::Text(text) = value { FieldRef::parse(&text.to_text()) } else { None },
        )
        .collect()
}

/// The annotation of a method of a patch that stands for one of the program, which the patch's class may not call.
pub const STANDS_FOR: &str = "Llivepatch/art/StandsFor;";

/// A method of a patch, and the one of the program that it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandIn {
    /// The name of the patch's class, with dots.
    pub class: String,
    /// Its method's name; it is static.
    pub method: String,
    /// What that takes and returns: the object first, if there is one.
    pub signature: String,
    /// The method of the program.
    pub of: Original,
}

/// A method of the program. There is none if it is new: the patch has brought it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Original {
    /// The name of its class, with dots.
    pub class: String,
    /// Its name.
    pub method: String,
    /// What it takes and returns.
    pub signature: String,
    /// Whether it is the class's.
    pub is_static: bool,
}

/// That annotation.
pub(crate) fn stands_for(original: &Original) -> Annotation {
    let text = |name: &str, value: &str| (Text::from(name), Value::Text(value.into()));
    let elements = vec![
        text("clazz", &original.class),
        text("method", &original.method),
        text("signature", &original.signature),
        (Text::from("isStatic"), Value::Boolean(original.is_static)),
    ];
    Annotation { visibility: 1, content: AnnotationContent { kind: STANDS_FOR.into(), elements } }
}

/// All methods of a patch that stand for others.
pub fn stand_ins(dex: &Dex) -> Vec<StandIn> {
    let methods = dex.classes.iter().flat_map(|class| class.methods().map(move |method| (class, method)));
    methods
        .filter_map(|(class, method)| {
            let is_it = |annotation: &&Annotation| annotation.content.kind.is(STANDS_FOR);
            let elements = &method.annotations.iter().find(is_it)?.content.elements;
            let value =
                |name: &str| elements.iter().find(|(other, _)| other.is(name)).map(|(_, value)| value);
            let text = |name: &str| match value(name)? {
                Value::Text(text) => Some(text.to_string()),
                _ => None,
            };
            let of = Original {
                class: text("clazz")?,
                method: text("method")?,
                signature: text("signature")?,
                is_static: *value("isStatic")? == Value::Boolean(true),
            };
            let (method, signature) = (method.name.to_string(), method.prototype.to_string());
            Some(StandIn { class: class.name(), method, signature, of })
        })
        .collect()
}
