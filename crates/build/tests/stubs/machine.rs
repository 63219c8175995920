//! Machines that programs of an instruction set are built for and run on.

use crate::tools::{done, lld, missing, program};
use livepatch_build::stubs::{InstructionSet, Linker, StubTarget};
use livepatch_object::address::RuntimeAddress;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// How to build and run for a target.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) target: StubTarget,
    /// What clang calls it, and how it is to generate code.
    clang: &'static [&'static str],
    /// GNU ld, and its emulation.
    pub(crate) ld: &'static [&'static str],
    /// What runs its programs, if this machine does not, and where its C library is.
    emulator: Option<(&'static str, &'static str)>,
    loader: &'static str,
    /// How the host's code finds what is around it.
    host_code: &'static str,
    /// Whether the compiler has indirect functions there.
    indirect: bool,
}

pub(crate) const X86_64: Machine = Machine {
    target: StubTarget::ELF_X86_64,
    clang: &["--target=x86_64-linux-gnu", "-fcf-protection=full"],
    ld: &["ld", "-m", "elf_x86_64"],
    emulator: None,
    loader: "/lib64/ld-linux-x86-64.so.2",
    host_code: "-fPIE",
    indirect: true,
};

pub(crate) const AARCH64: Machine = Machine {
    target: StubTarget::ELF_AARCH64,
    clang: &["--target=aarch64-linux-gnu", "-mbranch-protection=standard"],
    ld: &["aarch64-linux-gnu-ld"],
    emulator: Some(("qemu-aarch64", "/usr/aarch64-linux-gnu")),
    loader: "/lib/ld-linux-aarch64.so.1",
    host_code: "-fPIE",
    indirect: true,
};

pub(crate) const ARM: Machine = Machine {
    target: StubTarget::ELF_ARM,
    clang: &["--target=armv7-linux-gnueabihf", "-marm", "-fno-unwind-tables"],
    ld: &["arm-linux-gnueabihf-ld"],
    emulator: Some(("qemu-arm", "/usr/arm-linux-gnueabihf")),
    loader: "/lib/ld-linux-armhf.so.3",
    host_code: "-fPIE",
    indirect: true,
};

pub(crate) const THUMB: Machine = Machine {
    target: StubTarget::ELF_THUMB,
    clang: &["--target=armv7-linux-gnueabihf", "-mthumb", "-fno-unwind-tables"],
    ..ARM
};

pub(crate) const I686: Machine = Machine {
    target: StubTarget::ELF_I686,
    clang: &["--target=i686-linux-gnu", "-fcf-protection=full"],
    ld: &["ld", "-m", "elf_i386"],
    emulator: Some(("qemu-i386", "/usr/i686-linux-gnu")),
    loader: "/lib/ld-linux.so.2",
    // `-fPIE` calls an indirect function without the register that its PLT needs.
    host_code: "-fPIC",
    indirect: true,
};

pub(crate) const RISCV64: Machine = Machine {
    target: StubTarget::ELF_RISCV64,
    clang: &["--target=riscv64-linux-gnu", "-march=rv64gc", "-mabi=lp64d"],
    ld: &["riscv64-linux-gnu-ld"],
    emulator: Some(("qemu-riscv64", "/usr/riscv64-linux-gnu")),
    loader: "/lib/ld-linux-riscv64-lp64d.so.1",
    host_code: "-fPIE",
    indirect: false,
};

impl Machine {
    /// What is missing here to build and run for it.
    pub(crate) fn missing(&self) -> Option<String> {
        let mut programs = vec![Path::new("clang"), Path::new(self.ld[0])];
        programs.extend(self.emulator.map(|(emulator, _)| Path::new(emulator)));
        let crt = self.libraries().join("Scrt1.o");
        missing(&programs)
            .or_else(|| (!crt.exists()).then(|| format!("no C library: {} is missing", crt.display())))
    }

    fn libraries(&self) -> PathBuf {
        match self.emulator {
            Some((_, root)) => Path::new(root).join("lib"),
            None => "/usr/lib/x86_64-linux-gnu".into(),
        }
    }

    /// Compiles a program of the tests.
    pub(crate) fn compile(&self, source: &str, to: &Path, options: &[&str]) -> PathBuf {
        let mut clang = Command::new("clang");
        clang.args(self.clang).args(["-O1", "-c", "-fno-builtin", "-ffunction-sections"]).args(options);
        if self.indirect {
            clang.arg("-DINDIRECT");
        }
        done(clang.arg(program(source)).arg("-o").arg(to));
        to.to_owned()
    }

    /// Builds the host.
    pub(crate) fn host(&self, folder: &Path) -> PathBuf {
        // Where a slot can be used before the host has used it, that is tried.
        let special = matches!(self.target.instructions(), InstructionSet::I686 | InstructionSet::Riscv64);
        self.host_with(folder, &[], if special { &["-z", "now"] } else { &["-z", "lazy"] })
    }

    /// The same, with more objects and options for the linker.
    pub(crate) fn host_with(&self, folder: &Path, objects: &[&Path], options: &[&str]) -> PathBuf {
        let object = self.compile("host.c", &folder.join("host.o"), &[self.host_code]);
        let host = folder.join("host");
        let libraries = self.libraries();
        let mut ld = Command::new(self.ld[0]);
        ld.args(&self.ld[1..]).args(["-pie", "--build-id", "-dynamic-linker", self.loader]).args(options);
        ld.arg(libraries.join("Scrt1.o")).arg(libraries.join("crti.o")).arg(object).args(objects);
        done(ld.arg("-L").arg(&libraries).arg("-lc").arg(libraries.join("crtn.o")).arg("-o").arg(&host));
        host
    }

    /// Links a patch library: what it refers to must all be there.
    pub(crate) fn link(&self, linker: Linker, inputs: &[&Path], to: &Path) -> Result<(), String> {
        let mut ld = match linker {
            Linker::Any => Command::new(self.ld[0]),
            Linker::Lld => Command::new(lld("ld.lld")),
        };
        if linker == Linker::Any {
            ld.args(&self.ld[1..]);
        }
        ld.args(["-shared", "-z", "defs", "--fatal-warnings"]).args(inputs).arg("-o").arg(to);
        crate::tools::run(&mut ld).map(|_| ())
    }

    /// Starts the host.
    pub(crate) fn start(&self, host: &Path) -> Live {
        Live::start(&mut match self.emulator {
            Some((emulator, root)) => {
                let mut command = Command::new(emulator);
                command.args(["-L", root]).arg(host);
                command
            }
            None => Command::new(host),
        })
    }
}

/// A running host.
pub(crate) struct Live {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Where it has its anchor.
    pub(crate) anchor: RuntimeAddress,
}

impl Live {
    /// Starts one, which says where it has its anchor.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the host starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut live = Live { child, stdin, stdout, anchor: RuntimeAddress(0) };
        let line = live.line();
        let anchor = line.strip_prefix("anchor ").expect("the anchor comes first");
        live.anchor = RuntimeAddress(u64::from_str_radix(anchor, 16).expect("an address"));
        live
    }

    /// Lets it load a library and run it; what it says then.
    pub(crate) fn load(&mut self, library: &Path) -> String {
        self.say(&library.display().to_string());
        self.line()
    }

    /// Where its loader says that the function at an address begins.
    pub(crate) fn function_at(&mut self, address: u64) -> Option<u64> {
        self.say(&format!("?{address:x}"));
        let line = self.line();
        u64::from_str_radix(line.strip_prefix("1 ")?, 16).ok()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the host listens");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the host speaks");
        assert!(!line.is_empty(), "the host has ended: {:?}", self.child.wait());
        line.trim_end().to_owned()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
