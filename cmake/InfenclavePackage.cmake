# cpack -G DEB: what a host and its clients need, without the attacks (which would bring libtorch). Dependencies by
# dpkg-shlibdeps.
include(GNUInstallDirs)
set(INFENCLAVE_MAINTAINER "Infenclave developers <maintainers@infenclave.invalid>" CACHE STRING
    "Who answers for the package: name and address, of whoever distributes it")
install(TARGETS infenclave infenclave-enclave RUNTIME DESTINATION bin COMPONENT runtime)
set(packaging "${CMAKE_BINARY_DIR}/packaging")
file(CONFIGURE OUTPUT "${packaging}/changelog" CONTENT
"infenclave (${PROJECT_VERSION}-1) unstable; urgency=medium

  * See /usr/share/doc/infenclave/NEWS.gz.

 -- ${INFENCLAVE_MAINTAINER}  Sun, 01 Nov 2026 00:00:00 +0000
")
# Compressed as Debian wants it, and the same every time.
function(infenclave_compressed from to)
  add_custom_command(OUTPUT "${packaging}/${to}.gz" DEPENDS "${from}"
                     COMMAND gzip -9nc "${from}" > "${packaging}/${to}.gz" VERBATIM)
  set(compressed ${compressed} "${packaging}/${to}.gz" PARENT_SCOPE)
endfunction()
infenclave_compressed("${packaging}/changelog" changelog.Debian)
infenclave_compressed("${CMAKE_SOURCE_DIR}/CHANGELOG.md" NEWS)
add_custom_command(OUTPUT "${packaging}/infenclave.1"
                   DEPENDS infenclave deploy/debian/manual.sh deploy/debian/infenclave.1
                   COMMAND "${CMAKE_SOURCE_DIR}/deploy/debian/manual.sh" "$<TARGET_FILE:infenclave>"
                           "${packaging}/infenclave.1" VERBATIM)
infenclave_compressed("${packaging}/infenclave.1" infenclave.1)
infenclave_compressed("${CMAKE_SOURCE_DIR}/deploy/debian/infenclave-enclave.1" infenclave-enclave.1)
install(FILES "${packaging}/infenclave.1.gz" "${packaging}/infenclave-enclave.1.gz" DESTINATION share/man/man1
        COMPONENT runtime)
add_custom_target(infenclave_packaging ALL DEPENDS ${compressed})
install(FILES "${packaging}/changelog.Debian.gz" "${packaging}/NEWS.gz" deploy/debian/copyright
        DESTINATION share/doc/infenclave COMPONENT runtime)
install(FILES deploy/debian/lintian-overrides DESTINATION share/lintian/overrides RENAME infenclave COMPONENT runtime)
install(FILES deploy/systemd/infenclave@.service DESTINATION /lib/systemd/system COMPONENT runtime)
# The bill of materials is made while packing, when nothing else runs Ninja.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
install(CODE "execute_process(COMMAND \"${Python3_EXECUTABLE}\" -B \"${CMAKE_SOURCE_DIR}/tools/sbom.py\"
  \"${PROJECT_VERSION}\" \"${CMAKE_SOURCE_DIR}\" \"${CMAKE_BINARY_DIR}\"
  \"${CMAKE_BINARY_DIR}/infenclave-enclave\" \"${CMAKE_BINARY_DIR}/infenclave\"
  OUTPUT_FILE \"${packaging}/sbom.cdx.json\" COMMAND_ERROR_IS_FATAL ANY)" COMPONENT runtime)
install(FILES "${packaging}/sbom.cdx.json" DESTINATION share/doc/infenclave COMPONENT runtime)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME infenclave)
set(CPACK_PACKAGE_CONTACT "${INFENCLAVE_MAINTAINER}")
set(CPACK_PACKAGE_DIRECTORY "${CMAKE_BINARY_DIR}/packages")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"A network is cut in three: its first layers and the meaning of its classes
stay in a trusted execution environment, the layers between run outside, on
any processor or accelerator. Who runs the server learns neither the pictures
nor what the classes mean.

This package holds the command line, for model owners and users, and the
host, which speaks the Open Inference Protocol.")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "confidential inference for image classifiers")
include(CPack)
