/* Every ceiling of the program on one screen. Nothing an outsider sends decides an allocation before
 * it was compared with one of these. Bytes unless said otherwise. */
#ifndef LT_COMMON_LIMITS_H
#define LT_COMMON_LIMITS_H

/* TPM structures (protocol.md section 3) */
#define LT_MAX_ATTEST 1024           /* TPMS_ATTEST */
#define LT_MAX_SIGNATURE 520         /* TPMT_SIGNATURE */
#define LT_MAX_PUBLIC 1024           /* TPM2B_PUBLIC, size field included */
#define LT_MAX_PCRS 24               /* PCRs of one bank */
#define LT_MAX_PCR_BLOB 1732         /* their values as tpm2_quote writes them */
#define LT_MAX_DIGEST 64             /* the largest digest, SHA-512 */
#define LT_MAX_TPM_NAME 66           /* u16 nameAlg, digest */
#define LT_MAX_CREDENTIAL 2048       /* MakeCredential blob */
#define LT_MAX_QUOTE_STRING 8192     /* Keylime "r…:…:…" */
#define LT_MAX_CERTIFICATE 8192      /* one EK certificate, DER */
#define LT_MAX_CERTIFICATES 8        /* in one chain, count */
#define LT_MAX_CRL (16u << 20)       /* a list of revoked certificates */
#define LT_MAX_ROOTS_FILE (1u << 20) /* one file of a directory of roots */

/* A chain of them as PEM text, bytes */
#define LT_MAX_EK_CHAIN (2 * LT_MAX_CERTIFICATES * LT_MAX_CERTIFICATE)

/* Trees (protocol.md section 3), counts */
#define LT_MAX_BATCH (1u << 20)
#define LT_MAX_INVENTORY 65536u
#define LT_MAX_PATH 20 /* nodes on the longest path: 2^20 leaves */

/* Logs and documents */
#define LT_MAX_BOOT_LOG (64u << 20)
#define LT_MAX_BOOT_EVENTS 65536u     /* count */
#define LT_MAX_HOST_POLICY (4u << 20) /* a host policy */
#define LT_MAX_POLICY_VALUES 65536    /* digests accepted for one PCR, count */
#define LT_MAX_LAYERS 16              /* runtime policies that one policy names, count */
#define LT_MAX_ENVELOPE (16u << 20)   /* a DSSE envelope */
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
#define LT_MAX_SECRET 16384 /* what a vault seals: a V, a private key in PEM */
#define LT_MAX_SEALED (LT_MAX_SECRET + 64)
#define LT_MAX_TOKEN 16384 /* a verdict token */
#define LT_MAX_JSON_DEPTH 32
#define LT_MAX_JSON_CONTAINERS                                                                               \
    (1u << 18) /* objects and arrays of one text, count: "{}," takes 75 times its size */
#define LT_MAX_JSON_VALUES (1u << 21) /* of one text, count */

/* HTTP */
#define LT_MAX_BODY_SMALL (64u << 10)      /* requests of a few fields */
#define LT_MAX_REGISTRATION (256u << 10)   /* an agent's registration: keys and certificate chains */
#define LT_MAX_EVIDENCE (32u << 20)        /* Keylime's verify/evidence: policies and logs in one body */
#define LT_MAX_KEYLIME_ADD (140u << 20)    /* Keylime's add: a runtime policy in base64, and the rest */
#define LT_MAX_REGISTRAR_BYTES (64u << 20) /* of each registrar's server: bodies and replies on their way */
#define LT_MAX_GUEST_REPLY (32u << 20)     /* one quote of a guest with its logs */
#define LT_MAX_PROOF_REPLY                                                                                   \
    (32u << 10)                    /* what POST proofs answers for one guest: quotes and proofs of 4 hosts */
#define LT_LARGE_ANSWER (2u << 20) /* a guest's answer above that is judged behind the others */
#define LT_REPLY_WEIGHT 5          /* memory for a byte of a guest's reply: body, tree, logs, bundle; count */
#define LT_SMALL_BUNDLE (256u << 10)   /* evidence without logs */
#define LT_SMALL_REPLY (64u << 10)     /* up to here a reply is taken whatever the others hold */
#define LT_MAX_BODY_DOMAIN (9u << 20)  /* a domain's document in JSON, and a PEM text */
#define LT_MAX_BODY_PROOFS (1u << 20)  /* POST proofs */
#define LT_MAX_PROOF_ITEMS 1024        /* guests in one POST proofs, count */
#define LT_MAX_CLAIMANTS 4             /* hosts asked for the proof of one guest, count */
#define LT_MAX_REPLY (160u << 20)      /* what a client of ours will read */
#define LT_MAX_URL 4096                /* a quote of all PCRs in verify/identity's query */
#define LT_MAX_CONNECTIONS 8192        /* of one server, count */
#define LT_MAX_HTTP_BYTES (512u << 20) /* of one server: bodies and replies on their way */
#define LT_MAX_ADDRESS 263             /* "[HOST]:PORT", characters: 255 of HOST */

/* A machine and its vTPMs: its own files and libvirt's, which a guest's owner has a hand in */
#define LT_MAX_DOMAIN_XML (4u << 20) /* a domain's document */
#define LT_MAX_DOMAIN_VALUE 256      /* a value of it that goes into the digest */
#define LT_MAX_DOMAIN_NAME 1024
#define LT_MAX_XML_DEPTH 128
#define LT_MAX_XML_ELEMENTS 131072u  /* count */
#define LT_MAX_XML_ATTRIBUTES 64     /* of one element, count */
#define LT_MAX_BIRTH 8192            /* a birth record */
#define LT_MAX_BIRTHS 4096u          /* of one domain, count */
#define LT_MAX_SPKI 1024             /* the EK in it, DER */
#define LT_MAX_VTPM_STATE (1u << 20) /* tpm2-00.permall */
#define LT_MAX_CMDLINE (1u << 20)    /* of a process */
#define LT_MAX_FDS 65536u            /* sockets of a process, count */
#define LT_MAX_SOCKETS (1u << 20)    /* UNIX sockets of a machine, count */

/* Sealed vTPMs (docs/sealing.md) */
#define LT_MAX_OPENERS 256 /* of one vTPM, count */
#define LT_MAX_OPENERS_BYTES (256u << 10)
#define LT_MAX_SEAL_STATES 8   /* platform states that one vault key answers in, count */
#define LT_MAX_COMPARTMENTS 16 /* of a vault, count */
#define LT_MAX_VAULT (64u << 20)
#define LT_MAX_ESCROW (1u << 20) /* one escrow copy */

/* The provider, for the hosts and tenants that it serves */
#define LT_MAX_HOST_REPLY (24u << 20)     /* host-quotes and GET host: a full inventory in base64 is 21 MB */
#define LT_MAX_PROOFS_REPLY (32u << 20)   /* LT_MAX_PROOF_ITEMS with the longest paths, of 4 hosts: 24 MiB */
#define LT_MAX_POLICIES_KEPT (512u << 20) /* all documents together; they are kept in memory */
#define LT_MAX_CLAIMS_OF_HOST 4     /* EK digests under one UUID that a host's claims are kept of, count */
#define LT_MAX_ACTIVATIONS 32       /* waiting at one host, count: its TPM takes one at a time */
#define LT_MAX_ACTIVATIONS_TENANT 4 /* of one tenant there, count: it must not take all */
#define LT_MAX_LOG_WAITERS 256      /* requests that wait for one log, count: each is a held connection */
#define LT_MAX_SOUGHT 256           /* openers and escrow copies that hosts are asked for at once, count */
#define LT_MAX_SOUGHT_TENANT 64     /* of one tenant there, count */
#define LT_MAX_SOUGHT_AT_ONCE 4     /* at one host; the others wait: its connections are for quotes, too */

/* Keylime's payload and revocation messages (keylime-api 3.6, 3.7) */
#define LT_MAX_PAYLOAD (4 << 20)        /* sealed, as POST keys/ukey brings it */
#define LT_MAX_NOTICE (64 << 10)        /* msg of a revocation message */
#define LT_MAX_NOTICE_PEM (32u << 10)   /* the key it is signed with, its certificate */
#define LT_MAX_BODY_UKEY (6u << 20)     /* POST keys/ukey: LT_MAX_PAYLOAD in base64, and its key */
#define LT_MAX_BODY_NOTICE (136u << 10) /* a revocation message, its msg escaped */
#define LT_MAX_SHARES 4                 /* U and V that wait for their other half, of each, count */
#define LT_MAX_NOTICES 256              /* messages that wait at an agent, count; more get 503 */
#define LT_MAX_UNPACK_ENTRIES 4096      /* of a payload's zip, count */
#define LT_MAX_UNPACK_BYTES (64u << 20) /* of its files together */
#define LT_MAX_UNPACK_RATIO 100         /* of these to the zip's bytes, above the first MiB */
#define LT_MAX_UNPACK_DEPTH 16          /* folders in one another, count */
#define LT_MAX_UNPACK_PATH 1024         /* of an entry, characters */
#define LT_MAX_ACTIONS 64       /* that a payload's action_list names, and that a directory holds, count */
#define LT_MAX_ACTION_LIST 8192 /* that file */
#define LT_MAX_MOUNTINFO (16u << 20) /* /proc/self/mountinfo */

/* The tenant */
#define LT_MAX_HOSTS 4096 /* hosts remembered, count: guests name them; others are asked anew each time */

/* Waiting */
#define LT_MAX_AGENT_TASKS 256         /* of each urgency, before an agent's thread; more get 503. Count */
#define LT_HOST_QUOTE_TIMEOUT_MS 10000 /* a host that hangs fails its own items after this */
#define LT_WINDOW_MS 30000             /* t5 - t1 */

#endif
