package livepatch.art;

/** Three methods that are neighbours in memory, by which the size of their records is measured. Nothing else. */
final class Probe {
    static void a() {}

    static void b() {}

    static void c() {}
}
