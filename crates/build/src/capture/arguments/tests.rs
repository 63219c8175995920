use super::*;

const CARGO: &str = "--crate-name my_app --edition=2024 src/main.rs --error-format=json \
    --json=diagnostic-rendered-ansi,artifacts,future-incompat --crate-type bin --emit=dep-info,link \
    -C embed-bitcode=no -C debuginfo=2 --cfg feature=\"a\" -C metadata=7cc2 -C extra-filename=-b0a6 \
    --out-dir /t/debug/deps -C incremental=/t/debug/incremental -L dependency=/t/debug/deps \
    --extern lib_a=/t/debug/deps/liblib_a-11.rlib --extern noprelude:b=/t/debug/deps/libb-12.rmeta --extern std";

fn arguments(text: &str) -> Arguments {
    Arguments::expanded(text.split_whitespace().map(OsString::from)).unwrap()
}

#[test]
fn reads_what_cargo_passes() {
    let cargo = arguments(CARGO);
    assert_eq!(cargo.unit(), Some(UnitId("my_app-b0a6".into())));
    assert_eq!(cargo.crate_types(), ["bin"]);
    assert!(cargo.emits_link());
    assert_eq!(cargo.value("--out-dir"), Some(OsStr::new("/t/debug/deps")));
    assert_eq!(cargo.codegen("incremental"), Some(OsStr::new("/t/debug/incremental")));
    assert_eq!(cargo.codegen("codegen-units"), None);
    let externs: Vec<_> = cargo.externs().collect();
    assert_eq!(
        externs,
        [Path::new("/t/debug/deps/liblib_a-11.rlib"), Path::new("/t/debug/deps/libb-12.rmeta")]
    );
}

#[test]
fn every_spelling_of_a_codegen_option() {
    for text in
        ["-C codegen-units=3", "-Ccodegen-units=3", "--codegen codegen_units=3", "--codegen=codegen-units=3"]
    {
        let some = arguments(text);
        assert_eq!(some.codegen("codegen-units"), Some(OsStr::new("3")), "{text}");
        assert!(some.without_codegen("codegen-units").as_slice().is_empty(), "{text}");
    }
    assert_eq!(arguments("-C linker=a -C linker=b").codegen("linker"), Some(OsStr::new("b")));
    assert_eq!(arguments("-C lto").codegen("lto"), Some(OsStr::new("")));
}

#[test]
fn a_value_that_looks_like_an_option_is_a_value() {
    let odd = arguments("--cfg -C --crate-name x");
    assert_eq!(odd.codegen("--crate-name"), None);
    assert_eq!(odd.crate_name(), Some("x"));
}

#[test]
fn replaces_options_and_nothing_else() {
    let before = arguments(CARGO);
    let after = before
        .clone()
        .without("--out-dir")
        .without("--json")
        .without_codegen("incremental")
        .with("--out-dir", "/private")
        .with_codegen("incremental", "/inc");
    assert_eq!(after.value("--out-dir"), Some(OsStr::new("/private")));
    assert_eq!(after.codegen("incremental"), Some(OsStr::new("/inc")));
    assert_eq!(after.value("--json"), None);
    assert_eq!(after.as_slice().len(), before.as_slice().len() - 1);
}

#[test]
fn externs_are_redirected_with_their_modifiers() {
    let changed =
        arguments(CARGO).with_externs(|path| path.ends_with("libb-12.rmeta").then(|| "/new/b".into()));
    let externs: Vec<_> = changed.values("--extern").collect();
    assert_eq!(
        externs,
        ["lib_a=/t/debug/deps/liblib_a-11.rlib", "noprelude:b=/new/b", "std"].map(OsStr::new)
    );
}

#[test]
fn argument_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("args");
    std::fs::write(&file, "--crate-name\nwith space\n").unwrap();
    let mut at = OsString::from("@");
    at.push(&file);
    let read = Arguments::expanded([at]).unwrap();
    assert_eq!(read.crate_name(), Some("with space"));
}
