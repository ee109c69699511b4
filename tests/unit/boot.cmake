# boot_forge.c: boot logs made to order, shared with tests/fuzz and tests/bench (tests/support/appraisal).
foreach(name appraisal/boot/test_event appraisal/boot/test_policy appraisal/boot/test_forged appraisal/boot/test_refstate)
    lt_unit_test(${name} lt_boot_forge)
endforeach()
lt_unit_test(appraisal/policy/test_pattern lt_checks Threads::Threads)
