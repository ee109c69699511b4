#include "tests/support/appraisal/imalist.h"

#include "tests/support/unit.h"

void imalist_start(struct imalist *l, uint16_t bank, uint16_t column)
{
    *l = (struct imalist){.text = LT_BUF(LT_MAX_IMA_LOG + (1u << 20)),
                          .binary = LT_BUF(LT_MAX_IMA_LOG + (1u << 20)),
                          .bank = bank,
                          .column = column};
}

void imalist_free(struct imalist *l)
{
    lt_buf_free(&l->text);
    lt_buf_free(&l->binary);
}

struct lt_slice imalist_binary(const struct imalist *l)
{
    return (struct lt_slice){l->binary.p, l->binary.n};
}

struct lt_slice imalist_text(const struct imalist *l)
{
    return (struct lt_slice){l->text.p, l->text.n};
}

static void le32(struct lt_buf *b, size_t n)
{
    for (int i = 0; i < 4; i++)
        lt_buf_u8(b, (uint8_t)(n >> 8 * i));
}

static void put_hex(struct lt_buf *b, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lt_buf_printf(b, "%02x", p[i]);
}

static void extend(struct imalist *l, const uint8_t *with)
{
    size_t n = lt_hash_size(l->bank);
    lt_hash(l->bank, (struct lt_slice[]){{l->pcr, n}, {with, n}}, 2, l->pcr);
    l->entries++;
}

/* u32 length, "prefix" NUL, digest; and as text. */
static void digest_field(struct lt_buf *data, struct lt_buf *text, const char *type, uint16_t alg,
                         const uint8_t *d)
{
    size_t n = lt_hash_size(alg);
    const char *name = lt_hash_name(alg);

    le32(data, strlen(type) + strlen(name) + 2 + n);
    lt_buf_printf(data, "%s%s:", type, name);
    lt_buf_u8(data, 0);
    lt_buf_put(data, d, n);
    lt_buf_printf(text, "%s%s:", type, name);
    put_hex(text, d, n);
}

/* u32 PCR, hash, u32 length, template; what follows is the caller's. */
static void frame(struct imalist *l, const uint8_t *hash, const char *tmpl)
{
    le32(&l->binary, 10);
    lt_buf_put(&l->binary, hash, lt_hash_size(l->column));
    le32(&l->binary, strlen(tmpl));
    lt_buf_str(&l->binary, tmpl);
}

static void sized(struct imalist *l, const void *p, size_t n)
{
    le32(&l->binary, n);
    lt_buf_put(&l->binary, p, n);
}

void imalist_add(struct imalist *l, const char *tmpl, uint16_t alg, const char *content, const char *path,
                 struct lt_slice extra)
{
    LT_AUTOBUF struct lt_buf data = LT_BUF(1 << 17), fields = LT_BUF(1 << 18);
    uint8_t d[LT_MAX_DIGEST], h[LT_MAX_DIGEST];
    bool is_buf = strstr(tmpl, "buf"), modsig = strstr(tmpl, "modsig");

    lt_hash(alg, is_buf ? &extra : &(struct lt_slice){(const uint8_t *)content, strlen(content)}, 1, d);
    if (!strcmp(tmpl, "ima")) {
        lt_buf_put(&data, d, 20);
        lt_buf_str(&data, path);
        while (data.n < 20 + 256)
            lt_buf_u8(&data, 0);
        put_hex(&fields, d, 20);
        lt_buf_printf(&fields, " %s", path);
    } else {
        bool v2 = strstr(tmpl, "v2");
        if (!strncmp(tmpl, "d|", 2)) {
            le32(&data, 20);
            lt_buf_put(&data, d, 20);
            put_hex(&fields, d, 20);
        } else {
            digest_field(&data, &fields, v2 ? strstr(content, "verity") ? "verity:" : "ima:" : "", alg, d);
        }
        le32(&data, strlen(path) + 1);
        lt_buf_str(&data, path);
        lt_buf_u8(&data, 0);
        lt_buf_printf(&fields, " %s", path);
    }
    if (is_buf || modsig || strstr(tmpl, "sig")) {
        le32(&data, extra.n);
        lt_buf_put(&data, extra.p, extra.n);
        lt_buf_u8(&fields, ' ');
        put_hex(&fields, extra.p, extra.n);
    }
    if (modsig && strstr(content, "appended")) {
        lt_buf_u8(&fields, ' ');
        digest_field(&data, &fields, "", alg, d);
        le32(&data, 5);
        lt_buf_str(&data, "PKCS7");
        lt_buf_str(&fields, " 504b435337");
    } else if (modsig) {
        le32(&data, 0);
        le32(&data, 0);
        lt_buf_str(&fields, "  ");
    }
    const struct lt_slice all = {data.p, data.n};
    lt_hash(l->column, &all, 1, h);
    frame(l, h, tmpl);
    if (!strcmp(tmpl, "ima")) {
        lt_buf_put(&l->binary, d, 20);
        sized(l, path, strlen(path));
    } else {
        sized(l, data.p, data.n);
    }
    lt_buf_str(&l->text, "10 ");
    put_hex(&l->text, h, lt_hash_size(l->column));
    lt_buf_printf(&l->text, " %s ", tmpl);
    lt_buf_put(&l->text, fields.p, fields.n);
    lt_buf_u8(&l->text, '\n');
    lt_hash(l->bank, &all, 1, h);
    extend(l, h);
    OK(lt_buf_ok(&data, &err));
    OK(lt_buf_ok(&fields, &err));
    OK(lt_buf_ok(&l->text, &err));
    OK(lt_buf_ok(&l->binary, &err));
}

void imalist_ng(struct imalist *l, const char *path)
{
    imalist_add(l, "ima-ng", LT_HASH_SHA256, path, path, (struct lt_slice){NULL, 0});
}

void imalist_violation(struct imalist *l, const char *path)
{
    static const uint8_t zeros[LT_MAX_DIGEST];
    LT_AUTOBUF struct lt_buf data = LT_BUF(1 << 17);
    uint8_t ones[LT_MAX_DIGEST];

    le32(&data, 8 + 32);
    lt_buf_put(&data, "sha256:", 8);
    lt_buf_put(&data, zeros, 32);
    le32(&data, strlen(path) + 1);
    lt_buf_put(&data, path, strlen(path) + 1);
    frame(l, zeros, "ima-ng");
    sized(l, data.p, data.n);
    memset(ones, 0xff, sizeof ones);
    lt_buf_printf(&l->text, "10 %0*d ima-ng sha256:%064d %s\n", (int)(2 * lt_hash_size(l->column)), 0, 0,
                  path);
    extend(l, ones);
}

void imapolicy_make(struct imapolicy *p, const struct imapolicy_parts *parts)
{
    LT_AUTOBUF struct lt_buf doc = LT_BUF(LT_MAX_POLICY);

    *p = (struct imapolicy){.table = LT_BUF(LT_MAX_IMA_TABLE)};
    lt_buf_printf(
        &doc,
        "{\"meta\":{\"version\":1,\"generator\":0},\"release\":0,\"digests\":%s,\"excludes\":%s,\"keyrings\":"
        "%s,"
        "\"ima\":{\"ignored_keyrings\":%s,\"log_hash_alg\":\"sha1\",\"dm_policy\":null},\"ima-buf\":%s,"
        "\"verification-keys\":%s}",
        parts->digests ? parts->digests : "{}", parts->excludes ? parts->excludes : "[]",
        parts->keyrings ? parts->keyrings : "{}", parts->ignored ? parts->ignored : "[]",
        parts->bufs ? parts->bufs : "{}", parts->keys ? parts->keys : "\"\"");
    OK(lt_buf_ok(&doc, &err));
    OK(lt_ima_table_compile(doc.p, doc.n, NULL, &p->table, &err));
    OK(lt_ima_table_open(p->table.p, p->table.n, &p->open, &err));
    static const struct lt_policy_layer_rule base = {.name = "base"};
    p->layers = (struct lt_ima_layers){.count = 1, .layer = {{&base, p->open}}};
}

void imapolicy_of_paths(struct imapolicy *p, const char *const *paths)
{
    LT_AUTOBUF struct lt_buf digests = LT_BUF(LT_MAX_POLICY);
    uint8_t d[LT_SHA256];

    lt_buf_u8(&digests, '{');
    for (size_t i = 0; paths[i]; i++) {
        lt_sha256(paths[i], strlen(paths[i]), d);
        lt_buf_printf(&digests, "%s\"%s\":[\"", i ? "," : "", paths[i]);
        put_hex(&digests, d, sizeof d);
        lt_buf_str(&digests, "\"]");
    }
    lt_buf_str(&digests, "}");
    LT_AUTOFREE char *text = lt_buf_take_str(&digests);
    imapolicy_make(p, &(struct imapolicy_parts){.digests = text});
}

void imapolicy_free(struct imapolicy *p)
{
    lt_ima_table_close(p->open);
    lt_buf_free(&p->table);
}
