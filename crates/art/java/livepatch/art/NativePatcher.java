package livepatch.art;

import java.io.File;
import java.io.IOException;

/** The native library does it: {@code liblivepatch_art.so}. */
final class NativePatcher implements Patcher {
    private final ClassLoader loader;
    private final byte[] certificate;

    NativePatcher(ClassLoader loader, byte[] certificate, int apiLevel) {
        System.loadLibrary("livepatch_art");
        this.loader = loader;
        this.certificate = certificate.clone();
        start(apiLevel, Probe.class);
    }

    @Override
    public Patch verify(File patch, File folder) throws IOException {
        String[] said = verify(patch.getPath(), certificate, folder.getPath());
        return new Patch(said[0], Long.parseLong(said[1]), new File(said[2]));
    }

    @Override
    public int apply(Patch patch) {
        String dex = patch.dex.getPath();
        String[] names = toDefine(dex);
        return apply(loader, define(dex, names), names, dex);
    }

    /** A loader gives the class that it has, if it has one of a name: the program's, or that of a patch that failed half way. */
    private void refuseTaken(String name) {
        try {
            Class.forName(name, false, loader);
        } catch (ClassNotFoundException expected) {
            return;
        }
        throw new IllegalStateException("there is a class " + name + " already");
    }

    /** In the program's own loader: the patch's classes see what its classes see. */
    @SuppressWarnings("deprecation")
    private Class<?>[] define(String dex, String[] names) {
        for (String name : names) {
            refuseTaken(name);
        }
        try {
            dalvik.system.DexFile file = dalvik.system.DexFile.loadDex(dex, null, 0);
            Class<?>[] defined = new Class<?>[names.length];
            for (int nth = 0; nth < defined.length; nth++) {
                defined[nth] = file.loadClass(names[nth], loader);
                if (defined[nth] == null) {
                    throw new IllegalStateException("cannot define " + names[nth]);
                }
            }
            return defined;
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public native int refresh();

    @Override
    public native void rollBack(int number);

    private static native void start(int apiLevel, Class<?> probe);

    private static native String[] verify(String patch, byte[] certificate, String folder) throws IOException;

    /** The names of the patch's classes that no earlier patch has brought: what one extends is before it. */
    private static native String[] toDefine(String dex);

    private static native int apply(ClassLoader loader, Class<?>[] classes, String[] names, String dex);
}
