#!/bin/sh
# The browser tests drive Debian's Firefox ESR and Chromium; install them when they are missing and we may.
set -eu
packages=""
need() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }
need firefox-esr firefox-esr
need chromium chromium
need Xvfb xvfb
for font in fonts-noto-core fonts-noto-color-emoji; do
    dpkg -s "$font" >/dev/null 2>&1 || packages="$packages $font"
done
[ -n "$packages" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "✗ The browser tests need these packages; as root: apt-get install$packages" >&2
    exit 1
fi
echo "· installing$packages"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $packages; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "✗ Installing$packages failed; the lines above say why." >&2
    exit 1
fi
rm -f "$log"
echo "✓ browsers installed"
