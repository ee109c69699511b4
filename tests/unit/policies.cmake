lt_unit_test(test_json_pull lt_common)
lt_unit_test(test_imatable lt_appraisal)
lt_unit_test(test_imalayers lt_appraisal)
lt_unit_test(test_dsse lt_appraisal)
lt_unit_test(test_measured_policy lt_appraisal)
lt_unit_test(test_policy_cli lt_forge lt_daemon)
target_sources(test_policy_cli PRIVATE ${CMAKE_SOURCE_DIR}/cli/policy.c ${CMAKE_SOURCE_DIR}/cli/policy_learn.c
    ${CMAKE_SOURCE_DIR}/cli/policy_check.c)
lt_unit_test(test_log_cli lt_appraisal lt_daemon)
target_sources(test_log_cli PRIVATE ${CMAKE_SOURCE_DIR}/cli/log.c ${CMAKE_SOURCE_DIR}/cli/log_judge.c
    ${CMAKE_SOURCE_DIR}/cli/log_show.c ${CMAKE_SOURCE_DIR}/cli/policy.c ${CMAKE_SOURCE_DIR}/cli/policy_learn.c
    ${CMAKE_SOURCE_DIR}/cli/policy_check.c)
