#!/usr/bin/env bash
# The browser tests drive a real Chromium: find it, or install it where that needs no password.
set -euo pipefail
line='apt-get install -y --no-install-recommends chromium fonts-dejavu-core'

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then echo "browser: $(command -v "$name")"; exit 0; fi
done

as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! sudo -n true 2>/dev/null; then
    echo "the browser tests need Chromium" >&2
    echo "hint: sudo $line" >&2
    exit 1
  fi
  as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null; then
  echo "the browser tests need Chromium, and there is no apt-get here to install it" >&2
  echo "hint: install Chromium so that 'chromium' is on the PATH" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
# shellcheck disable=SC2086 # the line is also what people are told to type
"${as_root[@]}" $line </dev/null
