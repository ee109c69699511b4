lt_unit_test(test_der lt_tpm)
lt_unit_test(test_ekcert_swtpm lt_appraisal)
lt_unit_test(test_certificates lt_agent lt_provider)
