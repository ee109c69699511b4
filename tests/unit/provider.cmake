# The provider: the batcher over a host without sockets, the daemon over mock agents with them.
add_library(lt_mock_host STATIC ../support/mock_host.c ../support/mock_agent.c ../support/provider_rig.c)
target_link_libraries(lt_mock_host PUBLIC lt_residency lt_daemon PkgConfig::CMOCKA)
target_compile_definitions(lt_mock_host PRIVATE LT_PROVIDER_PROGRAM="$<TARGET_FILE:limetree-provider>")
add_dependencies(lt_mock_host limetree-provider)
lt_unit_test(test_residents lt_provider lt_mock_host)
lt_unit_test(test_health lt_provider)
lt_unit_test(test_batcher lt_provider lt_mock_host)
lt_unit_test(test_registry lt_provider PkgConfig::SQLITE)

add_executable(test_provider ../integration/test_provider.c)
target_link_libraries(test_provider PRIVATE lt_provider lt_mock_host)
add_test(NAME integration.provider COMMAND test_provider)
set_tests_properties(integration.provider PROPERTIES LABELS integration TIMEOUT 120)
