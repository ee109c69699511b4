# The helper is for every room's tests of its routes: lt_unit_test(test_x lt_x lt_http_check).
add_library(lt_http_check STATIC ${CMAKE_SOURCE_DIR}/tests/support/http/http_check.c)
target_include_directories(lt_http_check PUBLIC ${CMAKE_SOURCE_DIR}/tests/support/http)
target_link_libraries(lt_http_check PUBLIC lt_daemon PkgConfig::CMOCKA)

lt_unit_test(test_http_server lt_http_check)
lt_unit_test(test_tls lt_http_check PkgConfig::SSL PkgConfig::CRYPTO)
lt_unit_test(test_http_client lt_http_check)
lt_unit_test(test_db lt_daemon PkgConfig::SQLITE)
lt_unit_test(test_daemon lt_daemon)
lt_unit_test(test_pki lt_daemon PkgConfig::CRYPTO)
target_sources(test_pki PRIVATE ${CMAKE_SOURCE_DIR}/cli/pki.c)
lt_unit_test(test_crl lt_http_check PkgConfig::CRYPTO)
lt_unit_test(test_cond lt_daemon)
