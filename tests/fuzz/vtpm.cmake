lt_fuzz_target(blob lt_vtpm)
lt_fuzz_target(define lt_vtpm_domain)
lt_fuzz_target(domain lt_vtpm_domain)
