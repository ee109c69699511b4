lt_fuzz_target(bootpolicy lt_boot_forge)
lt_fuzz_target(pattern lt_checks)
