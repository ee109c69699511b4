/* Keylime's reference state, parsed as its example engine demands (mba/elchecking/example.py's rules of
 * form). */
#include "appraisal/boot/refstate.h"

#include "common/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint8_t lt_refstate_guid_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
const char *const lt_refstate_names[LT_REFSTATE_LISTS] = {"pk", "kek", "db", "dbx", "vendor_db"};

/* ---- parsing ---- */

static int hex0x(const json_t *v, uint8_t *out, size_t n, struct lt_err *e)
{
    const char *s = json_string_value(v);
    if (!s || strncmp(s, "0x", 2) || strlen(s + 2) != 2 * n || !lt_unhex_lower(s + 2, n, out))
        return lt_fail(e, LT_E_MALFORMED, "not 0x and %zu digits of lower-case hex", 2 * n);
    return 0;
}

/* {"sha256":"0x…", other banks…} */
static int digest_map(const json_t *v, uint8_t out[LT_SHA256], struct lt_err *e)
{
    const json_t *d = json_object_get(v, "sha256");
    if (!d)
        return lt_fail(e, LT_E_MALFORMED, "no object with \"sha256\"");
    return hex0x(d, out, LT_SHA256, e);
}

static int digest_list(const json_t *o, const char *name, struct lt_policy_digests *out, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    LT_TRY(lt_json_array(o, name, LT_MAX_BOOT_DIGESTS, &list, e));
    if (!(out->d = calloc(json_array_size(list) + 1, sizeof *out->d)))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for %zu digests", json_array_size(list));
    json_array_foreach(list, i, v)
    {
        LT_TRY_IN(digest_map(v, out->d[i], e), e, "%s[%zu]", name, i);
        out->count++;
    }
    return 0;
}

static int guid(const char *s, struct lt_refstate_key *k, struct lt_err *e)
{
    char plain[33];
    size_t n = 0;

    if (!s || strlen(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-')
        return lt_fail(e, LT_E_MALFORMED, "SignatureOwner is no GUID");
    for (size_t i = 0; i < 36; i++)
        if (i != 8 && i != 13 && i != 18 && i != 23)
            plain[n++] = s[i];
    plain[32] = 0;
    LT_TRY(lt_unhex(plain, k->owner[0], 16, e));
    for (size_t i = 0; i < 16; i++)
        k->owner[1][i] = k->owner[0][lt_refstate_guid_order[i]];
    return 0;
}

int lt_refstate_key_order(const void *a, const void *b)
{
    const struct lt_refstate_key *x = a, *y = b;
    if (x->data.n != y->data.n)
        return x->data.n < y->data.n ? -1 : 1;
    int data = memcmp(x->data.p, y->data.p, x->data.n);
    return data ? data : memcmp(x->owner[0], y->owner[0], sizeof x->owner[0]);
}

static int one_key(const json_t *v, struct lt_refstate_key *k, struct lt_err *e)
{
    const char *owner, *data;

    LT_TRY(lt_json_string(v, "SignatureOwner", &owner, e));
    LT_TRY(guid(owner, k, e));
    LT_TRY(lt_json_string(v, "SignatureData", &data, e));
    size_t n = strlen(data);
    if (n < 4 || n % 2)
        return lt_fail(e, LT_E_MALFORMED, "SignatureData: %zu characters are no 0x and bytes", n);
    uint8_t *p = malloc((n - 2) / 2);
    if (!p)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a key");
    k->data = (struct lt_slice){p, (n - 2) / 2};
    return hex0x(json_object_get(v, "SignatureData"), p, (n - 2) / 2, e);
}

static int key_list(const json_t *o, const char *name, struct lt_refstate_keys *out, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    LT_TRY(lt_json_array(o, name, LT_MAX_BOOT_VALUES, &list, e));
    if (!(out->key = calloc(json_array_size(list) + 1, sizeof *out->key)))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for %zu keys", json_array_size(list));
    json_array_foreach(list, i, v)
    {
        out->count++;
        LT_TRY_IN(one_key(v, &out->key[i], e), e, "%s[%zu]", name, i);
    }
    if (!out->count)
        return 0;
    qsort(out->key, out->count, sizeof *out->key, lt_refstate_key_order);
    size_t kept = 1; /* no doubles: a search then finds at most one */
    for (i = 1; i < out->count; i++)
        if (lt_refstate_key_order(&out->key[kept - 1], &out->key[i]))
            out->key[kept++] = out->key[i];
        else
            free((void *)out->key[i].data.p);
    out->count = kept;
    return 0;
}

static int bios_list(const json_t *o, struct lt_refstate *r, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    LT_TRY(lt_json_array(o, "scrtm_and_bios", LT_MAX_BOOT_CHOICES, &list, e));
    if (!(r->bios = calloc(json_array_size(list) + 1, sizeof *r->bios)))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a reference state");
    json_array_foreach(list, i, v)
    {
        r->bios_count++;
        LT_TRY_IN(digest_map(json_object_get(v, "scrtm"), r->bios[i].scrtm, e), e,
                  "scrtm_and_bios[%zu].scrtm", i);
        LT_TRY_IN(digest_list(v, "platform_firmware", &r->bios[i].firmware, e), e, "scrtm_and_bios[%zu]", i);
    }
    return 0;
}

static int one_kernel(const json_t *v, bool secure_boot, struct lt_refstate_kernel *k, struct lt_err *e)
{
    const char *names[] = {"shim_authcode_sha256", "grub_authcode_sha256",
                           secure_boot ? "kernel_authcode_sha256" : "vmlinuz_plain_sha256",
                           "initrd_plain_sha256"};
    uint8_t *out[] = {k->shim, k->grub, k->kernel, k->initrd};
    const char *cmdline;

    for (int i = 0; i < 4; i++)
        LT_TRY_IN(hex0x(json_object_get(v, names[i]), out[i], LT_SHA256, e), e, "%s", names[i]);
    LT_TRY(lt_json_string(v, "kernel_cmdline", &cmdline, e));
    LT_TRY_IN(lt_pattern_compile(cmdline, strlen(cmdline), true, &k->cmdline, e), e, "kernel_cmdline");
    return 0;
}

static int kernel_list(const json_t *o, struct lt_refstate *r, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    LT_TRY(lt_json_array(o, "kernels", LT_MAX_BOOT_CHOICES, &list, e));
    if (!(r->kernel = calloc(json_array_size(list) + 1, sizeof *r->kernel)))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a reference state");
    json_array_foreach(list, i, v)
    {
        r->kernel_count++;
        LT_TRY_IN(one_kernel(v, r->secure_boot, &r->kernel[i], e), e, "kernels[%zu]", i);
    }
    return 0;
}

bool lt_boot_refstate_is(const json_t *o)
{
    return lt_json_has(o, "scrtm_and_bios") || lt_json_has(o, "kernels") || lt_json_has(o, "has_secureboot");
}

static int parse(const json_t *o, struct lt_refstate *r, struct lt_err *e)
{
    r->secure_boot = true;
    if (json_object_get(o, "has_secureboot"))
        LT_TRY(lt_json_bool(o, "has_secureboot", &r->secure_boot, e));
    LT_TRY(bios_list(o, r, e));
    LT_TRY(kernel_list(o, r, e));
    r->has_vendor_db = json_object_get(o, "vendor_db");
    for (int i = 0; i < LT_REFSTATE_LISTS; i++)
        if (i != LT_REFSTATE_VENDOR_DB || r->has_vendor_db)
            LT_TRY(key_list(o, lt_refstate_names[i], &r->keys[i], e));
    LT_TRY(digest_list(o, "mokdig", &r->mok, e));
    return digest_list(o, "mokxdig", &r->mokx, e);
}

int lt_boot_refstate_parse(const json_t *o, struct lt_refstate **out, struct lt_err *e)
{
    *out = NULL;
    struct lt_refstate *r = lt_new(struct lt_refstate);
    int rc = parse(o, r, e);
    if (rc) {
        lt_boot_refstate_free(r);
        return lt_fail_in(e, rc, "reference state");
    }
    *out = r;
    return 0;
}

void lt_boot_refstate_free(struct lt_refstate *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->bios_count; i++)
        free(r->bios[i].firmware.d);
    for (size_t i = 0; i < r->kernel_count; i++)
        lt_pattern_free(r->kernel[i].cmdline);
    for (int l = 0; l < LT_REFSTATE_LISTS; l++) {
        for (size_t i = 0; i < r->keys[l].count; i++)
            free((void *)r->keys[l].key[i].data.p);
        free(r->keys[l].key);
    }
    free(r->bios);
    free(r->kernel);
    free(r->mok.d);
    free(r->mokx.d);
    free(r);
}
