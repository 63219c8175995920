package livepatch.art;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** What is kept, in which order it is applied, and what happens to what is broken. */
public final class Managing {
    /** A patch's text is its time; "bad" is not signed, and a negative time cannot be applied: -2 has classes that do not fit. */
    private static final class Fake implements Patcher {
        final List<String> done = new ArrayList<>();
        int last;

        @Override
        public Patch verify(File patch, File folder) throws IOException {
            String text = new String(Files.readAllBytes(patch.toPath()));
            if (text.equals("bad")) {
                throw new IOException("not signed");
            }
            File dex = new File(folder, text + ".dex");
            Files.write(dex.toPath(), new byte[1]);
            return new Patch(patch.getName(), Long.parseLong(text), dex);
        }

        @Override
        public int apply(Patch patch) {
            if (patch.created == -2) {
                throw new VerifyError("does not fit");
            }
            if (patch.created < 0) {
                throw new IllegalStateException("refused");
            }
            done.add("+" + patch.created);
            return ++last;
        }

        @Override
        public int refresh() {
            return last;
        }

        @Override
        public void rollBack(int number) {
            done.add("-" + number);
        }
    }

    private static void check(Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new AssertionError("expected " + expected + ", not " + actual);
        }
    }

    private static String write(Path folder, String name, String text) throws IOException {
        return Files.write(folder.resolve(name), text.getBytes()).toString();
    }

    private static List<String> names(Path folder) {
        String[] names = folder.toFile().list();
        Arrays.sort(names);
        return List.of(names);
    }

    private interface Action {
        void run() throws IOException;
    }

    private static void fails(Action action) {
        try {
            action.run();
        } catch (IOException | IllegalStateException expected) {
            return;
        }
        throw new AssertionError("nothing was thrown");
    }

    public static void main(String[] arguments) throws IOException {
        Path outside = Files.createTempDirectory("patches");
        Path folder = outside.resolve("kept");
        Fake fake = new Fake();
        PatchManager manager = new PatchManager(folder.toFile(), fake);
        manager.init("1");
        manager.addPatch(write(outside, "b.apatch", "20"));
        manager.addPatch(write(outside, "a.apatch", "30"));
        // AndFix #41: what is broken or refused is not left where it would be loaded at every start.
        fails(() -> manager.addPatch(write(outside, "c.apatch", "bad")));
        fails(() -> manager.addPatch(write(outside, "d.apatch", "-1")));
        fails(() -> manager.addPatch(write(outside, "d.apatch", "-2")));
        fails(() -> manager.addPatch(write(outside, "e.zip", "5")));
        fails(() -> manager.addPatch(outside.resolve("a.apatch").toString()));
        check(List.of("b.apatch", "a.apatch"), manager.list());
        check(List.of("+20", "+30"), fake.done);
        check(List.of("20.dex", "30.dex", "a.apatch", "b.apatch", "version"), names(folder));

        // Those are live already: nothing is applied twice, which could be taken back only once.
        check(List.of(), manager.loadPatch());
        check(List.of("+20", "+30"), fake.done);

        // What is kept, and is not live yet, is not lost to a broken one of its name.
        PatchManager early = new PatchManager(folder.toFile(), new Fake());
        write(outside, "a.apatch", "bad");
        fails(() -> early.addPatch(outside.resolve("a.apatch").toString()));
        check("30", new String(Files.readAllBytes(folder.resolve("a.apatch"))));
        check(false, Files.exists(folder.resolve("a.apatch.new")));

        // The next start: by time, whatever the names are; what became bad is dropped, and the rest is applied.
        write(folder, "0.apatch", "25");
        write(folder, "1.apatch", "bad");
        write(folder, "2.apatch", "-1");
        write(folder, "3.apatch", "-2");
        Fake next = new Fake();
        PatchManager again = new PatchManager(folder.toFile(), next);
        again.init("1");
        // One with which the last process ended.
        write(folder, "4.apatch", "26");
        write(folder, "4.apatch.applying", "");
        check(4, again.loadPatch().size());
        check(List.of("+20", "+25", "+30"), next.done);
        check(List.of("0.apatch", "20.dex", "25.dex", "30.dex", "a.apatch", "b.apatch", "version"), names(folder));
        check(List.of(), new PatchManager(folder.toFile(), new Fake()).loadPatch());

        check(3, again.refresh());
        again.removePatch("0.apatch");
        check(false, Files.exists(folder.resolve("25.dex")));
        check(List.of("b.apatch", "a.apatch"), again.list());
        again.removeAllPatch();
        check(List.of("+20", "+25", "+30", "-2", "-3", "-1"), next.done);
        check(0, folder.toFile().listFiles().length);
        check(0, again.refresh());

        // Another version of the program: its patches are others.
        manager.init("1");
        write(folder, "x.apatch", "1");
        Fake other = new Fake();
        PatchManager updated = new PatchManager(folder.toFile(), other);
        updated.init("2");
        updated.loadPatch();
        check(List.of(), other.done);
    }
}
