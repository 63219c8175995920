package livepatch;

import java.io.File;
import java.lang.ref.WeakReference;
import java.util.HashMap;
import java.util.Map;

/**
 * What {@code System.loadLibrary} and {@code System.load} are on Android: a library is loaded by Android's rules, its
 * {@code JNI_OnLoad} is run once and what it returned is remembered, and native methods are bound to its functions.
 *
 * <p>System properties: {@code livepatch.native} is the path of this class's own library (default: {@code
 * livepatch_jni} of {@code java.library.path}); {@code livepatch.library.path} are folders in which libraries are,
 * separated by colons, for class loaders that are no {@link LibraryFinder}; {@code livepatch.bionic=false} is for
 * libraries that were not made for Android.
 */
public final class Loader {
    /** A class loader that knows where its classes' libraries are, as all of Android's do. */
    public interface LibraryFinder {
        /** The path of the library of a name such as {@code "yoga"}; null if it has none. */
        String findLibrary(String name);

        /** The folders in which what a library needs is looked for, separated by colons. */
        String libraryPath();
    }

    private static final int JNI_ERR = -1;
    /** The versions that Android knows: 1.2, 1.4, 1.6. */
    private static final int[] VERSIONS = {0x00010002, 0x00010004, 0x00010006};

    /** Libraries by their paths. None is ever unloaded. */
    private static final Map<String, Loaded> LIBRARIES = new HashMap<>();

    static {
        String own = System.getProperty("livepatch.native");
        if (own == null) {
            System.loadLibrary("livepatch_jni");
        } else {
            System.load(own);
        }
    }

    private enum OnLoad {
        PENDING,
        FAILED,
        DONE
    }

    private static final class Loaded {
        final WeakReference<ClassLoader> loader;
        final String loaderText;
        OnLoad onLoad = OnLoad.PENDING;

        Loaded(ClassLoader loader) {
            this.loader = new WeakReference<>(loader);
            this.loaderText = describe(loader);
        }
    }

    private Loader() {}

    /** Loads the library of a name, for the class loader of the class that calls this. */
    public static void loadLibrary(String name) {
        loadLibrary(name, callersLoader());
    }

    /** Loads the library at an absolute path, for the class loader of the class that calls this. */
    public static void load(String path) {
        load(path, callersLoader());
    }

    /** As {@link #loadLibrary(String)}, for a class loader. */
    public static void loadLibrary(String name, ClassLoader loader) {
        if (name.indexOf(File.separatorChar) != -1) {
            throw new UnsatisfiedLinkError("Directory separator should not appear in library name: " + name);
        }
        String path = find(name, loader);
        if (path == null) {
            throw new UnsatisfiedLinkError(loader + " couldn't find \"" + System.mapLibraryName(name) + "\"");
        }
        nativeLoad(path, loader);
    }

    /** As {@link #load(String)}, for a class loader. */
    public static void load(String path, ClassLoader loader) {
        if (!new File(path).isAbsolute()) {
            throw new UnsatisfiedLinkError("Expecting an absolute path of the library: " + path);
        }
        nativeLoad(path, loader);
    }

    private static ClassLoader callersLoader() {
        StackWalker walker = StackWalker.getInstance(StackWalker.Option.RETAIN_CLASS_REFERENCE);
        Class<?> caller =
                walker.walk(
                        frames ->
                                frames.map(StackWalker.StackFrame::getDeclaringClass)
                                        .filter(declaring -> declaring != Loader.class)
                                        .findFirst()
                                        .orElse(Loader.class));
        return caller.getClassLoader();
    }

    private static String find(String name, ClassLoader loader) {
        if (loader instanceof LibraryFinder) {
            return ((LibraryFinder) loader).findLibrary(name);
        }
        for (String folder : folders(loader).split(File.pathSeparator)) {
            File file = new File(folder, System.mapLibraryName(name));
            if (!folder.isEmpty() && file.canRead()) {
                return file.getAbsolutePath();
            }
        }
        return null;
    }

    private static String folders(ClassLoader loader) {
        if (loader instanceof LibraryFinder) {
            return ((LibraryFinder) loader).libraryPath();
        }
        return System.getProperty("livepatch.library.path", "");
    }

    /** What the virtual machine does, after the library's path is known. */
    private static synchronized void nativeLoad(String path, ClassLoader loader) {
        Loaded loaded = LIBRARIES.get(path);
        if (loaded != null) {
            if (loaded.loader.get() != loader) {
                throw new UnsatisfiedLinkError(
                        "Shared library \"" + path + "\" already opened by ClassLoader " + loaded.loaderText
                                + "; can't open in ClassLoader " + describe(loader));
            }
            if (loaded.onLoad == OnLoad.FAILED) {
                throw new UnsatisfiedLinkError(
                        "JNI_OnLoad failed on a previous attempt to load \"" + path + "\"");
            }
            // Pending: its own JNI_OnLoad loads it again, which is nothing.
            return;
        }
        boolean bionic = Boolean.parseBoolean(System.getProperty("livepatch.bionic", "true"));
        long handle = open(path, folders(loader), bionic);
        loaded = new Loaded(loader);
        LIBRARIES.put(path, loaded);
        loaded.onLoad = OnLoad.FAILED;
        try {
            NativeMethods.bind(handle, loader);
            loaded.onLoad = OnLoad.PENDING;
            check(path, onLoad(handle));
            loaded.onLoad = OnLoad.DONE;
        } finally {
            if (loaded.onLoad == OnLoad.PENDING) {
                loaded.onLoad = OnLoad.FAILED;
            }
        }
    }

    private static void check(String path, int version) {
        // No JNI_OnLoad.
        if (version == 0) {
            return;
        }
        if (version == JNI_ERR) {
            throw new UnsatisfiedLinkError("JNI_ERR returned from JNI_OnLoad in \"" + path + "\"");
        }
        for (int known : VERSIONS) {
            if (version == known) {
                return;
            }
        }
        throw new UnsatisfiedLinkError(
                "Bad JNI version returned from JNI_OnLoad in \"" + path + "\": " + version);
    }

    private static String describe(ClassLoader loader) {
        return String.format("0x%x(%s)", System.identityHashCode(loader), loader);
    }

    private static native long open(String path, String folders, boolean bionic);

    private static native int onLoad(long handle);

    static native String[] natives(long handle);

    static native void register(
            Class<?> of, String name, String signature, long handle, String symbol);
}
