package livepatch.art;

import java.io.File;
import java.io.IOException;

/** What a {@link PatchManager} has done by others. */
interface Patcher {
    /**
     * Reads a patch and checks its signature.
     *
     * @throws IOException if it cannot be read, or is not as its maker left it, or the maker is not trusted
     */
    Patch verify(File patch, File folder) throws IOException;

    /**
     * Replaces all methods that a patch replaces.
     *
     * @return a number by which it can be taken back
     * @throws IllegalStateException with the reason, if nothing was replaced
     */
    int apply(Patch patch);

    /** Leads callers to the fixes again where the runtime has led them elsewhere meanwhile; returns how many methods those were. */
    int refresh();

    /** Takes a patch back. */
    void rollBack(int number);
}
