/* Memory, and the one answer to there being none.
 *
 * What a peer sizes fails softly: a buffer whose length comes from outside is malloc'd, and its want of
 * memory is an error like another (LT_E_NO_MEMORY), so that a large request costs whoever sent it and nobody
 * else. A struct of ours aborts, and so does a short text of ours (a path, a name below a ceiling of
 * common/limits.h): a program that cannot have a few hundred bytes cannot go on, and nothing is green because
 * it stopped. These never return NULL. */
#ifndef LT_COMMON_ALLOC_H
#define LT_COMMON_ALLOC_H

#include <stddef.h>

/* One zeroed struct of ours; free() it. */
#define lt_new(type) ((type *)lt_alloc(1, sizeof(type)))

/* n * size zeroed bytes, both ours. Without memory: a line to the log, abort(). */
void *lt_alloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));

/* A copy of a short text of ours. */
char *lt_alloc_text(const char *s) __attribute__((malloc, returns_nonnull, nonnull(1), warn_unused_result));

/* Where the last line goes: it must not allocate. NULL: standard error. The log sets it. */
void lt_alloc_on_failure(void (*say)(const char *line));

/* The cleanup attribute of a type that is freed by one function, once in the type's header:
 *   LT_DEFINE_AUTO(lt_policy_host, lt_policy_host_free)
 *   LT_AUTO(lt_policy_host) struct lt_policy_host *p = NULL;
 * lt_take(&p) (common/bytes.h) hands over. */
#define LT_DEFINE_AUTO(type, fn) LT_DEFINE_AUTO_OF(type, struct type, fn)
/* The same for a type without a tag, under a name of its own. */
#define LT_DEFINE_AUTO_OF(name, type, fn)                                                                    \
    static inline void lt_auto_##name(type **p)                                                              \
    {                                                                                                        \
        fn(*p);                                                                                              \
    }                                                                                                        \
    _Static_assert(sizeof(type *), "takes the semicolon")
#define LT_AUTO(type) __attribute__((cleanup(lt_auto_##type)))

#endif
