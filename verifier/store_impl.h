/* Inside verifier/store*.c only. */
#ifndef LT_VERIFIER_STORE_IMPL_H
#define LT_VERIFIER_STORE_IMPL_H

#include "common/db.h"
#include "verifier/store.h"

struct lt_store {
    struct lt_db *db;
    char boot[LT_UUID_TEXT]; /* this boot */
};

#endif
