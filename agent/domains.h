/* Domains with a sealed vTPM: defined, provisioned, started, pinned (docs/sealing.md section 3). The key of a
 * vTPM is in libvirtd only while its domain starts.
 *
 *   define     the XML gets <encryption secret='S'/>, is kept, and is given to libvirtd
 *   provision  K_v and a vTPM are made, its entry committed, its state put where libvirt looks for it
 *   start      the state and the XML are judged, the key is in libvirtd, the domain starts, the key is gone
 *   pin        what the running domain was started from is in its entry: nothing else starts from then on
 *
 * Or libvirtd starts it (virsh, virt-manager, nova) and its hook asks: prepare, then started or release. One
 * of define, provision, start, pin at a time, LT_E_BUSY for another; hooks come in between, and never ask
 * libvirtd about their domain, which it holds until the hook answers. Every step can be done again after a
 * crash. All functions block. */
#ifndef LT_AGENT_DOMAINS_H
#define LT_AGENT_DOMAINS_H

#include "common/ids.h"
#include "common/json.h"

struct lt_agent_seal;
struct lt_agent_domains;
struct lt_agent_domains_conf {
    const char *uri;            /* of libvirt; "": qemu:///system as root, else qemu:///session */
    const char *state_dir;      /* the agent's: definitions in domains/, escrow copies in escrow/ */
    struct lt_agent_seal *seal; /* borrowed */
};

/* conf's texts are borrowed. A libvirtd that does not answer yet is waited for behind the caller's back: what
 * is marked `autostart` starts then, and keys that an earlier agent left in libvirtd are undefined first. */
int lt_agent_domains_start(const struct lt_agent_domains_conf *conf, struct lt_agent_domains **out,
                           struct lt_err *e) LT_MUST_CHECK;
void lt_agent_domains_stop(struct lt_agent_domains *d); /* NULL is fine */

/* *out of each: {"uuid","name","state":"defined"|"provisioned"|"running","secret":uuid,"autostart":bool} and
 * what it adds: provision {"made":bool,"ek_digest":hex,"openers":hex}, pin {"firmware":hex,"domain":hex}. */
int lt_agent_domains_define(struct lt_agent_domains *d, const char *xml, bool autostart, json_t **out,
                            struct lt_err *e) LT_MUST_CHECK;
/* escrow: PEM of the tenant's recovery key, or NULL. convert: a vTPM that is there and not the vault's is
 * made anew, with all that the guest had in it lost; without it that is LT_E_CONFLICT. Provisioned already:
 * made is false and nothing is changed. */
int lt_agent_domains_provision(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], const char *escrow,
                               bool convert, json_t **out, struct lt_err *e) LT_MUST_CHECK;
int lt_agent_domains_launch(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], bool paused,
                            json_t **out, struct lt_err *e) LT_MUST_CHECK;
int lt_agent_domains_pin(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], json_t **out,
                         struct lt_err *e) LT_MUST_CHECK;

enum lt_agent_domains_hook { LT_AGENT_DOMAINS_PREPARE, LT_AGENT_DOMAINS_STARTED, LT_AGENT_DOMAINS_RELEASE };
/* xml: what libvirtd gave the hook. A domain that names no secret of ours: 0, and nothing is done. */
int lt_agent_domains_hook(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID],
                          enum lt_agent_domains_hook what, const char *xml, struct lt_err *e) LT_MUST_CHECK;

#endif
