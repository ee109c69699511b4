/* A whole limetree-tenant in this process, with guests and a provider made of software keys around it: real
 * TLS, real SQLite, no TPM. What the tests turn: how a guest answers, how the provider does. */
#ifndef LT_TESTS_SUPPORT_TENANT_RIG_H
#define LT_TESTS_SUPPORT_TENANT_RIG_H

#include "keylime/share.h"
#include "residency/openers.h"
#include "tenant/tenant.h"
#include "tests/support/http/http_check.h"
#include "tests/support/mock_host.h"
#include "tests/support/softkey.h"

#include <pthread.h>
#include <stdatomic.h>

#define RIG_GUESTS 3

#define RIG_LISTS 8     /* of openers that the provider has, the latest */
#define RIG_DOCUMENTS 4 /* host policies beside the host's own */

enum guest_mode { GUEST_ANSWERS, GUEST_HOLDS, GUEST_FAILS, GUEST_BABBLES, GUEST_FORGES, GUEST_IS_OLD };
enum provider_mode { PROVIDER_PROVES, PROVIDER_OMITS, PROVIDER_IS_BUSY, PROVIDER_REPLAYS };
/* What it changes of the unsigned that it hands on. */
enum provider_lie {
    LIE_NONE,
    LIE_NO_CERTIFICATE,
    LIE_OTHER_CERTIFICATE, /* of another key, by the same maker */
    LIE_CERTIFICATE_BIT,   /* its signature is broken */
    LIE_NO_PEM,
    LIE_JUNK_BEHIND, /* the true certificate, and text behind it that is none */
    LIE_EK,
    LIE_AK,
    LIE_LABEL, /* a quote said to be of another host */
    LIE_MANY,  /* a hundred quotes that are none, behind the true one */
    LIE_IMA_DIGIT,
    LIE_IMA_SHORT,
    LIE_NO_IMA
};

/* How the provider answers GET openers. */
enum rig_openers { OPENERS_SERVED, OPENERS_WITHHELD, OPENERS_GARBLED, OPENERS_CUT, OPENERS_OTHER };

/* Of a guest's list: a stock agent's text; our agent's bytes, of the text where the kernel's binary list is
 * not there; or of that. */
enum guest_form { FORM_TEXT, FORM_BYTES, FORM_BINARY };

/* What a second host, enrolled and certified like the first, says of the first guest. Its PCR 4 is off policy
 * unless told otherwise. */
enum rival {
    RIVAL_NONE,
    RIVAL_CLAIMS,      /* stands among the item's others */
    RIVAL_FIRST,       /* is the item's own, the true host among the others */
    RIVAL_IS_GOOD,     /* the same, and it is on policy */
    RIVAL_HANGS,       /* as RIVAL_CLAIMS, and it is not activated until it is released */
    RIVAL_ERRS,        /* its answer is an error */
    RIVAL_AND_SILENCE, /* the item's own, and the true host's is an error */
    RIVAL_OTHER_EK     /* the only one, on policy, with a record of another EK */
};

struct rig_guest {
    struct rig *rig;
    uint8_t uuid[16];
    char text[LT_UUID_TEXT];
    const char *id; /* that it registers as; NULL: its UUID's text */
    char *ekcert;   /* that it registers with; NULL: none */
    EVP_PKEY *ek_key, *ak_key;
    struct lt_public ek, ak;
    struct lt_http_server *server;
    atomic_int mode;
    atomic_uint asked, flying, overlapped;
    uint64_t clock_ms;
    struct lt_http_req *held;
    /* its IMA list, under rig.lock; no list while it is empty */
    enum guest_form form;
    struct lt_buf ima, ima_binary;
    uint8_t pcr10[32];
    uint32_t reset_count;
    uint64_t ima_asked; /* unit of the last question */
    /* its transport key, under rig.lock; NULL: a text that is none */
    EVP_PKEY *transport;
    char *pubkey;
    struct lt_share v;      /* the last that it opened; n 0: none */
    atomic_uint vkeys;      /* tries of POST keys/vkey */
    atomic_uint opened;     /* of them, those that its transport key opened */
    atomic_int vkey_status; /* answered to them; 0: 200 if it opened, else 400 */
    atomic_bool vkey_hangs;
    json_t *notices; /* revocation messages that it took, under rig.lock */
    atomic_uint notices_asked;
    atomic_int notice_status; /* answered to them; 0: 200, and taken */
    atomic_bool notices_hang;
};

struct rig_item {
    const char *slug, *reason;
};

struct rig {
    const struct rig_item
        *_Atomic item; /* what every item of POST proofs says in place of a proof; NULL: proofs */
    struct check_pki pki;
    char dir[64], roots[96], registry[96], state[96];
    struct mock_host host;
    EVP_PKEY *maker_key;
    X509 *maker;
    char *ek_pem, *other_pem, *broken_pem;
    atomic_int lie; /* enum provider_lie */
    struct mock_host other;
    char *other_ek_pem;
    atomic_int rival; /* enum rival */
    struct lt_http_req *hanging;
    atomic_uint named, pairs; /* guests asked for with the first host's name, and with an EK */
    atomic_uint contested;    /* answers of which the rival had a part */
    char policy[2048];        /* the host's policy document */
    uint8_t policy_digest[32];
    /* the host's IMA list, which it has with a layer, under lock */
    struct lt_buf ima, layer;
    unsigned ima_posts;
    uint64_t ima_first; /* of the last question */
    /* lists of openers and host policies by digest, under lock */
    struct rig_document {
        uint8_t digest[32], *p;
        size_t n;
    } list[RIG_LISTS], document[RIG_DOCUMENTS];
    unsigned lists, documents;
    atomic_int openers;        /* enum rig_openers */
    atomic_uint openers_asked; /* GET openers */
    atomic_uint others_asked;  /* GET hosts of the second host */
    struct lt_http_server *provider;
    atomic_int mode;
    atomic_int activation; /* 0: as it should be; 1: a wrong proof; 2: no answer */
    atomic_int log; /* what GET boot-log brings. 0: 404; 1: no log; 2: without events; 3: with one in PCR 5 */
    atomic_uint policies; /* documents that it was asked for */
    atomic_uint logs;     /* that it was asked for */
    atomic_uint posts, last_n, activations;
    json_t *replay;
    struct rig_guest guest[RIG_GUESTS];
    struct lt_tenant_conf conf;
    char provider_url[64], tenant_id[LT_UUID_TEXT], address[RIG_GUESTS][64];
    struct lt_tenant *tenant;
    struct lt_http_client *operator;
    pthread_mutex_t lock;
    pthread_cond_t news; /* a guest was asked, a proof was given */
};

void rig_make(struct rig *r);
void rig_free(struct rig *r);
void rig_start(struct rig *r); /* the tenant; guests are registered and keep */
void rig_stop(struct rig *r);
/* Before it registers: its TPM works with SHA-384 (EK, AK, Names, bank). */
void rig_keys_of_sha384(struct rig_guest *g);
void rig_register(struct rig *r, struct rig_guest *g);
/* Before it registers: the rig's maker certifies its EK, or nobody that is known. */
void rig_certify(struct rig *r, struct rig_guest *g, bool known);
/* Before the start: no provider, nor anything of the federation, is configured. */
void rig_without_provider(struct rig *r);

/* Records of all guests with these flags and that start of the incarnation. */
void rig_inventory(struct rig *r, uint32_t flags, uint64_t start_clock_ms);
/* The host's policy is its PCR 4 as it is. */
void rig_policy(struct rig *r);
/* A host policy with all that openers must be judged by: the host's PCRs as they are. rig_policy of it for
 * the host; else one that the provider has too, whose digest is put into out. */
void rig_policy_whole(struct rig *r);
void rig_policy_more(struct rig *r, const struct lt_pcrs *pcrs, uint8_t out[32]);
/* Adds the state that h is in to the list. */
void rig_state(struct lt_openers *list, const struct mock_host *h);
/* The guest's record is of version 2, and names that list, which the provider has; flags on top of running.
 * NULL: it is of version 1 again. */
void rig_seal(struct rig *r, struct rig_guest *g, const struct lt_openers *list, uint32_t flags);
/* The guest has measured a file; so has the host, whose policy gets a layer with these files first. */
void rig_measure(struct rig *r, struct rig_guest *g, const char *path);
void rig_measure_host(struct rig *r, const char *path);
void rig_host_layer(struct rig *r, const char *const *paths);
/* PCR 10 and the list from the beginning; the reset count is one higher. */
void rig_reboot(struct rig *r, struct rig_guest *g);
/* The chip's certificate is another, and valid for so many seconds; before the tenant asks for it. */
void rig_chip_until(struct rig *r, long seconds);
/* What the registry's file holds from now on. */
void rig_registry(struct rig *r, const char *text);
void rig_rival(struct rig *r, enum rival how);
/* A root that certified nobody, as PEM in that file. */
void rig_foreign_root(struct rig *r, const char *path);
/* Its agent begins anew: another transport key, and nothing is known of V. */
void rig_transport(struct rig *r, struct rig_guest *g);
/* Waits until V was brought that many times. */
void rig_wait_vkeys(struct rig_guest *g, unsigned times);
/* Keylime's quote string of PCR 0-16 for that nonce; the caller frees. */
char *rig_quote(struct rig_guest *g, const char *nonce);
/* The guest that is held answers now. */
void rig_release(struct rig_guest *g);
/* Waits until the guest was asked that many times. */
void rig_wait_asked(struct rig_guest *g, unsigned times);

/* One call of the tenant's API; body taken; the status must be want. */
json_t *rig_call(struct rig *r, const char *method, const char *path, json_t *body, int want);
void rig_drop(json_t *j);
json_t *rig_show(struct rig *r, const struct rig_guest *g);
/* Waits for a verdict with that result, of a round begun after the call before it; borrowed until the next.
 */
json_t *rig_wait(struct rig *r, const struct rig_guest *g, const char *result);
/* Adds the guest, waits for its first round, learns its policy, waits until it is trusted. */
void rig_adopt(struct rig *r, struct rig_guest *g);
void rig_ask(struct rig *r, const struct rig_guest *g);

#endif
