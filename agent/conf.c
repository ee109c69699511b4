#include "agent/conf.h"

#include "tpm/public.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EK_HANDLE 0x81010001
#define SRK_HANDLE 0x81000001

#define TEXT(name, fallback, help)                                                                           \
    {                                                                                                        \
#name, LT_CONF_TEXT, offsetof(struct lt_agent_conf, name), fallback, 0, 0, help                      \
    }

#define SWITCH(name, fallback, help)                                                                         \
    {                                                                                                        \
#name, LT_CONF_BOOL, offsetof(struct lt_agent_conf, name), fallback, 0, 0, help                      \
    }

#define NUMBER(name, fallback, max, help)                                                                    \
    {                                                                                                        \
#name, LT_CONF_INT, offsetof(struct lt_agent_conf, name), fallback, 0, max, help                     \
    }

const struct lt_conf_key lt_agent_keys[] = {
    TEXT(role, "guest", "guest (in a VM, beside its vTPM) or host (on the hypervisor)"),
    TEXT(tcti, "device:/dev/tpmrm0", "how to reach the TPM: device:PATH, swtpm:path=SOCKET"),
    TEXT(listen, "", "ADDRESS:PORT to serve; empty: 0.0.0.0 and port 9002 (guest) or 9012 (host)"),
    TEXT(state_dir, "/var/lib/limetree/agent",
         "directory of keys; empty (a guest without a disk): keep the AK in the TPM"),
    TEXT(client_ca, "",
         "PEM file: CA of those who may call; guest: the tenant's CA, host: the federation's CA"),
    TEXT(ek_alg, "rsa", "endorsement key: rsa (TCG template L-1) or ecc (L-2)"),
    TEXT(ak_alg, "", "attestation key: rsa or ecc; empty: rsa for a guest, ecc for a host"),
    TEXT(ak_handle, "",
         "persistent handle of the AK of a host or a guest without a disk; empty: 0x81010030, 0x81010020"),
    TEXT(boot_log, "/sys/kernel/security/tpm0/binary_bios_measurements",
         "boot log; a missing file is no log"),
    TEXT(ima, "/sys/kernel/security/ima/ascii_runtime_measurements", "IMA list; a missing file is no list"),
    TEXT(uuid, "dmidecode",
         "guest: agent id; dmidecode: the machine's UUID from DMI; any other text is the id itself"),
    TEXT(registrar, "", "guest: URL of the registrar, http://HOST:PORT; empty: do not register"),
    NUMBER(register_idle_s, "300", 30 * 86400,
           "guest: seconds without a verifier's question after which it registers again (a few of its "
           "periods); 0: never"),
    NUMBER(
        register_again_s, "86400", 365 * 86400,
        "guest: seconds after which it registers again in any case, at a registrar of Limetree's; 0: never"),
    TEXT(contact, "", "guest: HOST:PORT registered as the agent's address; empty: where it listens"),
    TEXT(secure_dir, "",
         "guest: directory (0700, on a tmpfs) of the transport key and the payload; empty: one below "
         "$XDG_RUNTIME_DIR or /run, and without a tmpfs there no payload is taken"),
    SWITCH(run_payload, "no",
           "guest: run the payload's autorun.sh, and on revocations the programs that its action_list names"),
    NUMBER(payload_timeout_s, "3600", 30 * 86400, "guest: seconds that autorun.sh may run"),
    TEXT(revocation_actions_dir, "",
         "guest: directory of programs to run on a revocation message that the payload's certificate has "
         "signed; "
         "empty: none"),
    NUMBER(action_timeout_s, "60", 86400, "guest: seconds that each of those programs may run"),
    TEXT(cert, "", "host: PEM file, certificate with role host under the federation's CA"),
    TEXT(key, "", "host: PEM file, its private key (mode 0600)"),
    TEXT(crl, "",
         "host: PEM file, certificates that the federation's CA has revoked, read at start and on HUP; "
         "empty: none"
         " is asked for"),
    TEXT(libvirt_uri, "", "host: libvirt connection; empty: qemu:///system as root, else qemu:///session"),
    TEXT(records, "", "host: directory of limetree-localca's birth records; empty: none"),
    TEXT(swtpm, "swtpm", "host: program that reads copies of vTPM states"),
    TEXT(swtpm_setup, "swtpm_setup", "host: program that makes vTPMs"),
    TEXT(swtpm_setup_config, "", "host: its configuration; empty: /etc/swtpm_setup.conf"),
    TEXT(swtpm_user, "",
         "host: user that libvirt runs swtpm as (swtpm_user in qemu.conf); empty: tss as root, else our own"),
    TEXT(local_socket, "",
         "host: UNIX socket of `limetree domain` and of libvirt's hook, as /run/limetree/agent.sock; empty: "
         "none, and no sealed vTPM is made or started"),
    TEXT(seal_checks, "leaks",
         "host: what closes the vault: leaks (swap, crash kernel, hibernation, cores, a TPM that a domain "
         "has), "
         "all (everything that --check-seals looks at), or none"),
    LT_DAEMON_LOG_KEYS(struct lt_agent_conf),
};
const size_t lt_agent_key_count = sizeof lt_agent_keys / sizeof *lt_agent_keys;

static int algorithm(const char *key, const char *value, uint16_t *out, struct lt_err *e)
{
    *out = !strcmp(value, "rsa") ? LT_TPM_ALG_RSA : !strcmp(value, "ecc") ? LT_TPM_ALG_ECC : 0;
    return *out ? 0 : lt_fail(e, LT_E_CONFIG, "%s = %s: not rsa or ecc", key, value);
}

static int persistent_handle(const char *value, uint32_t *out, struct lt_err *e)
{
    char *end;

    errno = 0;
    unsigned long v = strtoul(value, &end, 16);
    if (errno || end == value || *end || v < 0x81000000 || v > 0x817fffff)
        return lt_fail(e, LT_E_CONFIG,
                       "ak_handle = %s: not a persistent handle of the owner, 0x81000000 to 0x817fffff",
                       value);
    if (v == EK_HANDLE || v == SRK_HANDLE)
        return lt_fail(e, LT_E_CONFIG,
                       "ak_handle = %s: that is where a TPM's %s lies; what is there is replaced", value,
                       v == EK_HANDLE ? "EK" : "storage root key");
    *out = (uint32_t)v;
    return 0;
}

static int need(const char *key, const char *value, struct lt_err *e)
{
    return *value ? 0 : lt_fail(e, LT_E_CONFIG, "%s: must be set", key);
}

int lt_agent_options(const struct lt_agent_conf *c, struct lt_agent_options *out, struct lt_err *e)
{
    *out = (struct lt_agent_options){.host = !strcmp(c->role, "host")};
    if (!out->host && strcmp(c->role, "guest"))
        return lt_fail(e, LT_E_CONFIG, "role = %s: not guest or host", c->role);
    int rc = algorithm("ek_alg", c->ek_alg, &out->ek_alg, e);
    if (!rc)
        rc = algorithm("ak_alg", *c->ak_alg ? c->ak_alg : out->host ? "ecc" : "rsa", &out->ak_alg, e);
    if (!rc)
        rc = persistent_handle(*c->ak_handle ? c->ak_handle
                               : out->host   ? "81010030"
                                             : "81010020",
                               &out->ak_handle, e);
    /* Without the state directory AK_h's authValue would be lost, and with it the key that PCR 13 names. */
    if (!rc && out->host)
        rc = need("state_dir", c->state_dir, e);
    out->listen = *c->listen ? c->listen : out->host ? "0.0.0.0:9012" : "0.0.0.0:9002";
    return rc;
}
