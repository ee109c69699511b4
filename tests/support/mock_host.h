/* A host without a TPM: software keys in TPM clothes that make true host quotes over an inventory of one's
 * choice. The tests of the provider and its benchmark stand on it; nothing here is installed. */
#ifndef LT_TESTS_SUPPORT_MOCK_HOST_H
#define LT_TESTS_SUPPORT_MOCK_HOST_H

#include "residency/proof.h"

struct mock_host {
    EVP_PKEY *ek_key, *ak_key;
    struct lt_public ek, ak; /* P-256 both */
    uint8_t host_id[16], ek_digest[32];
    struct lt_residency_record *records; /* ascending by ek_digest */
    uint32_t count;
    struct lt_merkle *tree;
    uint64_t inventory_seq, last_batch_seq, quotes;
    uint32_t reset_count;
    struct lt_pcrs pcrs;
    char *ek_certificate; /* PEM; NULL: none */
};

void mock_host_init(struct mock_host *h);
void mock_host_from(struct mock_host *h, EVP_PKEY *ek_key, EVP_PKEY *ak_key); /* takes the keys */
void mock_host_free(struct mock_host *h);
/* The inventory is now count guests with uuid = first, first + 1 … (big-endian in the last four bytes). */
void mock_host_populate(struct mock_host *h, uint32_t first, uint32_t count);
/* That guest's record is of version 2 from now on, with flags 16 and 32 and this list of openers. */
void mock_host_seal(struct mock_host *h, uint32_t guest, const uint8_t openers[32]);
void mock_uuid(uint32_t number, uint8_t out[16]);

json_t *mock_host_describe(const struct mock_host *h);  /* GET host */
json_t *mock_host_inventory(const struct mock_host *h); /* {"seq","root","records"} */
/* The header that a sound host makes for this request (POST host-quotes). */
void mock_host_header(const struct mock_host *h, const json_t *ask, struct lt_residency_header *out);
/* QUOTE over that header, signed. */
json_t *mock_host_quote(struct mock_host *h, const struct lt_residency_header *header);
/* The whole of POST host-quotes: 200 or 409. */
json_t *mock_host_answer(struct mock_host *h, const json_t *ask, int *status);
/* TPM2_ActivateCredential and the proof over it; false: not a credential for this host. */
bool mock_host_activate(const struct mock_host *h, struct lt_slice credential, const uint8_t challenge[32],
                        uint8_t proof[32]);

#endif
