//! What is different between two versions of a program, and what is refused.

use livepatch_art::dex::{self, Class, Dex, Reference};
use livepatch_art::diff::{Difference, Reason, diff};
use livepatch_art::patch::{opened, replacements, stand_ins};
use livepatch_art::preflight::Refusal;
use livepatch_art::smali;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const OLD: &str = include_str!("../../data/demo-old.smali");
const NEW: &str = include_str!("../../data/demo-new.smali");
const EVERYTHING: &str = include_str!("../fixtures/everything.smali");

fn program(text: &str) -> Result<Dex, smali::SmaliError> {
    let text = format!("\n{text}");
    let parts = text.split("\n.class ").skip(1).map(|part| smali::assemble(&format!(".class {part}")));
    Ok(Dex { version: 35, classes: parts.collect::<Result<_, _>>()? })
}

fn between(old: &str, new: &str) -> Result<Difference, smali::SmaliError> {
    Ok(diff(&[program(old)?], &[program(new)?]))
}

/// What a change of a text is refused for.
fn reason(from: &str, to: &str) -> Result<Vec<Reason>, smali::SmaliError> {
    assert!(OLD.contains(from), "{from}");
    let difference = between(OLD, &OLD.replacen(from, to, 1))?;
    assert!(difference.patch.is_none() || difference.refused.is_empty());
    Ok(difference.refused.into_iter().map(|finding| finding.reason).collect())
}

#[test]
fn changed_methods_and_added_classes() -> Outcome {
    let difference = between(OLD, NEW)?;
    let signatures = ["count()I", "fee(I)I", "kind(I)I", "risky(I)I", "withdraw(I)I"];
    let mut changed = difference.changed.clone();
    changed.sort();
    assert_eq!(changed, signatures.map(|name| format!("Account.{name}")));
    // AndFix #175: a class that is new is in the patch, although one that is not stands before it.
    assert_eq!(difference.added, ["Fees"]);
    let [fix] = &difference.fixes[..] else { return Err("one class fixes another".into()) };
    // What tells patches apart follows from what is in them.
    assert!(fix.starts_with("Account_CF") && fix.len() == 18, "{fix}");
    assert_eq!(*fix, between(OLD, NEW)?.fixes[0]);
    assert_ne!(*fix, between(OLD, &NEW.replace("0xa", "0xb"))?.fixes[0]);
    let patch = difference.patch.ok_or("no patch")?;
    assert_eq!(replacements(&patch).len(), 5);
    let fields: Vec<String> = opened(&patch).iter().map(ToString::to_string).collect();
    assert_eq!(fields, ["LAccount;->balance:I", "LAccount;->opened:I"]);
    Ok(())
}

/// AndFix #16, #345: `int[]` literals, switches and whatever else has a table are as they were.
#[test]
fn what_is_the_same_is_not_changed() -> Outcome {
    for text in [OLD, NEW, EVERYTHING] {
        let difference = between(text, text)?;
        assert_eq!((difference.changed, difference.added, difference.patch), (vec![], vec![], None));
    }
    // Although every index and every offset in the file is another one.
    let other = format!("{OLD}\n.class public LAaaa;\n.super Ljava/lang/Aaaa;\n.field public aaaa:LAaab;\n");
    let difference = between(OLD, &other)?;
    assert_eq!(difference.changed, Vec::<String>::new());
    assert_eq!(difference.added, ["Aaaa"]);
    // One number of the table is.
    let difference = between(OLD, &OLD.replacen("        3\n", "        4\n", 1))?;
    assert_eq!(difference.changed, ["Account.primes()I"]);
    Ok(())
}

/// AndFix #105: classes of the second dex file, and one that went from one to the other.
#[test]
fn several_dex_files() -> Outcome {
    let (old, new) = (program(OLD)?, program(NEW)?);
    let other = program(".class public LOther;\n.super Ljava/lang/Object;\n")?;
    let difference = diff(&[other.clone(), old], &[new, other]);
    assert_eq!(difference.changed.len(), 5);
    assert_eq!(difference.added, ["Fees"]);
    Ok(())
}

/// AndFix #58: a fixed method calls a method that is new. It is a helper of the patch's class.
#[test]
fn calls_lead_to_what_is_there() -> Outcome {
    let patch = between(OLD, NEW)?.patch.ok_or("no patch")?;
    let fix = patch.classes.iter().find(|class| class.name().starts_with("Account_CF")).ok_or("no fix")?;
    let calls = |name: &str| -> Vec<String> {
        let method = fix.methods().find(|method| method.name.is(name));
        let references = method.and_then(|method| method.code.as_ref()).map(|code| &code.references);
        let is_call = |reference: &&(u32, Reference)| matches!(reference.1, Reference::Method(_));
        let text = |reference: &(u32, Reference)| match &reference.1 {
            Reference::Method(method) => {
                method.to_string().replace(&*fix.descriptor.to_text(), "LAccount_CF;")
            }
            _ => String::new(),
        };
        references.into_iter().flatten().filter(is_call).map(text).collect()
    };
    assert_eq!(calls("withdraw"), ["LAccount_CF;->fee$helper(LAccount;I)I"]);
    let all = ["LAccount_CF;->isRich$helper(LAccount;)Z", "LFees;->of(I)I"];
    // What is there already: the engine leads what stands for it to the live one.
    let checked = ["Ljava/lang/Object;->getClass()Ljava/lang/Class;", "LAccount_CF;->fee$live(LAccount;I)I"];
    assert_eq!(calls("fee$helper"), checked);
    assert_eq!(calls("fee$live"), all);
    let stand_ins: Vec<_> = stand_ins(&patch).into_iter().map(|one| (one.method, one.of.method)).collect();
    let expected = [("all$static", "all"), ("fee$live", "fee"), ("isRich$helper", "isRich")];
    assert_eq!(stand_ins, expected.map(|(method, of)| (method.to_owned(), of.to_owned())));
    assert_eq!(calls("fee"), all);
    assert_eq!(calls("count"), ["LAccount_CF;->all$static()I"]);
    // It is a dex file that can be read.
    let bytes = dex::write(&patch)?;
    assert_eq!(dex::read(&bytes)?.classes.len(), patch.classes.len());
    Ok(())
}

#[test]
fn refused_with_the_reason() -> Outcome {
    let field = ".field private balance:I\n";
    assert_eq!(reason(field, &format!("{field}.field private more:I\n"))?, [Reason::FieldAdded]);
    assert_eq!(reason(field, ".field private balance:J\n")?, [Reason::FieldAdded]);
    assert_eq!(reason(field, ".field public balance:I\n")?, [Reason::Access]);
    assert_eq!(reason(field, &format!("{field}.field static more:I\n"))?, [Reason::StaticFieldAdded]);
    let opened = ".field private static opened:I";
    assert_eq!(reason(opened, &format!("{opened} = 7"))?, [Reason::InitialValue]);
    assert_eq!(reason(opened, &format!("{opened} = 0"))?, []);
    assert_eq!(reason(".super Ljava/lang/Object;", ".super LBase;")?, [Reason::Parents]);
    assert_eq!(reason(".class public LAccount", ".class public final LAccount")?, [Reason::Access]);
    assert_eq!(reason("const/16 v0, 100", "const/16 v0, 99")?, [Refusal::Constructor.into()]);
    let count = ".method public static count()I";
    assert_eq!(reason(count, ".method public static synchronized count()I")?, []);
    assert_eq!(reason(".method public balance()I", ".method public final balance()I")?, [Reason::Access]);
    let method = |access: &str, name: &str| {
        let body = "    .registers 2\n    const/4 v0, 0\n    return v0\n.end method\n";
        format!(".method {access} {name}()I\n{body}{count}")
    };
    assert_eq!(reason(count, &method("public", "hashCode"))?, [Reason::Overrides]);
    assert_eq!(reason(count, &method("public", "anything"))?, []);
    assert_eq!(reason(count, &method("static constructor", "<clinit>"))?, [Refusal::ClassInitialiser.into()]);
    let native = format!(".method public native anything()I\n.end method\n{count}");
    assert_eq!(reason(count, &native)?, [Refusal::Native.into()]);
    Ok(())
}

/// What only bodies tell.
#[test]
fn refused_because_of_a_body() -> Outcome {
    let class = |parent: &str, body: &str| {
        format!(
            ".class public LA;\n.super {parent}\n.method private constructor <init>()V\n    .registers 1\n    \
             invoke-direct {{p0}}, {parent}-><init>()V\n    return-void\n.end method\n\
             .method public f()V\n    .registers 2\n{body}\n    return-void\n.end method\n"
        )
    };
    let refused = |parent: &str, body: &str| -> Result<Vec<Reason>, smali::SmaliError> {
        let difference = between(&class(parent, ""), &class(parent, body))?;
        Ok(difference.refused.into_iter().map(|finding| finding.reason).collect())
    };
    let made = "    new-instance v0, LA;\n    invoke-direct {v0}, LA;-><init>()V";
    assert_eq!(refused("Ljava/lang/Object;", made)?, [Reason::PrivateConstructor("A.f()V".to_owned())]);
    // A new method of a class whose superclass nobody knows here may override one of it.
    let parent = "Landroid/app/Activity;";
    let text = class(parent, "").replace(
        ".method public f",
        ".method public onPause()V\n    .registers 1\n    \
         return-void\n.end method\n.method public f",
    );
    let difference = between(&class(parent, ""), &text)?;
    assert_eq!(difference.refused.first().map(|finding| &finding.reason), Some(&Reason::Overrides));
    // A class of the name that the patch needs: it is hardly ever there.
    let changed =
        |text: &str| text.replacen("return-void\n.end method", "nop\n    return-void\n.end method", 2);
    let old = class("Ljava/lang/Object;", "");
    let new = changed(&old).replacen("nop\n", "", 1);
    let name = between(&old, &new)?.fixes.remove(0);
    let taken = format!(".class public L{name};\n.super Ljava/lang/Object;\n");
    let difference = between(&format!("{old}{taken}"), &format!("{new}{taken}"))?;
    assert_eq!(difference.refused.first().map(|finding| &finding.reason), Some(&Reason::NameTaken));
    Ok(())
}

/// What is called by the name of a superclass's or an interface's method, by callers that nobody changes.
#[test]
fn refused_because_of_relatives() -> Outcome {
    let class =
        |head: &str, parent: &str, body: &str| format!(".class public {head};\n.super {parent}\n{body}");
    let method = |head: &str| format!(".method {head}\n    .registers 2\n    return-void\n.end method\n");
    let programs = |of_a: &str, of_b: &str, of_c: &str| {
        let face = ".class public abstract interface LFace;\n.super Ljava/lang/Object;\n";
        let all = [
            face.to_owned() + &method("public shown()V"),
            class("LA", "Ljava/lang/Object;", of_a),
            class("LB", "LA;", &format!(".implements LFace;\n{of_b}")),
            class("LC", "LB;", of_c),
        ];
        all.concat()
    };
    let plain = programs("", "", "");
    let refused = |old: &str, new: &str| -> Result<Vec<(String, Reason)>, smali::SmaliError> {
        let found = between(old, new)?.refused.into_iter();
        Ok(found.map(|finding| (finding.place, finding.reason)).collect())
    };
    let [open, of_class] = [method("public f()V"), method("public static f()V")];
    let (hidden, shown) = (method("private f()V"), method("public shown()V"));
    let one = |place: &str, reason: Reason| vec![(place.to_owned(), reason)];
    // A subclass's subclass has it, or a subclass's interface.
    let overrides = one("A.f()V", Reason::Overrides);
    assert_eq!(refused(&programs("", "", &open), &programs(&open, "", &open))?, overrides);
    assert_eq!(refused(&plain, &programs(&shown, "", ""))?, one("A.shown()V", Reason::Overrides));
    // A static one hides one.
    assert_eq!(refused(&programs("", "", &of_class), &programs(&of_class, "", &of_class))?, overrides);
    let hides = one("C.f()V", Reason::Overrides);
    assert_eq!(refused(&programs(&of_class, "", ""), &programs(&of_class, "", &of_class))?, hides);
    // What is private is nobody else's.
    assert_eq!(refused(&programs(&hidden, "", ""), &programs(&hidden, &hidden, &of_class))?, []);
    let accessor = method("static synthetic access$000()V");
    assert_eq!(refused(&programs(&accessor, "", &accessor), &programs(&accessor, &accessor, ""))?, []);
    // What is gone no longer overrides, implements or hides anything.
    let gone = one("C.f()V", Reason::OverrideRemoved);
    assert_eq!(refused(&programs(&open, "", &open), &programs(&open, "", ""))?, gone);
    assert_eq!(refused(&programs("", "", &shown), &plain)?, one("C.shown()V", Reason::OverrideRemoved));
    assert_eq!(refused(&programs(&of_class, "", &of_class), &programs(&of_class, "", ""))?, gone);
    // It went from a class to what that extends.
    assert_eq!(refused(&programs("", "", &open), &programs("", &open, ""))?, gone);
    for body in [&open, &of_class, &hidden] {
        let difference = between(&programs("", "", body), &plain)?;
        assert_eq!((difference.refused.len(), difference.notes.len()), (0, 1), "{body}");
    }
    Ok(())
}

/// 200 classes of 60 methods: 12,000 methods, of which one changed.
#[test]
fn large_programs() -> Outcome {
    let program = large(200, 60)?;
    let mut other = program.clone();
    let class: &mut Class = other.classes.get_mut(77).ok_or("no class")?;
    let method = class.direct_methods.get_mut(33).ok_or("no method")?;
    let name = format!("{}.{}{}", "C77", method.name, method.prototype);
    method.code.as_mut().ok_or("no code")?.units.insert(0, 0);
    method.code.as_mut().ok_or("no code")?.references.iter_mut().for_each(|(at, _)| *at += 1);
    let (old, new) = (dex::read(&dex::write(&program)?)?, dex::read(&dex::write(&other)?)?);
    assert_eq!(diff(&[old], &[new]).changed, [name]);
    Ok(())
}

fn large(classes: usize, methods: usize) -> Result<Dex, smali::SmaliError> {
    let class = |nth: usize| {
        let mut text = format!(".class public LC{nth};\n.super Ljava/lang/Object;\n");
        for method in 0..methods {
            text.push_str(&format!(
                ".method public static m{method}(I)I\n    .registers 3\n    const-string v0, \"{nth}.{method}\"\n    \
                 add-int/lit8 v1, p0, {}\n    invoke-static {{v1}}, LC{};->m{method}(I)I\n    move-result v1\n    \
                 return v1\n.end method\n",
                method % 100,
                (nth + 1) % classes,
            ));
        }
        smali::assemble(&text)
    };
    Ok(Dex { version: 35, classes: (0..classes).map(class).collect::<Result<_, _>>()? })
}
