# clang-tidy over each product file, a test a file (scripts/test --lint): ctest spreads them over the cores and names
# the file in its report. What is checked, and what is not and why: .clang-tidy.
find_program(LT_CLANG_TIDY clang-tidy)
foreach(room ${LT_ROOMS})
    file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${room}/*.c)
    foreach(file ${files})
        add_test(NAME lint.${file} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
            COMMAND ${LT_CLANG_TIDY} --quiet -p ${CMAKE_BINARY_DIR} ${file})
        set_tests_properties(lint.${file} PROPERTIES LABELS lint TIMEOUT 600)
    endforeach()
endforeach()
