/* Every ceiling of the program on one screen. Nothing an outsider sends decides an allocation before
 * it was compared with one of these. Bytes unless said otherwise. */
#ifndef LT_COMMON_LIMITS_H
#define LT_COMMON_LIMITS_H

/* TPM structures (protocol.md section 3) */
#define LT_MAX_ATTEST 1024       /* TPMS_ATTEST */
#define LT_MAX_SIGNATURE 520     /* TPMT_SIGNATURE */
#define LT_MAX_PUBLIC 1024       /* TPM2B_PUBLIC, size field included */
#define LT_MAX_PCRS 24           /* PCRs of one bank */
#define LT_MAX_DIGEST 64         /* the largest digest, SHA-512 */
#define LT_MAX_CREDENTIAL 2048   /* MakeCredential blob */
#define LT_MAX_QUOTE_STRING 8192 /* Keylime "r…:…:…" */
#define LT_MAX_CERTIFICATE 8192  /* one EK certificate, DER */
#define LT_MAX_CERTIFICATES 8    /* in one chain, count */

/* Trees (protocol.md section 3), counts */
#define LT_MAX_BATCH (1u << 20)
#define LT_MAX_INVENTORY 65536u
#define LT_MAX_PATH 20 /* nodes on the longest path: 2^20 leaves */

/* Logs and documents */
#define LT_MAX_BOOT_LOG (64u << 20)
#define LT_MAX_BOOT_EVENTS 65536u     /* count */
#define LT_MAX_BOOT_POLICY (4u << 20) /* a boot policy or reference state */
#define LT_MAX_BOOT_VALUES 65536      /* keys in one of its lists, count */
#define LT_MAX_BOOT_DIGESTS 4096      /* digests in one of its lists, count */
#define LT_MAX_BOOT_CMDLINES 64       /* command lines, kernels and initrds that one boot measures, count */
#define LT_MAX_BOOT_CHOICES 256       /* its kernels, firmwares, patterns, configurations, each, count */
#define LT_MAX_IMA_LOG (64u << 20)
#define LT_MAX_IMA_LINE 65536u       /* one line of it: paths, and buffers and keys in hex */
#define LT_MAX_IMA_TEMPLATE 128u     /* a template's name: field names joined, where the format is custom */
#define LT_MAX_IMA_KEYS 1024u        /* verification keys of one keyring, count */
#define LT_MAX_IMA_SIGNATURES 65536u /* that one appraisal of a list checks, count */
#define LT_MAX_POLICY (100u << 20)
#define LT_MAX_PATTERN (64u << 10)     /* one regular expression */
#define LT_MAX_SUBJECT 8192u           /* what one is matched against: a path, a command line */
#define LT_MAX_IMA_TABLE (512u << 20)  /* a runtime policy compiled; 100 MiB of it never make more */
#define LT_MAX_IMA_NAME 4096u          /* a path, keyring or buffer that a policy names */
#define LT_MAX_NAME_DIGESTS 4096u      /* that a policy accepts for one name, count */
#define LT_MAX_EXCLUDES 4096u          /* of one policy, count; joined they are one pattern */
#define LT_MAX_KEYRING_TEXT (1u << 20) /* verification-keys of one policy */
#define LT_MAX_DSSE_SIGNATURES 16u     /* of one envelope, count */
#define LT_MAX_BUNDLE (256u << 20)
#define LT_MAX_PUBKEY 16384 /* PEM text of a transport key */
#define LT_MAX_JSON_DEPTH 32
#define LT_MAX_JSON_CONTAINERS                                                                               \
    (1u << 18) /* objects and arrays of one text, count: "{}," takes 75 times its size */
#define LT_MAX_JSON_VALUES (1u << 21) /* of one text, count */

/* HTTP */
#define LT_MAX_BODY_SMALL (64u << 10)      /* requests of a few fields */
#define LT_MAX_REGISTRATION (256u << 10)   /* an agent's registration: keys and certificate chains */
#define LT_MAX_REGISTRAR_BYTES (64u << 20) /* of each registrar's server: bodies and replies on their way */
#define LT_MAX_GUEST_REPLY (32u << 20)     /* one quote of a guest with its logs */
#define LT_MAX_PROOF_REPLY                                                                                   \
    (32u << 10)                    /* what POST proofs answers for one guest: quotes and proofs of 4 hosts */
#define LT_LARGE_ANSWER (2u << 20) /* a guest's answer above that is judged behind the others */
#define LT_REPLY_WEIGHT 5          /* memory for a byte of a guest's reply: body, tree, logs, bundle; count */
#define LT_SMALL_BUNDLE (256u << 10)  /* evidence without logs */
#define LT_SMALL_REPLY (64u << 10)    /* up to here a reply is taken whatever the others hold */
#define LT_MAX_BODY_PROOFS (1u << 20) /* POST proofs */
#define LT_MAX_PROOF_ITEMS 1024       /* guests in one POST proofs, count */
#define LT_MAX_CLAIMANTS 4            /* hosts asked for the proof of one guest, count */
#define LT_MAX_REPLY (160u << 20)     /* what a client of ours will read */
#define LT_MAX_URL 2048
#define LT_MAX_CONNECTIONS 8192        /* of one server, count */
#define LT_MAX_HTTP_BYTES (512u << 20) /* of one server: bodies and replies on their way, shared ones apart  \
                                        */

/* Waiting */
#define LT_HOST_QUOTE_TIMEOUT_MS 10000 /* a host that hangs fails its own items after this */
#define LT_WINDOW_MS 30000             /* t5 - t1 */

#endif
