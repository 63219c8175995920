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
        // The name, the time, the dex file, and the classes.
        String[] said = verify(patch.getPath(), certificate, folder.getPath());
        String[] classes = new String[said.length - 3];
        System.arraycopy(said, 3, classes, 0, classes.length);
        return new Patch(said[0], Long.parseLong(said[1]), new File(said[2]), classes);
    }

    @Override
    public int apply(Patch patch) {
        return apply(loader, define(patch), patch.classes, patch.dex.getPath());
    }

    /** In the program's own loader: the patch's classes see what its classes see. */
    @SuppressWarnings("deprecation")
    private Class<?>[] define(Patch patch) {
        try {
            dalvik.system.DexFile file = dalvik.system.DexFile.loadDex(patch.dex.getPath(), null, 0);
            Class<?>[] defined = new Class<?>[patch.classes.length];
            for (int nth = 0; nth < defined.length; nth++) {
                defined[nth] = file.loadClass(patch.classes[nth], loader);
                if (defined[nth] == null) {
                    throw new IllegalStateException("cannot define " + patch.classes[nth]);
                }
            }
            return defined;
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public native void rollBack(int number);

    private static native void start(int apiLevel, Class<?> probe);

    private static native String[] verify(String patch, byte[] certificate, String folder) throws IOException;

    private static native int apply(ClassLoader loader, Class<?>[] classes, String[] names, String dex);
}
