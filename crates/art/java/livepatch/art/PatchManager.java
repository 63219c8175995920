package livepatch.art;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Keeps a program's patches, and applies them: {@link #init} and {@link #loadPatch} when the program starts, and
 * {@link #addPatch} when it has fetched one. A patch that cannot be applied is not kept.
 */
public final class PatchManager {
    private static final String SUFFIX = ".apatch";
    /** Behind the name of a patch that is being applied: if it is there at a start, the process ended while it was. */
    private static final String APPLYING = ".applying";

    private final File folder;
    private final Patcher patcher;
    /** Numbers of patches that are live, by their files' names, in the order in which they were applied. */
    private final Map<String, Integer> live = new LinkedHashMap<>();
    /** Their dex files. */
    private final Map<String, File> dexFiles = new HashMap<>();

    /**
     * For a program.
     *
     * @param folder a folder of its own, which nobody else can write to
     * @param loader the loader of the classes that are patched
     * @param certificate the X.509 certificate of who signs patches, in DER
     * @param apiLevel {@code Build.VERSION.SDK_INT}
     * @throws IllegalStateException if the runtime is none that is known
     */
    public PatchManager(File folder, ClassLoader loader, byte[] certificate, int apiLevel) {
        this(folder, new NativePatcher(loader, certificate, apiLevel));
    }

    PatchManager(File folder, Patcher patcher) {
        this.folder = folder;
        this.patcher = patcher;
    }

    /** Forgets all patches if they are for another version of the program. */
    public synchronized void init(String version) throws IOException {
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("cannot make " + folder);
        }
        File note = new File(folder, "version");
        byte[] wanted = version.getBytes(StandardCharsets.UTF_8);
        if (!note.exists() || !version.equals(new String(read(note), StandardCharsets.UTF_8))) {
            removeFiles();
            write(note, wanted);
        }
    }

    /**
     * Applies all patches that are kept and are not live yet, the newest one last. Those that cannot be applied are kept no
     * more, nor is one with which the process ended while it was applied.
     */
    public synchronized List<String> loadPatch() {
        List<Patch> patches = new ArrayList<>();
        List<File> files = new ArrayList<>();
        List<String> failed = new ArrayList<>();
        for (File file : kept()) {
            if (live.containsKey(file.getName())) {
                continue;
            }
            File mark = new File(folder, file.getName() + APPLYING);
            if (mark.exists()) {
                failed.add(file.getName() + ": the process ended while it was applied");
                file.delete();
                mark.delete();
                continue;
            }
            try {
                Patch patch = patcher.verify(file, folder);
                int at = 0;
                while (at < patches.size() && patches.get(at).created <= patch.created) {
                    at++;
                }
                patches.add(at, patch);
                files.add(at, file);
            } catch (IOException | RuntimeException error) {
                failed.add(file.getName() + ": " + error.getMessage());
                file.delete();
            }
        }
        for (int nth = 0; nth < patches.size(); nth++) {
            File file = files.get(nth);
            try {
                apply(file.getName(), patches.get(nth));
            } catch (RuntimeException error) {
                failed.add(file.getName() + ": " + error.getMessage());
                file.delete();
            }
        }
        return failed;
    }

    /**
     * Applies a patch and keeps it. If it cannot be applied, it is not kept, and what was live is. One that is kept under
     * this name, and is not live, stays unless the new one is as its maker left it.
     *
     * @throws IOException if it cannot be read, or is not as its maker left it
     * @throws IllegalStateException with the reason, if nothing was replaced
     */
    public synchronized void addPatch(String path) throws IOException {
        File source = new File(path);
        String name = source.getName();
        if (!name.endsWith(SUFFIX) || live.containsKey(name)) {
            throw new IOException(name + (live.containsKey(name) ? " is live already" : " is no " + SUFFIX));
        }
        // What is verified is what is kept: the source may be written to by others.
        File copy = new File(folder, name + ".new");
        File kept = new File(folder, name);
        try {
            write(copy, read(source));
            Patch patch = patcher.verify(copy, folder);
            if (!copy.renameTo(kept)) {
                throw new IOException("cannot keep " + kept);
            }
            try {
                apply(name, patch);
            } catch (RuntimeException error) {
                kept.delete();
                throw error;
            }
        } finally {
            copy.delete();
        }
    }

    /** Takes a patch back, and keeps it no more. */
    public synchronized void removePatch(String name) {
        Integer number = live.get(name);
        if (number != null) {
            patcher.rollBack(number);
            live.remove(name);
            File dex = dexFiles.remove(name);
            if (dex != null && !dexFiles.containsValue(dex)) {
                dex.delete();
            }
        }
        new File(folder, name).delete();
    }

    /** Takes all patches back, the newest first, and keeps none. */
    public synchronized void removeAllPatch() {
        List<String> names = new ArrayList<>(live.keySet());
        for (int nth = names.size() - 1; nth >= 0; nth--) {
            removePatch(names.get(nth));
        }
        removeFiles();
    }

    /**
     * Leads callers to the fixes again where the runtime has led them elsewhere meanwhile: after a compilation that had
     * begun before the patch, or after calls were traced. Returns how many methods those were.
     */
    public synchronized int refresh() {
        return live.isEmpty() ? 0 : patcher.refresh();
    }

    /** The files' names of patches that are live, in the order in which they were applied. */
    public synchronized List<String> list() {
        return new ArrayList<>(live.keySet());
    }

    private void apply(String name, Patch patch) {
        File mark = new File(folder, name + APPLYING);
        try {
            mark.createNewFile();
            live.put(name, patcher.apply(patch));
            dexFiles.put(name, patch.dex);
        } catch (IOException | LinkageError error) {
            // A runtime throws the latter where the patch's classes do not fit the program's.
            throw new IllegalStateException(error);
        } finally {
            mark.delete();
            if (!live.containsKey(name) && !dexFiles.containsValue(patch.dex)) {
                patch.dex.delete();
            }
        }
    }

    private List<File> kept() {
        List<File> files = new ArrayList<>();
        File[] all = folder.listFiles();
        if (all != null) {
            java.util.Arrays.sort(all);
            for (File file : all) {
                if (file.getName().endsWith(SUFFIX)) {
                    files.add(file);
                }
            }
        }
        return files;
    }

    private void removeFiles() {
        File[] all = folder.listFiles();
        if (all != null) {
            for (File file : all) {
                file.delete();
            }
        }
    }

    private static byte[] read(File file) throws IOException {
        try (InputStream in = new FileInputStream(file)) {
            java.io.ByteArrayOutputStream all = new java.io.ByteArrayOutputStream();
            byte[] piece = new byte[1 << 16];
            for (int count = in.read(piece); count >= 0; count = in.read(piece)) {
                all.write(piece, 0, count);
            }
            return all.toByteArray();
        }
    }

    private static void write(File file, byte[] bytes) throws IOException {
        try (OutputStream out = new FileOutputStream(file)) {
            out.write(bytes);
        }
    }
}
