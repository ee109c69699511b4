lt_fuzz_target(domain lt_vtpm_domain)
