import java.io.File;
import java.net.URL;
import java.net.URLClassLoader;
import livepatch.Loader;

/** What Android promises of System.loadLibrary and System.load. */
public final class Semantics {
    static native int add(int a, int b);

    static native int loads();

    static native String over(int a);

    static native String over(String a, long[] b);

    static final class Nested {
        static native int with_underscore();
    }

    /** Is loaded by class loaders of its own. */
    public static final class Stranger implements Runnable {
        @Override
        public void run() {
            Loader.loadLibrary("good");
        }
    }

    private static final String FOLDER = System.getProperty("livepatch.library.path").split(":")[0];

    public static void main(String[] arguments) throws Exception {
        throwsError("Directory separator should not appear in library name: a/b", () -> Loader.loadLibrary("a/b"));
        throwsError("Expecting an absolute path of the library: libgood.so", () -> Loader.load("libgood.so"));
        ClassLoader own = Semantics.class.getClassLoader();
        throwsError(own + " couldn't find \"libabsent.so\"", () -> Loader.loadLibrary("absent"));
        throwsError("library \"/absent.so\" not found", () -> Loader.load("/absent.so"));
        throwsError("\"" + path("text") + "\" is too small to be an ELF executable: only found 10 bytes",
                () -> Loader.load(path("text")));
        throwsError("cannot locate symbol \"absent\" referenced by \"" + path("missing") + "\"...",
                () -> Loader.load(path("missing")));

        Loader.loadLibrary("good");
        same(5, add(2, 3));
        same(7, Nested.with_underscore());
        same("int", over(1));
        same("String and long[]", over("", new long[0]));
        // By its path, it is the same library: JNI_OnLoad is not run again.
        Loader.load(path("good"));
        Loader.loadLibrary("good");
        same(1, loads());
        Loader.loadLibrary("plain");

        for (String attempt : new String[] {"first", "second"}) {
            boolean first = attempt.equals("first");
            String failed = "JNI_OnLoad failed on a previous attempt to load \"";
            throwsError(first ? "JNI_ERR returned from JNI_OnLoad in \"" + path("err") + "\"" : failed + path("err") + "\"",
                    () -> Loader.loadLibrary("err"));
            throwsError(first ? "Bad JNI version returned from JNI_OnLoad in \"" + path("bad") + "\": 42"
                    : failed + path("bad") + "\"", () -> Loader.loadLibrary("bad"));
        }
        stranger();
    }

    /** A library is one class loader's. */
    private static void stranger() throws Exception {
        URL[] classes = {Semantics.class.getProtectionDomain().getCodeSource().getLocation()};
        ClassLoader other = new URLClassLoader("other", classes, ClassLoader.getPlatformClassLoader()) {
            @Override
            protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
                return name.startsWith("livepatch.") ? Loader.class.getClassLoader().loadClass(name)
                        : super.loadClass(name, resolve);
            }
        };
        Runnable stranger =
                (Runnable) other.loadClass("Semantics$Stranger").getDeclaredConstructor().newInstance();
        try {
            stranger.run();
        } catch (UnsatisfiedLinkError error) {
            String message = error.getMessage();
            String expected = "Shared library \"" + path("good") + "\" already opened by ClassLoader 0x";
            if (!message.startsWith(expected) || !message.contains("; can't open in ClassLoader 0x")) {
                throw new AssertionError(message);
            }
            return;
        }
        throw new AssertionError("a stranger may load it");
    }

    private static String path(String name) {
        return new File(FOLDER, "lib" + name + ".so").getPath();
    }

    private static void same(Object expected, Object is) {
        if (!expected.equals(is)) {
            throw new AssertionError("expected " + expected + ", is " + is);
        }
    }

    private static void throwsError(String expected, Runnable attempt) {
        try {
            attempt.run();
        } catch (UnsatisfiedLinkError error) {
            same(expected, error.getMessage());
            return;
        }
        throw new AssertionError("nothing was thrown, expected " + expected);
    }
}
