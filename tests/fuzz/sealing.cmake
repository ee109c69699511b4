lt_fuzz_target(openers lt_residency)
lt_fuzz_target(vault lt_vtpm_seal)
lt_fuzz_target(escrow lt_vtpm_seal)
lt_fuzz_target(allowed lt_vtpm_domain)
