package livepatch.art;

import java.io.File;

/** A patch that is as its maker left it, and whose maker is trusted. */
public final class Patch {
    /** Its name. */
    public final String name;
    /** When it was made, in seconds since 1970 began. */
    public final long created;
    /** Its dex file, written from the bytes that were verified, which nobody may write to. */
    public final File dex;

    Patch(String name, long created, File dex) {
        this.name = name;
        this.created = created;
        this.dex = dex;
    }
}
