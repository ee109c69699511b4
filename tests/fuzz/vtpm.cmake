lt_fuzz_target(blob lt_vtpm)
lt_fuzz_target(domain lt_vtpm_domain)
