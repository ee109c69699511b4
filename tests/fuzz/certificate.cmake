lt_fuzz_target(certificate lt_checks)
