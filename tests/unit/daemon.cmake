# The helper is for every room's tests of its routes: lt_unit_test(test_x lt_x lt_http_check).
add_library(lt_http_check STATIC ${CMAKE_SOURCE_DIR}/tests/support/http/http_check.c)
target_include_directories(lt_http_check PUBLIC ${CMAKE_SOURCE_DIR}/tests/support/http)
target_link_libraries(lt_http_check PUBLIC lt_http PkgConfig::CMOCKA)

lt_unit_test(common/http/test_server lt_http_check)
lt_unit_test(common/http/test_tls lt_http_check PkgConfig::SSL PkgConfig::CRYPTO)
lt_unit_test(common/http/test_client lt_http_check)
lt_unit_test(common/run/test_db lt_http PkgConfig::SQLITE)
lt_unit_test(common/run/test_daemon lt_http)
lt_unit_test(common/pki/test_issue lt_cli PkgConfig::CRYPTO)
lt_unit_test(common/pki/test_crl lt_http_check PkgConfig::CRYPTO)
lt_unit_test(common/run/test_cond lt_http)
lt_unit_test(common/run/test_wait lt_http)
