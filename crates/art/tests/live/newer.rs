//! What is otherwise in records of 12 and later.

use crate::Case;
use crate::runtime::{Runtime, classes};
use livepatch_art::layout::Field;
use livepatch_art::record::Way;

pub(crate) const ALL: &[Case] = &[
    ("newer::bodies_are_in_data", bodies_are_in_data),
    ("newer::bodies_for_another_interpreter", bodies_for_another_interpreter),
];

/// No field says where in the dex file the body is: `data_` says where in memory.
fn bodies_are_in_data(runtime: &mut Runtime) {
    let fields = |name: &str| {
        let record = runtime.engine.record(&runtime.method("livepatch.art.Probe", name, "()V", true));
        // `public static`, as the class was written.
        assert_eq!(record.flags() & 0xffff, 0x9);
        [Field::Data, Field::DexMethodIndex].map(|field| record.get(field).expect("a field"))
    };
    let [a, b, c] = ["a", "b", "c"].map(fields);
    // Bodies of one unit follow each other: 16 bytes of `code_item` and two of code, aligned to four.
    assert_eq!([b[0] - a[0], c[0] - b[0]], [20, 20]);
    assert_eq!([b[1] - a[1], c[1] - b[1]], [1, 1]);
    let place = |class: &str, name: &str| {
        let record = runtime.engine.record(&runtime.method(class, name, "()I", false));
        record.get(Field::MethodIndex).expect("a field")
    };
    assert_eq!(place("Base", "other"), place("Base", "hello") + 1);
    assert_eq!(place("App", "hello"), place("Base", "hello"));
}

/// The interpreter in assembly (nterp) takes no body whose frame is over 3 KiB (`kNterpMaxFrame`): two words for each
/// register.
const BODIES: &str = "
.class public LSmall;
.super Ljava/lang/Object;
.method public constructor <init>()V
.registers 1
invoke-direct {p0}, Ljava/lang/Object;-><init>()V
return-void
.end method
.method public f()I
.registers 2
const/4 v0, 0x1
return v0
.end method
.method public callF()I
.registers 2
invoke-virtual {p0}, LSmall;->f()I
move-result v0
return v0
.end method

.class public LSmall_CF;
.super Ljava/lang/Object;
.method public f()I
.registers 1000
const/4 v0, 0x2
return v0
.end method

.class public LLarge;
.super Ljava/lang/Object;
.method public constructor <init>()V
.registers 1
invoke-direct {p0}, Ljava/lang/Object;-><init>()V
return-void
.end method
.method public f()I
.registers 1000
const/4 v0, 0x1
return v0
.end method
.method public callF()I
.registers 2
invoke-virtual {p0}, LLarge;->f()I
move-result v0
return v0
.end method

.class public LLarge_CF;
.super Ljava/lang/Object;
.method public f()I
.registers 2
const/4 v0, 0x2
return v0
.end method
";

/// With a copied body comes what runs it: a method of the one interpreter gets a body for the other, and the other way round.
fn bodies_for_another_interpreter(runtime: &mut Runtime) {
    runtime.engine.set_way(Way::Fields).expect("nothing is live");
    runtime.define("bodies.dex", classes(BODIES));
    let entry = |runtime: &Runtime, class: &str| {
        runtime.engine.record(&runtime.method(class, "f", "()I", false)).get(Field::Quick)
    };
    let [small, large] = ["Small", "Large"].map(|class| entry(runtime, class));
    assert_ne!(small, large);
    for (class, own, other) in [("Small", small, large), ("Large", large, small)] {
        let object = runtime.new_object(class);
        assert_eq!(runtime.int_of(object, "callF"), Ok(1));
        let patch = runtime.apply(runtime.change(class, "f", "()I", false));
        assert_eq!(entry(runtime, class), other);
        assert_eq!(runtime.int_of(object, "callF"), Ok(2));
        runtime.engine.roll_back(runtime.env, patch).expect("the way back");
        assert_eq!(entry(runtime, class), own);
        assert_eq!(runtime.int_of(object, "callF"), Ok(1));
    }
}
