# CPack's settings for the Debian package, which uses the distribution's Qt. The packages that bring
# their own are made from the same installed tree by packaging/linux/package.sh.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME hybridscope)
set(CPACK_PACKAGE_VENDOR "Hybridscope developers")
set(CPACK_PACKAGE_CONTACT "${HS_CONTACT}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "instrument for hybrid-attention language models")
set(CPACK_PACKAGE_DESCRIPTION
"Chat with language models that mix full attention with linear or
sliding-window layers, put ratios of them side by side on the same prompt,
and watch memory, throughput and the state of every layer while it happens.
.
Eight small models come with the program; GGUF and safetensors files are
opened as they are. No network and no account are needed. The package also
has hybridscope-cli, the same engine without a window.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
  GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# What is opened by name at run time, where dpkg-shlibdeps cannot see it: a font, without which Qt
# draws boxes.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "fonts-dejavu-core | fonts-liberation")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "qt6-wayland")
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
include(CPack)
