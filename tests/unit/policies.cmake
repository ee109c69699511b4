lt_unit_test(common/test_json_pull lt_common)
lt_unit_test(appraisal/ima/test_table lt_checks)
lt_unit_test(appraisal/ima/test_layers lt_checks)
lt_unit_test(appraisal/policy/test_dsse lt_checks)
lt_unit_test(appraisal/policy/test_measured lt_checks)
lt_unit_test(cli/test_policy lt_forge lt_http)
target_sources(test_cli_policy PRIVATE ${CMAKE_SOURCE_DIR}/cli/policy.c ${CMAKE_SOURCE_DIR}/cli/policy_learn.c
    ${CMAKE_SOURCE_DIR}/cli/policy_check.c)
lt_unit_test(cli/test_log lt_checks lt_http)
target_sources(test_cli_log PRIVATE ${CMAKE_SOURCE_DIR}/cli/log.c ${CMAKE_SOURCE_DIR}/cli/log_judge.c
    ${CMAKE_SOURCE_DIR}/cli/log_show.c ${CMAKE_SOURCE_DIR}/cli/policy.c ${CMAKE_SOURCE_DIR}/cli/policy_learn.c
    ${CMAKE_SOURCE_DIR}/cli/policy_check.c)
