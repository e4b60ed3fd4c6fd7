#!/usr/bin/env bash
# Builds what Hybridscope links on Windows, from Debian's source packages, once: into PREFIX go
# static PCRE2, utf8proc and SQLite and the headers of the header-only libraries; with QT=build also
# static Qt 6 (about an hour on two cores) and QCustomPlot. QT may instead name a folder or a tar
# archive with a static Qt 6 of the same compiler. Without it the window is not built for Windows.
#   usage: build_libraries.sh PREFIX [QT]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
qt=${2:-}
sources=$prefix/sources
compiler=x86_64-w64-mingw32-gcc-posix
mkdir -p "$sources" "$prefix"/{include,lib,lists/partial,apt}
export HS_WINDOWS_PREFIX=$prefix

say() { printf '  %s\n' "$*"; }

# --- sources, by a list of our own: the machine's settings are left alone ------------------------
apt_with_sources() {
  local command=$1
  shift
  "$command" -o Dir::Etc::sourcelist="$prefix/apt/none" -o Dir::Etc::sourceparts="$prefix/apt" \
    -o Dir::State::lists="$prefix/lists" -o Acquire::Languages=none -o APT::Sandbox::User= "$@"
}

list_sources() {
  [ -f "$prefix/apt/listed" ] && return
  if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources \
      >"$prefix/apt/debian.sources"
  fi
  if [ -f /etc/apt/sources.list ]; then
    sed -n 's/^deb \(.*debian.*\)/deb-src \1/p' /etc/apt/sources.list >"$prefix/apt/debian.list"
  fi
  apt_with_sources apt-get update -qq
  touch "$prefix/apt/listed"
}

fetch() { # package: prints the folder of its unpacked source, Debian's patches applied
  local package=$1 version
  if [ ! -d "$sources/$package" ]; then
    list_sources >&2
    (
      cd "$sources"
      # The newest version first; a mirror may lag behind with one of them.
      for version in $(apt_with_sources apt-cache showsrc "$package" |
        sed -n 's/^Version: *//p' | sort -rV); do
        if apt_with_sources apt-get source -qq --download-only "$package=$version" >&2; then
          dpkg-source --no-check -x "${package}_${version#*:}.dsc" "$package" >&2
          break
        fi
      done
    )
    [ -d "$sources/$package" ] || {
      echo "build_libraries.sh: Debian's source package $package could not be fetched" >&2
      exit 1
    }
  fi
  printf '%s\n' "$sources/$package"
}

# --- libraries -----------------------------------------------------------------------------------
cross_cmake() { # source, name, options
  local source=$1 name=$2
  shift 2
  cmake -S "$source" -B "$sources/build-$name" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_TOOLCHAIN_FILE="$here/mingw-w64.cmake" -DCMAKE_INSTALL_PREFIX="$prefix" \
    -DBUILD_SHARED_LIBS=OFF "$@" >"$sources/$name.log" 2>&1 &&
    cmake --build "$sources/build-$name" >>"$sources/$name.log" 2>&1 &&
    cmake --install "$sources/build-$name" --strip >>"$sources/$name.log" 2>&1 ||
    { tail -n 30 "$sources/$name.log" >&2; exit 1; }
  rm -rf "$sources/build-$name"
}

if [ ! -f "$prefix/lib/libpcre2-8.a" ]; then
  say "PCRE2"
  source=$(fetch pcre2)
  cross_cmake "$source" pcre2 -DPCRE2_BUILD_PCRE2GREP=OFF -DPCRE2_BUILD_TESTS=OFF \
    -DPCRE2_SUPPORT_JIT=ON -DPCRE2_SUPPORT_UNICODE=ON
fi

if [ ! -f "$prefix/lib/libutf8proc.a" ]; then
  say "utf8proc"
  source=$(fetch utf8proc)
  $compiler -O2 -DUTF8PROC_STATIC -c "$source/utf8proc.c" -o "$sources/utf8proc.o"
  x86_64-w64-mingw32-gcc-ar-posix rcs "$prefix/lib/libutf8proc.a" "$sources/utf8proc.o"
  cp "$source/utf8proc.h" "$prefix/include/"
fi

if [ ! -f "$prefix/lib/libsqlite3.a" ]; then
  say "SQLite"
  source=$(fetch sqlite3)
  (
    cd "$source"
    # The one-file form, made by the build system of this machine.
    { ./configure --disable-tcl --disable-readline && make sqlite3.c; } >"$sources/sqlite3.log" 2>&1 ||
      { tail -n 30 "$sources/sqlite3.log" >&2; exit 1; }
    $compiler -O2 -DSQLITE_THREADSAFE=1 -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_COLUMN_METADATA \
      -DSQLITE_ENABLE_UNLOCK_NOTIFY -DSQLITE_ENABLE_DBSTAT_VTAB -c sqlite3.c -o "$sources/sqlite3.o"
    cp sqlite3.h sqlite3ext.h "$prefix/include/"
  )
  x86_64-w64-mingw32-gcc-ar-posix rcs "$prefix/lib/libsqlite3.a" "$sources/sqlite3.o"
fi

# Headers alone: those of this machine's packages serve as they are.
for folder in fmt spdlog nlohmann hwy CLI; do
  if [ ! -e "$prefix/include/$folder" ]; then
    say "headers of $folder"
    cp -r "/usr/include/$folder" "$prefix/include/$folder"
  fi
done

# --- Qt ------------------------------------------------------------------------------------------
case "$qt" in
"") ;;
build)
  if [ ! -d "$prefix/lib/cmake/Qt6Widgets" ]; then
    say "Qt 6: about an hour on two cores"
    source=$(fetch qt6-base)
    # Off: what the program does not use, and what would need more libraries. Debian's host tools of
    # the same version stand in for those of this build.
    off=(BUILD_SHARED_LIBS QT_BUILD_EXAMPLES QT_BUILD_TESTS QT_BUILD_DOCS
      QT_BUILD_TOOLS_WHEN_CROSSCOMPILING FEATURE_pkg_config FEATURE_vulkan FEATURE_dbus FEATURE_icu
      FEATURE_glib FEATURE_zstd FEATURE_openssl FEATURE_fontconfig FEATURE_tabletevent
      FEATURE_direct2d FEATURE_brotli FEATURE_gssapi FEATURE_libproxy FEATURE_androiddeployqt
      FEATURE_sql FEATURE_system_zlib FEATURE_system_png FEATURE_system_jpeg
      FEATURE_system_freetype FEATURE_system_harfbuzz FEATURE_system_pcre2
      FEATURE_system_doubleconversion FEATURE_system_textmarkdownreader)
    off=("${off[@]/#/-D}")
    cross_cmake "$source" qt6 "${off[@]/%/=OFF}" -DINPUT_opengl=no -DFEATURE_static_runtime=ON \
      -DFEATURE_schannel=ON -DBUILD_WITH_PCH=ON -DQT_QMAKE_TARGET_MKSPEC=win32-g++ \
      -DQT_HOST_PATH=/usr -DQT_HOST_PATH_CMAKE_DIR=/usr/lib/x86_64-linux-gnu/cmake \
      -DCMAKE_CXX_FLAGS="-ffile-prefix-map=$source=qt6"
  fi
  ;;
*)
  if [ ! -d "$prefix/lib/cmake/Qt6Widgets" ]; then
    say "Qt 6 from $qt"
    rm -rf "$sources/qt6-given"
    mkdir -p "$sources/qt6-given"
    if [ -d "$qt" ]; then
      cp -r "$qt/." "$sources/qt6-given/"
    else
      tar -xf "$qt" -C "$sources/qt6-given"
    fi
    cmake_folder=$(find "$sources/qt6-given" -type d -path '*/lib/cmake/Qt6Widgets' | head -n 1)
    [ -n "$cmake_folder" ] || {
      echo "build_libraries.sh: $qt holds no Qt 6 with Widgets for CMake" >&2
      exit 1
    }
    given=${cmake_folder%/lib/cmake/Qt6Widgets}
    cp -r "$given/." "$prefix/"
    rm -rf "$sources/qt6-given"
  fi
  ;;
esac

if [ -n "$qt" ] && [ ! -f "$prefix/lib/libQCustomPlotQt6.a" ]; then
  say "QCustomPlot"
  source=$(fetch qcustomplot)
  cross_cmake "$here/qcustomplot" qcustomplot -DQCUSTOMPLOT_SOURCE="$source" \
    -DQT_HOST_PATH=/usr -DQT_HOST_PATH_CMAKE_DIR=/usr/lib/x86_64-linux-gnu/cmake
fi
