//! Patches as files, and their signatures, against the JDK's `jarsigner`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod mutants;

use bytes::Bytes;
use livepatch_art::archive;
use livepatch_art::dex::{self, Dex};
use livepatch_art::patch::{
    About, Certificate, Created, Key, PatchError, SignatureError, Strictness, Unverified, replacements, write,
};
use livepatch_art::smali;
use std::path::Path;
use std::process::Command;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const FIX: &str = "\
.class public LApp_CF;
.super Ljava/lang/Object;
.method public static div(II)I
    .registers 3
    .annotation runtime Llivepatch/art/MethodReplace;
        clazz = \"App\"
        method = \"div\"
    .end annotation
    div-int v0, p0, p1
    return v0
.end method
";

fn dex_file() -> Vec<u8> {
    let classes = vec![smali::assemble(FIX).unwrap()];
    dex::write(&Dex { version: 35, classes }).unwrap()
}

fn demo_key() -> Key {
    let certificate = include_bytes!("../../data/demo-certificate.pem");
    Key::read(include_str!("../../data/demo-key.pem"), certificate).unwrap()
}

fn about() -> About {
    About {
        name: "a patch".to_owned(),
        created: Created::from_seconds(1_430_112_954),
        from: "new.apk".to_owned(),
        to: "old.apk".to_owned(),
        by: "the tests".to_owned(),
        classes: vec!["App_CF".to_owned()],
    }
}

fn patch() -> Vec<u8> {
    write(&about(), &[dex_file()], &demo_key()).unwrap()
}

fn read(bytes: Vec<u8>) -> Result<Unverified, PatchError> {
    Unverified::read(&bytes.into())
}

#[test]
fn what_is_written_is_read_and_verified() -> Outcome {
    let read = read(patch())?;
    assert_eq!(*read.about(), about());
    let verified = read.verify(demo_key().certificate(), Strictness::Strict)?;
    let found = replacements(&verified.classes()[0]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].class.as_str(), found[0].method.as_str()), ("App", "div"));
    assert_eq!(found[0].signature, "(II)I");
    assert!(found[0].is_static);
    // Nothing in it depends on when or where it was written, but ECDSA's signatures are deterministic here, too.
    assert_eq!(patch(), patch());
    Ok(())
}

/// Every part of it: the code, the manifest (which AndFix never checks), something added, something removed.
#[test]
fn changes_are_found() -> Outcome {
    let entries = archive::read(&patch().into(), |_| true)?;
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let with = |change: &dyn Fn(&str, &Bytes) -> Option<Vec<u8>>| {
        let changed: Vec<(&str, Vec<u8>)> = entries
            .iter()
            .filter_map(|entry| Some((entry.name.as_str(), change(&entry.name, &entry.bytes)?)))
            .collect();
        let all: Vec<(&str, &[u8])> = changed.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        archive::write(&all).unwrap()
    };
    let verify = |bytes| read(bytes)?.verify(demo_key().certificate(), Strictness::Strict).map(|_| ());
    verify(with(&|_, bytes| Some(bytes.to_vec())))?;
    let replaced = |of: &'static str, from: &'static str, to: &'static str| {
        with(&move |name, bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            Some(if name == of { text.replace(from, to).into_bytes() } else { bytes.to_vec() })
        })
    };
    let changed = |name: &str| Err(PatchError::Signature(SignatureError::Changed(name.to_owned())));
    assert_eq!(verify(replaced("META-INF/PATCH.MF", "App_CF", "App_CG")), changed("META-INF/PATCH.MF"));
    assert_eq!(verify(replaced("META-INF/MANIFEST.MF", "1.0", "1.1")), changed("META-INF/MANIFEST.MF"));
    assert_eq!(
        verify(replaced("META-INF/LIVEPATC.SF", "1.0", "1.1")),
        Err(PatchError::Signature(SignatureError::Wrong))
    );
    let other_dex = with(&|name, bytes| {
        Some(if name == "classes.dex" { [bytes, &b"x"[..]].concat() } else { bytes.to_vec() })
    });
    assert_eq!(verify(other_dex), changed("classes.dex"));
    for name in names.iter().filter(|name| **name != "META-INF/PATCH.MF") {
        let without = with(&|other, bytes| (other != *name).then(|| bytes.to_vec()));
        assert!(verify(without).is_err(), "{name}");
    }
    // Added behind the maker's back: a second dex file would be loaded.
    let mut more: Vec<(&str, &[u8])> =
        entries.iter().map(|entry| (entry.name.as_str(), &entry.bytes[..])).collect();
    more.push(("classes2.dex", b"x"));
    let added = SignatureError::NotCovered("classes2.dex".to_owned());
    assert_eq!(verify(archive::write(&more)?), Err(PatchError::Signature(added)));
    Ok(())
}

/// A folder with a key of RSA and one of ECDSA in a store of Java's; nothing if a tool is missing.
fn keys(test: &str) -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    for (algorithm, size) in [("RSA", ["-keysize", "2048"]), ("EC", ["-groupname", "secp256r1"])] {
        let mut keytool = Command::new("keytool");
        keytool.args(["-genkeypair", "-alias", algorithm, "-keyalg", algorithm, "-dname", "CN=test"]);
        keytool.args(size).args(["-storepass", "secret", "-storetype", "PKCS12", "-validity", "3650"]);
        let made = keytool.arg("-keystore").arg(folder.path().join("store")).output();
        let openssl = |what: &[&str], to: String| {
            let mut openssl = Command::new("openssl");
            openssl.args(["pkcs12", "-passin", "pass:secret"]).args(what);
            let store = format!("{algorithm}.p12");
            let output = openssl.arg("-in").arg(folder.path().join(store)).output();
            output.and_then(|output| std::fs::write(folder.path().join(to), output.stdout)).is_ok()
        };
        // One key each, so that there is nothing to choose from.
        let mut export = Command::new("keytool");
        export.args([
            "-importkeystore",
            "-srcalias",
            algorithm,
            "-srcstorepass",
            "secret",
            "-deststorepass",
            "secret",
        ]);
        export.arg("-srckeystore").arg(folder.path().join("store"));
        export
            .args(["-deststoretype", "PKCS12", "-destkeystore"])
            .arg(folder.path().join(format!("{algorithm}.p12")));
        let exported = export.output().is_ok_and(|output| output.status.success());
        let works = made.is_ok_and(|output| output.status.success())
            && exported
            && openssl(&["-nocerts", "-nodes"], format!("{algorithm}.key"))
            && openssl(&["-nokeys"], format!("{algorithm}.pem"));
        if !works {
            println!("{test} skipped: there is no keytool, or no openssl");
            return None;
        }
    }
    Some(folder)
}

fn key(folder: &Path, algorithm: &str) -> Key {
    let path = |end: &str| folder.join(format!("{algorithm}.{end}"));
    let pem = |end: &str| {
        let text = std::fs::read_to_string(path(end)).unwrap();
        // What openssl writes before it is said to be a comment.
        text[text.find("-----BEGIN").unwrap()..].to_owned()
    };
    Key::read(&pem("key"), pem("pem").as_bytes()).unwrap()
}

/// The JDK's own tool verifies what we sign, and every entry of it.
#[test]
fn jarsigner_verifies_ours() -> Outcome {
    let Some(folder) = keys("jarsigner_verifies_ours") else { return Ok(()) };
    for algorithm in ["RSA", "EC"] {
        let path = folder.path().join("ours.apatch");
        std::fs::write(&path, write(&about(), &[dex_file()], &key(folder.path(), algorithm))?)?;
        let output = Command::new("jarsigner").args(["-verify", "-verbose"]).arg(&path).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("jar verified."), "{text}");
        let is_signed =
            |name: &str| text.lines().any(|line| line.ends_with(name) && line.trim().starts_with("sm"));
        assert!(is_signed("classes.dex") && is_signed("META-INF/PATCH.MF"), "{text}");
    }
    Ok(())
}

/// What the JDK's tool signs is verified here, with compressed entries and signed attributes; SHA-1 and a manifest
/// that is not covered are refused unless AndFix's patches are asked for.
#[test]
fn jarsigners_are_verified() -> Outcome {
    let Some(folder) = keys("jarsigners_are_verified") else { return Ok(()) };
    let jar = folder.path().join("theirs.apatch");
    for (algorithm, digest, strictness) in [
        ("RSA", "SHA-256", Strictness::Strict),
        ("RSA", "SHA-512", Strictness::Strict),
        ("EC", "SHA-256", Strictness::Strict),
        ("RSA", "SHA-1", Strictness::AsAndFix),
    ] {
        let entries =
            archive::read(&patch().into(), |name| !name.contains("LIVEPATC") && !name.contains("MANIFEST"))?;
        let plain: Vec<(&str, &[u8])> =
            entries.iter().map(|entry| (entry.name.as_str(), &entry.bytes[..])).collect();
        std::fs::write(&jar, archive::write(&plain)?)?;
        let mut sign = Command::new("jarsigner");
        sign.args(["-storepass", "secret", "-digestalg", digest, "-keystore"])
            .arg(folder.path().join("store"));
        if digest == "SHA-1" {
            sign.args(["-sigalg", "SHA1withRSA"]);
        }
        let output = sign.arg(&jar).arg(algorithm).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let bytes = std::fs::read(&jar)?;
        let certificate = key(folder.path(), algorithm).certificate().clone();
        read(bytes.clone())?
            .verify(&certificate, strictness)
            .map_err(|error| format!("{digest}: {error:?}"))?;
        if digest == "SHA-1" {
            let weak = read(bytes.clone())?.verify(&certificate, Strictness::Strict).map(|_| ());
            assert!(matches!(weak, Err(PatchError::Signature(SignatureError::Weak(_)))), "{weak:?}");
        }
        let stranger = read(bytes)?.verify(demo_key().certificate(), strictness).map(|_| ());
        assert!(matches!(stranger, Err(PatchError::Signature(SignatureError::Stranger(_)))), "{stranger:?}");
    }
    Ok(())
}

/// The shape of AndFix's own patches (`apkpatch` 1.0.3): other headers' order, its annotation, and a manifest beside
/// what is signed.
#[test]
fn andfixs_shape_is_read() -> Outcome {
    let theirs =
        FIX.replace("Llivepatch/art/MethodReplace;", "Lcom/alipay/euler/andfix/annotation/MethodReplace;");
    let dex = dex::write(&Dex { version: 35, classes: vec![smali::assemble(&theirs)?] })?;
    let manifest = b"Manifest-Version: 1.0\nPatch-Name: app-release-fix\nTo-File: app-release-online.apk\n\
        Created-Time: 27 Apr 2015 05:35:54 GMT\nCreated-By: 1.0 (ApkPatch)\nPatch-Classes: App_CF\n\
        From-File: app-release-fix.apk\n\n";
    let bytes = archive::write(&[("META-INF/PATCH.MF", manifest), ("classes.dex", &dex)])?;
    let read = read(bytes)?;
    assert_eq!(read.about().name, "app-release-fix");
    assert_eq!(read.about().created.seconds(), 1_430_112_954);
    assert_eq!(read.about().classes, ["App_CF"]);
    assert_eq!(replacements(&read.classes()?[0])[0].class, "App");
    let verified = read.verify(demo_key().certificate(), Strictness::AsAndFix).map(|_| ());
    assert_eq!(verified, Err(PatchError::Signature(SignatureError::Missing)));
    Ok(())
}

#[test]
fn keys_and_certificates_belong_together() -> Outcome {
    let Some(folder) = keys("keys_and_certificates_belong_together") else { return Ok(()) };
    let other = std::fs::read(folder.path().join("EC.pem"))?;
    let other = &other[other.windows(10).position(|text| text == b"-----BEGIN").unwrap()..];
    let mixed = Key::read(include_str!("../../data/demo-key.pem"), other).map(|_| ());
    assert!(matches!(mixed, Err(SignatureError::Key(_))), "{mixed:?}");
    assert!(Certificate::read(b"-----BEGIN CERTIFICATE-----\n").is_err());
    Ok(())
}
