/* Domains with a sealed vTPM: defined, provisioned, started, pinned (docs/sealing.md section 3). The key of a
 * vTPM is in libvirtd only while its domain starts.
 *
 *   define     the XML gets <encryption secret='S'/>, is given to libvirtd, and what that makes of it is kept
 *   provision  K_v and a vTPM are made, its entry committed, its state put where libvirt looks for it
 *   start      the state and the XML are judged, the key is in libvirtd, the domain starts, the key is gone
 *   pin        what the running domain was started from is in its entry: nothing else starts from then on
 *
 * Or libvirtd starts it (virsh, virt-manager, nova) and its hook asks: prepare, then started or release. One
 * of define, provision, start, pin at a time, LT_E_BUSY for another; hooks come in between, and libvirtd is
 * asked nothing about their domain, which it holds until the hook answers. Every step can be done again after
 * a crash. All functions block. */
#ifndef LT_AGENT_SEALED_DOMAINS_H
#define LT_AGENT_SEALED_DOMAINS_H

#include "agent/seal.h"
#include "vtpm/inventory.h"

struct lt_agent_domains;
struct lt_agent_domains_conf { /* borrowed until stop */
    const char *uri;           /* of libvirt; "": qemu:///system as root, else qemu:///session */
    const char *state_dir;     /* the agent's: definitions in domains/, escrow copies in escrow/ */
    const char *swtpm_user;    /* as whom libvirt runs swtpm; "": tss as root, else ourselves */
    const char *swtpm, *swtpm_setup, *swtpm_setup_config; /* programs and file, as in vtpm/make.h */
    bool allowed_only; /* start nothing that vtpm/allowed.h does not let pass */
    struct lt_agent_seal *seal;
    struct lt_vtpm_inventory *inventory;
};

/* A libvirtd that does not answer yet is waited for behind the caller's back: keys that an earlier agent left
 * there are undefined first, then what is marked `autostart` starts. */
int lt_agent_domains_start(const struct lt_agent_domains_conf *conf, struct lt_agent_domains **out,
                           struct lt_err *e) LT_MUST_CHECK;
void lt_agent_domains_stop(struct lt_agent_domains *d); /* NULL is fine */

/* *out of each: {"uuid","secret","autostart":bool} and, of provision, {"made":bool,"ek_digest":hex,
 * "openers":hex}, of pin {"firmware":hex,"domain":hex}.
 *
 * LT_E_NOT_FOUND: libvirt or the vault knows no such domain; LT_E_CONFLICT: it runs, or what is there would
 * be lost; LT_E_REFUSED: what was given or what libvirt says will not do. The vault's and the state's slugs:
 * docs/sealing.md section 8. */
int lt_agent_domains_define(struct lt_agent_domains *d, const char *xml, bool autostart, json_t **out,
                            struct lt_err *e) LT_MUST_CHECK;
/* escrow: PEM of the tenant's recovery key, or NULL. convert: a vTPM that is there and not the vault's is
 * made anew, with all that the guest had in it lost; without it that is LT_E_CONFLICT. Provisioned already:
 * made is false and nothing is changed. */
int lt_agent_domains_provision(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], const char *escrow,
                               bool convert, json_t **out, struct lt_err *e) LT_MUST_CHECK;
int lt_agent_domains_launch(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], bool paused,
                            json_t **out, struct lt_err *e) LT_MUST_CHECK;
/* clear: nothing is pinned any more, for a change of firmware that is meant. */
int lt_agent_domains_pin(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], bool clear, json_t **out,
                         struct lt_err *e) LT_MUST_CHECK;

enum lt_agent_domains_hook { LT_AGENT_DOMAINS_PREPARE, LT_AGENT_DOMAINS_STARTED, LT_AGENT_DOMAINS_RELEASE };
/* xml: what libvirtd gave the hook. A domain that names no secret of ours: 0, and nothing is done. */
int lt_agent_domains_hook(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID],
                          enum lt_agent_domains_hook what, const char *xml, struct lt_err *e) LT_MUST_CHECK;

#endif
