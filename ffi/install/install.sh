#!/bin/sh
# Installs the library, its headers, and what pkg-config and CMake look for: ffi/install/install.sh PREFIX [FOLDER]
# FOLDER has the libraries, if they are built already. With DESTDIR all goes below that, for packages.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
ffi=$here/..
root=$ffi/..
prefix=${1:-/usr/local}
prefix=${prefix#PREFIX=}
case $prefix in
/*) ;;
*)
    echo "the prefix is a path that begins with /, not '$prefix'" >&2
    exit 2
    ;;
esac
built=${2:-}
if [ -z "$built" ]; then
    cargo build --release --locked --manifest-path "$ffi/Cargo.toml"
    built=${CARGO_TARGET_DIR:-$root/target}/release
fi

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
major=${version%%.*}
to=${DESTDIR:-}$prefix

fill() {
    sed -e "s/@VERSION@/$version/g" -e "s/@MAJOR@/$major/g" "$here/$1" >"$2"
    chmod 644 "$2"
}

mkdir -p "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/sharehold" "$to/share/doc/sharehold"
install -m 644 "$ffi/include/sharehold.h" "$ffi/include/sharehold.hpp" "$to/include"
install -m 755 "$built/libsharehold.so" "$to/lib/libsharehold.so.$version"
ln -sf "libsharehold.so.$version" "$to/lib/libsharehold.so.$major"
ln -sf "libsharehold.so.$major" "$to/lib/libsharehold.so"
install -m 644 "$built/libsharehold.a" "$to/lib"
fill sharehold.pc.in "$to/lib/pkgconfig/sharehold.pc"
fill sharehold-config.cmake.in "$to/lib/cmake/sharehold/sharehold-config.cmake"
fill sharehold-config-version.cmake.in "$to/lib/cmake/sharehold/sharehold-config-version.cmake"
install -m 644 "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$root/docs/c.md" "$to/share/doc/sharehold"
echo "sharehold $version is in $to"
