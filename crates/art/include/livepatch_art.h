/* Replaces Java methods of a running Android program: liblivepatch_art.so, without its Java side.
 *
 * All functions are called by a thread that is attached to the virtual machine, with its environment. One engine serves
 * the process. What fails changes nothing, and says why: livepatch_art_error.
 */
#ifndef LIVEPATCH_ART_H
#define LIVEPATCH_ART_H

#include <jni.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Checks that this runtime's records are those of the API level. `probe` is a class with three static methods a(), b() and
 * c() that take and return nothing, and with no other ones. If b() throws something, and c() calls a(), which is long
 * enough that compilers do not copy it into c(), it is also tried whether methods can be replaced by entries, the safest
 * way (java/livepatch/art/Probe.java is such a class). Returns 0, or -1. */
int32_t livepatch_art_start(JNIEnv *env, uint32_t api_level, jclass probe);

/* Gives a method of `target` the body of the method of the same name and signature of `fix`. Returns the patch's number,
 * from 1, or -1. */
int64_t livepatch_art_replace(JNIEnv *env, jclass target, jclass fix, const char *name, const char *signature,
                              bool is_static);

/* Takes a patch back. Returns 0, or -1. */
int32_t livepatch_art_roll_back(JNIEnv *env, uint32_t patch);

/* Takes all patches back. Returns 0, or -1. */
int32_t livepatch_art_roll_back_all(JNIEnv *env);

/* Leads callers to the fixes again where the runtime has given methods other entries meanwhile. Returns how many there
 * were, or -1. */
int64_t livepatch_art_refresh(void);

/* Writes the methods that are replaced, a line each, and a NUL; cut where there is no more room. Returns how many bytes
 * there are with the NUL. */
size_t livepatch_art_list(char *buffer, size_t size);

/* Why the last function of this thread failed, until it calls another one. */
const char *livepatch_art_error(void);

#ifdef __cplusplus
}
#endif

#endif
