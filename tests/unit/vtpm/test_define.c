/* <encryption secret='S'/> in a domain's XML: where it goes, and into which documents it does not. */
#include "common/limits.h"
#include "tests/support/unit.h"
#include "vtpm/define.h"
#include "vtpm/domain.h"

static const uint8_t secret[LT_UUID] = {0x49, 0xed, 0x19, 0x32, 0x18, 0xdc, 0x5b, 0x41,
                                        0x90, 0x4c, 0x95, 0x04, 0x45, 0x60, 0xa9, 0x82};
#define S "49ed1932-18dc-5b41-904c-95044560a982"
#define ENC "<encryption secret='" S "'/>"
#define UUID "<uuid>11111111-2222-4333-8444-555555555555</uuid>"
#define HEAD "<domain type='qemu'><name>n</name>" UUID
#define TPM(backend) "<tpm model='tpm-crb'>" backend "</tpm>"
#define EMPTY "<backend type='emulator' version='2.0'/>"
#define XML(devices) HEAD "<devices>" devices "</devices></domain>"

static void becomes(const char *xml, const char *wanted)
{
    LT_AUTOFREE char *out = NULL;

    OK(lt_define_sealed(xml, strlen(xml), secret, &out, &err));
    assert_string_equal(out, wanted);
}

static void refused(int code, const char *xml, const char *word)
{
    char *out = (char *)xml;

    FAILS(code, lt_define_sealed(xml, strlen(xml), secret, &out, &err));
    assert_null(out);
    if (!strstr(err.msg, word))
        fail_msg("\"%s\" does not say %s", err.msg, word);
}

static void it_goes_into_the_backend(void **state)
{
    (void)state;
    becomes(XML(TPM(EMPTY)), XML(TPM("<backend type='emulator' version='2.0'>" ENC "</backend>")));
    becomes(XML(TPM("<backend type='emulator' version='2.0' />")),
            XML(TPM("<backend type='emulator' version='2.0' >" ENC "</backend>")));
    becomes(XML(TPM("<backend type='emulator' version='2.0'></backend>")),
            XML(TPM("<backend type='emulator' version='2.0'>" ENC "</backend>")));
    becomes(XML(TPM("<backend version=\"2.0\"\n type=\"emulator\">\n <active_pcr_banks/></backend>")),
            XML(TPM("<backend version=\"2.0\"\n type=\"emulator\">" ENC "\n <active_pcr_banks/></backend>")));
}

static void the_rest_stays(void **state)
{
    (void)state;
#define REST(b)                                                                                              \
    "<?xml version='1.0'?>\n<!-- <tpm><backend/></tpm> --><domain type='qemu'>\n <name>a&lt;b "              \
    "\xc3\xa9</name>"                                                                                        \
    "<metadata><x:devices xmlns:x='urn:x'><tpm><backend/></tpm></x:devices>"                                 \
    "<devices><tpm><backend/></tpm></devices><![CDATA[<devices><tpm><backend/>]]></metadata>\r\n" UUID       \
    "<devices><disk><backend/></disk><x><tpm><backend/></tpm></x>" TPM(b) "<backend/></devices></domain>\n"
    becomes(REST("<alias/>" EMPTY), REST("<alias/><backend type='emulator' version='2.0'>" ENC "</backend>"));
}

static void what_is_there_stays(void **state)
{
    (void)state;
#define SEALED XML(TPM("<backend type='emulator' version='2.0'>" ENC "</backend>"))
    becomes(SEALED, SEALED);
    /* Twice is once. */
    LT_AUTOFREE char *once = NULL, *twice = NULL;
    OK(lt_define_sealed(XML(TPM(EMPTY)), strlen(XML(TPM(EMPTY))), secret, &once, &err));
    OK(lt_define_sealed(once, strlen(once), secret, &twice, &err));
    assert_string_equal(once, twice);
}

static void others_are_refused(void **state)
{
    static const struct {
        int code;
        const char *xml, *word;
    } bad[] = {
        {LT_E_REFUSED, XML(""), "no vTPM"},
        {LT_E_REFUSED, XML(TPM(EMPTY) TPM(EMPTY)), "not one emulator"},
        {LT_E_REFUSED, XML(TPM("<backend type='passthrough'><device path='/dev/tpm0'/></backend>")),
         "emulator"},
        {LT_E_REFUSED, XML(TPM("<backend type='external'><source/></backend>")), "emulator"},
        {LT_E_REFUSED, XML(TPM("<backend type='emulator' version='1.2'/>")), "2.0"},
        {LT_E_REFUSED, XML(TPM("<backend type='emulator'/>")), "2.0"},
        {LT_E_REFUSED, XML(TPM("<backend type='emulator' version='2.0'><source type='dir'/></backend>")),
         "leave it out"},
        {LT_E_REFUSED,
         XML(TPM("<backend type='emulator' version='2.0'><source type='dir'/>" ENC "</backend>")),
         "leave it out"},
        {LT_E_MALFORMED, XML(TPM("<backend type='emulator' version='2.0'><encryption/></backend>")),
         "secret"},
        {LT_E_REFUSED,
         XML(TPM("<backend type='emulator' version='2.0'><encryption "
                 "secret='00000000-18dc-5b41-904c-95044560a982'/></backend>")),
         S},
        {LT_E_MALFORMED,
         XML(TPM("<backend type='emulator' version='2.0'><encryption secret='x'/></backend>")), "encryption"},
        {LT_E_MALFORMED, XML(TPM(EMPTY EMPTY)), "second"},
        {LT_E_MALFORMED, "<domain type='qemu'><name>n</name><devices>" TPM(EMPTY) "</devices></domain>",
         "uuid"},
        {LT_E_MALFORMED, "<domain type='qemu'><name>n</name>" UUID "<devices>" TPM(EMPTY) "</devices>",
         "XML"},
        {LT_E_MALFORMED, "<!DOCTYPE domain [<!ENTITY a 'b'>]>" XML(TPM(EMPTY)), "document type"},
        {LT_E_MALFORMED, "\xef\xbb\xbf" XML(TPM(EMPTY)), "byte order"},
        {LT_E_MALFORMED, XML(TPM(EMPTY)) "x", "XML"},
        {LT_E_MALFORMED, "", "XML"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].code, bad[i].xml, bad[i].word);
}

static int prefix(const uint8_t *p, size_t n, void *state)
{
    LT_AUTOFREE char *out = NULL;

    (void)state;
    return lt_define_sealed((const char *)p, n, secret, &out, &err);
}

static void every_prefix(void **state)
{
    (void)state;
    unit_every_prefix(prefix, XML(TPM(EMPTY)), strlen(XML(TPM(EMPTY))), NULL);
}

/* Whatever it makes, all readers of ours agree about it. */
static void every_bit(void **state)
{
    char copy[] = XML(TPM(EMPTY));
    struct lt_domain d;

    (void)state;
    for (size_t bit = 0; bit < 8 * (sizeof copy - 1); bit++) {
        LT_AUTOFREE char *out = NULL;
        copy[bit / 8] ^= (char)(1u << bit % 8);
        if (!lt_define_sealed(copy, sizeof copy - 1, secret, &out, &err)) {
            OK(lt_domain_parse(out, strlen(out), &d, &err));
            assert_int_equal(d.tpm, LT_DOMAIN_TPM_EMULATOR);
            assert_string_equal(d.tpm_secret, S);
            lt_domain_free(&d);
        }
        copy[bit / 8] ^= (char)(1u << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_into_the_backend),
        cmocka_unit_test(the_rest_stays),
        cmocka_unit_test(what_is_there_stays),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
