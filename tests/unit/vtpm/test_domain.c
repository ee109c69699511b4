/* A domain's XML and its digest. The digests below were computed by hand from docs/protocol.md section 3, in
 * Python. */
#include "tests/support/vectors.h"

#include "common/hash.h"
#include "common/limits.h"
#include "vtpm/domain.h"

#include <limits.h>

#define FULL                                                                                                 \
    "<?xml version='1.0'?>\n<!-- from libvirt -->\n"                                                         \
    "<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"                   \
    "  <name>a &lt;name&gt;</name>\n  <uuid>0f0e0d0c-0b0a-0908-0706-050403020100</uuid>\n"                   \
    "  <metadata><x:os xmlns:x='urn:x'><x:type arch='none'/></x:os><os><type arch='none'/></os>"             \
    "<![CDATA[</domain>]]></metadata>\n"                                                                     \
    "  <os firmware='efi'>\n    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>\n"                       \
    "    <loader readonly='yes' secure='yes' type='pflash'>/fw/code.fd</loader>\n"                           \
    "    <kernel>/k</kernel><initrd>/i</initrd>\n"                                                           \
    "    <cmdline>console=ttyS0 a&lt;b &amp; &#39;c&#x27;</cmdline>\n  </os>\n"                              \
    "  <features><acpi/><smm state='on'/></features>\n"                                                      \
    "  <devices><emulator>/usr/bin/qemu</emulator>\n"                                                        \
    "    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/><alias "                               \
    "name='tpm0'/></tpm></devices>\n"                                                                        \
    "  <qemu:commandline><qemu:arg value='-x'/></qemu:commandline>\n</domain>\n"

#define HEAD "<domain type='qemu'><name>n</name><uuid>0f0e0d0c-0b0a-0908-0706-050403020100</uuid>"
#define OS "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"
#define TPM "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
#define BARE HEAD OS "<devices>" TPM "</devices></domain>"

static int parse(const char *xml, struct lt_domain *d)
{
    return lt_domain_parse(xml, strlen(xml), d, &err);
}

static int hash(void *ctx, const char *path, uint8_t out[32], struct lt_err *e)
{
    if (ctx)
        return lt_fail(e, LT_E_IO, "%s: no such file", path);
    const char *data = !strcmp(path, "/k") ? "kernel bytes" : "initrd bytes";
    lt_sha256(data, strlen(data), out);
    return 0;
}

static void digest_is(const char *xml, const char *wanted)
{
    struct lt_domain d;
    uint8_t digest[32];
    char hex[65];

    OK(parse(xml, &d));
    OK(lt_domain_digest(&d, hash, NULL, digest, &err));
    lt_hex(digest, 32, hex);
    assert_string_equal(hex, wanted);
    lt_domain_free(&d);
}

static void test_fields(void **state)
{
    (void)state;
    struct lt_domain d;

    OK(parse(FULL, &d));
    assert_string_equal(d.name, "a <name>");
    assert_int_equal(d.uuid[0], 0x0f);
    assert_int_equal(d.uuid[15], 0);
    assert_string_equal(d.loader, "/fw/code.fd");
    assert_string_equal(d.cmdline, "console=ttyS0 a<b & 'c'");
    assert_string_equal(d.emulator, "/usr/bin/qemu");
    assert_int_equal(d.tpm, LT_DOMAIN_TPM_EMULATOR);
    assert_true(d.qemu_namespace);
    lt_domain_free(&d);
    OK(parse(BARE, &d));
    assert_false(d.qemu_namespace);
    assert_null(d.kernel);
    lt_domain_free(&d);
}

static void test_user(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        bool known;
        uint32_t uid;
    } cases[] = {
        {"<seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+64055</label></seclabel>", true,
         64055},
        {"<seclabel type='dynamic' model='apparmor'><label>libvirt-1</label></seclabel>"
         "<seclabel model='dac'><label>+0:+0</label><imagelabel>+0:+0</imagelabel></seclabel>",
         true, 0},
        {"<seclabel model='apparmor'><label>+1:+1</label></seclabel>", false, 0},
        {"<seclabel model='dac'><label>qemu:qemu</label></seclabel>", false, 0},
        {"<seclabel model='dac'><label>+1:+1 </label></seclabel>", false, 0},
        {"<seclabel type='none' model='dac'/>", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char xml[1024];
        struct lt_domain d;
        snprintf(xml, sizeof xml, HEAD OS "<devices>" TPM "</devices>%s</domain>", cases[i].label);
        OK(parse(xml, &d));
        assert_int_equal(d.has_uid, cases[i].known);
        if (d.has_uid)
            assert_int_equal(d.uid, cases[i].uid);
        lt_domain_free(&d);
    }
}

static void test_digest_vectors(void **state)
{
    (void)state;
    digest_is(FULL, "beef774439dbc1cbfab78b2904c8cf74456e14eaf70b8f28c2ffd7814ef31dcb");
    digest_is(BARE, "49e5097eae50b3c47614a29a62aeb1183ffdf05b0d5d03327f6fa09478ac16e8");
}

/* As libvirt 9.0 writes them (tests/vectors/README.md). */
static void test_digest_of_libvirts_own(void **state)
{
    (void)state;
    static const struct {
        const char *file, *digest;
        bool has_uid;
    } list[] = {
        {"domains/running.xml", "ea0039f326a2c75003b66ef72678b7b987d3b274c6cec6fda4744560daf29053", false},
        {"domains/defined.xml", "d55679b45a288ac264a8093c627d85522a7e062242b5fe078d60b36fa441d950", true},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        size_t n;
        LT_AUTOFREE char *xml = (char *)lt_vector_read(list[i].file, &n);
        struct lt_domain d;
        digest_is(xml, list[i].digest);
        OK(parse(xml, &d));
        assert_int_equal(d.tpm, LT_DOMAIN_TPM_EMULATOR);
        assert_int_equal(d.has_uid, list[i].has_uid);
        assert_false(d.qemu_namespace);
        lt_domain_free(&d);
    }
}

static void test_digest_tells_apart(void **state)
{
    (void)state;
    static const char *const others[] = {
        "<domain type='kvm'>", "arch='i686'", "machine='pc-q35-8.0'", "tpm-tis", "version='1.2'",
    };
    static const char *const parts[] = {"<domain type='qemu'>", "arch='x86_64'", "machine='pc-q35-7.2'",
                                        "tpm-crb", "version='2.0'"};
    struct lt_domain d;
    uint8_t first[32], other[32];

    OK(parse(BARE, &d));
    OK(lt_domain_digest(&d, hash, NULL, first, &err));
    lt_domain_free(&d);
    for (size_t i = 0; i < 5; i++) {
        char xml[1024];
        const char *at = strstr(BARE, parts[i]);
        snprintf(xml, sizeof xml, "%.*s%s%s", (int)(at - BARE), BARE, others[i], at + strlen(parts[i]));
        OK(parse(xml, &d));
        OK(lt_domain_digest(&d, hash, NULL, other, &err));
        assert_memory_not_equal(first, other, 32);
        lt_domain_free(&d);
    }
}

static void test_missing_file_is_no_digest(void **state)
{
    (void)state;
    struct lt_domain d;
    uint8_t digest[32], zeros[32] = {0};

    OK(parse(FULL, &d));
    FAILS(LT_E_IO, lt_domain_digest(&d, hash, &d, digest, &err));
    assert_memory_equal(digest, zeros, 32);
    lt_domain_free(&d);
}

static void test_kinds_of_tpm(void **state)
{
    (void)state;
    static const struct {
        const char *tpm;
        enum lt_domain_tpm kind;
    } list[] = {
        {"", LT_DOMAIN_TPM_NONE},
        {TPM, LT_DOMAIN_TPM_EMULATOR},
        {TPM TPM, LT_DOMAIN_TPM_OTHER},
        {"<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
         LT_DOMAIN_TPM_OTHER},
        {"<tpm model='tpm-crb'><backend type='external'><source/></backend></tpm>", LT_DOMAIN_TPM_OTHER},
        {"<tpm model='tpm-tis'><backend type='emulator' version='1.2'/></tpm>", LT_DOMAIN_TPM_OTHER},
        {"<tpm model='tpm-tis'><backend type='emulator'/></tpm>", LT_DOMAIN_TPM_OTHER},
        {"<tpm model='tpm-tis'/>", LT_DOMAIN_TPM_OTHER},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        char xml[1024];
        struct lt_domain d;
        snprintf(xml, sizeof xml, HEAD OS "<devices>%s</devices></domain>", list[i].tpm);
        OK(parse(xml, &d));
        assert_int_equal(d.tpm, list[i].kind);
        lt_domain_free(&d);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const list[] = {
        "",
        "   ",
        "<domain",
        "<guest/>",
        "<!DOCTYPE domain [<!ENTITY a 'b'>]>" BARE,
        "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'>" BARE,
        BARE "<domain/>",
        BARE "x",
        HEAD OS OS "<devices/></domain>",                                        /* twice */
        HEAD "<uuid>0f0e0d0c-0b0a-0908-0706-050403020100</uuid>" OS "</domain>", /* twice */
        HEAD "<os><type arch='x86_64' arch='i686'/></os></domain>",              /* twice */
        HEAD "<os><type arch='x86_64&#10;machine=pc'/></os></domain>",           /* another line */
        HEAD "<os><type arch='x86_64\nmachine=pc'/></os></domain>",
        HEAD "<os><type arch='a b'/></os></domain>",
        HEAD "<os><type arch='\xc3\xa9'/></os></domain>",
        HEAD "<os><type arch='-'/></os></domain>", /* as if absent */
        HEAD "<os><type arch=''/></os></domain>",
        HEAD "<os><kernel>k</kernel></os></domain>", /* relative */
        HEAD "<os><kernel>/k<x/></kernel></os></domain>",
        HEAD "<os><cmdline>&unknown;</cmdline></os></domain>",
        HEAD "<os><cmdline>&#0;</cmdline></os></domain>",
        HEAD "<os><cmdline>&#xd800;</cmdline></os></domain>",
        HEAD "<os><cmdline>&#x110000;</cmdline></os></domain>",
        HEAD "<os><cmdline>& </cmdline></os></domain>",
        HEAD "<os><cmdline>\x01</cmdline></os></domain>",
        "<domain type='qemu'><name>n</name></domain>",
        "<domain><name>n</name><uuid>0f0e0d0c-0b0a-0908-0706-050403020100</uuid></domain>",
        "<domain type='qemu'><name>n</name><uuid>../../etc</uuid></domain>",
        "<domain type='qemu'><name>n</name></wrong></domain>",
        "<domain type=qemu/>",
        "<domain type='qemu'name='x'/>",
        "<domain type='<'/>",
        "\xef\xbb\xbf" BARE,
        "\xff\xfe<\0",
        "<!-- a -- b -->" BARE,
        "<?xml version='1.0'?><?xml version='1.0'?>" BARE,
        HEAD "<os/><os/></domain>",
        HEAD "<os><cmdline>a\rb</cmdline></os></domain>", /* a carriage return is no line feed */
        HEAD "<os><cmdline>a\r\nb</cmdline></os></domain>",
        HEAD "<os><cmdline>a<!-- c -->b</cmdline></os></domain>",
        HEAD "<os><cmdline><![CDATA[a]]></cmdline></os></domain>",
        HEAD "<os><cmdline>a<?b?></cmdline></os></domain>",
        HEAD "<os><cmdline>\xe9</cmdline></os></domain>", /* not UTF-8 */
        HEAD "<description>&unknown;</description></domain>",
        HEAD "<seclabel model='dac'/><seclabel model='dac'/></domain>",
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct lt_domain d;
        int rc = parse(list[i], &d);
        lt_domain_free(&d);
        if (rc != LT_E_MALFORMED || err.code != rc)
            fail_msg("%s: %d (%s)", list[i], rc, err.msg);
    }
    struct lt_domain d;
    FAILS(LT_E_MALFORMED, lt_domain_parse(BARE "\0", sizeof BARE, &d, &err)); /* a NUL behind it */
    lt_domain_free(&d);
}

static void test_ceilings(void **state)
{
    (void)state;
    struct lt_domain d;
    LT_AUTOBUF struct lt_buf deep = LT_BUF(1 << 20), wide = LT_BUF(8 << 20), many = LT_BUF(1 << 20);

    for (int i = 0; i <= LT_MAX_XML_DEPTH; i++)
        lt_buf_str(&deep, "<a>");
    FAILS(LT_E_TOO_LARGE, lt_domain_parse(deep.p, deep.n, &d, &err));
    lt_domain_free(&d);
    while (wide.n <= LT_MAX_DOMAIN_XML)
        lt_buf_str(&wide, "<abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz/>");
    FAILS(LT_E_TOO_LARGE, lt_domain_parse(wide.p, wide.n, &d, &err));
    lt_domain_free(&d);
    lt_buf_str(&many, "<a>");
    for (unsigned i = 0; i < LT_MAX_XML_ELEMENTS; i++)
        lt_buf_str(&many, "<b/>");
    OK(lt_buf_ok(&many, &err));
    FAILS(LT_E_TOO_LARGE, lt_domain_parse(many.p, many.n, &d, &err));
    lt_domain_free(&d);
    char long_value[1024];
    snprintf(long_value, sizeof long_value, HEAD "<os><type arch='%0*d'/></os></domain>",
             LT_MAX_DOMAIN_VALUE + 1, 0);
    FAILS(LT_E_TOO_LARGE, parse(long_value, &d));
    lt_domain_free(&d);
    snprintf(long_value, sizeof long_value, HEAD "<os><kernel>/%0*d</kernel></os></domain>", 100, 0);
    OK(parse(long_value, &d));
    lt_domain_free(&d);
    LT_AUTOBUF struct lt_buf path = LT_BUF(1 << 14), attributes = LT_BUF(1 << 14);
    lt_buf_printf(&path, HEAD "<os><kernel>/%0*d</kernel></os></domain>", PATH_MAX, 0);
    FAILS(LT_E_TOO_LARGE, lt_domain_parse(path.p, path.n, &d, &err));
    lt_domain_free(&d);
    lt_buf_str(&attributes, HEAD "<a");
    for (int i = 0; i <= LT_MAX_XML_ATTRIBUTES; i++)
        lt_buf_printf(&attributes, " a%d=''", i);
    lt_buf_str(&attributes, "/></domain>");
    FAILS(LT_E_MALFORMED, lt_domain_parse(attributes.p, attributes.n, &d, &err));
    lt_domain_free(&d);
}

static int parse_bytes(const uint8_t *p, size_t n, void *state)
{
    struct lt_domain d;

    (void)state;
    int rc = lt_domain_parse(p, n, &d, &err);
    lt_domain_free(&d);
    return rc;
}

static void test_every_prefix(void **state)
{
    (void)state;
    static const char text[] = BARE; /* the sweep puts a NUL behind it */
    unit_every_prefix(parse_bytes, text, sizeof text - 1, NULL);
}

/* Any bit turned: refused, or read without harm; and the digest changes only where a value did. */
static void test_every_bit(void **state)
{
    (void)state;
    char text[] = FULL;

    for (size_t bit = 0; bit < 8 * (sizeof text - 1); bit++) {
        struct lt_domain d;
        uint8_t digest[32];
        text[bit / 8] ^= (char)(1 << bit % 8);
        if (!lt_domain_parse(text, sizeof text - 1, &d, &err))
            (void)!lt_domain_digest(&d, hash, NULL, digest, &err);
        lt_domain_free(&d);
        text[bit / 8] ^= (char)(1 << bit % 8);
    }
}

#define SECRET "49ed1932-18dc-5b41-904c-95044560a982"
#define SEALED(encryption)                                                                                   \
    HEAD OS "<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'>" encryption               \
            "</backend></tpm></devices></domain>"

static void test_encryption(void **state)
{
    (void)state;
    static const char *const refused[] = {
        SEALED("<encryption/>"),
        SEALED("<encryption secret=''/>"),
        SEALED("<encryption secret='{" SECRET "}'/>"),
        SEALED("<encryption secret='49ed193218dc5b41904c95044560a982'/>"),
        SEALED("<encryption secret=' " SECRET "'/>"),
        SEALED("<encryption secret='my secret'/>"),
        SEALED("<encryption format='luks'><secret uuid='" SECRET "'/></encryption>"),
        SEALED("<encryption secret='" SECRET "'/><encryption secret='" SECRET "'/>"),
        SEALED("<encryption secret='" SECRET "'/><encryption/>"),
    };
    struct lt_domain d;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        FAILS(LT_E_MALFORMED, parse(refused[i], &d));
        lt_domain_free(&d);
    }
    OK(parse(SEALED("<encryption secret='" SECRET "'/>"), &d));
    assert_string_equal(d.tpm_secret, SECRET);
    lt_domain_free(&d);
    /* Not of the vTPM: a disk's, and one where libvirt does not look. */
    OK(parse(HEAD OS "<devices><disk><encryption format='luks'/></disk>" TPM "</devices></domain>", &d));
    assert_null(d.tpm_secret);
    lt_domain_free(&d);
    OK(parse(HEAD OS "<devices>" TPM TPM "</devices></domain>", &d));
    assert_int_equal(d.tpm, LT_DOMAIN_TPM_OTHER);
    assert_null(d.tpm_secret);
    lt_domain_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_encryption),
        cmocka_unit_test(test_digest_vectors),
        cmocka_unit_test(test_digest_of_libvirts_own),
        cmocka_unit_test(test_digest_tells_apart),
        cmocka_unit_test(test_missing_file_is_no_digest),
        cmocka_unit_test(test_kinds_of_tpm),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
