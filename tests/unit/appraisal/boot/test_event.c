/* What is inside boot events: every length that lies, every prefix. */
#include "appraisal/boot/event.h"
#include "tests/support/appraisal/boot_forge.h"
#include "tests/support/unit.h"

static struct lt_boot_event of(uint32_t pcr, uint32_t type, const void *p, size_t n)
{
    return (struct lt_boot_event){.pcr = pcr, .type = type, .data = {p, n}};
}

static int variable(const uint8_t *p, size_t n, void *state)
{
    struct lt_boot_event ev = of(7, LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG, p, n);
    struct lt_boot_variable v;
    (void)state;
    return lt_boot_variable(&ev, &v, &err) || !lt_boot_variable_is(&v, lt_guid_security, "db") ||
           v.data.n != 5 || memcmp(v.data.p, "12345", 5);
}

static void variables(void **state)
{
    static const uint8_t good[] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda,
                                   0xd0, 0x0e, 0x67, 0x65, 0x6f, 2,    0,    0,    0,    0,    0,
                                   0,    0,    5,    0,    0,    0,    0,    0,    0,    0,    'd',
                                   0,    'b',  0,    '1',  '2',  '3',  '4',  '5'};
    (void)state;
    assert_int_equal(variable(good, sizeof good, NULL), 0);
    unit_every_prefix(variable, good, sizeof good, NULL);
    unit_every_bit(variable, good, sizeof good, NULL);
}

struct seen {
    unsigned count;
    size_t bytes;
};

static int count(void *arg, const uint8_t type[16], const uint8_t owner[16], struct lt_slice data,
                 struct lt_err *e)
{
    struct seen *s = arg;
    (void)type;
    (void)owner;
    s->count++;
    s->bytes += data.n;
    return s->count > 100 ? lt_fail(e, LT_E_REFUSED, "enough") : 0;
}

static int signatures(const uint8_t *p, size_t n, void *state)
{
    struct seen s = {0};
    (void)state;
    return lt_boot_signatures((struct lt_slice){p, n}, count, &s, &err) || s.count != 5 ||
           s.bytes != 3 * 32 + 2 * 40;
}

static void signature_lists(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(65536);
    struct seen s = {0};

    (void)state;
    boot_forge_keys(&b, lt_guid_sha256, 3, 32, 1);
    size_t first = b.n;
    boot_forge_keys(&b, lt_boot_guid_x509, 2, 40, 1);
    assert_int_equal(signatures(b.p, b.n, NULL), 0);
    unit_every_prefix(signatures, b.p, b.n, NULL);
    /* Every bit of the lengths of both lists. */
    for (size_t at = 0; at <= first; at += first)
        for (size_t bit = 8 * 16; bit < 8 * 28; bit++) {
            b.p[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(signatures(b.p, b.n, NULL), 0);
            b.p[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    OK(lt_boot_signatures((struct lt_slice){NULL, 0}, count, &s, &err));
    b.n = 0;
    boot_forge_keys(&b, lt_guid_sha256, 200, 32, 1);
    FAILS(LT_E_REFUSED,
          lt_boot_signatures((struct lt_slice){b.p, b.n}, count, &s, &err)); /* the callback's */
    /* A list of no size would never end. */
    memset(b.p + 16, 0, 4);
    FAILS(LT_E_MALFORMED, lt_boot_signatures((struct lt_slice){b.p, b.n}, count, &s, &err));
}

static int image(const uint8_t *p, size_t n, void *state)
{
    struct lt_boot_event ev = of(4, LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION, p, n);
    struct lt_boot_image i;
    (void)state;
    return lt_boot_image(&ev, &i, &err) || i.address != 0x1122334455667788 || i.length != 2 ||
           i.link_address != 3 || i.device_path.n != 4 || memcmp(i.device_path.p, "\x7f\xff\x04\x00", 4);
}

static int tag(const uint8_t *p, size_t n, void *state)
{
    struct lt_boot_event ev = of(9, LT_BOOT_EV_EVENT_TAG, p, n);
    struct lt_slice data;
    uint32_t id;
    (void)state;
    return lt_boot_tag(&ev, &id, &data, &err) || id != LT_BOOT_TAG_INITRD || !lt_slice_is(data, "abc");
}

static void images_and_tags(void **state)
{
    static const uint8_t good[] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 2,    0,    0, 0,
                                   0,    0,    0,    0,    3,    0,    0,    0,    0,    0,    0, 0,
                                   4,    0,    0,    0,    0,    0,    0,    0,    0x7f, 0xff, 4, 0};
    static const uint8_t tagged[] = {0xec, 0x22, 0x3b, 0x8f, 3, 0, 0, 0, 'a', 'b', 'c'};
    (void)state;
    unit_every_prefix(image, good, sizeof good, NULL);
    unit_every_bit(image, good, sizeof good, NULL);
    unit_every_prefix(tag, tagged, sizeof tagged, NULL);
    unit_every_bit(tag, tagged, sizeof tagged, NULL);
}

static void texts(void **state)
{
    struct lt_boot_event ev = of(8, LT_BOOT_EV_IPL, "kernel_cmdline: a b\0\0", 21);
    char buf[64], type[16];
    struct lt_slice text;
    uint8_t digest[32], wide[LT_MAX_SUBJECT];

    (void)state;
    ev.digest_count = 1;
    ev.digest[0] = (struct lt_boot_digest){LT_HASH_SHA256, {digest, 32}};
    lt_sha256("a b", 3, digest);
    assert_true(lt_boot_proved_text(&ev, LT_HASH_SHA256, wide, &text) && lt_slice_is(text, "a b"));
    assert_false(lt_boot_proved_text(&ev, LT_HASH_SHA384, wide, &text));
    digest[3] ^= 1;
    assert_false(lt_boot_proved_text(&ev, LT_HASH_SHA256, wide, &text));
    assert_string_equal(lt_boot_shown((struct lt_slice){(const uint8_t *)"a\n\x80z", 4}, buf), "a??z");
    uint8_t longer[100];
    memset(longer, 'x', sizeof longer);
    assert_int_equal(strlen(lt_boot_shown((struct lt_slice){longer, 100}, buf)), 60);
    assert_string_equal(lt_boot_type_name(0x80000008, type), "EV_EFI_PLATFORM_FIRMWARE_BLOB");
    assert_string_equal(lt_boot_type_name(0xdeadbeef, type), "type 0xdeadbeef");
    assert_false(lt_slice_begins((struct lt_slice){NULL, 0}, "x"));
    assert_true(lt_slice_begins((struct lt_slice){NULL, 0}, ""));
}

/* What was measured, in what is logged: labels of either grub, none, UTF-16, with and without NULs. */
static void proved(void **state)
{
    static const struct {
        const char *data;
        size_t n;
        const char *measured;
        size_t m;
        const char *text; /* NULL: none is proved */
    } cases[] = {
        {"grub_cmd: a b", 14, "a b", 3, "a b"},
        {"grub_cmd a b", 13, "a b", 3, "a b"},
        {"grub_kernel_cmdline /v a=b: c", 30, "/v a=b: c", 9, "/v a=b: c"},
        {"any label: a b", 15, "a b", 3, "a b"},
        {"a b", 4, "a b", 3, "a b"},
        {"a b", 4, "a b\0", 4, "a b"},
        {"grub_cmd: a b\0\0", 16, "a b\0\0\0", 6, "a b"},
        {"a\0 \0b\0\0", 8, "a\0 \0b\0\0\0", 8, "a b"},
        {"a\0 \0b\0\0", 8, "a\0 \0b\0", 6, "a b"},
        {"a\0 \0b", 6, "a\0 \0b\0", 6, "a b"},
        {"label: a\0b", 11, "a\0b\0", 4, "ab"},
        {"kernel_cmdline: a b", 20, "a c", 3, NULL},
        {"kernel_cmdline: a b", 20, " a b", 4, NULL},
        {"/initrd", 8, "contents", 8, NULL},
        {"", 1, "", 1, NULL},
        {"", 0, "", 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_boot_event ev = of(8, LT_BOOT_EV_IPL, cases[i].data, cases[i].n);
        uint8_t digest[32], wide[LT_MAX_SUBJECT];
        struct lt_slice text;
        lt_sha256(cases[i].measured, cases[i].m, digest);
        ev.digest_count = 1;
        ev.digest[0] = (struct lt_boot_digest){LT_HASH_SHA256, {digest, 32}};
        bool is = lt_boot_proved_text(&ev, LT_HASH_SHA256, wide, &text);
        if (is != (cases[i].text != NULL) || (is && !lt_slice_is(text, cases[i].text)))
            fail_msg("case %zu: %d '%.*s'", i, is, is ? (int)text.n : 0, is ? (const char *)text.p : "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(variables), cmocka_unit_test(signature_lists),
                                       cmocka_unit_test(images_and_tags), cmocka_unit_test(texts),
                                       cmocka_unit_test(proved)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
