# The verifier's rooms, and the tenant: its daemon in process, between guests and a provider of software keys.
lt_unit_test(verifier/store/test_store lt_verifier)
lt_unit_test(verifier/test_registrar lt_verifier lt_http_check)
lt_unit_test(verifier/rounds/test_schedule lt_rounds)
lt_unit_test(verifier/rounds/test_rounds lt_rounds)
lt_unit_test(verifier/rounds/test_watch lt_rounds)

add_library(lt_tenant_rig STATIC ../support/tenant_rig.c ../support/mock_host.c)
target_link_libraries(lt_tenant_rig PUBLIC lt_tenant lt_http_check)
lt_unit_test(tenant/test_tenant lt_tenant_rig)
lt_unit_test(tenant/test_ima lt_tenant_rig)
lt_unit_test(tenant/test_stages lt_tenant)
lt_unit_test(tenant/test_bundles lt_tenant)
lt_unit_test(tenant/test_documents lt_tenant)

add_executable(test_full_disk ../integration/test_full_disk.c)
target_link_libraries(test_full_disk PRIVATE lt_tenant_rig)
add_test(NAME integration.full_disk COMMAND test_full_disk)
set_tests_properties(integration.full_disk PROPERTIES LABELS integration TIMEOUT 300)
