#!/bin/sh
# Makes sure that Debian packages are there. Each argument is `probe:package` or a package: the probe is a command or a
# shared library whose presence means that nothing is to be done. Installs when root, otherwise prints the one command.
set -eu
missing=""
for word in "$@"; do
	probe=${word%%:*}
	package=${word##*:}
	case "$probe" in
	*.so.*) ldconfig -p 2>/dev/null | grep -q "$probe" && continue ;;
	esac
	command -v "$probe" >/dev/null 2>&1 && continue
	dpkg -s "$package" >/dev/null 2>&1 && continue
	missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing$missing"
	apt-get update -qq
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
	echo "These system packages are missing:$missing. Run once: sudo apt-get install -y$missing" >&2
	exit 1
fi
