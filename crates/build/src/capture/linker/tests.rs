use super::*;

fn line(text: &str) -> LinkLine {
    LinkLine::read(&text.split_whitespace().map(OsString::from).collect::<Vec<_>>()).unwrap()
}

fn texts(arguments: &[OsString]) -> Vec<&str> {
    arguments.iter().map(|argument| argument.to_str().unwrap()).collect()
}

#[test]
fn folding_and_stripping_are_taken_out_and_a_build_id_is_added() {
    let line =
        line("-m64 a.o -Wl,--icf=all -Wl,--gc-sections,--strip-all,-O1 -s -o out/app -Wl,--build-id=none");
    assert_eq!(
        texts(&line.arguments),
        ["-m64", "a.o", "-Wl,--gc-sections,-O1", "-o", "out/app", "-Wl,--build-id"]
    );
    assert_eq!(line.output, Path::new("out/app"));
    assert_eq!(line.removed.len(), 4);
}

#[test]
fn nothing_else_is_touched() {
    let text =
        "-fuse-ld=lld -Wl,--strip-debug -Wl,--build-id=sha1 -Wl,-z,relro,-z,now -nodefaultlibs -lsomething";
    let line = line(text);
    assert_eq!(texts(&line.arguments).join(" "), text);
    assert!(line.removed.is_empty());
}

#[test]
fn a_bare_linker_gets_a_bare_option() {
    assert!(texts(&line("--eh-frame-hdr a.o -o b").arguments).contains(&"--build-id"));
}

#[test]
fn response_files_survive_a_round_trip() {
    let arguments = ["plain", "with space", r"back\slash", "quo\"te's", ""].map(OsString::from);
    assert_eq!(parse_response_file(&response_file(&arguments[..4])), arguments[..4]);
    assert_eq!(parse_response_file(b"\"a b\" 'c\"d'\n\"\" e"), ["a b", "c\"d", "", "e"].map(OsString::from));
}

#[test]
fn response_files_are_expanded() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("linker-arguments");
    std::fs::write(&file, "a\\ b.o\n-o\nout\n--icf=safe\n").unwrap();
    let line = LinkLine::read(&[format!("@{}", file.display()).into()]).unwrap();
    assert_eq!(texts(&line.arguments), ["a b.o", "-o", "out", "-Wl,--build-id"]);
}

#[test]
fn inputs_come_in_link_order() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["libnative.a", "libnative.so", "libother.so"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let text = format!(
        "/tmp/rustc/symbols.o a.rcgu.o -Wl,-Bstatic /t/deps/libb.rlib -lnative -Wl,-Bdynamic -lother -lgcc_s -lc \
         -L {} -L/nowhere rel/libc.so.6 -o deps/app.so",
        dir.path().display()
    );
    let inputs = inputs_of(&line(&text).arguments, Path::new("/cwd"));
    let expected = [
        PathBuf::from("/t/deps/libb.rlib"),
        dir.path().join("libnative.a"),
        dir.path().join("libother.so"),
        PathBuf::from("/cwd/rel/libc.so.6"),
    ];
    assert_eq!(inputs, expected);
}
