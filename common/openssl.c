#include "common/openssl.h"

#include <errno.h>
#include <openssl/err.h>

void lt_openssl_begin(void)
{
    ERR_clear_error();
    errno = 0;
}

/* Not every place where OpenSSL has no memory says so in its queue, which needs memory itself; malloc does in
 * errno. */
bool lt_openssl_no_memory(void)
{
    bool none = errno == ENOMEM;
    unsigned long code;

    while ((code = ERR_get_error()))
        none = none || ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    return none;
}
