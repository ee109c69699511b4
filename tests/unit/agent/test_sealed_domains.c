/* What domains do in which order, and what they refuse: libvirt, swtpm, the vault and files of states are
 * played here, each call a word in `done`. */
#include "agent/escrow.h"
#include "agent/lent.h"
#include "agent/sealed_domains.h"
#include "common/alloc.h"
#include "tests/support/unit.h"
#include "vtpm/files.h"
#include "vtpm/launch.h"
#include "vtpm/make.h"
#include "vtpm/sealed.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define ID "11111111-2222-4333-8444-555555555555"
#define S "49ed1932-18dc-5b41-904c-95044560a982"
#define XML(id, encryption)                                                                                  \
    "<domain type='qemu'><name>n</name><uuid>" id "</uuid><os><type arch='x86_64' machine='pc-q35-7.2'>hvm"  \
    "</type></os><devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'>" encryption           \
    "</backend></tpm></devices></domain>"
#define SEALED XML(ID, "<encryption secret='" S "'/>")

static const uint8_t uuid[LT_UUID] = {0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x43, 0x33,
                                      0x84, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55};
static struct lt_agent_domains *d;
static char dir[64], done[1024];

/* What the played ones answer. */
static struct {
    const char *xml; /* as libvirt has it; NULL: it knows none */
    bool active, autostart, saved;
    int sealed, state, put, remove, install, give, start; /* codes */
    bool entry;
    const char *leak;
    uint8_t firmware[32], domain[32]; /* pins */
    uint8_t firmware_now[32];
    bool leak_ends, libvirt_comes; /* later */
    bool hook_at_start;            /* libvirtd runs our hook while it starts the domain */
    bool listed;
} world;

static void did(const char *word)
{
    strcat(done, done[0] ? " " : "");
    strcat(done, word);
}

static int code(int rc, struct lt_err *e)
{
    return rc ? lt_fail(e, rc, "as the test wants it") : 0;
}

/* ---- what passes ---- */

/* From the thread that starts domains by itself: a host leaks until it is tended once more. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned tended, starts;
    bool leaks, away;
} later = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

void lt_agent_seal_tend(struct lt_agent_seal *s)
{
    (void)s;
    pthread_mutex_lock(&later.lock);
    later.leaks = later.away = ++later.tended < 2;
    pthread_cond_broadcast(&later.changed);
    pthread_mutex_unlock(&later.lock);
}

/* What the first two rounds find, and those after. */
static bool in_the_way(const bool *what)
{
    pthread_mutex_lock(&later.lock);
    bool is = *what;
    pthread_mutex_unlock(&later.lock);
    return is;
}

/* ---- libvirt ---- */

int lt_launch_open(const char *uri, struct lt_launch **out, struct lt_err *e)
{
    (void)uri;
    did("connect");
    *out = (struct lt_launch *)&world;
    return code(world.libvirt_comes && in_the_way(&later.away) ? LT_E_UNREACHABLE : 0, e);
}

void lt_launch_close(struct lt_launch *l)
{
    (void)l;
}

int lt_launch_look(struct lt_launch *l, const uint8_t id[LT_UUID], struct lt_launch_domain *out,
                   struct lt_err *e)
{
    (void)l, (void)id;
    did("look");
    *out =
        (struct lt_launch_domain){.active = world.active, .autostart = world.autostart, .saved = world.saved};
    out->xml = world.xml ? strdup(world.xml) : NULL;
    return code(world.xml ? 0 : LT_E_NOT_FOUND, e);
}

static char *defined;

int lt_launch_define(struct lt_launch *l, const char *xml, struct lt_err *e)
{
    (void)l, (void)e;
    did("define");
    free(defined);
    world.xml = defined = strdup(xml);
    return 0;
}

int lt_launch_start(struct lt_launch *l, const uint8_t id[LT_UUID], bool paused, struct lt_err *e)
{
    (void)l, (void)paused;
    did("start");
    pthread_mutex_lock(&later.lock);
    later.starts++;
    pthread_cond_broadcast(&later.changed);
    pthread_mutex_unlock(&later.lock);
    if (world.hook_at_start) {
        OK(lt_agent_domains_hook(d, id, LT_AGENT_DOMAINS_PREPARE, SEALED, &err));
        OK(lt_agent_domains_hook(d, id, LT_AGENT_DOMAINS_STARTED, SEALED, &err));
    }
    return code(world.start, e);
}

int lt_lent_start(const char *uri, struct lt_lent **out, struct lt_err *e)
{
    (void)uri, (void)e;
    *out = (struct lt_lent *)&world;
    return 0;
}

void lt_lent_stop(struct lt_lent *l)
{
    (void)l;
}

int lt_lent_give(struct lt_lent *l, const uint8_t id[LT_UUID], const char key[LT_SEAL_KEY], struct lt_err *e)
{
    (void)l, (void)id;
    did("give");
    assert_memory_equal(key, "the key", 8);
    return code(world.give, e);
}

void lt_lent_take(struct lt_lent *l, const uint8_t id[LT_UUID])
{
    (void)l, (void)id;
    did("take");
}

/* ---- the vault ---- */

static int entry(void *ctx, const uint8_t id[LT_UUID], struct lt_seal_entry *out, struct lt_err *e)
{
    (void)ctx;
    *out = (struct lt_seal_entry){.key = "the key"};
    memcpy(out->uuid, id, LT_UUID);
    memcpy(out->firmware, world.firmware, 32);
    memcpy(out->domain, world.domain, 32);
    return code(world.entry ? 0 : LT_E_NOT_FOUND, e);
}

static const char *leak(void *ctx)
{
    (void)ctx;
    return world.leak_ends && in_the_way(&later.leaks) ? "swap" : world.leak;
}

const struct lt_seal_keeper *lt_agent_seal_keeper(struct lt_agent_seal *s)
{
    static const struct lt_seal_keeper keeper = {.entry = entry, .leak = leak};
    (void)s;
    return &keeper;
}

int lt_agent_seal_complete_entry(struct lt_agent_seal *s, struct lt_seal_entry *x, struct lt_err *e)
{
    (void)s, (void)x, (void)e;
    did("complete");
    return 0;
}

int lt_agent_seal_put_entry(struct lt_agent_seal *s, const struct lt_seal_entry *x, struct lt_err *e)
{
    (void)s;
    did("put");
    assert_memory_equal(x->uuid, uuid, LT_UUID);
    assert_int_equal(x->ek_digest[0], 0xee);
    return code(world.put, e);
}

int lt_agent_seal_remove_entry(struct lt_agent_seal *s, const uint8_t id[LT_UUID], struct lt_err *e)
{
    (void)s, (void)id;
    did("remove");
    return code(world.remove, e);
}

int lt_agent_seal_pin(struct lt_agent_seal *s, const uint8_t id[LT_UUID], const uint8_t *firmware,
                      const uint8_t *domain, struct lt_err *e)
{
    (void)s, (void)id, (void)e;
    did(firmware[0] || domain[0] ? "pin" : "unpin");
    return 0;
}

int lt_agent_escrow_write(const char *at, const struct lt_seal_entry *x, struct lt_slice pem,
                          struct lt_err *e)
{
    (void)at, (void)x, (void)pem, (void)e;
    did("escrow");
    return 0;
}

/* ---- swtpm and its files ---- */

int lt_make(const struct lt_make_conf *c, const uint8_t id[LT_UUID], const char *name,
            const char key[LT_SEAL_KEY], struct lt_make_result *out, struct lt_err *e)
{
    (void)c, (void)id, (void)key, (void)e;
    did("make");
    assert_string_equal(name, "n");
    *out = (struct lt_make_result){.ek_digest = {0xee}};
    return 0;
}

void lt_make_free(struct lt_make_result *m)
{
    (void)m;
}

void lt_make_sweep(const char *scratch)
{
    (void)scratch;
}

int lt_statedir_base(const char *uri, char **out, struct lt_err *e)
{
    (void)uri, (void)e;
    *out = strdup("/base");
    return 0;
}

int lt_statedir_read(const struct lt_statedir *at, const uint8_t id[LT_UUID], uint8_t **out, size_t *n,
                     struct lt_err *e)
{
    (void)at, (void)id;
    *out = NULL;
    *n = 0;
    return code(world.state, e);
}

int lt_statedir_install(const struct lt_statedir *at, const uint8_t id[LT_UUID], const void *state, size_t n,
                        struct lt_err *e)
{
    (void)at, (void)id, (void)state, (void)n;
    did("install");
    return code(world.install, e);
}

int lt_statedir_remove(const struct lt_statedir *at, const uint8_t id[LT_UUID], struct lt_err *e)
{
    (void)at, (void)id, (void)e;
    did("clear");
    return 0;
}

bool lt_sealed_domain(const struct lt_domain *x)
{
    return x->tpm_secret && !strcmp(x->tpm_secret, S);
}

int lt_sealed_check(const struct lt_statedir *at, const struct lt_domain *x, const struct lt_seal_entry *k,
                    struct lt_err *e)
{
    (void)at, (void)x, (void)k;
    did("judge");
    return code(world.sealed, e);
}

struct lt_files *lt_files_new(void)
{
    return NULL;
}

void lt_files_free(struct lt_files *f)
{
    (void)f;
}

int lt_files_digest_at_rest(struct lt_files *f, const char *path, uint8_t out[32], struct lt_err *e)
{
    (void)f, (void)path, (void)e;
    did("hash");
    memset(out, 0, 32);
    return 0;
}

int lt_files_firmware_at_rest(struct lt_files *f, const struct lt_domain *x, uint8_t out[32],
                              struct lt_err *e)
{
    (void)f, (void)x, (void)e;
    did("firmware");
    memcpy(out, world.firmware_now, 32);
    return 0;
}

int lt_inventory_snapshot(struct lt_vtpm_inventory *inv, const struct lt_inventory_snapshot **out,
                          struct lt_err *e)
{
    static struct lt_residency_record record = {.firmware_digest = {0xf1}, .domain_digest = {0xd1}};
    static struct lt_inventory_snapshot snapshot = {.records = &record};

    (void)inv, (void)e;
    memcpy(record.guest_uuid, uuid, LT_UUID);
    snapshot.count = world.listed;
    *out = &snapshot;
    return 0;
}

void lt_inventory_snapshot_put(const struct lt_inventory_snapshot *s)
{
    (void)s;
}

void lt_inventory_entries_changed(struct lt_vtpm_inventory *inv)
{
    (void)inv;
}

/* ---- frame ---- */

static bool allowed_only;

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof dir, "%.40s/lt-dom-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    memset(&world, 0, sizeof world);
    world.xml = SEALED;
    world.entry = true;
    world.listed = true;
    const struct lt_agent_domains_conf conf = {.uri = "",
                                               .state_dir = dir,
                                               .swtpm_user = geteuid() ? "" : "root",
                                               .swtpm = "",
                                               .swtpm_setup = "",
                                               .swtpm_setup_config = "",
                                               .allowed_only = allowed_only};
    OK(lt_agent_domains_start(&conf, &d, &err));
    done[0] = 0;
    return 0;
}

static void start_marked(bool leak_ends, bool libvirt_comes)
{
    const struct lt_agent_domains_conf conf = {
        .uri = "", .state_dir = dir, .swtpm_user = geteuid() ? "" : "root"};
    struct timespec until;

    lt_agent_domains_stop(d);
    done[0] = 0;
    world.leak_ends = leak_ends;
    world.libvirt_comes = libvirt_comes;
    later.tended = later.starts = 0;
    later.leaks = later.away = true;
    OK(lt_agent_domains_start(&conf, &d, &err));
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&later.lock);
    while (!later.starts)
        if (pthread_cond_timedwait(&later.changed, &later.lock, &until))
            fail_msg("not started");
    pthread_mutex_unlock(&later.lock);
}

static int teardown(void **state)
{
    char command[96];

    (void)state;
    lt_agent_domains_stop(d);
    free(defined);
    defined = NULL;
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command);
}

static int start(void)
{
    json_t *out = NULL;
    int rc = lt_agent_domains_launch(d, uuid, false, &out, &err);
    json_decref(out);
    return rc;
}

static int provision(const char *escrow, bool convert, bool *made)
{
    json_t *out = NULL;
    int rc = lt_agent_domains_provision(d, uuid, escrow, convert, &out, &err);
    *made = json_is_true(json_object_get(out, "made"));
    json_decref(out);
    return rc;
}

static int hook(enum lt_agent_domains_hook what, const char *xml)
{
    return lt_agent_domains_hook(d, uuid, what, xml, &err);
}

#define DONE(words)                                                                                          \
    do {                                                                                                     \
        assert_string_equal(done, words);                                                                    \
        done[0] = 0;                                                                                         \
    } while (0)

/* ---- start ---- */

static void the_key_is_there_only_meanwhile(void **state)
{
    (void)state;
    OK(start());
    DONE("connect look judge give start take");
    world.start = LT_E_REFUSED;
    FAILS(LT_E_REFUSED, start());
    DONE("connect look judge give start take");
    world.give = LT_E_TIMEOUT;
    FAILS(LT_E_TIMEOUT, start());
    DONE("connect look judge give"); /* who lends takes back what failed */
}

static void what_is_judged_first(void **state)
{
    (void)state;
    world.sealed = LT_E_STATE_PLAIN;
    FAILS(LT_E_STATE_PLAIN, start());
    DONE("connect look judge");
    world.entry = false;
    FAILS(LT_E_NOT_FOUND, start());
    assert_non_null(strstr(err.msg, "provision"));
    DONE("connect look");
    world.leak = "swap";
    FAILS(LT_E_HOST_LEAKS, start());
    assert_non_null(strstr(err.msg, "swap"));
    DONE("connect look");
}

static void domains_that_are_not_to_be_started(void **state)
{
    (void)state;
    world.active = true;
    FAILS(LT_E_CONFLICT, start());
    world.active = false;
    world.saved = true; /* its image has a vTPM's state of its own */
    FAILS(LT_E_CONFLICT, start());
    world.saved = false;
    world.autostart = true;
    FAILS(LT_E_CONFLICT, start());
    world.autostart = false;
    world.xml = XML(ID, "");
    FAILS(LT_E_REFUSED, start());
    world.xml = XML(ID, "<encryption secret='00000000-18dc-5b41-904c-95044560a982'/>");
    FAILS(LT_E_REFUSED, start());
    world.xml = XML("21111111-2222-4333-8444-555555555555", "");
    FAILS(LT_E_INTERNAL, start());
    world.xml = NULL;
    FAILS(LT_E_NOT_FOUND, start());
    assert_null(strstr(done, "give"));
}

static int setup_allowed(void **state)
{
    allowed_only = true;
    const int rc = setup(state);
    allowed_only = false;
    return rc;
}

/* On a host for `resident`: what libvirt is given is on a list, and libvirt's own definitions start nothing.
 */
static void only_what_is_allowed(void **state)
{
    (void)state;
    OK(start());
    done[0] = 0;
    world.xml = "<domain type='qemu'><name>n</name><uuid>" ID "</uuid><devices><serial type='dev'><source "
                "path='/dev/tpmrm0'/></serial><tpm model='tpm-crb'><backend type='emulator' version='2.0'>"
                "<encryption secret='" S "'/></backend></tpm></devices></domain>";
    FAILS(LT_E_REFUSED, start());
    assert_non_null(strstr(err.msg, "domain/devices/serial"));
    DONE("connect look");
    FAILS(LT_E_REFUSED, hook(LT_AGENT_DOMAINS_PREPARE, SEALED));
    DONE("");
    world.xml = SEALED;
    world.hook_at_start = true; /* of our own start it lets pass */
    OK(start());
}

static void pins(void **state)
{
    (void)state;
    world.firmware[0] = 1;
    FAILS(LT_E_DOMAIN_UNPINNED, start());
    DONE("connect look judge firmware");
    world.firmware_now[0] = 1;
    OK(start());
    DONE("connect look judge firmware give start take");
    world.domain[0] = 1;
    FAILS(LT_E_DOMAIN_UNPINNED, start());
    FAILS(LT_E_DOMAIN_UNPINNED, hook(LT_AGENT_DOMAINS_PREPARE, SEALED));
    assert_null(strstr(done, "give"));
}

static void pins_are_what_the_inventory_says(void **state)
{
    json_t *out;

    (void)state;
    OK(lt_agent_domains_pin(d, uuid, false, &out, &err));
    assert_int_equal(strncmp(json_string_value(json_object_get(out, "firmware")), "f100", 4), 0);
    json_decref(out);
    DONE("pin");
    world.listed = false;
    FAILS(LT_E_CONFLICT, lt_agent_domains_pin(d, uuid, false, &out, &err));
    DONE("");
    OK(lt_agent_domains_pin(d, uuid, true, &out, &err)); /* of one that no longer starts, above all */
    json_decref(out);
    DONE("unpin");
}

/* ---- hook ---- */

/* libvirtd holds the domain until the hook has answered: whoever asks it about that domain waits for ever. */
static void libvirt_is_asked_nothing_in_a_hook(void **state)
{
    (void)state;
    OK(hook(LT_AGENT_DOMAINS_PREPARE, SEALED));
    DONE("judge give");
    OK(hook(LT_AGENT_DOMAINS_STARTED, SEALED));
    DONE("take");
    OK(hook(LT_AGENT_DOMAINS_RELEASE, SEALED));
    DONE("take");
    world.sealed = LT_E_STATE_VOLATILE;
    FAILS(LT_E_STATE_VOLATILE, hook(LT_AGENT_DOMAINS_PREPARE, SEALED));
    DONE("judge");
}

static void hook_of_our_own_start(void **state)
{
    (void)state;
    world.hook_at_start = true;
    OK(start());
    DONE("connect look judge give start judge take");
}

static void hook_lets_others_pass(void **state)
{
    (void)state;
    OK(hook(LT_AGENT_DOMAINS_PREPARE, XML(ID, "")));
    OK(hook(LT_AGENT_DOMAINS_PREPARE,
            XML(ID, "<encryption secret='00000000-18dc-5b41-904c-95044560a982'/>")));
    DONE("");
    FAILS(LT_E_REFUSED, hook(LT_AGENT_DOMAINS_PREPARE, XML("21111111-2222-4333-8444-555555555555", "")));
    FAILS(LT_E_MALFORMED, hook(LT_AGENT_DOMAINS_PREPARE, "<domain"));
    DONE("");
}

/* ---- define ---- */

static void defined_and_kept(void **state)
{
    json_t *out;

    (void)state;
    OK(lt_agent_domains_define(d, XML(ID, ""), true, &out, &err));
    assert_string_equal(world.xml, SEALED);
    assert_string_equal(json_string_value(json_object_get(out, "secret")), S);
    assert_true(json_is_true(json_object_get(out, "autostart")));
    json_decref(out);
    DONE("connect define look");
    /* libvirt forgets it; we do not. */
    world.xml = NULL;
    OK(start());
    DONE("connect look define look judge give start take");
    assert_string_equal(world.xml, SEALED);
}

/* A host that leaks when the agent starts, or has no libvirtd yet: the vault is tended all the same, and what
 * is marked starts when that is over. */
static void started_when_it_can_be(void **state)
{
    json_t *out = NULL;

    (void)state;
    OK(lt_agent_domains_define(d, SEALED, true, &out, &err));
    json_decref(out);
    start_marked(true, false);
    start_marked(false, true);
}

/* ---- provision ---- */

static void nothing_there(void)
{
    world.entry = false;
    world.state = LT_E_NOT_FOUND;
}

static void entry_before_state(void **state)
{
    bool made;

    (void)state;
    nothing_there();
    OK(provision(NULL, false, &made));
    assert_true(made);
    DONE("connect look make complete put install");
}

static void not_installed_without_an_entry(void **state)
{
    bool made;

    (void)state;
    nothing_there();
    world.put = LT_E_TPM;
    FAILS(LT_E_TPM, provision(NULL, false, &made));
    DONE("connect look make complete put");
}

static void again_changes_nothing(void **state)
{
    bool made;

    (void)state;
    OK(provision(NULL, false, &made));
    assert_false(made);
    DONE("connect look judge");
    OK(provision(NULL, true, &made)); /* what is the vault's is not converted */
    assert_false(made);
    DONE("connect look judge");
}

static void again_after_a_crash(void **state)
{
    bool made;

    (void)state;
    nothing_there();
    world.install = LT_E_IO; /* as far as a crash behind the commit got */
    FAILS(LT_E_IO, provision(NULL, false, &made));
    DONE("connect look make complete put install");
    world.entry = true;
    world.sealed = LT_E_NOT_FOUND;
    world.install = 0;
    OK(provision(NULL, false, &made));
    assert_true(made);
    DONE("connect look judge make complete remove put install");
    /* Now it was in place: gone again is lost, and not made up for. */
    FAILS(LT_E_CONFLICT, provision(NULL, false, &made));
    DONE("connect look judge");
    OK(provision(NULL, true, &made));
    DONE("connect look judge make complete remove put clear install");
}

static void others_vtpms_are_kept(void **state)
{
    static const int codes[] = {LT_E_STATE_PLAIN, LT_E_STATE_FOREIGN_KEY, LT_E_STATE_VOLATILE};
    bool made;

    (void)state;
    world.entry = false; /* and a state is there */
    FAILS(LT_E_CONFLICT, provision(NULL, false, &made));
    assert_non_null(strstr(err.msg, "--convert"));
    DONE("connect look");
    OK(provision(NULL, true, &made));
    DONE("connect look make complete put clear install");
    world.entry = true;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        world.sealed = codes[i];
        FAILS(codes[i], provision(NULL, false, &made));
    }
    done[0] = 0; /* a file beside the vault's own vTPM is no reason to lose its key */
    FAILS(LT_E_STATE_VOLATILE, provision(NULL, true, &made));
    DONE("connect look judge");
    world.active = true;
    FAILS(LT_E_CONFLICT, provision(NULL, true, &made));
    assert_null(strstr(done, "make judge"));
}

/* It is said that a vTPM is being made once no other is in the way: else a lost state would be made up for.
 */
static void a_conversion_that_fails_risks_nothing(void **state)
{
    bool made;

    (void)state;
    world.entry = true;
    world.sealed = LT_E_STATE_PLAIN;
    world.remove = LT_E_VAULT_BUSY;
    FAILS(LT_E_VAULT_BUSY, provision(NULL, true, &made));
    world.remove = 0;
    world.sealed = LT_E_NOT_FOUND;
    FAILS(LT_E_CONFLICT, provision(NULL, false, &made));
    assert_non_null(strstr(err.msg, "put the file back"));
}

/* P-256, of nobody. */
#define RECOVERY                                                                                             \
    "-----BEGIN PUBLIC KEY-----\n"                                                                           \
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzRntfkN1NpAhR0gSoNJ/iTPPiBO+\n"                                     \
    "YgZSn1EAS7CJ2pchMQxlSjB+EWmUsoY4QjVwovasTfHIPKQlviDOrZ8KqQ==\n"                                         \
    "-----END PUBLIC KEY-----\n"

static void escrow_is_of_the_first_commit(void **state)
{
    bool made;

    (void)state;
    nothing_there();
    OK(provision(RECOVERY, false, &made));
    DONE("connect look make complete escrow put install");
    world.entry = true; /* the vault that is played lists no such key */
    FAILS(LT_E_CONFLICT, provision(RECOVERY, false, &made));
    DONE("connect look judge");
}

static void bad_escrow_keys_leave_nothing(void **state)
{
    bool made;

    (void)state;
    nothing_there();
    assert_int_not_equal(provision("no key", false, &made), 0);
    DONE("connect look");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_key_is_there_only_meanwhile),
        T(what_is_judged_first),
        T(domains_that_are_not_to_be_started),
        cmocka_unit_test_setup_teardown(only_what_is_allowed, setup_allowed, teardown),
        T(pins),
        T(pins_are_what_the_inventory_says),
        T(libvirt_is_asked_nothing_in_a_hook),
        T(hook_of_our_own_start),
        T(hook_lets_others_pass),
        T(defined_and_kept),
        T(started_when_it_can_be),
        T(entry_before_state),
        T(not_installed_without_an_entry),
        T(again_changes_nothing),
        T(again_after_a_crash),
        T(others_vtpms_are_kept),
        T(a_conversion_that_fails_risks_nothing),
        T(escrow_is_of_the_first_commit),
        T(bad_escrow_keys_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
