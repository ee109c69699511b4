# What `cmake --install` puts where; man pages are made from --help, so that they cannot disagree with it.
set(programs limetree limetree-agent limetree-provider limetree-tenant limetree-localca)
install(TARGETS ${programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
# libvirt runs what lies in /etc/libvirt/hooks/qemu.d: an operator puts it there who wants it (docs/operations.md).
install(PROGRAMS deploy/libvirt/limetree DESTINATION ${CMAKE_INSTALL_DATADIR}/limetree/libvirt)

find_program(HELP2MAN help2man)
if(HELP2MAN)
    foreach(program ${programs})
        set(page ${CMAKE_BINARY_DIR}/man/${program}.1)
        add_custom_command(OUTPUT ${page} DEPENDS ${program}
            COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
            COMMAND ${HELP2MAN} --no-info --output=${page} $<TARGET_FILE:${program}>
            VERBATIM COMMENT "man page of ${program}")
        list(APPEND pages ${page})
    endforeach()
    add_custom_target(man DEPENDS ${pages})
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
endif()
