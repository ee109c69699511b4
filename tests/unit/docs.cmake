# docs/api.md against each table of routes; one binary a room.
foreach(room agent provider tenant)
    add_executable(test_api_doc_${room} test_api_doc.c)
    target_link_libraries(test_api_doc_${room} PRIVATE lt_${room} PkgConfig::CMOCKA)
    target_compile_definitions(test_api_doc_${room} PRIVATE LT_SOURCE_DIR="${CMAKE_SOURCE_DIR}" LT_ROOM_${room})
    add_test(NAME unit.api_doc.${room} COMMAND test_api_doc_${room})
    set_tests_properties(unit.api_doc.${room} PROPERTIES LABELS unit TIMEOUT 60)
endforeach()
