#!/usr/bin/env bash
# Makes generated/ out of definitions/ and templates/: all files or none.   ./generate.sh [-check]
set -euo pipefail
cd "$(dirname "$0")"
exec go tool oto "$@" \
	-template templates/server.go.plush -out generated/server/oto.gen.go -pkg server \
	-template templates/client.go.plush -out generated/client/oto.gen.go -pkg client \
	./definitions
