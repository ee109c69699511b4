/* The part of XML that libvirt writes: elements, attributes, text, comments, the five entities and character
 * references. A document type declaration is refused, so nothing is ever expanded or fetched. (Not libxml2:
 * it would bring 40 MB of libraries into every guest that runs limetree-agent.) Values are decoded when asked
 * for. */
#ifndef LT_VTPM_XML_H
#define LT_VTPM_XML_H

#include "common/bytes.h"

#define LT_MAX_XML_DEPTH 128
#define LT_MAX_XML_ELEMENTS 131072u
#define LT_MAX_XML_ATTRIBUTES 64u /* of one element */

struct lt_xml {
    struct lt_slice name, attributes, inner; /* in the caller's text, as they stand there */
    struct lt_xml *first, *next;             /* elements */
};

/* The root; text must outlive it. */
int lt_xml_parse(const void *text, size_t n, struct lt_xml **out, struct lt_err *e) LT_MUST_CHECK;
void lt_xml_free(struct lt_xml *x); /* NULL is fine */

bool lt_xml_is(const struct lt_xml *x, const char *name);
/* The child of that name, NULL if there is none; two are LT_E_MALFORMED. parent may be NULL. */
int lt_xml_child(const struct lt_xml *parent, const char *name, struct lt_xml **out,
                 struct lt_err *e) LT_MUST_CHECK;
/* Decoded, at most max bytes; the caller frees. *out is NULL where x is, or has no such attribute. */
int lt_xml_attribute(const struct lt_xml *x, const char *name, size_t max, char **out,
                     struct lt_err *e) LT_MUST_CHECK;
/* The text of an element without elements, comments and the like in it. */
int lt_xml_text(const struct lt_xml *x, size_t max, char **out, struct lt_err *e) LT_MUST_CHECK;
/* Does any element have an attribute xmlns or xmlns:… of that value? */
bool lt_xml_declares(const struct lt_xml *x, const char *namespace);

#endif
