/* Boot logs: bounded, and what is refused says why. The typed part says what the replay says, its events lie
 * inside the bytes in order, and what is inside the events is read without harm. */
#include "appraisal/boot/event.h"
#include "appraisal/boot/log.h"

#include "tests/fuzz/fuzz.h"

static int each(void *arg, const uint8_t type[16], const uint8_t owner[16], struct lt_slice data,
                struct lt_err *e)
{
    unsigned *sum = arg;
    (void)e;
    *sum += type[15] + owner[15] + data.p[data.n - 1]; /* reads: a sanitizer sees where */
    return 0;
}

static void inside(const struct lt_boot_event *ev)
{
    struct lt_boot_variable v;
    struct lt_boot_image image;
    struct lt_slice s;
    char buf[64];
    uint32_t id;
    unsigned sum = 0;

    if (!lt_boot_variable(ev, &v, LT_NO_ERR))
        FUZZ_REQUIRE(32 + v.utf16.n + v.data.n == ev->data.n);
    FUZZ_REQUIRE(lt_boot_variable(ev, &v, LT_NO_ERR) ||
                 lt_boot_signatures(v.data, each, &sum, LT_NO_ERR) <= 0);
    FUZZ_REQUIRE(lt_boot_signatures(ev->data, each, &sum, LT_NO_ERR) <= 0);
    if (!lt_boot_image(ev, &image, LT_NO_ERR))
        FUZZ_REQUIRE(32 + image.device_path.n == ev->data.n);
    if (!lt_boot_tag(ev, &id, &s, LT_NO_ERR))
        FUZZ_REQUIRE(8 + s.n == ev->data.n);
    FUZZ_REQUIRE(strlen(lt_boot_shown(lt_boot_text(ev), buf)) <= 60);
    uint8_t wide[LT_MAX_SUBJECT];
    if (lt_boot_proved_text(ev, LT_HASH_SHA256, wide, &s))
        FUZZ_REQUIRE(s.n && s.n <= ev->data.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_pcrs quoted = {.alg = LT_HASH_SHA256, .mask = 0x3ff};
    struct lt_boot_replay r;
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){p, n});
    size_t end = 0;

    lt_boot_replay((struct lt_slice){p, n}, &r);
    FUZZ_REQUIRE((r.fault.code != 0) == (r.fault.msg[0] != 0) && r.bank_count <= LT_BOOT_BANKS);
    FUZZ_REQUIRE(!r.fault.code || lt_boot_replay_match(&r, &quoted, LT_NO_ERR));
    FUZZ_REQUIRE(l && !memcmp(&l->replay, &r, sizeof r));
    FUZZ_REQUIRE(l->count == r.events);
    for (unsigned i = 0; i < l->count; i++) {
        FUZZ_REQUIRE(l->event[i].offset == end && l->event[i].digest_count <= LT_BOOT_BANKS);
        end = (size_t)(l->event[i].data.p - l->bytes) + l->event[i].data.n;
        inside(&l->event[i]);
    }
    FUZZ_REQUIRE(end <= l->n && (r.fault.code || end == l->n));
    lt_boot_log_free(l);
    return 0;
}
