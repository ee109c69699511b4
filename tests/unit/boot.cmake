# boot_forge.c: boot logs made to order, shared with tests/fuzz and tests/bench (tests/support/appraisal).
foreach(name test_bootevent test_bootpolicy test_boot_forged test_refstate)
    lt_unit_test(${name} lt_boot_forge)
endforeach()
lt_unit_test(test_pattern lt_appraisal Threads::Threads)
